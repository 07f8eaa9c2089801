package main

import (
	"debug/pe"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"pratique/testdata/stick"
)

// externals are the variables that public rules ask for; pratique defines them too.
var externals = []string{"filename", "filepath", "extension", "filetype", "owner"}

// hospital measures screening against the yara program on the same files with the same rules, each mix in turn. What is
// compared:
//
//   - ours: all of `pratique screen`, from its start to its exit. It reads an image with a FAT32 volume, hashes every file,
//     tells types, inspects structure, writes the log and issues the clearance. The rules are compiled by a run before.
//   - theirs: `yara -C -r -p CORES` on the same files in a folder, with rules that yarac has compiled before.
//
// The time on the clock counts. On a machine that is busy with other things it says little, and the ratio of the processor
// time of both sides ("work") says more. Both read warm pages. The programs on the stick are real: the samples of Go's own
// tests, and clearcheck for Windows.
func hospital(dir, bin string, mb int64, rounds int, mixes []stick.Mix, screen, ruleFiles []string) error {
	compiled := filepath.Join(dir, "rules.yarc")
	yarac, yara := []string{"yarac", "-w"}, []string{"yara", "-C", "-w", "-r", "-p", strconv.Itoa(runtime.NumCPU())}
	for _, name := range externals {
		yarac, yara = append(yarac, "-d", name+"="), append(yara, "-d", name+"=")
	}
	for i, file := range ruleFiles { // each in a namespace of its own, as pratique has them
		yarac = append(yarac, fmt.Sprintf("f%d:%s", i, file))
	}
	if _, err := measure(append(yarac, compiled)); err != nil {
		return err
	}
	programs, err := windowsPrograms(bin)
	if err != nil {
		return err
	}
	peak := 0.0
	for _, mix := range mixes {
		if err := stick.CreateHospital(dir, mix, mb<<20, 1, programs[mix.Name]); err != nil {
			return err
		}
		image, tree := filepath.Join(dir, mix.Name+".img"), filepath.Join(dir, mix.Name)
		var ours, theirs, work []float64
		for round := range rounds + 1 {
			o, err := measure(append(slices.Clone(screen), image))
			if err != nil {
				return err
			}
			y, err := measure(append(slices.Clone(yara), compiled, tree))
			if err != nil {
				return err
			}
			peak = max(peak, o.peak)
			if round > 0 { // the first makes pages and rules warm
				ours, theirs = append(ours, o.seconds), append(theirs, y.seconds)
				work = append(work, o.cpu/y.cpu)
			}
		}
		fmt.Printf("bench screen-seconds-%s %.2f\n", mix.Name, median(ours))
		fmt.Printf("bench yara-seconds-%s %.2f\n", mix.Name, median(theirs))
		fmt.Printf("bench yara-ratio-%s %.2f\n", mix.Name, median(ours)/median(theirs))
		fmt.Printf("bench yara-work-ratio-%s %.2f\n", mix.Name, median(work))
		for _, name := range []string{image, tree} {
			if err := os.RemoveAll(name); err != nil {
				return err
			}
		}
	}
	fmt.Printf("bench peak-mb %.0f\n", peak)
	return nil
}

// windowsPrograms are real programs for each mix: small ones of Go's own tests, and one of some megabytes that make build
// has made.
func windowsPrograms(bin string) (map[string][][]byte, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	samples, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(root)), "src", "debug", "pe", "testdata", "*-exec"))
	if err != nil {
		return nil, err
	}
	out := map[string][][]byte{}
	for mix, names := range map[string][]string{"small": samples, "large": {filepath.Join(bin, "clearcheck-windows-amd64.exe")}} {
		for _, name := range names {
			f, err := pe.Open(name)
			if err != nil {
				return nil, fmt.Errorf("%s is no program for Windows: %w", filepath.Base(name), err)
			}
			f.Close()
			data, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			out[mix] = append(out[mix], data)
		}
	}
	return out, nil
}
