package kiosk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"pratique/kiosk/audit"
	"pratique/kiosk/clearance"
	"pratique/kiosk/sealed"
)

// clearedOnes screens and clears the clean stick as often as wanted.
func clearedOnes(t testing.TB, s *State, n int) (out []*Clearance) {
	t.Helper()
	for range n {
		res, err := s.Screen(t.Context(), Screening{Target: filepath.Join(built.sticks, "clean.img"), Class: "general", Pack: pack(t), Workers: built.bin})
		if err != nil || res.Clearance == nil {
			t.Fatalf("%+v %v", res.Reasons, err)
		}
		out = append(out, res.Clearance)
	}
	return out
}

// plain opens a manifest as it would be saved.
func plain(t testing.TB, s *State, c *Clearance) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := s.CopyManifest(t.Context(), c, &out); err != nil {
		t.Fatal(err)
	}
	m, err := clearance.ReadManifest(bytes.NewReader(out.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := m.Content(); !ok || got != c.Claims.Content || m.ID() != c.ID {
		t.Fatalf("the manifest is not that of the token: %+v", got)
	}
	return out.Bytes()
}

func content(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func put(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// leavesOf are the parts of a manifest that a dictionary of names could be tried against.
func leavesOf(manifest []byte) (out [][]byte) {
	const head = len("pratique manifest 1\n") + 16 + 4 + 8
	for rest := manifest[head:]; len(rest) >= 73; rest = rest[73:] {
		out = append(out, rest[1:33])
	}
	return out
}

func TestT10_NoLeafOfAManifestIsOnTheDisk(t *testing.T) {
	s := openState(t, t.TempDir())
	c := clearedOnes(t, s, 1)[0]
	leaves := leavesOf(plain(t, s, c))
	if len(leaves) < 3 {
		t.Fatalf("%d leaves", len(leaves))
	}
	found := 0
	err := filepath.WalkDir(s.dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data := content(t, name)
		for _, leaf := range leaves {
			if bytes.Contains(data, leaf) {
				t.Errorf("%s holds a leaf", name)
			}
		}
		if filepath.Base(name) == manifestName {
			found++
			if !sealed.Is(data) {
				t.Errorf("%s is not sealed", name)
			}
		}
		return nil
	})
	if err != nil || found != 1 {
		t.Errorf("%d manifests: %v", found, err)
	}
	out := t.TempDir()
	if err := s.Save(t.Context(), c, out); err != nil {
		t.Fatal(err)
	}
	if got := leavesOf(content(t, filepath.Join(out, manifestName))); len(got) != len(leaves) || c.ManifestFile != filepath.Join(out, manifestName) {
		t.Errorf("saved %d leaves in %s", len(got), c.ManifestFile)
	}
}

// Who screens at a terminal finds the manifest in the state, in the clear; an enrolled station has and takes none there.
func TestT12_OnlyADemonstrationLaysItsManifestOut(t *testing.T) {
	s := openState(t, t.TempDir())
	res, err := s.Screen(t.Context(), Screening{Target: filepath.Join(built.sticks, "clean.img"), Class: "general", Pack: pack(t), Workers: built.bin, LayOut: true})
	if err != nil || res.Clearance == nil {
		t.Fatalf("%+v %v", res.Reasons, err)
	}
	c := res.Clearance
	if got := content(t, c.ManifestFile); sealed.Is(got) || !bytes.Equal(got, plain(t, s, c)) {
		t.Errorf("the manifest in the state begins with %q", got[:min(8, len(got))])
	}
	if err := s.UseSite("kiosk-1", newSite(t).keys); err != nil {
		t.Fatal(err)
	}
	if err := s.CopyManifest(t.Context(), c, io.Discard); !errors.Is(err, ErrState) {
		t.Errorf("an enrolled station opens a manifest that is not sealed: %v", err)
	}
}

// Each changed byte, each cut, and the manifest of another session in its place.
func TestT12_AManifestThatWasTamperedWithIsNotSaved(t *testing.T) {
	s := openState(t, t.TempDir())
	both := clearedOnes(t, s, 2)
	c, name := both[0], both[0].ManifestFile
	good := content(t, name)
	bad := map[string][]byte{"another session's": content(t, both[1].ManifestFile), "empty": {}, "longer": append(bytes.Clone(good), 0)}
	for i := 0; i < len(good); i += 7 {
		changed := bytes.Clone(good)
		changed[i] ^= 0x40
		bad[fmt.Sprint("changed at ", i)] = changed
	}
	for i := 1; i < len(good); i += 97 {
		bad[fmt.Sprint("cut at ", i)] = good[:i]
	}
	for what, data := range bad {
		put(t, name, data)
		out := filepath.Join(t.TempDir(), "out")
		lookup, err := s.Clearance(c.Code)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Save(t.Context(), lookup, out); !errors.Is(err, ErrState) {
			t.Fatalf("%s: %v", what, err)
		}
		if left, _ := os.ReadDir(out); len(left) > 0 {
			t.Fatalf("%s: %v was saved", what, left)
		}
	}
	put(t, name, good)
	plain(t, s, c)
}

// Who has a copy of the whole disk from before an erasure, but for the keys, cannot open what was erased.
func TestT21_AnErasedSessionsManifestCannotBeOpened(t *testing.T) {
	s := openState(t, t.TempDir())
	both := clearedOnes(t, s, 2)
	copied := content(t, both[0].ManifestFile)
	if _, err := s.Erase(t.Context(), audit.ID(both[0].ID).String(), audit.Erasure{}, "uid:1"); err != nil {
		t.Fatal(err)
	}
	put(t, both[0].ManifestFile, copied)
	c, err := s.Clearance(both[0].Code)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := s.CopyManifest(t.Context(), c, &out); !errors.Is(err, ErrNoManifest) || out.Len() > 0 {
		t.Errorf("%d bytes: %v", out.Len(), err)
	}
	dir := t.TempDir()
	if err := s.Save(t.Context(), c, dir); err != nil || c.ManifestFile != "" {
		t.Errorf("%q %v", c.ManifestFile, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 || left[0].Name() != tokenName {
		t.Errorf("saved: %v", left)
	}
	plain(t, s, both[1]) // of the same month, under its new key
}

// A session whose names are erased while it runs is cleared without a manifest: none is kept that nobody could open.
func TestAnErasureDuringASessionKeepsNoManifest(t *testing.T) {
	s := openState(t, t.TempDir())
	s.fault = func(step string) error {
		if step != "folder" {
			return nil
		}
		_, err := s.log.Erase(t.Context(), audit.Erasure{Month: s.now().UTC().Format("2006-01")}, audit.Pseudonym{1})
		return err
	}
	if c := clearedOnes(t, s, 1)[0]; c.ManifestFile != "" {
		t.Errorf("%+v", c)
	}
}

// A state of version 1 has plain manifests. They are sealed by the next start, wherever a crash falls; one whose names were erased
// is removed.
func TestT23_PlainManifestsOfEarlierStatesAreSealed(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir)
	all := clearedOnes(t, s, 3)
	var texts [][]byte
	for _, c := range all {
		texts = append(texts, plain(t, s, c))
	}
	if _, err := s.Erase(t.Context(), audit.ID(all[2].ID).String(), audit.Erasure{}, "uid:1"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	for i, c := range all {
		put(t, c.ManifestFile, texts[i])
	}
	put(t, filepath.Join(dir, "version"), []byte("1\n"))
	for left := 2; left >= 0; left-- { // each start gets one further, and the last one to the end
		crashed := &State{dir: dir, now: s.now}
		crashed.fault = func(step string) error {
			if step == "manifest sealed" && left > 0 {
				return errCrash
			}
			return nil
		}
		err := crashed.open(context.Background())
		crashed.Close()
		if (left > 0) != errors.Is(err, errCrash) || left == 0 && err != nil {
			t.Fatal(err)
		}
	}
	if got := string(content(t, filepath.Join(dir, "version"))); got != stateVersion+"\n" {
		t.Errorf("version %q", got)
	}
	s = openState(t, dir)
	for i, was := range all[:2] {
		c, err := s.Clearance(was.Code)
		if err != nil || !sealed.Is(content(t, c.ManifestFile)) || !bytes.Equal(plain(t, s, c), texts[i]) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if c, err := s.Clearance(all[2].Code); err != nil || c.ManifestFile != "" {
		t.Errorf("the erased one: %+v %v", c, err)
	}
}
