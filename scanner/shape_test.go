package scanner

import (
	"archive/zip"
	"bytes"
	"slices"
	"testing"

	"pratique/scanner/report"
	"pratique/testdata/stick"
)

// words are the rules of the findings of one check.
func words(findings []report.Finding, check report.Check) []string {
	var out []string
	for _, f := range findings {
		if f.Check == check {
			out = append(out, f.Rule)
		}
	}
	return out
}

// program is as much of a program for Windows as its type needs.
func program() []byte {
	b := make([]byte, 512)
	copy(b, "MZ")
	b[0x3C] = 128
	copy(b[128:], "PE\x00\x00")
	return b
}

func TestT30_WormLayoutIsFoundOnRealVolumes(t *testing.T) {
	files := []stick.File{
		{Path: "\u00A0", Dir: true, Attr: 0x02},
		{Path: "\u00A0/letter.pdf", Data: stick.PDF("letter")},
		{Path: "WARD 7.exe", Data: program()},
	}
	quiet := []stick.File{{Path: "Letters/letter.pdf", Data: stick.PDF("letter")}}
	for _, fs := range []string{"fat", "exfat"} {
		for _, worm := range []bool{true, false} {
			list := files
			if !worm {
				list = quiet
			}
			img := newImage(t, 16*mib)
			var err error
			if fs == "fat" {
				_, err = stick.WriteFAT(img.File, stick.FAT{Bits: 16, Bytes: img.size, Label: "WARD 7"}, list)
			} else {
				_, err = stick.WriteExFAT(img.File, stick.ExFAT{Bytes: img.size, Label: "Ward 7"}, list)
			}
			if err != nil {
				t.Fatal(err)
			}
			r := newRig(t, 2, 2*mib, img.size)
			rep := mustScan(t, r, img)
			var all []report.Finding
			for _, f := range rep.Found {
				all = append(all, f.Finding)
			}
			var want []string
			if worm {
				want = []string{"launcher", "blank-folder", "root-program"}
				if got := words(r.find("WARD 7.exe").Findings, report.CheckStructure); !slices.Equal(got, []string{"executable"}) {
					t.Errorf("%s: the program: %v", fs, got)
				}
			}
			if got := words(all, report.CheckStructure); !slices.Equal(got, want) || !rep.Complete {
				t.Errorf("%s: %v, want %v; %v", fs, got, want, rep.Shortfalls)
			}
		}
	}
}

// Hidden content counts as hidden only by the attribute, which both readers hand on.
func TestHiddenFoldersAreTold(t *testing.T) {
	files := []stick.File{{Path: "old", Dir: true, Attr: 0x02}, {Path: "old/letter.pdf", Data: stick.PDF("x")}, {Path: "STICK.exe", Data: program()}}
	for _, write := range []func(*image) error{
		func(img *image) error {
			_, err := stick.WriteExFAT(img.File, stick.ExFAT{Bytes: img.size, Label: "STICK"}, files)
			return err
		},
		func(img *image) error {
			_, err := stick.WriteFAT(img.File, stick.FAT{Bits: 16, Bytes: img.size, Label: "STICK"}, files)
			return err
		},
	} {
		img := newImage(t, 16*mib)
		if err := write(img); err != nil {
			t.Fatal(err)
		}
		r := newRig(t, 1, 2*mib, img.size)
		var all []report.Finding
		for _, f := range mustScan(t, r, img).Found {
			all = append(all, f.Finding)
		}
		if got := words(all, report.CheckStructure); !slices.Equal(got, []string{"launcher", "hidden-tree", "root-program"}) {
			t.Error(got)
		}
	}
}

func TestT08_WhatIsDisguisedIsNotCleared(t *testing.T) {
	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	w, err := z.Create("A.class")
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte("x"))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	// Larger than a buffer, so that it is matched block by block; the archive is in the last of them.
	large := append(stick.JPEG(64, 64, 1), make([]byte, 5*mib)...)
	large = append(large, archive.Bytes()...)
	honest := append(stick.JPEG(64, 64, 1), make([]byte, 5*mib)...)
	files := []stick.File{
		{Path: "photo.jpg", Data: program()}, {Path: "large.jpg", Data: large}, {Path: "honest.jpg", Data: honest},
		{Path: "small.gif", Data: append([]byte("GIF89a\x01\x00\x01\x00\x00\x00\x00"), archive.Bytes()...)}, {Path: "notes.txt", Data: []byte("words\n")},
	}
	img, _ := fatImage(t, 16, 64*mib, 2048, files)
	r := newRig(t, 2, 4*mib, img.size)
	mustScan(t, r, img)
	for path, want := range map[string][]string{
		"photo.jpg": {"disguised-program", "executable", "type-mismatch"}, "large.jpg": {"polyglot"}, "honest.jpg": nil,
		"small.gif": {"polyglot"}, "notes.txt": nil,
	} {
		it := r.find(path)
		if got := words(it.Findings, report.CheckStructure); !slices.Equal(got, want) || !it.Outcome.Seen() || (it.Outcome == report.Flagged) != (want != nil) {
			t.Errorf("%s: %v and %v, want %v", path, it.Outcome, got, want)
		}
	}
}
