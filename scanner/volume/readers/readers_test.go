package readers_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/readers"
	"pratique/scanner/volume/volumetest"
	"pratique/testdata/stick"
)

// The sample sticks, as far as this part of the program decides about them.
func TestSampleSticksAreReadToTheEnd(t *testing.T) {
	want := map[string][]string{
		"clean":    {"fat32 clean"},
		"infected": {"exfat clean"},
		"hidden":   {"fat16 clean", "fat16 clean"},
		"locked":   {"fat16 clean", "bitlocker encrypted"},
		"damaged":  {"fat16 malformed"},
	}
	for _, s := range stick.Sticks() {
		t.Run(s.Name, func(t *testing.T) {
			m, err := s.InMemory()
			if err != nil {
				t.Fatal(err)
			}
			l, err := volume.Map(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			eicar := false
			for _, c := range l.Volumes {
				outcome := report.Unscanned
				if fs, err := readers.Open(m, c); err != nil {
					_, outcome = readers.OutcomeOf(c, err)
				} else {
					list, err := volumetest.ReadAll(t.Context(), volume.Section(m, c.Start, c.Bytes), fs, volume.Options{Deep: true})
					if err != nil {
						t.Fatal(err)
					}
					outcome = list.Summary.Outcome
					for _, f := range list.Files {
						eicar = eicar || f == volumetest.FileOf(stick.EICAR())
					}
				}
				got = append(got, c.FileSystem+" "+outcome.String())
			}
			if !slices.Equal(got, want[s.Name]) {
				t.Errorf("volumes %q, want %q", got, want[s.Name])
			}
			if has := s.Name == "infected" || s.Name == "hidden"; eicar != has {
				t.Errorf("EICAR listed: %v, want %v", eicar, has)
			}
		})
	}
}

func TestT25_WhatHasNoReaderIsRefusedByName(t *testing.T) {
	src := volumetest.Bytes(make([]byte, 4096), 512)
	for name, want := range map[string]struct {
		words   string
		outcome report.Outcome
	}{
		"bitlocker":       {"encrypted with BitLocker.", report.Encrypted},
		"bitlocker-to-go": {"encrypted with BitLocker To Go.", report.Encrypted},
		"luks1":           {"LUKS", report.Encrypted},
		"luks2":           {"LUKS", report.Encrypted},
		"random":          {"random", report.Encrypted},
		"refs":            {"ReFS (Windows)", report.Unscanned},
		"ext-journal":     {"journal of another volume", report.Unscanned},
		"hfsplus":         {"HFS+ (Apple)", report.Unscanned},
		"unknown":         {"unknown", report.Unscanned},
		"":                {"unknown", report.Unscanned},
		"no such thing":   {"unknown", report.Unscanned},
	} {
		fs, err := readers.Open(src, volume.Candidate{Bytes: 4096, FileSystem: name})
		if fs != nil || !errors.Is(err, readers.ErrNoReader) {
			t.Errorf("%q: %v, %v", name, fs, err)
		}
		text, outcome := readers.Refusal(name)
		if outcome != want.outcome || !strings.Contains(text, want.words) || !strings.HasSuffix(text, ".") || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v, %q", name, outcome, text)
		}
		if same, also := readers.OutcomeOf(volume.Candidate{FileSystem: name}, err); same != text || also != outcome {
			t.Errorf("%q: %v, %q", name, also, same)
		}
	}
}

// Every name that package volume gives must have words of its own here.
func TestEveryNameHasWords(t *testing.T) {
	unknown, _ := readers.Refusal("unknown")
	for _, name := range volume.Names() {
		if text, outcome := readers.Refusal(name); text == unknown && name != "unknown" || outcome.Seen() {
			t.Errorf("%q: %v, %q", name, outcome, text)
		}
	}
}

func TestNoFailureToOpenIsClean(t *testing.T) {
	good := stick.NewMemory(16 << 20)
	if _, err := stick.WriteFAT(good, stick.FAT{Bits: 16, Bytes: 16 << 20}, nil); err != nil {
		t.Fatal(err)
	}
	c := volume.Candidate{Bytes: 16 << 20, FileSystem: "fat16"}
	for name, open := range map[string]func() (volume.FileSystem, error){
		"bad sector": func() (volume.FileSystem, error) {
			return readers.Open(volumetest.FailAt(good, []volume.Extent{{Start: 0, Bytes: 512}}), c)
		},
		"another type": func() (volume.FileSystem, error) {
			return readers.Open(good, volume.Candidate{Bytes: 16 << 20, FileSystem: "fat32"})
		},
		"exFAT that is none": func() (volume.FileSystem, error) {
			return readers.Open(good, volume.Candidate{Bytes: 16 << 20, FileSystem: "exfat"})
		},
		"NTFS that is none": func() (volume.FileSystem, error) {
			return readers.Open(good, volume.Candidate{Bytes: 16 << 20, FileSystem: "ntfs"})
		},
		"ext4 that is none": func() (volume.FileSystem, error) {
			return readers.Open(good, volume.Candidate{Bytes: 16 << 20, FileSystem: "ext4"})
		},
		"cut short": func() (volume.FileSystem, error) {
			return readers.Open(good, volume.Candidate{Bytes: 8 << 20, FileSystem: "fat16"})
		},
		"beyond the end": func() (volume.FileSystem, error) {
			return readers.Open(good, volume.Candidate{Start: 1 << 20, Bytes: 16 << 20, FileSystem: "fat16"})
		},
		"before the start": func() (volume.FileSystem, error) {
			return readers.Open(good, volume.Candidate{Start: -512, Bytes: 16 << 20, FileSystem: "fat16"})
		},
		"nothing": func() (volume.FileSystem, error) {
			return readers.Open(volumetest.Bytes(nil, 512), volume.Candidate{FileSystem: "exfat"})
		},
	} {
		fs, err := open()
		text, outcome := readers.OutcomeOf(c, err)
		if fs != nil || err == nil || outcome.Seen() || text == "" {
			t.Errorf("%s: %v, %v; %v, %q", name, fs, err, outcome, text)
		}
	}
	if fs, err := readers.Open(good, c); err != nil {
		t.Error(err)
	} else if s, err := fs.Walk(context.Background(), volume.Options{}, func(volume.Entry) error { return nil }); err != nil || s.Outcome != report.Clean {
		t.Errorf("%+v, %v", s, err)
	}
}
