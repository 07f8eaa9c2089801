package volumetest

import (
	"sync"
	"time"

	"pratique/scanner/volume"
)

// LieBlock is the unit in which a Liar lies.
const LieBlock = 4 << 10

// Read is what a Liar knows when it decides what to show of one block.
type Read struct {
	At      int64         // of the block on the medium
	Nth     int           // how often this block was asked for, this time included
	Reads   int           // how many reads the medium has seen, this one included
	After   time.Duration // since the first read
	Forward bool          // the read begins where the one before it ended, or behind
}

// Liar is a medium that shows other bytes at some reads: one bit of each of their sectors differs. It is safe for
// concurrent use.
type Liar struct {
	volume.Source
	Lies  func(Read) bool // called by one read at a time
	Delay time.Duration   // of each read

	mu    sync.Mutex
	seen  map[int64]int
	reads int
	lies  int
	end   int64
	first time.Time
}

// Told is how many blocks it showed other than they are.
func (l *Liar) Told() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lies
}

// Reads is how many reads it has seen.
func (l *Liar) Reads() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reads
}

// ReadAt follows io.ReaderAt.
func (l *Liar) ReadAt(p []byte, off int64) (int, error) {
	time.Sleep(l.Delay)
	n, err := l.Source.ReadAt(p, off)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen, l.first = map[int64]int{}, time.Now()
	}
	l.reads++
	r := Read{Reads: l.reads, After: time.Since(l.first), Forward: off >= l.end}
	l.end = off + int64(n)
	for at := off - off%LieBlock; at < l.end; at += LieBlock {
		l.seen[at]++
		r.At, r.Nth = at, l.seen[at]
		if !l.Lies(r) {
			continue
		}
		l.lies++
		const sector = 512
		for bit := at + sector/2; bit < at+LieBlock; bit += sector {
			if off <= bit && bit < l.end {
				p[bit-off] ^= 1
			}
		}
	}
	return n, err
}

// Fake is a medium of False bytes that has memory for the first True of them only, which is Source.
type Fake struct {
	volume.Source
	False, True int64
	// Behind shows what is said to lie behind the true end. Wrapped shows again what lies at its beginning.
	Behind func(f *Fake, p []byte, off int64) (int, error)
}

// Size is what it says.
func (f *Fake) Size() int64 { return f.False }

// ReadAt follows io.ReaderAt.
func (f *Fake) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	if off < f.True {
		var err error
		if n, err = f.Source.ReadAt(p[:min(int64(len(p)), f.True-off)], off); err != nil {
			return n, err
		}
	}
	if n == len(p) {
		return n, nil
	}
	m, err := f.Behind(f, p[n:], off+int64(n))
	return n + m, err
}

// Wrapped gives the bytes at the address modulo the true size.
func Wrapped(f *Fake, p []byte, off int64) (int, error) {
	for n := 0; n < len(p); {
		at := (off + int64(n)) % f.True
		got, err := f.Source.ReadAt(p[n:n+int(min(int64(len(p)-n), f.True-at))], at)
		if n += got; err != nil {
			return n, err
		}
	}
	return len(p), nil
}

// Failed gives errors.
func Failed(*Fake, []byte, int64) (int, error) { return 0, ErrInjected }

// Zeroed gives zeros.
func Zeroed(_ *Fake, p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}
