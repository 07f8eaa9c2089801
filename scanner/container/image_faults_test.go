package container

import (
	"crypto/sha256"
	"strings"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/readers"
	"pratique/scanner/volume/volumetest"
)

// Discs and Linux volumes as files: what a fault in what they are made of may cost. The UDF volume has no other names.
var faultyImages = []struct{ name, fileSystem, script string }{
	{"a.iso", "iso9660", "genisoimage -quiet -J -R -o a.iso TREE"},
	{"udf.iso", "udf", "genisoimage -quiet -udf -o udf.iso TREE && dd if=/dev/zero of=udf.iso bs=2048 seek=16 count=2 conv=notrunc status=none"},
	{"ext4.img", "ext4", "mke2fs -q -t ext4 -O ^metadata_csum -N 64 -d TREE ext4.img 8M"},
}

// imageParts are where the structures of an image's one volume lie.
func imageParts(t *testing.T, src volume.Source, fileSystem string) (parts []volume.Extent) {
	t.Helper()
	fs, err := readers.Open(src, volume.Candidate{Bytes: src.Size(), FileSystem: fileSystem})
	if err != nil {
		t.Fatal(err)
	}
	_, err = fs.Walk(t.Context(), volume.Options{Deep: true}, func(e volume.Entry) error {
		for _, named := range []string{"structures of the volume", "volume descriptors", "directories and tables", "slack and entries"} {
			if strings.HasPrefix(e.Path, named) {
				parts = append(parts, e.Extents...)
			}
		}
		if e.Kind == report.Directory {
			parts = append(parts, e.Extents...)
		}
		return nil
	})
	if err != nil || len(parts) < 2 {
		t.Fatalf("%d places, %v", len(parts), err)
	}
	return parts
}

// gone are files whose content came out under no name.
func gone(k *taken, files map[string][]byte) (names []string) {
	seen := map[[32]byte]bool{sha256.Sum256(nil): true}
	for path, data := range k.content {
		if k.items[path].Outcome == report.Unscanned {
			seen[sha256.Sum256(data)] = true
		}
	}
	for name, data := range files {
		if !seen[sha256.Sum256(data)] {
			names = append(names, name)
		}
	}
	return names
}

func TestT03_FaultsInImagesLoseNothingQuietly(t *testing.T) {
	files := map[string][]byte{"letter.txt": payload(9 * kib), "folder/deep/a.bin": payload(200 * kib), "tool.bin": machineCode()}
	const inline, sector = 64 * kib, 2048
	for _, test := range faultyImages {
		t.Run(test.name, func(t *testing.T) {
			src := volumetest.Bytes(makeImage(t, test.name, test.script, files), imageSector)
			parts := imageParts(t, src, test.fileSystem)
			open := func(r volume.Source) (k *taken, res Result) {
				head := make([]byte, 4*kib) // the rest is asked for
				if _, err := src.ReadAt(head, 0); err != nil {
					t.Fatal(err)
				}
				return take(t, New(inline), &Content{Size: src.Size(), Head: head, At: r}, test.name)
			}
			k, res := open(src)
			if lost := gone(k, files); len(lost) > 0 || !silent(k, res) {
				t.Fatalf("the sound image: %q are missing; %v %+v", lost, res.Outcome, res.Findings)
			}
			healthy := len(res.Findings)
			told, whole, quiet := 0, 0, 0
			count := func(what any, k *taken, res Result) {
				switch lost := gone(k, files); {
				case !silent(k, res) || len(res.Findings) > healthy:
					told++
				case len(lost) == 0:
					whole++
				default:
					quiet++
					t.Errorf("%v: %q are missing without a word", what, lost)
				}
			}
			for seed := range uint64(max(20, *mutants/100)) {
				m := volumetest.Mutate(src, parts, seed)
				k, res := open(m)
				count(m.Edits, k, res)
			}
			t.Logf("%s in a file, mutants: %d told, %d complete, %d quiet", test.fileSystem, told, whole, quiet)
			told, whole, quiet = 0, 0, 0
			var total int64
			for _, x := range parts {
				total += x.Bytes
			}
			for i := range int64(40) {
				at := total * i / 40
				for _, x := range parts {
					if at < x.Bytes {
						at = (x.Start + at) / sector * sector
						break
					}
					at -= x.Bytes
				}
				k, res := open(volumetest.FailAt(src, []volume.Extent{{Start: at, Bytes: sector}}))
				count(at, k, res)
			}
			t.Logf("%s in a file, 40 bad sectors: %d told, %d complete, %d quiet", test.fileSystem, told, whole, quiet)
		})
	}
}
