package structure

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"pratique/scanner/report"
	"pratique/testdata/stick"
)

// placed is an item of a layout. A path that ends in '/' is a directory; '!' in front of it means hidden.
type placed struct{ path, content string }

func addAll(t *Tree, items []placed) {
	for _, it := range items {
		path, hidden := strings.CutPrefix(it.path, "!")
		if dir, ok := strings.CutSuffix(path, "/"); ok {
			t.Add(dir, report.Directory, hidden, Result{})
			continue
		}
		t.Add(path, report.File, hidden, inspect(path, it.content))
	}
}

func TestT30_LayoutsOfWormsAreFoundWithoutRules(t *testing.T) {
	letter, program := aPDF(), aPE()
	toFile := lnkSpec{base: `E:\x.txt`}.make()
	tests := []struct {
		name, label string
		items       []placed
		want        string
	}{
		{"WispRider: content in a blank folder, a program named as the label", "KINGSTON",
			[]placed{{"!\u00A0/", ""}, {"!\u00A0/letter.pdf", letter}, {"KINGSTON.exe", program}}, "launcher blank-folder root-program"},
		{"the same without the attribute", "KINGSTON",
			[]placed{{"\u00A0/", ""}, {"\u00A0/letter.pdf", letter}, {"Kingston.EXE", program}}, "launcher blank-folder root-program"},
		{"a hidden folder and a shortcut named as the label with its size", "WARD7",
			[]placed{{"!files/", ""}, {"files/a/letter.pdf", letter}, {"WARD7 (8GB).lnk", toFile}}, "launcher hidden-tree root-shortcut"},
		{"no label: Removable Disk", "",
			[]placed{{"!stuff/", ""}, {"stuff/letter.pdf", letter}, {"Removable Disk (16GB).lnk", toFile}}, "launcher hidden-tree root-shortcut"},
		{"a launcher with a name of blanks", "X",
			[]placed{{"!stuff/", ""}, {"stuff/letter.pdf", letter}, {"\u00A0.lnk", toFile}}, "launcher hidden-tree root-shortcut"},
		{"each hidden folder has its shortcut", "X",
			[]placed{{"!Photos/", ""}, {"Photos.lnk", toFile}}, "launcher root-shortcut"},
		{"each hidden file has its shortcut", "X",
			[]placed{{"!letter.pdf", letter}, {"letter.pdf.lnk", toFile}}, "launcher root-shortcut"},
		{"a hidden folder deep below has its program", "X",
			[]placed{{"a/", ""}, {"!a/b/", ""}, {"a/b.exe", program}}, "launcher"},
		{"programs named like the folders beside them", "X",
			[]placed{{"a/", ""}, {"a/Photos/", ""}, {"a/photos.exe", program}}, "folder-program"},
		{"a program, a script and a shortcut in the top folder", "X",
			[]placed{{"setup.exe", program}, {"run.bat", batchText}, {"a.lnk", toFile}}, "root-program root-script root-shortcut"},
		{"a blank folder with files", "X", []placed{{"\u2800\u3000/letter.pdf", letter}}, "blank-folder"},

		// near misses
		{"nothing hidden, a program named as the label", "VIEWER", []placed{{"VIEWER.exe", program}, {"data/a.pdf", letter}}, "root-program"},
		{"a hidden folder with nothing in it", "STICK", []placed{{"!empty/", ""}, {"STICK.exe", program}}, "root-program"},
		{"what Windows and macOS hide", "STICK", []placed{{"!System Volume Information/", ""}, {"System Volume Information/IndexerVolumeGuid", "x"},
			{"!$RECYCLE.BIN/", ""}, {"$RECYCLE.BIN/S-1/desktop.ini", "[.ShellClassInfo]\r\n"}, {"!.Trashes/", ""}, {".Trashes/501/a", "x"}, {"STICK.exe", program}}, "root-program"},
		{"a hidden folder and a program with another name", "STICK", []placed{{"!old/", ""}, {"old/a.pdf", letter}, {"setup.exe", program}}, "hidden-tree root-program"},
		{"a hidden launcher is not clicked on", "STICK", []placed{{"!old/", ""}, {"old/a.pdf", letter}, {"!STICK.exe", program}}, "hidden-tree root-program"},
		{"documents only", "STICK", []placed{{"a.pdf", letter}, {"b/", ""}, {"b/c.pdf", letter}, {"b.pdf", letter}}, ""},
		{"a program away from the top", "STICK", []placed{{"tools/", ""}, {"tools/a.exe", program}}, ""},
		{"an empty volume", "", nil, ""},
	}
	for _, tt := range tests {
		// The order in which a volume lists things says nothing.
		for turn := range 2 {
			items := slices.Clone(tt.items)
			if turn == 1 {
				slices.Reverse(items)
			}
			var tree Tree
			addAll(&tree, items)
			if got := found(tree.Finish(tt.label)); got != tt.want {
				t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
			}
		}
	}
}

// A person must be told which of a thousand files is meant, and the same one whatever the order.
func TestFindingsOfATreeNameAPath(t *testing.T) {
	program := aPE()
	items := []placed{{"!\u00A0/", ""}, {"\u00A0/letter.pdf", aPDF()}, {"STICK.exe", program}, {"Other.exe", program}, {"Photos/", ""}, {"Photos.exe", program},
		{"sub/Folder/", ""}, {"sub/folder.EXE", program}, {"DICOMDIR", aDICOMDIR(`A\B`)}}
	want := map[string]string{"launcher": "STICK.exe", "blank-folder": "\u00A0", "root-program": "Other.exe", "folder-program": "Photos.exe",
		"viewer": "Other.exe", "dicomdir-missing": "DICOMDIR"}
	for range 2 {
		slices.Reverse(items)
		var tree Tree
		addAll(&tree, items)
		for _, f := range tree.Finish("stick") {
			if got := tree.Where(f); got != want[f.Rule] || got == "" {
				t.Errorf("%s: %q, want %q", f.Rule, got, want[f.Rule])
			}
		}
	}
	var full Tree
	for i := range maxNames {
		full.Add(fmt.Sprint(i, strings.Repeat("n", 2*maxNameBytes/maxNames), ".exe"), report.File, false, inspect("a.exe", program))
	}
	full.Add("a long one "+strings.Repeat("n", report.MaxFindingPath), report.File, false, inspect("a.exe", program))
	for _, f := range full.Finish("0" + strings.Repeat("n", 2*maxNameBytes/maxNames)) {
		if len(full.Where(f)) > report.MaxFindingPath {
			t.Errorf("%s: a path of %d bytes", f.Rule, len(full.Where(f)))
		}
	}
	if full.text > maxNameBytes {
		t.Errorf("%d bytes of names are kept", full.text)
	}
}

func TestDICOMFileSetsAreHeldAgainstTheirDirectory(t *testing.T) {
	image := anImage()
	dir := aDICOMDIR(`DICOM\IM1`, `DICOM\IM2`)
	both := []placed{{"DICOM/IM1", image}, {"DICOM/IM2", image}}
	tests := []struct {
		name  string
		items []placed
		want  string
	}{
		{"as it should be", append([]placed{{"DICOMDIR", dir}}, both...), ""},
		{"other papers beside it", append([]placed{{"DICOMDIR", dir}, {"REPORT.PDF", aPDF()}, {"Letters/a.pdf", aPDF()}}, both...), ""},
		{"names in small letters", []placed{{"dicomdir", dir}, {"dicom/im1", image}, {"dicom/im2", image}}, ""},
		{"an image is missing", []placed{{"DICOMDIR", dir}, {"DICOM/IM1", image}}, "dicomdir-missing"},
		{"an image is none", []placed{{"DICOMDIR", dir}, {"DICOM/IM1", image}, {"DICOM/IM2", prose}}, "dicomdir-missing dicomdir-foreign"},
		{"an image that nobody names", append([]placed{{"DICOMDIR", dir}, {"DICOM/IM3", image}}, both...), "dicomdir-extra"},
		{"another file among the images", append([]placed{{"DICOMDIR", dir}, {"DICOM/readme.txt", prose}}, both...), "dicomdir-foreign"},
		{"a viewer", append([]placed{{"DICOMDIR", dir}, {"Viewer/view.exe", aPE()}}, both...), "viewer"},
		{"a viewer that starts by itself", append([]placed{{"DICOMDIR", dir}, {"autorun.inf", "[autorun]\nopen=view.exe\n"}, {"view.exe", aPE()}}, both...), "root-program viewer"},
		{"names that are too long", []placed{{"DICOMDIR", aDICOMDIR(`IMAGES_OF_TODAY\IM1`)}, {"IMAGES_OF_TODAY/IM1", image}}, "dicomdir-names"},
		{"names in small letters in the directory", []placed{{"DICOMDIR", aDICOMDIR(`dicom\im1`)}, {"dicom/im1", image}}, "dicomdir-names"},
		{"nine components", []placed{{"DICOMDIR", aDICOMDIR(`A\B\C\D\E\F\G\H\I`)}, {"A/B/C/D/E/F/G/H/I", image}}, "dicomdir-names"},
		{"a directory that breaks off", append([]placed{{"DICOMDIR", dir[:len(dir)-3]}}, both...), "dicomdir-damaged"},
		{"a directory in another folder", append([]placed{{"copy/DICOMDIR", dir}}, both...), ""},
		{"no directory", both, ""},
		{"what is no DICOM object", append([]placed{{"DICOMDIR", prose}}, both...), ""},
	}
	for _, tt := range tests {
		var tree Tree
		addAll(&tree, tt.items)
		if got := found(tree.Finish("")); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// What the demonstration calls clean is quiet here too, item by item and as a whole.
func TestCleanStickIsQuiet(t *testing.T) {
	var tree Tree
	for _, f := range stick.CleanFiles() {
		if f.Dir {
			tree.Add(f.Path, report.Directory, false, Result{})
			continue
		}
		res := inspect(f.Path, string(f.Data))
		if len(res.Findings) > 0 {
			t.Errorf("%s: %s", f.Path, found(res.Findings))
		}
		tree.Add(f.Path, report.File, false, res)
	}
	if f := tree.Finish("TEST STUDY"); len(f) > 0 || tree.set == nil || len(tree.set.files) != 12 {
		t.Errorf("%s; directory %+v", found(f), tree.set)
	}
}

func TestT24_TreesAreBoundedAndSaySo(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	program, image := inspect("a.exe", aPE()), inspect("a", anImage())
	var tree Tree
	for i := range maxFolders + 50_000 {
		tree.Add(fmt.Sprintf("d/%d", i), report.Directory, false, Result{})
		tree.Add(fmt.Sprintf("e/%d.exe", i), report.File, false, program)
		tree.Add(fmt.Sprintf("f/%d", i), report.File, false, image)
	}
	if got := found(tree.Finish("")); got != "tree-limit" {
		t.Errorf("%q", got)
	}
	var full Tree
	for i := range maxTop + 1 {
		full.Add(fmt.Sprint(i), report.Directory, false, Result{})
	}
	full.Add("top.exe", report.File, false, program)
	if got := found(full.Finish("")); got != "root-program root-limit" {
		t.Errorf("%q", got)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > 40<<20 {
		t.Errorf("%d MiB are kept", used>>20)
	}
	runtime.KeepAlive(&tree)
	runtime.KeepAlive(&full)
}
