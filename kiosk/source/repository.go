package source

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// A published pack is written in several steps, the signed date last. What is copied by other means comes in any order.
const (
	// settleRepository is how long a repository must not change before it is offered.
	settleRepository = 3 * time.Second
	// maxRepository bounds what is looked at: 64 root files, a few packs. In a folder with more nothing is offered.
	maxRepository = 10_000
)

// WatchRepository calls offer when what lies below a folder has changed and then not for three seconds, and once at the
// start, until ctx ends. Hints can be lost, and come in the middle of a copy: the clock looks too, and whoever is offered a
// repository has to verify all of it. What offer did not want now (false) is offered again a second later. It is called on
// WatchRepository's goroutine.
func WatchRepository(ctx context.Context, dir string, offer func() bool) {
	hints, stop := hintsOf(dir, filepath.Join(dir, "metadata"))
	defer stop()
	var last, offered [32]byte
	var since time.Time
	every(ctx, hints, func() {
		now, err := stamp(dir)
		if err != nil {
			last = [32]byte{}
			return
		}
		if now != last {
			last, since = now, time.Now()
		}
		if now != offered && time.Since(since) >= settleRepository && ctx.Err() == nil && offer() {
			offered = now
		}
	})
}

// stamp changes when a file below a folder does. It opens none.
func stamp(dir string) (out [32]byte, err error) {
	h, n := sha256.New(), 0
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if n++; n > maxRepository {
			return fmt.Errorf("more than %d files: %w", maxRepository, os.ErrInvalid)
		}
		fmt.Fprintf(h, "%q %d %d %v\n", name, info.Size(), info.ModTime().UnixNano(), info.Mode())
		return nil
	})
	if err != nil {
		return out, err
	}
	h.Sum(out[:0])
	return out, nil
}
