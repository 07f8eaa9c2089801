package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/term"

	"pratique/rules/pack"
)

func (p *program) keysNew(_ context.Context, args []string) (int, error) {
	set := p.flags("keys new", "", `keys new --name "Dora Smith" -o dora`)
	name := set.String("name", "", "`NAME` of the person who signs with it; kiosks show it")
	out := set.String("o", "", "`FILE` without its ending: FILE.key is the private key, FILE.pub the public one")
	pass := passphraseFlag(set)
	if err := set.parse(args, 0, 0); err != nil {
		return 0, err
	}
	if err := set.need("name", "o"); err != nil {
		return 0, err
	}
	passphrase, err := p.passphrase(*pass, true)
	if err != nil {
		return 0, err
	}
	public, private, err := newKey(*name, passphrase)
	if err != nil {
		return 0, err
	}
	if err := writeNew(*out+".key", private, 0o600); err != nil {
		return 0, err
	}
	if err := writeNew(*out+".pub", public, 0o644); err != nil {
		return 0, errors.Join(err, os.Remove(*out+".key"))
	}
	p.say("%s.key stays with %s, on one machine and in one copy that is locked away. %s.pub goes to whoever runs rulepack init.", *out, *name, *out)
	return exitOK, nil
}

// writeNew writes a file that must not be there yet: nothing overwrites a key.
func writeNew(name string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func passphraseFlag(set *verbFlags) *string {
	return set.String("passphrase-file", "", "`FILE` whose first line is the passphrase (default: ask on the terminal)")
}

// passphrase reads a passphrase from a file or asks for it: never from an argument or the environment, which other
// processes can read.
func (p *program) passphrase(file string, fresh bool) ([]byte, error) {
	if file != "" {
		data, err := readSmall(file, maxKeyFile)
		if err != nil {
			return nil, err
		}
		line, _, _ := bytes.Cut(data, []byte("\n"))
		return line, strong(line, fresh)
	}
	if !term.IsTerminal(int(p.stdin.Fd())) {
		return nil, usagef("there is no terminal to ask for the passphrase: give --passphrase-file")
	}
	ask := func(text string) ([]byte, error) {
		fmt.Fprint(p.stderr, text)
		line, err := term.ReadPassword(int(p.stdin.Fd()))
		fmt.Fprintln(p.stderr)
		return line, err
	}
	line, err := ask("Passphrase: ")
	if err != nil || !fresh {
		return line, err
	}
	if err := strong(line, fresh); err != nil {
		return nil, err
	}
	again, err := ask("The same again: ")
	if err == nil && !bytes.Equal(line, again) {
		err = usagef("the two are not the same")
	}
	return line, err
}

func strong(line []byte, fresh bool) error {
	if fresh && len(line) < minPassphrase {
		return usagef("a passphrase has at least %d characters: four words that nobody would guess", minPassphrase)
	}
	return nil
}

// keyFlags are what every verb that signs has.
type keyFlags struct{ key, pass *string }

func signingFlags(set *verbFlags) keyFlags {
	return keyFlags{set.String("key", "", "`FILE` with the private key (FILE.key of keys new)"), passphraseFlag(set)}
}

// open reads the private key.
func (p *program) open(f keyFlags) (*fileKey, error) {
	data, err := readSmall(*f.key, maxKeyFile)
	if err != nil {
		return nil, err
	}
	passphrase, err := p.passphrase(*f.pass, false)
	if err != nil {
		return nil, err
	}
	key, err := parsePrivate(data, passphrase)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", *f.key, err)
	}
	return key, nil
}

// publicKeys reads the files of several people.
func publicKeys(files []string) ([]pack.Key, error) {
	var keys []pack.Key
	for _, name := range files {
		data, err := readSmall(name, maxKeyFile)
		if err != nil {
			return nil, err
		}
		key, err := parsePublic(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}
