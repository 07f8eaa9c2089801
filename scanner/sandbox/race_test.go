//go:build race

package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	// The race detector brings C into the test binary.
	_ "pratique/scanner/sandbox/early"
)

// jailedBinary is this test binary as it is without the race detector. With it, threads start as glibc starts them, with
// clone3, and scanworker's filter rightly kills that: scanworker is pure Go and is never built so. What is held to be jailed
// must be what is jailed on a station.
func jailedBinary(t *testing.T) string {
	t.Helper()
	path, err := builtBinary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var builtBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "sandbox-test-") // beyond the end of the first test that asks; removed by removeBinary
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "sandbox.test")
	cmd := exec.Command("go", "test", "-c", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

func removeBinary() {
	if path, err := builtBinary(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
}
