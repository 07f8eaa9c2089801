//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// stateDisk is large enough for a log and a clearance, and no larger: it is copied for each cut.
const stateDisk = 64 << 20

// What the log and the tokens must be after the power was cut at any moment is tested by killing processes elsewhere; but a
// killed process leaves the page cache behind, and a cut of the power does not. Here a session is run on a disk whose every
// write is recorded, and the disk is put together again as it was at each flush, which is all that it had promised. From
// each, the state must open, the log must be sound, and there must be no token that the log does not know.
func TestT23_EveryFlushLeavesASoundStateBehind(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 2*caseTime, fmt.Errorf("the cuts take too long"))
	defer cancel()
	dir := t.TempDir()
	fresh, disk, log := filepath.Join(dir, "fresh"), filepath.Join(dir, "disk"), filepath.Join(dir, "log")
	for _, path := range []string{fresh, log} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(fresh, stateDisk); err != nil {
		t.Fatal(err)
	}
	// ext4 as Debian makes it, because that is what a station runs on.
	if err := output(exec.CommandContext(ctx, "mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0", fresh), "", nil); err != nil {
		t.Fatal(err)
	}
	if err := copyFile(fresh, disk); err != nil {
		t.Fatal(err)
	}
	record(ctx, t, disk, log)

	l, err := ReadBlockLog(log)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	flushes := l.Flushes()
	if len(flushes) < 5 {
		t.Fatalf("%d flushes in %d entries: what is durable was not made so", len(flushes), l.Entries())
	}
	cuts := flushes
	if !*full && len(cuts) > quickCuts { // spread over the session, with its end
		cuts = nil
		for i := range quickCuts {
			cuts = append(cuts, flushes[(i+1)*len(flushes)/quickCuts-1])
		}
	}
	m, err := setup.Restore(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	r := &Rig{Machine: m, dir: m.dir, hashes: map[string]string{}}
	withToken := 0
	random := rand.New(rand.NewPCG(23, 23))
	for i, n := range cuts {
		image := filepath.Join(dir, fmt.Sprintf("cut-%d", n))
		var kept func() bool
		if i%2 == 1 { // a disk may keep any part of what it has not promised
			kept = func() bool { return random.IntN(2) == 0 }
		}
		if err := l.Replay(fresh, image, n, kept); err != nil {
			t.Fatal(err)
		}
		tokens, err := r.standUp(ctx, image)
		if err != nil {
			t.Fatalf("cut after entry %d of %d: %v\n%s", n, l.Entries(), err, m.Console())
		}
		withToken += tokens
		os.Remove(image)
	}
	if withToken == 0 {
		t.Error("no cut has a token: the last one is the end of a session that was cleared")
	}
	t.Logf("%d writes and flushes, %d flushes, %d of them cut: the log is sound after each, %d have a token, and each token its entry", l.Entries(), len(flushes), len(cuts), withToken)
}

// quickCuts is how many of the flushes the quick run tries.
const quickCuts = 10

// record runs a session that is cleared, on a disk whose writes go into a log.
func record(ctx context.Context, t *testing.T, disk, log string) {
	t.Helper()
	m, err := setup.Restore(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	r := &Rig{Machine: m, dir: m.dir, hashes: map[string]string{}}
	if _, err := m.AddDisk(ctx, disk, log); err != nil {
		t.Fatal(err)
	}
	if err := m.Guest.Mount(ctx, "/dev/vda", stateDir, "ext4"); err != nil {
		t.Fatal(err)
	}
	things, err := drives(nil, "clean")(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Plug(ctx, things[0]); err != nil {
		t.Fatal(err)
	}
	for _, step := range []Step{DisksAppear(1), Screen("/dev/sda", "cleared")} {
		if err := step.Do(ctx, r); err != nil {
			t.Fatalf("%s: %v", step.Name, err)
		}
	}
	if err := m.Guest.Unmount(ctx, stateDir); err != nil { // so that the log is whole
		t.Fatal(err)
	}
}

// standUp starts from a disk as a cut left it, and returns the number of its tokens.
func (r *Rig) standUp(ctx context.Context, image string) (tokens int, err error) {
	p, err := r.AddDisk(ctx, image, "")
	if err != nil {
		return 0, err
	}
	defer func() {
		if err == nil {
			err = p.Unplug(ctx)
		}
	}()
	if err := r.Guest.Mount(ctx, "/dev/vda", stateDir, "ext4"); err != nil {
		return 0, err
	}
	defer func() {
		if unmounted := r.Guest.Unmount(ctx, stateDir); err == nil {
			err = unmounted
		}
	}()
	names, err := r.Guest.ReadDir(ctx, stateDir)
	if err != nil {
		return 0, err
	}
	if !slices.Contains(names, "log.db") {
		return 0, nil // the power went before there was a state
	}
	list, err := r.Guest.Run(ctx, nil, Programs+"/pratique", "audit", "list", "--state", stateDir)
	if err != nil || list.Code != 0 {
		return 0, fmt.Errorf("audit list: %v, %+v", err, list)
	}
	if err := r.logIsSound(ctx); err != nil {
		return 0, err
	}
	issuing := len(regexp.MustCompile(`(?m)^ *[0-9]+ +[0-9]\S+ +issuing `).FindAllString(list.Stdout, -1))
	ids, err := r.Guest.ReadDir(ctx, stateDir+"/clearances")
	if err != nil && slices.Contains(names, "clearances") {
		return 0, err
	}
	for _, id := range ids {
		files, err := r.Guest.ReadDir(ctx, stateDir+"/clearances/"+id)
		if err != nil {
			return 0, err
		}
		if !slices.Contains(files, "token.cose") {
			continue
		}
		tokens++
		shown, err := r.Guest.Run(ctx, nil, Programs+"/pratique", "clearance", "show", "--state", stateDir, id)
		if err != nil || shown.Code != 0 {
			return 0, fmt.Errorf("token %s: %v, %+v", id, err, shown)
		}
	}
	if tokens > issuing {
		return 0, fmt.Errorf("%d tokens, and the log knows %d:\n%s", tokens, issuing, list.Stdout)
	}
	return tokens, nil
}
