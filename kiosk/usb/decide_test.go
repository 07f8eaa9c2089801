package usb

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"pratique/kiosk/usb/usbtest"
)

// on is a device with these descriptors on a port, as sysfs would give it.
func on(port string, address int, blob []byte) Device {
	d, fault := Parse(blob)
	d.Port, d.Bus, d.Address, d.Instance, d.Fault = port, 1, address, uint64(address), fault
	d.Digest = sha256.Sum256(blob)
	return d
}

func TestZeroValuesRefuse(t *testing.T) {
	stick := on("1-2", 5, usbtest.Stick(1))
	for name, got := range map[string]Decision{
		"no decision":            {},
		"no device":              Decide(Device{}, front),
		"no policy":              Decide(stick, Policy{}),
		"neither":                Decide(Device{}, Policy{}),
		"no device, own port":    Decide(Device{Port: "1-1"}, Policy{Own: []Own{{Port: "1-1", Digest: [32]byte{1}}}}),
		"no digest, own port":    Decide(Device{Port: "1-1"}, Policy{Own: []Own{{Port: "1-1"}}}),
		"nothing known but port": Decide(Device{Port: "1-2"}, front),
	} {
		if got.Action != Refuse || got.Action.String() != "refuse" {
			t.Errorf("%s: %v", name, got)
		}
	}
	if s := Action(99).String(); s != "refuse" {
		t.Errorf("Action(99) reads %q", s)
	}
	if s := Kind(99).String(); s != "nothing" {
		t.Errorf("Kind(99) reads %q", s)
	}
	if Ready(nil) {
		t.Error("ready without a layer")
	}
}

func TestPortsDecideWhoMayLive(t *testing.T) {
	stick, keyboard, hub := usbtest.Stick(1), usbtest.Keyboard(), usbtest.Hub()
	p := Policy{
		Media: map[string]string{"1-2": "front", "2-2": "front", "1-3.1": "side"},
		Own:   []Own{{"1-3", sha256.Sum256(hub), "internal hub"}, {"1-4", sha256.Sum256(keyboard), "badge reader"}, {"1-4", [32]byte{7}, "spare badge reader"}},
	}
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	broken := on("1-4", 5, keyboard)
	broken.Fault = FaultUnreadable
	for _, tt := range []struct {
		name   string
		device Device
		action Action
		code   Code
	}{
		{"stick on a media port", on("1-2", 5, stick), Attach, ""},
		{"stick on its other half", on("2-2", 5, stick), Attach, ""},
		{"stick behind a hub", on("1-2.4", 5, stick), Attach, ""},
		{"stick behind hubs", on("1-2.4.1", 5, stick), Attach, ""},
		{"stick behind the internal hub", on("1-3.1", 5, stick), Attach, ""},
		{"stick on a port of the internal hub that is not named", on("1-3.2", 5, stick), Refuse, NotAMediaPort},
		{"stick on a port that is not named", on("1-5", 5, stick), Refuse, NotAMediaPort},
		{"stick on a port whose name only begins the same", on("1-21", 5, stick), Refuse, NotAMediaPort},
		{"hub on a media port", on("1-2", 5, hub), Hub, ""},
		{"hub elsewhere", on("1-5", 5, hub), Refuse, NotAMediaPort},
		{"keyboard on a media port", on("1-2", 5, keyboard), Refuse, InputDevice},
		{"keyboard behind a hub", on("1-2.1", 5, keyboard), Refuse, InputDevice},
		{"keyboard elsewhere", on("1-5", 5, keyboard), Refuse, NotAMediaPort},
		{"badge reader where it belongs", on("1-4", 5, keyboard), Admit, ""},
		{"badge reader on another port", on("1-5", 5, keyboard), Refuse, NotAMediaPort},
		{"badge reader on a media port", on("1-2", 5, keyboard), Refuse, InputDevice},
		{"stick where the badge reader belongs", on("1-4", 5, stick), Refuse, OwnChanged},
		{"something unreadable where the badge reader belongs", broken, Refuse, OwnChanged},
		{"behind the badge reader", on("1-4.1", 5, keyboard), Refuse, NotAMediaPort},
		{"internal hub", on("1-3", 5, hub), Admit, ""},
		{"stick and keyboard", on("1-2", 5, usbtest.StickAndKeyboard()), Refuse, InputDevice},
	} {
		got := Decide(tt.device, p)
		if got.Action != tt.action || got.Code != tt.code {
			t.Errorf("%s: %v %s, expected %v %s", tt.name, got.Action, got.Code, tt.action, tt.code)
		}
	}
}

func TestT01_RefusalOfADisguisedDeviceNamesBoth(t *testing.T) {
	text := Decide(on("1-2", 5, usbtest.StickAndKeyboard()), front).Text
	if !strings.Contains(text, "looks like a USB stick") || !strings.Contains(text, "keyboard") {
		t.Errorf("%q", text)
	}
	text = Decide(on("1-2", 5, usbtest.Keyboard()), front).Text
	if strings.Contains(text, "looks like") || !strings.Contains(text, "keyboard") {
		t.Errorf("%q", text)
	}
}

func TestEveryCodeHasItsSentence(t *testing.T) {
	for code, text := range texts {
		if text == "" || len(text) > 140 || !strings.HasSuffix(text, ".") {
			t.Errorf("%s: %q", code, text)
		}
	}
	for _, f := range foreign {
		for _, storage := range []bool{false, true} {
			got := refuseForeign(map[byte]bool{f.class: true}, storage)
			if got.Code != f.code || len(got.Text) > 180 || got.Action != Refuse {
				t.Errorf("class %02x: %v", f.class, got)
			}
		}
	}
}

func TestPoliciesThatContradictThemselvesAreRefused(t *testing.T) {
	digest := [32]byte{1}
	for name, p := range map[string]Policy{
		"path":                 {Media: map[string]string{"../../1-2": "front"}},
		"root hub":             {Media: map[string]string{"usb1": "front"}},
		"interface":            {Media: map[string]string{"1-2:1.0": "front"}},
		"no name":              {Media: map[string]string{"1-2": ""}},
		"long name":            {Media: map[string]string{"1-2": strings.Repeat("x", 65)}},
		"media behind media":   {Media: map[string]string{"1-2": "front", "1-2.1": "side"}},
		"own on a media port":  {Media: map[string]string{"1-2": "front"}, Own: []Own{{"1-2", digest, "printer"}}},
		"own behind a media":   {Media: map[string]string{"1-2": "front"}, Own: []Own{{"1-2.1", digest, "printer"}}},
		"own twice":            {Own: []Own{{"1-4", digest, "printer"}, {"1-4", digest, "reader"}}},
		"own without a digest": {Own: []Own{{Port: "1-2", Name: "printer"}}},
		"own on no port":       {Own: []Own{{Port: "printer", Digest: digest}}},
	} {
		if err := p.Check(); !errors.Is(err, ErrPolicy) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Watch(t.Context(), t.TempDir(), p); !errors.Is(err, ErrPolicy) {
			t.Errorf("%s is watched: %v", name, err)
		}
	}
}

func TestDetailsHoldNoStringOfTheDevice(t *testing.T) {
	d := on("1-2", 5, usbtest.Stick(0x1666))
	d.Serial, d.Manufacturer, d.Name = "SERIAL-OF-JANE-DOE\n\x1b[2J", "maker\x00", strings.Repeat("x", 10_000)
	line := d.Details()
	if strings.Contains(line, "JANE") || strings.ContainsAny(line, "\n\x1b\x00") || len(line) > 300 {
		t.Errorf("%q", line)
	}
	for _, word := range []string{"1-2", "0951:1666", "08/06/50"} {
		if !strings.Contains(line, word) {
			t.Errorf("%q does not say %s", line, word)
		}
	}
}
