package pack

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPackIsInstalledAndTold(t *testing.T) {
	r := newRig(t)
	r.publish(1)
	s := r.kiosk()
	wantInForce(t, s, 0)
	st, err := s.Stage(t.Context(), r.stick(), today)
	must(t, err)
	m := st.Meta()
	if m.Name != "core" || m.Version != 1 || m.Author != "security team" || !slices.Equal(m.Signers, []string{"dora", "emil"}) || m.Needed != 2 ||
		!slices.Equal(m.Changes, []string{"change 1"}) || len(m.Samples) != 0 ||
		!slices.Equal(m.Clean, []string{"clean/b.txt", "clean/more/c.bin"}) ||
		!m.Published.Equal(today) || !m.Expires.Equal(today.Add(30*daysOf)) || m.Root != 1 {
		t.Errorf("told %+v", m)
	}
	if text, err := fs.ReadFile(st.Files(), "clean/b.txt"); err != nil || string(text) != "clean" {
		t.Errorf("clean file %q, %v", text, err)
	}
	wantInForce(t, s, 0)
	must(t, st.Commit())
	must(t, st.Discard())
	wantInForce(t, s, 1)
	if err := st.Commit(); err == nil {
		t.Error("committed twice")
	}

	// the next version, and the store opened anew
	r.now = today.Add(daysOf)
	r.publish(2)
	must(t, install(s, r.stick(), r.now))
	again, err := Open(s.dir, r.root())
	must(t, err)
	wantInForce(t, again, 2)
	history, err := again.History()
	must(t, err)
	if len(history) != 2 || history[0].Version != 2 || history[1].Version != 1 {
		t.Errorf("history %+v", history)
	}
	floor, err := again.Floor()
	if must(t, err); !floor.Equal(r.now) {
		t.Errorf("floor %v", floor)
	}
}

func TestDiscardLeavesNoTrace(t *testing.T) {
	r := newRig(t)
	r.publish(1)
	s := r.kiosk()
	must(t, install(s, r.dir, today))
	before := tree(t, s.dir)
	r.publish(2)
	st, err := s.Stage(t.Context(), r.dir, today)
	must(t, err)
	if st.Meta().Version != 2 {
		t.Error("staged another version")
	}
	if _, err := s.Stage(t.Context(), r.dir, today); !errors.Is(err, ErrBusy) {
		t.Errorf("a second import at once: %v", err)
	}
	other, err := Open(s.dir, r.root()) // another process, meanwhile
	must(t, err)
	wantInForce(t, other, 1)
	must(t, st.Discard())
	if after := tree(t, s.dir); !maps.Equal(before, after) {
		t.Errorf("before %v, after %v", len(before), len(after))
	}
	must(t, install(s, r.dir, today))
	wantInForce(t, s, 2)
	wantInForce(t, other, 2)
}

func TestNewDatesForThePackInForceAreTaken(t *testing.T) {
	r := newRig(t)
	r.publish(1)
	s := r.kiosk()
	must(t, install(s, r.dir, today))
	err := install(s, r.dir, today)
	wantRefused(t, err, NothingNew, "in force already")

	r.now = today.Add(20 * daysOf)
	r.again()
	st, err := s.Stage(t.Context(), r.dir, r.now)
	must(t, err)
	if !st.Same() {
		t.Error("the pack in force was not known again")
	}
	must(t, st.Commit())
	m, err := s.Meta()
	if must(t, err); !m.Published.Equal(r.now) || m.Version != 1 {
		t.Errorf("published %v", m.Published)
	}
}

func TestAgeCountsFromTheEarlierTime(t *testing.T) {
	for _, c := range []struct{ published, installed, want time.Time }{
		{today, today.Add(daysOf), today},
		{today.Add(60 * daysOf), today, today}, // a thief's publication, ahead of the clock
	} {
		if got := (Meta{Published: c.published, Installed: c.installed}).AgeFrom(); !got.Equal(c.want) {
			t.Errorf("%v", got)
		}
	}
}

func TestAStationWithoutARootTakesNothing(t *testing.T) {
	if _, err := Open(t.TempDir(), nil); !errors.Is(err, ErrNoRoot) {
		t.Errorf("%v", err)
	}
}

// A pack that ran out stays in force: how long it may serve is the kiosk's policy, and the embedded pack would be a step back.
func TestAPackStaysInForceAfterItsExpiry(t *testing.T) {
	r := newRig(t)
	r.publish(1)
	s := r.kiosk()
	must(t, install(s, r.dir, today))
	wantInForce(t, s, 1) // verified against the clock of this machine, wherever that is
	m, err := s.Meta()
	if must(t, err); !m.NotAfter.Equal(today.Add(80 * daysOf)) {
		t.Errorf("%v", m.NotAfter)
	}
}

// The power goes after each step of an import. Then the store opens, one of the two packs is in force, whole, and the import
// can be done again.
func TestT23_ImportThatStopsAtAnyStepIsRepaired(t *testing.T) {
	defer func() { testOnlyStep = func(string) error { return nil } }()
	r := newRig(t)
	r.publish(1)
	empty, full := r.kiosk(), r.kiosk()
	must(t, install(full, r.dir, today))
	r.publish(2)
	var steps []string
	for stop := 0; ; stop++ {
		first, want, from := stop%2 == 1, uint64(1), full // with and without a pack in force before
		if first {
			want, from = 0, empty
		}
		dir := t.TempDir()
		must(t, os.CopyFS(dir, os.DirFS(from.dir)))
		s, err := Open(dir, r.root())
		must(t, err)
		n, reached := stop/2, ""
		testOnlyStep = func(step string) error {
			if n--; n < 0 {
				reached = step
				return errPowerGone
			}
			return nil
		}
		st, err := s.Stage(t.Context(), r.dir, today)
		if err == nil {
			err = st.Commit()
		}
		testOnlyStep = func(string) error { return nil }
		if reached == "" {
			must(t, err)
			break
		}
		if !errors.Is(err, errPowerGone) {
			t.Fatalf("%s: %v", reached, err)
		}
		if !first {
			steps = append(steps, reached)
		}
		if strings.HasPrefix(reached, "current ") || reached == "old generation removed" {
			want = 2
		}
		wantInForce(t, s, want)
		again, err := Open(s.dir, r.root())
		must(t, err)
		wantInForce(t, again, want)
		entries, err := os.ReadDir(s.dir)
		must(t, err)
		for _, e := range entries {
			name := e.Name()
			current, _ := again.current()
			if name != lockName && name != currentName && name != current {
				t.Errorf("%s left %s", reached, name)
			}
		}
		if want != 2 {
			must(t, install(again, r.dir, today))
		}
		wantInForce(t, again, 2)
	}
	want := []string{"folder made", "pack copied", "evidence written", "record written", "staging folder durable", "generation renamed",
		"rename durable", "new current written", "current replaced", "current durable", "old generation removed"}
	if !slices.Equal(steps, want) {
		t.Errorf("stopped at %q", steps)
	}
}

// The store is the kiosk's own. What broke in it is never taken for a fresh start, which would be the step back that an
// attacker wants.
func TestT14_ADamagedStoreIsNotAFreshStart(t *testing.T) {
	r := newRig(t)
	r.publish(1)
	r.publish(2)
	s := r.kiosk()
	must(t, install(s, r.dir, today))
	r.publish(3)
	must(t, install(s, r.dir, today))
	gen := filepath.Join(s.dir, genName(2))
	for name, damage := range map[string]func() error{
		"current lost":       func() error { return os.Remove(filepath.Join(s.dir, currentName)) },
		"current of nothing": func() error { return os.WriteFile(filepath.Join(s.dir, currentName), []byte(genName(9)+"\n"), 0o600) },
		"current with more":  func() error { return os.WriteFile(filepath.Join(s.dir, currentName), []byte(genName(2)+"\n\n"), 0o600) },
		"pack changed":       func() error { return os.Truncate(filepath.Join(gen, packName), 1024) },
		"rules lost":         func() error { return os.Remove(filepath.Join(gen, "rules.json")) },
		"record changed":     func() error { return os.WriteFile(filepath.Join(gen, recordName), []byte("{}"), 0o600) },
		"root of another":    func() error { return os.WriteFile(filepath.Join(gen, "1.root.json"), []byte("{}"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			copied := filepath.Join(t.TempDir(), "store")
			must(t, os.CopyFS(copied, os.DirFS(s.dir)))
			defer func(dir, g string) { s.dir, gen = dir, g }(s.dir, gen)
			s.dir, gen = copied, filepath.Join(copied, genName(2))
			must(t, damage())
			opened, err := Open(copied, r.root())
			if err == nil {
				_, _, err = opened.Current()
			}
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("opened: %v", err)
			}
			if name == "pack changed" || opened == nil {
				return // a new pack may replace a broken one; what vouches for the order of versions is whole
			}
			if err := install(opened, r.dir, today); err == nil {
				t.Error("a pack was installed over a damaged store")
			}
		})
	}
}

func TestStationOfAnotherTeamKeepsItsStoreShut(t *testing.T) {
	r := newRig(t)
	r.publish(1)
	s := r.kiosk()
	must(t, install(s, r.dir, today))
	other := &rig{t: t, dir: t.TempDir(), now: today, signers: []person{dora, emil}, publisher: gina}
	must(t, Draft(other.dir, Team{Root: keysOf(thief, dora), RootNeeds: 2, Rules: keysOf(thief, dora), RulesNeeds: 2, Publisher: keysOf(thief)}, today))
	other.signDrafts(thief, dora)
	other.signers, other.publisher = []person{thief, dora}, thief
	other.publish(5)
	wantRefused(t, install(s, other.dir, today), Changed, "another team's")
	wantInForce(t, s, 1)
	stolen, err := Open(s.dir, other.root())
	must(t, err)
	if _, _, err := stolen.Current(); !errors.Is(err, ErrDamaged) {
		t.Errorf("read under another root: %v", err)
	}
}
