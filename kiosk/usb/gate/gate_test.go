package gate

import (
	"bytes"
	"errors"
	"strings"
	"syscall"
	"testing"
)

func TestPortsAreNamesAndNeverPaths(t *testing.T) {
	for _, good := range []string{"1-1", "1-2.4", "255-255", "1-2.3.4.5.6.7", "12-1.10"} {
		if p, err := ParsePort(good); err != nil || p.String() != good {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "1", "-", "1-", "-1", "1-0", "0-1", "01-1", "1-01", "1-256", "256-1", "1-1.", "1-.1", "1-1..2", "1.1", "1.1-2", "1-1-1",
		"1-2.3.4.5.6.7.8", "usb1", "1-0:1.0", "1-2:1.0", "1-2/..", "../1-2", "1-2\n", " 1-2", "1-2 ", "1-2\x00", "1-٢", "+1-2", "1-+2", "0x1-2", strings.Repeat("1", 100),
		"1-" + strings.Repeat("1.", 40) + "1"} {
		if p, err := ParsePort(bad); !errors.Is(err, ErrPort) || p != (Port{}) {
			t.Errorf("%q is a port", bad)
		}
	}
}

func TestWithinIsByWholeNumbers(t *testing.T) {
	port := func(s string) Port {
		p, err := ParsePort(s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, tt := range []struct {
		port, in string
		want     bool
	}{
		{"1-2", "1-2", true}, {"1-2.1", "1-2", true}, {"1-2.1.4", "1-2", true}, {"1-2.1.4", "1-2.1", true},
		{"1-21", "1-2", false}, {"1-2", "1-2.1", false}, {"11-2", "1-2", false}, {"1-2.11", "1-2.1", false}, {"1-1", "1-2", false},
	} {
		if got := port(tt.port).Within(port(tt.in)); got != tt.want {
			t.Errorf("%s within %s: %v", tt.port, tt.in, got)
		}
	}
	if (Port{}).Within(Port{}) || port("1-2").Within(Port{}) {
		t.Error("something is within no port")
	}
}

func TestSwitchesAreTheHubs(t *testing.T) {
	for name, want := range map[string]string{"1-2": "1-0:1.0 usb1-port2", "1-2.4": "1-2:1.0 1-2-port4", "3-1.2.10": "3-1.2:1.0 3-1.2-port10"} {
		p, err := ParsePort(name)
		if iface, dir := p.Switch(); err != nil || iface+" "+dir != want {
			t.Errorf("%s: %s %s", name, iface, dir)
		}
	}
	if iface, dir := (Port{}).Switch(); iface != "" || dir != "" {
		t.Error("no port has a switch")
	}
}

// requests is one of each verb.
var requests = []Request{
	{Verb: Defaults},
	{Verb: Authorise, Port: "1-2", Config: 1},
	{Verb: Authorise, Port: "1-2.3.4", Config: 255, Interface: 31},
	{Verb: Deauthorise, Port: "1-2"},
	{Verb: Disable, Port: "1-2"},
	{Verb: Enable, Port: "255-255.255.255.255.255.255"},
	{Verb: HandOver, Port: "1-2", Bus: 1, Address: 127},
	{Verb: TakeBack, Port: "1-2", Bus: 255, Address: 1},
	{Verb: AdmitHub, Port: "1-2", Config: 1},
	{Verb: AdmitOwn, Port: "1-4", Config: 1, Interface: 2},
}

func TestMessagesAreAsTheCommentSays(t *testing.T) {
	got, err := Request{Verb: Authorise, Port: "1-2", Config: 1}.Encode()
	want := append([]byte("PGQ1\x02\x01\x00\x03\x00\x00\x00\x00\x00\x00\x00\x001-2"), make([]byte, 45)...)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%x %v", got, err)
	}
	if got := EncodeAnswer(Authorise, true, 0); !bytes.Equal(got, []byte("PGA1\x02\x01\x00\x00")) {
		t.Errorf("%x", got)
	}
	for _, r := range requests {
		b, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, port, err := DecodeRequest(b)
		if err != nil || back != r || port.String() != r.Port {
			t.Errorf("%+v becomes %+v, %v", r, back, err)
		}
	}
}

func TestRequestsThatSayTooMuchOrTooLittleAreRefused(t *testing.T) {
	good, _ := Request{Verb: Authorise, Port: "1-2", Config: 1}.Encode()
	for name, change := range map[string]func(b []byte) []byte{
		"empty":                  func([]byte) []byte { return nil },
		"short":                  func(b []byte) []byte { return b[:RequestSize-1] },
		"long":                   func(b []byte) []byte { return append(b, 0) },
		"another magic":          func(b []byte) []byte { b[3] = '2'; return b },
		"no verb":                func(b []byte) []byte { b[4] = 0; return b },
		"unknown verb":           func(b []byte) []byte { b[4] = byte(verbs); return b },
		"no configuration":       func(b []byte) []byte { b[5] = 0; return b },
		"bus where none belongs": func(b []byte) []byte { b[8] = 1; return b },
		"reserved byte":          func(b []byte) []byte { b[13] = 1; return b },
		"no port":                func(b []byte) []byte { b[7] = 0; return b },
		"port longer than told":  func(b []byte) []byte { b[7] = 2; return b },
		"port shorter than told": func(b []byte) []byte { b[7] = 4; return b },
		"port of 255 bytes":      func(b []byte) []byte { b[7] = 255; return b },
		"after the port":         func(b []byte) []byte { b[63] = 1; return b },
		"path":                   func(b []byte) []byte { copy(b[16:], "../"); return b },
		"device for the defaults": func(b []byte) []byte {
			b[4], b[5] = byte(Defaults), 0
			return b
		},
		"node without an address": func(b []byte) []byte { b[4], b[5], b[8] = byte(HandOver), 0, 1; return b },
		"configuration to switch": func(b []byte) []byte { b[4] = byte(Disable); return b },
	} {
		if r, _, err := DecodeRequest(change(bytes.Clone(good))); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if _, err := (Request{Verb: Disable, Port: "../x"}).Encode(); !errors.Is(err, ErrPort) {
		t.Errorf("%v", err)
	}
}

func TestAnswersThatAreNotOneAreNoSuccess(t *testing.T) {
	if err := DecodeAnswer(EncodeAnswer(Disable, true, 0), Disable); err != nil {
		t.Error(err)
	}
	if err := DecodeAnswer(EncodeAnswer(Disable, false, syscall.EPERM), Disable); !errors.Is(err, syscall.EPERM) {
		t.Error(err)
	}
	if err := DecodeAnswer(EncodeAnswer(Disable, true, 0), Enable); err == nil {
		t.Error("the answer to another verb")
	}
	good := EncodeAnswer(Disable, true, 0)
	for n := range good {
		for v := range 256 {
			b := bytes.Clone(good)
			if b[n] = byte(v); !bytes.Equal(b, good) && DecodeAnswer(b, Disable) == nil {
				t.Errorf("%x is a success", b)
			}
		}
		if DecodeAnswer(good[:n], Disable) == nil {
			t.Errorf("%d bytes are a success", n)
		}
	}
}

// Each request can be written in one way, so no changed byte leaves it the same.
func TestEveryChangedByteIsAnotherRequestOrNone(t *testing.T) {
	for _, r := range requests {
		good, _ := r.Encode()
		for n := range good {
			for v := range 256 {
				b := bytes.Clone(good)
				if b[n] = byte(v); bytes.Equal(b, good) {
					continue
				}
				if back, _, err := DecodeRequest(b); err == nil && back == r {
					t.Errorf("byte %d of %+v does not count", n, r)
				}
			}
		}
	}
}

func FuzzRequest(f *testing.F) {
	for _, r := range requests {
		b, _ := r.Encode()
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, port, err := DecodeRequest(b)
		if err != nil {
			if r != (Request{}) || port != (Port{}) {
				t.Errorf("%x: %+v with an error", b, r)
			}
			return
		}
		if again, err := r.Encode(); err != nil || !bytes.Equal(again, b) || strings.ContainsAny(port.String(), "/:") {
			t.Errorf("%x: %+v", b, r)
		}
	})
}
