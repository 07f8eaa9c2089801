package scanner

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/structure"
	"pratique/testdata/stick"
)

// packedFile is a file in an archive.
type packedFile struct {
	name string
	data []byte
}

func zipOf(t testing.TB, files ...packedFile) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range files {
		w, err := z.Create(f.name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func tarGzOf(t testing.TB, files ...packedFile) []byte {
	t.Helper()
	var b bytes.Buffer
	g := gzip.NewWriter(&b)
	w := tar.NewWriter(g)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Size: int64(len(f.data)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// words that do not shrink to nothing.
func prose(n int, seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, "%x ", rng.Uint32())
	}
	return []byte(b.String()[:n])
}

// scanFiles scans a medium with some files.
func scanFiles(t *testing.T, slots int, slotBytes int64, files []stick.File) (*rig, report.Report) {
	t.Helper()
	img, _ := fatImage(t, 16, 128*mib, 4096, files)
	r := newRig(t, slots, slotBytes, img.size)
	return r, mustScan(t, r, img)
}

func TestWhatIsPackedGoesThroughTheSameLine(t *testing.T) {
	evil, listed := []byte("match block\n"), []byte("a file whose hash is on a list")
	inner := zipOf(t, packedFile{"deep/evil.txt", evil}, packedFile{"listed.txt", listed})
	files := []stick.File{
		{Path: "a.zip", Data: zipOf(t, packedFile{"letter.txt", []byte("words\n")}, packedFile{"inner.dat", inner}, packedFile{"photo.jpg", program()})},
		{Path: "b.tar.gz", Data: tarGzOf(t, packedFile{"x/warn.txt", []byte("match warn\n")}, packedFile{"y.txt", nil})},
		{Path: "plain.txt", Data: []byte("plain\n")},
	}
	img, _ := fatImage(t, 16, 16*mib, 2048, files)
	r := newRig(t, 2, 4*mib, img.size)
	r.block(fmt.Sprintf("%x\n", sha256.Sum256(listed)))
	rep := mustScan(t, r, img)
	if !rep.Complete {
		t.Fatal(rep.Shortfalls)
	}
	for _, want := range []struct {
		path, member string
		outcome      report.Outcome
		finding      string
		data         []byte
	}{
		{"a.zip", "letter.txt", report.Clean, "", []byte("words\n")},
		{"a.zip", "inner.dat", report.Flagged, "type-mismatch", inner},
		{"a.zip", "inner.dat//deep/evil.txt", report.Flagged, "fake_block", evil},
		{"a.zip", "inner.dat//listed.txt", report.Flagged, "blocklist", listed},
		{"a.zip", "photo.jpg", report.Flagged, "disguised-program", program()},
		{"b.tar.gz", "b.tar//x/warn.txt", report.Flagged, "fake_warn", []byte("match warn\n")},
		{"b.tar.gz", "b.tar//y.txt", report.Clean, "", nil},
	} {
		it := r.member(want.path, want.member)
		found := slices.ContainsFunc(it.Findings, func(f report.Finding) bool { return f.Rule == want.finding })
		if want.member == "inner.dat" {
			found, want.outcome = true, it.Outcome // what is said of its name is not this test's matter
		}
		if it.Kind != report.Member || it.Outcome != want.outcome || it.SHA256 != sha256.Sum256(want.data) || it.Size != int64(len(want.data)) || !found && want.finding != "" {
			t.Errorf("%s in %s: %v, %d bytes, %+v", want.member, want.path, it.Outcome, it.Size, it.Findings)
		}
	}
	if rep.Tally.Members != 8 || rep.Tally.Files != 3 {
		t.Errorf("%+v", rep.Tally)
	}
	for _, path := range []string{"a.zip", "b.tar.gz"} {
		if it := r.find(path); it.Outcome != report.Clean {
			t.Errorf("%s itself: %v %+v", path, it.Outcome, it.Findings)
		}
	}
}

// What a scan says must not depend on the number of slots, on which of them is faster, or on what is unpacked meanwhile.
func TestMembersAreTheSameHoweverManySlotsThereAre(t *testing.T) {
	var files []stick.File
	for i := range 12 {
		var members []packedFile
		for j := range 70 {
			members = append(members, packedFile{fmt.Sprintf("m%03d.txt", j), prose(1+i*j*97, uint64(i*j))})
		}
		members = append(members, packedFile{"inner.zip", zipOf(t, packedFile{"evil.txt", []byte("match warn\n")})})
		data := zipOf(t, members...)
		if i%2 == 1 {
			data = tarGzOf(t, members...)
		}
		files = append(files, stick.File{Path: fmt.Sprintf("archive%d", i), Data: data}, stick.File{Path: fmt.Sprintf("text%d", i), Data: prose(5000, uint64(i))})
	}
	var first [][]byte
	for _, slots := range []int{1, 2, 4} {
		r, rep := scanFiles(t, slots, 4*mib, files)
		if !rep.Complete || rep.Tally.Members < 12*72 {
			t.Fatalf("%d members, %v", rep.Tally.Members, rep.Shortfalls)
		}
		if first == nil {
			first = r.said
		} else if !slices.EqualFunc(first, r.said, bytes.Equal) {
			t.Errorf("%d slots say something else than one", slots)
		}
	}
}

func TestMembersOfAnySizeAreMatched(t *testing.T) {
	needle := "match warn\n"
	at := func(n, at int) []byte {
		b := prose(n, uint64(n))
		copy(b[at:], needle)
		return b
	}
	members := []packedFile{
		{"small.txt", at(100, 5)}, {"a bank.txt", at(3*mib, 2*mib)}, {"half a slot.txt", at(4*mib, 4*mib-20)},
		{"stream.txt", at(9*mib, 8*mib)}, {"behind.txt", at(200, 100)},
		{"packed again.zip", zipOf(t, packedFile{"large inside.txt", at(6*mib, 5*mib)}, packedFile{"small inside.txt", at(50, 3)})},
	}
	big := zipOf(t, append(members, packedFile{"filling.bin", prose(20*mib, 99)})...) // itself more than a buffer
	files := []stick.File{{Path: "a.zip", Data: zipOf(t, members...)}, {Path: "b.tgz", Data: tarGzOf(t, members...)}, {Path: "c.zip", Data: big}}
	if len(big) < 8*mib {
		t.Fatalf("it has %d bytes", len(big))
	}
	r, rep := scanFiles(t, 2, 8*mib, files)
	if !rep.Complete {
		t.Fatal(rep.Shortfalls)
	}
	for _, f := range files {
		prefix := ""
		if f.Path == "b.tgz" {
			prefix = "b.tar//"
		}
		for _, m := range members[:5] {
			if it := r.member(f.Path, prefix+m.name); it.Outcome != report.Flagged || it.SHA256 != sha256.Sum256(m.data) {
				t.Errorf("%s in %s: %v %+v", m.name, f.Path, it.Outcome, it.Findings)
			}
		}
		for _, inner := range []string{"large inside.txt", "small inside.txt"} {
			if it := r.member(f.Path, prefix+"packed again.zip//"+inner); it.Outcome != report.Flagged {
				t.Errorf("%s in %s: %v %+v", inner, f.Path, it.Outcome, it.Findings)
			}
		}
		if it := r.find(f.Path); !it.Outcome.Seen() {
			t.Errorf("%s: %v %+v", f.Path, it.Outcome, it.Findings)
		}
	}
}

func TestFaultsOfTheMatcherCostTheMemberThatTheyHappenAt(t *testing.T) {
	files := []stick.File{{Path: "a.zip", Data: zipOf(t, packedFile{"one.txt", []byte("1")}, packedFile{"die-now", []byte("2")},
		packedFile{"three.txt", []byte("match warn\n")}, packedFile{"fail-it", []byte("4")}, packedFile{"inner.zip", zipOf(t, packedFile{"die-too", []byte("5")}, packedFile{"six", []byte("6")})})}}
	r, rep := scanFiles(t, 2, 4*mib, files)
	if !rep.Complete {
		t.Fatal(rep.Shortfalls)
	}
	for member, want := range map[string]report.Outcome{"one.txt": report.Clean, "die-now": report.Unscanned, "three.txt": report.Flagged,
		"fail-it": report.Unscanned, "inner.zip": report.Clean, "inner.zip//die-too": report.Unscanned, "inner.zip//six": report.Clean} {
		if it := r.member("a.zip", member); it.Outcome != want {
			t.Errorf("%s: %v, want %v", member, it.Outcome, want)
		}
	}
}

func TestPassivePartsOfDocumentsHaveTheirOwnType(t *testing.T) {
	office := zipOf(t, packedFile{"[Content_Types].xml", []byte("<Types/>")}, packedFile{"_rels/.rels", []byte("<Relationships/>")},
		packedFile{"xl/workbook.xml", []byte("<?xml version=\"1.0\"?><workbook/>")}, packedFile{"xl/printerSettings1.bin", prose(500, 3)},
		packedFile{"xl/embeddings/tool.bin", program()})
	r, _ := scanFiles(t, 1, 4*mib, []stick.File{{Path: "list.xlsx", Data: office}, {Path: "same.zip", Data: zipOf(t, packedFile{"a.xml", []byte("<?xml version=\"1.0\"?><a/>")})}})
	for member, want := range map[string]string{"xl/workbook.xml": structure.PartType, "xl/printerSettings1.bin": structure.PartType,
		"xl/embeddings/tool.bin": "application/vnd.microsoft.portable-executable"} {
		if it := r.member("list.xlsx", member); it.Type != want {
			t.Errorf("%s: %s", member, it.Type)
		}
	}
	if it := r.member("same.zip", "a.xml"); it.Type == structure.PartType {
		t.Errorf("a file in an archive is a part of a document")
	}
}

// A medium that shows the unpacker something else than the rules is found out.
func TestT04_MediumThatChangesForTheUnpackerIsCaught(t *testing.T) {
	big := zipOf(t, packedFile{"a.txt", prose(6*mib, 1)}, packedFile{"b.txt", prose(6*mib, 2)})
	img, v := fatImage(t, 16, 64*mib, 4096, []stick.File{{Path: "big.zip", Data: big}})
	_ = v
	where := bytes.Index(readAll(t, img), big[:4096])
	if where < 0 {
		t.Fatal("the file is not where it was written")
	}
	liar := &turncoat{image: img, at: int64(where) + 3*mib, after: 1}
	r := newRig(t, 1, 4*mib, img.size)
	rep := mustScan(t, r, liar)
	if it := r.find("big.zip"); it.Outcome.Seen() && !slices.Contains(found(rep), "medium-changes") {
		t.Errorf("%v %+v, %v", it.Outcome, it.Findings, found(rep))
	}
}

func readAll(t *testing.T, img *image) []byte {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(img, 0, img.size))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// turncoat shows another byte at one place from the second reading on.
type turncoat struct {
	*image
	at    int64
	after int
	seen  int
}

func (m *turncoat) ReadAt(p []byte, off int64) (int, error) {
	n, err := m.image.ReadAt(p, off)
	if off <= m.at && m.at < off+int64(n) {
		if m.seen++; m.seen > m.after {
			p[m.at-off] ^= 0xFF
		}
	}
	return n, err
}
