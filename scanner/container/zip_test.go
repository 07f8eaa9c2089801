package container

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"pratique/scanner/report"
)

// plain is an archive of two members.
func plain(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range []struct {
		name   string
		method uint16
		data   []byte
	}{{"stored.txt", zip.Store, payload(500)}, {"packed.txt", zip.Deflate, payload(5 * kib)}} {
		w, err := z.CreateHeader(&zip.FileHeader{Name: f.name, Method: f.method})
		if err == nil {
			_, err = w.Write(f.data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// edit changes a copy at a place behind the n-th word.
func edit(b []byte, word string, n int, off int, with ...byte) []byte {
	b = bytes.Clone(b)
	at := -1
	for range n {
		at += 1 + bytes.Index(b[at+1:], []byte(word))
	}
	copy(b[at+off:], with)
	return b
}

// Where programs differ about what an archive holds, every way of reading it is looked at, or it is told that it was not.
func TestT07_ZIPsThatAreReadInTwoWaysAreToldOrOpenedInBoth(t *testing.T) {
	whole := plain(t)
	cut := bytes.Index(whole, []byte(zipCentral))
	packedText := payload(5 * kib)
	hidden := func() []byte { // a member that only its own header names, between the last one and the table
		inner := plain(t)
		local := inner[:bytes.Index(inner, []byte(zipCentral))]
		out := slices.Concat(whole[:cut], bytes.ReplaceAll(local, []byte("packed"), []byte("hidden")), whole[cut:])
		end := bytes.LastIndex(out, []byte(zipEnd))
		binary.LittleEndian.PutUint32(out[end+16:], uint32(cut+len(local)))
		return out
	}()
	for _, test := range []struct {
		name    string
		archive []byte
		want    string // a member that must come out
		silent  bool
		word    string
	}{
		{"as it should be", whole, "packed.txt", true, ""},
		{"something before it", append(bytes.Repeat([]byte("x"), 777), whole...), "packed.txt", true, ""},
		{"something behind it", append(bytes.Clone(whole), bytes.Repeat([]byte("x"), 777)...), "packed.txt", true, ""},
		{"no table of contents", whole[:cut], "packed.txt", false, "archive-damaged"},
		{"cut within a member", whole[:cut-200], "stored.txt", false, "archive-damaged"},
		{"a member that the table does not name", hidden, "hidden.txt", true, "archive-hidden"},
		{"a table that names one of two", edit(whole, zipEnd, 1, 8, 1, 0, 1, 0), "packed.txt", false, "archive-damaged"},
		{"another name in the member's header", edit(whole, "packed.txt", 1, 0, 'x'), "packed.txt", false, "archive-damaged"},
		{"another method in the table", edit(whole, zipCentral, 2, 10, 0), "packed.txt", false, "archive-damaged"},
		{"a size that lies", edit(whole, zipCentral, 2, 24, 10, 0), "packed.txt", false, "archive-damaged"},
		{"a packed size that lies", edit(whole, zipCentral, 2, 20, 10, 0), "packed.txt", true, ""}, // its header says nothing of it
		{"a checksum that lies", edit(whole, zipCentral, 2, 16, 1, 2, 3, 4), "packed.txt", false, "archive-damaged"},
		{"a method that nobody knows", edit(edit(whole, zipCentral, 2, 10, 97), zipLocal, 2, 8, 97), "packed.txt", false, "packed-content"},
		{"said to be encrypted", edit(edit(whole, zipCentral, 2, 8, 1), zipLocal, 2, 6, 1), "packed.txt", false, ""},
		{"two archives end to end", slices.Concat(whole, bytes.ReplaceAll(whole, []byte("packed"), []byte("second"))), "packed.txt", true, "archive-hidden"},
	} {
		k, res := takeBytes(t, test.archive, "x.zip")
		it, ok := k.items[test.want]
		if !ok {
			t.Errorf("%s: %q", test.name, k.order)
		}
		if test.silent && test.want == "packed.txt" && !bytes.Equal(k.content["packed.txt"], packedText) {
			t.Errorf("%s: another content", test.name)
		}
		if strings.HasPrefix(test.name, "a size") && !bytes.HasPrefix(k.content[test.want], packedText) {
			t.Errorf("%s: %d bytes", test.name, len(k.content[test.want]))
		}
		words := res.Findings
		for _, it := range k.items {
			words = append(words, it.Findings...)
		}
		if got := silent(k, res); got != test.silent || test.word != "" && !slices.ContainsFunc(words, func(f report.Finding) bool { return f.Rule == test.word }) {
			t.Errorf("%s: %v, silent %v, %+v, %+v", test.name, res.Outcome, got, words, it)
		}
	}
}

func TestT25_EncryptedMembersAreNamedAsSuch(t *testing.T) {
	files := map[string][]byte{"secret.txt": payload(kib), "more.txt": payload(300)}
	for _, p := range []producer{
		{"a.zip", []string{"zip", "-q", "-P", "pass", "a.zip", "secret.txt", "more.txt"}, ""},
		{"aes.zip", []string{"7z", "a", "-bd", "-ppass", "-mem=AES256", "aes.zip", "secret.txt", "more.txt"}, ""},
		{"a.7z", []string{"7z", "a", "-bd", "-ppass", "a.7z", "secret.txt", "more.txt"}, ""},
		{"names.7z", []string{"7z", "a", "-bd", "-ppass", "-mhe=on", "names.7z", "secret.txt"}, ""},
		{"a.arj", []string{"arj", "a", "-i", "-gpass", "a.arj", "secret.txt", "more.txt"}, ""},
	} {
		k, res := takeBytes(t, p.make(t, tree(t, files), files), p.name)
		locked := res.Outcome == report.Encrypted
		for _, it := range k.items {
			locked = locked || it.Outcome == report.Encrypted
		}
		if !locked || silent(k, res) {
			t.Errorf("%s: %v %+v, %q", p.name, res.Outcome, res.Findings, k.order)
		}
		for name, data := range k.content {
			if len(data) > 0 {
				t.Errorf("%s: %s has content", p.name, name)
			}
		}
	}
}

func TestT07_NamesThatLeadElsewhereAreTold(t *testing.T) {
	for _, name := range []string{"../../../etc/passwd", "/abs", `C:\win\x`, `..\..\x`, "a/../../b"} {
		k, _ := takeBytes(t, zipped(t, []string{name}, []byte("0123456789")), "x.zip")
		if len(k.order) != 1 || !slices.ContainsFunc(k.items[k.order[0]].Findings, func(f report.Finding) bool { return f.Rule == "member-path" }) {
			t.Errorf("%s: %q %+v", name, k.order, k.items)
		}
		for part := range strings.SplitSeq(strings.Join(k.order, "/"), "/") {
			if part == ".." || part == "" {
				t.Errorf("%s is shown as %q", name, k.order)
			}
		}
	}
}

func TestT07_KnownContainersThatNobodyOpensAreTold(t *testing.T) {
	for _, n := range named {
		b := bytes.Repeat([]byte{' '}, 4096)
		at := n.at
		if at < 0 {
			at += int64(len(b))
		}
		copy(b[at:], n.word)
		if k, res := takeBytes(t, b, n.name); silent(k, res) {
			t.Errorf("%s (%q at %d): %v", n.name, n.word, n.at, res)
		}
	}
}

func TestArchivesWithinSectorsOfCompoundFilesAreNotTakenForTheFile(t *testing.T) {
	ole := append([]byte("\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1"), make([]byte, 2040)...)
	if k, res := takeBytes(t, append(append(bytes.Clone(ole), plain(t)...), make([]byte, 300)...), "x.ppt"); len(k.order) > 0 || res.Outcome != report.Unscanned {
		t.Errorf("%q %v", k.order, res)
	}
	if k, _ := takeBytes(t, append(ole, plain(t)...), "x.ppt"); len(k.content["packed.txt"]) == 0 {
		t.Errorf("an archive behind a compound file: %q", k.order)
	}
}

// What can be read as two containers is opened as both.
func TestT07_PolyglotsAreOpenedInEveryWay(t *testing.T) {
	files := corpus()
	gz := producers[slices.IndexFunc(producers, func(p producer) bool { return p.name == "letter.txt.gz" })].make(t, tree(t, files), files)
	tarball := producers[slices.IndexFunc(producers, func(p producer) bool { return p.name == "a.tar" })].make(t, tree(t, files), files)
	for name, test := range map[string]struct {
		b    []byte
		want []string
	}{
		"tar and zip":  {append(bytes.Clone(tarball), plain(t)...), []string{"letter.txt", "packed.txt"}},
		"gzip and zip": {append(bytes.Clone(gz), plain(t)...), []string{"x (unpacked)", "packed.txt"}},
	} {
		k, _ := takeBytes(t, test.b, "x")
		for _, want := range test.want {
			if len(k.content[want]) == 0 {
				t.Errorf("%s: no %s among %q", name, want, k.order)
			}
		}
	}
}
