package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"pratique/rules"
	"pratique/rules/pack"
)

func (p *program) build(ctx context.Context, args []string) (int, error) {
	set := p.flags("build", "DIR", "build -o core.pack core")
	out := set.String("o", "", "`FILE` to write")
	version := set.Uint64("version", 0, "`N` instead of the version in pack.toml: so an older source goes out again, as a new, higher version")
	until := set.String("not-after", "", "`DATE` (2027-01-31) instead of not_after in pack.toml")
	if err := set.parse(args, 1, 1); err != nil {
		return 0, err
	}
	if err := set.need("o"); err != nil {
		return 0, err
	}
	var change func(*rules.Manifest)
	if *version != 0 || *until != "" {
		var notAfter time.Time
		if *until != "" {
			var err error
			if notAfter, err = time.Parse(time.DateOnly, *until); err != nil {
				return 0, usagef("build: --not-after is a date such as 2027-01-31")
			}
		}
		change = func(m *rules.Manifest) {
			if *version != 0 {
				m.Version = *version
			}
			if *until != "" {
				m.NotAfter = notAfter
			}
		}
	}
	tmp, err := os.CreateTemp(filepath.Dir(*out), ".rulepack-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(tmp.Name()) // in vain once it is renamed
	defer tmp.Close()
	sum := sha256.New()
	m, err := pack.WriteArchive(ctx, io.MultiWriter(tmp, sum), os.DirFS(set.args[0]), change)
	if err != nil {
		return 0, err
	}
	info, err := tmp.Stat()
	if err != nil {
		return 0, err
	}
	// What was written is read as a kiosk reads it.
	made, err := pack.OpenArchive(tmp, info.Size())
	if err != nil {
		return 0, err
	}
	if _, err := pack.Load(made); err != nil {
		return 0, err
	}
	if err := errors.Join(tmp.Chmod(0o644), tmp.Sync()); err != nil {
		return 0, err
	}
	if err := os.Rename(tmp.Name(), *out); err != nil {
		return 0, err
	}
	_, err = fmt.Fprintf(p.stdout, "%x  %s\n", sum.Sum(nil), *out)
	p.say("Built %s version %d, good until %s.", m.Name, m.Version, m.NotAfter.UTC().Format(time.DateOnly))
	return exitOK, err
}

func (p *program) inspect(ctx context.Context, args []string) (int, error) {
	set := p.flags("inspect", "PATH", "inspect --root 1.root.json /media/stick/"+pack.StickFolder)
	root := set.String("root", "", "`FILE` that the kiosk was enrolled with (default: the repository's own first root file)")
	store := set.String("store", "", "`DIR` of a kiosk's store, which is not changed (default: a kiosk that has nothing installed)")
	asJSON := set.Bool("json", false, "print one JSON object")
	if err := set.parse(args, 1, 1); err != nil {
		return 0, err
	}
	info, err := os.Stat(set.args[0])
	if err != nil {
		return 0, err
	}
	words, accepted := []string{}, true
	if info.IsDir() {
		words, accepted, err = p.inspectRepository(ctx, set.args[0], *root, *store)
	} else {
		var signed *pack.Signed
		if signed, err = readPack(ctx, set.args[0], nil); err == nil {
			words = pack.InspectFile(signed)
		}
	}
	if err != nil {
		return 0, err
	}
	if *asJSON {
		err = json.NewEncoder(p.stdout).Encode(struct {
			Accepted bool     `json:"accepted"`
			Words    []string `json:"words"`
		}{accepted, words})
	} else {
		for _, line := range words {
			if _, err = fmt.Fprintln(p.stdout, line); err != nil {
				break
			}
		}
	}
	if err == nil && !accepted {
		return exitRefused, nil
	}
	return exitOK, err
}

// inspectRepository asks a kiosk: the one whose store is given, or one that has nothing yet.
func (p *program) inspectRepository(ctx context.Context, dir, root, store string) ([]string, bool, error) {
	// A stick is named as well as the folder on it.
	if onStick := filepath.Join(dir, pack.StickFolder); isDir(onStick) {
		dir = onStick
	}
	if root == "" && store == "" {
		return pack.Inspect(ctx, dir, nil, time.Now())
	}
	if root == "" {
		return nil, false, usagef("inspect: --store needs --root, the file that the kiosk was enrolled with")
	}
	trusted, err := readSmall(root, maxSignatures)
	if err != nil {
		return nil, false, err
	}
	if store == "" {
		if store, err = os.MkdirTemp("", "rulepack-"); err != nil {
			return nil, false, err
		}
		defer os.RemoveAll(store)
	} else if !isDir(store) {
		return nil, false, usagef("inspect: there is no folder %s", store)
	}
	kiosk, err := pack.Open(store, trusted)
	if err != nil {
		return nil, false, err
	}
	return pack.Inspect(ctx, dir, kiosk, time.Now())
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}
