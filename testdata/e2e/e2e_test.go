//go:build e2e

package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// full adds the cases that the quick run leaves out.
var full = flag.Bool("full", false, "run every case; the quick run leaves out those that resemble another")

// built is for trying programs that were built elsewhere.
var built = flag.String("programs", "", "`DIR` with programs that are taken as they are; what it lacks is built")

// caseTime is far above what any case takes (seconds), and far below the limit of a whole run.
const caseTime = 4 * time.Minute

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
		say := func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
		setup, err = Prepare(context.Background(), Options{Dir: dir, Cache: filepath.Join(cache, "pratique-e2e"), Built: *built, Say: say})
		if err != nil {
			fmt.Fprintln(os.Stderr, "e2e: error:", err)
			return 1
		}
		return m.Run()
	}())
}
