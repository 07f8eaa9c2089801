package container

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pratique/scanner/report"
)

// peSpec is a program for Windows that runs nowhere: a section of code, one of resources, a signature.
type peSpec struct {
	code      []byte
	names     [2]string // of the sections
	entry     []byte    // where it begins
	resources [][]byte
	overlay   []byte
	signature []byte // what its table holds
	behind    []byte
}

func (s peSpec) make() []byte {
	const align, first = 512, 1024
	put, put16 := binary.LittleEndian.PutUint32, binary.LittleEndian.PutUint16
	pad := func(b []byte) []byte { return append(b, make([]byte, (align-len(b)%align)%align)...) }
	code := pad(append(append(bytes.Clone(s.entry), make([]byte, 64)...), s.code...))
	const va = 0x10000
	tree := va + uint32(len(code)+0xFFFF)&^0xFFFF
	var res []byte
	if len(s.resources) > 0 {
		// A type, a name for each, a language, a leaf.
		n := uint32(len(s.resources))
		dir := func(entries ...uint32) []byte {
			b := make([]byte, 16)
			put16(b[14:], uint16(len(entries)/2))
			for _, e := range entries {
				b = binary.LittleEndian.AppendUint32(b, e)
			}
			return b
		}
		res = dir(10, 24|1<<31)
		var names, languages, leaves, data []byte
		var entries []uint32
		namesEnd := 24 + 16 + 8*n
		at := namesEnd + 24*n + 16*n
		for i := range n {
			entries = append(entries, i+1, (namesEnd+24*i)|1<<31)
			languages = append(languages, dir(1033, namesEnd+24*n+16*i)...)
			leaf := make([]byte, 16)
			put(leaf, tree+at+uint32(len(data)))
			put(leaf[4:], uint32(len(s.resources[i])))
			leaves = append(leaves, leaf...)
			data = append(data, s.resources[i]...)
		}
		names = dir(entries...)
		res = pad(bytes.Join([][]byte{res, names, languages, leaves, data}, nil))
	}
	b := make([]byte, first)
	copy(b, "MZ")
	put(b[60:], 64)
	h := b[64:]
	copy(h, "PE\x00\x00\x4C\x01\x02\x00")
	put16(h[20:], 224)
	opt := h[24:]
	put16(opt, 0x10B)
	put(opt[16:], va)
	put(opt[28:], 0x400000)
	put(opt[32:], 0x1000)
	put(opt[36:], align)
	put(opt[56:], tree+0x100000)
	put(opt[60:], first)
	put(opt[92:], 16)
	if res != nil {
		put(opt[96+16:], tree)
		put(opt[96+20:], uint32(len(res)))
	}
	for i, part := range [][]byte{code, res} {
		t := opt[224+40*i:]
		copy(t[:8], s.names[i])
		put(t[8:], uint32(len(part)))
		put(t[12:], []uint32{va, tree}[i])
		put(t[16:], uint32(len(part)))
		put(t[20:], uint32(first+i*len(code)))
	}
	b = append(append(append(b, code...), res...), s.overlay...)
	if s.signature != nil {
		b = append(b, make([]byte, -len(b)&7)...)
		put(b[64+24+96+32:], uint32(len(b)))
		put(b[64+24+96+36:], uint32(len(s.signature)))
		b = append(b, s.signature...)
	}
	return append(b, s.behind...)
}

// signed is a table of one certificate that is none, with something behind it.
func signed(more []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(8+4+500+len(more)))
	b = append(b, 0, 2, 2, 0, 0x30, 0x82, 500>>8, 500&0xFF)
	return append(append(b, make([]byte, 500)...), more...)
}

// packedLetter are archives of the letter, as real programs make them.
func packedLetter(t testing.TB) map[string][]byte {
	t.Helper()
	dir := tree(t, map[string][]byte{"letter.txt": payload(3 * kib)})
	for _, args := range [][]string{{"zip", "-q", "a.zip", "letter.txt"}, {"7z", "a", "-bd", "a.7z", "letter.txt"}, {"gcab", "-cz", "a.cab", "letter.txt"},
		{"xz", "-k", "letter.txt"}} {
		tool(t, dir, args...)
	}
	return map[string][]byte{"zip": read(t, dir, "a.zip"), "7z": read(t, dir, "a.7z"), "cab": read(t, dir, "a.cab"), "xz": read(t, dir, "letter.txt.xz"),
		"rar4": rar4Of(payload(3 * kib)), "rar5": rar5Of(payload(3 * kib))}
}

// elfWith puts content behind a real program, machWith and the others behind one that is made here.
func elfWith(more []byte) []byte {
	b := make([]byte, 512)
	copy(b, "\x7FELF\x02\x01\x01")
	binary.LittleEndian.PutUint64(b[32:], 64)
	binary.LittleEndian.PutUint16(b[54:], 56)
	binary.LittleEndian.PutUint16(b[56:], 1)
	binary.LittleEndian.PutUint64(b[64+32:], 512) // one segment, of all
	return append(b, more...)
}

func machWith(more []byte) []byte {
	b := make([]byte, 512)
	binary.LittleEndian.PutUint32(b, 0xFEEDFACF)
	binary.LittleEndian.PutUint32(b[16:], 1)
	binary.LittleEndian.PutUint32(b[20:], 72)
	binary.LittleEndian.PutUint32(b[32:], 0x19)
	binary.LittleEndian.PutUint32(b[36:], 72)
	binary.LittleEndian.PutUint64(b[32+48:], 512)
	return append(b, more...)
}

func fatWith(slice []byte) []byte {
	b := make([]byte, 512)
	for i, v := range []uint32{0xCAFEBABE, 1, 7, 3, 512, uint32(len(slice)), 9} {
		binary.BigEndian.PutUint32(b[4*i:], v)
	}
	return append(b, slice...)
}

func dexWith(more []byte) []byte {
	b := make([]byte, 512)
	copy(b, "dex\n035\x00")
	binary.LittleEndian.PutUint32(b[32:], 512)
	return append(b, more...)
}

func dosWith(more []byte) []byte {
	b := make([]byte, 1024)
	copy(b, "MZ\x00\x00\x02\x00")
	return append(b, more...)
}

// programs are programs in which each kind of archive lies in each place.
func programs(t testing.TB) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	noise := []byte(";!@Install@!UTF-8!\nTitle=\"A test\"\n;!@InstallEnd@!\n")
	for kind, b := range packedLetter(t) {
		after := append(bytes.Clone(b), make([]byte, 300)...)
		out["overlay-"+kind+".exe"] = peSpec{overlay: b}.make()
		out["noise-"+kind+".exe"] = peSpec{overlay: append(bytes.Clone(noise), b...)}.make()
		out["signed-"+kind+".exe"] = peSpec{overlay: after, signature: signed(nil)}.make()
		out["padded-"+kind+".exe"] = peSpec{signature: signed(b)}.make()
		out["after-"+kind+".exe"] = peSpec{signature: signed(nil), behind: b}.make()
		out["resource-"+kind+".exe"] = peSpec{resources: [][]byte{payload(100), b}}.make()
		out["nested-"+kind+".exe"] = peSpec{resources: [][]byte{payload(100), peSpec{overlay: b}.make()}}.make()
		if kind != "zip" && kind != "xz" { // within a section nothing says where these end
			out["section-"+kind+".exe"] = peSpec{code: append(payload(50), b...)}.make()
		}
		out["elf-"+kind] = elfWith(b)
		out["mach-"+kind] = machWith(b)
		out["fat-"+kind] = fatWith(machWith(b))
		out["dex-"+kind] = dexWith(b)
		out["dos-"+kind+".com"] = dosWith(b)
	}
	return out
}

func TestT07_ArchivesInProgramsAreOpenedWhereverTheyLie(t *testing.T) {
	want := payload(3 * kib)
	for name, b := range programs(t) {
		k, res := takeBytes(t, b, name)
		n := 0
		for _, data := range k.content {
			if bytes.Equal(data, want) {
				n++
			}
		}
		// The end of a ZIP archive shows it in the whole program, too.
		if n != 1 && (n != 2 || !strings.Contains(name, "zip")) {
			t.Errorf("%s: the letter came out %d times: %q %v %+v", name, n, k.order, res.Outcome, res.Findings)
		}
		if isSection(name) {
			continue
		}
		// The same as a stream of which only the ends are in memory.
		c := &Content{Size: int64(len(b)), Head: b[:kib], Tail: b[len(b)-64:]}
		if !New(mib).Packed(c) {
			t.Errorf("%s: not packed as a stream", name)
		}
		c.At = bytes.NewReader(b)
		if k, res := take(t, New(mib), c, name); !bytes.Contains(joinAll(k), want) {
			t.Errorf("%s: not found in a stream: %q %v %+v", name, k.order, res.Outcome, res.Findings)
		}
	}
}

// isSection says that an archive lies before the end of the program, where streams are not looked through.
func isSection(name string) bool { return strings.HasPrefix(name, "section-") }

func joinAll(k *taken) (all []byte) {
	for _, name := range k.order {
		all = append(all, k.content[name]...)
	}
	return all
}

func TestProgramsWithNothingPackedAreLeftAlone(t *testing.T) {
	symbols := peSpec{overlay: append(make([]byte, 18*3), 60, 0, 0, 0)}
	withSymbols := symbols.make()
	withSymbols = append(withSymbols, bytes.Repeat([]byte("n\x00"), 28)...)
	binary.LittleEndian.PutUint32(withSymbols[64+8:], 1024+512)
	binary.LittleEndian.PutUint32(withSymbols[64+12:], 3)
	for name, b := range map[string][]byte{
		"plain": peSpec{code: payload(5000)}.make(), "resources": peSpec{resources: [][]byte{payload(500), payload(40), []byte("\x89PNG\r\n\x1A\n and more of it")}}.make(),
		"signed": peSpec{signature: signed(make([]byte, 5))}.make(), "zeros": peSpec{overlay: make([]byte, 4000)}.make(),
		"symbols": withSymbols, "elf": elfWith(nil), "mach": machWith(nil), "dex": dexWith(nil), "dos": dosWith(nil),
		"magic": peSpec{code: []byte(sevenMagic + "\x00\x04" + cabMagic + "Rar!\x1A\x07\x00 Rar!\x1A\x07\x01\x00 \xFD7zXZ\x00 PK\x03\x04 " + string(payload(300)))}.make(),
	} {
		if New(mib).Packed(whole(b)) {
			k, _ := takeBytes(t, b, name)
			t.Errorf("%s is opened: %q", name, k.order)
		}
	}
	for _, dir := range []string{"/usr/bin", "/usr/lib/x86_64-linux-gnu", "/usr/share/nsis"} {
		names, _ := filepath.Glob(dir + "/*")
		for i, name := range names {
			if i%7 != 0 {
				continue
			}
			b, err := os.ReadFile(name)
			if err != nil || len(b) < 64 || len(b) > 16*mib || readProgram(whole(b)) == nil {
				continue
			}
			if isProgram(whole(b)) {
				if k, res := takeBytes(t, b, name); !silent(k, res) {
					t.Errorf("%s: %v %+v, %q", name, res.Outcome, res.Findings, k.order)
				}
			}
		}
	}
}

func TestT07_TreesOfResourcesEnd(t *testing.T) {
	b := peSpec{resources: [][]byte{payload(100)}}.make()
	root := len(b) - 512
	// A directory that names itself, as often as it can.
	binary.LittleEndian.PutUint16(b[root+14:], 65535)
	for at := root + 16; at+8 <= len(b); at += 8 {
		binary.LittleEndian.PutUint32(b[at+4:], 1<<31)
	}
	if k, res := takeBytes(t, b, "loop.exe"); len(k.order) > 0 || res.Outcome != report.Unscanned {
		t.Logf("%v %+v", res.Outcome, res.Findings)
	}
	many := b[:root:root]
	entries := make([]byte, 16+8*65535)
	binary.LittleEndian.PutUint16(entries[14:], 65535)
	many = append(many, entries...)
	binary.LittleEndian.PutUint32(many[64+24+224+40+16:], uint32(len(entries)))
	if _, res := takeBytes(t, append(many, payload(100)...), "many.exe"); res.Outcome != report.TooLarge {
		t.Errorf("%v %+v", res.Outcome, res.Findings)
	}
	// Archives that are only headers, one behind the other.
	empty := packedLetter(t)["7z"][:32:32]
	binary.LittleEndian.PutUint64(empty[12:], 0)
	binary.LittleEndian.PutUint64(empty[20:], 0)
	sum := crc32.ChecksumIEEE(empty[12:32])
	binary.LittleEndian.PutUint32(empty[8:], sum)
	if _, res := takeBytes(t, peSpec{code: bytes.Repeat(empty, 3000)}.make(), "headers.exe"); res.Outcome != report.TooLarge {
		t.Errorf("%v %+v", res.Outcome, res.Findings)
	}
}

func TestSelfExtractingArchivesOfRealProgramsAreOpened(t *testing.T) {
	files := map[string][]byte{"letter.txt": payload(3 * kib), "tool.bin": machineCode()[:40*kib]}
	dir := tree(t, files)
	for name, script := range map[string]string{
		"7z.sfx":    "7z a -bd -sfx7zCon.sfx 7z.sfx letter.txt tool.bin",
		"unzip.sfx": "zip -q a.zip letter.txt tool.bin && cat /usr/bin/unzipsfx a.zip > unzip.sfx && zip -q -A unzip.sfx",
		"cab.exe":   "gcab -cz a.cab letter.txt tool.bin && cat /usr/share/nsis/Stubs/zlib-x86-unicode a.cab > cab.exe",
	} {
		tool(t, dir, "sh", "-c", script)
		k, res := takeBytes(t, read(t, dir, name), name)
		for file, want := range files {
			n := 0
			for path, data := range k.content {
				if filepath.Base(path) == file && bytes.Equal(data, want) {
					n++
				}
			}
			if n != 1 {
				t.Errorf("%s: %s came out %d times", name, file, n)
			}
		}
		if !silent(k, res) {
			t.Errorf("%s: %v %+v %q", name, res.Outcome, res.Findings, k.order)
		}
	}
}
