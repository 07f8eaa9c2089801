package carry

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pratique/scanner/frame"
)

func TestNamesOfAPackAndNoOthers(t *testing.T) {
	for _, name := range []string{"metadata/1.root.json", "metadata/timestamp.json", "a", "targets/rules/" + strings.Repeat("5b", 32) + ".core-7.pack", "x-1_y.Z"} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "..", "/a", "a/", "a//b", "a/../b", "../a", "a/./b", "./a", ".a", "a/.b", "-a", "a b", "a\\b", "C:a", "a\x00", "a\nb", "\u202ea", "ä",
		"a/b/c/d", strings.Repeat("a", MaxName+1), "a\xFF", "~a", "a*", "a?"} {
		if CheckName(name) == nil {
			t.Errorf("%q is a name", name)
		}
	}
}

func TestJobsThatMakeNoSense(t *testing.T) {
	for _, j := range []Job{{}, {Size: -1, Folder: "P"}, {SectorSize: -1, Folder: "P"}, {Folder: "a/b"}, {Folder: ".."}, {Folder: strings.Repeat("P", maxFolder+1)}} {
		if j.Check() == nil {
			t.Errorf("%+v", j)
		}
	}
	if err := (&Job{Size: 512, Folder: "PRATIQUE-PACK"}).Check(); err != nil {
		t.Error(err)
	}
}

func TestEveryCodeHasItsWordsAndNamesTheFolder(t *testing.T) {
	for _, c := range []Code{None, Several, Misnamed, Strange, TooMany, TooLarge, Unread, Unchecked} {
		r := c.Refuse("PRATIQUE-PACK")
		if r.Code != string(c) || !strings.HasSuffix(r.Text, ".") || strings.Contains(r.Text, "%") || strings.Contains(r.Text, "PRATIQUE-PACK") == (c == Unchecked) {
			t.Errorf("%+v", r)
		}
	}
	if len(texts) != 8 {
		t.Errorf("%d codes", len(texts))
	}
}

// stream is what a scanworker that keeps the rules sends: two files, one of them empty.
func stream() []Message {
	return []Message{{Ready: &Ready{}}, {Progress: &Progress{Read: 9}}, {File: &File{Name: "metadata/1.root.json", Size: 5}}, {Data: []byte("he")},
		{Data: []byte("llo")}, {File: &File{Name: "targets/rules/empty"}}, {Progress: &Progress{Read: 10, Total: 11}}, {Done: &Done{Files: 2, Bytes: 5}}}
}

func receiver(t testing.TB) (*Receiver, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "staging")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := NewReceiver(root)
	t.Cleanup(func() { r.Close(); root.Close() })
	return r, dir
}

func all(r *Receiver, messages ...Message) (err error) {
	for _, m := range messages {
		err = r.Add(m)
	}
	return err
}

func TestFilesArriveAsTheyWereSent(t *testing.T) {
	r, dir := receiver(t)
	if err := all(r, stream()...); err != nil || r.Done() == nil || !r.Ready() {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"metadata/1.root.json": "hello", "targets/rules/empty": ""} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q %v", name, got, err)
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	var sent []Message
	if err := Send(func(m Message) error { sent = append(sent, m); return nil }, make([]byte, 2*MaxData+1)); err != nil || len(sent) != 3 || len(sent[2].Data) != 1 {
		t.Errorf("%d messages %v", len(sent), err)
	}
}

// A scanworker that has fallen to the medium sends what it likes.
func TestT29_WhatAFallenScannerSendsIsNotWritten(t *testing.T) {
	ready, file := Message{Ready: &Ready{}}, func(name string, size int64) Message { return Message{File: &File{name, size}} }
	end := Message{Done: &Done{Files: 1, Bytes: 1}}
	many := []Message{ready}
	for i := range MaxFiles + 1 {
		many = append(many, file("f"+strings.Repeat("x", i%200)+string(rune('a'+i/200)), 0))
	}
	for name, messages := range map[string][]Message{
		"nothing":                          {{}},
		"two fields":                       {ready, {File: &File{Name: "a"}, Data: []byte("x")}},
		"a file before the jail is closed": {file("a", 1)},
		"ready twice":                      {ready, ready},
		"an absolute name":                 {ready, file("/etc/passwd", 1)},
		"a way up":                         {ready, file("../key/station", 1)},
		"a way up in the middle":           {ready, file("a/../../b", 1)},
		"the folder itself":                {ready, file(".", 1)},
		"a control character":              {ready, file("a\x00b", 1)},
		"a bidi mark":                      {ready, file("\u202egpj.a", 1)},
		"depth":                            {ready, file("a/b/c/d", 1)},
		"a name twice":                     {ready, file("a", 0), file("a", 0)},
		"a name in another case":           {ready, file("a", 0), file("A", 0)},
		"a folder in another case":         {ready, file("a/b", 0), file("A/c", 0)},
		"a file where a folder is":         {ready, file("a/b", 0), file("a", 0)},
		"a folder where a file is":         {ready, file("a", 0), file("a/b", 0)},
		"a file within a file":             {ready, file("a", 1), file("b", 0)},
		"data without a file":              {ready, {Data: []byte("x")}},
		"more data than was said":          {ready, file("a", 1), {Data: []byte("xy")}},
		"a large message":                  {ready, file("a", 1<<20), {Data: make([]byte, MaxData+1)}},
		"an endless file":                  {ready, file("a", MaxFile+1)},
		"a size below zero":                {ready, file("a", -1)},
		"more than all":                    {ready, file("a", MaxFile), {Done: &Done{}}},
		"many files":                       many,
		"an end within a file":             {ready, file("a", 2), {Data: []byte("x")}, end},
		"an end after nothing":             {ready, {Done: &Done{}}},
		"another number of files":          {ready, file("a", 1), {Data: []byte("x")}, {Done: &Done{Files: 2, Bytes: 1}}},
		"another number of bytes":          {ready, file("a", 1), {Data: []byte("x")}, {Done: &Done{Files: 1, Bytes: 2}}},
		"something after the end":          {ready, file("a", 1), {Data: []byte("x")}, end, end},
		"a reason that is none":            {ready, {Done: &Done{Refused: "because I say so"}}},
		"progress below zero":              {ready, {Progress: &Progress{Read: -1}}},
	} {
		r, dir := receiver(t)
		if err := all(r, messages...); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
		if err := r.Add(Message{Progress: &Progress{}}); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: it went on: %v", name, err)
		}
		onlyInside(t, dir)
	}
}

// onlyInside wants nothing beside the staging folder, and in it plain files and folders.
func onlyInside(t testing.TB, dir string) {
	t.Helper()
	beside, err := os.ReadDir(filepath.Dir(dir))
	if err != nil || len(beside) != 1 {
		t.Fatalf("%v %v", beside, err)
	}
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !d.Type().IsRegular() {
			t.Errorf("%s is a %v", name, d.Type())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What is there already is nothing to write to: not a file, and not a link out of the folder.
func TestNothingThatIsThereIsWrittenTo(t *testing.T) {
	for _, plant := range []func(dir string) error{
		func(dir string) error { return os.WriteFile(filepath.Join(dir, "a"), []byte("old"), 0o600) },
		func(dir string) error { return os.Symlink(filepath.Join(dir, "..", "out"), filepath.Join(dir, "a")) },
	} {
		r, dir := receiver(t)
		if err := plant(dir); err != nil {
			t.Fatal(err)
		}
		if err := all(r, Message{Ready: &Ready{}}, Message{File: &File{Name: "a", Size: 1}}); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%v", err)
		}
		if _, err := os.Lstat(filepath.Join(dir, "..", "out")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("written through a link: %v", err)
		}
	}
}

func TestARefusalInMidFileIsTaken(t *testing.T) {
	r, _ := receiver(t)
	err := all(r, Message{Ready: &Ready{}}, Message{File: &File{Name: "a", Size: 5}}, Message{Data: []byte("x")}, Message{Done: &Done{Refused: Unread}})
	if err != nil || r.Done() == nil || r.Done().Refused != Unread {
		t.Errorf("%+v %v", r.Done(), err)
	}
}

func encoded(t testing.TB, messages []Message) []byte {
	t.Helper()
	var b bytes.Buffer
	w := frame.NewWriter(&b)
	for _, m := range messages {
		if err := w.Write(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// take reads messages as the supervisor does.
func take(data []byte, r *Receiver) error {
	in := frame.NewReader(bytes.NewReader(data))
	for {
		var m Message
		if err := in.Next(&m); err != nil {
			return err
		}
		if err := r.Add(m); err != nil {
			return err
		}
	}
}

// Cut short anywhere, the stream has no end; with any bit changed it is another stream or none, and writes nowhere else.
func TestEveryCutAndEveryChangedBit(t *testing.T) {
	data := encoded(t, stream())
	for n := range data {
		r, dir := receiver(t)
		if err := take(data[:n], r); err == nil || r.Done() != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		onlyInside(t, dir)
	}
	for at := range 8 * len(data) {
		r, dir := receiver(t)
		changed := bytes.Clone(data)
		changed[at/8] ^= 1 << (at % 8)
		if err := take(changed, r); err == nil {
			t.Fatalf("bit %d: no end", at)
		}
		onlyInside(t, dir)
	}
}

func FuzzReceiver(f *testing.F) {
	f.Add(encoded(f, stream()))
	f.Add(encoded(f, []Message{{Ready: &Ready{}}, {File: &File{Name: "../a", Size: 1}}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, dir := receiver(t)
		err := take(data, r)
		if done := r.Done(); done != nil && done.Refused == "" && (r.files != done.Files || r.bytes != done.Bytes || r.left != 0) {
			t.Errorf("%+v after %d files: %v", done, r.files, err)
		}
		if err == nil || err == io.EOF && r.Done() == nil && r.file == nil && r.files > MaxFiles {
			t.Error(err)
		}
		onlyInside(t, dir)
	})
}
