package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"pratique/kiosk"
	"pratique/kiosk/clearance"
)

func unixWritable(dir string) bool { return unix.Access(dir, unix.W_OK|unix.X_OK) == nil }

// withState runs f on an opened state.
func withState(ctx context.Context, flag string, f func(*kiosk.State) error) error {
	dir, err := stateDir(flag)
	if err != nil {
		return err
	}
	st, err := kiosk.OpenState(ctx, dir)
	if err != nil {
		return err
	}
	defer st.Close()
	return f(st)
}

func (p *program) clearanceShow(ctx context.Context, args []string) (int, error) {
	set := p.flags("clearance show", "ID", "clearance show 7KQ2XM4C")
	asJSON := set.Bool("json", false, "print one JSON object")
	state := stateFlag(set)
	if err := parse(set, args, 1); err != nil {
		return 0, err
	}
	return exitOK, withState(ctx, *state, func(st *kiosk.State) error {
		c, err := st.Clearance(set.Arg(0))
		if err != nil {
			return err
		}
		if *asJSON {
			return json.NewEncoder(p.stdout).Encode(clearanceJSON(c))
		}
		qr, err := clearance.QRText(c.QR)
		if err != nil {
			return err
		}
		w := &errWriter{w: p.stdout}
		cl := &c.Claims
		w.printf("clearance %s (%x)\n", c.Code, c.ID)
		if o := cl.Override; o != nil {
			w.printf("  RED       NOT CLEARED by the scan; two people let it through (%s)\n", printable(o.Reason))
		}
		for _, class := range cl.Audience {
			w.printf("  for       %s\n", class)
		}
		w.printf("  until     %s\n", c.Expires.UTC().Format(timeFormat))
		if time.Now().After(c.Expires) {
			w.printf("  EXPIRED\n")
		}
		w.printf("  by        %s, log entry %d\n", printable(cl.Issuer), c.LogIndex)
		w.printf("  content   %s, %s, root %x\n", count(cl.Content.Files, "file", "files"), size(int64(cl.Content.Bytes)), cl.Content.Root)
		w.printf("  rules     %s version %d\n", printable(cl.Rules.Name), cl.Rules.Version)
		if cl.Excepted > 0 {
			w.printf("  excepted  %s: pratique exceptions list --all\n", count(cl.Excepted, "finding", "findings"))
		}
		w.printf("  token     %s\n", c.TokenFile)
		switch err := st.CopyManifest(ctx, c, io.Discard); {
		case err == nil:
			w.printf("  manifest  %s\n", sealedManifest(c))
		case errors.Is(err, kiosk.ErrNoManifest):
			w.printf("  manifest  none: %v\n", err)
		default: // token and digits do without, and somebody has to know
			w.printf("  manifest  DAMAGED: %s\n", printable(err.Error()))
		}
		w.printf("  digits    %s\n%s", c.QR, qr)
		return w.err
	})
}

// sealedManifest says how to come by a manifest that lies sealed in the state.
func sealedManifest(c *kiosk.Clearance) string {
	return fmt.Sprintf("sealed; pratique clearance save --out DIR %s writes it", c.Code)
}

func (p *program) clearanceSave(ctx context.Context, args []string) (int, error) {
	set := p.flags("clearance save", "ID", "clearance save --out /media/hospital 7KQ2XM4C")
	out := set.String("out", "", "folder `DIR` for token and manifest")
	state := stateFlag(set)
	// The contract writes the flag behind the id; both orders are taken.
	if len(args) > 1 && args[0] != "" && args[0][0] != '-' {
		args = append(args[1:len(args):len(args)], args[0])
	}
	if err := parse(set, args, 1); err != nil {
		return 0, err
	}
	if *out == "" {
		return 0, usagef("clearance save: --out DIR is missing")
	}
	return exitOK, withState(ctx, *state, func(st *kiosk.State) error {
		c, err := st.Clearance(set.Arg(0))
		if err != nil {
			return err
		}
		if err := st.Save(ctx, c, *out); err != nil {
			return err
		}
		w := &errWriter{w: p.stdout}
		w.printf("%s\n", c.TokenFile)
		if c.ManifestFile != "" {
			w.printf("%s\n", c.ManifestFile)
		} else {
			fmt.Fprintf(p.stderr, "pratique: only the token was saved, with which devices can do: %v\n", kiosk.ErrNoManifest)
		}
		return w.err
	})
}

// version says what the build knows of itself.
func (p *program) version(_ context.Context, args []string) (int, error) {
	if err := parse(p.flags("version", "", "version"), args, 0); err != nil {
		return 0, err
	}
	version, goVersion := "(development)", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		goVersion = info.GoVersion
		if info.Main.Version != "" && info.Main.Version != "(devel)" {
			version = info.Main.Version
		}
	}
	_, err := fmt.Fprintf(p.stdout, "pratique %s, %s\n", version, goVersion)
	return exitOK, err
}
