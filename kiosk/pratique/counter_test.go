package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pratique/kiosk"
	"pratique/kiosk/keys"
	"pratique/testdata/swtpm"
)

// counts starts a station as often as is said, each of which moves its counter by one.
func counts(t *testing.T, state, device string, starts int) {
	t.Helper()
	for range starts {
		st, err := kiosk.OpenState(t.Context(), state)
		if err != nil {
			t.Fatal(err)
		}
		data, err := st.KeyBox(kiosk.EnrolledKey)
		if err != nil {
			t.Fatal(err)
		}
		box, err := keys.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		o, err := keys.Open(t.Context(), box, keys.Access{Device: device}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := st.UseCounter(t.Context(), o.Counter()); err != nil {
			t.Error(err)
		}
		o.Close()
		st.Close()
	}
}

func TestT16_TheLogIsVerifiedAndAcceptedWithTheCounter(t *testing.T) {
	state, device := filepath.Join(t.TempDir(), "state"), swtpm.Start(t).Socket
	says := func(want int, text string, args ...string) {
		t.Helper()
		code, out, stderr := run(t, "pratique", append(args, "--state", state)...)
		if code != want || !strings.Contains(out+stderr, text) {
			t.Fatalf("%v: %d %s%s, want %d and %q", args, code, out, stderr, want, text)
		}
	}
	says(exitOK, "", "keys", "new", "--in", "tpm", "--tpm", device, "--name", "kiosk-1")
	counts(t, state, device, 1)
	old := filepath.Join(t.TempDir(), "old")
	if err := os.CopyFS(old, os.DirFS(state)); err != nil {
		t.Fatal(err)
	}
	counts(t, state, device, 2)
	says(exitOK, "it agrees with the station's counter", "audit", "verify", "--tpm", device)
	says(exitOK, "3 steps of the station's counter", "audit", "verify", "--tpm", filepath.Join(old, "none"))
	says(exitOK, "cannot be read here", "audit", "verify", "--tpm", filepath.Join(old, "none"))

	// Last week's disk.
	for _, suffix := range []string{"", "-wal", "-shm"} {
		os.Remove(filepath.Join(state, "log.db"+suffix))
	}
	data, err := os.ReadFile(filepath.Join(old, "log.db"))
	if err == nil {
		err = os.WriteFile(filepath.Join(state, "log.db"), data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	says(exitFailed, "put back to an older state", "audit", "verify", "--tpm", device)
	says(exitUsage, "--counter", "audit", "restore", "--counter", "--anew", "--tpm", device)
	says(exitOK, "the log is accepted where the counter is", "audit", "restore", "--counter", "--tpm", device)
	says(exitOK, "it agrees with the station's counter", "audit", "verify", "--tpm", device)
	counts(t, state, device, 1)

	// A log that is lost is begun anew where the counter is.
	for _, suffix := range []string{"", "-wal", "-shm"} {
		os.Remove(filepath.Join(state, "log.db"+suffix))
	}
	says(exitOK, "a new log has begun", "audit", "restore", "--anew", "--tpm", device)
	says(exitOK, "it agrees with the station's counter", "audit", "verify", "--tpm", device)
	counts(t, state, device, 1)
}
