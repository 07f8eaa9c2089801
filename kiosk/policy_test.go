package kiosk

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pratique/kiosk/exception"
	"pratique/rules"
	"pratique/rules/baseline"
	"pratique/scanner/report"
	"pratique/scanner/structure"
	"pratique/testdata/stick"
)

// What is put on media below. Each is only as real as its signature needs, and none does anything.

func program() []byte {
	b := make([]byte, 600)
	copy(b, "MZ")
	binary.LittleEndian.PutUint32(b[0x3C:], 128)
	copy(b[128:], "PE\x00\x00\x64\x86")
	return b
}

func zipOf(names ...string) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range names {
		w, _ := z.CreateHeader(&zip.FileHeader{Name: name}) // memory takes every write
		w.Write([]byte("content of " + name))
	}
	z.Close()
	return b.Bytes()
}

func lockedZIP() []byte {
	b := zipOf("secret.txt")
	b[6] |= 1
	b[bytes.Index(b, []byte("PK\x01\x02"))+8] |= 1
	return b
}

// folderLink is a shortcut to a folder, without a command.
func folderLink() []byte {
	b := make([]byte, 76, 84)
	copy(b, "\x4C\x00\x00\x00\x01\x14\x02\x00\x00\x00\x00\x00\xC0\x00\x00\x00\x00\x00\x00\x46")
	b[20] = 0x88 // names are in UTF-16, and there is a relative one
	b[24] = 0x10 // a folder
	b[60] = 1
	b = append(b, 3, 0)
	for _, c := range []byte("abc") {
		b = append(b, c, 0)
	}
	return append(b, 0, 0, 0, 0)
}

func discImage() []byte {
	b := make([]byte, 36<<10)
	copy(b[32<<10:], "\x01CD001\x01")
	return b
}

func study() []stick.File {
	return stick.DICOM([]stick.Study{{Patient: "TESTPATIENT^POLICY", ID: "TEST-0009", Slices: 2, Side: 16, Number: 9}})
}

// screened is the report of a medium that holds these files, by the scanner's own checks.
func screened(files []stick.File) report.Report {
	rep := clean()
	rep.Types, rep.Tally = map[string]uint64{}, report.Tally{}
	var tree structure.Tree
	for _, f := range files {
		it := report.Item{Path: f.Path, Kind: report.File, Size: int64(len(f.Data)), Outcome: report.Clean}
		if f.Dir {
			it.Kind = report.Directory
		}
		res := structure.Inspect(structure.Content{Path: f.Path, Kind: it.Kind, Head: f.Data, Size: it.Size})
		tree.Add(f.Path, it.Kind, false, res)
		it.Type, it.Findings = structure.Identify(f.Data, nil, it.Size).Type, res.Findings
		switch {
		case res.Encrypted:
			it.Outcome = report.Encrypted
		case len(it.Findings) > 0:
			it.Outcome = report.Flagged
		}
		rep.Tally.Count(&it)
		if it.Kind == report.File {
			rep.Types[it.Type]++
		}
		if it.Outcome != report.Clean {
			rep.NotClean = append(rep.NotClean, it)
		}
	}
	for _, f := range tree.Finish("STICK") {
		rep.Found = append(rep.Found, report.VolumeFinding{Finding: f})
	}
	return rep
}

func file(path string, data []byte) []stick.File { return []stick.File{{Path: path, Data: data}} }

// The classes that ship, and what each says to each kind of content: c cleared, n not cleared, u could not check.
func TestShippedClassesDecideByKindOfContent(t *testing.T) {
	classes := []string{"general", "imaging", "laboratory", "infusion"}
	for _, c := range []struct {
		name  string
		files []stick.File
		want  string // by class
		words string // of the reason for the imaging class
	}{
		{"nothing but a text", file("notes.txt", []byte("Nothing to see.\n")), "cccc", ""},
		{"a list", file("drugs.csv", []byte("name,dose\nsaline,1\nglucose,2\nwater,3\n")), "cncc", "type text/csv"},
		{"an empty file", file("empty.txt", nil), "cccc", ""},
		{"a study with its directory", study(), "ccnn", ""},
		{"a PDF", file("report.pdf", stick.PDF("no finding")), "cccn", ""},
		{"a photograph", file("wound.jpg", stick.JPEG(32, 32, 1)), "cccn", ""},
		{"a letter", file("letter.docx", stick.DOCX("test")), "cnnn", "wordprocessingml"},
		{"an archive", file("papers.zip", zipOf("a.txt", "b.txt")), "cnnn", "Archives are not allowed"},
		{"a locked archive", file("secret.zip", lockedZIP()), "unnn", "Encrypted files and volumes are not allowed"},
		{"a document with macros", file("list.docm", zipOf("[Content_Types].xml", "word/document.xml", "word/vbaProject.bin")), "cnnn", "Documents with macros are not allowed"},
		{"a program", file("Setup/setup.exe", program()), "cnnn", "Programs are not allowed"},
		{"a disguised program", file("report.pdf", program()), "nnnn", "Programs are not allowed"},
		{"a script", file("tools/do.sh", []byte("#!/bin/sh\nls\n")), "cnnn", "Scripts are not allowed"},
		{"a script by name", file("tools/do.vbs", []byte("hello\n")), "cnnn", "Scripts are not allowed"},
		{"a shortcut", file("link/here.lnk", folderLink()), "cnnn", "Shortcuts are not allowed"},
		{"a disc's image", file("cd/disc.iso", discImage()), "cnnn", "Disk images are not allowed"},
		{"a study with a viewer", append(study(), stick.File{Path: "VIEWER/VIEW.EXE", Data: program()}), "cnnn", "Programs on a medium of images (viewers) are not allowed"},
		{"an autorun.inf", file("autorun.inf", []byte("[autorun]\r\nopen=view.exe\r\n")), "nnnn", "Media that start a program by themselves (autorun.inf) are not allowed"},
		{"a polyglot", file("scan.gif", append([]byte("GIF89a\x10\x00\x10\x00\x80\x00\x00"), append(make([]byte, 60), zipOf("META-INF/MANIFEST.MF", "a.class")...)...)), "nnnn", ""},
	} {
		rep := screened(c.files)
		for i, class := range classes {
			d := Decide(&rep, policy(t, class), exception.Set{})
			if got := map[Verdict]byte{Cleared: 'c', NotCleared: 'n', CouldNotCheck: 'u'}[d.Verdict]; got != c.want[i] {
				t.Errorf("%s for %s: %v %v\n\tfindings %v %v", c.name, class, d.Verdict, d.Reasons, rep.NotClean, rep.Found)
			}
			text := fmt.Sprint(d.Reasons)
			if class == "imaging" && (!strings.Contains(text, c.words) || strings.Contains(c.words, "not allowed") && !strings.Contains(text, `for class "imaging"`)) {
				t.Errorf("%s: %s, want %q", c.name, text, c.words)
			}
		}
	}
}

// Whatever a policy says, encrypted content is not cleared: in a file, in a volume, or only by what was found.
func TestT25_NoPolicyClearsWhatIsEncrypted(t *testing.T) {
	for _, setting := range []string{"", `encrypted = "refuse"`, `encrypted = "could not check"`} {
		p, err := rules.ParsePolicy([]byte("class = \"x\"\nallow_types = [\"*\"]\narchives = \"allow\"\n" + setting + "\n[severity]\n\"structure/*\" = \"inform\"\n\"volume/*\" = \"inform\"\n"))
		if err != nil {
			t.Fatal(err)
		}
		want := NotCleared
		if strings.Contains(setting, "could") {
			want = CouldNotCheck
		}
		for name, spoilt := range map[string]func(*report.Report){
			"a file":   func(r *report.Report) { spoil(r, report.Encrypted) },
			"a volume": func(r *report.Report) { r.Volumes[0].Outcome = report.Encrypted },
			"found in a file that was seen": func(r *report.Report) {
				spoil(r, report.Flagged, report.Finding{Check: report.CheckStructure, Rule: "encrypted-content", Severity: report.Warn})
			},
			"found by a reader": func(r *report.Report) {
				spoil(r, report.Flagged, report.Finding{Check: report.CheckVolume, Rule: "encrypted", Severity: report.Inform})
			},
		} {
			rep := clean()
			spoilt(&rep)
			d := Decide(&rep, p, exception.Set{})
			if d.Verdict != want || d.Reasons[0].Code != Encrypted {
				t.Errorf("%s, %s: %v %v", setting, name, d.Verdict, d.Reasons)
			}
		}
	}
}

// choose is one of a list.
func choose[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

var (
	somePatterns = []string{"*", "text/*", "text/plain", "image/*", "image/png", "image/j*", "application/pdf", "application/*"}
	someTypes    = []string{"text/plain; charset=utf-8", "text/csv", "image/png", "image/jpeg", "application/pdf", "application/zip", "application/x-elf",
		"text/x-shellscript", "application/x-ms-shortcut", "application/x-iso9660-image", "other", "unknown", ""}
	someFindings = []report.Finding{
		{Check: report.CheckStructure, Rule: "executable", Severity: report.Warn}, {Check: report.CheckStructure, Rule: "script", Severity: report.Warn},
		{Check: report.CheckStructure, Rule: "macro", Severity: report.Warn}, {Check: report.CheckStructure, Rule: "viewer", Severity: report.Warn},
		{Check: report.CheckStructure, Rule: "autorun"}, {Check: report.CheckStructure, Rule: "polyglot"}, {Check: report.CheckStructure, Rule: "check-failed"},
		{Check: report.CheckStructure, Rule: "encrypted-content", Severity: report.Warn}, {Check: report.CheckStructure, Rule: "web-link", Severity: report.Inform},
		{Check: report.CheckVolume, Rule: "lost-clusters", Severity: report.Inform}, {Check: report.CheckVolume, Rule: "name-twice", Severity: report.Warn},
		{Check: report.CheckMedium, Rule: "boot-code", Severity: report.Inform}, {Check: report.CheckMedium, Rule: "medium-changes"},
		{Check: report.CheckYARA, Rule: "some_rule", Severity: report.Warn}, {Check: report.CheckYARA, Rule: "another"}, {Check: report.CheckBlocklist, Rule: "blocklist"},
	}
	someKeys = []string{"structure/polyglot", "structure/web-link", "structure/*", "volume/lost-clusters", "volume/name-twice", "volume/*",
		"medium/boot-code", "medium/*", "yara/some_rule", "yara/*", "blocklist/blocklist"}
)

// someStances are words for settings, each there or not.
func someStances(r *rand.Rand) rules.Stances {
	word := func() string { return choose(r, "", "refuse", "warn", "allow") }
	return rules.Stances{Executables: word(), Scripts: word(), Macros: word(), Viewers: word(), Autorun: word(), Shortcuts: word(), DiskImages: word(),
		Archives: choose(r, "", "refuse", "allow"), Encrypted: choose(r, "", "refuse", "could not check")}
}

func somePolicy(t *testing.T, r *rand.Rand) rules.Policy {
	t.Helper()
	s := someStances(r)
	var b strings.Builder
	fmt.Fprintf(&b, "class = \"x\"\ntoken_hours = %d\nallow_types = [%q]\ndeny_types = [%q]\n", 1+r.IntN(72), choose(r, somePatterns...), choose(r, "a/b", choose(r, somePatterns...)))
	for key, word := range map[string]string{"executables": s.Executables, "scripts": s.Scripts, "macros": s.Macros, "viewers": s.Viewers, "autorun": s.Autorun,
		"shortcuts": s.Shortcuts, "disk_images": s.DiskImages, "archives": s.Archives, "encrypted": s.Encrypted} {
		if word != "" {
			fmt.Fprintf(&b, "%s = %q\n", key, word)
		}
	}
	b.WriteString("[severity]\n")
	for _, key := range someKeys {
		if r.IntN(3) == 0 {
			fmt.Fprintf(&b, "%q = %q\n", key, choose(r, "block", "warn", "inform"))
		}
	}
	p, err := rules.ParsePolicy([]byte(b.String()))
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	return p
}

// someTightening asks for one to four things, of which any may be looser than the policy.
func someTightening(r *rand.Rand) rules.Tightening {
	var out rules.Tightening
	for range 1 + r.IntN(4) {
		switch r.IntN(5) {
		case 0:
			n := int64(1 + r.IntN(72))
			out.Hours = &n
		case 1:
			out.Allow = []string{choose(r, somePatterns...)}
		case 2:
			out.Deny = []string{choose(r, somePatterns...)}
		case 3:
			out.Severity = map[string]string{choose(r, someKeys...): choose(r, "block", "warn", "inform")}
		default:
			all, one := someStances(r), rules.Stances{}
			switch r.IntN(4) {
			case 0:
				one.Executables = all.Executables
			case 1:
				one.Archives, one.Macros = all.Archives, all.Macros
			case 2:
				one.Encrypted, one.Viewers = all.Encrypted, all.Viewers
			default:
				one.Scripts, one.Autorun = all.Scripts, all.Autorun
			}
			out.Stances = one
		}
	}
	return out
}

func someReport(r *rand.Rand) report.Report {
	rep := clean()
	rep.Types = map[string]uint64{}
	for range r.IntN(3) {
		rep.Types[choose(r, someTypes...)]++
	}
	for range r.IntN(3) {
		spoil(&rep, choose(r, report.Flagged, report.Flagged, report.Flagged, report.Encrypted, report.Unreadable), choose(r, someFindings...))
	}
	if r.IntN(3) == 0 {
		rep.Found = append(rep.Found, report.VolumeFinding{Finding: choose(r, someFindings...)})
	}
	return rep
}

// Whatever a policy refuses, it refuses however a station tightens it, again and again.
func TestI4_TighteningNeverClearsMore(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	tightened, refused, stricter := 0, 0, 0
	for range 5_000 {
		before := somePolicy(t, r)
		after, steps := before, 0
		for range 6 {
			if tight, err := after.Tighten(someTightening(r)); err == nil {
				after, steps = tight, steps+1
			}
		}
		if steps == 0 {
			continue
		}
		tightened++
		if after.Life > before.Life {
			t.Fatalf("clearances live %v instead of %v", after.Life, before.Life)
		}
		for range 8 {
			rep := someReport(r)
			was, is := Decide(&rep, before, exception.Set{}), Decide(&rep, after, exception.Set{})
			if was.Verdict != Cleared {
				refused++
			} else if is.Verdict != Cleared {
				stricter++
			}
			if was.Verdict != Cleared && is.Verdict == Cleared || was.Verdict == NotCleared && is.Verdict != NotCleared {
				t.Fatalf("%+v\n%+v\n%+v\nbecame %v from %v", rep, before, after, is, was)
			}
		}
	}
	if tightened < 1_000 || refused < 2_000 || stricter < 200 {
		t.Errorf("%d policies tightened, %d reports refused, %d refused by the tightening alone: that tries little", tightened, refused, stricter)
	}
}

// The reason that a person reads is the setting that the security officer wrote, once, whatever else was found.
func TestReasonsNameTheSettingThatRefused(t *testing.T) {
	pack, err := baseline.Pack()
	if err != nil {
		t.Fatal(err)
	}
	tight, err := pack.Tighten(map[string]rules.Tightening{
		"general":  {Stances: rules.Stances{Executables: "refuse"}, Deny: []string{"application/zip"}},
		"ward-7":   {Base: "general"},
		"my-infus": {Base: "infusion", Severity: map[string]string{"structure/web-link": "block"}},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		class string
		files []stick.File
		want  []Reason
	}{
		{"general", append(file("a.exe", program()), file("b.exe", program())...), []Reason{{ContentRefused, `Programs are not allowed for class "general".`}}},
		{"ward-7", append(file("a.exe", program()), file("b.zip", zipOf("a"))...), []Reason{
			{ContentRefused, `Programs are not allowed for class "ward-7".`}, {TypeNotAllowed, `1 file of type application/zip: not allowed for class "ward-7".`}}},
		{"my-infus", file("page.url", []byte("[InternetShortcut]\r\nURL=https://example.com/\r\n")), []Reason{{StructureFinding, "1 item is disguised or built to do harm."}}},
	} {
		rep := screened(c.files)
		if d := Decide(&rep, tight.Policies[c.class], exception.Set{}); d.Verdict != NotCleared || !slices.Equal(d.Reasons, c.want) {
			t.Errorf("%s: %v %q\n\t%v", c.class, d.Verdict, d.Reasons, rep.NotClean)
		}
	}
}

func TestScanIsRunAsTheStationSays(t *testing.T) {
	cfg := tools{}.config(Screening{Slots: 3, RequireNamespaces: true, Deep: true})
	if cfg.Slots != 3 || !cfg.RequireNamespaces || !cfg.Deep {
		t.Errorf("%+v", cfg)
	}
	if cfg = (tools{}).config(Screening{}); cfg.Slots < 1 || cfg.RequireNamespaces {
		t.Errorf("%+v", cfg)
	}
}
