package config

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
)

// Syslog is a collector of events that "pratique audit forward" sends the log to, over TLS. Off by default: without a server
// no program of a station opens a connection.
type Syslog struct {
	Server      string `toml:"server"`      // host:port
	CA          string `toml:"ca"`          // file: who may vouch for the collector
	Certificate string `toml:"certificate"` // file: the station's own, if the collector asks for one
	Key         string `toml:"key"`         // file: of the certificate
	Form        string `toml:"form"`        // "cef", the default, or "dicom"
}

// SyslogForms are the forms of a message.
var SyslogForms = []string{"cef", "dicom"}

func (c *Config) checkSyslog(text []byte) error {
	s := c.Syslog
	if s == (Syslog{}) {
		return nil
	}
	bad := func(key string, err error) error { return at(text, fmt.Errorf("%s: %w", key, err), "syslog", key) }
	host, port, err := net.SplitHostPort(s.Server)
	if n, wrong := strconv.ParseUint(port, 10, 16); err != nil || wrong != nil || n == 0 || host == "" || checkText(host, false) != nil {
		return bad("server", errors.New(`want the collector's name and port, such as "siem.example:6514"`))
	}
	switch {
	case s.CA == "":
		return bad("server", errors.New("ca is missing: who may vouch for it"))
	case (s.Certificate == "") != (s.Key == ""):
		return bad("server", errors.New("a certificate needs its key, and a key its certificate"))
	}
	for _, f := range []struct{ key, path string }{{"ca", s.CA}, {"certificate", s.Certificate}, {"key", s.Key}} {
		if f.path == "" {
			continue
		}
		if err := checkPath(f.path); err != nil {
			return bad(f.key, fmt.Errorf("%q: %w", f.path, err))
		}
	}
	if s.Form != "" && !slices.Contains(SyslogForms, s.Form) {
		return bad("form", fmt.Errorf("want one of %q", SyslogForms))
	}
	return nil
}
