package fat

import (
	"bytes"
	"fmt"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/testdata/stick"
)

// crafted are images as an attacker, or a stick that broke, makes them. Each is made on FAT12, FAT16 and FAT32.
var crafted = []struct {
	name    string
	damage  func(i *image)
	volume  report.Outcome            // zero: it must be clean
	note    string                    // a finding about the volume
	entries map[string]report.Outcome // these must be listed so
	rules   map[string]string         // these entries must have the finding
	lost    []string                  // files that may be missing, or listed without their content; all others must be right
}{
	{name: "size larger than the volume", damage: func(i *image) { i.setSize("BIG.BIN", 0xFFFFFFFF) },
		volume: report.Malformed, entries: map[string]report.Outcome{"BIG.BIN": report.Malformed}, lost: []string{"BIG.BIN"}},
	{name: "first cluster out of range", damage: func(i *image) { i.setFirst("BIG.BIN", i.made.Clusters+2) },
		volume: report.Malformed, note: "lost-clusters", entries: map[string]report.Outcome{"BIG.BIN": report.Malformed}, lost: []string{"BIG.BIN"}},
	{name: "first cluster one", damage: func(i *image) { i.setFirst("BIG.BIN", 1) },
		volume: report.Malformed, entries: map[string]report.Outcome{"BIG.BIN": report.Malformed}, lost: []string{"BIG.BIN"}},
	{name: "no first cluster", damage: func(i *image) { i.setFirst("BIG.BIN", 0) },
		volume: report.Malformed, note: "lost-clusters", entries: map[string]report.Outcome{"BIG.BIN": report.Malformed}, lost: []string{"BIG.BIN"}},
	{name: "illegal byte in a short name", damage: func(i *image) { i.patch(i.made.Record["SHORT.TXT"], '"') },
		rules: map[string]string{"\"HORT.TXT": "short-name-illegal"}, lost: []string{"SHORT.TXT"}},
	{name: "slash in a short name", damage: func(i *image) { i.patch(i.made.Record["SHORT.TXT"], '/') },
		volume: report.Malformed, entries: map[string]report.Outcome{"\uFFFDHORT.TXT": report.Malformed}, lost: []string{"SHORT.TXT"}},
	{name: "directory leads to the root", damage: func(i *image) { i.setFirst("Folder", i.root()) },
		volume: report.Malformed, entries: map[string]report.Outcome{"Folder": report.Malformed}, lost: belowFolder},
	{name: "directory leads to the one above", damage: func(i *image) { i.setFirst("Folder/Inner folder", i.made.Chain["Folder"][0]) },
		volume: report.Malformed, entries: map[string]report.Outcome{"Folder/Inner folder": report.Malformed}, lost: []string{"Folder/Inner folder/Deep file.txt"}},
	{name: "directory chain loops", damage: func(i *image) { i.link(i.made.Chain["Folder"][0], i.made.Chain["Folder"][0]) },
		volume: report.Malformed, entries: map[string]report.Outcome{"Folder": report.Malformed}},
	{name: "directory without a cluster", damage: func(i *image) { i.setFirst("Folder", 0) },
		volume: report.Malformed, entries: map[string]report.Outcome{"Folder": report.Malformed}, lost: belowFolder},
	{name: "file chain loops within its size", damage: func(i *image) { c := i.made.Chain["BIG.BIN"]; i.link(c[30], c[10]) },
		volume: report.Malformed, note: "lost-clusters", entries: map[string]report.Outcome{"BIG.BIN": report.Malformed}, lost: []string{"BIG.BIN"}},
	{name: "file chain loops at its end", damage: func(i *image) { c := i.made.Chain["BIG.BIN"]; i.link(c[39], c[39]) },
		volume: report.Malformed, entries: map[string]report.Outcome{"BIG.BIN": report.Malformed}, lost: []string{"BIG.BIN"}},
	{name: "chain ends early", damage: func(i *image) { i.link(i.made.Chain["BIG.BIN"][20], i.mark(markEnd)) },
		volume: report.Malformed, note: "lost-clusters", entries: map[string]report.Outcome{"BIG.BIN": report.Malformed}, lost: []string{"BIG.BIN"}},
	{name: "chain into a free cluster", damage: func(i *image) { i.link(i.made.Chain["BIG.BIN"][20], 0) },
		volume: report.Malformed, entries: map[string]report.Outcome{"BIG.BIN": report.Malformed}, lost: []string{"BIG.BIN"}},
	{name: "chain into a bad cluster", damage: func(i *image) { i.link(i.made.Chain["BIG.BIN"][20], i.mark(markBad)) },
		volume: report.Malformed, note: "bad-clusters", entries: map[string]report.Outcome{"BIG.BIN": report.Malformed}, lost: []string{"BIG.BIN"}},
	{name: "chain out of range", damage: func(i *image) { i.link(i.made.Chain["BIG.BIN"][20], i.made.Clusters+2) },
		volume: report.Malformed, entries: map[string]report.Outcome{"BIG.BIN": report.Malformed}, lost: []string{"BIG.BIN"}},
	{name: "two files in one place", damage: func(i *image) { i.link(i.made.Chain["SHORT.TXT"][0], i.made.Chain["BIG.BIN"][5]) },
		volume: report.Malformed, entries: map[string]report.Outcome{"SHORT.TXT": report.Malformed}, lost: []string{"SHORT.TXT"}},
	{name: "more clusters than the size says", damage: func(i *image) { i.setSize("BIG.BIN", 5*512) },
		rules: map[string]string{"BIG.BIN": "chain-longer"}, lost: []string{"BIG.BIN"}},
	{name: "clusters of an empty file", damage: func(i *image) { i.setSize("BIG.BIN", 0) },
		rules: map[string]string{"BIG.BIN": "chain-longer"}, lost: []string{"BIG.BIN"}},
	{name: "end mark before live entries", damage: func(i *image) { i.patch(i.made.Record["EMPTY.TXT"], 0) },
		rules: map[string]string{"LAST.TXT": "after-end-mark", "Folder": "after-end-mark"}, lost: []string{"EMPTY.TXT"}},
	{name: "file marked as label", damage: func(i *image) { i.setAttr("BIG.BIN", 0x28) },
		rules: map[string]string{"BIG.BIN": "label-with-content"}},
	{name: "directory marked as label", damage: func(i *image) { i.setAttr("Folder", 0x18) },
		rules: map[string]string{"Folder": "label-with-content"}, entries: map[string]report.Outcome{"Folder": report.Flagged}},
	{name: "file deleted, chain kept", damage: func(i *image) { i.patch(i.made.Record["BIG.BIN"], 0xE5) },
		note: "lost-clusters", lost: []string{"BIG.BIN"}},
	{name: "tables differ", damage: func(i *image) { i.linkIn(1, i.made.Chain["BIG.BIN"][20], i.mark(markEnd)) },
		volume: report.Malformed},
	{name: "tables differ in the first", damage: func(i *image) { i.linkIn(0, i.made.Chain["BIG.BIN"][20], 0) },
		volume: report.Malformed, lost: []string{"BIG.BIN"}},
	{name: "cluster marked as bad", damage: func(i *image) { i.link(i.made.Clusters-1, i.mark(markBad)) }, note: "bad-clusters"},
	{name: "wrong checksum of a long name", damage: func(i *image) { i.patch(i.made.Record["Scattered file.bin"]-32+13, 0x55, 0) },
		note: "long-name-orphan", rules: map[string]string{"SCATTE~1.BIN": "long-name-broken"}, lost: []string{"Scattered file.bin"}},
	{name: "bytes behind a long name", damage: func(i *image) { i.patch(i.made.Record["Scattered file.bin"]-64+30, 'x', 'x') },
		rules: map[string]string{"Scattered file.bin": "long-name-odd"}},
	{name: "long name without an entry", damage: func(i *image) { i.patch(i.made.Record["Scattered file.bin"], 0xE5) },
		note: "long-name-orphan", lost: []string{"Scattered file.bin"}},
	{name: "slash in a long name", damage: func(i *image) { i.patch(i.made.Record["Scattered file.bin"]-32+1, '/', 0) },
		volume: report.Malformed, entries: map[string]report.Outcome{"\uFFFDcattered file.bin": report.Malformed}, lost: []string{"Scattered file.bin"}},
	{name: "zero in a long name", damage: func(i *image) { i.patch(i.made.Record["Scattered file.bin"]-32+3, 0, 0) },
		rules: map[string]string{"S": "long-name-odd"}, lost: []string{"Scattered file.bin"}},
	{name: "attribute bits that nobody defined", damage: func(i *image) { i.setAttr("BIG.BIN", 0xC0) },
		rules: map[string]string{"BIG.BIN": "attribute-reserved"}},
	{name: "directory with a size", damage: func(i *image) { i.setSize("Folder", 4096) },
		rules: map[string]string{"Folder": "directory-size"}, entries: map[string]report.Outcome{"Folder": report.Flagged}},
	{name: "dot leads elsewhere", damage: func(i *image) { i.setFirstAt(i.made.Cluster(i.made.Chain["Folder"][0]), i.made.Chain["BIG.BIN"][0]) },
		volume: report.Malformed, entries: map[string]report.Outcome{"Folder": report.Malformed}},
	{name: "dots lead elsewhere", damage: func(i *image) { i.setFirstAt(i.made.Cluster(i.made.Chain["Folder"][0])+32, i.made.Chain["BIG.BIN"][0]) },
		volume: report.Malformed, entries: map[string]report.Outcome{"Folder": report.Malformed}},
	{name: "dots missing", damage: func(i *image) {
		at := i.made.Cluster(i.made.Chain["Folder"][0])
		i.patch(at, 0xE5)
		i.patch(at+32, 0xE5)
	}, rules: map[string]string{"Folder": "dots-missing"}, entries: map[string]report.Outcome{"Folder": report.Flagged}},
	{name: "dot among the files of the root", damage: func(i *image) { i.patch(i.made.Record["SHORT.TXT"], []byte(".          ")...) },
		volume: report.Malformed, entries: map[string]report.Outcome{"\uFFFD.": report.Malformed}, lost: []string{"SHORT.TXT"}},
	{name: "two equal short names", damage: func(i *image) { i.patch(i.made.Record["Folder/TWO.TXT"], []byte("ONE     TXT")...) },
		rules: map[string]string{}, lost: []string{"Folder/TWO.TXT"}},
	{name: "spare bytes of a table", damage: func(i *image) { i.patch(i.made.FAT+2*i.made.FATBytes-1, 7) }, note: "spare-bytes"},
	{name: "content of a file read as a directory", damage: func(i *image) { i.setAttr("BIG.BIN", 0x10) },
		volume: report.Malformed, entries: map[string]report.Outcome{"BIG.BIN": report.Malformed}, lost: []string{"BIG.BIN"}},
	{name: "no signature at the end of the boot sector", damage: func(i *image) { i.patch(510, 0, 0) }},
	{name: "no jump", damage: func(i *image) { i.patch(0, 0, 0, 0) }},
	{name: "case bits of a short name", damage: func(i *image) { i.patch(i.made.Record["SHORT.TXT"]+12, 0x18) },
		entries: map[string]report.Outcome{"short.txt": report.Unscanned}, lost: []string{"SHORT.TXT"}},
	{name: "letter of another country", damage: func(i *image) { i.patch(i.made.Record["SHORT.TXT"], 0x9A) },
		rules: map[string]string{"ÜHORT.TXT": "name-code-page"}, lost: []string{"SHORT.TXT"}},
	{name: "name that reads backwards", damage: func(i *image) { i.patch(i.made.Record["Scattered file.bin"]-32+1, 0x2E, 0x20) },
		rules: map[string]string{"\u202Ecattered file.bin": "name-direction"}, lost: []string{"Scattered file.bin"}},
	{name: "name of a device", damage: func(i *image) { i.patch(i.made.Record["SHORT.TXT"], []byte("AUX     TXT")...) },
		rules: map[string]string{"AUX.TXT": "name-device"}, lost: []string{"SHORT.TXT"}},
	{name: "control character in a short name", damage: func(i *image) { i.patch(i.made.Record["SHORT.TXT"]+1, 0x0A) },
		rules: map[string]string{"S\nORT.TXT": "name-control"}, lost: []string{"SHORT.TXT"}},
}

var belowFolder = []string{"Folder/Inner folder/Deep file.txt", "Folder/ONE.TXT", "Folder/TWO.TXT"}

func TestT03_CraftedVolumesAreToldAndNothingIsSilentlyMissing(t *testing.T) {
	for bits, spec := range specs {
		for _, c := range crafted {
			t.Run(fmt.Sprintf("FAT%d/%s", bits, c.name), func(t *testing.T) {
				img := build(t, spec, someFiles())
				before := img.truth(t)
				c.damage(img)
				l := img.list(t, volume.Options{})
				want := c.volume
				if want == report.Unscanned {
					want = report.Clean
				}
				if l.Summary.Outcome != want || (want != report.Clean) != (l.Summary.Reason != "") {
					t.Errorf("the volume is %v (%q), want %v", l.Summary.Outcome, l.Summary.Reason, want)
				}
				if c.note != "" && !hasRule(l.Summary.Findings, c.note) {
					t.Errorf("no finding %q among %v", c.note, l.Summary.Findings)
				}
				for path, outcome := range c.entries {
					if e := find(l, path); e == nil || e.Outcome != outcome {
						t.Errorf("%q is %+v, want it listed as %v", path, e, outcome)
					}
				}
				for path, rule := range c.rules {
					if e := find(l, path); e == nil || !hasRule(e.Findings, rule) {
						t.Errorf("%q is %+v, want it listed with %q", path, e, rule)
					}
				}
				for _, path := range c.lost {
					delete(before, path)
				}
				for path, f := range before {
					if l.Files[path] != f {
						t.Errorf("%q, which the damage did not touch, is missing", path)
					}
				}
				if len(l.Signals()) == 0 && len(c.lost) > 0 && c.name != "case bits of a short name" {
					t.Error("something went missing, and nothing was said")
				}
			})
		}
	}
}

func TestLostChainIsScannedInItsOrder(t *testing.T) {
	img := build(t, specs[16], someFiles())
	img.patch(img.made.Record["Scattered file.bin"], 0xE5)
	l := img.list(t, volume.Options{})
	want := someFiles()[4].Data
	if got := img.area(t, l, "lost chain"); !bytes.Equal(got, want) {
		t.Errorf("the area has %d bytes, and they are not those of the file", len(got))
	}
}

func TestLostLoopIsScanned(t *testing.T) {
	img := build(t, specs[16], someFiles())
	chain := img.made.Chain["BIG.BIN"]
	img.patch(img.made.Record["BIG.BIN"], 0xE5)
	img.link(chain[len(chain)-1], chain[0])
	l := img.list(t, volume.Options{})
	if got := img.area(t, l, "lost clusters"); !bytes.Equal(got, someFiles()[0].Data) {
		t.Errorf("the area has %d bytes, and they are not those of the file", len(got))
	}
}

func TestT06_PlacesWithoutFilesAreScanned(t *testing.T) {
	spec := specs[32]
	spec.ClusterBytes, spec.Bytes = 1024, 70<<20+512 // so that half a cluster is left at the end
	secret := []byte("secret")
	for what, place := range map[string]func(v *stick.Volume) int64{
		"boot sector and reserved sectors":          func(v *stick.Volume) int64 { return 9 * 512 },
		"rest of allocation table 2":                func(v *stick.Volume) int64 { return v.FAT + 2*v.FATBytes - 6 },
		"clusters marked as bad":                    func(v *stick.Volume) int64 { return v.Cluster(v.Clusters) },
		"end of the volume behind the last cluster": func(v *stick.Volume) int64 { return v.Bytes - 10 },
		"clusters behind the end of a file":         func(v *stick.Volume) int64 { return v.Cluster(v.Chain["BIG.BIN"][7]) },
		"free clusters":                             func(v *stick.Volume) int64 { return v.Cluster(v.Clusters - 1) },
		"bytes behind the end of files":             func(v *stick.Volume) int64 { return v.Cluster(v.Chain["LAST.TXT"][0]) + 100 },
		"directory as stored":                       func(v *stick.Volume) int64 { return v.Cluster(v.Chain[""][0]) + 13 }, // in the label
	} {
		t.Run(what, func(t *testing.T) {
			img := build(t, spec, someFiles())
			img.link(img.made.Clusters, markBad)
			img.setSize("BIG.BIN", 100)
			img.patch(place(img.made), secret...)
			l := img.list(t, volume.Options{Deep: true})
			if got := img.area(t, l, what); !bytes.Contains(got, secret) {
				t.Errorf("the area of %d bytes does not have it", len(got))
			}
		})
	}
}

func TestHugeDirectoryIsMalformed(t *testing.T) {
	files := append(someFiles(), stick.File{Path: "ZEROS.BIN", Size: 3 << 20})
	img := build(t, specs[16], files)
	img.setAttr("ZEROS.BIN", 0x10)
	l := img.list(t, volume.Options{})
	if e := find(l, "ZEROS.BIN"); e == nil || e.Outcome != report.Malformed || l.Summary.Outcome != report.Malformed {
		t.Errorf("%+v, volume %v", e, l.Summary.Outcome)
	}
}

func TestDifferentReadingsOfTheGeometryAreTold(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(*image)
		rule   string
		want   report.Outcome
	}{
		"the copy of the boot sector differs": {func(i *image) { i.patch(6*512+14, 40) }, "boot-copies-differ", report.Clean},
		"only the first table is in use":      {func(i *image) { i.patch(40, 0x80) }, "", report.Clean},
		"only the second table is in use":     {func(i *image) { i.patch(40, 0x81) }, "fat-not-mirrored", report.Clean},
		"the volume was not left in order":    {func(i *image) { i.linkIn(0, 1, 0x07FFFFFF) }, "volume-dirty", report.Clean},
		"reserved bits of an entry differ":    {func(i *image) { i.patch(i.made.FAT+43, 0xF0) }, "fat-marks-differ", report.Clean},
	} {
		img := build(t, specs[32], someFiles())
		c.damage(img)
		l := img.list(t, volume.Options{})
		if l.Summary.Outcome != c.want || c.rule != "" && !hasRule(l.Summary.Findings, c.rule) {
			t.Errorf("%s: %v %q %v", name, l.Summary.Outcome, l.Summary.Reason, l.Summary.Findings)
		}
		if diff := img.truth(t).Diff(l); len(diff) > 0 {
			t.Errorf("%s: %v", name, diff)
		}
	}
}
