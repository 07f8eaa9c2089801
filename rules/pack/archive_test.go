package pack

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"pratique/rules"
)

func archive(t testing.TB, src fs.FS) []byte {
	t.Helper()
	var buf bytes.Buffer
	_, err := WriteArchive(t.Context(), &buf, src, nil)
	must(t, err)
	return buf.Bytes()
}

func openBytes(data []byte) (*Archive, error) {
	return OpenArchive(bytes.NewReader(data), int64(len(data)))
}

func TestArchiveIsAFileSystem(t *testing.T) {
	a, err := openBytes(archive(t, sources(1)))
	must(t, err)
	if err := fstest.TestFS(a, "pack.toml", "yara/a.yar", "yara/more/b.yar", "clean/b.txt"); err != nil {
		t.Error(err)
	}
	want, err := rules.LoadFS(sources(1))
	must(t, err)
	got, err := rules.LoadFS(a)
	if must(t, err); got.Digest != want.Digest || len(got.YARA) != 2 {
		t.Error("a pack loads otherwise from its file than from its folder")
	}
}

// The source's times, modes, order and git folder do not show.
func TestSameSourceGivesTheSameBytes(t *testing.T) {
	src := sources(1)
	first := archive(t, src)
	touched := fstest.MapFS{}
	for name, f := range src {
		touched[name] = &fstest.MapFile{Data: f.Data, Mode: 0o755, ModTime: time.Now()}
	}
	touched[".git/HEAD"] = &fstest.MapFile{Data: []byte("ref")}
	touched["clean/.gitignore"] = &fstest.MapFile{Data: []byte("*")}
	if !bytes.Equal(first, archive(t, touched)) {
		t.Error("the bytes depend on more than names and content")
	}
	dir := t.TempDir()
	must(t, os.CopyFS(dir, src))
	if !bytes.Equal(first, archive(t, os.DirFS(dir))) {
		t.Error("a folder on disk gives other bytes")
	}
	a, err := openBytes(first)
	must(t, err)
	if !bytes.Equal(first, archive(t, a)) {
		t.Error("a pack that is unpacked and built again gives other bytes")
	}
	// Anybody can look into it.
	r, names := tar.NewReader(bytes.NewReader(first)), []string{}
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		names = append(names, h.Name)
	}
	want := []string{"pack.toml", "clean/b.txt", "clean/more/c.bin", "hashes.txt", "policy/general.toml", "yara/a.yar", "yara/more/b.yar"}
	if !slices.Equal(names, want) {
		t.Errorf("tar lists %q", names)
	}
}

func TestBuildCanRaiseTheVersion(t *testing.T) {
	var buf bytes.Buffer
	m, err := WriteArchive(t.Context(), &buf, sources(1), func(m *rules.Manifest) { m.Version = 12 })
	must(t, err)
	a, err := openBytes(buf.Bytes())
	if must(t, err); m.Version != 12 || a.Manifest.Version != 12 || a.Manifest.Author != "security team" || !a.Manifest.NotAfter.Equal(m.NotAfter) {
		t.Errorf("built %+v, read %+v", m, a.Manifest)
	}
}

func TestBuildRefusesWhatNoKioskWouldTake(t *testing.T) {
	set := func(name, text string) func(fstest.MapFS) fstest.MapFS {
		return func(m fstest.MapFS) fstest.MapFS { m[name] = &fstest.MapFile{Data: []byte(text)}; return m }
	}
	manifest := func(change func(*rules.Manifest)) func(fstest.MapFS) fstest.MapFS {
		return func(m fstest.MapFS) fstest.MapFS { return withManifest(m, change) }
	}
	for name, c := range map[string]struct {
		change func(fstest.MapFS) fstest.MapFS
		words  string
	}{
		"a file that nobody reads":  {set("rules/a.yar", ""), "nothing in a pack is read from there"},
		"a list that nobody reads":  {set("hashes/more/a.txt", ""), "nothing in a pack is read from there"},
		"no YARA file in yara":      {set("yara/a.txt", ""), "nothing in a pack is read from there"},
		"samples that are kept":     {set("samples/a.exe", ""), "nothing in a pack is read from there"},
		"a policy too deep":         {set("policy/a/b.toml", ""), "nothing in a pack is read from there"},
		"a long name":               {set("clean/"+strings.Repeat("x", 95), ""), "more than 100 characters"},
		"a name with a space":       {set("clean/a b", ""), "other characters"},
		"a name that means a drive": {set("clean/c:x", ""), "other characters"},
		"case alone":                {set("clean/B.txt", ""), "only in the case"},
		"a link": {func(m fstest.MapFS) fstest.MapFS {
			m["clean/l"] = &fstest.MapFile{Data: []byte("x"), Mode: fs.ModeSymlink}
			return m
		}, "not a regular file"},
		"another product":   {manifest(func(m *rules.Manifest) { m.Product = "other" }), `for the product "other"`},
		"no end":            {manifest(func(m *rules.Manifest) { m.NotAfter = time.Time{} }), "not_after is missing"},
		"no author":         {manifest(func(m *rules.Manifest) { m.Author = "" }), "author"},
		"author on lines":   {manifest(func(m *rules.Manifest) { m.Author = "a\nb" }), "author"},
		"author backwards":  {manifest(func(m *rules.Manifest) { m.Author = "a\u202eb" }), "author"},
		"no changes":        {manifest(func(m *rules.Manifest) { m.Changes = nil }), "changes"},
		"no severities":     {manifest(func(m *rules.Manifest) { m.Severities = nil }), "severities"},
		"a class of others": {manifest(func(m *rules.Manifest) { m.Severities = []string{"critical"} }), "severities"},
		"half a version":    {manifest(func(m *rules.Manifest) { m.MinVersion = "1.2" }), "min_version"},
		"a name with /":     {manifest(func(m *rules.Manifest) { m.Name = "../core" }), "name"},
		"a huge version":    {manifest(func(m *rules.Manifest) { m.Version = 1 << 60 }), "version"},
		"an unknown key":    {set("pack.toml", string(sources(1)["pack.toml"].Data)+"colour = \"red\"\n"), "unknown key"},
	} {
		_, err := WriteArchive(t.Context(), io.Discard, c.change(sources(1)), nil)
		if err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, want %q", name, err, c.words)
		}
	}
}

// Somebody who holds no key hands in a file that is named like a pack.
func TestT29_MaliciousPackFilesAreRefused(t *testing.T) {
	manifest := string(sources(1)["pack.toml"].Data)
	type file struct {
		header tar.Header
		text   string
	}
	write := func(files ...file) []byte {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		for _, f := range append([]file{{tar.Header{Name: "pack.toml"}, manifest}}, files...) {
			h := f.header
			if h.Mode == 0 {
				h.Mode = 0o644
			}
			h.Size = int64(len(f.text))
			if h.Format == tar.FormatUnknown {
				h.Format = tar.FormatUSTAR
			}
			must(t, w.WriteHeader(&h))
			_, err := io.WriteString(w, f.text)
			must(t, err)
		}
		must(t, w.Close())
		return buf.Bytes()
	}
	named := func(names ...string) []byte {
		var files []file
		for _, name := range names {
			files = append(files, file{tar.Header{Name: name}, "x"})
		}
		return write(files...)
	}
	good := named("clean/a")
	if _, err := openBytes(good); err != nil {
		t.Fatal(err)
	}
	change := func(at int, b byte) []byte {
		data := bytes.Clone(good)
		data[at] = b
		return data
	}
	for name, c := range map[string]struct {
		data  []byte
		words string
	}{
		"empty":                   {nil, "ends in the middle"},
		"only an end":             {make([]byte, 1024), "is empty"},
		"traversal":               {named("../../etc/cron.d/x"), "starts with a dot"},
		"traversal inside":        {named("clean/../../x"), "starts with a dot"},
		"absolute":                {named("/etc/passwd"), "is empty or starts with a dot"},
		"backslash":               {named(`clean\..\x`), "other characters"},
		"duplicate":               {named("clean/a", "clean/a"), "stands there twice"},
		"duplicate manifest":      {named("pack.toml"), "stands there twice"},
		"case clash":              {named("clean/A", "clean/a"), "case of its letters"},
		"file and folder":         {named("clean/a", "clean/a/b"), "is a file and a folder"},
		"out of order":            {named("clean/b", "clean/a"), "not in its place"},
		"symbolic link":           {write(file{tar.Header{Name: "clean/a", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, ""}), "not a plain file"},
		"hard link":               {write(file{tar.Header{Name: "clean/a", Typeflag: tar.TypeLink, Linkname: "pack.toml"}, ""}), "not a plain file"},
		"device":                  {write(file{tar.Header{Name: "clean/a", Typeflag: tar.TypeBlock}, ""}), "not a plain file"},
		"folder":                  {write(file{tar.Header{Name: "clean/", Typeflag: tar.TypeDir}, ""}), "is empty"},
		"executable":              {write(file{tar.Header{Name: "clean/a", Mode: 0o755}, ""}), "not a plain file"},
		"owner":                   {write(file{tar.Header{Name: "clean/a", Uname: "root"}, ""}), "not a plain file"},
		"time":                    {write(file{tar.Header{Name: "clean/a", ModTime: today}, ""}), "not a plain file"},
		"PAX header":              {write(file{tar.Header{Name: "clean/a", Format: tar.FormatPAX, PAXRecords: map[string]string{"x.y": "z"}}, ""}), "not a plain file"},
		"cut in the end":          {good[:len(good)-512], "goes on after its end"},
		"cut in a file":           {good[:len(good)-1024-300], "padding"},
		"something behind":        {append(bytes.Clone(good), 0), "goes on after its end"},
		"padding":                 {change(len(good)-1025, 1), "padding"},
		"end block":               {change(len(good)-1, 1), "no proper end"},
		"cut in a header":         {good[:600], "ends in the middle"},
		"another file first":      {good[(1+(len(manifest)+511)/512)*512:], "does not start with"},
		"wrong product":           {archiveWith(t, strings.Replace(manifest, `"pratique"`, `"other"`, 1)), `for the product "other"`},
		"no manifest worth it":    {archiveWith(t, "name = 7"), "pack.toml"},
		"a manifest of megabytes": {archiveWith(t, manifest+strings.Repeat("#", maxManifest)), "has more than"},
	} {
		_, err := openBytes(c.data)
		var r *Refusal
		if !errors.As(err, &r) || !strings.Contains(r.Text, c.words) {
			t.Errorf("%s: %v, want %q", name, err, c.words)
		}
	}
}

// archiveWith is a pack file with that manifest and nothing else.
func archiveWith(t *testing.T, manifest string) []byte {
	var buf bytes.Buffer
	must(t, writeEntry(&buf, manifestName, int64(len(manifest)), strings.NewReader(manifest)))
	return append(buf.Bytes(), make([]byte, 1024)...)
}

// A size in a header sizes no memory: this pack file claims a gigabyte and has none.
func TestT29_SizesInHeadersAreNotBelieved(t *testing.T) {
	head, err := header(manifestName, maxPack)
	must(t, err)
	if _, err := openBytes(append(head, make([]byte, 4096)...)); err == nil {
		t.Error("opened")
	}
	if _, err := OpenArchive(bytes.NewReader(nil), maxPack+1); err == nil {
		t.Error("opened")
	}
	var many bytes.Buffer
	text := sources(1)["pack.toml"].Data
	must(t, writeEntry(&many, manifestName, int64(len(text)), bytes.NewReader(text)))
	for i := range maxFiles {
		must(t, writeEntry(&many, fmt.Sprintf("clean/%05d", i), 0, strings.NewReader("")))
	}
	many.Write(make([]byte, 1024))
	if _, err := openBytes(many.Bytes()); err == nil || !strings.Contains(err.Error(), "more than 20000 files") {
		t.Errorf("%v", err)
	}
}

// Every file that the reader takes is the one that the writer makes: there is no second spelling to hide anything in.
func FuzzOpenArchive(f *testing.F) {
	f.Add(archive(f, sources(1)))
	f.Add(make([]byte, 1024))
	f.Add([]byte("pack.toml"))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := openBytes(data)
		if err != nil {
			var r *Refusal
			if !errors.As(err, &r) {
				t.Fatalf("not a refusal: %v", err)
			}
			return
		}
		if again := archive(t, a); !bytes.Equal(again, data) {
			t.Error("taken, and written otherwise")
		}
	})
}

// Every byte of a repository that a kiosk reads is covered: change one, and it is refused, and nothing has changed.
func TestT14_EveryChangedByteIsRefused(t *testing.T) {
	r := newRig(t)
	r.publish(1)
	s := r.store()
	must(t, install(s, r.dir, today))
	change := team()
	change.Root = keysOf(anna, bert, newPerson("ivan"))
	must(t, Draft(r.dir, change, today))
	r.signDrafts(anna, bert)
	r.publish(2)
	dir := r.stick()
	before := tree(t, s.dir)
	read, tried := []string{}, 0
	for name := range tree(t, dir) {
		if strings.Contains(name, "/1.") && !strings.Contains(name, "root") || strings.Contains(name, "core-1.pack") {
			continue // of the publication before: a kiosk does not look there
		}
		read = append(read, name)
	}
	slices.Sort(read)
	if len(read) != 7 { // two roots, targets, rules, snapshot, timestamp, pack
		t.Fatalf("a kiosk reads %q", read)
	}
	for _, name := range read {
		file := filepath.Join(dir, name)
		data, err := os.ReadFile(file)
		must(t, err)
		step := 1
		if !*every {
			step = len(data)/16 + 1 // less than a tenth: each costs a verification
		}
		for at := 0; at < len(data); at += step {
			for _, flip := range []byte{1, 0x20, 0x80} {
				changed := bytes.Clone(data)
				changed[at] ^= flip
				must(t, os.WriteFile(file, changed, 0o644))
				st, err := s.Stage(t.Context(), dir, today)
				var refusal *Refusal
				if err == nil {
					st.Discard()
				}
				if tried++; !errors.As(err, &refusal) {
					t.Fatalf("%s, byte %d ^ %#x: %v", name, at, flip, err)
				}
			}
		}
		for _, n := range []int{0, 1, len(data) / 2, len(data) - 1} {
			must(t, os.WriteFile(file, data[:n], 0o644))
			if err := install(s, dir, today); err == nil {
				t.Fatalf("%s, cut at %d: installed", name, n)
			}
		}
		must(t, os.WriteFile(file, append(bytes.Clone(data), '\n'), 0o644))
		if err := install(s, dir, today); err == nil {
			t.Fatalf("%s and a byte: installed", name)
		}
		must(t, os.WriteFile(file, data, 0o644))
	}
	t.Logf("%d changes refused", tried)
	if !maps.Equal(before, tree(t, s.dir)) {
		t.Error("the store changed")
	}
	must(t, install(s, dir, today))
	wantInForce(t, s, 2)
}

// FuzzMetadata gives a kiosk metadata that anybody can write: what is taken has one spelling, and nothing panics.
func FuzzMetadata(f *testing.F) {
	r := newRig(f)
	r.publish(1)
	for _, text := range tree(f, filepath.Join(r.dir, "metadata")) {
		f.Add([]byte(text))
	}
	f.Add([]byte(`{"signatures":[],"signed":{"_type":"targets","targets":{"x":null}}}`))
	first := r.root()
	f.Fuzz(func(t *testing.T, data []byte) {
		read := func(name string) ([]byte, error) {
			if len(data) > maxMetadata {
				return nil, fs.ErrNotExist
			}
			return data, nil // the same file in every role
		}
		if _, err := verify(read, first, nil, floors{}, today); err == nil {
			t.Error("taken")
		}
		_, _ = verify(read, data, nil, floors{}, today)
	})
}
