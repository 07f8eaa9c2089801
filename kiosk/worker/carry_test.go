package worker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pratique/scanner/blocks"
	"pratique/scanner/carry"
	sticks "pratique/testdata/stick"
)

const carryFolder = "PRATIQUE-PACK"

// packImage is a stick with one file in the folder.
func packImage(t *testing.T) *os.File {
	t.Helper()
	const size = 4 << 20
	f, err := os.Create(filepath.Join(t.TempDir(), "stick.img"))
	if err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := sticks.WriteFAT(f, sticks.FAT{Bits: 12, Bytes: size, ClusterBytes: 2048}, []sticks.File{{Path: carryFolder + "/metadata/a", Data: []byte("text")}}); err != nil {
		t.Fatal(err)
	}
	medium, err := os.Open(f.Name()) // for reading only, or the jail refuses it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { medium.Close() })
	return medium
}

// staging is an empty folder.
func staging(t *testing.T) (*os.Root, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "staging")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root, dir
}

func TestAFolderIsCarriedOffByAJailedProcess(t *testing.T) {
	f := packImage(t)
	read := func(src *os.File, name string) {
		t.Helper()
		root, dir := staging(t)
		if err := Carry(t.Context(), src, 4<<20, 512, carryFolder, Config{Dir: programs}, root, nil); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if text, err := os.ReadFile(filepath.Join(dir, "metadata", "a")); err != nil || string(text) != "text" {
			t.Errorf("%s: %q %v", name, text, err)
		}
	}
	read(f, "an image")
	client, server, err := blocks.Pair()
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- blocks.Serve(context.Background(), server, fileMedium{f}) }()
	read(client, "a channel")
	client.Close()
	if err := <-served; err != nil {
		t.Errorf("the server: %v", err)
	}
	server.Close()

	root, _ := staging(t)
	var refusal *carry.Refusal
	if err := Carry(t.Context(), f, 4<<20, 512, "OTHER", Config{Dir: programs}, root, nil); !errors.As(err, &refusal) || refusal.Code != string(carry.None) {
		t.Errorf("another folder: %v", err)
	}
	if err := Carry(t.Context(), f, 2<<20, 512, carryFolder, Config{Dir: programs}, root, nil); !errors.As(err, &refusal) || refusal.Code != string(carry.Unchecked) {
		t.Errorf("half a medium: %v", err)
	}
	if err := Carry(t.Context(), f, 4<<20, 512, "..", Config{Dir: programs}, root, nil); err == nil || errors.As(err, &refusal) {
		t.Errorf("a folder's name that is none: %v", err)
	}
	if err := Carry(t.Context(), f, 4<<20, 512, carryFolder, Config{Dir: t.TempDir()}, root, nil); !errors.Is(err, ErrStart) {
		t.Errorf("no programs: %v", err)
	}
}

// fileMedium serves a file on a channel.
type fileMedium struct{ *os.File }

func (fileMedium) Size() int64     { return 4 << 20 }
func (fileMedium) SectorSize() int { return 512 }

func TestT03_AScannerThatMisbehavesWhileItCarriesIsRefusedOrAFailure(t *testing.T) {
	f := packImage(t)
	for how, want := range map[string]string{
		"silent": CodeStalled, "garbage": CodeProtocol, "way-up": CodeProtocol, "half": CodeDied, "no-end": CodeDied, "killed": CodeDied,
		"done-exit-1": CodeDied, "after-done": CodeProtocol, "exit-1": "", "exit-70": "", "done": "well",
	} {
		root, dir := staging(t)
		err := Carry(t.Context(), f, 4<<20, 512, carryFolder, Config{Dir: fake(t, how), StallTimeout: time.Second}, root, nil)
		var refusal *carry.Refusal
		switch learned := errors.As(err, &refusal); {
		case want == "well" && err != nil, want == "" && (err == nil || learned), want != "well" && want != "" && (!learned || refusal.Code != want):
			t.Errorf("%s: %v, want %q", how, err, want)
		}
		if beside, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(beside) != 1 {
			t.Errorf("%s wrote %v", how, beside)
		}
	}
	root, _ := staging(t)
	if err := Carry(t.Context(), f, 4<<20, 512, carryFolder, Config{Dir: fake(t, "exit-70")}, root, nil); !errors.Is(err, ErrSandbox) {
		t.Errorf("no sandbox: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	root, _ = staging(t)
	if err := Carry(ctx, f, 4<<20, 512, carryFolder, Config{Dir: fake(t, "silent")}, root, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("called off: %v", err)
	}
}
