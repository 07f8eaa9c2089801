//go:build unix

package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"pratique/kiosk/clearance"
	"pratique/scanner/report"
	"pratique/scanner/volume"
)

func mkfifo(path string) error { return syscall.Mkfifo(path, 0o600) }

// imageBytes is the size of the test images: the least that mkfs.fat makes into FAT16 with one sector per cluster.
const imageBytes = 16 << 20

// newImage makes an image of a FAT volume with the tools that everybody has, fills it, and issues a token for it. Its
// manifest comes from the list of files and not from reading the image.
func newImage(t testing.TB, s *site) string {
	t.Helper()
	image := s.path("image")
	s.files = map[string]string{}
	tool(t, "mkfs.fat", "-F", "16", "-C", image, "16384")
	for path, text := range stickFiles {
		if strings.ContainsAny(path, "\n\x80🙂") {
			continue // FAT has no such names, and mtools writes characters beyond the first plane wrong
		}
		s.files[path] = text
		for i, c := range path {
			if c == '/' {
				_ = exec.Command("mmd", "-i", image, "::"+path[:i]).Run() // may be there already
			}
		}
		if !strings.HasSuffix(path, "/") {
			write(t, s.path("file"), text)
			tool(t, "mcopy", "-i", image, s.path("file"), "::"+path)
		}
	}
	s.issue(t, s.manifest(t), func(c *clearance.Claims) { c.Medium.Sectors = imageBytes / 512 })
	return image
}

func tool(t testing.TB, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MTOOLS_SKIP_CHECK=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func TestAClearedImageIsValidUntilSomethingChanges(t *testing.T) {
	s := newSite(t, false)
	image := newImage(t, s)
	args := []string{"--trust", s.path("trust"), "--token", s.path("token"), "--for", "imaging"}
	named := append(args, "--manifest", s.path("manifest"))
	ask(t, append(args, image)...).want(t, "unchanged", 0)
	ask(t, append(named, image)...).want(t, "unchanged, with manifest", 0)

	original, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	restore := func() { write(t, image, string(original)) }

	write(t, s.path("evil"), "MZ")
	tool(t, "mcopy", "-i", image, s.path("evil"), "::evil.exe")
	ask(t, append(args, image)...).want(t, "file added", 3)
	ask(t, append(named, image)...).want(t, "file added, with manifest", 3, `added: "evil.exe"`)

	restore()
	tool(t, "mdel", "-i", image, "::DICOM/P1/IM2")
	ask(t, append(named, image)...).want(t, "file removed", 3, "removed: a file of 7 bytes")

	changed := bytes.Replace(original, []byte("image 2"), []byte("image 3"), 1)
	write(t, image, string(changed))
	ask(t, append(named, image)...).want(t, "one byte changed", 3, `changed: "DICOM/P1/IM2"`)

	write(t, image, string(original)+strings.Repeat("\x00", 512))
	ask(t, append(args, image)...).want(t, "one sector more", 10)
	write(t, image, string(original[:len(original)-512]))
	ask(t, append(args, image)...).want(t, "one sector less", 10)
	write(t, image, "")
	ask(t, append(args, image)...).want(t, "empty image", 1)

	// Damage that leaves the size: the reader cannot read it in full, so there is no answer.
	copy(changed, original)
	clear(changed[512*4 : 512*8]) // the start of the first FAT
	write(t, image, string(changed))
	if a := ask(t, append(args, image)...); a.code != 1 && a.code != 3 {
		t.Errorf("damaged FAT: exit code %d\n%s%s", a.code, a.stdout, a.stderr)
	}
	copy(changed[3:], "-FVE-FS-")
	write(t, image, string(changed))
	ask(t, append(args, image)...).want(t, "a BitLocker header", 1)
	write(t, image, strings.Repeat("\x00", imageBytes))
	if a := ask(t, append(args, image)...); a.code != 3 && a.code != 1 {
		t.Errorf("wiped image: exit code %d\n%s%s", a.code, a.stdout, a.stderr)
	}
}

// NTFS keeps small files in its own records, and compressed ones packed.
func TestAnNTFSImageIsComparedFileByFile(t *testing.T) {
	s := newSite(t, false)
	image := s.path("image")
	write(t, image, strings.Repeat("\x00", imageBytes))
	tool(t, "mkntfs", "-F", "-Q", "-q", image)
	s.files = map[string]string{"small.txt": "in its record", "large.bin": strings.Repeat("in clusters", 5000)}
	for path, text := range s.files {
		write(t, s.path("file"), text)
		tool(t, "ntfscp", "-q", "-f", image, s.path("file"), path)
	}
	s.issue(t, s.manifest(t), func(c *clearance.Claims) { c.Medium.Sectors = imageBytes / 512 })
	args := []string{"--trust", s.path("trust"), "--token", s.path("token"), "--for", "imaging", "--manifest", s.path("manifest")}
	ask(t, append(args, image)...).want(t, "unchanged", 0)

	original, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	write(t, image, string(bytes.Replace(original, []byte("in its record"), []byte("in its reco*d"), 1)))
	ask(t, append(args, image)...).want(t, "one byte of a record changed", 3, `changed: "small.txt"`)
	write(t, image, string(original))
	write(t, s.path("file"), "MZ")
	tool(t, "ntfscp", "-q", "-f", image, s.path("file"), "evil.exe")
	ask(t, append(args, image)...).want(t, "file added", 3, `added: "evil.exe"`)
}

// ext keeps links and other things that no other volume has, and mke2fs makes a folder of its own.
func TestAnExtImageIsComparedFileByFile(t *testing.T) {
	s := newSite(t, false)
	image := s.path("image")
	tree := t.TempDir()
	write(t, tree+"/small.txt", "text")
	write(t, tree+"/large.bin", strings.Repeat("in blocks", 5000))
	if err := os.Symlink("small.txt", tree+"/link"); err != nil {
		t.Fatal(err)
	}
	write(t, image, strings.Repeat("\x00", imageBytes))
	tool(t, "/usr/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, image)
	s.files = map[string]string{"small.txt": "text", "large.bin": strings.Repeat("in blocks", 5000), "link": "small.txt", "lost+found/": ""}
	s.issue(t, s.manifest(t), func(c *clearance.Claims) { c.Medium.Sectors = imageBytes / 512 })
	args := []string{"--trust", s.path("trust"), "--token", s.path("token"), "--for", "imaging", "--manifest", s.path("manifest")}
	ask(t, append(args, image)...).want(t, "unchanged", 0)

	original, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	write(t, image, string(bytes.Replace(original, []byte("in blocks"), []byte("in bl*cks"), 1)))
	ask(t, append(args, image)...).want(t, "one byte changed", 3, `changed: "large.bin"`)
	write(t, image, string(original))
	tool(t, "/usr/sbin/debugfs", "-w", "-R", "symlink evil /etc/passwd", image)
	ask(t, append(args, image)...).want(t, "link added", 3, `added: "evil"`)
}

func TestContentIsHadHoweverTheVolumeKeepsIt(t *testing.T) {
	medium := io.NewSectionReader(strings.NewReader("0123456789"), 0, 10)
	section := volume.Section(imageSource{}, 0, 0)
	for _, test := range []struct {
		entry volume.Entry
		want  string
	}{
		{volume.Entry{Size: 6, Valid: 4, Inline: []byte("held")}, "held\x00\x00"},
		{volume.Entry{Size: 10, Valid: 10, Decode: func(io.ReaderAt) io.ReaderAt { return medium }}, "0123456789"},
		{volume.Entry{Size: 9, Valid: 9, Decode: func(io.ReaderAt) io.ReaderAt { return medium }}, "0123456789"}, // too much is seen
		{volume.Entry{Size: 4, Valid: 4, Extents: []volume.Extent{{Start: -1, Bytes: 512}}}, "\x00\x00\x00\x00"},
	} {
		if got, err := io.ReadAll(content(section, &test.entry)); err != nil || string(got) != test.want {
			t.Errorf("%+v: %q, %v", test.entry, got, err)
		}
	}
	s := &sight{}
	err := s.entry(t.Context(), section, 0, "volume", volume.Entry{Path: "x", Kind: report.File, Opaque: true}, nil)
	if err == nil {
		t.Error("content that nobody can read is compared")
	}
}
