package pack

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// folder is a repository in a folder that an enemy may have filled, and may be changing.
type folder struct{ root *os.Root }

func openFolder(dir string) (*folder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, refuse(NoRepository, "there is no folder that can be opened: %v", cause(err))
	}
	return &folder{root}, nil
}

func (f *folder) Close() error { return f.root.Close() }

// open opens a regular file for reading. os.Root keeps every name inside the folder; links inside it are refused too, since
// no publisher makes any. Opening does not wait, as it would for a FIFO.
func (f *folder) open(name string) (*os.File, int64, error) {
	for at := range strings.Split(name, "/") {
		part := path.Join(strings.Split(name, "/")[:at+1]...)
		info, err := f.root.Lstat(part)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, 0, fmt.Errorf("%s: %w", part, fs.ErrNotExist)
		}
		if err != nil {
			return nil, 0, refuse(NoRepository, "%s cannot be read: %v", part, cause(err))
		}
		if last := part == name; last && !info.Mode().IsRegular() || !last && !info.IsDir() {
			return nil, 0, refuse(Malformed, "%s is a link or another thing that has no place in a repository", part)
		}
	}
	file, err := f.root.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, refuse(NoRepository, "%s cannot be read: %v", name, cause(err))
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		file.Close()
		return nil, 0, refuse(Malformed, "%s is a link or another thing that has no place in a repository", name)
	}
	return file, info.Size(), nil
}

// metadata is a source.
func (f *folder) metadata(name string) ([]byte, error) { return f.read("metadata/" + name) }

func (f *folder) read(name string) ([]byte, error) {
	file, _, err := f.open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxMetadata+1))
	if err != nil {
		return nil, refuse(NoRepository, "%s cannot be read: %v", name, cause(err))
	}
	if len(data) > maxMetadata {
		return nil, refuse(TooLarge, "%s has more than %d bytes", name, maxMetadata)
	}
	return data, nil
}

// copyTarget copies the pack into w and refuses every other content than the signed one: what is verified is the copy.
func (f *folder) copyTarget(ctx context.Context, w io.Writer, t target) error {
	name := "targets/" + t.stored()
	file, size, err := f.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return refuse(NoRepository, "the pack is missing (%s)", name)
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if size != t.size {
		return refuse(Changed, "the pack has %d bytes, and %d were signed", size, t.size)
	}
	sum := sha256.New()
	// One byte more than was signed, for a file that grows meanwhile.
	if err := copyAll(io.MultiWriter(w, sum), &contextReader{ctx, io.LimitReader(file, t.size+1)}); err != nil {
		return err
	}
	if [32]byte(sum.Sum(nil)) != t.sha256 {
		return refuse(Changed, "the pack is not the one that was signed")
	}
	return nil
}

// stored is the name of a pack's file below targets/.
func (t target) stored() string {
	return fmt.Sprintf("%s/%x.%s", path.Dir(t.path), t.sha256, path.Base(t.path))
}

// cause is a file error without the path of the machine.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// copyAll copies, and tells a repository that cannot be read from a store that cannot be written.
func copyAll(w io.Writer, r io.Reader) error {
	buf := make([]byte, 1<<20)
	for {
		n, err := r.Read(buf)
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		var file *fs.PathError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &file):
			return refuse(NoRepository, "the pack cannot be read: %v", file.Err)
		case err != nil:
			return err // the context's
		}
	}
}
