// Package config reads a station's configuration, /etc/pratique/station.toml.
//
// It trusts whoever may write that file, as far as the file goes: an administrator decides which ports screen, which devices
// are the station's own and where media come from besides. About media themselves the file can only ask for more than the
// rule pack does (Apply): a mistake in it, or an administrator in a hurry, never lets a medium pass that the security team
// refuses.
//
// Decoding is strict. A key that nobody knows, a value of the wrong type or out of its range, and a file that is there but
// cannot be read are errors, and the station does not start: somebody wrote down a wish, and defaults in its place would
// look as if it was granted. Only where there is no file at all the defaults of Default hold.
//
// # The file
//
// Every key, with an example; all of them can be left out.
//
//	[station]
//	name = "Radiology 2"            # for people: screens and receipts
//	site = "Example Hospital"
//	contact = "IT security, 4711"   # whom the screen says to call
//
//	[scan]
//	require_namespaces = true       # no scan without namespaces; true wherever there is a file, false without
//	deep = false                    # read unallocated space and slack too
//	workers = 2                     # matching processes; 0, the default, is one for each core
//
//	[[port]]                        # where people plug media in; without any, every port that no device has
//	path = "1-2"                    # sysfs: bus, '-', ports on the way joined with '.'
//	name = "left"                   # a USB 3 socket is two ports, one on each bus: give both its name
//
//	[[device]]                      # the station's own: never a medium, and nothing else may take its port
//	port = "1-4"
//	digest = "sha256:…64 digits…"   # of its descriptors
//	name = "touch screen"
//
//	[sources]                       # besides USB; both off if left out
//	block_devices = ["/dev/sr0"]
//	watch = "/srv/incoming"         # a folder in which files count as media
//
//	[rules]                         # rule packs of the security team; without root, the pack that ships with the program
//	root = "/etc/pratique/root.json"      # the team's root file, as it was enrolled
//	watch = "/srv/rules"            # a folder that packs are published to
//	warn_days = 7                   # a pack may be so old before people are told, at most 7 days,
//	stop_days = 30                  # and so old before nothing is cleared, at most 30
//
//	[class.imaging]                 # a class of the rule pack, made stricter
//	token_hours = 4                 # not longer than the pack says
//	allow_types = ["application/dicom"]   # the only ones that are left; each allowed by the pack
//	deny_types = ["image/svg+xml"]  # further ones to take away
//	macros = "refuse"               # any setting of a policy, as strict as the pack's or stricter
//	[class.imaging.severity]
//	"volume/name-direction" = "block"     # the least that a finding does
//
//	[class.my-ct]                   # a class of this site
//	base = "imaging"                # begins with this class, as this file tightened it
//
//	[staff]
//	roster = "/etc/pratique/roster.toml"  # for a station that no site enrolled; a site signs its own
//	idle_seconds = 60               # a person at the screen who touches nothing is signed out, after 15 to 300
//
//	[tokens]
//	max_hours = 8                   # no clearance of any class holds longer
//
//	[names]
//	keep_months = 12                # names beside the log are erased after so many months, 1 to 72
//
//	[syslog]                        # where "pratique audit forward" sends the log, over TLS; off if left out
//	server = "siem.example:6514"
//	ca = "/etc/pratique/siem-ca.pem"       # who may vouch for it; the machine's own authorities do not count
//	certificate = "/etc/pratique/siem.pem" # the station's own, if the collector wants one, and its key
//	key = "/etc/pratique/siem.key"
//	form = "cef"                    # or "dicom", for an audit record repository of IHE
//
// # Limits
//
// maxFile, maxText, the number of ports that a station has (localapi.MaxPorts), and those of devices, sources and classes
// below. A file that everybody may write is refused.
package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/BurntSushi/toml"

	"pratique/kiosk/usb"
	"pratique/rules"
)

// ErrConfig says that a configuration cannot be used as it is: the kiosk fails.
var ErrConfig = errors.New("the configuration cannot be used")

// DefaultPath is where a station's configuration is.
const DefaultPath = "/etc/pratique/station.toml"

// Config is a station's configuration. Default returns one that can be used.
type Config struct {
	File    string // that it was read from; empty if there is none
	Station Station
	Scan    Scan
	Ports   []Port
	Devices []Device
	Sources Sources
	Rules   Rules
	Classes map[string]Class // by equipment class
	Roster  string           // the file of the staff; empty if there is none
	Idle    time.Duration    // until a person at the screen is signed out; 0 is a minute
	Tokens  Tokens
	Names   Names
	Syslog  Syslog

	lines map[string]int // of the header of each class
}

// Station says to people which one it is.
type Station struct {
	Name    string `toml:"name"`
	Site    string `toml:"site"`
	Contact string `toml:"contact"`
}

// Scan says how media are scanned.
type Scan struct {
	RequireNamespaces bool // no scan where the workers cannot have namespaces of their own
	Deep              bool // read unallocated space and slack too
	Workers           int  // matching processes; 0 is one for each core
}

// Port is a USB port for media.
type Port struct {
	Path string `toml:"path"` // as sysfs names it: "1-2", "1-2.4"
	Name string `toml:"name"` // for people
}

// Device is one that belongs to the station, such as its touch screen.
type Device struct {
	Port   string `toml:"port"`
	Digest string `toml:"digest"` // "sha256:" and 64 digits in small letters, over its descriptors
	Name   string `toml:"name"`
}

// Sources are where media come from besides USB. Both are off by default.
type Sources struct {
	BlockDevices []string `toml:"block_devices"` // below /dev
	Watch        string   `toml:"watch"`         // a folder
}

// Rules are the rule packs of a security team.
type Rules struct {
	Root     string // file
	Watch    string // folder
	WarnDays int    // 1 to 7; 0 is 7, or StopDays if that is less
	StopDays int    // 1 to 30; 0 is 30
}

// WarnAge is the age of a pack at which people are told.
func (r Rules) WarnAge() time.Duration { return min(days(r.WarnDays, warnDays), r.StopAge()) }

// StopAge is the age at which nothing is cleared any more.
func (r Rules) StopAge() time.Duration { return days(r.StopDays, stopDays) }

func days(n, most int) time.Duration {
	if n <= 0 || n > most {
		n = most
	}
	return time.Duration(n) * 24 * time.Hour
}

// RootFile reads the security team's root file; nil if the configuration names none.
func (c Config) RootFile() ([]byte, error) {
	if c.Rules.Root == "" {
		return nil, nil
	}
	f, err := os.OpenFile(c.Rules.Root, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: [rules] root: %w", ErrConfig, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRoot+1))
	if err == nil && (len(data) == 0 || len(data) > maxRoot) {
		err = fmt.Errorf("%d bytes are no root file", len(data))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: [rules] root: %w", ErrConfig, err)
	}
	return data, nil
}

// Class is what a station asks of an equipment class beyond the rule pack's policy.
type Class = rules.Tightening

// Tokens bounds every clearance.
type Tokens struct {
	MaxHours int `toml:"max_hours"` // 1 to 72; 0 is as long as the policies say
}

// Names are what is kept, encrypted, of persons, devices and paths that the log has pseudonyms of.
type Names struct {
	KeepMonths int // 1 to 72; 0 is 12
}

// Months is how many whole months names are kept beside the month that it is.
func (n Names) Months() int {
	if n.KeepMonths <= 0 {
		return keepMonths
	}
	return min(n.KeepMonths, maxKeepMonths)
}

// Default is what holds where there is no file: for a person who tries the program, and not for a station. It screens what
// it is given, under the rule pack's own policies.
func Default() Config { return Config{} }

// Load reads a file. Its errors are ErrConfig; one that is fs.ErrNotExist too says that there is no file.
func Load(path string) (Config, error) {
	// A FIFO in its place must not make the station wait.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if _, there := os.Lstat(path); errors.Is(err, fs.ErrNotExist) && !errors.Is(there, fs.ErrNotExist) {
		return Config{}, fmt.Errorf("%w: %s leads nowhere", ErrConfig, path) // a link, which somebody made for a reason
	}
	if err != nil {
		return Config{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return Config{}, fmt.Errorf("%w: %w", ErrConfig, err)
	case !info.Mode().IsRegular():
		return Config{}, fmt.Errorf("%w: %s is not a regular file", ErrConfig, path)
	case info.Mode().Perm()&0o002 != 0:
		return Config{}, fmt.Errorf("%w: everybody may write %s (mode %04o)", ErrConfig, path, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Config{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	cfg, err := Parse(text)
	if err != nil {
		return Config{}, fmt.Errorf("%w: %s: %w", ErrConfig, path, err)
	}
	cfg.File = path
	return cfg, nil
}

// Parse decodes a file. An error names the line where there is one. What a class asks for is held against the rule pack by
// Apply.
func Parse(text []byte) (Config, error) {
	if len(text) > maxFile {
		return Config{}, fmt.Errorf("longer than %d bytes", maxFile)
	}
	var file struct {
		Station Station `toml:"station"`
		Scan    struct {
			RequireNamespaces *bool `toml:"require_namespaces"`
			Deep              bool  `toml:"deep"`
			Workers           int   `toml:"workers"`
		} `toml:"scan"`
		Ports   []Port   `toml:"port"`
		Devices []Device `toml:"device"`
		Sources Sources  `toml:"sources"`
		Rules   struct {
			Root     string `toml:"root"`
			Watch    string `toml:"watch"`
			WarnDays *int   `toml:"warn_days"`
			StopDays *int   `toml:"stop_days"`
		} `toml:"rules"`
		Classes map[string]Class `toml:"class"`
		Staff   struct {
			Roster *string `toml:"roster"`
			Idle   *int    `toml:"idle_seconds"`
		} `toml:"staff"`
		Tokens struct {
			MaxHours *int `toml:"max_hours"`
		} `toml:"tokens"`
		Names struct {
			KeepMonths *int `toml:"keep_months"`
		} `toml:"names"`
		Syslog Syslog `toml:"syslog"`
	}
	meta, err := toml.Decode(string(text), &file)
	if err != nil {
		return Config{}, inOneLine(err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return Config{}, at(text, fmt.Errorf("there is no key %q", unknown[0].String()), unknown[0]...)
	}
	for _, key := range meta.Keys() {
		// The library takes a key in capitals for the one in small letters: two lines could give one value. The names of
		// YARA rules below severity are no keys of ours.
		if name := key.String(); name != strings.ToLower(name) && (len(key) < 4 || key[2] != "severity") {
			return Config{}, at(text, fmt.Errorf("there is no key %q: keys and classes are in small letters", name), key...)
		}
	}
	c := Config{Station: file.Station, Ports: file.Ports, Devices: file.Devices, Sources: file.Sources, Rules: Rules{Root: file.Rules.Root, Watch: file.Rules.Watch}, Classes: file.Classes,
		Scan: Scan{RequireNamespaces: true, Deep: file.Scan.Deep, Workers: file.Scan.Workers}}
	c.Syslog = file.Syslog
	if set := file.Scan.RequireNamespaces; set != nil {
		c.Scan.RequireNamespaces = *set
	}
	if set := file.Staff.Roster; set != nil {
		if c.Roster = *set; c.Roster == "" {
			return Config{}, at(text, errors.New("roster: want the path of a file"), "staff", "roster")
		}
	}
	if set := file.Staff.Idle; set != nil {
		if c.Idle = time.Duration(*set) * time.Second; *set < minIdle || *set > maxIdle {
			return Config{}, at(text, fmt.Errorf("idle_seconds: want %d to %d", minIdle, maxIdle), "staff", "idle_seconds")
		}
	}
	if set := file.Tokens.MaxHours; set != nil {
		if c.Tokens.MaxHours = *set; *set < 1 || *set > maxHours {
			return Config{}, at(text, fmt.Errorf("max_hours: want 1 to %d", maxHours), "tokens", "max_hours")
		}
	}
	if set := file.Names.KeepMonths; set != nil {
		if c.Names.KeepMonths = *set; *set < 1 || *set > maxKeepMonths {
			return Config{}, at(text, fmt.Errorf("keep_months: want 1 to %d", maxKeepMonths), "names", "keep_months")
		}
	}
	for _, d := range []struct {
		key  string
		set  *int
		most int
		into *int
	}{{"warn_days", file.Rules.WarnDays, warnDays, &c.Rules.WarnDays}, {"stop_days", file.Rules.StopDays, stopDays, &c.Rules.StopDays}} {
		if d.set == nil {
			continue
		}
		if *d.into = *d.set; *d.set < 1 || *d.set > d.most {
			return Config{}, at(text, fmt.Errorf("%s: want 1 to %d", d.key, d.most), "rules", d.key)
		}
	}
	if err := c.check(text); err != nil {
		return Config{}, err
	}
	c.lines = map[string]int{}
	for class := range c.Classes {
		c.lines[class] = lineOf(text, "class", class)
	}
	return c, nil
}

// USB is what the file says about the bus: the ports for media, and the station's own devices.
func (c Config) USB() (usb.Policy, error) {
	p := usb.Policy{Media: map[string]string{}}
	for _, port := range c.Ports {
		p.Media[port.Path] = port.Name
	}
	for _, d := range c.Devices {
		own := usb.Own{Port: d.Port, Name: d.Name}
		digest, err := hex.DecodeString(strings.TrimPrefix(d.Digest, "sha256:"))
		if err != nil || copy(own.Digest[:], digest) != len(own.Digest) {
			return usb.Policy{}, fmt.Errorf("%w: the digest of %q", ErrConfig, d.Name)
		}
		p.Own = append(p.Own, own)
	}
	if err := p.Check(); err != nil {
		return usb.Policy{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return p, nil
}

// Apply returns the pack with the policies that this station asks for.
func (c Config) Apply(pack rules.Pack) (rules.Pack, error) {
	tight, err := pack.Tighten(c.Classes, c.Tokens.MaxHours)
	var class *rules.ClassError
	switch {
	case err == nil:
		return tight, nil
	case errors.As(err, &class) && c.lines[class.Class] > 0:
		return rules.Pack{}, fmt.Errorf("%w: %s: line %d: %w", ErrConfig, c.File, c.lines[class.Class], err)
	}
	return rules.Pack{}, fmt.Errorf("%w: %s: %w", ErrConfig, c.File, err)
}
