//go:build e2e

package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pratique/testdata/e2e/wire"
)

// setup is the booted machine, made once for all cases.
var setup *Setup

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "e2e-") // t.TempDir is too long a path for a socket
		if err != nil {
			fmt.Fprintln(os.Stderr, "e2e: error:", err)
			return 1
		}
		defer os.RemoveAll(dir)
		cache, err := os.UserCacheDir()
		if err != nil {
			cache = os.TempDir()
		}
		setup, err = Prepare(context.Background(), dir, filepath.Join(cache, "pratique-e2e"), func(format string, args ...any) { fmt.Printf(format+"\n", args...) })
		if err != nil {
			fmt.Fprintln(os.Stderr, "e2e: error:", err)
			return 1
		}
		return m.Run()
	}())
}

func TestRestored(t *testing.T) {
	m, err := setup.Restore(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	bus, err := m.Guest.Bus(t.Context())
	t.Log(bus, err, m.Console())
	e, err := m.Guest.Run(t.Context(), nil, Programs+"/pratique", "doctor")
	t.Log(e, err)
	e, err = m.Guest.Run(t.Context(), &wire.User{UID: 900, GID: 900}, Programs+"/pratique", "doctor")
	t.Log(e, err)
}
