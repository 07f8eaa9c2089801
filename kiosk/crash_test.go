package kiosk

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var errCrash = errors.New("the power is gone")

// Each place between two durable steps of a session is where the power goes once. What the next start finds is closed, and
// only closed: no token appears, and none without its entry stays.
func TestT23_EachCrashPointIsRepairedByTheNextStart(t *testing.T) {
	for _, c := range []struct {
		at    string // the step that was reached
		log   string // after the next start
		token bool
	}{
		{"mark", "", false},
		{"attached", "attached aborted", false},
		{"scanned", "attached aborted", false},
		{"decided", "attached decided", false},
		{"folder", "attached decided", false},
		{"manifest", "attached decided", false},
		{"issuing", "attached decided issuing abandoned", false},
		{"token", "attached decided issuing issued", true},
		{"issued", "attached decided issuing issued", true},
		{"closed", "attached decided issuing issued removed", true},
	} {
		dir := t.TempDir()
		s, err := OpenState(context.Background(), dir)
		if err != nil {
			t.Fatal(err)
		}
		reached := false
		s.fault = func(step string) error {
			if step == c.at {
				reached = true
				return errCrash
			}
			return nil
		}
		se, err := live(t, s)
		if !reached || !errors.Is(err, errCrash) {
			t.Fatalf("%s: not reached, %v", c.at, err)
		}
		// What a dead process leaves: files as they are, locks that nobody holds.
		if se != nil && se.end != nil {
			se.end(false)
			se.release()
		}
		s.Close()
		for range 2 { // a second start finds nothing more to do
			got, _ := kinds(t, dir)
			if text := strings.Join(got, " "); text != c.log {
				t.Errorf("%s: the log has %q, want %q", c.at, text, c.log)
			}
		}
		tokens, err := filepath.Glob(filepath.Join(dir, "clearances", "*", tokenName))
		if err != nil || (len(tokens) == 1) != c.token {
			t.Errorf("%s: %d tokens", c.at, len(tokens))
		}
		left, err := os.ReadDir(filepath.Join(dir, "clearances"))
		if err != nil || len(left) != len(tokens) {
			t.Errorf("%s: %d folders of clearances", c.at, len(left))
		}
		if marks, err := os.ReadDir(filepath.Join(dir, "sessions")); err != nil || len(marks) != 0 {
			t.Errorf("%s: %d marks of sessions are left", c.at, len(marks))
		}
	}
}

// live is a session from its start to its end, as a station takes the steps.
func live(t *testing.T, s *State) (se *session, err error) {
	t.Helper()
	ctx := context.Background()
	m, err := OpenMedium(filepath.Join(built.sticks, "clean.img"))
	if err != nil {
		t.Fatal(err)
	}
	want := Screening{Pack: pack(t), Workers: built.bin, Class: "general"}
	tools, err := s.prepare(ctx, want)
	if err != nil {
		t.Fatal(err)
	}
	if se, err = s.attach(ctx, m, tools, want, "left"); err != nil {
		return se, err
	}
	if err := s.step("attached"); err != nil {
		return se, err
	}
	if err := se.scan(ctx); err != nil {
		return se, err
	}
	if err := s.step("scanned"); err != nil {
		return se, err
	}
	if _, err := se.decide(ctx, "general"); err != nil {
		return se, err
	}
	if err := s.step("decided"); err != nil {
		return se, err
	}
	if _, err := se.issue(ctx, "general", "person:p"); err != nil {
		return se, err
	}
	return se, se.close(ctx, true)
}

// A medium that is pulled while its clearance is made gets none, and the log says so at once.
func TestT23_PulledWhileTheClearanceIsMade(t *testing.T) {
	for at, want := range map[string]string{"manifest": "attached decided", "issuing": "attached decided issuing abandoned", "token": "attached decided issuing issued"} {
		dir := t.TempDir()
		s := openState(t, dir)
		m, err := OpenMedium(filepath.Join(built.sticks, "clean.img"))
		if err != nil {
			t.Fatal(err)
		}
		screening := Screening{Pack: pack(t), Workers: built.bin, Class: "general"}
		tools, err := s.prepare(t.Context(), screening)
		if err != nil {
			t.Fatal(err)
		}
		se, err := s.attach(t.Context(), m, tools, screening, "left")
		if err != nil {
			t.Fatal(err)
		}
		if err := se.scan(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := se.decide(t.Context(), "general"); err != nil {
			t.Fatal(err)
		}
		gone, pull := context.WithCancel(t.Context())
		s.fault = func(step string) error {
			if step == at {
				pull()
			}
			return nil
		}
		c, err := se.issue(gone, "general", "person:p")
		if pulled := at != "token"; pulled != errors.Is(err, ErrRemoved) || pulled != (c == nil) {
			t.Errorf("%s: %v %v", at, c, err)
		}
		tokens, _ := filepath.Glob(filepath.Join(dir, "clearances", "*", tokenName))
		if (at == "token") != (len(tokens) == 1) {
			t.Errorf("%s: %d tokens", at, len(tokens))
		}
		if err := se.close(t.Context(), true); err != nil {
			t.Error(err)
		}
		got, _ := kinds(t, dir)
		if text := strings.Join(got, " "); text != want+" removed" {
			t.Errorf("%s: the log has %q", at, text)
		}
		pull()
	}
}
