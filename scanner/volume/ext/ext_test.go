package ext

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
	"pratique/testdata/stick"
)

// layout is a way in which e2fsprogs lays out a volume.
type layout struct {
	name  string
	args  string
	mega  int64
	files int
	kind  string // by blkid
}

// volumes are all layouts that reading has to know of.
var volumes = []layout{
	{"ext2", "-t ext2 -b 1024", 96, 2000, "ext2"},
	{"ext3", "-t ext3 -b 4096", 96, 2000, "ext3"},
	{"ext4", "-t ext4", 96, 2000, "ext4"},
	{"as it is made now", "-t ext4 -O 64bit,metadata_csum,metadata_csum_seed,orphan_file,extent,flex_bg -b 4096", 48, 100, "ext4"},
	{"ext2, blocks of 4 KiB", "-t ext2 -b 4096 -O ^resize_inode", 48, 100, "ext2"},
	{"ext2, first revision", "-t ext2 -r 0 -b 1024 -O none", 48, 100, "ext2"},
	{"ext2, without types in directories", "-t ext2 -b 2048 -O ^filetype,^dir_index -I 128", 48, 100, "ext2"},
	{"ext3, blocks of 1 KiB", "-t ext3 -b 1024 -O dir_index", 48, 100, "ext3"},
	{"blocks of 1 KiB", "-t ext4 -b 1024 -O metadata_csum,64bit", 48, 100, "ext4"},
	{"checksums of groups alone", "-t ext4 -b 1024 -O uninit_bg,^metadata_csum", 96, 100, "ext4"},
	{"inline data", "-t ext4 -O inline_data,metadata_csum,64bit -I 512", 48, 100, "ext4"},
	{"inline data in small inodes", "-t ext4 -O inline_data,^metadata_csum -I 256 -b 1024", 48, 100, "ext4"},
	{"meta_bg", "-t ext4 -b 1024 -O meta_bg,^resize_inode,64bit,metadata_csum -g 1024", 96, 100, "ext4"},
	{"meta_bg of 32 bytes", "-t ext4 -b 1024 -O meta_bg,^resize_inode,^64bit -g 1024", 96, 100, "ext4"},
	{"sparse_super2", "-t ext4 -O sparse_super2 -b 1024", 48, 100, "ext4"},
	{"a copy of the superblock in every group", "-t ext4 -O ^sparse_super,^resize_inode -b 1024", 48, 100, "ext4"},
	{"clusters", "-t ext4 -O bigalloc,metadata_csum -C 16384 -b 1024", 64, 100, "ext4"},
	{"clusters of blocks of 4 KiB", "-t ext4 -O bigalloc -C 65536", 192, 100, "ext4"},
	{"large_dir", "-t ext4 -O large_dir,metadata_csum", 48, 100, "ext4"},
	{"casefold", "-t ext4 -O casefold,metadata_csum", 48, 100, "ext4"},
	{"quotas", "-t ext4 -O quota,project,metadata_csum -E quotatype=usrquota:grpquota:prjquota", 48, 100, "ext4"},
	{"ea_inode", "-t ext4 -O ea_inode,metadata_csum", 48, 100, "ext4"},
	{"mmp", "-t ext4 -O mmp", 48, 100, "ext4"},
	{"without extents", "-t ext4 -O ^extent,^64bit,^flex_bg", 48, 100, "ext4"},
	{"without a journal", "-t ext4 -O ^has_journal,metadata_csum", 48, 100, "ext4"},
	{"encryption possible", "-t ext4 -O encrypt,verity,stable_inodes", 48, 100, "ext4"},
	{"blocks of 64 KiB", "-t ext4 -b 65536 -O metadata_csum", 192, 100, "ext4"},
	{"tables that were never written", "-t ext4 -b 1024 -E lazy_itable_init=1 -O metadata_csum,64bit", 96, 100, "ext4"},
	{"tables of zeros", "-t ext4 -b 4096 -E lazy_itable_init=0", 48, 100, "ext4"},
	{"structures side by side", "-t ext4 -b 1024 -E packed_meta_blocks=1 -O metadata_csum,64bit", 96, 100, "ext4"},
}

// make returns the image of a volume of the table, and the folder that it was made of.
func (v *layout) make(t *testing.T) (dir, image string) {
	t.Helper()
	dir = corpus(t, v.files)
	return dir, once(t, v.name, func(image string) { formatTo(t, image, dir, v.mega*mega, strings.Fields(v.args)...) })
}

func TestReadsTheSameAsDebugfs(t *testing.T) {
	for _, v := range volumes {
		t.Run(v.name, func(t *testing.T) {
			dir, image := v.make(t)
			l := list(t, opened(t, image), volume.Options{})
			healthy(t, l)
			written, known := volumetest.Tree(t, dir), debugfsTruth(t, image)
			for path, f := range written {
				if f.Size < inlineBytes && strings.HasPrefix(v.name, "inline") {
					known[path] = f // debugfs 1.47 reads 60 bytes from shorter ones
				}
			}
			differ(t, "what was written", written, l)
			differ(t, "debugfs", known, l)
			if len(written) < v.files {
				t.Errorf("only %d files", len(written))
			}
			if m, err := volume.Map(t.Context(), opened(t, image)); err != nil || len(m.Volumes) != 1 ||
				m.Volumes[0].FileSystem != v.kind || m.Volumes[0].Bytes != v.mega*mega {
				t.Errorf("%v, %+v", err, m.Volumes)
			}
			if kind := strings.TrimSpace(string(tool(t, "blkid", "-p", "-o", "value", "-s", "TYPE", image))); kind != v.kind {
				t.Errorf("blkid says %q", kind)
			}
			t.Logf("%d files equal in name, size and SHA-256", len(known))
		})
	}
}

// differ fails the test with the first differences.
func differ(t *testing.T, with string, truth volumetest.Truth, l volumetest.Listing) {
	t.Helper()
	diff := truth.Diff(l)
	for _, line := range diff[:min(len(diff), 5)] {
		t.Errorf("against %s: %s", with, line)
	}
}

// noise does not repeat, so that no two blocks are alike.
func noise(n int, seed uint64) []byte {
	data := make([]byte, n)
	var key [32]byte
	le.PutUint64(key[:], seed)
	rand.NewChaCha8(key).Read(data)
	return data
}

// rich is a volume with what mke2fs does not make: files in pieces, holes, links, special files, attributes.
func rich(t testing.TB, bytes int64, args ...string) (image string, truth volumetest.Truth) {
	t.Helper()
	dir := corpus(t, 60)
	image = once(t, fmt.Sprint("rich ", bytes, args), func(image string) { enrich(t, image, dir, bytes, args...) })
	return image, debugfsTruth(t, image)
}

func enrich(t testing.TB, image, dir string, bytes int64, args ...string) {
	t.Helper()
	formatTo(t, image, dir, bytes, args...)
	part := t.TempDir()
	put := func(name string, data []byte) string {
		file := filepath.Join(part, name)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	small := put("small", noise(3000, 1))
	var script []string
	for i := range 120 {
		script = append(script, fmt.Sprintf("write %s gap%03d", small, i))
	}
	for i := 0; i < 120; i += 2 {
		script = append(script, fmt.Sprintf("rm gap%03d", i))
	}
	sparse := filepath.Join(part, "sparse")
	f, err := os.Create(sparse)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, 300 << 10, 5 << 20} {
		if _, err := f.WriteAt(noise(5000, uint64(at)), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(6<<20 + 17); err != nil {
		t.Fatal(err)
	}
	f.Close()
	script = append(script,
		"write "+put("pieces", noise(1_500_001, 2))+" pieces.bin",
		"write "+sparse+" sparse.bin",
		"mkdir things", "cd things",
		"symlink short ../pieces.bin", "symlink long "+strings.Repeat("../things/", 20)+"short", "symlink dangling /no/such/place",
		"mknod pipe p", "mknod block b 8 1", "mknod char c 1 3",
		"write "+put("linked", noise(9000, 3))+" linked",
		"ln linked /things/another_name", "set_inode_field linked links_count 2",
		"ea_set linked user.note "+strings.Repeat("n", 30), "ea_set linked user.large "+strings.Repeat("L", 700),
		"ea_set linked security.selinux system_u:object_r:removable_t:s0",
		"ea_set short trusted.secret "+strings.Repeat("s", 40),
		"write "+small+" removed", "rm removed")
	debugfs(t, image, script...)
}

func TestReadsWhatIsMoreThanAFile(t *testing.T) {
	for _, args := range []string{"-t ext2 -b 1024", "-t ext3 -b 2048", "-t ext4 -O metadata_csum,64bit -b 1024", "-t ext4 -O inline_data -b 4096"} {
		t.Run(args, func(t *testing.T) {
			image, truth := rich(t, 48*mega, strings.Fields(args)...)
			if strings.Contains(args, "inline_data") {
				for path, f := range truth {
					if f.Size == inlineBytes {
						delete(truth, path) // debugfs 1.47 reads 60 bytes from shorter ones
					}
				}
			}
			l := list(t, opened(t, image), volume.Options{})
			healthy(t, l, "deleted-entries")
			for path, want := range truth {
				if got := l.Files[path]; got != want && !(want.Size == 0 && got.Size == 0) {
					t.Errorf("%q: %d bytes, want %d", path, got.Size, want.Size)
				}
			}
			for path, want := range map[string]string{
				"things/linked:user.note": strings.Repeat("n", 30), "things/linked:user.large": strings.Repeat("L", 700),
				"things/another_name:user.note": strings.Repeat("n", 30), "things/short:trusted.secret": strings.Repeat("s", 40),
				"things/short": "../pieces.bin", "things/long": strings.Repeat("../things/", 20) + "short",
			} {
				if got := l.Files[path]; got != volumetest.FileOf([]byte(want)) {
					t.Errorf("%q: %d bytes, want %d", path, got.Size, len(want))
				}
			}
			if n := areas(l, "things/linked:security.selinux"); n != 1 {
				t.Errorf("%d areas of the label", n)
			}
			for _, rule := range []string{"symbolic-link things/short", "symbolic-link things/dangling", "special-file things/pipe", "special-file things/block",
				"special-file things/char"} {
				if !slices.Contains(l.Rules(), rule) {
					t.Errorf("no finding %q", rule)
				}
			}
			if e := l.Entry(t, "pieces.bin"); len(e.Extents) < 20 {
				t.Errorf("pieces.bin lies in %d pieces", len(e.Extents))
			}
			if areas(l, "journal") == 0 && !strings.Contains(args, "ext2") {
				t.Error("the journal is no area")
			}
			covers(t, opened(t, image))
		})
	}
}

// covers fails the test if a deep walk leaves out a byte.
func covers(t *testing.T, src volume.Source) {
	t.Helper()
	l := list(t, src, volume.Options{Deep: true})
	if l.Bars() {
		t.Fatalf("%+v", l.Summary)
	}
	const grain = 512
	covered := make([]bool, src.Size()/grain+1)
	for _, e := range l.Entries {
		for _, x := range e.Extents {
			if x.Start >= 0 {
				for i := x.Start / grain; i < (x.Start+x.Bytes+grain-1)/grain; i++ {
					covered[i] = true
				}
			}
		}
	}
	buf := make([]byte, grain)
	for i := range covered {
		n, _ := src.ReadAt(buf, int64(i)*grain)
		if !covered[i] && !volume.Zero(buf[:n]) {
			t.Fatalf("sector %d belongs to no item", i)
		}
	}
}

func TestT06_DeepCoversEveryByteOfTheVolume(t *testing.T) {
	for _, v := range volumes {
		t.Run(v.name, func(t *testing.T) {
			_, image := v.make(t)
			covers(t, opened(t, image))
		})
	}
}

// A value of more than a block has an inode of its own, which files with the same value share.
func TestT09_LargeAttributesAreStreams(t *testing.T) {
	dir := tree(t, []stick.File{{Path: "one", Data: []byte("1")}, {Path: "two", Data: []byte("2")}, {Path: "three", Data: []byte("3")}})
	image := format(t, dir, 32*mega, "-t", "ext4", "-O", "ea_inode,metadata_csum,64bit", "-b", "4096")
	value := filepath.Join(t.TempDir(), "value")
	data := noise(4096, 5) // a block, which is as much as debugfs takes
	if err := os.WriteFile(value, data, 0o600); err != nil {
		t.Fatal(err)
	}
	debugfs(t, image, "ea_set -f "+value+" one user.large", "ea_set -f "+value+" two user.large", "ea_set -f "+value+" three security.large")
	l := list(t, opened(t, image), volume.Options{})
	healthy(t, l)
	for _, path := range []string{"one:user.large", "two:user.large"} {
		if l.Files[path] != volumetest.FileOf(data) {
			t.Errorf("%q: %d bytes", path, l.Files[path].Size)
		}
	}
	if e := l.Entry(t, "three:security.large"); e.Kind != report.Area || e.Size != int64(len(data)) {
		t.Errorf("%+v", e)
	}
}

// Whoever takes the entries may stop at any of them, and so may the context.
func TestWalkEndsWithTheErrorThatStoppedIt(t *testing.T) {
	image, _ := rich(t, 24*mega, "-t", "ext2", "-b", "1024")
	fs, err := Open(opened(t, image))
	if err != nil {
		t.Fatal(err)
	}
	stop, all := errors.New("enough"), 0
	if _, err := fs.Walk(t.Context(), volume.Options{Deep: true}, func(volume.Entry) error { all++; return nil }); err != nil {
		t.Fatal(err)
	}
	for last := 1; last <= all; last += 1 + all/60 {
		n := 0
		_, err := fs.Walk(t.Context(), volume.Options{Deep: true}, func(volume.Entry) error {
			if n++; n >= last {
				return stop
			}
			return nil
		})
		if err != stop || n != last {
			t.Errorf("%v after %d of %d entries", err, n, last)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	if _, err := fs.Walk(ctx, volume.Options{}, func(volume.Entry) error { cancel(stop); return nil }); err != stop {
		t.Error(err)
	}
}
