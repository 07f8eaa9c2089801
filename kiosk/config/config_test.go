package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"pratique/kiosk/worker"
	"pratique/rules"
	"pratique/rules/baseline"
)

const full = `
[station]
name = "Radiology 2"
site = "Example Hospital"
contact = "IT security, 4711"

[scan]
require_namespaces = false
deep = true
workers = 2

[[port]]
path = "1-2"
name = "left"

[[port]]
path = "2-2"
name = "left"

[[port]]
path = "1-3.4"
name = "right"

[[device]]
port = "1-4"
digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
name = "touch screen"

[sources]
block_devices = ["/dev/sr0"]
watch = "/srv/incoming"

[class.imaging]
token_hours = 4
allow_types = ["application/dicom"]
deny_types = ["image/svg+xml"]
macros = "refuse"
[class.imaging.severity]
"volume/name-direction" = "block"

[class.my-ct]
base = "imaging"

[staff]
roster = "/etc/pratique/roster.toml"
idle_seconds = 90

[tokens]
max_hours = 3
`

func TestEveryKeyIsRead(t *testing.T) {
	got, err := Parse([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	four := int64(4)
	want := Config{
		Station: Station{Name: "Radiology 2", Site: "Example Hospital", Contact: "IT security, 4711"},
		Scan:    Scan{RequireNamespaces: false, Deep: true, Workers: 2},
		Ports:   []Port{{"1-2", "left"}, {"2-2", "left"}, {"1-3.4", "right"}},
		Devices: []Device{{"1-4", "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "touch screen"}},
		Sources: Sources{[]string{"/dev/sr0"}, "/srv/incoming"},
		Classes: map[string]Class{
			"imaging": {Hours: &four, Allow: []string{"application/dicom"}, Deny: []string{"image/svg+xml"},
				Severity: map[string]string{"volume/name-direction": "block"}, Stances: rules.Stances{Macros: "refuse"}},
			"my-ct": {Base: "imaging"},
		},
		Roster: "/etc/pratique/roster.toml",
		Idle:   90 * time.Second,
		Tokens: Tokens{3},
		lines:  map[string]int{"imaging": 33, "my-ct": 41},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	pack, err := baseline.Pack()
	if err != nil {
		t.Fatal(err)
	}
	tight, err := got.Apply(pack)
	if err != nil {
		t.Fatal(err)
	}
	for _, class := range []string{"imaging", "my-ct"} {
		if p := tight.Policies[class]; p.Allows("image/png") || !p.Allows("application/dicom") || p.Life != 3*time.Hour {
			t.Errorf("%s: %+v", class, p)
		}
	}
}

// A file of any kind insists on namespaces unless it says otherwise; no file asks for nothing.
func TestTheBusIsAsTheFileSays(t *testing.T) {
	digest := strings.Repeat("ab", 32)
	c, err := Parse([]byte("[[port]]\npath = \"1-2\"\nname = \"left\"\n[[port]]\npath = \"2-2\"\nname = \"left\"\n[[device]]\nport = \"1-4\"\nname = \"screen\"\ndigest = \"sha256:" + digest + "\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.USB()
	if err != nil || p.Media["1-2"] != "left" || p.Media["2-2"] != "left" || len(p.Own) != 1 || p.Own[0].Port != "1-4" || fmt.Sprintf("%x", p.Own[0].Digest) != digest {
		t.Errorf("%+v %v", p, err)
	}
	c.Devices[0].Digest = "sha256:ab"
	if _, err := c.USB(); !errors.Is(err, ErrConfig) {
		t.Errorf("half a digest: %v", err)
	}
	c.Devices[0].Digest, c.Devices[0].Port = "sha256:"+digest, "1-2.1"
	if _, err := c.USB(); !errors.Is(err, ErrConfig) {
		t.Errorf("a device of its own on a media port: %v", err)
	}
}

func TestDefaults(t *testing.T) {
	c, err := Parse(nil)
	if err != nil || !c.Scan.RequireNamespaces || c.Sources.Watch != "" || len(c.Sources.BlockDevices) > 0 {
		t.Errorf("an empty file: %+v, %v", c, err)
	}
	if d := Default(); d.Scan.RequireNamespaces || d.File != "" {
		t.Errorf("no file: %+v", d)
	}
	pack, err := baseline.Pack()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []Config{c, Default()} {
		if same, err := c.Apply(pack); err != nil || same.InForce() != pack.InForce() {
			t.Errorf("what asks for nothing changed the policy: %v", err)
		}
	}
}

func TestMistakesAreToldWithTheirLine(t *testing.T) {
	const device = "[[device]]\nport = \"1-4\"\nname = \"x\"\ndigest = \"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n"
	for text, want := range map[string]string{
		"\n[scna]\ndeep = true":                                     `line 2: there is no key "scna"`,
		"[scan]\ndeep = true\nfast = true":                          `line 3: there is no key "scan.fast"`,
		"[class.imaging]\nallow = []":                               `line 2: there is no key "class.imaging.allow"`,
		"[[port]]\npath = \"1-2\"\nname = \"a\"\nnumber = 1":        `line 4: there is no key`,
		"name = \"x\"":                                              `line 1: there is no key "name"`,
		"[scan]\nDeep = true":                                       `line 2: there is no key "scan.Deep"`,
		"[scan]\ndeep = true\n[Scan]\ndeep = false":                 `line 3: there is no key "Scan`,
		"[class.imaging]\nmacros = \"refuse\"\nMacros = \"refuse\"": `line 3: there is no key`,
		"[class.CT]\nbase = \"imaging\"":                            `small letters`,
		"[scan]\ndeep = 1":                                          "line 2",
		"[scan]\nworkers = \"two\"":                                 "line 2",
		"[scan]\nworkers = 33":                                      "line 2: workers: want 0 to 32",
		"[scan]\nworkers = -1":                                      "line 2: workers",
		"[scan]\nworkers = 99999999999999999999":                    "line 2",
		"[scan]\ndeep = true\ndeep = false":                         "line 3",
		"[scan]\n[scan]":                                            "line 2",
		"[class.imaging]\n[class.imaging]":                          "line 2",
		"[scan":                                                     "line 1",
		"[station]\nname = \"a\\u202Eb\"":                           "line 2: name: holds characters",
		"[station]\nsite = \" x\"":                                  "line 2: site: begins or ends",
		"[station]\nname = \"" + strings.Repeat("x", 65) + "\"":     "line 2: name: longer",
		"[[port]]\npath = \"usb1\"\nname = \"x\"":                   "line 1: port: path \"usb1\"",
		"[[port]]\npath = \"1-2\"":                                  "line 1: port: name: is missing",
		"[[port]]\npath = \"1-2\"\nname = \"a\"\n[[port]]\npath = \"1-2\"\nname = \"b\"":                                         "line 4: port: path \"1-2\" stands there twice",
		"[[port]]\npath = \"1-2\"\nname = \"a\"\n[[port]]\npath = \"1-3\"\nname = \"a\"":                                         "line 4: port: name \"a\" stands there twice",
		"[[port]]\npath = \"1-2\"\nname = \"a\"\n[[port]]\npath = \"2-2\"\nname = \"a\"\n[[port]]\npath = \"3-2\"\nname = \"a\"": "line 7: port: name \"a\" stands there twice",
		"[[port]]\npath = \"1-4\"\nname = \"a\"\n" + device:                                                                      "line 4: device: port \"1-4\" is one for media",
		device + device: "line 5: device: the device at port \"1-4\" stands there twice",
		strings.Replace(device, "sha256:", "sha1:", 1):                     "line 1: device: digest",
		strings.Replace(device, "0123456789abcdef", "0123456789ABCDEF", 1): "line 1: device: digest",
		strings.Replace(device, "\"1-4\"", "\"../1\"", 1):                  "line 1: device: port",
		"[sources]\nblock_devices = [\"sr0\"]":                             "line 2: block_devices: \"sr0\"",
		"[sources]\nblock_devices = [\"/dev/../etc/passwd\"]":              "line 2: block_devices",
		"[sources]\nblock_devices = [\"/etc/passwd\"]":                     "not below /dev",
		"[sources]\nblock_devices = [\"/dev/sr0\", \"/dev/sr0\"]":          "twice",
		"[sources]\nwatch = \"/\"":                                         "line 2: watch",
		"[sources]\nwatch = \"incoming\"":                                  "line 2: watch",
		"[staff]\nroster = \"\"":                                           "line 2: roster",
		"[staff]\nroster = \"roster.toml\"":                                "line 2: roster",
		"[staff]\nidle_seconds = 14":                                       "line 2: idle_seconds",
		"[staff]\nidle_seconds = 301":                                      "line 2: idle_seconds",
		"[tokens]\nmax_hours = 0":                                          "line 2: max_hours",
		"[tokens]\nmax_hours = 73":                                         "line 2: max_hours",
		"\n\n[class.imaging]\ntoken_hours = 9":                             "line 3: class \"imaging\": token_hours = 9: longer",
		"[class.imaging]\nencrypted = \"could not check\"":                 "line 1: class \"imaging\": encrypted",
		"[class.imaging]\nexecutables = \"warn\"":                          `it says "refuse"`,
		"[class.imaging]\nallow_types = [\"text/html\"]":                   `does not allow "text/html"`,
		"[class.imaging.severity]\n\"structure/polyglot\" = \"warn\"":      `line 1: class "imaging"`,
		"[class.general]\nexecutables = \"alow\"":                          `want "refuse" or "warn" or "allow"`,
		"[class.ct]":                       "needs a base",
		"[class.ct]\nbase = \"mri\"":       `no class "mri"`,
		strings.Repeat("#", maxFile+1):     "longer than",
		strings.Repeat("[[port]]\n", 33):   "more than 32 ports and block devices",
		strings.Repeat("[[device]]\n", 65): "more than 64 devices",
	} {
		pack, err := baseline.Pack()
		if err != nil {
			t.Fatal(err)
		}
		c, err := Parse([]byte(text))
		if err == nil {
			_, err = c.Apply(pack)
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.200s\n\t%v\n\twant %q", text, err, want)
		}
	}
}

func TestFileThatIsThereIsNeverReplacedByDefaults(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string, mode fs.FileMode) string {
		if err := os.WriteFile(path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path(name), mode); err != nil {
			t.Fatal(err)
		}
		return path(name)
	}
	if c, err := Load(write("good.toml", full, 0o640)); err != nil || c.File != path("good.toml") || len(c.Ports) != 3 {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := Load(path("none.toml")); !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, ErrConfig) {
		t.Errorf("no file: %v", err)
	}
	if err := syscall.Mkfifo(path("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path("none.toml"), path("dangling")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path("folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{write("bad.toml", "[scan", 0o600), write("open.toml", full, 0o666), write("long.toml", strings.Repeat("#", maxFile+1), 0o600),
		path("pipe"), path("dangling"), path("folder"), filepath.Join(path("good.toml"), "below")} {
		if c, err := Load(name); !errors.Is(err, ErrConfig) || errors.Is(err, fs.ErrNotExist) || !reflect.DeepEqual(c, Config{}) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

func TestAgesOfPacksCanOnlyBeShortened(t *testing.T) {
	day := 24 * time.Hour
	for text, want := range map[string][2]time.Duration{
		"": {7 * day, 30 * day}, "[rules]\nwarn_days = 3": {3 * day, 30 * day}, "[rules]\nstop_days = 5": {5 * day, 5 * day},
		"[rules]\nwarn_days = 7\nstop_days = 30": {7 * day, 30 * day},
	} {
		c, err := Parse([]byte(text))
		if err != nil || c.Rules.WarnAge() != want[0] || c.Rules.StopAge() != want[1] {
			t.Errorf("%q: %v %v %v", text, c.Rules.WarnAge(), c.Rules.StopAge(), err)
		}
	}
	for text, want := range map[string]int{"": 12, "[names]\nkeep_months = 1": 1, "[names]\nkeep_months = 72": 72} {
		if c, err := Parse([]byte(text)); err != nil || c.Names.Months() != want {
			t.Errorf("%q: %d %v", text, c.Names.Months(), err)
		}
	}
	for _, text := range []string{"keep_months = 0", "keep_months = 73", "keep_months = \"12\""} {
		if _, err := Parse([]byte("[names]\n" + text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
	for _, text := range []string{"warn_days = 8", "stop_days = 31", "warn_days = 0", "stop_days = -1", "stop_days = \"30\"", "root = \"root.json\"",
		"watch = \"/srv/rules\"", "root = \"/r.json\"\nwatch = \"rules\"", "age = 3"} {
		if _, err := Parse([]byte("[rules]\n" + text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestARootFileThatCannotBeUsedStopsTheStation(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, n int) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, make([]byte, n), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	if data, err := (Config{}).RootFile(); err != nil || data != nil {
		t.Errorf("%v %v", data, err)
	}
	if data, err := (Config{Rules: Rules{Root: write("good", 3000)}}).RootFile(); err != nil || len(data) != 3000 {
		t.Errorf("%d %v", len(data), err)
	}
	for _, name := range []string{write("empty", 0), write("huge", maxRoot+1), dir, filepath.Join(dir, "none")} {
		if _, err := (Config{Rules: Rules{Root: name}}).RootFile(); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", filepath.Base(name), err)
		}
	}
}

func TestYARARulesKeepTheirCapitals(t *testing.T) {
	if _, err := Parse([]byte("[class.general.severity]\n\"yara/Every_PDF\" = \"block\"\n")); err != nil {
		t.Error(err)
	}
}

func TestLimitsAreThoseOfTheWorkers(t *testing.T) {
	if maxWorkers != worker.MaxSlots {
		t.Errorf("a file may ask for %d workers, and %d can be run", maxWorkers, worker.MaxSlots)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte("[[port]]\npath = \"1-2\"\nname = \"a\"\n"))
	pack, err := baseline.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse(text)
		if err != nil {
			return
		}
		tight, err := c.Apply(pack)
		if err != nil {
			return
		}
		for class, p := range tight.Policies {
			base := class
			if b := c.Classes[class].Base; b != "" {
				base = b
			}
			if was := pack.Policies[base]; p.Life > was.Life || p.Life <= 0 || p.Class != class || p.Allows("application/x-elf") && !was.Allows("application/x-elf") {
				t.Errorf("%s became %+v", class, p)
			}
		}
	})
}
