package yara

// #define _GNU_SOURCE
// #cgo LDFLAGS: -ldl
// #include <dlfcn.h>
// #include <yara.h>
//
// // library is the path of the shared library that this program has loaded, or NULL.
// static const char* library(void)
// {
//     Dl_info info;
//     return dladdr((const void*)yr_initialize, &info) == 0 ? NULL : info.dli_fname;
// }
import "C"

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
)

// Version is the version of libyara whose headers this program was built with.
func Version() string { return C.YR_VERSION }

// Library says which libyara this process runs: its version and the SHA-256 of its file. An update of the system may put
// another one into the place of the first without a new version. Not for a jailed process, which cannot read the file.
func Library() (string, error) {
	path := C.GoString(C.library())
	if path == "" {
		return "", errors.New("yara: the library's file is not known")
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("yara: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("yara: %w", err)
	}
	return fmt.Sprintf("%s %x", Version(), h.Sum(nil)), nil
}
