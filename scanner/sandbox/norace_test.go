//go:build !race

package sandbox

import (
	"os"
	"testing"
)

// jailedBinary is what the tests start again in a jail: themselves.
func jailedBinary(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return self
}

func removeBinary() {}
