package config

import (
	"strings"
	"testing"
)

func TestACollectorIsNamedWholeOrNotAtAll(t *testing.T) {
	good := "[syslog]\nserver = \"siem.example:6514\"\nca = \"/etc/ca.pem\"\n"
	c, err := Parse([]byte(good + "certificate = \"/etc/c.pem\"\nkey = \"/etc/c.key\"\nform = \"dicom\"\n"))
	if want := (Syslog{"siem.example:6514", "/etc/ca.pem", "/etc/c.pem", "/etc/c.key", "dicom"}); err != nil || c.Syslog != want {
		t.Errorf("%+v %v", c.Syslog, err)
	}
	if c, err := Parse(nil); err != nil || c.Syslog != (Syslog{}) {
		t.Errorf("without a word there is a collector: %+v %v", c.Syslog, err)
	}
	for name, text := range map[string]string{
		"no server":       "[syslog]\nca = \"/etc/ca.pem\"\n",
		"no port":         strings.Replace(good, ":6514", "", 1),
		"port 0":          strings.Replace(good, ":6514", ":0", 1),
		"port 70000":      strings.Replace(good, ":6514", ":70000", 1),
		"no host":         strings.Replace(good, "siem.example", "", 1),
		"no authorities":  "[syslog]\nserver = \"siem.example:6514\"\n",
		"a relative path": strings.Replace(good, "/etc/ca", "ca", 1),
		"half a pair":     good + "key = \"/etc/c.key\"\n",
		"another form":    good + "form = \"leef\"\n",
		"another key":     good + "udp = true\n",
	} {
		if _, err := Parse([]byte(text)); err == nil || name != "no server" && !strings.Contains(err.Error(), "line ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
