//go:build unix

package main

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// defaultTrust is where an administrator puts the trust file.
func defaultTrust() (string, error) { return "/etc/pratique/trust.cbor", nil }

// administrators refuses a trust file that somebody else could have put there: it and its folder must be root's, and
// nobody else's to write.
func administrators(path string) error {
	for _, p := range []string{path, filepath.Dir(path)} {
		info, err := os.Lstat(p)
		if err != nil {
			return err
		}
		owner, ok := info.Sys().(*syscall.Stat_t)
		if !ok || owner.Uid != 0 || info.Mode().Perm()&0o022 != 0 || info.Mode()&os.ModeSymlink != 0 {
			return errors.New("it is not root's alone to write")
		}
	}
	return nil
}
