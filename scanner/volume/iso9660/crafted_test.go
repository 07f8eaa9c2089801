package iso9660

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
)

// small is a disc of few files, as bytes: plain names, Rock Ridge and Joliet.
var small = struct {
	sync.Once
	data []byte
}{}

// bench is that disc with changes.
type bench struct {
	t    testing.TB
	data []byte
}

func newBench(t testing.TB) bench {
	t.Helper()
	small.Do(func() {
		from := t.TempDir()
		for name, text := range map[string]string{"A.TXT": strings.Repeat("a", 3000), "B.TXT": strings.Repeat("b", 5000), "C.TXT": "c",
			"DIR/D.TXT": "d", "DIR/SUB/E.TXT": "e", "OTHER/F.TXT": "f"} {
			path := filepath.Join(from, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink("A.TXT", filepath.Join(from, "LINK")); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(image(t, "genisoimage", from, "-J", "-R"))
		if err != nil {
			t.Fatal(err)
		}
		small.data = data
	})
	return bench{t, bytes.Clone(small.data)}
}

func (b bench) src() volume.Source { return volumetest.Bytes(b.data, 2048) }

// record finds the n-th record with a name as stored, and returns it in place.
func (b bench) record(id string, n int) []byte {
	b.t.Helper()
	for at := 0; ; at++ {
		i := bytes.Index(b.data[at:], []byte(id))
		if i < 0 {
			b.t.Fatalf("there is no record %q", id)
		}
		at += i
		start := at - recordBytes
		if start < 0 || int(b.data[start+32]) != len(id) || int(b.data[start]) < recordBytes+len(id) || !twice32(b.data[start+2:]) || le.Uint32(b.data[start+2:]) == 0 {
			continue
		}
		if n--; n < 0 {
			return b.data[start : start+int(b.data[start])]
		}
	}
}

func both32(b []byte, v uint32) {
	le.PutUint32(b, v)
	be.PutUint32(b[4:], v)
}

// use finds an entry of a record's system use field.
func (b bench) use(id, tag string) []byte {
	b.t.Helper()
	use := systemUse(b.record(id, 0))
	i := bytes.Index(use, []byte(tag))
	if i < 0 {
		b.t.Fatalf("%q has no %s", id, tag)
	}
	return use[i:]
}

// free is a block in the padding at the end, where nothing is.
func (b bench) free() uint32 { return uint32(len(b.data)/sector - 100) }

func ucs2(s string) string {
	var out []byte
	for _, c := range s {
		out = append(out, byte(c>>8), byte(c))
	}
	return string(out)
}

var crafted = map[string]struct {
	craft   func(b bench)
	outcome report.Outcome // of the volume
	rule    string         // a finding that there must be
	entry   string         // in any tree, whose outcome is
	becomes report.Outcome
	area    string // that holds "evil"
}{
	"numbers that differ":       {craft: func(b bench) { b.record("A.TXT;1", 0)[2]++ }, outcome: report.Malformed, entry: "A.TXT", becomes: report.Malformed},
	"lengths that differ":       {craft: func(b bench) { b.record("A.TXT;1", 0)[10]++ }, outcome: report.Malformed, entry: "A.TXT", becomes: report.Malformed},
	"file behind the end":       {craft: func(b bench) { both32(b.record("A.TXT;1", 0)[2:], 1<<30) }, outcome: report.Malformed, entry: "A.TXT", becomes: report.Malformed},
	"file longer than the disc": {craft: func(b bench) { both32(b.record("A.TXT;1", 0)[10:], 1<<31) }, outcome: report.Malformed, entry: "A.TXT", becomes: report.Malformed},
	"directory within itself": {craft: func(b bench) {
		copy(b.record("SUB", 0)[2:18], b.record("DIR", 0)[2:18])
	}, outcome: report.Malformed},
	"directory that is the root": {craft: func(b bench) { copy(b.record("OTHER", 0)[2:18], b.data[16*sector+158:][:16]) }, outcome: report.Malformed, entry: "OTHER", becomes: report.Malformed},
	"directory that is a file":   {craft: func(b bench) { b.record("A.TXT;1", 0)[25] |= flagDirectory }, outcome: report.Malformed, entry: "A.TXT", becomes: report.Malformed},
	"file that is a directory":   {craft: func(b bench) { b.record("OTHER", 0)[25] &^= flagDirectory }, outcome: report.Malformed},
	"directory without length":   {craft: func(b bench) { both32(b.record("OTHER", 0)[10:], 0) }, outcome: report.Malformed, entry: "OTHER", becomes: report.Malformed},
	"directory of a gigabyte":    {craft: func(b bench) { both32(b.record("OTHER", 0)[10:], 1<<30) }, outcome: report.TooLarge, entry: "OTHER", becomes: report.TooLarge},
	"directory shortened": {craft: func(b bench) {
		both32(b.record(ucs2("OTHER"), 0)[10:], 1024)
	}, outcome: report.Malformed},
	"record of no use":      {craft: func(b bench) { b.record("A.TXT;1", 0)[0] = 20 }, outcome: report.Malformed},
	"record cut out":        {craft: func(b bench) { b.record("B.TXT;1", 0)[0] = 0 }, outcome: report.Malformed, rule: "directory-junk"},
	"name of another":       {craft: func(b bench) { copy(b.record("A.TXT;1", 0)[33:], "B.TXT;1") }, outcome: report.Malformed, entry: "B.TXT", becomes: report.Malformed},
	"name with a slash":     {craft: func(b bench) { b.record("A.TXT;1", 0)[34] = '/' }, outcome: report.Malformed},
	"version of two":        {craft: func(b bench) { b.record("A.TXT;1", 0)[39] = '2' }, outcome: report.Clean, rule: "name-version", entry: "A.TXT;2"},
	"interleaved":           {craft: func(b bench) { b.record("A.TXT;1", 0)[26], b.record("A.TXT;1", 0)[27] = 1, 1 }, outcome: report.Clean, rule: "interleaved"},
	"pieces without an end": {craft: func(b bench) { b.record("A.TXT;1", 0)[25] |= flagMore }, outcome: report.Malformed},
	"associated file":       {craft: func(b bench) { b.record("A.TXT;1", 0)[25] |= flagAssociated }, outcome: report.Clean, entry: "A.TXT:associated"},
	"two files share blocks": {craft: func(b bench) {
		r := b.record("B.TXT;1", 0)
		both32(r[2:], le.Uint32(b.record("A.TXT;1", 0)[2:])+1)
	}, outcome: report.Clean, rule: "content-overlaps"},
	"file over directories": {craft: func(b bench) {
		copy(b.record("C.TXT;1", 0)[2:18], b.record("DIR", 0)[2:18])
	}, outcome: report.Clean, rule: "content-over-structure"},
	"path table that names more": {craft: func(b bench) {
		at := int64(le.Uint32(b.data[16*sector+140:])) * sector
		le.PutUint32(b.data[at+2:], 12345)
	}, outcome: report.Malformed},
	"path table of gigabytes": {craft: func(b bench) { both32(b.data[16*sector+132:], 1<<31) }, outcome: report.TooLarge},
	"no terminator": {craft: func(b bench) {
		for at := 16 * sector; ; at += sector {
			if b.data[at] == typeTerminator {
				b.data[at+1] = 'X'
				return
			}
		}
	}, outcome: report.Malformed},
	"descriptor of no kind":         {craft: func(b bench) { b.data[17*sector] = 77 }, outcome: report.Malformed},
	"blocks of no size":             {craft: func(b bench) { copy(b.data[17*sector+128:], []byte{0, 3, 3, 0}) }, outcome: report.Malformed},
	"volume larger than the medium": {craft: func(b bench) { both32(b.data[16*sector+80:], 1<<20) }, outcome: report.Clean, rule: "volume-cut"},
	"link":                          {craft: func(bench) {}, outcome: report.Clean, rule: "link"},
	"continuation in a circle": {craft: func(b bench) {
		// An area that leads to itself, in place of times.
		at := b.free()
		e := make([]byte, 28)
		copy(e, "CE\x1c\x01")
		both32(e[4:], at)
		both32(e[20:], 28)
		copy(b.data[int(at)*sector:], e)
		copy(b.use("A.TXT;1", "TF"), e[:26])
		tf := b.use("A.TXT;1", "CE")
		copy(tf, e[:min(len(tf), 28)])
	}, outcome: report.Malformed},
	"zisofs": {craft: func(b bench) { copy(b.use("A.TXT;1", "TF"), "ZF") }, outcome: report.Clean, rule: "zisofs"},
	"sparse": {craft: func(b bench) { copy(b.use("A.TXT;1", "TF"), "SF") }, outcome: report.Clean, rule: "sparse"},
	"child link to nowhere": {craft: func(b bench) {
		e := b.use("A.TXT;1", "PX")
		copy(e, "CL")
		both32(e[4:], 1<<29)
	}, outcome: report.Malformed},
	"child link to a file": {craft: func(b bench) {
		e := b.use("A.TXT;1", "PX")
		copy(e, "CL")
		both32(e[4:], le.Uint32(b.record("B.TXT;1", 0)[2:]))
	}, outcome: report.TooLarge},
	"file that says it is a directory": {craft: func(b bench) { both32(b.use("A.TXT;1", "PX")[4:], modeDir|0o755) }, outcome: report.Malformed},
	"device":                           {craft: func(b bench) { both32(b.use("A.TXT;1", "PX")[4:], 0o060644) }, outcome: report.Clean, rule: "special-file"},
	"data between files":               {craft: func(b bench) { copy(b.data[int(b.free())*sector:], "evil") }, outcome: report.Clean, rule: "spare-bytes", area: "space between files"},
	"data in the system area":          {craft: func(b bench) { copy(b.data[5000:], "evil") }, outcome: report.Clean, area: "system area"},
	"data in a descriptor":             {craft: func(b bench) { copy(b.data[16*sector+1000:], "evil") }, outcome: report.Clean, area: "volume descriptors"},
	"data behind a directory's records": {craft: func(b bench) {
		at := int(le.Uint32(b.record("OTHER", 0)[2:]))*sector + sector - 10
		copy(b.data[at:], "evil")
	}, outcome: report.Clean, rule: "directory-junk", area: "directories with other bytes"},
	"boot image that no file has": {craft: func(b bench) {
		at := int(b.free())
		// The descriptors' end moves back by one to make room.
		end := 18
		copy(b.data[(end+1)*sector:(end+2)*sector], b.data[end*sector:])
		clear(b.data[end*sector : (end+1)*sector])
		d := b.data[end*sector:]
		copy(d, "\x00CD001\x01EL TORITO SPECIFICATION")
		le.PutUint32(d[71:], uint32(at))
		c := b.data[at*sector:]
		c[0], c[30], c[31] = 1, 0x55, 0xAA
		le.PutUint16(c[28:], ^uint16(0)-0xAA55+1-1+1)
		c[32] = 0x88
		le.PutUint16(c[38:], 4)
		le.PutUint32(c[40:], uint32(at+1))
		copy(b.data[(at+1)*sector:], "evil")
	}, outcome: report.Clean, rule: "boot-images", area: "boot images"},
}

func TestT03_CraftedVolumes(t *testing.T) {
	for name, c := range crafted {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			c.craft(b)
			_, l := list(t, b.src(), volume.Options{})
			if l.Summary.Outcome != c.outcome || (l.Summary.Reason == "") != (c.outcome == report.Clean) {
				t.Errorf("the volume is %v (%s), want %v", l.Summary.Outcome, l.Summary.Reason, c.outcome)
			}
			var rules []string
			for _, f := range l.Summary.Findings {
				rules = append(rules, f.Rule)
			}
			for _, e := range l.Entries {
				for _, f := range e.Findings {
					rules = append(rules, f.Rule)
				}
			}
			if c.rule != "" && !slices.Contains(rules, c.rule) {
				t.Errorf("no finding %q: %q", c.rule, rules)
			}
			if c.entry != "" && !slices.ContainsFunc(l.Entries, func(e volume.Entry) bool { return e.Path == c.entry && e.Outcome == c.becomes }) {
				t.Errorf("%q is not %v", c.entry, c.becomes)
			}
			if (c.rule == "zisofs" || c.rule == "sparse" || c.rule == "interleaved") && !l.Bars() {
				t.Error("nothing bars a clearance")
			}
			if c.area != "" && !slices.ContainsFunc(l.Entries, func(e volume.Entry) bool {
				return e.Kind == report.Area && e.Path == c.area && slices.ContainsFunc(e.Extents, func(x volume.Extent) bool {
					return bytes.Contains(b.data[x.Start:x.Start+x.Bytes], []byte("evil"))
				})
			}) {
				t.Errorf("no area %q holds the data", c.area)
			}
		})
	}
}

// A disc that was written twice: what only its first session has is read too.
func TestT06_EverySessionIsListed(t *testing.T) {
	name := filepath.Join(t.TempDir(), "sessions.iso")
	for i, text := range []string{"first", "second"} {
		from := t.TempDir()
		if err := os.WriteFile(filepath.Join(from, "FILE.TXT"), []byte(text+" session"), 0o644); err != nil {
			t.Fatal(err)
		}
		args := []string{"-outdev", name}
		if i > 0 {
			args = []string{"-dev", name, "-rm", "/FILE.TXT", "--"}
		}
		tool(t, "", "xorriso", append(args, "-joliet", "on", "-map", filepath.Join(from, "FILE.TXT"), "/FILE.TXT", "-commit")...)
	}
	trees, l := list(t, load(t, name), volume.Options{})
	if l.Bars() || len(trees) < 6 {
		t.Errorf("%v %s, trees %q", l.Summary.Outcome, l.Summary.Reason, trees)
	}
	want := map[volumetest.File]bool{volumetest.FileOf([]byte("first session")): true, volumetest.FileOf([]byte("second session")): true}
	for _, f := range l.Files {
		delete(want, f)
	}
	if len(want) > 0 {
		t.Errorf("%d contents of sessions are in no tree: %v", len(want), l.Files)
	}
}
