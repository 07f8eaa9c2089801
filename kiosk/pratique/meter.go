package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"pratique/scanner/report"
)

// meter shows how far a scan is, on a terminal and nowhere else.
type meter struct {
	w     io.Writer // nil: show nothing
	start time.Time
	drawn bool
}

func newMeter(w io.Writer) *meter {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &meter{w: w, start: time.Now()}
	}
	return &meter{}
}

func (m *meter) show(pr report.Progress) {
	if m.w == nil {
		return
	}
	m.drawn = true
	fmt.Fprintf(m.w, "\r\x1b[K%s", progressLine(pr, time.Since(m.start)))
}

func (m *meter) clear() {
	if m.drawn {
		fmt.Fprint(m.w, "\r\x1b[K")
	}
}

// progressLine says bytes, files, rate and time left. The total is a guess that may grow, so the time left is too, and is
// not said in the first second.
func progressLine(pr report.Progress, elapsed time.Duration) string {
	total := max(pr.Total, pr.Read)
	line := fmt.Sprintf("%s of %s, %s", size(pr.Read), size(total), count(pr.Files, "file", "files"))
	seconds := elapsed.Seconds()
	if seconds < 1 || pr.Read <= 0 {
		return line
	}
	rate := float64(pr.Read) / seconds
	left := time.Duration(float64(total-pr.Read) / rate * float64(time.Second)).Round(time.Second)
	return line + fmt.Sprintf(", %s/s, %s left", size(int64(rate)), left)
}
