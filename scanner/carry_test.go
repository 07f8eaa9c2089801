package scanner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pratique/scanner/carry"
	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
	"pratique/testdata/stick"
)

const packFolder = "PRATIQUE-PACK"

// carried runs Carry on an image and gathers what it sends.
func carried(t testing.TB, src volume.Source) (files map[string]string, done carry.Done) {
	t.Helper()
	files = map[string]string{}
	name := ""
	err := Carry(t.Context(), src, carry.Job{Size: src.Size(), SectorSize: 512, Folder: packFolder}, func(m carry.Message) error {
		switch {
		case m.File != nil:
			name = m.File.Name
			files[name] = ""
		case m.Data != nil:
			files[name] += string(m.Data)
		case m.Done != nil:
			done = *m.Done
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, done
}

// packStick is a small stick with these files below the folder.
func packStick(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var list []stick.File
	for name, text := range files {
		list = append(list, stick.File{Path: packFolder + "/" + name, Data: []byte(text), Scatter: true})
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "stick.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(512 << 10); err != nil {
		t.Fatal(err)
	}
	if _, err := stick.WriteFAT(f, stick.FAT{Bits: 12, Bytes: 512 << 10}, list); err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestAFolderIsCarriedByteForByte(t *testing.T) {
	want := map[string]string{"metadata/1.root.json": "{}", "metadata/empty": "", "targets/rules/x.pack": strings.Repeat("0123456789abcdef", 9_000)}
	files, done := carried(t, volumetest.Bytes(packStick(t, want), 512))
	if done.Refused != "" || done.Files != 3 || done.Bytes != 2+144_000 || len(files) != 3 {
		t.Fatalf("%+v, %d files", done, len(files))
	}
	for name, text := range want {
		if files[name] != text {
			t.Errorf("%s: %d bytes", name, len(files[name]))
		}
	}
}

// What a reader says of an entry decides, whichever file system it is from: a link of NTFS, a device of Rock Ridge.
func TestT29_EntriesThatAreNoPlainFilesAreRefused(t *testing.T) {
	file := func(change func(*volume.Entry)) volume.Entry {
		e := volume.Entry{Path: packFolder + "/metadata/1.root.json", Kind: report.File, Size: 4, Valid: 4, Inline: []byte("text")}
		if change != nil {
			change(&e)
		}
		return e
	}
	folder := volume.Entry{Path: packFolder, Kind: report.Directory, Outcome: report.Clean}
	link := []report.Finding{{Check: report.CheckVolume, Rule: "link", Severity: report.Inform, Offset: -1}}
	for name, test := range map[string]struct {
		entries []volume.Entry
		want    carry.Code
	}{
		"a file":                          {[]volume.Entry{folder, file(nil)}, ""},
		"something elsewhere":             {[]volume.Entry{{Path: "x", Kind: report.File, Opaque: true, Findings: link}}, ""},
		"a stream beside it":              {[]volume.Entry{folder, file(func(e *volume.Entry) { e.Kind, e.Path = report.Stream, e.Path+":Zone.Identifier" })}, ""},
		"a lost chain":                    {[]volume.Entry{{Path: packFolder, Kind: report.Area, Outcome: report.Malformed}}, ""},
		"a link":                          {[]volume.Entry{folder, file(func(e *volume.Entry) { e.Findings = link })}, carry.Strange},
		"a folder that is a link":         {[]volume.Entry{{Path: packFolder, Kind: report.Directory, Outcome: report.Clean, Findings: link}}, carry.Strange},
		"content in a form of its own":    {[]volume.Entry{folder, file(func(e *volume.Entry) { e.Opaque = true })}, carry.Strange},
		"a file that is malformed":        {[]volume.Entry{folder, file(func(e *volume.Entry) { e.Outcome = report.Malformed })}, carry.Unread},
		"a file that is unreadable":       {[]volume.Entry{folder, file(func(e *volume.Entry) { e.Outcome = report.Unreadable })}, carry.Unread},
		"a file that is said to be clean": {[]volume.Entry{folder, file(func(e *volume.Entry) { e.Outcome = report.Clean })}, carry.Unread},
		"a file that is encrypted":        {[]volume.Entry{folder, file(func(e *volume.Entry) { e.Outcome = report.Encrypted })}, carry.Unread},
		"a folder that was not walked":    {[]volume.Entry{{Path: packFolder, Kind: report.Directory}}, carry.Unread},
		"content that ends early":         {[]volume.Entry{folder, file(func(e *volume.Entry) { e.Inline = []byte("te") })}, carry.Unread},
		"content that lies elsewhere":     {[]volume.Entry{folder, file(func(e *volume.Entry) { e.Inline, e.Extents = nil, []volume.Extent{{Start: 1 << 40, Bytes: 4}} })}, carry.Unread},
		"two contents":                    {[]volume.Entry{folder, file(func(e *volume.Entry) { e.Extents = []volume.Extent{{Bytes: 4}} })}, carry.Unread},
		"a size below zero":               {[]volume.Entry{folder, file(func(e *volume.Entry) { e.Size = -1 })}, carry.TooLarge},
		"a petabyte":                      {[]volume.Entry{folder, file(func(e *volume.Entry) { e.Size = 1 << 50 })}, carry.TooLarge},
		"a name with a bidi mark":         {[]volume.Entry{folder, file(func(e *volume.Entry) { e.Path = packFolder + "/\u202ea" })}, carry.Misnamed},
		"a name with a NUL":               {[]volume.Entry{folder, file(func(e *volume.Entry) { e.Path = packFolder + "/a\x00b" })}, carry.Misnamed},
		"a name that goes up":             {[]volume.Entry{folder, file(func(e *volume.Entry) { e.Path = packFolder + "/../a" })}, carry.Misnamed},
		"a file twice":                    {[]volume.Entry{folder, file(nil), file(nil)}, carry.Misnamed},
		"a file twice in another case":    {[]volume.Entry{folder, file(nil), file(func(e *volume.Entry) { e.Path = strings.Replace(e.Path, "root", "ROOT", 1) })}, carry.Misnamed},
		"the folder twice":                {[]volume.Entry{folder, folder}, carry.Misnamed},
		"the folder in another case":      {[]volume.Entry{{Path: "Pratique-Pack", Kind: report.Directory, Outcome: report.Clean}}, carry.Misnamed},
		"the folder with a letter like K": {[]volume.Entry{{Path: "PRATIQUE-PAC\u212a", Kind: report.Directory, Outcome: report.Clean}}, carry.Misnamed},
		"the folder as a file":            {[]volume.Entry{{Path: packFolder, Kind: report.File}}, carry.Strange},
		"another tree than there is":      {[]volume.Entry{{Tree: 1, Path: packFolder, Kind: report.Directory, Outcome: report.Clean}}, carry.Unread},
	} {
		c := &carrier{scan: &scan{job: report.Job{Size: 1 << 20}, src: &counted{Source: volumetest.Bytes(make([]byte, 1<<20), 512)}}, folder: packFolder}
		w, loads := c.window(0, 0, 1<<20), []load{{names: map[string]bool{}}}
		var got refused
		for _, e := range test.entries {
			if err := c.see(t.Context(), w, loads, e); err != nil && !errors.As(err, &got) {
				t.Fatal(name, err)
			}
		}
		if carry.Code(got) != test.want {
			t.Errorf("%s: %q, want %q", name, string(got), test.want)
		}
	}
}

func TestManyFoldersEndTheWalk(t *testing.T) {
	c := &carrier{scan: &scan{}, folder: packFolder}
	loads := []load{{names: map[string]bool{}}}
	for i := range 1_000_000 {
		e := volume.Entry{Path: fmt.Sprintf("%s/d%d", packFolder, i), Kind: report.Directory, Outcome: report.Clean}
		if err := c.see(t.Context(), nil, loads, e); err != nil {
			if !errors.Is(err, refused(carry.TooMany)) || i > 2*carry.MaxFiles+1 {
				t.Errorf("folder %d: %v", i, err)
			}
			return
		}
	}
	t.Error("a million folders")
}

// A medium that fails somewhere is carried off whole or refused: never a part of it.
func TestAMediumThatFailsAnywhereIsRefused(t *testing.T) {
	want := map[string]string{"metadata/1.root.json": "{}", "targets/rules/x.pack": strings.Repeat("0123456789abcdef", 2_000)}
	image := packStick(t, want)
	whole := 0
	for at := int64(0); at < int64(len(image)); at += 512 {
		src := volumetest.FailAt(volumetest.Bytes(image, 512), []volume.Extent{{Start: at, Bytes: 512}})
		files, done := carried(t, src)
		if done.Refused != "" {
			continue
		}
		whole++
		for name, text := range want {
			if files[name] != text {
				t.Fatalf("bad sector at %d: %s has %d bytes", at, name, len(files[name]))
			}
		}
	}
	if whole == len(image)/512 {
		t.Error("no sector mattered")
	}
}

// One byte of the medium changed: what arrives is the same files with one byte changed, or nothing, and no panic.
func TestMutatedSticksAreCarriedOrRefused(t *testing.T) {
	image := packStick(t, map[string]string{"metadata/1.root.json": "{}", "targets/x": strings.Repeat("x", 1000)})
	end := 24 << 10 // boot sector, tables, folders
	for at := 0; at < end; at += max(1, end / *mutants) {
		changed := bytes.Clone(image)
		changed[at] ^= 0x81
		files, done := carried(t, volumetest.Bytes(changed, 512))
		if done.Refused == "" && (len(files) != done.Files || len(files) == 0) {
			t.Fatalf("byte %d: %+v with %d files", at, done, len(files))
		}
	}
}

func TestCarryEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	src := volumetest.Bytes(packStick(t, map[string]string{"a": "b"}), 512)
	err := Carry(ctx, src, carry.Job{Size: src.Size(), Folder: packFolder}, func(carry.Message) error { return nil })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := Carry(t.Context(), src, carry.Job{Size: src.Size() + 1, Folder: packFolder}, nil); err == nil {
		t.Error("a job for another medium")
	}
}
