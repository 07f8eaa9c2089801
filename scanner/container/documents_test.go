package container

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/klauspost/compress/zlib"

	"pratique/scanner/report"
)

// cfb writes a compound file of streams, which are named with their storages. Streams below the cutoff go into the small sectors.
func cfb(streams map[string][]byte) []byte {
	type node struct {
		name     string
		kind     byte
		children []int
		data     []byte
		start    uint32
	}
	nodes := []node{{name: "Root Entry", kind: 5}}
	place := map[string]int{"": 0}
	names := make([]string, 0, len(streams))
	for n := range streams {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		parts, at := strings.Split(n, "/"), ""
		for i, p := range parts {
			up := place[at]
			at = strings.TrimPrefix(at+"/"+p, "/")
			if _, ok := place[at]; ok {
				continue
			}
			place[at] = len(nodes)
			nodes[up].children = append(nodes[up].children, len(nodes))
			if i == len(parts)-1 {
				nodes = append(nodes, node{name: p, kind: 2, data: streams[n]})
			} else {
				nodes = append(nodes, node{name: p, kind: 1})
			}
		}
	}
	const end = 0xFFFFFFFE
	var fat, miniFAT []uint32
	var body, mini []byte
	put := func(b []byte, table *[]uint32, into *[]byte, unit int) uint32 {
		if len(b) == 0 {
			return end
		}
		start := uint32(len(*table))
		*into = append(*into, b...)
		for len(*into)%unit != 0 {
			*into = append(*into, 0)
		}
		for len(*table) < len(*into)/unit-1 {
			*table = append(*table, uint32(len(*table)+1))
		}
		*table = append(*table, end)
		return start
	}
	for i := range nodes {
		if n := &nodes[i]; n.kind == 2 {
			if len(n.data) < 4096 {
				n.start = put(n.data, &miniFAT, &mini, 64)
			} else {
				n.start = put(n.data, &fat, &body, 512)
			}
		}
	}
	nodes[0].data = mini
	nodes[0].start = put(mini, &fat, &body, 512)
	var table []byte
	for _, v := range miniFAT {
		table = binary.LittleEndian.AppendUint32(table, v)
	}
	for len(table)%512 != 0 {
		table = append(table, 0xFF)
	}
	miniStart := put(table, &fat, &body, 512)
	var dir []byte
	for i, n := range nodes {
		e := make([]byte, 128)
		u := utf16.Encode([]rune(n.name))
		for j, c := range u {
			binary.LittleEndian.PutUint16(e[2*j:], c)
		}
		binary.LittleEndian.PutUint16(e[64:], uint16(2*len(u)+2))
		e[66] = n.kind
		right, child := uint32(0xFFFFFFFF), uint32(0xFFFFFFFF)
		for _, m := range nodes {
			if k := slices.Index(m.children, i); k >= 0 && k+1 < len(m.children) {
				right = uint32(m.children[k+1])
			}
		}
		if len(n.children) > 0 {
			child = uint32(n.children[0])
		}
		binary.LittleEndian.PutUint32(e[68:], 0xFFFFFFFF)
		binary.LittleEndian.PutUint32(e[72:], right)
		binary.LittleEndian.PutUint32(e[76:], child)
		binary.LittleEndian.PutUint32(e[116:], n.start)
		binary.LittleEndian.PutUint64(e[120:], uint64(len(n.data)))
		dir = append(dir, e...)
	}
	dirStart := put(dir, &fat, &body, 512)
	sectors := 0
	for sectors*128 < len(fat)+sectors {
		sectors++
	}
	fatStart := uint32(len(fat))
	for range sectors {
		fat = append(fat, 0xFFFFFFFD)
	}
	for len(fat)%128 != 0 {
		fat = append(fat, 0xFFFFFFFF)
	}
	for _, v := range fat {
		body = binary.LittleEndian.AppendUint32(body, v)
	}
	h := make([]byte, 512)
	copy(h, "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1")
	for at, v := range map[int]uint16{24: 0x3E, 26: 3, 28: 0xFFFE, 30: 9, 32: 6} {
		binary.LittleEndian.PutUint16(h[at:], v)
	}
	for at, v := range map[int]uint32{44: uint32(sectors), 48: dirStart, 56: 4096, 60: miniStart, 64: uint32(len(table) / 512), 68: end} {
		binary.LittleEndian.PutUint32(h[at:], v)
	}
	for i := range 109 {
		v := uint32(0xFFFFFFFF)
		if i < sectors {
			v = fatStart + uint32(i)
		}
		binary.LittleEndian.PutUint32(h[76+4*i:], v)
	}
	return append(h, body...)
}

// vbaPacked packs a source as Office does, with matches where they are easy to find.
func vbaPacked(src []byte) []byte {
	out := []byte{1}
	for len(src) > 0 {
		block := src[:min(len(src), 4096)]
		src = src[len(block):]
		var packed []byte
		for at := 0; at < len(block); {
			flags := len(packed)
			packed = append(packed, 0)
			for bit := 0; bit < 8 && at < len(block); bit++ {
				bits := 4
				for 1<<bits < at {
					bits++
				}
				best, back := 0, 0
				for d := 1; d <= min(at, 1<<bits); d++ {
					n := 0
					for at+n < len(block) && block[at+n] == block[at+n-d] && n < 0xFFFF>>bits {
						n++
					}
					if n > best {
						best, back = n, d
					}
				}
				if best < 3 {
					packed = append(packed, block[at])
					at++
					continue
				}
				packed[flags] |= 1 << bit
				packed = binary.LittleEndian.AppendUint16(packed, uint16((back-1)<<(16-bits)|best-3))
				at += best
			}
		}
		out = binary.LittleEndian.AppendUint16(out, uint16(len(packed)-1)|3<<12|1<<15)
		out = append(out, packed...)
	}
	return out
}

// vbaProject is a project of macros: a directory, and a module whose source lies behind other data.
func vbaProject(prefix string, source []byte) map[string][]byte {
	record := func(id uint16, data string) []byte {
		b := binary.LittleEndian.AppendUint16(nil, id)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
		return append(b, data...)
	}
	dir := slices.Concat(record(1, "\x03\x00\x00\x00"), record(9, "")[:2], []byte("\x04\x00\x00\x00\x01\x00\x00\x00\x02\x00"),
		record(0x19, "Module1"), record(0x1A, "Module1"), record(0x31, "\x10\x00\x00\x00"), record(0x2B, ""))
	return map[string][]byte{
		prefix + "VBA/dir":          vbaPacked(dir),
		prefix + "VBA/_VBA_PROJECT": []byte("\xCC\x61\xFF\xFF\x00\x00\x00"),
		prefix + "VBA/Module1":      append(bytes.Repeat([]byte{7}, 16), vbaPacked(source)...),
		prefix + "PROJECT":          []byte("Module=Module1\r\n"),
	}
}

// ole10 is a file as the packager of Windows inserts it.
func ole10(name string, data []byte) []byte {
	b := []byte("\x02\x00" + name + "\x00C:\\from\\" + name + "\x00\x00\x00\x03\x00")
	to := "C:\\to\\" + name + "\x00"
	b = binary.LittleEndian.AppendUint32(b, uint32(len(to)))
	b = append(b, to...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	b = append(append(b, data...), 0, 0)
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...)
}

func record(kind uint16, instance uint16, data []byte) []byte {
	b := binary.LittleEndian.AppendUint16(nil, instance<<4)
	b = binary.LittleEndian.AppendUint16(b, kind)
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(data))), data...)
}

func zlibbed(b []byte) []byte {
	var out bytes.Buffer
	w := zlib.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func macroSource(n int) []byte {
	return append([]byte("Attribute VB_Name = \"Module1\"\r\nSub Greeting()\r\n"), payload(n)...)
}

// compounds are compound files, by hand, that hold a payload.
func compounds() map[string][]byte {
	want := payload(6 * kib)
	inner := cfb(map[string][]byte{"\x01Ole10Native": ole10("letter.txt", want), "\x01CompObj": []byte("x")})
	return map[string][]byte{
		"macros.doc":    cfb(vbaProject("Macros/", macroSource(6*kib))),
		"embedded.doc":  cfb(map[string][]byte{"WordDocument": make([]byte, 5000), "ObjectPool/_1/\x01Ole10Native": ole10("letter.txt", want)}),
		"compound.xls":  cfb(map[string][]byte{"Workbook": make([]byte, 5000), "MBD0001/Package": want, "MBD0002/inner": inner}),
		"object.ppt":    cfb(map[string][]byte{"PowerPoint Document": append(record(0x3E8, 0, make([]byte, 100)), record(0x1011, 1, append([]byte{0, 0, 0, 0}, zlibbed(inner)...))...)}),
		"message.msg":   cfb(map[string][]byte{"__attach_version1.0_#00000000/__substg1.0_37010102": want, "__attach_version1.0_#00000000/__substg1.0_3707001F": []byte("l\x00e\x00t\x00t\x00e\x00r\x00.\x00t\x00x\x00t\x00")}),
		"plain.bin.ole": cfb(map[string][]byte{"VBA/dir": []byte("x"), "Contents": want}),
	}
}

// holds reports whether a payload came out, in one of the members that are not the container itself.
func holds(k *taken, want []byte) string {
	for _, path := range k.order {
		if bytes.Contains(k.content[path], want) {
			return path
		}
	}
	return ""
}

func TestT07_WhatCompoundFilesHoldComesOut(t *testing.T) {
	want := payload(6 * kib)
	for name, b := range compounds() {
		for _, inline := range []int64{mib, 64 * kib} {
			k, res := take(t, New(inline), whole(b), name)
			if holds(k, want) == "" || !silent(k, res) {
				t.Errorf("%s: the payload is not among %q, %v %+v", name, k.order, res.Outcome, res.Findings)
			}
		}
	}
	k, _ := takeBytes(t, compounds()["message.msg"], "message.msg")
	if !bytes.Equal(k.content["__attach_version1.0_#00000000/letter.txt"], want) {
		t.Errorf("the attachment has no name: %q", k.order)
	}
	k, _ = takeBytes(t, compounds()["embedded.doc"], "embedded.doc")
	if path := "ObjectPool/_1/letter.txt"; !bytes.Equal(k.content[path], want) || k.items[path].Part || !k.items["WordDocument"].Part {
		t.Errorf("%q", k.order)
	}
}

// The directory of a project may lie, or be gone: the source comes out.
func TestT07_SourcesOfMacrosAreFoundWithoutTheirDirectory(t *testing.T) {
	source := macroSource(9 * kib)
	for name, change := range map[string]func(map[string][]byte){
		"no directory":    func(s map[string][]byte) { delete(s, "VBA/dir") },
		"directory lies":  func(s map[string][]byte) { s["VBA/dir"] = vbaPacked([]byte("nothing")) },
		"p-code replaced": func(s map[string][]byte) { s["VBA/Module1"] = append(make([]byte, 700), s["VBA/Module1"]...) },
	} {
		streams := vbaProject("", source)
		change(streams)
		k, res := takeBytes(t, cfb(streams), "vbaProject.bin")
		if !bytes.Equal(k.content["VBA/Module1 (source)"], source) || !silent(k, res) {
			t.Errorf("%s: %q %+v", name, k.order, res)
		}
	}
}

func TestT07_CompoundFilesThatLieAreTold(t *testing.T) {
	good := cfb(map[string][]byte{"a": payload(9000), "b": payload(5000), "c/d": payload(100)})
	at := func(i int) int { return 512 + 512*int(le.Uint32(good[48:])) + 128*i } // an entry of the directory
	for name, change := range map[string]func([]byte) []byte{
		"a chain that loops": func(b []byte) []byte { // the FAT is the last sector
			binary.LittleEndian.PutUint32(b[len(b)-512+8:], 0)
			binary.LittleEndian.PutUint64(b[at(1)+120:], 1<<30)
			return b
		},
		"a stream larger than its chain": func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at(1)+120:], 1<<29); return b },
		"a tree that loops":              func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at(1)+68:], 1); return b },
		"an entry that is not there":     func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at(1)+68:], 999); return b },
		"a file that is cut off":         func(b []byte) []byte { return b[:len(b)-2000] },
		"no tables":                      func(b []byte) []byte { return b[:1000] },
	} {
		k, res := takeBytes(t, change(bytes.Clone(good)), "x.doc")
		if silent(k, res) {
			t.Errorf("%s: silence, %q", name, k.order)
		}
	}
	orphan := bytes.Clone(good)
	binary.LittleEndian.PutUint32(orphan[at(0)+76:], 0xFFFFFFFF) // the root has no children
	k, _ := takeBytes(t, orphan, "x.doc")
	if !bytes.Equal(k.content["a"], payload(9000)) || k.items["a"].Findings[0].Rule != "archive-hidden" {
		t.Errorf("a stream that no storage names: %q", k.order)
	}
}

func TestT25_EncryptedDocumentsAreTold(t *testing.T) {
	word := make([]byte, 5000)
	copy(word, "\xEC\xA5")
	word[11] = 1
	for name, streams := range map[string]map[string][]byte{
		"doc":  {"WordDocument": word},
		"xls":  {"Workbook": append([]byte("\x09\x08\x04\x00\x00\x06\x05\x00\x2F\x00\x02\x00\x00\x00"), make([]byte, 5000)...)},
		"ppt":  {"PowerPoint Document": append(record(0x2F14, 0, make([]byte, 100)), make([]byte, 5000)...)},
		"docx": {"EncryptedPackage": make([]byte, 5000), "EncryptionInfo": make([]byte, 100)},
	} {
		if _, res := takeBytes(t, cfb(streams), name); res.Outcome != report.Encrypted {
			t.Errorf("%s: %v", name, res.Outcome)
		}
	}
	if _, res := takeBytes(t, []byte(`<?xml version="1.0"?><manifest:manifest><manifest:file-entry><manifest:encryption-data/></manifest:file-entry></manifest:manifest>`), "manifest.xml"); res.Outcome != report.Encrypted {
		t.Errorf("OpenDocument: %v", res.Outcome)
	}
}

func relationships(kind, target, mode string) []byte {
	return fmt.Appendf(nil, `<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/%s" Target="%s" TargetMode="%s"/></Relationships>`, kind, target, mode)
}

func TestWhatDocumentsLoadFromElsewhereIsTold(t *testing.T) {
	wide := func(b []byte) []byte {
		out := []byte{0xFF, 0xFE}
		for _, c := range b {
			out = append(out, c, 0)
		}
		return out
	}
	for _, c := range []struct {
		name string
		text []byte
		want string
	}{
		{"template", relationships("attachedTemplate", "http://x.example/a.dotm", "External"), "document-external"},
		{"object", relationships("oleObject", `\\host\share\a`, "External"), "document-external"},
		{"template in UTF-16", wide(relationships("attachedTemplate", "http://x.example/a.dotm", "External")), "document-external"},
		{"hyperlink", relationships("hyperlink", "http://x.example/", "External"), ""},
		{"protocol handler", relationships("hyperlink", "ms-msdt:/id PCWDiagnostic", "External"), "document-external"},
		{"workbook", relationships("externalLinkPath", "other.xlsx", "External"), "document-link"},
		{"inner", relationships("oleObject", "embeddings/oleObject1.bin", "Internal"), ""},
		{"OpenDocument object", []byte(`<?xml version="1.0"?><office:document-content><draw:object xlink:href="http://x.example/a.ods"/></office:document-content>`), "document-external"},
		{"OpenDocument picture", []byte(`<?xml version="1.0"?><office:document-content><draw:image xlink:href="Pictures/a.png"/></office:document-content>`), ""},
		{"OpenDocument event", []byte(`<?xml version="1.0"?><o:scripts><script:event-listener xlink:href="vnd.sun.star.script:Standard.Module1.Main"/></o:scripts>`), "macro"},
		{"entity", []byte(`<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>`), "document-external"},
	} {
		k, res := takeBytes(t, c.text, "x")
		got := ""
		for _, f := range res.Findings {
			got += f.Rule
		}
		if got != c.want || res.Outcome != report.Unscanned || len(k.order) > 0 {
			t.Errorf("%s: %q, want %q; %v", c.name, got, c.want, res.Outcome)
		}
	}
}

func TestMacrosOfOpenDocumentComeAsTheyRun(t *testing.T) {
	k, _ := takeBytes(t, []byte(`<?xml version="1.0"?><!DOCTYPE script:module PUBLIC "x" "module.dtd"><script:module script:name="Module1">Shell(&quot;cmd&quot; &amp; x)</script:module>`), "Module1.xml")
	if got := string(k.content["Module1 (source)"]); got != `Shell("cmd" & x)` {
		t.Errorf("%q %q", got, k.order)
	}
}

func entityBomb() []byte {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol0 "lol">`)
	for i := 1; i < 10; i++ {
		fmt.Fprintf(&b, "<!ENTITY lol%d \"%s\">", i, strings.Repeat(fmt.Sprintf("&lol%d;", i-1), 10))
	}
	b.WriteString("]><lolz>&lol9;</lolz>")
	return []byte(b.String())
}

func TestT07_EntitiesThatGrowAreABomb(t *testing.T) {
	for name, b := range map[string][]byte{"ten to the ninth": entityBomb(),
		"a loop": []byte(`<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "&y;"><!ENTITY y "&x;">]><a>&x;</a>`)} {
		if _, res := takeBytes(t, b, "x.xml"); res.Outcome != report.TooLarge || res.Findings[0].Rule != "archive-limit" {
			t.Errorf("%s: %+v", name, res)
		}
	}
	if _, res := takeBytes(t, []byte(`<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY ns "http://www.w3.org/2000/svg">]><svg xmlns="&ns;"/>`), "x.svg"); res.Outcome != report.Unscanned || len(res.Findings) > 0 {
		t.Errorf("an honest one: %+v", res)
	}
}
