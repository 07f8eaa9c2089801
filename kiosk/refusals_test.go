package kiosk

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pratique/kiosk/audit"
)

// A folder that changes for ever cannot fill the log, whatever it changes.
func TestT29_AFolderThatIsRefusedForEverDoesNotFillTheLog(t *testing.T) {
	var r refusals
	start := time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)
	entries, told := 0, uint64(0)
	const hours, each = 24, 3600
	for i := range hours * each {
		what := refusal{gate: "signature", code: "changed", source: "folder"}
		if i%2 == 1 { // a thief of enough keys signs another bad pack each time
			what.gate, what.code, what.pack = "goodware", codeGate, [32]byte{byte(i >> 16), byte(i >> 8), byte(i)}
		}
		if untold, ok := r.enter(what, start.Add(time.Duration(i)*time.Second)); ok {
			entries++
			told += untold
		}
	}
	if entries > hours*maxRefusals || entries < hours {
		t.Errorf("%d entries in a day", entries)
	}
	if untold := r.untold; told+untold+uint64(entries) != hours*each {
		t.Errorf("%d entries tell of %d, and %d are to be told, of %d", entries, told, untold, hours*each)
	}
	// A clock that is set back by a year does not silence it for a year.
	if _, ok := r.enter(refusal{code: "changed"}, start.AddDate(-1, 0, 0)); !ok {
		t.Error("silenced by a clock that was set back")
	}
}

func TestT29_RefusalsWithoutAnEntryAreCounted(t *testing.T) {
	x := newTeam(t)
	x.install()
	x.publish(2, nil)
	var refused *PackRefused
	bad := changed(t, x.Dir)
	count := func() (entries int, untold uint64) {
		err := x.s.Log(t.Context(), func(e audit.Entry) error {
			if d, ok := e.Data.(audit.Pack); ok && d.Refuse != "" {
				entries++
				untold += d.Untold
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return entries, untold
	}
	refuse := func(folder string) {
		t.Helper()
		if _, _, err := x.s.Install(t.Context(), folder, "folder", x.cfg); !errors.As(err, &refused) {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		if err := os.WriteFile(filepath.Join(bad, "NOTE"), make([]byte, i), 0o600); err != nil {
			t.Fatal(err)
		}
		refuse(bad)
	}
	if n, untold := count(); n != 1 || untold != 0 {
		t.Errorf("%d entries that tell of %d more", n, untold)
	}
	refuse(t.TempDir()) // for another reason
	if n, untold := count(); n != 2 || untold != 19 {
		t.Errorf("%d entries that tell of %d more", n, untold)
	}
	real := x.s.now
	x.s.now = func() time.Time { return time.Now().Add(time.Hour) }
	refuse(bad)
	x.s.now = real
	if n, _ := count(); n != 3 {
		t.Errorf("%d entries after an hour", n)
	}
	x.sound()
}
