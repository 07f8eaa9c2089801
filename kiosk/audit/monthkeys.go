package audit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// monthKeys is the folder of the months' keys: a file of 32 random bytes for each month and generation, such as "2026-11.1",
// that only its owner may read. A month gets a new generation when something of it is erased.
type monthKeys string

const monthKeySize = 32

func (d monthKeys) path(month string, generation int64) string {
	return filepath.Join(string(d), month+"."+strconv.FormatInt(generation, 10))
}

// read returns a key; ErrErased if it is gone.
func (d monthKeys) read(month string, generation int64) ([]byte, error) {
	if !validMonth(month) || generation < 1 {
		return nil, fmt.Errorf("%w: a key of the month %q", ErrForeign, month)
	}
	f, err := os.OpenFile(d.path(month, generation), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrErased
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%w: %s must be a file that only its owner can read (mode 0600)", ErrUnusable, f.Name())
	}
	if info.Size() != monthKeySize { // cut off, or overwritten: what it wrapped is lost
		return nil, ErrErased
	}
	key := make([]byte, monthKeySize)
	if _, err := f.ReadAt(key, 0); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	return key, nil
}

// make returns a month's key, which is made if it is not there. A crash leaves a temporary file, which sweep removes, or a key
// that nothing is wrapped with yet.
func (d monthKeys) make(month string, generation int64) ([]byte, error) {
	if key, err := d.read(month, generation); err == nil || !errors.Is(err, ErrErased) {
		return key, err
	}
	key := make([]byte, monthKeySize)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return nil, classify(err)
	}
	tmp, err := os.CreateTemp(string(d), ".new-*")
	if err != nil {
		return nil, classify(err)
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if _, err := tmp.Write(key); err != nil {
		return nil, classify(err)
	}
	if err := tmp.Sync(); err != nil {
		return nil, classify(err)
	}
	// A link does not replace what another process has made meanwhile; what was cut off is replaced.
	name := d.path(month, generation)
	if err := os.Link(tmp.Name(), name); errors.Is(err, fs.ErrExist) {
		if key, err := d.read(month, generation); err == nil || !errors.Is(err, ErrErased) {
			return key, err
		}
		if err := os.Rename(tmp.Name(), name); err != nil {
			return nil, classify(err)
		}
	} else if err != nil {
		return nil, classify(err)
	}
	return key, d.sync()
}

func (d monthKeys) sync() error {
	dir, err := os.Open(string(d))
	if err != nil {
		return classify(err)
	}
	defer dir.Close()
	return classify(dir.Sync())
}

// destroy overwrites a key and removes it. On a disk that writes elsewhere than it is told (flash, copy on write) the old
// bytes can outlive this; that is for the disk's own encryption.
func (d monthKeys) destroy(name string) error {
	f, err := os.OpenFile(filepath.Join(string(d), name), os.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return classify(err)
	}
	defer f.Close()
	noise := make([]byte, monthKeySize)
	if _, err := rand.Read(noise); err != nil {
		return err
	}
	if _, err := f.WriteAt(noise, 0); err != nil {
		return classify(err)
	}
	if err := f.Sync(); err != nil {
		return classify(err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return classify(err)
	}
	return d.sync()
}

// each calls f with every key that there is.
func (d monthKeys) each(f func(name, month string, generation int64) error) error {
	files, err := os.ReadDir(string(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return classify(err)
	}
	for _, file := range files {
		month, number, _ := strings.Cut(file.Name(), ".")
		generation, err := strconv.ParseInt(number, 10, 64)
		if err != nil || !validMonth(month) {
			continue
		}
		if err := f(file.Name(), month, generation); err != nil {
			return err
		}
	}
	return nil
}

// last returns the newest generation of a month's keys; 0 if there is none.
func (d monthKeys) last(month string) (last int64, err error) {
	err = d.each(func(_, m string, generation int64) error {
		if m == month {
			last = max(last, generation)
		}
		return nil
	})
	return last, err
}

// add adds to some months those that have a key and are wanted.
func (d monthKeys) add(months []string, wanted func(string) bool) ([]string, error) {
	err := d.each(func(_, m string, _ int64) error {
		if wanted(m) && !slices.Contains(months, m) {
			months = append(months, m)
		}
		return nil
	})
	return months, err
}

// oldTemporary is how long after a temporary key file was made no other process can be about to use it.
const oldTemporary = time.Hour

// sweep does what a crash in an erasure left to do: keys of generations that the table has given up are destroyed.
func (n *names) sweep(ctx context.Context) error {
	least, err := n.generations(ctx)
	if err != nil {
		return err
	}
	err = n.keys.each(func(name, month string, generation int64) error {
		if generation >= least[month] {
			return nil
		}
		return n.keys.destroy(name)
	})
	if err != nil {
		return err
	}
	temporary, err := filepath.Glob(filepath.Join(string(n.keys), ".new-*"))
	if err != nil {
		return classify(err)
	}
	for _, name := range temporary {
		info, err := os.Lstat(name)
		if err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > oldTemporary {
			if err := n.keys.destroy(filepath.Base(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// generations returns for each month the first generation whose key may still be needed: that of its oldest secret, or the one
// that new secrets will have.
func (n *names) generations(ctx context.Context) (map[string]int64, error) {
	rows, err := n.db.QueryContext(ctx, "SELECT month, min(generation, coalesce((SELECT min(generation) FROM secret s WHERE s.month = m.month), generation)) FROM month m")
	if err != nil {
		return nil, classify(err)
	}
	defer rows.Close()
	out := map[string]int64{}
	for rows.Next() {
		var month string
		var generation int64
		if err := rows.Scan(&month, &generation); err != nil {
			return nil, classify(err)
		}
		out[month] = generation
	}
	return out, classify(rows.Err())
}
