package ntfs

import (
	"slices"
	"strings"
	"testing"

	"pratique/scanner/report"
)

// Names in the corpus on which cases are tried.
const (
	fileName  = "a file with a longer name, number 0500.txt"
	otherName = "a file with a longer name, number 0501.txt"
	hostName  = "host 1.txt" // 3,000 bytes in a cluster, with streams
)

// crafted changes the corpus and says what must come of it.
var crafted = map[string]struct {
	craft   func(b bench)
	outcome report.Outcome // of the volume
	rule    string         // a finding on it or on an entry
	entry   string         // whose outcome is
	becomes report.Outcome
	areas   string // the beginning of an area's path that must be there
}{
	"torn record": {craft: func(b bench) { b.write(b.place(b.number(fileName))+510, 0xEE, 0xEE) }, outcome: report.Malformed, rule: "stale-names"},
	"torn record that is not in use": {craft: func(b bench) {
		b.record(b.number(fileName), func(raw []byte) []byte { raw[22] &^= 1; return raw })
		b.write(b.place(b.number(fileName))+510, 0xEE, 0xEE)
	}, outcome: report.Malformed},
	"BAAD":                 {craft: func(b bench) { b.write(b.place(b.number(fileName)), []byte("BAAD")...) }, outcome: report.Malformed},
	"magic wiped":          {craft: func(b bench) { b.write(b.place(b.number(fileName)), 0, 0, 0, 0) }, outcome: report.Malformed},
	"record of another":    {craft: func(b bench) { b.record(b.number(fileName), func(raw []byte) []byte { raw[44]++; return raw }) }, outcome: report.Malformed},
	"no end of attributes": {craft: func(b bench) { b.record(b.number(fileName), func(raw []byte) []byte { raw[24] -= 8; return raw }) }, outcome: report.Malformed},
	"attribute of length 0": {craft: func(b bench) {
		b.record(b.number(fileName), func(raw []byte) []byte { le.PutUint32(raw[b.attribute(raw, typeName, "")+4:], 0); return raw })
	}, outcome: report.Malformed},
	"deleted, but still named": {craft: func(b bench) {
		b.record(b.number(fileName), func(raw []byte) []byte { raw[22] &^= 1; return raw })
	}, outcome: report.Clean, rule: "stale-names"},
	"in use, but not in the table's bitmap": {craft: func(b bench) {
		n := b.number(fileName)
		marks := b.open().system(recordTable, "").stream(typeBitmap, "")
		at := marks.extents[0].Start + n/8
		b.write(at, b.read(at, 1)[0]&^(1<<(n%8)))
	}, outcome: report.Clean, rule: "records-differ"},
	"parent that is no directory": {craft: func(b bench) { b.parent(fileName, refer(b.number(otherName), 1)) }, outcome: report.Clean, rule: "orphan", areas: "$Orphan/"},
	"parent of another time":      {craft: func(b bench) { b.parent(fileName, refer(b.number("many"), 77)) }, outcome: report.Clean, rule: "orphan", areas: "$Orphan/"},
	"parent outside the table":    {craft: func(b bench) { b.parent(fileName, refer(1<<40, 1)) }, outcome: report.Clean, rule: "orphan", areas: "$Orphan/"},
	"directories in a circle": {craft: func(b bench) {
		b.parent("level 05", b.own("level 20"))
		// The index of level 20 must have the name, or the circle is cut there.
	}, outcome: report.Clean, rule: "orphan", areas: "$Orphan/"},
	"directory that is its own parent": {craft: func(b bench) { b.parent("many", b.own("many")) }, outcome: report.Clean, rule: "orphan", areas: "$Orphan/"},
	"name that no index has": {craft: func(b bench) {
		b.record(b.number(fileName), func(raw []byte) []byte { raw[b.attribute(raw, typeName, "")+24+66] = 'X'; return raw })
	}, outcome: report.Clean, rule: "not-indexed", areas: "$Orphan/"},
	"name that only an index has": {craft: func(b bench) {
		b.record(b.number(fileName), func(raw []byte) []byte { raw[b.attribute(raw, typeName, "")+24+66] = 'X'; return raw })
	}, outcome: report.Clean, rule: "names-differ"},
	"file without a name": {craft: func(b bench) {
		b.record(b.number(fileName), func(raw []byte) []byte { le.PutUint32(raw[b.attribute(raw, typeName, ""):], typeObject); return raw })
	}, outcome: report.Clean, rule: "orphan", areas: "$Orphan/"},
	"name of no length": {craft: func(b bench) {
		b.record(b.number(fileName), func(raw []byte) []byte { raw[b.attribute(raw, typeName, "")+24+64] = 0; return raw })
	}, outcome: report.Malformed},
	"clusters of another file": {craft: func(b bench) {
		var runs []byte
		b.record(b.number("host 2.txt"), func(raw []byte) []byte { runs = slices.Clone(raw[b.attribute(raw, typeData, "")+64:][:8]); return raw })
		b.record(b.number(hostName), func(raw []byte) []byte { copy(raw[b.attribute(raw, typeData, "")+64:], runs); return raw })
	}, outcome: report.Malformed, rule: "content-damaged", entry: "streams/host 2.txt", becomes: report.Malformed},
	"clusters of the file table": {craft: func(b bench) {
		b.record(b.number(hostName), func(raw []byte) []byte {
			copy(raw[b.attribute(raw, typeData, "")+64:], []byte{0x11, 1, byte(b.open().geo.table / 4096), 0})
			return raw
		})
	}, outcome: report.Malformed, entry: "streams/" + hostName, becomes: report.Malformed},
	"clusters behind the volume": {craft: func(b bench) {
		b.record(b.number(hostName), func(raw []byte) []byte {
			copy(raw[b.attribute(raw, typeData, "")+64:], []byte{0x31, 1, 0xFF, 0xFF, 0x7F, 0})
			return raw
		})
	}, outcome: report.Malformed, entry: "streams/" + hostName, becomes: report.Malformed},
	"clusters before the volume": {craft: func(b bench) {
		b.record(b.number(hostName), func(raw []byte) []byte {
			copy(raw[b.attribute(raw, typeData, "")+64:], []byte{0x11, 1, 0xFF, 0})
			return raw
		})
	}, outcome: report.Malformed, entry: "streams/" + hostName, becomes: report.Malformed},
	"file in clusters that are free": {craft: func(b bench) { b.mark(b.cluster(hostName), false) }, outcome: report.Malformed},
	"clusters in use by nobody":      {craft: func(b bench) { b.mark(b.open().geo.clusters-2, true) }, outcome: report.Clean, rule: "lost-clusters", areas: "lost clusters"},
	"size larger than the clusters":  {craft: func(b bench) { b.field(hostName, typeData, 48, 1<<40) }, outcome: report.Malformed, rule: "content-damaged", entry: "streams/" + hostName, becomes: report.Malformed},
	"size of 2^63":                   {craft: func(b bench) { b.field(hostName, typeData, 48, 1<<63) }, outcome: report.Malformed},
	"more stored than there is":      {craft: func(b bench) { b.field(hostName, typeData, 56, 3001) }, outcome: report.Malformed, entry: "streams/" + hostName, becomes: report.Malformed},
	"less clusters than allocated":   {craft: func(b bench) { b.field(hostName, typeData, 40, 8192) }, outcome: report.Malformed, entry: "streams/" + hostName, becomes: report.Malformed},
	"last cluster before the first":  {craft: func(b bench) { b.field(hostName, typeData, 24, 7) }, outcome: report.Malformed, entry: "streams/" + hostName, becomes: report.Malformed},
	"beginning that is missing":      {craft: func(b bench) { b.field("sparse.bin", typeData, 16, 3) }, outcome: report.Malformed, entry: "sparse.bin", becomes: report.Malformed},
	"a piece less": {craft: func(b bench) {
		// The list of pieces.bin loses its last entry, so that a record continues a file that does not know of it.
		f, err := b.open().file(b.number("pieces.bin"))
		if err != nil {
			b.t.Fatal(err)
		}
		s := f.stream(typeList, "")
		b.record(f.number, func(raw []byte) []byte {
			at := b.attribute(raw, typeList, "")
			le.PutUint64(raw[at+48:], uint64(s.size-32))
			le.PutUint64(raw[at+56:], uint64(s.size-32))
			return raw
		})
	}, outcome: report.Malformed, entry: "pieces.bin", becomes: report.Malformed},
	"a piece of another file": {craft: func(b bench) {
		f, err := b.open().file(b.number("pieces.bin"))
		if err != nil {
			b.t.Fatal(err)
		}
		b.record(f.extensions[len(f.extensions)-1], func(raw []byte) []byte { le.PutUint64(raw[32:], uint64(b.own("many.txt"))); return raw })
	}, outcome: report.Malformed, entry: "pieces.bin", becomes: report.Malformed},
	"compressed chunk that is damaged": {craft: func(b bench) {
		f, err := b.open().file(b.number("text 0.txt"))
		if err != nil {
			b.t.Fatal(err)
		}
		b.write(f.stream(typeData, "").extents[0].Start+1, 0x00)
	}, outcome: report.Clean, entry: "compressed/text 0.txt", becomes: report.Malformed},
	"compression that is not known": {craft: func(b bench) { b.flags("text 0.txt", 2) }, outcome: report.Malformed, entry: "compressed/text 0.txt", becomes: report.Malformed},
	"T25 EFS":                       {craft: func(b bench) { b.flags(hostName, flagEncrypted) }, outcome: report.Encrypted, rule: "encrypted", entry: "streams/" + hostName, becomes: report.Encrypted},
	"T25 WOF":                       {craft: func(b bench) { b.reparse(hostName, tagWOF) }, outcome: report.Clean, rule: "compressed-by-windows", entry: "streams/" + hostName},
	"T25 deduplication":             {craft: func(b bench) { b.reparse(hostName, tagDedup) }, outcome: report.Clean, rule: "deduplicated", entry: "streams/" + hostName},
	"T25 cloud":                     {craft: func(b bench) { b.reparse(hostName, tagCloud|0x6000) }, outcome: report.Clean, rule: "cloud-file", entry: "streams/" + hostName},
	"T25 cloud directory":           {craft: func(b bench) { b.reparse("streams", tagCloud) }, outcome: report.Clean, rule: "cloud-file", entry: "streams"},
	"T25 unknown tag":               {craft: func(b bench) { b.reparse(hostName, 0x80000023) }, outcome: report.Clean, rule: "reparse-unknown", entry: "streams/" + hostName},
	"copy of the table leads elsewhere": {craft: func(b bench) {
		raw := b.read(b.open().geo.mirror, 1024)
		if err := mend(raw); err != nil {
			b.t.Fatal(err)
		}
		raw[b.attribute(raw, typeData, "")+64+2]++
		b.write(b.open().geo.mirror, seal(raw)...)
	}, outcome: report.Malformed, rule: "table-copies-differ"},
	"copy of the table is old":        {craft: func(b bench) { b.write(b.open().geo.mirror+3*1024+8, 1) }, outcome: report.Clean, rule: "table-copies-differ"},
	"copy of the boot sector differs": {craft: func(b bench) { b.write(b.open().geo.length+100, 1) }, outcome: report.Clean, rule: "boot-copies-differ"},
	"copy of the boot sector lies":    {craft: func(b bench) { b.write(b.open().geo.length+48, 9) }, outcome: report.Malformed},
	"volume not closed": {craft: func(b bench) {
		b.record(recordVolume, func(raw []byte) []byte { raw[b.attribute(raw, typeVolumeInfo, "")+24+10] |= 1; return raw })
	}, outcome: report.Clean, rule: "volume-dirty"},
	"version that is not known": {craft: func(b bench) {
		b.record(recordVolume, func(raw []byte) []byte { raw[b.attribute(raw, typeVolumeInfo, "")+24+8] = 4; return raw })
	}, outcome: report.Malformed},
	"log with work to do": {craft: func(b bench) {
		b.write(b.open().system(recordLog, "").stream(typeData, "").extents[0].Start, []byte("RSTR")...)
	}, outcome: report.Clean, rule: "log-not-empty"},
	"letters of its own": {craft: func(b bench) {
		b.write(b.open().system(recordUpcase, "").stream(typeData, "").extents[0].Start+2*'a', 'b')
	}, outcome: report.Clean, rule: "upcase-table"},
	"file where the volume's own are": {craft: func(b bench) {
		b.record(4, func(raw []byte) []byte { raw[b.attribute(raw, typeName, "")+24+66] = 'X'; return raw })
	}, outcome: report.Malformed},
	"clusters marked as bad": {craft: func(b bench) {
		c := b.open().geo.clusters - 3
		b.mark(c, true)
		b.record(recordBad, func(raw []byte) []byte {
			at := b.attribute(raw, typeData, "$Bad")
			runs := at + int(le.Uint16(raw[at+32:]))
			runs64 := []byte{0x02, byte(c), byte(c >> 8), 0x21, 1, byte(c), byte(c >> 8), 0x01, 2, 0}
			copy(raw[runs:at+int(le.Uint32(raw[at+4:]))], runs64)
			if runs+len(runs64) > at+int(le.Uint32(raw[at+4:])) {
				tail := slices.Clone(raw[at+int(le.Uint32(raw[at+4:])) : int(le.Uint32(raw[24:]))])
				copy(raw[runs:], runs64)
				n := (runs + len(runs64) - at + 7) &^ 7
				le.PutUint32(raw[at+4:], uint32(n))
				copy(raw[at+n:], tail)
				le.PutUint32(raw[24:], uint32(at+n+len(tail)))
			}
			return raw
		})
	}, outcome: report.Clean, rule: "bad-clusters", areas: "clusters marked as bad"},
	"bytes behind the last cluster": {craft: func(b bench) { b.write(b.open().geo.clusters*4096+77, 1) }, outcome: report.Clean, rule: "spare-bytes", areas: "space behind"},
	"index block that is damaged":   {craft: func(b bench) { b.write(b.block("many", 3)+28, 0xFF, 0xFF, 0xFF, 0xFF) }, outcome: report.Malformed},
	"index block that is torn":      {craft: func(b bench) { b.write(b.block("many", 3)+510, 1, 2) }, outcome: report.Malformed},
	"index block of another place":  {craft: func(b bench) { b.write(b.block("many", 3)+16, 9) }, outcome: report.Malformed},
	"index bitmap without a block": {craft: func(b bench) {
		b.record(b.number("many"), func(raw []byte) []byte { return raw })
		f, err := b.open().file(b.number("many"))
		if err != nil {
			b.t.Fatal(err)
		}
		s := f.stream(typeBitmap, indexName)
		b.recordOf(f, s.value, func(bits []byte) { bits[0] &^= 8 })
	}, outcome: report.Clean, rule: "index-differs"},
	"extended attribute":         {craft: func(b bench) { b.insert(b.number("small.txt"), typeEA, "", []byte("hidden in an attribute")) }, outcome: report.Clean, areas: "compressed/small.txt, attribute 0xe0"},
	"attribute of no known kind": {craft: func(b bench) { b.insert(b.number("small.txt"), 0x1230, "x", []byte("hidden")) }, outcome: report.Clean, areas: "compressed/small.txt, attribute 0x1230:x"},
	"content of a directory":     {craft: func(b bench) { b.insert(b.number("empty folder"), typeData, "", []byte("hidden")) }, outcome: report.Clean, rule: "directory-content", areas: "empty folder, attribute 0x80"},
	"two contents":               {craft: func(b bench) { b.insert(b.number("small.txt"), typeData, "", []byte("other")) }, outcome: report.Malformed, entry: "compressed/small.txt", becomes: report.Malformed},
}

// parent changes in which directory a file says that it is.
func (b bench) parent(name string, ref reference) {
	b.t.Helper()
	b.field(name, typeName, 24, uint64(ref))
}

// own is the reference by which others name a file.
func (b bench) own(name string) reference {
	b.t.Helper()
	f, err := b.open().file(b.number(name))
	if err != nil {
		b.t.Fatal(err)
	}
	return refer(f.number, f.use)
}

func (b bench) flags(name string, flags uint16) {
	b.t.Helper()
	b.record(b.number(name), func(raw []byte) []byte { le.PutUint16(raw[b.attribute(raw, typeData, "")+12:], flags); return raw })
}

func (b bench) reparse(name string, tag uint32) {
	b.t.Helper()
	b.insert(b.number(name), typeReparse, "", le.AppendUint32(le.AppendUint32(nil, tag), 0))
}

// cluster is the first of a file.
func (b bench) cluster(name string) int64 {
	b.t.Helper()
	f, err := b.open().file(b.number(name))
	if err != nil {
		b.t.Fatal(err)
	}
	return f.stream(typeData, "").extents[0].Start / 4096
}

// mark sets or clears a bit of the volume's bitmap.
func (b bench) mark(cluster int64, used bool) {
	b.t.Helper()
	at := b.open().bitmap.extents[0].Start + cluster/8
	old, bit := b.read(at, 1)[0], byte(1)<<(cluster%8)
	if used {
		b.write(at, old|bit)
	} else {
		b.write(at, old&^bit)
	}
}

// block is the place of a block of a directory's index.
func (b bench) block(name string, n int64) int64 {
	b.t.Helper()
	f, err := b.open().file(b.number(name))
	if err != nil {
		b.t.Fatal(err)
	}
	return f.stream(typeIndexBlock, indexName).extents[0].Start + n*4096
}

// recordOf changes a resident value, in whichever of a file's records it stands.
func (b bench) recordOf(f *file, value []byte, change func([]byte)) {
	b.t.Helper()
	for _, n := range append([]int64{f.number}, f.extensions...) {
		done := false
		b.record(n, func(raw []byte) []byte {
			for at := int(le.Uint16(raw[20:])); le.Uint32(raw[at:]) != typeEnd; at += int(le.Uint32(raw[at+4:])) {
				if le.Uint32(raw[at:]) == typeBitmap && raw[at+8] == 0 {
					change(raw[at+int(le.Uint16(raw[at+20:])):][:len(value)])
					done = true
				}
			}
			return raw
		})
		if done {
			return
		}
	}
	b.t.Fatal("the value is in no record")
}

func TestT03_CraftedVolumes(t *testing.T) { tryCrafted(t, "") }

func TestT25_WhatCannotBeReadIsNamedAndRefused(t *testing.T) { tryCrafted(t, "T25 ") }

// tryCrafted tries the cases whose names begin so; those of a threat of its own go by its number.
func tryCrafted(t *testing.T, threat string) {
	for name, test := range crafted {
		name, own := strings.CutPrefix(name, "T25 ")
		if own != (threat == "T25 ") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			test.craft(b)
			l := b.list()
			if l.Summary.Outcome != test.outcome || (l.Summary.Reason == "") != (test.outcome == report.Clean) {
				t.Errorf("the volume is %v (%s), want %v", l.Summary.Outcome, l.Summary.Reason, test.outcome)
			}
			if test.rule != "" && !l.Has(test.rule) {
				t.Errorf("no finding %q: %q", test.rule, l.Rules())
			}
			if test.entry != "" {
				if e := l.Entry(t, test.entry); e.Outcome != test.becomes || threat != "" && test.becomes == report.Unscanned && e.Kind == report.File && !e.Opaque {
					t.Errorf("%+v, want %v", e, test.becomes)
				}
			}
			if test.areas != "" && areas(l, test.areas) == 0 {
				t.Errorf("no area %q", test.areas)
			}
			if threat == "T25 " && !l.Bars() {
				// A directory bars by its outcome alone: what is not clean there is not scanned later either.
				if e := l.Entry(t, test.entry); e.Kind != report.Directory || e.Outcome.Seen() {
					t.Error("nothing bars a clearance")
				}
			}
		})
	}
}
