package config

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"

	"pratique/kiosk/localapi"
)

// Limits on a file. A kiosk has a handful of each; ten times as many is a mistake.
const (
	maxFile    = 1 << 20
	maxText    = 64 // characters of a name; a screen shows no more
	maxPath    = 4096
	maxDevices = 64
	maxBlock   = 16
	maxClasses = 64
	maxWorkers = 32 // as package kiosk/worker has it
	maxHours   = 72 // as every verifier has it
	warnDays   = 7  // a pack's age, unless the station asks for less
	stopDays   = 30
	maxRoot    = 64 << 10 // a real root file has 3 KB
	minIdle    = 15       // seconds: who reads slowly must get to the end of a screen
	maxIdle    = 300      // and who is gone for longer has left the screen to the next one

	keepMonths    = 12 // a year, in which incidents come to light
	maxKeepMonths = 72 // what some countries ask of records about access to patients' data
)

var (
	// portPath is a USB device's name in sysfs, whose tree is five hubs deep at most.
	// https://www.kernel.org/doc/html/latest/driver-api/usb/usb.html
	portPath = regexp.MustCompile(`^[1-9][0-9]{0,2}-[1-9][0-9]{0,2}(\.[1-9][0-9]{0,2}){0,5}$`)
	digest   = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// check holds every value against its range.
func (c *Config) check(text []byte) error {
	for _, s := range []struct{ key, value string }{{"name", c.Station.Name}, {"site", c.Station.Site}, {"contact", c.Station.Contact}} {
		if err := checkText(s.value, true); err != nil {
			return at(text, fmt.Errorf("%s: %w", s.key, err), "station", s.key)
		}
	}
	if n := c.Scan.Workers; n < 0 || n > maxWorkers {
		return at(text, fmt.Errorf("workers: want 0 to %d", maxWorkers), "scan", "workers")
	}
	if len(c.Classes) > maxClasses {
		return fmt.Errorf("more than %d classes", maxClasses)
	}
	if err := c.checkPorts(text); err != nil {
		return err
	}
	if err := c.checkSyslog(text); err != nil {
		return err
	}
	return c.checkPaths(text)
}

func (c *Config) checkPorts(text []byte) error {
	switch {
	case len(c.Ports)+len(c.Sources.BlockDevices) > localapi.MaxPorts:
		return fmt.Errorf("more than %d ports and block devices", localapi.MaxPorts)
	case len(c.Devices) > maxDevices:
		return fmt.Errorf("more than %d devices", maxDevices)
	}
	taken := map[string]bool{}
	buses := map[string][]string{} // of each socket, by its name
	for i, p := range c.Ports {
		bus, _, _ := strings.Cut(p.Path, "-")
		err := checkText(p.Name, false)
		switch {
		case !portPath.MatchString(p.Path):
			err = fmt.Errorf("path %q: want a port as sysfs names it, such as \"1-2\" or \"1-2.4\"", p.Path)
		case err != nil:
			err = fmt.Errorf("name: %w", err)
		case taken[p.Path]:
			err = fmt.Errorf("path %q stands there twice", p.Path)
		case slices.Contains(buses[p.Name], bus) || len(buses[p.Name]) == 2:
			// the two halves of a USB 3 socket are ports of two buses and one name
			err = fmt.Errorf("name %q stands there twice, and not for the two halves of one socket", p.Name)
		}
		if err != nil {
			return nth(text, err, "port", i)
		}
		taken[p.Path] = true
		buses[p.Name] = append(buses[p.Name], bus)
	}
	for i, d := range c.Devices {
		err := checkText(d.Name, false)
		switch {
		case !portPath.MatchString(d.Port):
			err = fmt.Errorf("port %q: want a port as sysfs names it, such as \"1-4\"", d.Port)
		case !digest.MatchString(d.Digest):
			err = errors.New("digest: want sha256: and 64 digits of 0-9 and a-f")
		case err != nil:
			err = fmt.Errorf("name: %w", err)
		case taken[d.Port]:
			err = fmt.Errorf("port %q is one for media", d.Port)
		case slices.ContainsFunc(c.Devices[:i], func(o Device) bool { return o.Port == d.Port && o.Digest == d.Digest }):
			err = fmt.Errorf("the device at port %q stands there twice", d.Port)
		}
		if err != nil {
			return nth(text, err, "device", i)
		}
	}
	return nil
}

func (c *Config) checkPaths(text []byte) error {
	s := c.Sources
	if len(s.BlockDevices) > maxBlock {
		return at(text, fmt.Errorf("block_devices: more than %d", maxBlock), "sources", "block_devices")
	}
	for i, name := range s.BlockDevices {
		err := checkPath(name)
		switch {
		case err != nil:
		case !strings.HasPrefix(name, "/dev/"):
			err = errors.New("is not below /dev")
		case slices.Contains(s.BlockDevices[:i], name):
			err = errors.New("stands there twice")
		}
		if err != nil {
			return at(text, fmt.Errorf("block_devices: %q: %w", name, err), "sources", "block_devices")
		}
	}
	if s.Watch != "" {
		if err := checkPath(s.Watch); err != nil {
			return at(text, fmt.Errorf("watch: %q: %w", s.Watch, err), "sources", "watch")
		}
	}
	for _, r := range []struct{ key, path string }{{"root", c.Rules.Root}, {"watch", c.Rules.Watch}} {
		if r.path == "" {
			continue
		}
		if err := checkPath(r.path); err != nil {
			return at(text, fmt.Errorf("%s: %q: %w", r.key, r.path, err), "rules", r.key)
		}
	}
	if c.Rules.Root == "" && c.Rules.Watch != "" {
		return at(text, errors.New("watch: there is no root to check packs with"), "rules", "watch")
	}
	if c.Roster != "" {
		if err := checkPath(c.Roster); err != nil {
			return at(text, fmt.Errorf("roster: %q: %w", c.Roster, err), "staff", "roster")
		}
	}
	return nil
}

// checkPath wants a path that means the same wherever the program was started.
func checkPath(name string) error {
	switch {
	case len(name) > maxPath || strings.ContainsFunc(name, unicode.IsControl) || !utf8.ValidString(name):
		return errors.New("cannot be a path")
	case !path.IsAbs(name):
		return errors.New("want a path from the root")
	case path.Clean(name) != name || name == "/":
		return errors.New("want a path without detours, below the root")
	}
	return nil
}

// checkText wants what a screen and a receipt can show.
func checkText(s string, mayBeEmpty bool) error {
	switch {
	case s == "" && !mayBeEmpty:
		return errors.New("is missing")
	case utf8.RuneCountInString(s) > maxText:
		return fmt.Errorf("longer than %d characters", maxText)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("holds characters that cannot be shown")
	case s != strings.TrimSpace(s):
		return errors.New("begins or ends with a blank")
	}
	return nil
}

// inOneLine takes the place that the TOML library found, without the excerpt that its longer form has.
func inOneLine(err error) error {
	var p toml.ParseError
	if errors.As(err, &p) {
		return fmt.Errorf("line %d: %s", p.Position.Line, p.Message)
	}
	return errors.New(strings.TrimPrefix(err.Error(), "toml: "))
}

// at puts the line of a key in front of an error, if it is found.
func at(text []byte, err error, key ...string) error {
	if n := lineOf(text, key...); n > 0 {
		return fmt.Errorf("line %d: %w", n, err)
	}
	return err
}

// lineOf finds the line of a key or table, 0 if it does not. It is for people: a file that writes keys in unusual ways only
// loses the number.
func lineOf(text []byte, key ...string) int {
	want, table := strings.Join(key, "."), ""
	for n, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if name, ok := header(line); ok {
			if table = name; table == want || strings.HasPrefix(table, want+".") {
				return n + 1
			}
			continue
		}
		name, _, ok := strings.Cut(line, "=")
		name = strings.Trim(strings.TrimSpace(name), `"`)
		if ok && strings.TrimPrefix(table+"."+name, ".") == want {
			return n + 1
		}
	}
	return 0
}

// nth puts the line of the header of one of several tables in front of an error.
func nth(text []byte, err error, table string, index int) error {
	for n, line := range strings.Split(string(text), "\n") {
		if header, ok := header(strings.TrimSpace(line)); ok && header == table {
			if index == 0 {
				return fmt.Errorf("line %d: %s: %w", n+1, table, err)
			}
			index--
		}
	}
	return fmt.Errorf("%s: %w", table, err)
}

// header is the name in a line that opens a table or one of several.
func header(line string) (string, bool) {
	line, _, _ = strings.Cut(line, "#")
	line = strings.TrimSpace(line)
	if !strings.HasPrefix(line, "[") || !strings.HasSuffix(line, "]") {
		return "", false
	}
	return strings.Trim(line, "[] "), true
}
