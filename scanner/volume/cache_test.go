package volume_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
)

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestCacheGivesWhatTheMediumHas(t *testing.T) {
	data := randomBytes(40<<20 + 77) // larger than the cache, and no multiple of its blocks
	c := volume.NewCache(volumetest.Bytes(data, 512))
	if c.Size() != int64(len(data)) || c.SectorSize() != 512 {
		t.Errorf("size %d, sectors of %d", c.Size(), c.SectorSize())
	}
	var wait sync.WaitGroup
	for g := range 4 {
		wait.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 0))
			for range 2000 {
				off, p := rng.IntN(len(data)+100), make([]byte, rng.IntN(200_000))
				n, err := c.ReadAt(p, int64(off))
				want := data[min(off, len(data)):min(off+len(p), len(data))]
				if !bytes.Equal(p[:n], want) || (n < len(p)) != (err == io.EOF) || n == len(p) && err != nil {
					t.Errorf("%d bytes at %d: %d, %v", len(p), off, n, err)
					return
				}
			}
		})
	}
	wait.Wait()
}

func TestCacheLosesOnlyTheBadSector(t *testing.T) {
	data := randomBytes(300_000)
	bad := volume.Extent{Start: 100_352, Bytes: 512}
	c := volume.NewCache(volumetest.FailAt(volumetest.Bytes(data, 512), []volume.Extent{bad}))
	p := make([]byte, 512)
	for off := int64(0); off+512 < int64(len(data)); off += 512 {
		n, err := c.ReadAt(p, off)
		if (off == bad.Start) != errors.Is(err, volumetest.ErrInjected) || off != bad.Start && !bytes.Equal(p[:n], data[off:off+512]) {
			t.Fatalf("at %d: %d, %v", off, n, err)
		}
	}
	if n, err := c.ReadAt(make([]byte, 1000), bad.Start-400); n != 400 || !errors.Is(err, volumetest.ErrInjected) {
		t.Errorf("up to the bad sector: %d, %v", n, err)
	}
}

func TestReadExactReadsWhatIsMissingAndNoMore(t *testing.T) {
	data := randomBytes(1 << 20)
	src := &counting{Source: volumetest.Bytes(data, 512)}
	c := volume.NewCache(src)
	within := volume.Section(c, 1000, 900_000)
	for _, off := range []int64{0, 64<<10 - 1010, 500_000, 899_000} {
		p := make([]byte, 1000)
		src.n = 0
		if n, err := volume.ReadExact(within, p, off); n != len(p) || err != nil || !bytes.Equal(p, data[1000+off:2000+off]) || src.n != 1000 {
			t.Errorf("at %d: %d, %v; %d bytes read", off, n, err, src.n)
		}
	}
	if _, err := c.ReadAt(make([]byte, 1), 501_000); err != nil {
		t.Fatal(err)
	}
	src.n = 0
	if n, err := volume.ReadExact(within, make([]byte, 1000), 500_000); n != 1000 || err != nil || src.n != 0 {
		t.Errorf("%d, %v; %d bytes read that the cache has", n, err, src.n)
	}
	for _, off := range []int64{-1, 899_500, 900_000} {
		if n, err := volume.ReadExact(within, make([]byte, 1000), off); err == nil || n > 500 {
			t.Errorf("at %d: %d, %v", off, n, err)
		}
	}
}

func TestSectionNeverSeesItsNeighbour(t *testing.T) {
	s := volume.Section(volumetest.Bytes(randomBytes(4096), 512), 1024, 1024)
	if n, err := s.ReadAt(make([]byte, 2048), 0); n != 1024 || err != io.EOF {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := s.ReadAt(make([]byte, 1), 1024); n != 0 || err != io.EOF {
		t.Errorf("%d, %v", n, err)
	}
}
