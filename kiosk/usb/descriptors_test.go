package usb

import (
	"bytes"
	"encoding/hex"
	"flag"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pratique/kiosk/usb/usbtest"
)

var mutants = flag.Int("mutants", 200, "random mutants of each device in the table, and random plays of ports; the nightly run says 20,000")

// sample is one device of testdata/descriptors.txt.
type sample struct {
	name      string
	blob      []byte
	malicious bool
	decision  string
	code      Code
	fault     Fault
}

// samples reads the table. A line that is not understood fails the test: a row that is left out would be a row that passes.
func samples(t testing.TB) (all []sample) {
	t.Helper()
	text, err := os.ReadFile("testdata/descriptors.txt")
	if err != nil {
		t.Fatal(err)
	}
	var s sample
	for n, line := range strings.Split(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "name: "); ok {
			if s.name != "" {
				t.Fatalf("line %d: %q has no decision", n+1, s.name)
			}
			s.name = name
			continue
		}
		if kind, expected, ok := strings.Cut(line, " -> "); ok {
			words := append(strings.Fields(expected), "", "")
			s.malicious, s.decision, s.code, s.fault = kind == "malicious", words[0], Code(words[1]), Fault(words[2])
			if s.name == "" || !s.malicious && kind != "honest" {
				t.Fatalf("line %d is not understood", n+1)
			}
			all = append(all, s)
			s = sample{}
			continue
		}
		b, err := hex.DecodeString(strings.ReplaceAll(line, " ", ""))
		if err != nil || s.name == "" && len(b) > 0 {
			t.Fatalf("line %d is not understood", n+1)
		}
		s.blob = append(s.blob, b...)
	}
	return all
}

// front is a policy with one media port.
var front = Policy{Media: map[string]string{"1-2": "front"}}

func decideBlob(blob []byte) (Device, Decision) {
	d, fault := Parse(blob)
	d.Port, d.Fault = "1-2", fault
	return d, Decide(d, front)
}

func TestT01_EveryDeviceOfTheTableGetsItsDecision(t *testing.T) {
	all := samples(t)
	names := map[string]bool{}
	malicious := 0
	for _, s := range all {
		if names[s.name] {
			t.Errorf("%s is in the table twice", s.name)
		}
		names[s.name] = true
		if s.malicious {
			malicious++
		}
		d, got := decideBlob(s.blob)
		if got.Action.String() != s.decision || got.Code != s.code || d.Fault != s.fault {
			t.Errorf("%s: %v %s %s, expected %s %s %s", s.name, got.Action, got.Code, d.Fault, s.decision, s.code, s.fault)
		}
		if s.malicious && got.Action != Refuse {
			t.Errorf("%s: malicious, and not refused", s.name)
		}
		if (got.Action == Refuse) != (got.Text != "") {
			t.Errorf("%s: %v with the words %q", s.name, got.Action, got.Text)
		}
	}
	if len(all) < 50 || malicious < 25 {
		t.Errorf("the table has %d devices, %d of them malicious", len(all), malicious)
	}
}

// Each fault and each code that comes from descriptors is in the table.
func TestTableNamesEveryReason(t *testing.T) {
	var codes []Code
	var faults []Fault
	for _, s := range samples(t) {
		codes, faults = append(codes, s.code), append(faults, s.fault)
	}
	for _, c := range []Code{Malformed, InputDevice, NetworkDevice, WirelessDevice, PrinterDevice, AudioVideo, CameraOrPhone, SmartCard,
		VendorDevice, OtherDevice, HubAndMore, UASOnly, OldStorage, StorageShape, SeveralInOne} {
		if !slices.Contains(codes, c) {
			t.Errorf("no device for %s", c)
		}
	}
	for _, f := range []Fault{FaultTruncated, FaultTrailing, FaultZeroLength, FaultLength, FaultOverlap, FaultStray, FaultConfigs, FaultValue,
		FaultInterfaces, FaultDuplicate, FaultNumber, FaultAlternate, FaultEndpoints, FaultEndpoint, FaultPacket, FaultGroup, FaultPipe} {
		if !slices.Contains(faults, f) {
			t.Errorf("no device for %s", f)
		}
	}
}

// onlyStorage goes through the bytes of a blob by itself, in the most careless way that there is: from each byte on, whatever looks
// like an interface descriptor within a chain of descriptors counts. A device that may be read must not show anything else.
func onlyStorage(blob []byte) bool {
	for i := 0; i+1 < len(blob) && blob[i] > 0; i += int(blob[i]) {
		if blob[i+1] == 4 && i+8 < len(blob) && (blob[i+5] != 8 || blob[i+6] != 6 || blob[i+7] != 0x50 && blob[i+7] != 0x62) {
			return false
		}
	}
	return true
}

// checkParsed holds what Parse and Decide promise of any bytes.
func checkParsed(t *testing.T, blob []byte) {
	t.Helper()
	d, decision := decideBlob(blob)
	if d.Fault != "" && (d.Configs != nil || decision.Action != Refuse) {
		t.Errorf("%x: fault %s, and %d configurations, %v", blob, d.Fault, len(d.Configs), decision)
	}
	for _, c := range d.Configs {
		for n, i := range c.Interfaces {
			if i.Number != n || len(i.Alternates) == 0 {
				t.Errorf("%x: interface %d is in place %d with %d settings", blob, i.Number, n, len(i.Alternates))
			}
			for _, a := range i.Alternates {
				if len(a.Endpoints) != a.declared {
					t.Errorf("%x: %d endpoints of %d", blob, len(a.Endpoints), a.declared)
				}
			}
		}
	}
	switch decision.Action {
	case Attach:
		if !onlyStorage(blob) || decision.Config == 0 || len(d.Configs) != 1 || len(d.Configs[0].Interfaces) != 1 {
			t.Errorf("%x may be read", blob)
		}
	case Hub:
		if d.Class[0] != 9 || len(d.Configs) != 1 || len(d.Configs[0].Interfaces) != 1 {
			t.Errorf("%x may be a hub", blob)
		}
	case Refuse:
		if decision.Code == "" || decision.Text == "" {
			t.Errorf("%x is refused without a reason", blob)
		}
	default:
		t.Errorf("%x: %v", blob, decision.Action)
	}
	_ = d.Details()
}

func TestT01_MutatedDescriptorsNeverBecomeAMediumByMistake(t *testing.T) {
	all, tried := samples(t), 0
	for seed, s := range all {
		tried += 12*len(s.blob) + *mutants
		for n := range s.blob {
			checkParsed(t, s.blob[:n])
			for _, v := range []byte{0, 1, 2, 4, 8, 9, 0x7F, 0x80, 0xFF, s.blob[n] + 1, s.blob[n] - 1} {
				m := bytes.Clone(s.blob)
				m[n] = v
				checkParsed(t, m)
			}
		}
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		for range *mutants {
			m := bytes.Clone(s.blob)
			for range 1 + r.IntN(4) {
				if len(m) == 0 {
					break
				}
				switch at := r.IntN(len(m)); r.IntN(4) {
				case 0:
					m[at] = byte(r.Uint32())
				case 1:
					m = slices.Delete(m, at, min(len(m), at+1+r.IntN(9)))
				case 2:
					m = slices.Insert(m, at, m[at:min(len(m), at+r.IntN(20))]...)
				case 3:
					m[at] ^= 1 << r.IntN(8)
				}
			}
			checkParsed(t, m)
		}
	}
	t.Logf("%d mutants of %d devices, none a medium by mistake", tried, len(all))
}

func TestDescriptorsOfAnySizeAreBounded(t *testing.T) {
	stick := usbtest.Stick(1)
	for _, size := range []int{maxDescriptors, maxDescriptors + 1, 1 << 20} {
		if d, fault := Parse(append(bytes.Clone(stick), make([]byte, size-len(stick))...)); fault == "" || d.Configs != nil {
			t.Errorf("%d bytes are taken", size)
		}
	}
	// As many interfaces and settings as fit, in the time that a plug may take.
	var parts [][]byte
	for n := range maxInterfaces {
		parts = append(parts, usbtest.Interface(byte(n), 8, 6, 0x50))
	}
	for n := 1; n < 256; n++ {
		alternate := usbtest.Interface(maxInterfaces-1, 8, 6, 0x62)
		alternate[3] = byte(n)
		parts = append(parts, alternate)
	}
	blob := usbtest.Descriptors(1, 1, 0, parts...)
	blob[18+4] = maxInterfaces
	start := time.Now()
	d, fault := Parse(blob)
	if fault != "" || len(d.Configs[0].Interfaces) != maxInterfaces || len(d.Configs[0].Interfaces[maxInterfaces-1].Alternates) != 256 {
		t.Errorf("%v", fault)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v", took)
	}
	if line := d.Details(); len(line) > 1024 {
		t.Errorf("a line of %d bytes", len(line))
	}
}

func FuzzDescriptors(f *testing.F) {
	for _, s := range samples(f) {
		f.Add(s.blob)
	}
	f.Fuzz(func(t *testing.T, blob []byte) { checkParsed(t, blob) })
}

func BenchmarkParse(b *testing.B) {
	blob := usbtest.Stick(1)
	for b.Loop() {
		if _, fault := Parse(blob); fault != "" {
			b.Fatal(fault)
		}
	}
}
