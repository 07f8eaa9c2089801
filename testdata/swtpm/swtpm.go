// Package swtpm starts software TPMs for tests (apt-get install swtpm). No program imports it: such a TPM protects nothing.
package swtpm

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Device is a TPM that runs until the test ends, or Stop.
type Device struct {
	Socket string // what keys.Access takes as a device
	Stop   func() // takes it out of the machine
}

// startTime is how long a start may take on a machine that is busy.
const startTime = 10 * time.Second

// Start starts a TPM with an empty state.
func Start(t testing.TB) *Device {
	t.Helper()
	dir, err := os.MkdirTemp("", "tpm-") // a socket's path has at most 107 bytes, which t.TempDir's can exceed
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "tpm.sock")
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+dir, "--server", "type=unixio,path="+socket, "--flags", "not-need-init,startup-clear")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("swtpm (apt-get install swtpm): %v", err)
	}
	stop := sync.OnceFunc(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	t.Cleanup(stop)
	for end := time.Now().Add(startTime); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			return &Device{Socket: socket, Stop: stop}
		}
		if time.Now().After(end) {
			stop() // whose end completes what it said
			t.Fatalf("swtpm does not listen: %s", stderr.String())
		}
	}
}
