package container

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of formats and depths")

// depths are how many layers lie around the container that is tried.
var depths = []int{0, 1, 5, 20}

// notOpened are formats that are told and not opened, for the table. TestT07_KnownContainersThatNobodyOpensAreTold and
// TestT07_DisksThatCannotBeSeenAreTold hold this.
const notOpened = `
Known by name, not opened, and told as ` + "`packed-content`" + ` (which blocks unless a policy says otherwise): ZIP members packed by
PPMd, WavPack or JPEG; 7z folders with PPMd, RISC-V or IA-64 filters; cabinets of Quantum, or that go on in
another one; KWAJ of method 3; LHA of methods lzs, lz5, pm1, pm2; SIS before version 9; split, streamed and linked VMDK,
differencing VHD and VHDX, QCOW2, VDI, EnCase; file systems without a reader;
programs packed with anything but UPX, by their marks (ASPack, MEW, PEspin, Petite, Upack, WWPack, Yoda, FSG, PECompact and others),
AutoIt and AutoHotkey scripts, installers of Inno Setup, Wise, InstallShield; `

// TestT07_EveryFormatIsOpenedAtEveryDepth packs a payload in every format with a real program, packs that again and again, and
// looks for the payload. What came of it is a table that is committed.
func TestT07_EveryFormatIsOpenedAtEveryDepth(t *testing.T) {
	want := payload(3 * kib)
	letter := []byte("line 1 of a harmless text that a test looks for")
	var table strings.Builder
	table.WriteString("# Containers: format and depth\n\nWritten by the tests of package scanner/container, which fail if it changes. *Found*: the payload came out of the\ncontainer, which lay in so many layers of ZIP, gzip, tar, xz and 7z by turns.\n\n| container |")
	for _, d := range depths {
		fmt.Fprintf(&table, " in %d |", d)
	}
	table.WriteString("\n|---|" + strings.Repeat("---|", len(depths)) + "\n")
	all := seeds(t)
	dir := tree(t, nil)
	layers := []string{"zip -q -X out IN", "gzip -n -c IN > out", "tar -cf out IN", "xz -1 -c IN > out", "7z a -bd -mx=1 -t7z out IN >/dev/null"}
	wrap := func(b []byte, i int) []byte {
		write(t, dir, "layer", b)
		tool(t, dir, "sh", "-c", "rm -f out out.*; "+strings.ReplaceAll(layers[i%len(layers)], "IN", "layer")+"; mv out.7z out 2>/dev/null || mv out.zip out 2>/dev/null || true")
		return read(t, dir, "out")
	}
	// One archive of all containers is packed again and again, so that a layer is made once.
	names := slices.Sorted(maps.Keys(all))
	found := map[string]map[int]bool{}
	for _, name := range names {
		found[name] = map[int]bool{}
	}
	inner := tree(t, nil)
	for _, name := range names {
		write(t, inner, name, all[name])
	}
	tool(t, inner, append([]string{"tar", "-cf", "../all.tar"}, names...)...)
	packed := read(t, filepath.Dir(inner), "all.tar")
	os.Remove(filepath.Join(filepath.Dir(inner), "all.tar"))
	look := func(name, prefix string, depth int, k *taken) {
		for path, data := range k.content {
			if strings.HasPrefix(path, prefix) && (bytes.Contains(data, want[:500]) || bytes.Contains(data, letter)) && !bytes.Equal(data, all[name]) {
				found[name][depth] = true
			}
		}
	}
	for _, name := range names {
		k, res := takeBytes(t, all[name], name)
		look(name, "", 0, k)
		if !silent(k, res) {
			t.Errorf("%s: %v %+v %+v", name, res.Outcome, res.Findings, k.items)
		}
	}
	for depth := 1; depth <= depths[len(depths)-1]; depth++ {
		if slices.Contains(depths, depth) {
			// The tar is a layer itself.
			k, _ := take(t, New(32*mib), whole(packed), "outermost")
			for _, name := range names {
				for _, path := range k.order {
					if strings.HasSuffix(path, name) {
						look(name, path+"//", depth, k)
					}
				}
			}
		}
		packed = wrap(packed, depth)
	}
	for _, name := range names {
		fmt.Fprintf(&table, "| %s |", name)
		for _, d := range depths {
			word := "found"
			if !found[name][d] {
				word = "**not found**"
				t.Errorf("%s in %d layers: the payload was not found", name, d)
			}
			fmt.Fprintf(&table, " %s |", word)
		}
		table.WriteString("\n")
	}
	var rest []string
	for _, n := range named {
		if !slices.Contains(rest, n.name) {
			rest = append(rest, n.name)
		}
	}
	slices.Sort(rest)
	table.WriteString(notOpened + strings.Join(rest, ", ") + ".\n")
	golden := filepath.Join("..", "..", "testdata", "containers.md")
	if *update {
		if err := os.WriteFile(golden, []byte(table.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if committed, err := os.ReadFile(golden); err != nil || string(committed) != table.String() {
		t.Errorf("%s is not what the tests found (%v): look at it, and write it with -update", golden, err)
	}
}
