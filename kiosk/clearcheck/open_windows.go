package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/windows"
)

// errLink says that a path is a link.
var errLink = errors.New("it is a link")

// systemPath is the root of a walk, in the form that Windows takes as it stands (\\?\): in the usual form a name that ends
// in a dot, or that is a device's, opens something else.
func systemPath(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	path = strings.TrimRight(path, `\`)
	switch {
	case strings.HasPrefix(path, `\\?\`):
		return path, nil
	case strings.HasPrefix(path, `\\`):
		return `\\?\UNC\` + path[2:], nil
	}
	return `\\?\` + path, nil
}

// openRoot opens the folder that the person named, with the backslash without which a drive is a device.
func openRoot(path string) (*os.File, error) { return os.Open(path + `\`) }

// openRead opens a file or directory on the medium. A link, junction or other reparse point is opened itself and not what
// it points to, and is then refused. Others may read and write meanwhile: that is seen afterwards.
func openRead(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|windows.FILE_FLAG_OPEN_REPARSE_POINT, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Mode()&(os.ModeSymlink|os.ModeIrregular) != 0 {
		err = errLink
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
