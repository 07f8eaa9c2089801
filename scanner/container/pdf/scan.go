package pdf

import (
	"bytes"
	"io"
	"sort"
)

const (
	scanBlock = 1 << 20
	// scanBack is how far back from the word "obj" the two numbers are looked for, and more than any word that is.
	scanBack = 64
	// MaxObjects bounds the places that are remembered: a book of ten thousand pages has one million.
	MaxObjects = 4 << 20
)

// Place is where an object begins, behind the word "obj".
type Place struct {
	Number, Generation int64
	At                 int64
}

// Layout is where things can be in a file.
type Layout struct {
	Objects  []Place
	Trailers []int64 // behind the word
	ends     []int64 // of streams
	Many     bool    // more objects than are remembered
}

// Scan looks for objects, trailers, and the ends of streams. spend is told of the bytes that were read, and ends it.
func Scan(r io.ReaderAt, size int64, spend func(int64) error) (*Layout, error) {
	l := &Layout{}
	buf := make([]byte, scanBack+scanBlock+scanBack)
	for at := int64(0); at < size; at += scanBlock {
		from := max(0, at-scanBack)
		n, err := r.ReadAt(buf[:min(int64(len(buf)), size-from, at+scanBlock+scanBack-from)], from)
		if n == 0 && err != nil && err != io.EOF {
			return nil, err
		}
		if err := spend(scanBlock); err != nil {
			return nil, err
		}
		b := buf[:n]
		// What begins in this block belongs to it.
		begins := func(word string, found func(i int)) {
			for i := int(at - from); i < len(b); {
				k := bytes.Index(b[i:], []byte(word))
				if k < 0 || int64(i+k) >= at-from+scanBlock {
					return
				}
				i += k
				found(i)
				i += len(word)
			}
		}
		begins("obj", func(i int) {
			if number, generation, ok := numbersBefore(b[:i]); ok {
				l.Objects = append(l.Objects, Place{number, generation, from + int64(i) + 3})
			}
		})
		begins("endstream", func(i int) { l.ends = append(l.ends, from+int64(i)) })
		begins("trailer", func(i int) { l.Trailers = append(l.Trailers, from+int64(i)+7) })
		if len(l.Objects) > MaxObjects || len(l.ends) > MaxObjects || len(l.Trailers) > MaxObjects {
			l.Many = true
			return l, nil
		}
	}
	return l, nil
}

// numbersBefore reads two numbers that stand at the end of b.
func numbersBefore(b []byte) (number, generation int64, ok bool) {
	i := len(b)
	read := func() (v int64, ok bool) {
		for i > 0 && space(b[i-1]) {
			i--
		}
		end, scale := i, int64(1)
		for i > 0 && b[i-1] >= '0' && b[i-1] <= '9' && end-i < 10 {
			i--
			v += int64(b[i]-'0') * scale
			scale *= 10
		}
		return v, i < end
	}
	if generation, ok = read(); !ok || i == 0 || !space(b[i-1]) {
		return 0, 0, false
	}
	number, ok = read()
	return number, generation, ok
}

// End returns the first end of a stream from an offset on, -1 if there is none.
func (l *Layout) End(from int64) int64 {
	i := sort.Search(len(l.ends), func(i int) bool { return l.ends[i] >= from })
	if i == len(l.ends) {
		return -1
	}
	return l.ends[i]
}
