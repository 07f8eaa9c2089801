package clearance

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"

	"pratique/scanner/report"
)

// two is a medium of two volumes, with a stream in the first.
func two(t testing.TB) (*Manifest, Claims) {
	t.Helper()
	m := NewManifest(exampleID)
	fill(t, m, 0, "a.txt", "b/c.txt", "a.txt:s")
	fill(t, m, 1, "second.txt", "empty/")
	c, err := m.Seal()
	if err != nil {
		t.Fatal(err)
	}
	claims := exampleClaims(t)
	claims.Content = c
	return m, claims
}

func TestT13_ChangesAreNamed(t *testing.T) {
	cleared, claims := two(t)
	seen := NewManifest(exampleID)
	fill(t, seen, 0, "a.txt", "new.exe", "a.txt:s")
	fill(t, seen, 1, "empty/")
	if err := seen.Add(1, report.File, "second.txt", 10, sha256.Sum256([]byte("changed!!!"))); err != nil {
		t.Fatal(err)
	}
	if _, err := seen.Seal(); err != nil {
		t.Fatal(err)
	}
	got, err := Compare(claims, cleared, seen, WholeMedium)
	if err != nil || got.Equal || got.More || len(got.Changes) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	want := map[[32]byte]ChangeKind{PathKey(exampleID, "new.exe"): Added, PathKey(exampleID, "b/c.txt"): Removed, PathKey(exampleID, "second.txt"): Changed}
	for _, c := range got.Changes {
		if kind, ok := want[c.Key]; !ok || kind != c.Kind {
			t.Errorf("unexpected change %+v", c)
		}
		if c.Kind == Removed && (c.Size != 7 || c.SHA256 != sha256.Sum256([]byte("b/c.txt")) || c.Entry != report.File) {
			t.Errorf("what was removed is said to be %+v", c)
		}
	}
	if got, err := Compare(claims, nil, seen, WholeMedium); err != nil || got.Equal || len(got.Changes) != 0 {
		t.Errorf("without the manifest: %+v, %v", got, err)
	}
	if got, err := Compare(claims, cleared, cleared, WholeMedium); err != nil || !got.Equal {
		t.Errorf("unchanged: %+v, %v", got, err)
	}
}

func TestAFolderMustEqualOneVolume(t *testing.T) {
	cleared, claims := two(t)
	first, second := sealed(t, exampleID, "a.txt", "b/c.txt"), sealed(t, exampleID, "second.txt", "empty/")
	if _, err := Compare(claims, nil, second, Folder); !errors.Is(err, ErrNeedManifest) {
		t.Errorf("two volumes without the manifest: %v", err)
	}
	if got, err := Compare(claims, cleared, first, Folder); err != nil || !got.Equal || got.StreamsUnchecked != 1 {
		t.Errorf("the first volume: %+v, %v", got, err)
	}
	if got, err := Compare(claims, cleared, second, Folder); err != nil || !got.Equal || got.StreamsUnchecked != 0 {
		t.Errorf("the second volume: %+v, %v", got, err)
	}
	if got, err := Compare(claims, cleared, sealed(t, exampleID, "second.txt"), Folder); err != nil || got.Equal || len(got.Changes) != 1 || got.Changes[0].Kind != Removed {
		t.Errorf("the second volume less a directory: %+v, %v", got, err)
	}
	if got, err := Compare(claims, cleared, sealed(t, exampleID, "a.txt", "b/c.txt", "second.txt", "empty/"), Folder); err != nil || got.Equal {
		t.Errorf("both volumes in one folder: %+v, %v", got, err)
	}
	if got, err := Compare(claims, cleared, sealed(t, exampleID), Folder); err == nil {
		t.Errorf("no volume at all: %+v", got)
	}

	one := exampleClaims(t)
	if got, err := Compare(one, nil, sealedFile(t, "a.txt", "hello"), Folder); err != nil || !got.Equal {
		t.Errorf("one volume without the manifest: %+v, %v", got, err)
	}
	if got, err := Compare(one, nil, sealedFile(t, "a.txt", "hellO"), Folder); err != nil || got.Equal {
		t.Errorf("one volume, changed: %+v, %v", got, err)
	}
	streams := one
	streams.Content.Streams = 1
	if _, err := Compare(streams, nil, sealedFile(t, "a.txt", "hello"), Folder); !errors.Is(err, ErrNeedManifest) {
		t.Errorf("streams without the manifest: %v", err)
	}
}

func TestCompareTakesNothingUnfinished(t *testing.T) {
	cleared, claims := two(t)
	other := sealed(t, [16]byte{1}, "a.txt")
	open := NewManifest(exampleID)
	for name, run := range map[string]func() (Comparison, error){
		"what is seen is open":            func() (Comparison, error) { return Compare(claims, cleared, open, WholeMedium) },
		"what is seen has another id":     func() (Comparison, error) { return Compare(claims, cleared, other, WholeMedium) },
		"the manifest is another token's": func() (Comparison, error) { return Compare(claims, sealed(t, exampleID, "x"), cleared, WholeMedium) },
		"no view":                         func() (Comparison, error) { return Compare(claims, cleared, cleared, NoView) },
		"a folder of two volumes":         func() (Comparison, error) { return Compare(claims, cleared, cleared, Folder) },
		"the manifest is open":            func() (Comparison, error) { return Compare(claims, open, cleared, WholeMedium) },
	} {
		if got, err := run(); err == nil || got.Equal {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestTheListOfChangesIsBounded(t *testing.T) {
	cleared, claims := two(t)
	seen := NewManifest(exampleID)
	for v := range 2 {
		for i := range MaxChanges {
			fill(t, seen, v, fmt.Sprint("junk ", i))
		}
	}
	if _, err := seen.Seal(); err != nil {
		t.Fatal(err)
	}
	if got, err := Compare(claims, cleared, seen, WholeMedium); err != nil || got.Equal || len(got.Changes) != MaxChanges || !got.More {
		t.Errorf("%d changes, more: %v, %v", len(got.Changes), got.More, err)
	}
}

func sealedFile(t testing.TB, path, text string) *Manifest {
	t.Helper()
	m := NewManifest(exampleID)
	if err := m.Add(0, report.File, path, int64(len(text)), sha256.Sum256([]byte(text))); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Seal(); err != nil {
		t.Fatal(err)
	}
	return m
}
