package main

import (
	"bytes"
	"os"
	"testing"
	"time"

	"pratique/scanner/report"
)

func TestProgressSaysBytesFilesRateAndTimeLeft(t *testing.T) {
	for _, c := range []struct {
		progress report.Progress
		elapsed  time.Duration
		want     string
	}{
		{report.Progress{Read: 0, Total: 1 << 20}, 5 * time.Second, "0 B of 1.0 MiB, 0 files"},
		{report.Progress{Read: 1 << 20, Total: 4 << 20, Files: 1}, time.Millisecond, "1.0 MiB of 4.0 MiB, 1 file"},
		{report.Progress{Read: 1 << 20, Total: 4 << 20, Files: 2}, 2 * time.Second, "1.0 MiB of 4.0 MiB, 2 files, 512.0 KiB/s, 6s left"},
		{report.Progress{Read: 5 << 20, Total: 4 << 20, Files: 2}, 2 * time.Second, "5.0 MiB of 5.0 MiB, 2 files, 2.5 MiB/s, 0s left"},
	} {
		if got := progressLine(c.progress, c.elapsed); got != c.want {
			t.Errorf("%+v after %v: %q, want %q", c.progress, c.elapsed, got, c.want)
		}
	}
}

func TestNoProgressWithoutATerminal(t *testing.T) {
	var buf bytes.Buffer
	m := newMeter(&buf)
	m.show(report.Progress{Read: 1, Total: 2})
	m.clear()
	if buf.Len() > 0 {
		t.Errorf("%q", buf.String())
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if newMeter(w).w != nil {
		t.Error("a pipe was taken for a terminal")
	}
}
