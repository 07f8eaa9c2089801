package main

import (
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pratique/testdata/stick"
)

// evil is what must be found wherever it lies.
var evil = stick.File{Path: "EVIL.TXT", Data: stick.RuleSample()}

var good = stick.File{Path: "NOTES.TXT", Data: []byte("nothing to see")}

// layout is a medium of 64 MiB that is divided in some way.
type layout struct {
	name  string
	make  func(t *testing.T, f stick.Image)
	code  int
	rules string // findings that there must be
	names string // file systems of the volumes that there must be, in order
	words string // in the reasons
}

func gpt(t *testing.T, f io.WriterAt, sector int64, parts ...stick.Partition) {
	t.Helper()
	if err := stick.WriteGPT(f, 64*mega, sector, parts); err != nil {
		t.Fatal(err)
	}
}

func mbr(t *testing.T, f io.WriterAt, code string, parts ...stick.Partition) {
	t.Helper()
	if err := stick.WriteMBR(f, parts, []byte(code)); err != nil {
		t.Fatal(err)
	}
}

func exfat(t *testing.T, f stick.Image, at int64, files ...stick.File) {
	t.Helper()
	if _, err := stick.WriteExFAT(io.NewOffsetWriter(f, at), stick.ExFAT{Bytes: 16 * mega, Start: at}, files); err != nil {
		t.Fatal(err)
	}
}

// row writes one row of a partition table in sectors of 512.
func row(t *testing.T, f io.WriterAt, number int64, kind byte, start, count uint32) {
	t.Helper()
	b := make([]byte, 16)
	b[4] = kind
	for i := range 4 {
		b[8+i], b[12+i] = byte(start>>(8*i)), byte(count>>(8*i))
	}
	put(t, f, 446+16*number, b)
}

func part(at int64) stick.Partition {
	return stick.Partition{Start: at * mega, Bytes: 16 * mega, Type: 0x06}
}

// kind is a partition of a GPT with data that has no signature of its own.
func kind(guid string) func(*testing.T, stick.Image) {
	return func(t *testing.T, f stick.Image) {
		p := part(20)
		p.GUID = guid
		gpt(t, f, 512, part(1), p)
		fat16(t, f, mega, good)
		put(t, f, 21*mega, []byte("some of its data"))
	}
}

var layouts = []layout{
	{"a stale GPT under a new MBR, and the volume of then", func(t *testing.T, f stick.Image) {
		gpt(t, f, 512, part(20))
		fat16(t, f, 20*mega, evil)
		mbr(t, f, "", part(1))
		fat16(t, f, mega, good)
	}, 3, "gpt-unguarded", "fat16 fat16", "matches a rule"},
	{"a stale GPT under a new MBR, and nothing left", func(t *testing.T, f stick.Image) {
		gpt(t, f, 512, part(20))
		mbr(t, f, "", part(1))
		fat16(t, f, mega, good)
	}, 0, "gpt-unguarded", "fat16", ""},
	{"hybrid MBR that shows another volume than the GPT", func(t *testing.T, f stick.Image) {
		gpt(t, f, 512, part(1))
		fat16(t, f, mega, good)
		row(t, f, 1, 0x06, 20*2048, 16*2048)
		fat16(t, f, 20*mega, evil)
	}, 3, "hybrid-table", "fat16 fat16", "matches a rule"},
	{"copies of the GPT that differ, the volume in the second", func(t *testing.T, f stick.Image) {
		gpt(t, f, 512, part(1), part(20))
		head := make([]byte, 34*512)
		if _, err := f.ReadAt(head, 0); err != nil {
			t.Fatal(err)
		}
		clear(head[1024+128 : 1024+256]) // the second row of the first copy
		put(t, f, 0, head)
		fat16(t, f, mega, good)
		exfat(t, f, 20*mega, evil)
	}, 3, "gpt-copies-differ gpt-checksum", "fat16 exfat", "matches a rule"},
	{"first copy of the GPT wiped", func(t *testing.T, f stick.Image) {
		gpt(t, f, 512, part(1))
		put(t, f, 512, make([]byte, 33*512))
		fat16(t, f, mega, evil)
	}, 3, "gpt-one-copy", "fat16", "matches a rule"},
	{"GPT in sectors of 4,096", func(t *testing.T, f stick.Image) {
		gpt(t, f, 4096, part(1))
		fat16(t, f, mega, good)
	}, 0, "sector-size", "fat16", ""},
	{"GPT and FAT in sectors of 4,096", func(t *testing.T, f stick.Image) {
		gpt(t, f, 4096, stick.Partition{Start: mega, Bytes: 60 * mega})
		spec := stick.FAT{Bits: 16, Bytes: 60 * mega, Start: mega, SectorSize: 4096}
		if _, err := stick.WriteFAT(io.NewOffsetWriter(f, mega), spec, []stick.File{evil}); err != nil {
			t.Fatal(err)
		}
	}, 3, "sector-size", "fat16", "matches a rule"},
	{"exFAT in sectors of 4,096, no table", func(t *testing.T, f stick.Image) {
		if _, err := stick.WriteExFAT(f, stick.ExFAT{Bytes: 64 * mega, SectorSize: 4096}, []stick.File{evil}); err != nil {
			t.Fatal(err)
		}
	}, 3, "", "exfat", "matches a rule"},
	{"table in sectors of 2,048", func(t *testing.T, f stick.Image) {
		row(t, f, 0, 0x06, 512, 16*512)
		put(t, f, 510, []byte("\x55\xAA"))
		fat16(t, f, mega, evil)
	}, 3, "sector-size", "fat16", "matches a rule"},
	{"overlapping partitions", func(t *testing.T, f stick.Image) {
		mbr(t, f, "", part(1), part(9))
		fat16(t, f, mega, good)
		exfat(t, f, 9*mega, evil)
	}, 3, "partitions-overlap", "fat16 exfat", "matches a rule"},
	{"logical partition of a hidden type", func(t *testing.T, f stick.Image) {
		hidden := part(20)
		hidden.Logical, hidden.Type = true, 0x16
		mbr(t, f, "", part(1), hidden)
		fat16(t, f, mega, good)
		fat16(t, f, 20*mega, evil)
	}, 3, "hidden-partition", "fat16 fat16", "matches a rule"},
	{"boot sector of a volume that is a table too", func(t *testing.T, f stick.Image) {
		fat16(t, f, 0, good)
		row(t, f, 1, 0x06, 20*2048, 16*2048)
		fat16(t, f, 20*mega, evil)
	}, 3, "volume-and-table", "fat16 fat16", "matches a rule"},
	{"volume in a gap, not at its start", func(t *testing.T, f stick.Image) {
		mbr(t, f, "", part(1))
		fat16(t, f, mega, good)
		fat16(t, f, 20*mega+7*512, evil)
	}, 3, "volume-outside-partitions", "fat16 fat16", "matches a rule"},
	{"text in the boot code", func(t *testing.T, f stick.Image) {
		mbr(t, f, string(evil.Data), part(1))
		fat16(t, f, mega, good)
	}, 3, "boot-code", "fat16", "matches a rule"},
	{"text in the boot code of a FAT volume", func(t *testing.T, f stick.Image) {
		mbr(t, f, "", part(1))
		fat16(t, f, mega, good)
		put(t, f, mega+90, evil.Data)
	}, 3, "", "fat16", "matches a rule"},
	{"text in the boot code of an exFAT volume", func(t *testing.T, f stick.Image) {
		mbr(t, f, "", part(1))
		exfat(t, f, mega, good)
		put(t, f, mega+12*512+130, evil.Data) // in the backup, which may differ in that
	}, 3, "boot-copies-differ", "exfat", "matches a rule"},
	{"text before the first partition", func(t *testing.T, f stick.Image) {
		mbr(t, f, "", part(1))
		fat16(t, f, mega, good)
		put(t, f, 70*512+300, evil.Data)
	}, 3, "data-outside-volumes", "fat16", "matches a rule"},
	{"text in the tail", func(t *testing.T, f stick.Image) {
		mbr(t, f, "", part(1))
		fat16(t, f, mega, good)
		put(t, f, 64*mega-int64(len(evil.Data)), evil.Data)
	}, 3, "data-outside-volumes", "fat16", "matches a rule"},
	{"text behind the volume, in its partition", func(t *testing.T, f stick.Image) {
		p := part(1)
		p.Bytes = 40 * mega
		mbr(t, f, "", p)
		fat16(t, f, mega, good)
		put(t, f, 30*mega, evil.Data)
	}, 3, "data-outside-volumes", "fat16", "matches a rule"},
	{"text in a GPT row that is not in use", func(t *testing.T, f stick.Image) {
		gpt(t, f, 512, part(1))
		fat16(t, f, mega, good)
		put(t, f, 1024+64*128+16, []byte(stick.RuleMarker))
	}, 3, "data-outside-volumes", "fat16", "matches a rule"},
	{"chain of logical partitions that loops", func(t *testing.T, f stick.Image) {
		fat16(t, f, 20*mega, good)
		row(t, f, 0, 0x05, 2048, 100_000)
		put(t, f, 510, []byte("\x55\xAA"))
		ebr := io.NewOffsetWriter(f, mega)
		row(t, ebr, 0, 0x06, 19*2048, 16*2048)
		row(t, ebr, 1, 0x05, 0, 100)
		put(t, ebr, 510, []byte("\x55\xAA"))
	}, 4, "extended-loop", "fat16", "does not know"},
	{"partition behind the end", func(t *testing.T, f stick.Image) {
		mbr(t, f, "", part(1), part(60))
		fat16(t, f, mega, good)
	}, 4, "partition-beyond-end", "fat16", "past the end"},
	{"BitLocker To Go that is FAT and a table at once", func(t *testing.T, f stick.Image) {
		fat16(t, f, 0, good)
		put(t, f, 424, []byte("\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01"))
		row(t, f, 0, 0x06, 20*2048, 16*2048)
		fat16(t, f, 20*mega, good)
	}, 4, "volume-and-table", "bitlocker-to-go fat16", "BitLocker To Go"},
	{"dynamic disk", func(t *testing.T, f stick.Image) {
		mbr(t, f, "", stick.Partition{Start: 63 * 512, Bytes: 60 * mega, Type: 0x42})
		put(t, f, 0xC00, []byte("PRIVHEAD"))
		put(t, f, 2*mega, []byte("some of its data"))
	}, 4, "", "ldm unknown", "dynamic disk"},
	{"dynamic disk in a GPT, its database", kind("5808C8AA-7E8F-42E0-85D2-E1E90434CFB3"), 4, "", "fat16 ldm", "dynamic disk"},
	{"dynamic disk in a GPT, its data", kind("AF9B60A0-1431-4F62-BC68-3311714A69AD"), 4, "", "fat16 ldm", "dynamic disk"},
	{"storage space", kind("E75CAF8F-F680-4CEE-AFA3-B001E56EFC2D"), 4, "", "fat16 storage-space", "storage space"},
	{"FileVault by the table's word", kind("53746F72-6167-11AA-AA11-00306543ECAC"), 4, "", "fat16 corestorage", "FileVault"},
	{"APFS by the table's word", kind("7C3457EF-0000-11AA-AA11-00306543ECAC"), 4, "", "fat16 apfs", "APFS"},
	{"random data behind a volume, and something else before it", func(t *testing.T, f stick.Image) {
		mbr(t, f, "", part(1))
		fat16(t, f, mega, good)
		put(t, f, 18*mega, []byte("what was here before"))
		b := make([]byte, 8*mega)
		rand.NewChaCha8([32]byte{6}).Read(b)
		put(t, f, 20*mega-3*512, b)
	}, 4, "data-outside-volumes", "fat16 random", "may be encrypted"},
	{"GPT of sgdisk, made hybrid", func(t *testing.T, f stick.Image) {
		name := f.(*os.File).Name()
		output(t, exec.Command("sgdisk", "-n", "1:2048:+16M", "-t", "1:0700", "-n", "2:40960:+16M", "-t", "2:0700", "-h", "2", name))
		fat16(t, f, mega, good)
		fat16(t, f, 20*mega, evil)
	}, 3, "hybrid-table", "fat16 fat16", "matches a rule"},
	{"logical partitions of sfdisk", func(t *testing.T, f stick.Image) {
		cmd := exec.Command("sfdisk", "-q", f.(*os.File).Name())
		cmd.Stdin = strings.NewReader("label: dos\nstart=2048, size=32768, type=6\nstart=38912, type=5\nstart=40960, size=32768, type=6\n" +
			"start=77824, size=32768, type=16\n")
		output(t, cmd)
		for _, at := range []int64{1, 20} {
			fat16(t, f, at*mega, good)
		}
		fat16(t, f, 38*mega, evil)
	}, 3, "hidden-partition", "fat16 fat16 fat16", "matches a rule"},
}

// T06, on whole programs: however a medium is divided, what lies on it is found, and what nobody can read is named.
func TestT06_MediaDividedInAnyWayGetTheirVerdict(t *testing.T) {
	state := t.TempDir()
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) {
			name := blank(t, 64*mega)
			edit(t, name, func(f stick.Image) { l.make(t, f) })
			code, res := screenJSON(t, "--state", state, name)
			if code != l.code {
				t.Errorf("exit code %d, want %d: %q", code, l.code, res.Reasons)
			}
			var names []string
			for _, v := range res.Volumes {
				names = append(names, v.FileSystem)
			}
			if want := strings.Fields(l.names); !slices.Equal(names, want) {
				t.Errorf("volumes %q, want %q", names, want)
			}
			for _, want := range strings.Fields(l.rules) {
				if !slices.ContainsFunc(res.Findings, func(f jsonFinding) bool { return f.Rule == want }) {
					t.Errorf("no finding %q among %+v", want, res.Findings)
				}
			}
			said := ""
			for _, r := range res.Reasons {
				said += r.Text + "\n"
			}
			if !strings.Contains(said, l.words) {
				t.Errorf("reasons %q, want %q", said, l.words)
			}
		})
	}
}

// A tree deeper than the kiosk follows, where the formats allow it, is a reason in words and no clearance.
func TestT24_TreesTooDeepAreNotCleared(t *testing.T) {
	state := t.TempDir()
	file := good
	file.Path = strings.Repeat("d/", 300) + file.Path
	for name, write := range map[string]func(io.WriterAt) error{
		"fat16": func(w io.WriterAt) error {
			_, err := stick.WriteFAT(w, stick.FAT{Bits: 16, Bytes: 16 * mega}, []stick.File{file})
			return err
		},
		"exfat": func(w io.WriterAt) error {
			_, err := stick.WriteExFAT(w, stick.ExFAT{Bytes: 16 * mega}, []stick.File{file})
			return err
		},
	} {
		image := filepath.Join(t.TempDir(), name)
		m := stick.NewMemory(16 * mega)
		if err := write(m); err != nil {
			t.Fatal(err)
		}
		if err := m.Save(image); err != nil {
			t.Fatal(err)
		}
		code, res := screenJSON(t, "--state", state, image)
		if code != 4 || len(res.Reasons) == 0 || !strings.Contains(res.Reasons[0].Text, "Directories lie") {
			t.Errorf("%s: exit code %d, %q", name, code, res.Reasons)
		}
	}
}
