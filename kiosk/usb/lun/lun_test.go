package lun

import (
	"strings"
	"testing"

	"pratique/scanner/frame"
)

func good() Unit { return Unit{Trouble: Good, Bytes: 1 << 30, SectorSize: 512, Vendor: "ACME"} }

func TestReadyIsHeldAgainstTheRules(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Ready)
		ok     bool
	}{
		"a stick":               {func(*Ready) {}, true},
		"an empty slot beside":  {func(r *Ready) { r.Units = append(r.Units, Unit{Trouble: NoMedium}) }, true},
		"a unit of no trouble":  {func(r *Ready) { r.Units = append(r.Units, Unit{}) }, true}, // unknown, which is not good
		"4096":                  {func(r *Ready) { r.Units[0].SectorSize = 4096 }, true},
		"the largest":           {func(r *Ready) { r.Units[0].Bytes = MaxBytes }, true},
		"no units":              {func(r *Ready) { r.Units = nil }, false},
		"17 units":              {func(r *Ready) { r.Units = make([]Unit, MaxUnits+1) }, false},
		"no bytes":              {func(r *Ready) { r.Units[0].Bytes = 0 }, false},
		"fewer":                 {func(r *Ready) { r.Units[0].Bytes = -512 }, false},
		"half a sector":         {func(r *Ready) { r.Units[0].Bytes += 256 }, false},
		"too large":             {func(r *Ready) { r.Units[0].Bytes = MaxBytes + 512 }, false},
		"sector 0":              {func(r *Ready) { r.Units[0].SectorSize = 0 }, false},
		"sector 3":              {func(r *Ready) { r.Units[0].SectorSize = 3 }, false},
		"sector 520":            {func(r *Ready) { r.Units[0].SectorSize = 520 }, false},
		"size without a medium": {func(r *Ready) { r.Units[0].Trouble = NoMedium }, false},
		"unknown trouble":       {func(r *Ready) { r.Units = []Unit{{Trouble: Refusing + 1}} }, false},
		"escape":                {func(r *Ready) { r.Units[0].Product = "a\x1b[2J" }, false},
		"bidi":                  {func(r *Ready) { r.Units[0].Vendor = "a\u202eb" }, false},
		"long":                  {func(r *Ready) { r.Units[0].Revision = strings.Repeat("a", maxText+1) }, false},
		"space at its end":      {func(r *Ready) { r.Units[0].Revision = "a " }, false},
	} {
		r := Ready{Layers: []string{"x"}, Units: []Unit{good()}}
		tt.change(&r)
		data, err := frame.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var back Ready
		err = frame.Unmarshal(data, &back)
		if err == nil {
			err = back.Check()
		}
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTextIsPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"ACME    ": "ACME", "": "", "        ": "", "a\x00b": "a?b", "\x1b[2J": "?[2J", "\xff\xfe": "??", "01234567890123456789": "0123456789012345", "é": "??",
	} {
		if got := Text([]byte(in)); got != want || Text([]byte(got)) != got {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func FuzzReady(f *testing.F) {
	data, err := frame.Marshal(Ready{Layers: []string{"x"}, Units: []Unit{good(), {Trouble: NoMedium}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		var r Ready
		if frame.Unmarshal(data, &r) != nil || r.Check() != nil {
			return
		}
		for _, u := range r.Units {
			if (u.Trouble == Good) != (u.Bytes > 0 && GoodSector(u.SectorSize)) {
				t.Errorf("%+v", u)
			}
			if strings.ContainsFunc(u.Vendor+u.Product+u.Revision, func(c rune) bool { return c < ' ' || c > '~' }) {
				t.Errorf("%+v", u)
			}
		}
	})
}

func TestTroublesHaveWords(t *testing.T) {
	seen := map[string]bool{}
	for trouble := Unknown; trouble <= Refusing; trouble++ {
		seen[trouble.String()] = true
	}
	if len(seen) != int(Refusing)+1 || (Refusing+1).String() != Unknown.String() {
		t.Error(seen)
	}
}
