package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/term"

	"pratique/rules/p11"
	"pratique/rules/pack"
)

func (p *program) keysNew(_ context.Context, args []string) (int, error) {
	set := p.flags("keys new", "", `keys new --name "Dora Smith" -o dora`)
	name := set.String("name", "", "`NAME` of the person who signs with it; kiosks show it")
	out := set.String("o", "", "`FILE` without its ending: FILE.key is the private key, FILE.pub the public one")
	module := moduleFlag(set)
	label := set.String("token", "", "`LABEL` of the token, with --pkcs11")
	pass := passphraseFlag(set)
	if err := set.parse(args, 0, 0); err != nil {
		return 0, err
	}
	if err := set.need("name", "o"); err != nil {
		return 0, err
	}
	if (*module == "") != (*label == "") {
		return 0, usagef("keys new: --pkcs11 and --token go together")
	}
	for _, ending := range []string{".key", ".pub"} { // before a token makes a key that nothing speaks of
		if _, err := os.Lstat(*out + ending); err == nil {
			return 0, &fs.PathError{Op: "write", Path: *out + ending, Err: syscall.EEXIST}
		}
	}
	public, private, err := p.newKeys(*name, *module, *label, *pass)
	if err != nil {
		return 0, err
	}
	if err := writeNew(*out+".key", private, 0o600); err != nil {
		return 0, err
	}
	if err := writeNew(*out+".pub", public, 0o644); err != nil {
		return 0, errors.Join(err, os.Remove(*out+".key"))
	}
	if *module != "" {
		p.say("The key of %s is in the token %s and cannot be taken out of it; %s.key says which it is. %s.pub goes to whoever runs rulepack init.", *name, *label, *out, *out)
		return exitOK, nil
	}
	p.say("%s.key stays with %s, on one machine and in one copy that is locked away. %s.pub goes to whoever runs rulepack init.", *out, *name, *out)
	return exitOK, nil
}

// newKeys makes a key in a file or, with a module, in a token.
func (p *program) newKeys(name, module, label, pass string) (public, private []byte, err error) {
	if module == "" {
		passphrase, err := p.passphrase(pass, true)
		if err != nil {
			return nil, nil, err
		}
		return newKey(name, passphrase)
	}
	if err := (pack.Key{Name: name, Public: make([]byte, ed25519.PublicKeySize)}).Check(); err != nil {
		return nil, nil, err
	}
	pin, err := p.pin(pass)
	if err != nil {
		return nil, nil, err
	}
	h, err := p11.Start(p.helper, module, label, pin)
	if err != nil {
		return nil, nil, err
	}
	defer h.Close()
	return newToken(h, name, label)
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
	return set.String("passphrase-file", "", "`FILE` whose first line is the passphrase, or a token's PIN (default: ask on the terminal)")
}

func moduleFlag(set *verbFlags) *string {
	return set.String("pkcs11", "", "library `FILE` of a token that the key is in, such as /usr/lib/softhsm/libsofthsm2.so")
}

// passphrase reads a passphrase from a file or asks for it: never from an argument or the environment, which other
// processes can read.
func (p *program) passphrase(file string, fresh bool) ([]byte, error) {
	line, err := p.secret(file, "Passphrase: ")
	if err == nil {
		err = strong(line, fresh)
	}
	if err != nil || !fresh || file != "" {
		return line, err
	}
	again, err := p.secret("", "The same again: ")
	if err == nil && !bytes.Equal(line, again) {
		err = usagef("the two are not the same")
	}
	return line, err
}

// pin reads a token's PIN in the same way. How long it is the token says.
func (p *program) pin(file string) ([]byte, error) {
	line, err := p.secret(file, "PIN: ")
	if err == nil && len(line) == 0 {
		err = usagef("there is no PIN")
	}
	return line, err
}

func (p *program) secret(file, prompt string) ([]byte, error) {
	if file != "" {
		data, err := readSmall(file, maxKeyFile)
		line, _, _ := bytes.Cut(data, []byte("\n"))
		return line, err
	}
	if !term.IsTerminal(int(p.stdin.Fd())) {
		return nil, usagef("there is no terminal to ask for the passphrase: give --passphrase-file")
	}
	fmt.Fprint(p.stderr, prompt)
	line, err := term.ReadPassword(int(p.stdin.Fd()))
	fmt.Fprintln(p.stderr)
	return line, err
}

func strong(line []byte, fresh bool) error {
	if fresh && len(line) < minPassphrase {
		return usagef("a passphrase has at least %d characters: four words that nobody would guess", minPassphrase)
	}
	return nil
}

// keyFlags are what every verb that signs has.
type keyFlags struct{ key, pass, module *string }

func signingFlags(set *verbFlags) keyFlags {
	return keyFlags{set.String("key", "", "`FILE` with the private key (FILE.key of keys new)"), passphraseFlag(set), moduleFlag(set)}
}

// signer is a private key that can sign, wherever it is.
type signer struct {
	pack.Key
	pack.Signer
	close func()
}

// open opens the private key, in its file or in its token.
func (p *program) open(f keyFlags) (*signer, error) {
	data, err := readSmall(*f.key, maxKeyFile)
	if err != nil {
		return nil, err
	}
	inToken := bytes.HasPrefix(data, []byte(tokenHead+"\n"))
	switch {
	case inToken && *f.module == "":
		return nil, fmt.Errorf("%s: %w", *f.key, errTokenFile)
	case !inToken && *f.module != "":
		return nil, usagef("--pkcs11: the key %s is in no token", *f.key)
	}
	key, err := p.unlock(data, f, inToken)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", *f.key, err)
	}
	return key, nil
}

func (p *program) unlock(data []byte, f keyFlags, inToken bool) (*signer, error) {
	if !inToken {
		passphrase, err := p.passphrase(*f.pass, false)
		if err != nil {
			return nil, err
		}
		key, err := parsePrivate(data, passphrase)
		if err != nil {
			return nil, err
		}
		return &signer{key.Key, key, func() {}}, nil
	}
	key, err := parseToken(data)
	if err != nil {
		return nil, err
	}
	pin, err := p.pin(*f.pass)
	if err != nil {
		return nil, err
	}
	return openToken(p.helper, *f.module, key, pin)
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
