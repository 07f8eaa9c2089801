package ext

import (
	"context"
	"flag"
	"os"
	"strings"
	"testing"

	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
)

var mutants = flag.Int("mutants", 300, "mutated volumes of each kind to try; the nightly run takes 3,000")

// campaigns are volumes on which mutants and bad sectors are tried. The last has no checksum, which is all that tells most
// changes of a new volume.
var campaigns = []struct{ name, args string }{
	{"ext2", "-t ext2 -b 1024"},
	{"ext3", "-t ext3 -b 2048 -O dir_index"},
	{"ext4", "-t ext4 -b 1024 -O metadata_csum,64bit"},
	{"ext4 without checksums", "-t ext4 -b 4096 -O ^metadata_csum,^uninit_bg,inline_data"},
}

// metadata is where the structures of a volume lie: of the tables of inodes only what is used, and of copies nothing.
func metadata(t testing.TB, src volume.Source) []volume.Extent {
	t.Helper()
	v, err := Open(src)
	if err != nil {
		t.Fatal(err)
	}
	fs := v.(*FS)
	g := &fs.geo
	ranges := []volume.Extent{{Start: superAt, Bytes: superBytes}}
	structures := volume.NewBlockSet(g.blocks)
	add := func(block, n, bytes int64) {
		structures.Add(block, n)
		if bytes > 0 {
			ranges = append(ranges, volume.Extent{Start: block << g.shift, Bytes: bytes})
		}
	}
	for n := range g.descriptorBlocks() {
		add(g.descriptors(n), 1, min(g.block(), g.groups*g.descriptor))
	}
	structures.Add(g.superBlock(), 1)
	for n, r := range fs.groups {
		add(int64(r.blocks), 1, g.perGroup/8)
		add(int64(r.inodes), 1, g.inodesPerGroup/8)
		last := int64(0)
		for i := range g.inodesPerGroup {
			if in, err := fs.inode(int64(n)*g.inodesPerGroup + i + 1); err == nil && !in.blank() {
				last = i + 1
			}
		}
		add(int64(r.table), g.tableBlocks(), last*g.inode)
	}
	for _, e := range list(t, src, volume.Options{Deep: true}).Entries {
		if !strings.HasPrefix(e.Path, "structures of the volume") {
			continue
		}
		for _, x := range e.Extents {
			for at := x.Start; at < x.Start+x.Bytes; at += g.block() {
				if !structures.Has(at >> g.shift) {
					ranges = append(ranges, volume.Extent{Start: at, Bytes: g.block()})
				}
			}
		}
	}
	return ranges
}

// held is a volume of a campaign in memory. Its truth is what debugfs and this reader agree to.
func held(t testing.TB, args string) (volume.Source, volumetest.Truth) {
	t.Helper()
	image, known := rich(t, 24*mega, strings.Fields(args)...)
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	src := volumetest.Bytes(data, 512)
	l := list(t, src, volume.Options{})
	for path, f := range known {
		if own, ok := l.Files[path]; !ok || own != f && f.Size != inlineBytes && f.Size != 0 {
			t.Fatalf("%q is not what debugfs reads", path)
		}
	}
	return src, l.Files
}

func campaign(t *testing.T, args string) volumetest.Campaign {
	t.Helper()
	src, truth := held(t, args)
	small := map[string]bool{}
	for _, e := range list(t, src, volume.Options{}).Entries {
		small[e.Path] = e.Inline != nil
	}
	return volumetest.Campaign{Source: src, Metadata: metadata(t, src), Truth: truth, Open: Open,
		// What lies among the structures and is still listed with other content was changed, not lost; what became shorter or
		// longer was made so, as anybody can without touching its blocks. An attribute is gone when its place is blank.
		Deleted: func(_ *volumetest.Mutant, path string, l volumetest.Listing) bool {
			f, there := l.Files[path]
			return there && (small[path] || f.Size != truth[path].Size) || !there && small[path] && strings.Contains(path, ":user.")
		}}
}

func TestT03_MutatedVolumesLoseNothingQuietly(t *testing.T) {
	for _, c := range campaigns {
		t.Run(c.name, func(t *testing.T) {
			r := campaign(t, c.args).Run(t, 1, *mutants)
			t.Logf("%s, %d mutants: %v", c.name, *mutants, r)
		})
	}
}

func TestT03_BadSectorsLoseNothingQuietly(t *testing.T) {
	for _, c := range campaigns {
		t.Run(c.name, func(t *testing.T) {
			t.Logf("%s, 40 bad sectors: %v", c.name, campaign(t, c.args).RunFailing(t, 40))
		})
	}
}

// Whatever stands anywhere on a volume, reading it ends, within the agreements of a reader.
func FuzzWalk(f *testing.F) {
	src, _ := held(f, campaigns[2].args)
	ranges := metadata(f, src)
	plain, _ := held(f, campaigns[0].args)
	plainRanges := metadata(f, plain)
	f.Add(uint32(24), []byte{0xFF, 0xFF, 0xFF, 0xFF}, false)
	f.Add(uint32(96), []byte{0x46, 0xC2, 0x02, 0x00}, true)
	f.Add(uint32(1024+8), []byte{0, 0, 0, 0}, true)
	f.Add(uint32(5000), []byte{0xF3, 0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 5, 0}, false)
	f.Add(uint32(9000), []byte{2, 0, 0, 0, 12, 0, 1, 2, '.', 0, 0, 0}, true)
	f.Fuzz(func(t *testing.T, at uint32, fresh []byte, old bool) {
		image, where := src, ranges
		if old {
			image, where = plain, plainRanges
		}
		left := int64(at)
		for _, x := range where {
			if left < x.Bytes {
				left += x.Start
				break
			}
			left -= x.Bytes
		}
		if len(fresh) > 4<<10 || left+int64(len(fresh)) > image.Size() {
			return
		}
		m := &volumetest.Mutant{Source: image, Edits: []volumetest.Edit{{Offset: left, New: fresh}}}
		v, err := Open(m)
		if err != nil {
			return
		}
		if _, err := volumetest.ReadAll(context.Background(), m, v, volume.Options{Deep: true}); err != nil {
			t.Fatal(err)
		}
	})
}
