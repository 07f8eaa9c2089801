package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pratique/testdata/stick"
)

// T06, on whole programs: a disc or a Linux volume that is a file on a stick, or lies in an archive there, is opened like the
// medium that it is the image of.
func TestT06_ImagesInsideFilesAreScreened(t *testing.T) {
	state := t.TempDir()
	for name, write := range map[string]func(dir, image string){
		"disc.iso": func(dir, image string) {
			output(t, exec.Command("genisoimage", "-quiet", "-J", "-R", "-o", image, dir))
		},
		"udf.iso": func(dir, image string) {
			output(t, exec.Command("genisoimage", "-quiet", "-udf", "-o", image, dir))
			edit(t, image, func(f stick.Image) { put(t, f, 16*2048, make([]byte, 2*2048)) }) // no ISO 9660
		},
		"linux.img": func(dir, image string) {
			output(t, exec.Command("mke2fs", "-q", "-F", "-t", "ext4", "-d", dir, image, "8M"))
		},
	} {
		for payload, want := range map[string]int{"nothing to see\n": 0, string(stick.EICAR()): 3} {
			dir, image := filepath.Join(t.TempDir(), "tree"), filepath.Join(t.TempDir(), name)
			if err := stick.WriteTree(dir, append(stick.CleanFiles(), stick.File{Path: "folder/DEEP.TXT", Data: []byte(payload)})); err != nil {
				t.Fatal(err)
			}
			write(dir, image)
			data, err := os.ReadFile(image)
			if err != nil {
				t.Fatal(err)
			}
			for where, files := range map[string][]stick.File{
				"a file":           {{Path: "Backup/" + name, Data: data}},
				"a file of a zip":  {{Path: "Backup/all.zip", Data: packZIP(t, map[string][]byte{name: data})}},
				"without its name": {{Path: "Backup/notes", Data: data}},
			} {
				code, res := screenJSON(t, "--state", state, packedStick(t, files))
				told := false
				for _, f := range res.Findings {
					told = told || strings.Contains(f.Path+f.Member, "DEEP.TXT")
				}
				if code != want || told != (want == 3) {
					t.Errorf("%s as %s: exit code %d, want %d; %v, findings %+v", name, where, code, want, res.Reasons, res.Findings)
				}
			}
		}
	}
}
