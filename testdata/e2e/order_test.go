//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"pratique/testdata/e2e/wire"
)

// stateDisk is large enough for a log and a clearance, and no larger: it is copied for each cut.
const stateDisk = 64 << 20

// What the log and the tokens must be after the power was cut at any moment is tested by killing processes elsewhere; but a
// killed process leaves the page cache behind, and a cut of the power does not. Here a session is run on a disk whose every
// write is recorded, and the disk is put together again as it was at each flush, which is all that it had promised. From
// each, the state must open, the log must be sound, every session must have an end, and every token its entry and every entry
// its token.
func TestT23_EveryFlushLeavesASoundStateBehind(t *testing.T) {
	for _, c := range []recording{
		{"a screening", nil, screening},
		{"a station, from the plug to the clearance and the pull", stationUser, stationSession},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeoutCause(t.Context(), 2*caseTime, fmt.Errorf("the cuts take too long"))
			defer cancel()
			c.cut(ctx, t)
		})
	}
}

// recording is a session on a disk whose writes go into a log.
type recording struct {
	name string
	user *wire.User // who owns the state
	run  func(ctx context.Context, r *Rig) error
}

// cut records the session, and starts from what each cut of the power leaves.
func (c recording) cut(ctx context.Context, t *testing.T) {
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
	c.record(ctx, t, disk, log)

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
	var withSession, withToken int
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
		sum, err := r.standUp(ctx, image, c.user)
		if err != nil {
			t.Fatalf("cut after entry %d of %d: %v\n%s", n, l.Entries(), err, m.Console())
		}
		withSession += min(sum.sessions, 1)
		withToken += min(sum.tokens, 1)
		os.Remove(image)
	}
	if withToken == 0 {
		t.Error("no cut has a token: the last one is the end of a session that was cleared")
	}
	t.Logf("%s: %d writes and flushes, %d flushes, %d of them cut: the log is sound after each; %d have a session, each with an end, %d a token, each with its entry",
		c.name, l.Entries(), len(flushes), len(cuts), withSession, withToken)
}

// quickCuts is how many of the flushes the quick run tries.
const quickCuts = 10

// record runs the session.
func (c recording) record(ctx context.Context, t *testing.T, disk, log string) {
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
	if err := c.run(ctx, r); err != nil {
		t.Fatalf("%v\n%s", err, m.Console())
	}
	if err := m.Guest.Unmount(ctx, stateDir); err != nil { // so that the log is whole
		t.Fatal(err)
	}
}

// screening is one without a daemon, of what the kernel's own driver reads.
func screening(ctx context.Context, r *Rig) error {
	return r.steps(ctx, []Step{PlugSample("clean"), DisksAppear(1), Screen("/dev/sda", "cleared")})
}

// stationSession is one of a station's, until the daemon has ended as its service manager ends it.
func stationSession(ctx context.Context, r *Rig) error {
	if err := r.Guest.LockUSB(ctx); err != nil {
		return err
	}
	return r.steps(ctx, []Step{StartStation(), PlugSample("clean"), Verdict("2-1", "cleared"), Pull(0), InState("2-1", "idle"), Accounted()})
}

// standUp starts from a disk as a cut left it: whatever program of the station comes first settles what was cut off.
func (r *Rig) standUp(ctx context.Context, image string, user *wire.User) (sum sums, err error) {
	p, err := r.AddDisk(ctx, image, "")
	if err != nil {
		return sum, err
	}
	defer func() {
		if err == nil {
			err = p.Unplug(ctx)
		}
	}()
	if err := r.Guest.Mount(ctx, "/dev/vda", stateDir, "ext4"); err != nil {
		return sum, err
	}
	defer func() {
		if unmounted := r.Guest.Unmount(ctx, stateDir); err == nil {
			err = unmounted
		}
	}()
	names, err := r.Guest.ReadDir(ctx, stateDir)
	if err != nil {
		return sum, err
	}
	if !slices.Contains(names, "log.db") {
		return sum, nil // the power went before there was a state
	}
	return r.account(ctx, user)
}
