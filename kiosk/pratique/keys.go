package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/term"

	"pratique/kiosk"
	"pratique/kiosk/clearance"
	"pratique/kiosk/keys"
)

// me names who runs this program, for the log: by the kernel's word, not by a name that can be given.
func me() string { return fmt.Sprintf("uid:%d", os.Getuid()) }

// keyFlags are the flags of verbs that make or open a key.
type keyFlags struct {
	in, secret, tpm, module, token *string
}

func (set verbFlags) keyFlags(making bool) keyFlags {
	f := keyFlags{
		secret: set.String("secret", "", "`FILE` with the passphrase or PIN (default: ask for it)"),
		tpm:    set.String("tpm", keys.DefaultTPM, "`DEVICE` of the TPM"),
	}
	if making {
		f.in = set.String("in", string(keys.File), "`PLACE` of the key: file, tpm or pkcs11")
		f.module = set.String("module", "", "`FILE` of the token's PKCS#11 library")
		f.token = set.String("token", "", "`LABEL` of the PKCS#11 token")
	}
	return f
}

// access is how the key's place is reached. keyhelper is beside this program, as the workers are.
func (f keyFlags) access() (keys.Access, error) {
	self, err := os.Executable()
	if err != nil {
		return keys.Access{}, err
	}
	a := keys.Access{Device: *f.tpm, Helper: filepath.Join(filepath.Dir(self), "keyhelper")}
	if f.module != nil {
		a.Module, a.Token = *f.module, *f.token
	}
	return a, nil
}

// maxSecretFile is more than any secret has.
const maxSecretFile = 1 << 10

// secretOf reads a secret from a file, or asks for it. One line end behind it is the editor's, not the secret's.
func (p *program) secretOf(file, prompt string, twice bool) ([]byte, error) {
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return nil, usagef("--secret: %v", err)
		}
		defer f.Close()
		data, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
		if err != nil {
			return nil, usagef("--secret: %v", err)
		}
		return bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r")), nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return nil, usagef("--secret FILE is missing, and there is no terminal to ask on")
	}
	ask := func(prompt string) ([]byte, error) {
		fmt.Fprintf(p.stderr, "%s: ", prompt)
		defer fmt.Fprintln(p.stderr)
		return term.ReadPassword(int(os.Stdin.Fd()))
	}
	secret, err := ask(prompt)
	if err != nil || !twice {
		return secret, err
	}
	again, err := ask("once more")
	if err == nil && !bytes.Equal(secret, again) {
		err = usagef("these are two different ones")
	}
	return secret, err
}

// newBox makes a key where the flags say.
func (p *program) newBox(ctx context.Context, use keys.Use, name string, f keyFlags) (*keys.Box, error) {
	access, err := f.access()
	if err != nil {
		return nil, err
	}
	place := keys.Place(*f.in)
	var secret []byte
	if place != keys.TPM || *f.secret != "" { // a TPM's key needs none
		if secret, err = p.secretOf(*f.secret, "passphrase or PIN for the new key", true); err != nil {
			return nil, err
		}
	}
	return keys.New(ctx, place, use, name, access, secret, time.Now())
}

// openBox opens a key.
func (p *program) openBox(ctx context.Context, box *keys.Box, f keyFlags) (*keys.Opened, error) {
	access, err := f.access()
	if err != nil {
		return nil, err
	}
	var secret []byte
	if box.NeedsSecret() {
		if secret, err = p.secretOf(*f.secret, fmt.Sprintf("passphrase or PIN for the key of %s", box.Name), false); err != nil {
			return nil, err
		}
	}
	return keys.Open(ctx, box, access, secret)
}

// slot is the place of the key that the next step is about.
func slot(next bool) kiosk.KeySlot {
	if next {
		return kiosk.NextKey
	}
	return kiosk.EnrolledKey
}

func (p *program) keysNew(ctx context.Context, args []string) (int, error) {
	set := p.flags("keys new", "", "keys new --in tpm --name kiosk-3.stmary")
	name := set.String("name", "", "`NAME` of the station, as clearances show it")
	next := set.Bool("next", false, "make the key that takes over later, while the enrolled one signs")
	f := set.keyFlags(true)
	state := stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	if *name == "" {
		return 0, usagef("keys new: --name NAME is missing")
	}
	return exitOK, withState(ctx, *state, func(st *kiosk.State) error {
		if old, err := st.KeyBox(slot(*next)); err != nil || old != nil {
			return errors.Join(usagef("keys new: there is a key already; --next makes the one that takes over"), err)
		}
		box, err := p.newBox(ctx, keys.Station, *name, f)
		if err != nil {
			return err
		}
		data, err := box.Marshal()
		if err != nil {
			return err
		}
		if err := st.PutKey(ctx, slot(*next), data, me()); err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.stdout, "made the key of %s in %s; pratique keys request asks for its enrolment\n", printable(box.Name), box.Place)
		return err
	})
}

func (p *program) keysRequest(ctx context.Context, args []string) (int, error) {
	set := p.flags("keys request", "", "keys request --out request.cbr")
	out := set.String("out", "", "`FILE` for the request")
	next := set.Bool("next", false, "for the key that takes over later")
	f := set.keyFlags(false)
	state := stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	if *out == "" {
		return 0, usagef("keys request: --out FILE is missing")
	}
	return exitOK, withState(ctx, *state, func(st *kiosk.State) error {
		box, err := boxOf(st, slot(*next))
		if err != nil {
			return err
		}
		logKey, err := st.LogKey()
		if err != nil {
			return err
		}
		o, err := p.openBox(ctx, box, f)
		if err != nil {
			return err
		}
		defer o.Close()
		k, err := o.Keys()
		if err != nil {
			return err
		}
		data, err := k.Request(logKey)
		if err != nil {
			return err
		}
		r, err := clearance.ParseRequest(data)
		if err != nil {
			return err
		}
		qr, err := clearance.QRText(r.Digits())
		if err != nil {
			return err
		}
		if err := os.WriteFile(*out, data, 0o644); err != nil {
			return fmt.Errorf("write the request: %w", err)
		}
		w := &errWriter{w: p.stdout}
		w.printf("%s asks to be enrolled: take %s to a root holder, and compare these six words\n\n  %s\n\n%sdigits  %s\n",
			printable(r.Key.Issuer), *out, r.Words(), qr, r.Digits())
		return w.err
	})
}

// boxOf reads the box in a slot.
func boxOf(st *kiosk.State, slot kiosk.KeySlot) (*keys.Box, error) {
	data, err := st.KeyBox(slot)
	if err != nil {
		return nil, err
	}
	if data == nil {
		return nil, usagef("the state has no such key: pratique keys new makes one")
	}
	return keys.Parse(data)
}

func (p *program) keysShow(ctx context.Context, args []string) (int, error) {
	set := p.flags("keys show", "", "keys show")
	state := stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	return exitOK, withState(ctx, *state, func(st *kiosk.State) error {
		w := &errWriter{w: p.stdout}
		demo := st.Key()
		w.printf("demonstration  %s, until %s\n", demo.Issuer, demo.NotAfter.UTC().Format(timeFormat))
		trust, err := st.Trust()
		if err != nil {
			return err
		}
		for _, slot := range []kiosk.KeySlot{kiosk.EnrolledKey, kiosk.NextKey} {
			data, err := st.KeyBox(slot)
			if err != nil {
				return err
			}
			if data == nil {
				continue
			}
			box, err := keys.Parse(data)
			if err != nil {
				return err
			}
			w.printf("%-14s %s\n", filepath.Base(string(slot)), keyLine(box, trust))
		}
		return w.err
	})
}

// keyLine is a station's key in one line.
func keyLine(box *keys.Box, trust *clearance.Trust) string {
	public, err := box.Public()
	if err != nil {
		return err.Error()
	}
	id := public.KeyID()
	line := fmt.Sprintf("%s, in %s, id %s", printable(box.Name), box.Place, hex.EncodeToString(id[:]))
	if trust == nil {
		return line + ", not enrolled: there is no trust file"
	}
	listed, found := trust.Station(id)
	switch {
	case !found:
		return line + fmt.Sprintf(", not enrolled in trust file version %d", trust.Version)
	case listed.RevokedFromLog != nil:
		return line + fmt.Sprintf(", TAKEN BACK from log entry %d on", *listed.RevokedFromLog)
	}
	return line + ", enrolled until " + listed.NotAfter.UTC().Format(timeFormat)
}

func (p *program) keysRotate(ctx context.Context, args []string) (int, error) {
	set := p.flags("keys rotate", "", "keys rotate")
	state := stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	return exitOK, withState(ctx, *state, func(st *kiosk.State) error {
		box, err := boxOf(st, kiosk.NextKey)
		if err != nil {
			return err
		}
		public, err := box.Public()
		if err != nil {
			return err
		}
		if err := st.RotateKey(ctx, public, me()); err != nil {
			return err
		}
		_, err = fmt.Fprintln(p.stdout, "the next key signs from now on, within some seconds where pratiqued runs; what the old one signed holds until it expires")
		return err
	})
}
