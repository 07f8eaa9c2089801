package export

import (
	"encoding/json"
	"testing"
)

// What entries say is taken from their JSON, of kinds too that were added after this package.
func TestRecordsSayWhatTheEntriesSay(t *testing.T) {
	for _, tt := range []struct{ kind, data, text, person, second string }{
		{"override", `{"class":"imaging","reason":"drill","person":"0102030405060708","asked":"0000000000000000","confirmed":false}`,
			"OVERRIDE for imaging asked for: drill", "0102030405060708", ""},
		{"override", `{"class":"imaging","reason":"drill","person":"0202030405060708","asked":"0102030405060708","confirmed":true}`,
			"OVERRIDE for imaging confirmed: drill", "0202030405060708", "0102030405060708"},
		{"issuing", `{"leaf":"00","content":"c0","classes":["imaging"],"override":"drill","operator":"0102030405060708"}`,
			"OVERRIDE for imaging about to be signed: drill", "0102030405060708", ""},
		{"erased", `{"scope":"month","names_of":"00000000000000000000000000000000","month":"2026-07","secrets":40,"person":"0102030405060708"}`,
			"names erased: month 2026-07 (40 secrets)", "0102030405060708", ""},
		{"disclosed", `{"names_of":"5e000000000000000000000000000001","entry":-1,"asked":"0102030405060708","agreed":"0202030405060708","reason":"recall"}`,
			"names disclosed to two people: recall", "0202030405060708", "0102030405060708"},
		{"exception", `{"what":"confirmed","id":"01","person":"0102030405060708","sha256":"09","findings":["yara/A"],"reason":"false-positive","until":7}`,
			"exception confirmed: false-positive", "0102030405060708", ""},
		{"guest", `{"person":"0102030405060708","sponsor":"0202030405060708","company":"Acme","order":"WO-1"}`, "somebody answers for a guest",
			"0102030405060708", "0202030405060708"},
		{"to-come", `{"class":["not","a","word"],"what":"this","person":7,"number":-1}`, "to-come this", "", ""},
		{"to-come", `null`, "to-come", "", ""},
	} {
		r := &Record{Kind: tt.kind}
		r.read(json.RawMessage(tt.data))
		if r.Text != tt.text || r.Person != tt.person || r.Second != tt.second {
			t.Errorf("%s is %q, by %q and %q", tt.data, r.Text, r.Person, r.Second)
		}
		for _, all := range [][]detail{details(r), {{"outcome", eventOf(r).outcome}}} {
			for _, d := range all {
				if d.name == "" || d.value == "" {
					t.Errorf("%s: %+v", tt.kind, all)
				}
			}
		}
	}
}

func TestSizes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 999: "999 bytes", 1000: "1.0 kB", 8_004_304_896: "8.0 GB", 1<<63 - 1: "9.2 EB"} {
		if got := size(n); got != want {
			t.Errorf("%d is %s", n, got)
		}
	}
}
