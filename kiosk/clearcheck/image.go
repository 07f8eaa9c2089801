package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strconv"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/readers"
)

// image reads every volume of an image with the scanner's own readers. Whatever they cannot read in full is an error: a
// comparison of a part is no answer.
func (s *sight) image(ctx context.Context, t target) error {
	src := imageSource{t}
	layout, err := volume.Map(ctx, src)
	if err != nil {
		return err
	}
	for _, r := range layout.Regions {
		if !r.Class.Accounted() {
			return fmt.Errorf("the image cannot be read in full: %s (%s)", r.What, r.Class)
		}
	}
	buf := make([]byte, readBytes)
	first := 0 // the id of the volume, or of the first of its trees
	for _, c := range layout.Volumes {
		reader, err := readers.Open(src, c)
		if err != nil {
			text, _ := readers.OutcomeOf(c, err)
			return fmt.Errorf("%s: %s", c.What, text)
		}
		trees, err := volume.Trees(ctx, reader)
		if err != nil {
			return err
		}
		for i := range trees {
			if err := s.manifest.AddVolume(first + i); err != nil {
				return err
			}
		}
		section := volume.Section(src, c.Start, c.Bytes)
		summary, err := reader.Walk(ctx, volume.Options{}, func(e volume.Entry) error {
			return s.entry(ctx, section, first+e.Tree, c.What, e, buf)
		})
		if err != nil {
			return err
		}
		if summary.Outcome != report.Clean {
			return fmt.Errorf("%s: %s", c.What, summary.Reason)
		}
		first += len(trees)
	}
	return nil
}

// entry takes in one entry of the volume with this id, which people know as what.
func (s *sight) entry(ctx context.Context, section volume.Source, id int, what string, e volume.Entry, buf []byte) error {
	if e.Kind == report.Area {
		return nil // unallocated bytes are no content
	}
	switch e.Outcome {
	case report.Unscanned, report.Clean, report.Flagged:
	default:
		return fmt.Errorf("%s: %s is %v", what, strconv.Quote(e.Path), e.Outcome)
	}
	if e.Kind == report.Directory {
		return s.add(id, e.Kind, e.Path, 0, [32]byte{})
	}
	if e.Opaque {
		return fmt.Errorf("%s: %s is kept in a form that cannot be read", what, strconv.Quote(e.Path))
	}
	worth, err := s.worthHashing(e.Size)
	if err != nil {
		return err
	}
	if !worth {
		return s.add(id, e.Kind, e.Path, e.Size, [32]byte{})
	}
	h := sha256.New()
	n, err := copyContext(ctx, h, content(section, &e), buf)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", what, strconv.Quote(e.Path), err)
	}
	if n != e.Size {
		return fmt.Errorf("%s: %s: %d of %d bytes could be read", what, strconv.Quote(e.Path), n, e.Size)
	}
	return s.add(id, e.Kind, e.Path, e.Size, [32]byte(h.Sum(nil)))
}

// content reads an entry through its extents: stored bytes first, then zeros up to its size. What the volume holds in
// another way is had in that way.
func content(section volume.Source, e *volume.Entry) io.Reader {
	if e.Decode != nil {
		return io.NewSectionReader(e.Decode(section), 0, e.Size+1) // one byte more, so that too much is seen
	}
	var parts []io.Reader
	left := e.Valid
	if e.Inline != nil {
		parts = append(parts, bytes.NewReader(e.Inline))
		left -= int64(len(e.Inline))
	}
	for _, x := range e.Extents {
		n := min(x.Bytes, left)
		if x.Start < 0 {
			parts = append(parts, io.LimitReader(zeros{}, n))
		} else {
			parts = append(parts, io.NewSectionReader(section, x.Start, n))
		}
		left -= n
	}
	if left == 0 {
		parts = append(parts, io.LimitReader(zeros{}, e.Size-e.Valid))
	}
	return io.MultiReader(parts...)
}

// zeros is what a hole reads as.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// imageSource is an image as the readers want it.
type imageSource struct{ t target }

func (s imageSource) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.t.file.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", volume.ErrUnreadable, err)
	}
	return n, err
}

// DataFrom implements volume.Sparse, so that terabytes of nothing around a volume are not read.
func (s imageSource) DataFrom(off int64) int64 { return dataFrom(s.t.file, off, s.t.size) }

func (s imageSource) Size() int64     { return s.t.size }
func (s imageSource) SectorSize() int { return sectorBytes }
