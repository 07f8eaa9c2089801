package udf

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
)

// bench is a small volume with changes.
type bench struct {
	data  []byte
	spots map[string]int64
	block int
}

// change edits the descriptor at a spot, and makes its checksums right again.
func (b bench) change(spot string, edit func(d []byte)) {
	d := b.data[b.spots[spot]:][:b.block]
	edit(d)
	seal(d[:tagBytes+int(le.Uint16(d[10:]))], tagOf(d), int(le.Uint32(d[12:])))
}

// name edits the name in a directory that stands for a file.
func (b bench) name(name string, edit func(d []byte)) {
	at := bytes.Index(b.data, cs0(name))
	start := at - nameFixed
	n := (nameFixed + int(b.data[start+19]) + 3) &^ 3
	edit(b.data[start : start+n])
	seal(b.data[start:start+n], tagName, int(le.Uint32(b.data[start+12:])))
}

func crafting(s spec) bench {
	root := &node{kids: []*node{{name: "a.txt", data: bytes.Repeat([]byte("a"), 3000)}, {name: "b.txt", data: bytes.Repeat([]byte("b"), 5000), pieces: 2},
		{name: "dir", dir: true, kids: []*node{{name: "c.txt", data: []byte("c")}, {name: "sub", dir: true}}}}}
	s.blocks = max(s.blocks, 1200)
	data, spots := build(s, root)
	return bench{data, spots, s.block}
}

var plain2048 = spec{block: 2048}

var crafted = map[string]struct {
	spec    spec
	craft   func(b bench)
	outcome report.Outcome
	rule    string
	entry   string
	becomes report.Outcome
	area    string // that holds "evil"
}{
	"checksum of an entry":           {plain2048, func(b bench) { b.data[b.spots["entry a.txt"]+60]++ }, report.Malformed, "entry-damaged", "a.txt", report.Malformed, ""},
	"entry of another place":         {plain2048, func(b bench) { b.change("entry a.txt", func(d []byte) { d[12]++ }) }, report.Malformed, "", "a.txt", report.Malformed, ""},
	"longer than its pieces":         {plain2048, func(b bench) { b.change("entry a.txt", func(d []byte) { le.PutUint64(d[56:], 1<<40) }) }, report.Malformed, "", "a.txt", report.Malformed, ""},
	"length of 2^63":                 {plain2048, func(b bench) { b.change("entry a.txt", func(d []byte) { le.PutUint64(d[56:], 1<<63) }) }, report.Malformed, "", "a.txt", report.Malformed, ""},
	"strategy that is not known":     {plain2048, func(b bench) { b.change("entry a.txt", func(d []byte) { le.PutUint16(d[20:], 3) }) }, report.Malformed, "", "a.txt", report.Malformed, ""},
	"extended allocation":            {plain2048, func(b bench) { b.change("entry a.txt", func(d []byte) { d[34] = 2 }) }, report.Malformed, "content-damaged", "a.txt", report.Malformed, ""},
	"attributes longer than a block": {plain2048, func(b bench) { b.change("entry a.txt", func(d []byte) { le.PutUint32(d[168:], 1<<31) }) }, report.Malformed, "", "a.txt", report.Malformed, ""},
	"pieces outside the partition":   {plain2048, func(b bench) { b.change("entry a.txt", func(d []byte) { le.PutUint32(d[180:], 1<<30) }) }, report.Malformed, "", "a.txt", report.Malformed, ""},
	"pieces of another file": {plain2048, func(b bench) {
		piece := bytes.Clone(b.data[b.spots["entry a.txt"]+176:][:8])
		b.change("entry b.txt", func(d []byte) { copy(d[176:], piece) })
	}, report.Malformed, "", "", 0, ""},
	"list of pieces that leads to itself": {plain2048, func(b bench) {
		at := b.spots["content a.txt"]
		b.change("entry a.txt", func(d []byte) {
			le.PutUint64(d[56:], 1<<30)
			le.PutUint32(d[176:], 2048|goesOn<<30)
			list := make([]byte, 64)
			le.PutUint32(list[20:], 8)
			copy(list[24:], d[176:184])
			seal(list, tagContinued, int(le.Uint32(d[180:])))
			clear(b.data[at : at+2048])
			copy(b.data[at:], list)
		})
	}, report.TooLarge, "", "a.txt", report.TooLarge, ""},
	"file in free blocks": {plain2048, func(b bench) {
		for i := range 40 {
			b.data[b.spots["bitmap"]+24+int64(i)] = 0xFF
		}
	}, report.Malformed, "", "", 0, ""},
	"bitmap of another length": {plain2048, func(b bench) { b.change("bitmap", func(d []byte) { le.PutUint32(d[16:], 7) }) }, report.Malformed, "", "", 0, ""},
	"name that is deleted":     {plain2048, func(b bench) { b.name("a.txt", func(d []byte) { d[18] |= nameDeleted }) }, report.Clean, "deleted-entries", "", 0, "space that no file has"},
	"name of a directory":      {plain2048, func(b bench) { b.name("a.txt", func(d []byte) { d[18] |= nameDirectory }) }, report.Malformed, "", "a.txt", report.Malformed, ""},
	"name with a slash":        {plain2048, func(b bench) { b.name("a.txt", func(d []byte) { d[nameFixed+2] = '/' }) }, report.Malformed, "", "", 0, ""},
	"name twice":               {plain2048, func(b bench) { b.name("a.txt", func(d []byte) { d[nameFixed+1] = 'b' }) }, report.Malformed, "", "b.txt", report.Malformed, ""},
	"name in no characters":    {plain2048, func(b bench) { b.name("a.txt", func(d []byte) { d[nameFixed] = 77 }) }, report.Malformed, "", "", 0, ""},
	"name that is damaged":     {plain2048, func(b bench) { b.data[bytes.Index(b.data, cs0("a.txt"))+3]++ }, report.Malformed, "", "", 0, ""},
	"directory in a circle": {plain2048, func(b bench) {
		up := bytes.Index(b.data, cs0("dir")) - nameFixed
		b.name("sub", func(d []byte) { copy(d[20:36], b.data[up+20:up+36]) })
	}, report.Malformed, "", "dir/sub", report.Malformed, ""},
	"a second name of a file that has one": {plain2048, func(b bench) {
		other := bytes.Index(b.data, cs0("b.txt")) - nameFixed
		b.name("a.txt", func(d []byte) { copy(d[20:36], b.data[other+20:other+36]) })
	}, report.Malformed, "", "", 0, ""},
	"device": {plain2048, func(b bench) { b.change("entry a.txt", func(d []byte) { d[27] = 6 }) }, report.Clean, "special-file", "", 0, ""},
	"link":   {plain2048, func(b bench) { b.change("entry a.txt", func(d []byte) { d[27] = typeLink }) }, report.Clean, "link", "", 0, ""},
	"sequences that differ": {plain2048, func(b bench) {
		d := b.data[b.spots["sequence 1"]+2048:][:512]
		d[188]++
		seal(d, tagPartition, int(le.Uint32(d[12:])))
	}, report.Malformed, "", "", 0, ""},
	"reserve that is gone": {plain2048, func(b bench) { clear(b.data[b.spots["sequence 1"]:][:4*2048]) }, report.Malformed, "", "", 0, ""},
	"main that is gone":    {plain2048, func(b bench) { clear(b.data[b.spots["sequence 0"]:][:4*2048]) }, report.Malformed, "", "", 0, ""},
	"anchors that differ": {plain2048, func(b bench) {
		d := b.data[256*2048:][:512]
		le.PutUint32(d[28:], 131)
		seal(d, tagAnchor, 256)
	}, report.Malformed, "", "", 0, ""},
	"data before the descriptors": {plain2048, func(b bench) { copy(b.data[20000:], "evil") }, report.Clean, "", "", 0, "space that no file has"},
	"data behind the partition":   {plain2048, func(b bench) { copy(b.data[len(b.data)-9000:], "evil") }, report.Clean, "spare-bytes", "", 0, "space that no file has"},
	"data in a block that nobody owns": {plain2048, func(b bench) {
		k := int64(1100)
		b.data[b.spots["bitmap"]+24+k/8] &^= 1 << (k % 8)
		copy(b.data[(300+k)*2048:], "evil")
	}, report.Clean, "spare-bytes", "", 0, "space that no file has"},
	"mirror that differs": {spec{block: 2048, kind: metadata, extended: true, form: 3}, func(b bench) {
		// The first copy of the root's names is that of the main file.
		at := bytes.LastIndex(b.data, cs0("a.txt"))
		b.data[at+1]++
	}, report.Malformed, "", "", 0, ""},
	"metadata file that is gone":    {spec{block: 2048, kind: metadata, extended: true, form: 3}, func(b bench) { clear(b.data[b.spots["table"]:][:2048]) }, report.Malformed, "", "", 0, ""},
	"sparing table that is damaged": {spec{block: 2048, kind: sparable}, func(b bench) { b.data[b.spots["table"]+56]++ }, report.Malformed, "", "", 0, ""},
}

func TestT03_CraftedVolumes(t *testing.T) {
	for name, c := range crafted {
		t.Run(name, func(t *testing.T) {
			if c.spec.kind == metadata {
				c.spec.blocks = 4000
			}
			b := crafting(c.spec)
			c.craft(b)
			l := list(t, volumetest.Bytes(b.data, 512), volume.Options{})
			if l.Summary.Outcome != c.outcome || (l.Summary.Reason == "") != (c.outcome == report.Clean) {
				t.Errorf("the volume is %v (%s), want %v", l.Summary.Outcome, l.Summary.Reason, c.outcome)
			}
			if c.rule != "" && !slices.Contains(rules(l), c.rule) {
				t.Errorf("no finding %q: %q", c.rule, rules(l))
			}
			if c.entry != "" && !slices.ContainsFunc(l.Entries, func(e volume.Entry) bool { return e.Path == c.entry && e.Outcome == c.becomes }) {
				t.Errorf("%q is not %v", c.entry, c.becomes)
			}
			if c.area != "" && !slices.ContainsFunc(l.Entries, func(e volume.Entry) bool { return e.Path == c.area }) {
				t.Errorf("no area %q", c.area)
			}
		})
	}
}

// What is of a kind that nobody here reads says so.
func TestT25_WhatCannotBeReadIsNamedAndRefused(t *testing.T) {
	edit := func(change func(logical []byte)) func(b bench) {
		return func(b bench) {
			for i, spot := range []string{"sequence 0", "sequence 1"} {
				d := b.data[b.spots[spot]+2*2048:][:2048]
				change(d)
				seal(d[:tagBytes+int(le.Uint16(d[10:]))], tagLogicalVolume, []int{102, 132}[i])
			}
		}
	}
	for name, craft := range map[string]func(b bench){
		"no anchor": func(b bench) {
			clear(b.data[256*2048:][:2048])
			clear(b.data[len(b.data)-2048:])
			clear(b.data[len(b.data)-257*2048:][:2048])
		},
		"rules of others":           edit(func(d []byte) { d[217] = 'X' }),
		"another size of block":     edit(func(d []byte) { le.PutUint32(d[212:], 4096) }),
		"no partition":              edit(func(d []byte) { le.PutUint32(d[268:], 0) }),
		"partition that is missing": edit(func(d []byte) { d[444] = 9 }),
		"partition of another kind": edit(func(d []byte) { d[440] = 3 }),
		"files that are nowhere":    edit(func(d []byte) { le.PutUint32(d[252:], 1<<30) }),
		"no descriptors at all": func(b bench) {
			clear(b.data[b.spots["sequence 0"]:][:4*2048])
			clear(b.data[b.spots["sequence 1"]:][:4*2048])
		},
		"list of partitions too long": edit(func(d []byte) { le.PutUint32(d[264:], 1<<31) }),
	} {
		b := crafting(plain2048)
		craft(b)
		fs, err := Open(volumetest.Bytes(b.data, 512))
		if fs != nil || !errors.Is(err, volume.ErrMalformed) || err.Error() == "" {
			t.Errorf("%s: %v, %v", name, fs, err)
		}
	}
}
