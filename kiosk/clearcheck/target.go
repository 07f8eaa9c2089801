package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"sync"

	"pratique/kiosk/clearance"
	"pratique/scanner/report"
)

// surplus is how much more content than was cleared is read before the answer is altered without naming everything: a
// sparse file of a terabyte costs nothing to make and an hour to hash.
const surplus = 1 << 30

const (
	// surplusFiles is the same for their number: memory grows with what was cleared and not with what somebody put there.
	surplusFiles = 10_000
	// maxNameBytes bounds the names that are kept to say what was changed; about half a million of them.
	maxNameBytes = 64 << 20
)

// sectorBytes is the unit in which a token gives the size of a medium.
const sectorBytes = 512

// errAltered ends the reading early: whatever else is there, the medium is not what was cleared.
var errAltered = errors.New("altered")

// target is the path that is checked.
type target struct {
	path   string
	folder bool
	file   *os.File // of an image
	size   int64    // of an image
}

func openTarget(path string) (target, error) {
	info, err := os.Stat(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return target{}, usageError("%w", err)
		}
		return target{}, err
	}
	mode := info.Mode()
	switch {
	case mode.IsDir():
		return target{path: path, folder: true}, nil
	case mode.IsRegular(), mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0:
		f, err := os.Open(path)
		if err != nil {
			return target{}, err
		}
		size, err := f.Seek(0, io.SeekEnd) // Stat says 0 for a block device
		if err != nil {
			f.Close()
			return target{}, err
		}
		if size < sectorBytes {
			f.Close()
			return target{}, fmt.Errorf("%s holds no medium: it has %d bytes", path, size)
		}
		return target{path: path, file: f, size: size}, nil
	}
	return target{}, usageError("%s is neither a folder nor an image", path)
}

// Close ends the use of the target.
func (t target) Close() error {
	if t.file == nil {
		return nil
	}
	return t.file.Close()
}

// medium is what can be told of the medium itself: of an image its size, of a folder nothing.
func (t target) medium() *clearance.Medium {
	if t.folder {
		return nil
	}
	return &clearance.Medium{Sectors: uint64(t.size / sectorBytes)}
}

// compare reads the target and holds it against the claims. Differences go to stderr by the names that are there now.
func (t target) compare(ctx context.Context, claims clearance.Claims, cleared *clearance.Manifest, stderr io.Writer) (clearance.Comparison, error) {
	s := &sight{manifest: clearance.NewManifest(claims.ID), claims: claims, stderr: stderr}
	if cleared != nil {
		s.names = map[[32]byte]string{}
	}
	view, read := clearance.WholeMedium, s.image
	if t.folder {
		view, read = clearance.Folder, s.tree
	}
	err := read(ctx, t)
	if err == nil {
		_, err = s.manifest.Seal()
	}
	switch {
	case errors.Is(err, errAltered), errors.Is(err, clearance.ErrTooMany), errors.Is(err, clearance.ErrDuplicate):
		return clearance.Comparison{}, nil // the zero value: not equal
	case err != nil:
		return clearance.Comparison{}, err
	}
	comparison, err := clearance.Compare(claims, cleared, s.manifest, view)
	if errors.Is(err, clearance.ErrNeedManifest) {
		return comparison, &failure{fmt.Errorf("a folder shows one volume without its streams, and this medium has %d volumes and %d streams",
			claims.Content.Volumes, claims.Content.Streams), "give the manifest with --manifest", exitFailed}
	}
	if err == nil {
		s.say(comparison)
	}
	return comparison, err
}

// sight collects what is seen of the medium. Two goroutines add to it.
type sight struct {
	claims clearance.Claims
	stderr io.Writer

	mu       sync.Mutex
	manifest *clearance.Manifest
	names    map[[32]byte]string // local names by key, if differences are to be named
	named    int                 // bytes of them
	files    uint64              // so far, with streams
	bytes    uint64              // content so far
}

// add takes one entry in.
func (s *sight) add(volume int, kind report.Kind, path string, size int64, sum [32]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kind != report.Directory {
		if s.files++; s.files > s.claims.Content.Files+s.claims.Content.Streams+surplusFiles {
			fmt.Fprintln(s.stderr, "clearcheck: altered: there are many more files than were cleared")
			return errAltered
		}
	}
	if s.names != nil && s.named+len(path) <= maxNameBytes {
		s.names[clearance.PathKey(s.claims.ID, path)] = path
		s.named += len(path)
	}
	return s.manifest.Add(volume, kind, path, size, sum)
}

// worthHashing reports whether a file of this size can be one that was cleared. If it cannot, it is added without its
// hash and is a change in any case. After too much of that the answer is clear.
func (s *sight) worthHashing(size int64) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Files that Windows adds by itself are small and left out of both sums.
	if uint64(size) > max(s.claims.Content.Bytes, 4096) {
		return false, nil
	}
	if s.bytes += uint64(size); s.bytes > s.claims.Content.Bytes+surplus {
		fmt.Fprintln(s.stderr, "clearcheck: altered: there is much more content than was cleared")
		return false, errAltered
	}
	return true, nil
}

// altered says why the reading ends, by a name that cannot play tricks on the terminal.
func (s *sight) altered(path, why string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.stderr, "clearcheck: altered: %s %s\n", strconv.Quote(path), why)
	return errAltered
}

// say lists the differences. What was removed has no name here: the manifest holds none.
func (s *sight) say(c clearance.Comparison) {
	for _, change := range c.Changes {
		name := "one of the entries whose names were not kept, because there are too many"
		if known, ok := s.names[change.Key]; ok {
			name = strconv.Quote(known)
		}
		switch change.Kind {
		case clearance.Changed:
			fmt.Fprintf(s.stderr, "clearcheck: changed: %s\n", name)
		case clearance.Added:
			fmt.Fprintf(s.stderr, "clearcheck: added: %s\n", name)
		case clearance.Removed:
			if change.Entry == report.Directory {
				fmt.Fprintln(s.stderr, "clearcheck: removed: an empty directory, or something was put into it")
				continue
			}
			fmt.Fprintf(s.stderr, "clearcheck: removed: a %v of %d bytes with SHA-256 %x\n", change.Entry, change.Size, change.SHA256)
		}
	}
	if c.More {
		fmt.Fprintln(s.stderr, "clearcheck: there are more differences")
	}
}
