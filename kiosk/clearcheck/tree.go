package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sync/errgroup"

	"pratique/scanner/report"
)

const (
	// hashers is how many files are read at once. A stick is slower with more.
	hashers = 2
	// readBytes is the size of one read: large enough for a stick's best rate.
	readBytes = 1 << 20
	// listBatch is how many names of a directory are taken at once, so that one of a million files needs no list of them.
	listBatch = 1024
	// maxPending bounds the names of directories that wait to be listed. A medium with more is not read at all: nobody can
	// say whether it is what was cleared.
	maxPending = 64 << 20
)

// job is one file to hash.
type job struct {
	system string // as the system names it
	path   string // inside the volume, with '/'
}

// cost is what a waiting directory takes in memory.
func (j *job) cost() int { return 2*16 + len(j.system) + len(j.path) }

// tree reads a folder. No link is followed: what is neither a file nor a directory cannot have been cleared.
func (s *sight) tree(ctx context.Context, t target) error {
	if err := s.manifest.AddVolume(0); err != nil {
		return err
	}
	root, err := systemPath(t.path)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	jobs := make(chan job)
	group.Go(func() error {
		defer close(jobs)
		return s.walk(ctx, root, jobs)
	})
	for range hashers {
		group.Go(func() error {
			buf := make([]byte, readBytes)
			for j := range jobs {
				if err := s.hashFile(ctx, j, buf); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return group.Wait()
}

// walk lists directories and hands out their files. It keeps a list of directories instead of calling itself, so that a
// deep tree costs no stack.
func (s *sight) walk(ctx context.Context, root string, jobs chan<- job) error {
	pending := []job{{root, ""}}
	waiting := pending[0].cost()
	for len(pending) > 0 {
		dir := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		waiting -= dir.cost()
		open := openRead
		if dir.path == "" {
			open = openRoot
		}
		f, err := open(dir.system)
		if errors.Is(err, errLink) {
			return s.altered(dir.path, "became a link while it was looked at")
		}
		if err != nil {
			return err
		}
		for {
			entries, err := f.ReadDir(listBatch)
			for _, e := range entries {
				child := job{dir.system + string(os.PathSeparator) + e.Name(), e.Name()}
				if dir.path != "" {
					child.path = dir.path + "/" + e.Name()
				}
				switch {
				case len(child.path) > report.MaxPathBytes:
					f.Close()
					return s.altered(child.path[:256], "and so on is too long a path")
				case e.IsDir():
					if err = s.add(0, report.Directory, child.path, 0, [32]byte{}); err == nil {
						pending = append(pending, child)
						if waiting += child.cost(); waiting > maxPending {
							err = errors.New("the folder holds more directories than this program follows")
						}
					}
				case e.Type().IsRegular():
					select {
					case jobs <- child:
					case <-ctx.Done():
						err = ctx.Err()
					}
				default:
					err = s.altered(child.path, "is neither a file nor a directory")
				}
				if err != nil && err != io.EOF {
					f.Close()
					return err
				}
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				f.Close()
				return err
			}
		}
		f.Close()
	}
	return nil
}

// hashFile reads one file to its end. A file that is not the same size and age before and after is altered: somebody is
// writing to the medium.
func (s *sight) hashFile(ctx context.Context, j job, buf []byte) error {
	f, err := openRead(j.system)
	if errors.Is(err, errLink) {
		return s.altered(j.path, "became a link while it was looked at")
	}
	if err != nil {
		return err
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return err
	}
	if !before.Mode().IsRegular() {
		return s.altered(j.path, "is not a file any more")
	}
	worth, err := s.worthHashing(before.Size())
	if err != nil {
		return err
	}
	if !worth {
		return s.add(0, report.File, j.path, before.Size(), [32]byte{})
	}
	h := sha256.New()
	// One byte more than the file has: what grows while it is read is seen without reading for ever.
	n, err := copyContext(ctx, h, io.LimitReader(f, before.Size()+1), buf)
	if err != nil {
		return err
	}
	after, err := f.Stat()
	if err != nil {
		return err
	}
	if n != before.Size() || !sameState(before, after) {
		return s.altered(j.path, "changed while it was read")
	}
	return s.add(0, report.File, j.path, n, [32]byte(h.Sum(nil)))
}

func sameState(a, b fs.FileInfo) bool { return a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) }

// copyContext copies with buf until r ends, and stops within one read when ctx ends.
func copyContext(ctx context.Context, w io.Writer, r io.Reader, buf []byte) (int64, error) {
	var total int64
	for {
		if err := ctx.Err(); err != nil {
			return total, err
		}
		n, err := r.Read(buf)
		if _, err := w.Write(buf[:n]); err != nil {
			return total, err
		}
		total += int64(n)
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, fmt.Errorf("read: %w", err)
		}
	}
}
