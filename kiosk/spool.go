package kiosk

import (
	"fmt"
	"os"
	"time"

	"pratique/scanner/report"
)

// beatEvery is how often people hear that the program is at work once the scan has ended. Sorting, sealing and writing a
// list of millions takes seconds, and a screen that stands still for two looks broken.
const beatEvery = time.Second

// newSpool returns a file without a name, for what a session's manifest does not hold in memory. Whatever ends the
// program, nothing of it stays; what a crash leaves between the two steps has the prefix that the next start removes.
func (s *State) newSpool() (*os.File, error) {
	f, err := os.CreateTemp(s.dir, ".new-spool-*")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	return f, nil
}

// progress passes on what the scanner says of its progress.
func (se *session) progress(p report.Progress) {
	se.said = p
	if se.want.Progress != nil {
		se.want.Progress(p)
	}
}

// beat repeats the last progress until stop is called, which waits. The scanner must have ended.
func (se *session) beat() (stop func()) {
	if se.want.Progress == nil {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(beatEvery)
		defer ticker.Stop()
		for {
			select {
			case <-quit:
				return
			case <-ticker.C:
				se.want.Progress(se.said)
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}
