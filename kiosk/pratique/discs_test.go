package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pratique/testdata/stick"
)

// patientCD is what an imaging department hands out: a DICOM file-set, a viewer that starts by itself, and pages to read.
func patientCD(t *testing.T, viewer bool) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "cd")
	files := stick.DICOM([]stick.Study{{Patient: "TESTPATIENT^CD", ID: "CD-1", Slices: 8, Side: 64, Number: 1}})
	files = append(files, stick.File{Path: "README.TXT", Data: []byte("Produced for testing.\n")})
	if viewer {
		program := make([]byte, 4096)
		copy(program, "MZ")
		program[60] = 128
		copy(program[128:], "PE\x00\x00\x64\x86")
		files = append(files, stick.File{Path: "INDEX.HTM", Data: []byte("<html><body>Your images are on this disc.</body></html>\n")},
			stick.File{Path: "autorun.inf", Data: []byte("[autorun]\r\nopen=Viewer\\Viewer.exe\r\n")},
			stick.File{Path: "Viewer/Viewer.exe", Data: program}, stick.File{Path: "Viewer/Einstellungen für den Betrachter.ini", Data: []byte("[viewer]\n")})
	}
	if err := stick.WriteTree(dir, files); err != nil {
		t.Fatal(err)
	}
	return dir
}

// disc writes a folder to an image.
func disc(t *testing.T, program, from string, args ...string) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "disc.iso")
	all := append([]string{"-quiet", "-V", "PATIENT CD", "-o", image}, args...)
	if program == "xorriso" {
		all = append([]string{"-as", "mkisofs"}, all...)
	}
	if out, err := exec.Command(program, append(all, from)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
	return image
}

func (r *jsonResult) rules() []string {
	var out []string
	for _, f := range r.Findings {
		out = append(out, f.Rule)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// A viewer that starts by itself has no place where images are read, and is told of everywhere.
func TestT30_PatientDiscsGetTheVerdictOfTheirClass(t *testing.T) {
	with, without := disc(t, "genisoimage", patientCD(t, true), "-J", "-R"), disc(t, "genisoimage", patientCD(t, false), "-J", "-R")
	bridge := disc(t, "genisoimage", patientCD(t, true), "-J", "-R", "-udf")
	for _, c := range []struct {
		name, image, class string
		code               int
		words              []string // among the reasons
		rules              []string
	}{
		{"with a viewer, for imaging", with, "imaging", 3, []string{`Programs are not allowed for class "imaging".`,
			`(viewers) are not allowed`, `(autorun.inf) are not allowed`, "text/html: not allowed"}, []string{"autorun", "viewer", "name-tree"}},
		{"with a viewer, for general", with, "general", 3, []string{`(autorun.inf) are not allowed for class "general".`}, []string{"autorun", "executable", "viewer", "name-tree"}},
		{"DVD with a viewer, for imaging", bridge, "imaging", 3, []string{`Programs are not allowed for class "imaging".`}, []string{"autorun"}},
		{"images alone, for imaging", without, "imaging", 0, nil, nil},
		{"images alone, for general", without, "general", 0, nil, nil},
	} {
		code, res := screenJSON(t, "--state", t.TempDir(), "--for", c.class, c.image)
		var reasons []string
		for _, r := range res.Reasons {
			reasons = append(reasons, string(r.Code)+": "+r.Text)
		}
		if code != c.code {
			t.Errorf("%s: exit code %d, want %d: %q", c.name, code, c.code, reasons)
		}
		for _, w := range c.words {
			if !strings.Contains(strings.Join(reasons, "\n"), w) {
				t.Errorf("%s: no reason says %q: %q", c.name, w, reasons)
			}
		}
		for _, r := range c.rules {
			if !slices.Contains(res.rules(), r) {
				t.Errorf("%s: no finding %q: %q", c.name, r, res.rules())
			}
		}
	}
}

// Whichever of its names a device shows a disc by, the folder is what was cleared, and a changed one is not.
func TestT13_EachTreeOfADiscIsWhatWasCleared(t *testing.T) {
	from := patientCD(t, false)
	if err := stick.WriteTree(from, []stick.File{{Path: "Ein langer Name, mit Umlauten äöü.txt", Data: []byte("long")}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, program string
		args          []string
	}{
		{"ISO 9660", "genisoimage", []string{"-iso-level", "2"}},
		{"Joliet", "genisoimage", []string{"-J", "-joliet-long"}},
		{"Rock Ridge", "genisoimage", []string{"-J", "-joliet-long", "-R"}},
		{"UDF", "genisoimage", []string{"-udf"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := disc(t, c.program, from, c.args...)
			state, out, seen := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "seen")
			if code, res := screenJSON(t, "--state", state, "--out", out, image); code != 0 {
				t.Fatalf("exit code %d: %v", code, res.Reasons)
			}
			read := exec.Command("7z", "x", "-y", "-bd", "-o"+seen, image)
			switch c.name {
			case "Rock Ridge":
				read = exec.Command("xorriso", "-report_about", "SORRY", "-osirrox", "on", "-indev", image, "-extract", "/", seen)
			case "UDF":
				read = exec.Command("7z", "x", "-y", "-bd", "-tudf", "-o"+seen, image)
			}
			if said, err := read.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			if said, err := exec.Command("chmod", "-R", "u+rwX", seen).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			check := func(path string) int {
				code, _, stderr := run(t, "clearcheck", "--demo", "--trust", filepath.Join(state, "demo.trust"), "--token", filepath.Join(out, "token.cose"),
					"--manifest", filepath.Join(out, "manifest"), path)
				t.Log(stderr)
				return code
			}
			if code := check(image); code != 0 {
				t.Errorf("the image: exit code %d", code)
			}
			if code := check(seen); code != 0 {
				t.Errorf("the folder: exit code %d", code)
			}
			if err := os.WriteFile(filepath.Join(seen, "NEW.TXT"), []byte("new"), 0o644); err != nil {
				t.Fatal(err)
			}
			if code := check(seen); code != 3 {
				t.Errorf("the folder with a file more: exit code %d", code)
			}
		})
	}
}

// Discs that are disks too: every table and volume on them is read.
func TestT06_HybridDiscsAreReadInEveryWay(t *testing.T) {
	from := patientCD(t, false)
	for name, data := range map[string][]byte{"boot.img": make([]byte, 4096), "efi.img": make([]byte, 1440<<10)} {
		if err := os.WriteFile(filepath.Join(from, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	efi := filepath.Join(from, "efi.img")
	if said, err := exec.Command("/usr/sbin/mkfs.vfat", efi).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	evil := filepath.Join(t.TempDir(), "evil")
	if err := os.WriteFile(evil, stick.RuleSample(), 0o644); err != nil {
		t.Fatal(err)
	}
	boot := []string{"-J", "-R", "-b", "boot.img", "-no-emul-boot", "-boot-load-size", "4", "-c", "boot.cat"}
	if said, err := exec.Command("mcopy", "-i", efi, evil, "::EVIL.TXT").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	image := disc(t, "xorriso", from, append(boot, "-append_partition", "2", "0xef", efi, "-partition_offset", "16", "-appended_part_as_gpt")...)
	code, res := screenJSON(t, "--state", t.TempDir(), image)
	var kinds []string
	for _, v := range res.Volumes {
		kinds = append(kinds, v.FileSystem)
	}
	if !slices.Contains(kinds, "fat12") || !slices.Contains(kinds, "iso9660") || code != 3 {
		t.Errorf("exit code %d, volumes %q, reasons %v", code, kinds, res.Reasons)
	}
	found := map[string]bool{}
	for _, f := range res.Findings {
		if f.Check == "yara" {
			found[f.Path] = true
		}
	}
	if !found["EVIL.TXT"] {
		t.Errorf("what is in the boot partition is not found: %v", found)
	}
	image = disc(t, "xorriso", from, append(boot, "-eltorito-alt-boot", "-e", "efi.img", "-no-emul-boot", "-isohybrid-gpt-basdat", "-isohybrid-apm-hfsplus")...)
	if _, res := screenJSON(t, "--state", t.TempDir(), image); slices.ContainsFunc(res.Volumes, func(v jsonVolume) bool { return v.FileSystem == "apple-map" || v.FileSystem == "unknown" }) {
		t.Errorf("volumes %v", res.Volumes)
	}
}
