package volume_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"encoding/binary"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/readers"
	"pratique/scanner/volume/volumetest"
	"pratique/testdata/stick"
)

const mega = 1 << 20

var le = binary.LittleEndian

// medium is an image on which things are put.
type medium struct {
	*stick.Memory
	t testing.TB
}

func newMedium(t testing.TB, size int64) *medium { return &medium{stick.NewMemory(size), t} }

func (m *medium) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *medium) put(at int64, b string) *medium {
	_, err := m.WriteAt([]byte(b), at)
	m.must(err)
	return m
}

// fat puts a FAT16 volume of so many MiB at a place.
func (m *medium) fat(at, megabytes int64) *medium {
	_, err := stick.WriteFAT(io.NewOffsetWriter(m, at), stick.FAT{Bits: 16, Bytes: megabytes * mega, Start: at, ClusterBytes: clusterFor(megabytes)},
		[]stick.File{{Path: fmt.Sprintf("AT%d.TXT", at/mega), Data: []byte("content")}})
	m.must(err)
	return m
}

func (m *medium) exfat(at, megabytes int64) *medium {
	_, err := stick.WriteExFAT(io.NewOffsetWriter(m, at), stick.ExFAT{Bytes: megabytes * mega, Start: at}, nil)
	m.must(err)
	return m
}

func (m *medium) mbr(parts ...stick.Partition) *medium {
	m.must(stick.WriteMBR(m, parts, nil))
	return m
}

func (m *medium) gpt(parts ...stick.Partition) *medium {
	m.must(stick.WriteGPT(m, m.Size(), 512, parts))
	return m
}

// entry writes one row of a master or extended boot record.
func (m *medium) entry(sector int64, row int, kind byte, start, length uint32) *medium {
	b := make([]byte, 16)
	b[4] = kind
	le.PutUint32(b[8:], start)
	le.PutUint32(b[12:], length)
	m.put(sector+446+16*int64(row), string(b))
	return m.put(sector+510, "\x55\xAA")
}

func mapped(t testing.TB, src volume.Source) volume.Layout {
	t.Helper()
	l, err := volume.Map(context.Background(), src)
	if err != nil {
		t.Fatal(err)
	}
	checkLayout(t, src, l)
	return l
}

// checkLayout holds a layout against what volume.Layout promises, on any medium.
func checkLayout(t testing.TB, src volume.Source, l volume.Layout) {
	t.Helper()
	var at int64
	for i, r := range l.Regions {
		last := i == len(l.Regions)-1
		if r.Start != at || r.Bytes <= 0 || r.Class == report.RegionMissing && (!last || r.Start != src.Size()) || r.What == "" {
			t.Fatalf("region %d is %+v, want it to start at %d", i, r, at)
		}
		if r.Class != report.RegionMissing {
			at += r.Bytes
		}
	}
	if at != src.Size() {
		t.Fatalf("regions cover %d of %d bytes", at, src.Size())
	}
	if len(l.Regions) > report.MaxRegions || len(l.Volumes) > report.MaxVolumes || len(l.Found) > report.MaxFindings {
		t.Fatalf("%d regions, %d volumes, %d findings", len(l.Regions), len(l.Volumes), len(l.Found))
	}
	for i, c := range l.Volumes {
		if c.ID != i || c.Start < 0 || c.Bytes <= 0 || c.Start+c.Bytes > src.Size() || c.FileSystem == "" || c.What == "" || i > 0 && c.Start < l.Volumes[i-1].Start {
			t.Fatalf("volume %d is %+v", i, c)
		}
	}
	for _, a := range l.Areas {
		var sum int64
		for _, x := range a.Extents {
			if x.Start < 0 || x.Bytes <= 0 || x.Start+x.Bytes > src.Size() {
				t.Fatalf("area %+v", a)
			}
			sum += x.Bytes
		}
		if a.Kind != report.Area || a.Path == "" || a.Size != sum || a.Valid != sum || a.Outcome != report.Unscanned {
			t.Fatalf("area %+v", a)
		}
	}
	for _, f := range l.Found {
		if f.Check != report.CheckMedium || f.Rule == "" || f.Text == "" || len(f.Text) > report.MaxText {
			t.Fatalf("finding %+v", f)
		}
	}
}

func describe(l volume.Layout) string {
	var b strings.Builder
	for _, c := range l.Volumes {
		fmt.Fprintf(&b, "%s@%d+%d ", c.FileSystem, c.Start, c.Bytes)
	}
	return strings.TrimSpace(b.String())
}

func rules(l volume.Layout) []string {
	var out []string
	for _, f := range l.Found {
		if !slices.Contains(out, f.Rule) {
			out = append(out, f.Rule)
		}
	}
	slices.Sort(out)
	return out
}

// bars reports whether the layout alone keeps the medium from being cleared: a region or a volume that nobody can read.
func bars(l volume.Layout) bool {
	return slices.ContainsFunc(l.Regions, func(r report.Region) bool { return !r.Class.Accounted() }) ||
		slices.ContainsFunc(l.Volumes, func(c volume.Candidate) bool {
			return !slices.Contains([]string{"fat12", "fat16", "fat32", "exfat"}, c.FileSystem)
		}) || slices.ContainsFunc(l.Found, func(f report.Finding) bool { return f.Severity == report.Block })
}

var layouts = []struct {
	name    string
	make    func(m *medium)
	volumes string
	rules   string
	bars    bool
}{
	{"no table", func(m *medium) { m.fat(0, 64) }, "fat16@0+67108864", "", false},
	{"no table, volume shorter than the medium", func(m *medium) { m.fat(0, 16) }, "fat16@0+16777216", "", false},
	{"no table, data behind the volume", func(m *medium) { m.fat(0, 16).put(40*mega, "x") }, "fat16@0+16777216", "data-outside-volumes", false},
	{"nothing but zeros", func(m *medium) {}, "", "", false},
	{"unknown data", func(m *medium) { m.put(30*mega, "what is this") }, "unknown@0+67108864", "", true},
	{"random data", func(m *medium) { m.put(0, string(randomBytes(mega))) }, "random@0+67108864", "", true},
	{"one partition", func(m *medium) { m.mbr(stick.Partition{Start: mega, Bytes: 16 * mega, Type: 6}).fat(mega, 16) },
		"fat16@1048576+16777216", "", false},
	{"partition longer than its volume", func(m *medium) {
		m.mbr(stick.Partition{Start: mega, Bytes: 20 * mega, Type: 6}).fat(mega, 16).put(18*mega, "x")
	}, "fat16@1048576+16777216", "data-outside-volumes", false},
	{"hidden partition", func(m *medium) { m.mbr(stick.Partition{Start: mega, Bytes: 16 * mega, Type: 0x16}).fat(mega, 16) },
		"fat16@1048576+16777216", "hidden-partition", false},
	{"empty partition", func(m *medium) { m.mbr(stick.Partition{Start: mega, Bytes: 16 * mega, Type: 6}) }, "", "", false},
	{"partition of unknown data", func(m *medium) {
		m.mbr(stick.Partition{Start: mega, Bytes: 16 * mega, Type: 6}).put(9*mega, "x")
	}, "unknown@1048576+16777216", "", true},
	{"boot code", func(m *medium) {
		m.mbr(stick.Partition{Start: mega, Bytes: 16 * mega, Type: 6}).fat(mega, 16).put(0, "\xEB\x63\x90")
	}, "fat16@1048576+16777216", "boot-code", false},
	{"data before the first partition", func(m *medium) {
		m.mbr(stick.Partition{Start: mega, Bytes: 16 * mega, Type: 6}).fat(mega, 16).put(5000, "x")
	}, "fat16@1048576+16777216", "data-outside-volumes", false},
	{"table without partitions, data", func(m *medium) { m.put(510, "\x55\xAA").put(9*mega, string(randomBytes(mega))) },
		"random@9437184+1048576", "data-outside-volumes", true},
	{"volume in a gap, not at its start", func(m *medium) {
		m.mbr(stick.Partition{Start: mega, Bytes: 16 * mega, Type: 6}).fat(mega, 16).fat(20*mega+1536, 16)
	}, "fat16@1048576+16777216 fat16@20973056+16777216", "volume-outside-partitions", false},
	{"exFAT in a gap", func(m *medium) {
		m.mbr(stick.Partition{Start: mega, Bytes: 16 * mega, Type: 6}).fat(mega, 16).exfat(20*mega, 16)
	}, "fat16@1048576+16777216 exfat@20971520+16777216", "volume-outside-partitions", false},
	{"ext4 in a gap", func(m *medium) {
		m.mbr(stick.Partition{Start: mega, Bytes: 16 * mega, Type: 6}).fat(mega, 16).put(20*mega+1024, superblock("ext4"))
	}, "fat16@1048576+16777216 ext4@20971520+16777216", "volume-outside-partitions", true},
	{"logical partitions", func(m *medium) {
		m.mbr(stick.Partition{Start: mega, Bytes: 16 * mega, Type: 6}, stick.Partition{Start: 19 * mega, Bytes: 16 * mega, Type: 6, Logical: true},
			stick.Partition{Start: 37 * mega, Bytes: 16 * mega, Type: 0x16, Logical: true}).fat(mega, 16).fat(19*mega, 16).fat(37*mega, 16)
	}, "fat16@1048576+16777216 fat16@19922944+16777216 fat16@38797312+16777216", "hidden-partition", false},
	{"chain of logical partitions loops", func(m *medium) {
		m.fat(20*mega, 16)
		m.entry(0, 0, 5, 2048, 100_000).entry(mega, 0, 6, 19*2048, 16*2048).entry(mega, 1, 5, 0, 100)
	}, "fat16@20971520+16777216", "extended-loop", true},
	{"chain of logical partitions breaks", func(m *medium) {
		m.fat(20*mega, 16)
		m.entry(0, 0, 5, 2048, 100_000).entry(mega, 0, 6, 19*2048, 16*2048).entry(mega, 1, 5, 50*2048, 100)
	}, "fat16@20971520+16777216", "extended-broken", true},
	{"chain of logical partitions branches", func(m *medium) {
		m.fat(20*mega, 16)
		m.entry(0, 0, 5, 2048, 100_000).entry(mega, 1, 5, 2*2048, 100).entry(mega, 2, 5, 3*2048, 100)
		m.entry(3*mega, 0, 6, 1000, 0).entry(4*mega, 0, 6, 16*2048, 16*2048)
	}, "fat16@20971520+16777216", "extended-branches", false},
	{"partitions overlap", func(m *medium) {
		m.mbr(stick.Partition{Start: mega, Bytes: 16 * mega, Type: 6}, stick.Partition{Start: 9 * mega, Bytes: 24 * mega, Type: 6}).fat(mega, 16).exfat(9*mega, 24)
	}, "fat16@1048576+16777216 exfat@9437184+25165824", "partitions-overlap", false},
	{"partition beyond the end", func(m *medium) { m.mbr(stick.Partition{Start: 50 * mega, Bytes: 16 * mega, Type: 6}).put(50*mega, "x") },
		"unknown@52428800+14680064", "partition-beyond-end", true},
	{"partition wholly beyond the end", func(m *medium) { m.mbr(stick.Partition{Start: 500 * mega, Bytes: 16 * mega, Type: 6}) },
		"", "partition-beyond-end", true},
	{"extended partition beyond the end", func(m *medium) { m.entry(0, 0, 5, 1<<31, 1<<31) }, "", "partition-beyond-end", true},
	{"BitLocker", func(m *medium) {
		m.mbr(stick.Partition{Start: mega, Bytes: 16 * mega, Type: 7}).put(mega, "\xEB\x58\x90-FVE-FS-")
	},
		"bitlocker@1048576+16777216", "", true},
	{"BitLocker To Go", func(m *medium) {
		m.fat(0, 64).put(424, "\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01")
	}, "bitlocker-to-go@0+67108864", "", true},
	{"FAT and ISO 9660 at once", func(m *medium) { m.fat(0, 64).put(0x8001, "CD001") }, "fat16@0+67108864 iso9660@0+67108864", "polyglot", true},
	{"ISO 9660 with a partition", func(m *medium) {
		m.mbr(stick.Partition{Start: 20 * mega, Bytes: 16 * mega, Type: 6}).fat(20*mega, 16).put(0x8001, "CD001")
	}, "iso9660@0+67108864 fat16@20971520+16777216", "volume-and-table", true},
	{"boot sector that is a table", func(m *medium) { m.fat(0, 16).fat(20*mega, 16).entry(0, 1, 6, 20*2048, 16*2048) },
		"fat16@0+16777216 fat16@20971520+16777216", "volume-and-table", false},
	{"boot sector with text where a table would be", func(m *medium) { m.fat(0, 64).put(446, "Press any key to restart, or remove disks or other media.  ") },
		"fat16@0+67108864", "", false},
	{"boot sector with text and one entry that leads to a volume", func(m *medium) {
		m.fat(0, 16).fat(20*mega, 16).put(446, "Press any key to restart, or rem").entry(0, 2, 6, 20*2048, 16*2048)
	}, "fat16@0+16777216 fat16@20971520+16777216", "volume-and-table partition-odd partition-beyond-end", true},
	{"two tables with a GUID table", func(m *medium) { m.gpt(stick.Partition{Start: mega, Bytes: 16 * mega}).fat(mega, 16) },
		"fat16@1048576+16777216", "", false},
	{"GUID table, first copy wiped", func(m *medium) {
		m.gpt(stick.Partition{Start: mega, Bytes: 16 * mega}).fat(mega, 16).put(512, strings.Repeat("\x00", 512))
	}, "fat16@1048576+16777216", "gpt-one-copy data-outside-volumes", false},
	{"GUID table, second copy wiped", func(m *medium) {
		m.gpt(stick.Partition{Start: mega, Bytes: 16 * mega}).fat(mega, 16).put(64*mega-512, strings.Repeat("\x00", 512))
	}, "fat16@1048576+16777216", "gpt-one-copy data-outside-volumes", false},
	{"GUID table, wrong checksum", func(m *medium) {
		m.gpt(stick.Partition{Start: mega, Bytes: 16 * mega}).fat(mega, 16).put(512+70, "x")
	}, "fat16@1048576+16777216", "gpt-checksum gpt-copies-differ", false},
	{"GUID table, partition in the second copy only", func(m *medium) {
		m.gpt(stick.Partition{Start: mega, Bytes: 16 * mega}).fat(mega, 16).fat(20*mega, 16)
		other := newMedium(m.t, 64*mega).gpt(stick.Partition{Start: mega, Bytes: 16 * mega}, stick.Partition{Start: 20 * mega, Bytes: 16 * mega})
		tail := make([]byte, 33*512)
		other.ReadAt(tail, 64*mega-33*512)
		m.put(64*mega-33*512, string(tail))
	}, "fat16@1048576+16777216 fat16@20971520+16777216", "gpt-copies-differ", false},
	{"GUID table that nothing announces", func(m *medium) {
		m.gpt(stick.Partition{Start: mega, Bytes: 16 * mega}).fat(mega, 16).put(446, strings.Repeat("\x00", 16))
	}, "fat16@1048576+16777216", "gpt-unguarded", false},
	{"GUID table and other partitions", func(m *medium) {
		m.gpt(stick.Partition{Start: mega, Bytes: 16 * mega}).fat(mega, 16).fat(20*mega, 16).entry(0, 1, 6, 20*2048, 16*2048)
	}, "fat16@1048576+16777216 fat16@20971520+16777216", "hybrid-table", false},
	{"protective entry without a GUID table", func(m *medium) { m.entry(0, 0, 0xEE, 1, 1000).put(1024, "x") }, "unknown@512+512000", "", true},
	{"data in an entry of the GUID table that is not in use", func(m *medium) {
		m.gpt(stick.Partition{Start: mega, Bytes: 16 * mega}).fat(mega, 16).put(1024+5*128+60, "hidden")
	}, "fat16@1048576+16777216", "gpt-checksum gpt-copies-differ data-outside-volumes", false},
	{"data behind the header of the GUID table", func(m *medium) {
		m.gpt(stick.Partition{Start: mega, Bytes: 16 * mega}).fat(mega, 16).put(512+100, "hidden")
	}, "fat16@1048576+16777216", "data-outside-volumes", false},
	{"GUID table of 4,096-byte sectors", func(m *medium) {
		m.must(stick.WriteGPT(m, m.Size(), 4096, []stick.Partition{{Start: mega, Bytes: 16 * mega}}))
		m.fat(mega, 16)
	}, "fat16@1048576+16777216", "sector-size", false},
	{"table of 4,096-byte sectors", func(m *medium) { m.fat(mega, 16).entry(0, 0, 6, 256, 16*256) }, "fat16@1048576+16777216", "sector-size", false},
	{"table that leads somewhere in both sizes of sector", func(m *medium) {
		m.fat(16*mega, 16).fat(2*mega, 8).entry(0, 0, 6, 4096, 8*2048)
	}, "fat16@2097152+8388608 fat16@16777216+16777216", "sector-size", false},
	{"GUID table with entries of no length", func(m *medium) {
		m.gpt(stick.Partition{Start: mega, Bytes: 16 * mega}).fat(mega, 16).put(512+84, "\x00\x00\x00\x00")
	}, "fat16@1048576+16777216", "gpt-absurd gpt-copies-differ", true},
	{"GUID table that describes a table that cannot be", func(m *medium) {
		m.gpt(stick.Partition{Start: mega, Bytes: 16 * mega}).fat(mega, 16).put(512+80, "\xff\xff\xff\xff")
	}, "fat16@1048576+16777216", "gpt-absurd gpt-copies-differ", true},
}

func TestT06_LayoutsAreReadInEveryWay(t *testing.T) {
	for _, c := range layouts {
		t.Run(c.name, func(t *testing.T) {
			m := newMedium(t, 64*mega)
			c.make(m)
			l := mapped(t, m)
			if got := describe(l); got != c.volumes {
				t.Errorf("volumes: %s\nwant     %s", got, c.volumes)
			}
			want := strings.Fields(c.rules)
			for _, r := range want {
				if !slices.Contains(rules(l), r) {
					t.Errorf("findings %v, want %v", rules(l), want)
				}
			}
			if len(want) == 0 && len(l.Found) > 0 {
				t.Errorf("findings on a layout without fault: %v", l.Found)
			}
			if bars(l) != c.bars {
				t.Errorf("bars a clearance: %v, want %v; %v %v", bars(l), c.bars, l.Regions, l.Volumes)
			}
		})
	}
}

// What a driver would mount is never passed over because it contradicts itself: Windows takes a stick with such a first
// sector for one volume, whatever the partition table in it says.
func TestT06_BootSectorThatOnlyCarelessDriversTakeIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(m *medium, at int64){
		"five tables":               func(m *medium, at int64) { m.put(at+16, "\x05") },
		"a table that is too short": func(m *medium, at int64) { m.put(at+22, "\x01\x00") },
		"a table in use that is not": func(m *medium, at int64) {
			m.put(at+17, "\x00\x00").put(at+22, "\x00\x00\xff\xff").put(at+36, "\xff\x00\x00\x00\x8f")
		},
		"a root directory that is FAT16's": func(m *medium, at int64) { m.put(at+22, "\x00\x00").put(at+36, "\xff\x00\x00\x00") },
		"an odd root directory":            func(m *medium, at int64) { m.put(at+17, "\x01\x00") },
	} {
		for place, at := range map[string]int64{"first sector": 0, "gap": 40 * mega} {
			t.Run(name+", "+place, func(t *testing.T) {
				m := newMedium(t, 64*mega).fat(at, 16)
				spoil(m, at)
				m.fat(20*mega, 16).entry(0, 0, 6, 20*2048, 16*2048)
				l := mapped(t, m)
				i := slices.IndexFunc(l.Volumes, func(c volume.Candidate) bool { return c.Start == at })
				if i < 0 || len(l.Volumes) != 2 {
					t.Fatalf("volumes: %s", describe(l))
				}
				if _, err := readers.Open(m, l.Volumes[i]); !errors.Is(err, volume.ErrMalformed) {
					t.Errorf("opened with %v", err)
				}
			})
		}
	}
}

// Between 4,085 and 4,087 clusters Windows reads FAT12 where others read FAT16: one volume, two contents.
func TestT06_VolumeOfATypeThatSystemsDisagreeOnIsRefused(t *testing.T) {
	m := newMedium(t, 64*mega).fat(0, 16)
	boot := make([]byte, 512)
	m.ReadAt(boot, 0)
	p, err := volume.ParseBPB(boot)
	m.must(err)
	for clusters, want := range map[int64]string{4084: "fat12", 4085: "", 4086: "", 4087: "fat16"} {
		le.PutUint16(boot[19:], 0)
		le.PutUint32(boot[32:], uint32((p.Heap+clusters*p.ClusterBytes)/p.SectorSize))
		p, err := volume.ParseBPB(boot)
		if got := p.Type(); err == nil && got != want || (err == nil) != (want != "") {
			t.Errorf("%d clusters: %s, %v, want %q", clusters, got, err, want)
		}
	}
}

// A sign that random bytes have by chance would refuse media for what a format left behind on them.
func TestRandomDataIsNotTakenForAVolume(t *testing.T) {
	m := newMedium(t, 64*mega).fat(0, 16).put(20*mega, string(randomBytes(40*mega)))
	for _, c := range mapped(t, m).Volumes {
		if c.FileSystem != "fat16" && c.FileSystem != "random" {
			t.Errorf("random data is %s", c.FileSystem)
		}
	}
}

// Linux follows more tables than those that are read here, and knows more file systems. One that stands in the reserved
// sectors of a volume, or at the end of a partition, can lead to other content in the free clusters.
func TestT06_OtherTablesBesideAVolumeAreRefused(t *testing.T) {
	for name, put := range map[string]func(m *medium, at int64){
		"bsd-label":      func(m *medium, at int64) { m.put(at+512, "WEV\x82") },
		"solaris-label":  func(m *medium, at int64) { m.put(at+512+12, "\xee\xde\x0d\x60") },
		"unixware-label": func(m *medium, at int64) { m.put(at+29*512+4, "\x0d\x60\x5e\xca") },
		"ultrix-label":   func(m *medium, at int64) { m.put(at+16384-72, "\x57\x29\x03\x00") },
		"amiga-label":    func(m *medium, at int64) { m.put(at+9*512, "RDSK") },
		"sgi-label":      func(m *medium, at int64) { m.put(at, "\x0b\xe5\xa9\x41") },
		"sysv68-label":   func(m *medium, at int64) { m.put(at+0xF8, "MOTOROLA") },
		"udf":            func(m *medium, at int64) { m.put(at+0x8001, "BOOT2").put(at+0x8801, "BOOT2").put(at+0xB001, "NSR03") },
		"nilfs2":         func(m *medium, at int64) { m.put(at+1024, "\x02\x00\x00\x00\x00\x00\x34\x34") },
		"minix": func(m *medium, at int64) {
			m.put(at+1024, "\x20\x00\x40\x00\x01\x00\x01\x00\x05\x00\x00\x00").put(at+1040, "\x8f\x13")
		},
		"f2fs":    func(m *medium, at int64) { m.put(at+5120, "\x10\x20\xf5\xf2\x01\x00") },
		"gfs2":    func(m *medium, at int64) { m.put(at+0x10000, "\x01\x16\x19\x70\x00\x00\x00\x01") },
		"md":      func(m *medium, at int64) { m.put(at+(16*mega/512-16)*512, "\xfc\x4e\x2b\xa9\x01\x00\x00\x00") },
		"unknown": func(m *medium, at int64) { m.put(446+4, "\x81").entry(at, 0, 0x81, 5*2048, 2048) },
	} {
		for place, at := range map[string]int64{"whole device": 0, "partition": mega} {
			if at == 0 && name == "unknown" {
				continue // the type of a partition
			}
			m := newMedium(t, at+16*mega).fat(at, 16)
			if at > 0 {
				m.entry(0, 0, 6, uint32(at/512), 16*2048)
			}
			put(m, at)
			l := mapped(t, m)
			if !slices.ContainsFunc(l.Volumes, func(c volume.Candidate) bool { return c.FileSystem == name && c.Start == at }) {
				t.Errorf("%s on the %s: %s", name, place, describe(l))
			}
		}
	}
}

// A gap full of tiny volumes, and hundreds of empty partitions in one place, cost little more than one reading.
func TestT24_LayoutIsNotReadAgainAndAgain(t *testing.T) {
	flood := newMedium(t, 40*mega).fat(mega, 8).entry(0, 0, 6, 2048, 8*2048)
	tiny := make([]byte, 2048)
	copy(tiny, "\xEB\x3C\x90MSDOS5.0")
	for at, b := range map[int]string{11: "\x00\x02\x01\x01\x00\x01\x10\x00\x04\x00\xF8\x01\x00", 510: "\x55\xAA"} {
		copy(tiny[at:], b)
	}
	flood.put(12*mega, string(bytes.Repeat(tiny, 24*mega/len(tiny))))
	empty := newMedium(t, 80*mega).fat(70*mega, 8).entry(0, 0, 6, 70*2048, 8*2048)
	for i := range int64(100) { // logical partitions, all at the start of the empty space
		at := mega/2 + i*512
		empty.entry(at, 0, 6, uint32((2*mega-at)/512), uint32(60*2048-i))
		empty.entry(at, 1, 5, uint32(i+1), 60*2048)
	}
	empty.entry(0, 1, 5, 1024, 60*2048)
	for name, m := range map[string]*medium{"tiny volumes": flood, "empty partitions": empty} {
		c := &counting{Source: m}
		l := mapped(t, c)
		if c.n > 512*mega {
			t.Errorf("%s: %d bytes were read", name, c.n)
		}
		if name == "tiny volumes" && !bars(l) {
			t.Errorf("%s: nothing bars a clearance", name)
		}
	}
}

// Whatever is put anywhere outside the volume, it is in an area or the medium is not cleared.
func TestT06_EveryByteOutsideVolumesIsScanned(t *testing.T) {
	secret := "EICAR stands here"
	for _, at := range []int64{10, 610, 1024 + 130, 100_000, mega - 20, 17*mega + 1, 40 * mega, 64*mega - 33*512 + 200, 64*mega - 400} {
		for name, prepare := range map[string]func(m *medium){
			"MBR": func(m *medium) { m.mbr(stick.Partition{Start: mega, Bytes: 16 * mega, Type: 6}) },
			"GPT": func(m *medium) { m.gpt(stick.Partition{Start: mega, Bytes: 16 * mega}) },
		} {
			m := newMedium(t, 64*mega)
			prepare(m)
			m.fat(mega, 16).put(at, secret)
			l := mapped(t, m)
			found := false
			for _, a := range l.Areas {
				for _, x := range a.Extents {
					b := make([]byte, x.Bytes)
					m.ReadAt(b, x.Start)
					found = found || bytes.Contains(b, []byte(secret))
				}
			}
			if !found && !bars(l) {
				t.Errorf("%s: what stands at %d is in no area: %v", name, at, l.Areas)
			}
		}
	}
}

func superblock(name string) string {
	b := make([]byte, 1024)
	le.PutUint32(b, 100)
	le.PutUint32(b[4:], 16<<10) // blocks of 1 KiB
	le.PutUint16(b[56:], 0xEF53)
	switch name {
	case "ext3":
		le.PutUint32(b[92:], 4)
	case "ext4":
		le.PutUint32(b[92:], 4)
		le.PutUint32(b[96:], 0x40)
	case "ext-journal":
		le.PutUint32(b[96:], 0x8)
	}
	return string(b)
}

func TestT25_VolumesWithoutAReaderAreKnownByName(t *testing.T) {
	at := func(off int, s string) func(m *medium) { return func(m *medium) { m.put(mega+int64(off), s) } }
	for name, write := range map[string]func(m *medium){
		"bitlocker":   at(3, "-FVE-FS-"),
		"luks1":       at(0, "LUKS\xba\xbe\x00\x01"),
		"luks2":       at(0, "LUKS\xba\xbe\x00\x02"),
		"ntfs":        at(3, "NTFS    "),
		"refs":        at(3, "ReFS\x00\x00\x00\x00"),
		"apfs":        at(32, "NXSB\x00\x10\x00\x00"),
		"hfsplus":     at(1024, "H+\x00\x04"+strings.Repeat("\x00", 36)+"\x00\x00\x10\x00"),
		"hfs":         at(1024, "BD"+strings.Repeat("\x00", 16)+"\x01\x00\x00\x00\x10\x00"),
		"btrfs":       at(0x10040, "_BHRfS_M"),
		"xfs":         at(0, "XFSB\x00\x00\x10\x00"),
		"lvm2":        at(512, "LABELONE"),
		"md":          at(4096, "\xfc\x4e\x2b\xa9\x01\x00\x00\x00"),
		"ldm":         at(0xC00, "PRIVHEAD"),
		"corestorage": at(8, "\x01\x00\x10\x00"+strings.Repeat("\x00", 76)+"CS"),
		"zfs":         at(0x20000, "\x0c\xb1\xba\x00\x00\x00\x00\x00"),
		"f2fs":        at(1024, "\x10\x20\xf5\xf2\x01\x00"),
		"squashfs":    at(0, "hsqs"+strings.Repeat("\x00", 24)+"\x04\x00"),
		"swap":        at(0xFF6, "SWAPSPACE2"),
		"ext2":        at(1024, superblock("ext2")),
		"ext3":        at(1024, superblock("ext3")),
		"ext4":        at(1024, superblock("ext4")),
		"ext-journal": at(1024, superblock("ext-journal")),
		"iso9660":     at(0x8001, "CD001"),
		"udf":         at(0x8001, "BEA01\x01"),
		"jfs":         at(0x8000, "JFS1\x01\x00\x00\x00"),
		"sgi-label":   at(0, "\x0b\xe5\xa9\x41"),
		"sun-label":   at(506, "\xda\xbe\xda\xbe"),
		"bsd-label":   at(512, "WEV\x82"),
		"erofs":       at(1024, "\xe2\xe1\xf5\xe0\x00\x00\x00\x00\x00\x00\x00\x00\x0c"),
		"qcow2":       at(0, "QFI\xfb\x00\x00\x00\x03"),
		"random":      func(m *medium) { m.put(mega, string(randomBytes(16*mega))) },
		"unknown":     at(100, "something else"),
	} {
		m := newMedium(t, 32*mega).mbr(stick.Partition{Start: mega, Bytes: 16 * mega, Type: 7})
		write(m)
		if l := mapped(t, m); describe(l) != name+"@1048576+16777216" {
			t.Errorf("%s: %s", name, describe(l))
		}
	}
	m := newMedium(t, 32*mega).mbr(stick.Partition{Start: mega, Bytes: 16 * mega, Type: 0xFD}).put(mega, "something")
	m.put(mega+(16*mega/512-16)*512, "\xfc\x4e\x2b\xa9\x01\x00\x00\x00")
	if l := mapped(t, m); describe(l) != "md@1048576+16777216" {
		t.Errorf("superblock at the end: %s", describe(l))
	}
	g := newMedium(t, 32*mega).gpt(stick.Partition{Start: mega, Bytes: 16 * mega, GUID: "E75CAF8F-F680-4CEE-AFA3-B001E56EFC2D"}).put(mega, "something")
	if l := mapped(t, g); describe(l) != "storage-space@1048576+16777216" {
		t.Errorf("by the table's word: %s", describe(l))
	}
}

func TestEmptyMediumHasNoRegionAndAFinding(t *testing.T) {
	l := mapped(t, volumetest.Bytes(nil, 512))
	if len(l.Regions) > 0 || len(l.Volumes) > 0 || !slices.Equal(rules(l), []string{"empty-medium"}) {
		t.Errorf("%+v", l)
	}
}

func TestSmallestMediaAreAccountedFor(t *testing.T) {
	for _, n := range []int{1, 100, 439, 440, 441, 511, 512, 513, 1023, 1025, 4096} {
		for _, fill := range []byte{0, 1, 0x55} {
			mapped(t, volumetest.Bytes(bytes.Repeat([]byte{fill}, n), 512))
			b := bytes.Repeat([]byte{0}, n)
			if n >= 512 {
				b[510], b[511] = 0x55, 0xAA
				mapped(t, volumetest.Bytes(b, 4096))
			}
		}
	}
}

func TestTruncatedMediumIsMissingWhatItsTableCountsOn(t *testing.T) {
	m := newMedium(t, 64*mega).gpt(stick.Partition{Start: mega, Bytes: 60 * mega}).fat(mega, 60)
	l := mapped(t, volume.Section(m, 0, 32*mega))
	last := l.Regions[len(l.Regions)-1]
	if last.Class != report.RegionMissing || last.Start != 32*mega || last.Bytes != 32*mega {
		t.Errorf("the last region is %+v", last)
	}
	if !slices.Contains(rules(l), "medium-short") || !slices.Contains(rules(l), "partition-beyond-end") {
		t.Error(rules(l))
	}
}

func TestManyPartitionsBlockAndNothingIsUnderstood(t *testing.T) {
	m := newMedium(t, 64*mega)
	entries := make([]byte, 1024*128)
	for i := range 1024 {
		e := entries[i*128:]
		copy(e, "type of partitio")
		le.PutUint64(e[32:], uint64(4096+i*8))
		le.PutUint64(e[40:], uint64(4096+i*8+7))
		m.put(int64(4096+i*8)*512, "x")
	}
	h := make([]byte, 92)
	copy(h, "EFI PART\x00\x00\x01\x00\x5C")
	for at, v := range map[int]uint64{24: 1, 32: 64*2048 - 1, 40: 300, 48: 64*2048 - 34, 72: 2} {
		le.PutUint64(h[at:], v)
	}
	le.PutUint32(h[80:], 1024)
	le.PutUint32(h[84:], 128)
	le.PutUint32(h[88:], crc32.ChecksumIEEE(entries))
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h))
	m.put(512, string(h)).put(1024, string(entries)).entry(0, 0, 0xEE, 1, 64*2048-1)
	l := mapped(t, m)
	if len(l.Volumes) != report.MaxVolumes || !slices.Contains(rules(l), "too-many-partitions") {
		t.Errorf("%d volumes, %v", len(l.Volumes), rules(l))
	}
	if !slices.ContainsFunc(l.Regions, func(r report.Region) bool { return r.Class == report.NotUnderstood }) {
		t.Error("every region is understood")
	}
}

func TestBadSectorsAreNeverTakenForEmptyOnes(t *testing.T) {
	m := newMedium(t, 64*mega).gpt(stick.Partition{Start: 2 * mega, Bytes: 16 * mega}, stick.Partition{Start: 20 * mega, Bytes: 16 * mega})
	m.fat(2*mega, 16)
	for _, at := range []int64{0, 512, 1024, 4096, mega, 2 * mega, 19 * mega, 20 * mega, 30 * mega, 50 * mega, 64*mega - 33*512, 64*mega - 512} {
		f := volumetest.FailAt(m, []volume.Extent{{Start: at, Bytes: 512}})
		l := mapped(t, f)
		if !bars(l) {
			t.Errorf("bad sector at %d: %d failed reads, and nothing bars a clearance: %v", at, f.Hits(), l.Regions)
		}
		if at != 2*mega && !strings.Contains(describe(l), "fat16@2097152+16777216") {
			t.Errorf("bad sector at %d: volumes %s", at, describe(l))
		}
	}
}

func TestMapEndsWithItsCaller(t *testing.T) {
	stop := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(stop)
	if l, err := volume.Map(ctx, newMedium(t, 64*mega)); err != stop || len(l.Regions) > 0 {
		t.Errorf("%v, %v", l, err)
	}
}

func TestMapReadsLittleOfAVolume(t *testing.T) {
	m := newMedium(t, 64*mega).mbr(stick.Partition{Start: mega, Bytes: 63 * mega, Type: 6}).fat(mega, 63)
	c := &counting{Source: m}
	mapped(t, c)
	if c.n > 4*mega {
		t.Errorf("%d bytes were read", c.n)
	}
}

// holes is a medium whose system says where it has none but zeros. It lies about what is in false.
type holes struct {
	*counting
	data  []volume.Extent // in order
	false volume.Extent   // said to be a hole
}

func (h holes) DataFrom(off int64) int64 {
	for _, x := range h.data {
		if off < x.Start+x.Bytes && x != h.false {
			return max(off, x.Start)
		}
	}
	return h.Size()
}

// What an image is divided into does not depend on whether its system tells of holes, and zeros that it tells of are not
// read. Nothing at the ends of a hole can be hidden by a system that is wrong.
func TestT24_HolesAreNotReadAndChangeNothing(t *testing.T) {
	const size = 4096 * mega
	for name, at := range map[string]int64{"in a gap": 3000*mega + 5*512, "in an empty partition": 1500*mega + 512, "nowhere": -1} {
		m := newMedium(t, size).gpt(stick.Partition{Start: mega, Bytes: 16 * mega}, stick.Partition{Start: 1000 * mega, Bytes: 1000 * mega})
		m.fat(mega, 16)
		data := []volume.Extent{{Start: 0, Bytes: 17 * mega}}
		if at >= 0 {
			m.put(at, "something")
			data = append(data, volume.Extent{Start: at &^ 511, Bytes: 512})
		}
		data = append(data, volume.Extent{Start: size - 33*512, Bytes: 33 * 512})
		plain := mapped(t, m)
		c := &counting{Source: m}
		sparse := mapped(t, holes{counting: c, data: data})
		if !reflect.DeepEqual(plain, sparse) {
			t.Errorf("%s: %v with holes, %v without", name, describe(sparse), describe(plain))
		}
		if c.n > 64*mega {
			t.Errorf("%s: %d bytes were read", name, c.n)
		}
	}
	m := newMedium(t, size).gpt(stick.Partition{Start: mega, Bytes: 16 * mega})
	m.fat(mega, 16)
	lie := volume.Extent{Start: size - 40*512, Bytes: 512}
	m.put(lie.Start, "something")
	ends := []volume.Extent{{Start: 0, Bytes: 17 * mega}, lie, {Start: size - 33*512, Bytes: 33 * 512}}
	if l := mapped(t, holes{counting: &counting{Source: m}, data: ends, false: lie}); len(l.Areas) == 0 {
		t.Error("data at the end of what was said to be a hole was not seen")
	}
}

type counting struct {
	volume.Source
	n int64
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.Source.ReadAt(p, off)
	c.n += int64(n)
	return n, err
}

// FuzzMap takes the beginning and the end of a medium of two megabytes.
func FuzzMap(f *testing.F) {
	const size, head, tail = 2 * mega, 8192, 33 * 512
	for _, c := range layouts {
		m := newMedium(f, 64*mega)
		c.make(m)
		b := make([]byte, head+tail)
		m.ReadAt(b[:head], 0)
		m.ReadAt(b[head:], 64*mega-tail)
		f.Add(b[:head], b[head:], uint32(512))
	}
	m := newMedium(f, size).gpt(stick.Partition{Start: mega, Bytes: mega / 2})
	b := make([]byte, size)
	m.ReadAt(b, 0)
	f.Add(b[:head], b[size-tail:], uint32(4096))
	f.Fuzz(func(t *testing.T, start, end []byte, sector uint32) {
		data := make([]byte, size)
		copy(data, start[:min(len(start), size)])
		end = end[:min(len(end), tail)]
		copy(data[size-len(end):], end)
		mapped(t, volumetest.Bytes(data, int(sector%8192)))
	})
}

// clusterFor is a cluster size by which so many megabytes make a FAT16.
func clusterFor(megabytes int64) int64 {
	if megabytes > 24 {
		return 2048
	}
	return 512
}
