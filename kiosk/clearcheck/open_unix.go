//go:build unix

package main

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// errLink says that a path is a link.
var errLink = errors.New("it is a link")

// systemPath is the root of a walk. A link that the person named is followed, one on the medium never.
func systemPath(path string) (string, error) { return filepath.EvalSymlinks(path) }

// openRoot opens the folder that the person named.
func openRoot(path string) (*os.File, error) { return openRead(path) }

// openRead opens a file or directory on the medium. It follows no link, does not wait for the writer of a pipe, and asks
// the system not to note the access, since that would be a write to the medium. Only its owner may ask that.
func openRead(path string) (*os.File, error) {
	flags := os.O_RDONLY | syscall.O_NOFOLLOW | syscall.O_NONBLOCK
	f, err := os.OpenFile(path, flags|noAccessTime, 0)
	if errors.Is(err, syscall.EPERM) {
		f, err = os.OpenFile(path, flags, 0)
	}
	if errors.Is(err, syscall.ELOOP) {
		return nil, errLink
	}
	return f, err
}
