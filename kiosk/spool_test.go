package kiosk

import (
	"os"
	"testing"
	"testing/synctest"
	"time"

	"pratique/scanner/report"
)

// While millions of entries are sealed nothing is read, and the screen must move all the same, until it is told to stop.
func TestT24_ProgressGoesOnAfterTheScan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said []report.Progress
		se := &session{want: Screening{Progress: func(p report.Progress) { said = append(said, p) }}}
		last := report.Progress{Read: 5, Total: 5, Files: 7}
		se.progress(last)
		stop := se.beat()
		time.Sleep(10*beatEvery + beatEvery/2)
		stop()
		time.Sleep(10 * beatEvery)
		if len(said) != 11 || said[10] != last {
			t.Errorf("%d calls, the last with %+v", len(said), said[len(said)-1])
		}
		(&session{}).beat()() // nobody listens
	})
}

func TestASpoolHasNoName(t *testing.T) {
	s := &State{dir: t.TempDir()}
	f, err := s.newSpool()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if left, err := os.ReadDir(s.dir); err != nil || len(left) > 0 {
		t.Errorf("%v is in the state, %v", left, err)
	}
	s.dir += "/gone"
	if _, err := s.newSpool(); err == nil {
		t.Error("a spool without a state")
	}
}
