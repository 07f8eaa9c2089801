//go:build e2e

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pratique/rules/pack"
	"pratique/testdata/packs"
	"pratique/testdata/stick"
)

// securityTeam publishes a pack, and returns the root file that stations are enrolled with and what carries it on a stick.
func securityTeam(t *testing.T, version uint64, more map[string]string) (root []byte, files []stick.File) {
	t.Helper()
	now := time.Now().Add(-time.Hour)
	repo, err := packs.New(filepath.Join(t.TempDir(), "repo"), now)
	if err == nil {
		err = repo.Publish(packs.Source(version, now.Add(90*24*time.Hour), more))
	}
	carried := t.TempDir()
	if err == nil {
		err = pack.Carry(context.Background(), repo.Dir, carried, now)
	}
	if err == nil {
		root, err = os.ReadFile(repo.Root())
	}
	if err == nil {
		files, err = stick.FilesOf(os.DirFS(carried), "")
	}
	if err != nil {
		t.Fatal(err)
	}
	return root, files
}

// packStick is a volume with these files, and as much of nothing as makes it take a while to copy.
func packStick(files []stick.File, padding int64) func(path string) error {
	return func(path string) error {
		all := files
		if padding > 0 {
			all = append(slices.Clone(files), stick.File{Path: pack.StickFolder + "/targets/padding", Size: padding})
		}
		return writeExFAT(path, 32<<20+padding, all)
	}
}

// The whole way of a rule pack on a stick: usbgate, usbreader, the scan that every medium gets, the device opened once more, a
// jailed scanworker, the gates. And a stick that is pulled on the way.
func TestT29_AStationReadsARulePackOffAStick(t *testing.T) {
	root, good := securityTeam(t, 7, nil)
	_, bad := securityTeam(t, 8, map[string]string{"yara/test.yar": "rule nothing { strings: $a = \"no such words\" condition: $a }\n"})
	cases := []Case{
		{Name: "station: a rule pack", Things: image("pack", packStick(good, 0)),
			Steps: []Step{InState("2-1", "decided", "waiting"), InstallFrom("2-1", staffUser, 1, "This user may not do that"), InstallFrom("2-1", security, 0, "core version 7 is in force"),
				InState("2-1", "removed"), AskInVain("2-1"), Logged("attached", "decided", "pack", "removed")}, Expect: wasRead},
		{Name: "station: a rule pack that finds nothing", Full: true, Things: image("pack", packStick(bad, 0)),
			Steps: []Step{Shown("2-1"), InstallFrom("2-1", security, 3, "gate canary"), InState("2-1", "removed")}, Expect: wasRead},
		{Name: "station: a rule pack on a stick that is pulled while it is read", Full: true, Things: image("pack", packStick(good, 64<<20)),
			Steps: []Step{InState("2-1", "decided", "waiting"), alongside(InstallFrom("2-1", security, 4, "The medium was removed"), InState("2-1", "installing"), Pull(0)),
				InState("2-1", "idle")}, Expect: wasRead},
	}
	for i := range cases {
		cases[i].Before = []Step{StartStationOf(root)}
		cases[i].Steps = append(cases[i].Steps, Accounted())
	}
	runCases(t, cases)
}

// alongside takes steps while another one is under way, and then waits for it.
func alongside(long Step, steps ...Step) Step {
	return Step{long.Name + ", and meanwhile", func(ctx context.Context, r *Rig) error {
		over := make(chan error, 1)
		go func() { over <- long.Do(ctx, r) }()
		for _, s := range steps {
			if err := s.Do(ctx, r); err != nil {
				return err
			}
		}
		return <-over
	}}
}
