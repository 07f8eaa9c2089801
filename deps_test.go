// Package pratique_test holds what is true of the whole tree: who may import whom.
package pratique_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// plan is the import table: for each package what it may import besides the standard library. Names of this module are
// written without its prefix. A package that is not here fails the test: a new room is a visible decision.
var plan = map[string][]string{
	"kiosk":              {"kiosk/audit", "kiosk/clearance", "kiosk/localapi", "kiosk/sealed", "kiosk/staff", "kiosk/trial", "kiosk/usb/lun", "kiosk/worker", "rules", "rules/blocklist", "rules/pack", "scanner/carry", "scanner/report", "golang.org/x/sys", "golang.org/x/mod", "kiosk/exception", "kiosk/audit/export"},
	"kiosk/audit":        {"kiosk/clearance", "scanner/report", "github.com/mattn/go-sqlite3", "github.com/fxamacker/cbor/v2", "golang.org/x/mod", "golang.org/x/sys"},
	"kiosk/audit/export": {"kiosk/audit", "kiosk/audit/export/pdf"},
	"kiosk/clearance":    {"scanner/report", "github.com/fxamacker/cbor/v2", "github.com/veraison/go-cose", "filippo.io/mldsa", "golang.org/x/mod", "github.com/skip2/go-qrcode"},
	"kiosk/clearcheck":   {"kiosk/clearance", "kiosk/sealed", "scanner/report", "scanner/volume", "scanner/volume/readers", "golang.org/x/sync", "golang.org/x/sys"},
	"kiosk/config":       {"kiosk/localapi", "kiosk/usb", "rules", "github.com/BurntSushi/toml"},
	"kiosk/keyhelper":    {"rules/p11", "scanner/frame", "github.com/miekg/pkcs11"},
	"kiosk/keys":         {"kiosk/clearance", "rules/p11", "scanner/frame", "filippo.io/mldsa", "github.com/google/go-tpm", "golang.org/x/crypto"},
	"kiosk/exception":    {"kiosk/audit", "rules", "rules/feed", "scanner/report"},
	"kiosk/localapi":     {"scanner/frame", "golang.org/x/sys"},
	"kiosk/pratique":     {"kiosk", "kiosk/audit", "kiosk/clearance", "kiosk/config", "kiosk/exception", "kiosk/keys", "kiosk/localapi", "kiosk/staff", "kiosk/usb", "rules", "rules/baseline", "rules/pack", "scanner/report", "golang.org/x/mod", "golang.org/x/sys", "golang.org/x/term", "kiosk/audit/export", "kiosk/audit/forward"},
	"kiosk/pratiqued":    {"kiosk", "kiosk/audit", "kiosk/clearance", "kiosk/config", "kiosk/exception", "kiosk/keys", "kiosk/localapi", "kiosk/source", "kiosk/staff", "kiosk/usb", "rules", "rules/baseline", "rules/pack", "golang.org/x/sys", "kiosk/audit/export"},
	"kiosk/sealed":       {}, // how a session's manifest lies on the disk
	"kiosk/source":       {"golang.org/x/sys", "github.com/fsnotify/fsnotify"},
	"kiosk/staff":        {"golang.org/x/crypto", "golang.org/x/sys", "github.com/BurntSushi/toml"},
	"kiosk/trial":        {"rules", "scanner/report"},
	"kiosk/usb":          {"kiosk/usb/gate", "golang.org/x/sys"},
	"kiosk/usb/bot":      {"kiosk/usb/lun", "scanner/blocks", "github.com/google/gousb"},
	"kiosk/usb/gate":     {},
	"kiosk/usb/lun":      {}, // what usbreader and its supervisor agree on
	"kiosk/usb/usbtest":  {},
	"kiosk/usbgate":      {"kiosk/usb/gate", "scanner/sandbox", "golang.org/x/sys"},
	"kiosk/usbreader":    {"kiosk/usb/bot", "kiosk/usb/lun", "scanner/blocks", "scanner/frame", "scanner/probe", "scanner/sandbox", "scanner/sandbox/early", "golang.org/x/sys"},
	"kiosk/worker":       {"kiosk/usb/lun", "scanner/blocks", "scanner/carry", "scanner/frame", "scanner/probe", "scanner/report", "scanner/sandbox", "scanner/slot", "golang.org/x/sys"},
	"rules":              {"scanner/report", "github.com/BurntSushi/toml"},
	"rules/baseline":     {"rules"},
	"rules/blocklist":    {"golang.org/x/sys"},
	"rules/check":        {"rules", "rules/blocklist", "rules/split", "rules/yara", "scanner/report", "scanner/slot", "scanner/structure", "golang.org/x/sys", "github.com/BurntSushi/toml"},
	"rules/feed":         {},
	"rules/p11":          {"scanner/frame"}, // what keyhelper and its users agree on
	"rules/pack":         {"rules", "scanner/report", "github.com/theupdateframework/go-tuf/v2", "github.com/secure-systems-lab/go-securesystemslib"},
	"rules/rulepack":     {"rules", "rules/baseline", "rules/check", "rules/feed", "rules/p11", "rules/pack", "scanner/slot", "golang.org/x/crypto", "golang.org/x/term"},
	"rules/split":        {"scanner/slot"},
	"rules/yara":         {"rules", "rules/split", "scanner/report", "scanner/slot", "github.com/hillu/go-yara/v4"},
	"scanner":            {"rules/blocklist", "scanner/carry", "scanner/container", "scanner/frame", "scanner/report", "scanner/slot", "scanner/structure", "scanner/volume", "scanner/volume/readers", "golang.org/x/sys"},
	"scanner/blocks":     {"golang.org/x/sys"},
	"scanner/container":  {"scanner/container/lz", "scanner/container/lzma", "scanner/container/ole", "scanner/container/pdf", "scanner/report", "scanner/volume", "scanner/volume/readers", "github.com/klauspost/compress", "github.com/nwaples/rardecode/v2", "github.com/pierrec/lz4/v4", "golang.org/x/text"},
	"scanner/carry":      {}, // what scanworker and its supervisor agree on
	"scanner/frame":      {"github.com/fxamacker/cbor/v2"},
	"scanner/probe":      {"scanner/frame", "scanner/sandbox", "golang.org/x/sys"},
	"scanner/report":     {"scanner/frame"},
	"scanner/sandbox":    {"golang.org/x/sys"},
	"scanner/slot":       {"scanner/report"},
	"scanner/structure":  {"scanner/report", "github.com/gabriel-vasile/mimetype"},
	"scanner/scanworker": {"rules/blocklist", "scanner", "scanner/blocks", "scanner/carry", "scanner/frame", "scanner/probe", "scanner/report", "scanner/sandbox", "scanner/volume", "golang.org/x/sys"},
	"scanner/yaraworker": {"rules", "rules/yara", "scanner/frame", "scanner/probe", "scanner/sandbox", "scanner/sandbox/early", "scanner/slot", "golang.org/x/sys"},

	"scanner/container/lz":   {},
	"scanner/container/lzma": {},
	"scanner/container/ole":  {},
	"scanner/container/pdf":  {"github.com/klauspost/compress"},
	"kiosk/audit/export/pdf": {},
	"kiosk/audit/forward":    {}, // the one room that opens a connection to another machine

	"scanner/sandbox/early": {}, // C, for yaraworker and usbreader alone

	"scanner/volume":            {"scanner/report", "golang.org/x/text"},
	"scanner/volume/fat":        {"scanner/report", "scanner/volume", "golang.org/x/text"},
	"scanner/volume/exfat":      {"scanner/report", "scanner/volume", "golang.org/x/text"},
	"scanner/volume/ntfs":       {"scanner/report", "scanner/volume"},
	"scanner/volume/ext":        {"scanner/report", "scanner/volume"},
	"scanner/volume/iso9660":    {"scanner/report", "scanner/volume"},
	"scanner/volume/udf":        {"scanner/report", "scanner/volume"},
	"scanner/volume/readers":    {"scanner/report", "scanner/volume", "scanner/volume/fat", "scanner/volume/exfat", "scanner/volume/ext", "scanner/volume/iso9660", "scanner/volume/ntfs", "scanner/volume/udf"},
	"scanner/volume/volumetest": {"scanner/report", "scanner/volume"},

	"ui":         {"kiosk/localapi"},
	"ui/draw":    {"ui", "fyne.io/fyne/v2", "github.com/skip2/go-qrcode"},
	"ui/kioskui": {"kiosk/localapi", "ui", "ui/draw", "ui/receipt", "ui/sound", "fyne.io/fyne/v2"},
	"ui/receipt": {"ui", "github.com/skip2/go-qrcode", "golang.org/x/image"},
	"ui/samples": {"kiosk/localapi", "ui"}, // for tests and pictures
	"ui/sound":   {"ui"},

	"testdata/e2e":           {"kiosk/clearance", "testdata/e2e/usbdevice", "testdata/e2e/usbredir", "testdata/e2e/wire", "testdata/stick"},
	"testdata/e2e/agent":     {"testdata/e2e/wire", "golang.org/x/sys"},
	"testdata/e2e/person":    {"kiosk/localapi", "golang.org/x/sys"},
	"testdata/e2e/pest":      {"kiosk/localapi"},
	"testdata/e2e/usbdevice": {},
	"testdata/e2e/usbredir":  {"testdata/e2e/usbdevice"},
	"testdata/e2e/usbspeed":  {"kiosk/worker", "scanner/blocks", "golang.org/x/sys"},
	"testdata/e2e/usbwatch":  {"kiosk/usb"},
	"testdata/e2e/wire":      {},

	"testdata/bench":    {"scanner", "scanner/frame", "scanner/report", "scanner/slot", "scanner/volume", "scanner/volume/readers", "scanner/volume/volumetest", "testdata/stick"},
	"testdata/packs":    {"rules", "rules/pack"},
	"testdata/stick":    {},
	"testdata/swtpm":    {},
	"testdata/mksticks": {"testdata/stick"},
	"testdata/nightly":  {},
}

// cgoFree are the programs and packages that must build without a C compiler: what reads hostile bytes and decides, and
// what runs on the medical device's side.
var cgoFree = []string{"./kiosk/clearance", "./kiosk/clearcheck", "./kiosk/keys", "./kiosk/trial", "./kiosk/usb/gate", "./kiosk/usbgate", "./rules", "./rules/baseline", "./rules/blocklist", "./rules/feed", "./rules/pack", "./scanner", "./scanner/container", "./scanner/scanworker", "./scanner/structure"}

type pkg struct {
	ImportPath string
	Imports    []string
	CgoFiles   []string
	Standard   bool
}

func list(t *testing.T, env []string, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,CgoFiles,Standard"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(out); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return pkgs
}

func TestImportsFollowThePlan(t *testing.T) {
	const module = "pratique/"
	seen := map[string]bool{}
	for _, p := range list(t, nil, "./kiosk/...", "./scanner/...", "./rules/...", "./ui/...", "./testdata/stick", "./testdata/swtpm", "./testdata/mksticks", "./testdata/bench", "./testdata/packs", "./testdata/nightly", "./testdata/e2e/...") {
		name := strings.TrimPrefix(p.ImportPath, module)
		seen[name] = true
		allowed, ok := plan[name]
		if !ok {
			t.Errorf("%s is not in the plan: say who may use it and what it may use", name)
			continue
		}
		for _, imp := range p.Imports {
			if !strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") && !strings.HasPrefix(imp, module) {
				continue // the standard library, and "C"
			}
			short := strings.TrimPrefix(imp, module)
			if !slices.ContainsFunc(allowed, func(a string) bool {
				return short == a || !strings.HasPrefix(imp, module) && strings.HasPrefix(short, a+"/")
			}) {
				t.Errorf("%s imports %s, which the plan does not allow", name, short)
			}
		}
	}
	for name := range plan {
		if !seen[name] {
			t.Errorf("%s is in the plan but not in the tree", name)
		}
	}
}

func TestNoCInWhatReadsMediaAndDecides(t *testing.T) {
	for _, p := range list(t, []string{"CGO_ENABLED=1"}, append([]string{"-deps"}, cgoFree...)...) {
		if len(p.CgoFiles) > 0 && !p.Standard {
			t.Errorf("%s uses cgo", p.ImportPath)
		}
	}
}

// Only Go's own library and golang.org/x may be linked into what parses volumes.
func TestVolumeReadersHaveNoForeignDependency(t *testing.T) {
	for _, p := range list(t, nil, "-deps", "./scanner/volume/readers") {
		if p.Standard || strings.HasPrefix(p.ImportPath, "pratique/") || strings.HasPrefix(p.ImportPath, "golang.org/x/") {
			continue
		}
		// the report's codec is the one exception: it is how results leave, and no byte of a medium enters it unbounded
		if p.ImportPath == "github.com/fxamacker/cbor/v2" || p.ImportPath == "github.com/x448/float16" {
			continue
		}
		t.Errorf("%s is linked into the volume readers", p.ImportPath)
	}
}

// The one package that opens a connection to another machine is linked into the command line and nothing else: no program that
// runs by itself has it.
func TestT22_NoProgramThatRunsByItselfLinksAWayOut(t *testing.T) {
	for program, want := range map[string]bool{"pratique": true, "pratiqued": false, "usbgate": false, "usbreader": false, "keyhelper": false, "clearcheck": false} {
		linked := false
		for _, p := range list(t, []string{"CGO_ENABLED=1"}, "-deps", "./kiosk/"+program) {
			linked = linked || p.ImportPath == "pratique/kiosk/audit/forward"
		}
		if linked != want {
			t.Errorf("%s links package forward: %v", program, linked)
		}
	}
}

// Each test that SECURITY.md names exists, and each test that is named after a threat is claimed there.
func TestThreatTrace(t *testing.T) {
	text, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	claimed := map[string]bool{}
	for _, name := range regexp.MustCompile("`(Test[TI][0-9]+_[A-Za-z0-9_]+)`").FindAllStringSubmatch(string(text), -1) {
		claimed[name[1]] = true
	}
	written := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (TestT[0-9]+_[A-Za-z0-9_]+)\(`)
	err = filepath.WalkDir(".", func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		code, err := os.ReadFile(name)
		for _, m := range declared.FindAllStringSubmatch(string(code), -1) {
			written[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range claimed {
		if !written[name] {
			t.Errorf("SECURITY.md claims %s, which does not exist", name)
		}
	}
	for name := range written {
		if !claimed[name] {
			t.Errorf("%s attacks a threat that SECURITY.md does not claim", name)
		}
	}
}

// Every package says what it does, and no source names a path of the machine that it was written on.
func TestHouseRules(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, top := range []string{"kiosk", "scanner", "rules", "ui", "packaging", "testdata"} {
		err := filepath.WalkDir(top, func(name string, d os.DirEntry, err error) error {
			if errors.Is(err, os.ErrNotExist) && name == top {
				return filepath.SkipDir // a room that is not built yet
			}
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			if strings.Contains(string(text), here+"/") {
				t.Errorf("%s names the folder that it was built in", name)
			}
			if strings.HasSuffix(name, ".go") && strings.Contains(string(text), "\nfunc init()") {
				t.Errorf("%s has an init function", name)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range list(t, nil, "./kiosk/...", "./scanner/...", "./rules/...", "./ui/...") {
		cmd := exec.Command("go", "doc", p.ImportPath)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", p.ImportPath, err, out)
		}
		first, _, _ := strings.Cut(string(out), "\n\n")
		if lines := strings.Split(string(out), "\n"); !strings.HasPrefix(first, "package ") || len(lines) < 3 || strings.TrimSpace(lines[2]) == "" {
			if !strings.HasPrefix(first, "Command ") && !strings.HasPrefix(first, "package ") && len(first) < 20 {
				t.Errorf("%s has no package comment", p.ImportPath)
			}
		}
	}
}
