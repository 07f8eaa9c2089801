package container

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"

	"pratique/scanner/report"
)

// images are made by the programs of their systems. TREE is a folder with the files of corpus.
var images = []struct {
	name   string
	script string
}{
	{"a.iso", "genisoimage -quiet -J -R -o a.iso TREE"},
	{"udf.iso", "genisoimage -quiet -udf -o udf.iso TREE"},
	{"fat.img", "mkfs.fat -C fat.img 16384 >/dev/null && mcopy -i fat.img -s TREE/* ::"},
	{"ext4.img", "mke2fs -q -t ext4 -d TREE ext4.img 16M"},
	{"ext2.img", "mke2fs -q -t ext2 -d TREE ext2.img 16M"},
	{"ntfs.img", "truncate -s 24M ntfs.img && mkfs.ntfs -q -F -s 512 -p 0 -H 0 -S 0 ntfs.img && find TREE -type f | while read f; do ntfscp -q -f ntfs.img $f $(basename $f); done"},
	{"mbr.img", "truncate -s 20M mbr.img && echo '2048,32768,6' | sfdisk -q mbr.img && mkfs.fat --offset 2048 mbr.img 16384 >/dev/null && mcopy -i mbr.img@@1M -s TREE/* ::"},
	{"gpt.img", "truncate -s 20M gpt.img && echo '2048,32768' | sfdisk -q -X gpt gpt.img && mkfs.fat --offset 2048 gpt.img 16384 >/dev/null && mcopy -i gpt.img@@1M -s TREE/* ::"},
	{"fixed.vhd", "mkfs.fat -C f.img 16384 >/dev/null && mcopy -i f.img -s TREE/* :: && qemu-img convert -O vpc -o subformat=fixed,force_size=on f.img fixed.vhd"},
	{"dynamic.vhd", "mkfs.fat -C f.img 16384 >/dev/null && mcopy -i f.img -s TREE/* :: && qemu-img convert -O vpc -o subformat=dynamic,force_size=on f.img dynamic.vhd"},
	{"a.vhdx", "mkfs.fat -C f.img 16384 >/dev/null && mcopy -i f.img -s TREE/* :: && qemu-img convert -O vhdx f.img a.vhdx"},
	{"a.vmdk", "mkfs.fat -C f.img 16384 >/dev/null && mcopy -i f.img -s TREE/* :: && qemu-img convert -O vmdk f.img a.vmdk"},
}

func makeImage(t testing.TB, name, script string, files map[string][]byte) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.Rename(tree(t, files), filepath.Join(dir, "TREE")); err != nil {
		t.Fatal(err)
	}
	tool(t, dir, "sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; set -e; "+script)
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestImagesOfDisksAreOpened(t *testing.T) {
	files := corpus()
	for _, test := range images {
		t.Run(test.name, func(t *testing.T) {
			image := makeImage(t, test.name, test.script, files)
			for _, inline := range []int64{8 * mib, 64 * kib} {
				k, res := take(t, New(inline), whole(image), test.name)
				if res.Outcome != report.Unscanned {
					t.Errorf("the image is %v with %+v", res.Outcome, res.Findings)
				}
				seen := map[[32]byte]bool{}
				for path, data := range k.content {
					if it := k.items[path]; it.Outcome == report.Unscanned {
						seen[sha256.Sum256(data)] = true
					}
				}
				for name, want := range files {
					if !seen[sha256.Sum256(want)] {
						t.Errorf("%s is not among %q", name, k.order)
					}
				}
			}
		})
	}
}

func TestT07_DisksThatCannotBeSeenAreTold(t *testing.T) {
	for _, test := range []struct{ name, script string }{
		{"a.qcow2", "qemu-img create -q -f qcow2 a.qcow2 16M"},
		{"stream.vmdk", "truncate -s 16M f.img && qemu-img convert -O vmdk -o subformat=streamOptimized f.img stream.vmdk"},
		{"btrfs.img", "truncate -s 128M btrfs.img && mkfs.btrfs -q btrfs.img"},
	} {
		if k, res := takeBytes(t, makeImage(t, test.name, test.script, nil), test.name); silent(k, res) {
			t.Errorf("%s: %v %+v", test.name, res.Outcome, res.Findings)
		}
	}
	image := makeImage(t, "ext4.img", "mke2fs -q -t ext4 -d TREE ext4.img 16M", corpus())
	if k, res := takeBytes(t, bytes.Clone(image[:6*mib]), "cut.img"); silent(k, res) {
		t.Errorf("an image that was cut: %v %+v", res.Outcome, res.Findings)
	}
}
