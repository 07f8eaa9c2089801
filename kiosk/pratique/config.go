package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"pratique/kiosk/config"
	"pratique/rules"
	"pratique/rules/baseline"
)

// configFlag adds --config.
func configFlag(set verbFlags) *string {
	return set.String("config", "", "`FILE` with the station's configuration (default: "+config.DefaultPath+" if it exists)")
}

// loadConfig reads the file that --config names, else the station's own, else there is none and the defaults hold. A file
// that is there and cannot be used is an error: defaults in its place would be looser than what somebody wrote down.
func loadConfig(flag string) (config.Config, error) {
	path := flag
	if path == "" {
		path = config.DefaultPath
	}
	cfg, err := config.Load(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && flag == "":
		return config.Default(), nil
	case errors.Is(err, fs.ErrNotExist):
		return config.Config{}, usagef("--config: there is no file %q", flag)
	}
	return cfg, err
}

// configChecks says which configuration and which policies are in force with a state folder, and returns them. The error is of
// the call: a configuration or an installed pack that cannot be used is a check that failed.
func configChecks(flag, state string) (config.Config, rules.Pack, []check, error) {
	shipped, err := baseline.Pack()
	if err != nil {
		return config.Config{}, rules.Pack{}, []check{{"policy", stateFailed, err.Error(), ""}}, nil
	}
	cfg, err := loadConfig(flag)
	var usage *usageError
	if errors.As(err, &usage) {
		return config.Config{}, rules.Pack{}, nil, err
	}
	if err == nil {
		_, err = cfg.Apply(shipped)
	}
	if err != nil {
		return config.Config{}, shipped, []check{{"configuration", stateFailed, err.Error(), "nothing is screened before the file is corrected"}}, nil
	}
	out := []check{{"configuration", stateOK, configLine(cfg), ""}}
	pack, err := loadPack(cfg, state, "", "")
	if err != nil {
		return cfg, shipped, append(out, check{"rules", stateFailed, err.Error(), "nothing is screened before that: pratique rules status"}), nil
	}
	for _, class := range slices.Sorted(maps.Keys(pack.Policies)) {
		out = append(out, check{"policy", stateOK, policyLine(pack.Policies[class], cfg), ""})
	}
	return cfg, pack, out, nil
}

func configLine(cfg config.Config) string {
	if cfg.File == "" {
		return "there is no " + config.DefaultPath + "; the built-in defaults hold"
	}
	words := []string{cfg.File}
	if cfg.Station.Name != "" {
		words = append(words, fmt.Sprintf("station %q", cfg.Station.Name))
	}
	if n := len(cfg.Ports); n > 0 {
		words = append(words, count(uint64(n), "port for media", "ports for media"))
	}
	if n := len(cfg.Devices); n > 0 {
		words = append(words, count(uint64(n), "device of its own", "devices of its own"))
	}
	if !cfg.Scan.RequireNamespaces {
		words = append(words, "namespaces are NOT required")
	}
	if cfg.Scan.Deep {
		words = append(words, "every scan is deep")
	}
	if n := len(cfg.Sources.BlockDevices); n > 0 {
		words = append(words, "media from "+strings.Join(cfg.Sources.BlockDevices, ", "))
	}
	if cfg.Sources.Watch != "" {
		words = append(words, "media from the folder "+cfg.Sources.Watch)
	}
	if n := cfg.Tokens.MaxHours; n > 0 {
		words = append(words, "clearances for at most "+count(uint64(n), "hour", "hours"))
	}
	if cfg.Syslog.Server != "" {
		words = append(words, "the log may be sent to "+cfg.Syslog.Server)
	}
	return strings.Join(words, "; ")
}

// policyLine is a class as a security officer wants to read it: what it refuses first.
func policyLine(p rules.Policy, cfg config.Config) string {
	var words []string
	for _, stance := range []struct {
		is   rules.Stance
		word string
	}{{rules.Refuse, "refuse"}, {rules.Warn, "warn of"}, {rules.Allow, "allow"}, {rules.CouldNotCheck, "could not check"}} {
		var keys []string
		for _, s := range rules.Settings() {
			if p.Stance(s) == stance.is {
				keys = append(keys, s.String())
			}
		}
		if len(keys) > 0 {
			words = append(words, stance.word+" "+strings.Join(keys, ", "))
		}
	}
	if p.Override {
		words = append(words, "two people may override")
	}
	const shown = 4
	types := strings.Join(p.Allow[:min(len(p.Allow), shown)], ", ")
	if n := len(p.Allow) - shown; n > 0 {
		types += fmt.Sprintf(" and %d more", n)
	}
	if len(p.Deny) > 0 {
		types += fmt.Sprintf(", less %d", len(p.Deny))
	}
	words = append(words, "types "+types, count(uint64(p.Life.Hours()), "hour", "hours"))
	if class, ok := cfg.Classes[p.Class]; ok && class.Base != "" {
		words = append(words, "this station's own, from "+class.Base)
	} else if ok {
		words = append(words, "tightened by this station")
	}
	return p.Class + ": " + strings.Join(words, "; ")
}
