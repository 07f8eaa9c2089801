package audit

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pratique/kiosk/clearance"
	"pratique/scanner/report"
)

var leafTime = time.Date(2026, 11, 21, 12, 0, 0, 123456789, time.UTC)

// everyEvent has each kind of event, with each field set.
func everyEvent() []Event {
	id := sessionID(1)
	full := decided(NotCleared, Digest{8}, 40_000)
	full.Deep, full.Content, full.Rules.Added = true, Digest{5}, Digest{6}
	full.Counts = CountsOf(report.Tally{Files: 1, Directories: 2, Streams: 3, Members: 4, Areas: 5, Regions: 6, Bytes: 1 << 40, Findings: 8,
		Outcomes: [8]uint64{1, 2, 3, 4, 5, 6, 7, 8}})
	full.Excepted = []Excepted{{Exception: ID{1}, Findings: 3}, {Exception: ID{2}, Findings: 1}}
	for len(full.Reasons) < maxReasons {
		full.Reasons = append(full.Reasons, Word(strings.Repeat("r", maxWord)))
	}
	return []Event{
		{id, Attached{USB, 1 << 40, 4096, 0x0951, 0x1666, "left", 3, 1}}, {id, full}, {id, decided(Cleared, Digest{}, 0)}, {id, Issued{3, Digest{1}}},
		{id, Abandoned{3}}, {id, Removed{}}, {id, Aborted{"killed"}}, {id, Failed{"log"}}, {ID{}, Failed{"no-workers"}},
		{ID{}, Exported{Format: "csv", From: 3, To: 900, SHA256: Digest{2}}}, {ID{}, Exported{"pdf", 3, 900, Digest{2}, 7, Pseudonym{1}}}, {ID{}, Verified{900, true, -1}}, {ID{}, Verified{900, false, 17}}, {ID{}, Read{0, 9}},
		{id, Denied{"imaging", Pseudonym{1}, "class"}}, {ID{}, Refused{"1-2.4", "keyboard", 0x0951, 0x1666, Digest{3}}},
		{ID{}, Administered{"incident-begun", Pseudonym{1}, "stolen", 3, Digest{4}}},
		{ID{}, Pack{Rules: Rules{"core", 2, Digest{1}, Digest{}}, Before: Rules{"core", 1, Digest{2}, Digest{}}, Source: "folder"}},
		{ID{}, Pack{Before: Rules{"core", 1, Digest{2}, Digest{}}, Refuse: "older", Gate: "signature", Source: "path", Untold: 7}},
		{ID{}, Canary{Rules{"core", 2, Digest{1}, Digest{}}, 4, []Word{"dicom"}}},
		{ID{}, step(Confirmed, 1, 2)},
		{ID{}, Guest{Pseudonym{1}, Pseudonym{2}, "Acme", "WO-1"}},
		{id, Override{Class: "imaging", Reason: "drill", Person: Pseudonym{1}}}, {id, Override{"imaging", "drill", Pseudonym{2}, Pseudonym{1}, true}},
		{ID{}, Erased{"session", id, "", 1, Pseudonym{1}}}, {ID{}, Erased{"before", ID{}, "2026-11", 3, Pseudonym{1}}},
		{ID{}, Disclosed{id, -1, Pseudonym{1}, Pseudonym{2}, "incident"}}, {ID{}, Disclosed{ID{}, 7, Pseudonym{1}, Pseudonym{2}, "incident"}},
		{ID{}, Pack{Before: Rules{"core", 1, Digest{2}, Digest{}}, Refuse: "no-pack", Gate: "medium", Source: "medium", Medium: id}},
		{ID{}, Recalled{id, []Word{"imaging"}, 1_795_262_400, "hash-list", 3, Rules{"core", 2, Digest{1}, Digest{}}, ""}},
		{ID{}, Recalled{id, []Word{"imaging"}, 1_795_262_400, "type", 3, Rules{"core", 2, Digest{1}, Digest{}}, "kiosk-1"}},
	}
}

func everyLeaf(t testing.TB) [][]byte {
	t.Helper()
	leaves := [][]byte{claimsLeaf(t, sessionID(1), leafTime.Truncate(time.Second))}
	for i, ev := range everyEvent() {
		leaf, err := encodeLeaf(ev, leafTime, uint64(i*1000))
		if err != nil {
			t.Fatalf("%v: %v", ev.Data.Kind(), err)
		}
		leaves = append(leaves, leaf)
	}
	named, err := encodeNamed(Event{ID{}, Administered{"key-made", Pseudonym{1}, "", 0, Digest{}}}, leafTime, 0, &Digest{7})
	if err != nil {
		t.Fatal(err)
	}
	return append(leaves, named)
}

func TestEachEventReadsBackAsItWasWritten(t *testing.T) {
	kinds := map[Kind]bool{KindIssuing: true}
	for i, ev := range everyEvent() {
		kinds[ev.Data.Kind()] = true
		leaf, err := encodeLeaf(ev, leafTime, uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		e, err := decodeLeaf(leaf)
		if err != nil {
			t.Errorf("%v: %v", ev.Data.Kind(), err)
			continue
		}
		want, _ := json.Marshal(ev.Data)
		got, err := json.Marshal(e.Data)
		if err != nil || !bytes.Equal(got, want) || e.Session != ev.Session || !e.Time.Equal(leafTime) || e.ClockBack != uint64(i) {
			t.Errorf("%v: %+v, want %s", ev.Data.Kind(), e, want)
		}
	}
	for k := NoKind + 1; k < kindEnd; k++ {
		if !kinds[k] {
			t.Errorf("no test of kind %v", k)
		}
		if back, err := ParseKind(k.String()); err != nil || back != k {
			t.Errorf("%v reads back as %v, %v", k, back, err)
		}
	}
}

func TestJSONOfAnEntry(t *testing.T) {
	e, err := decodeLeaf(everyLeaf(t)[2])
	if err != nil {
		t.Fatal(err)
	}
	d := e.Data.(Decided)
	d.Reasons = d.Reasons[:1]
	e.Data, e.Index = d, 7
	got, err := json.Marshal(e)
	zeros := strings.Repeat("0", 62)
	want := `{"index":7,"time":"2026-11-21T12:00:00.123456789Z","kind":"decided","session":"5e000000000000000000000000000001","clock_back":1000,` +
		`"data":{"verdict":"not cleared","reasons":["yara-match"],"class":"imaging","content":"05` + zeros + `",` +
		`"rules":{"name":"baseline","version":3,"digest":"09` + zeros + `","added":"06` + zeros + `"},"deep":true,` +
		`"counts":{"files":1,"directories":2,"streams":3,"members":4,"areas":5,"regions":6,"bytes":1099511627776,"findings":8,` +
		`"outcomes":{"clean":2,"encrypted":4,"flagged":3,"malformed":7,"timed out":6,"too large":5,"unreadable":8,"unscanned":1}},` +
		`"items":40000,"items_digest":"08` + zeros + `",` +
		`"excepted":[{"exception":"01` + zeros[:30] + `","findings":3},{"exception":"02` + zeros[:30] + `","findings":1}]}}`
	if err != nil || string(got) != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// Whatever is changed in a leaf, it either does not decode or is a different, well-formed leaf: never two encodings of one
// event, never a panic. The tree then says which of the two was there.
func TestEachChangedByteOfALeafIsRefusedOrAnotherEvent(t *testing.T) {
	for _, leaf := range everyLeaf(t) {
		original, err := decodeLeaf(leaf)
		if err != nil {
			t.Fatal(err)
		}
		original.Leaf = nil
		was, _ := json.Marshal(original)
		for i := range leaf {
			for _, bit := range []byte{1, 2, 4, 8, 16, 32, 64, 128, 255} {
				changed := bytes.Clone(leaf)
				changed[i] ^= bit
				e, err := decodeLeaf(changed)
				if err != nil {
					continue
				}
				if is, _ := json.Marshal(e); bytes.Equal(is, was) {
					t.Fatalf("%v: byte %d xor %d: the same event", original.Kind, i, bit)
				}
			}
			if _, err := decodeLeaf(leaf[:i]); err == nil {
				t.Fatalf("%v: its first %d bytes are a leaf", original.Kind, i)
			}
		}
		if _, err := decodeLeaf(append(bytes.Clone(leaf), 0)); err == nil {
			t.Errorf("%v: a byte at its end is ignored", original.Kind)
		}
	}
}

func TestLeavesThatNobodyWrote(t *testing.T) {
	id := sessionID(1)
	wire := func(w wireLeaf) []byte {
		body, err := encoder.Marshal(w)
		if err != nil {
			t.Fatal(err)
		}
		return append([]byte(leafPrefix), body...)
	}
	for name, leaf := range map[string][]byte{
		"empty":               {},
		"prefix only":         []byte(leafPrefix),
		"null":                append([]byte(leafPrefix), 0xf6),
		"another version":     wire(wireLeaf{2, "removed", 5, id[:], 0, []byte{0xa0}, nil}),
		"an unknown kind":     wire(wireLeaf{1, "shouted", 5, id[:], 0, []byte{0xa0}, nil}),
		"issuing as an event": wire(wireLeaf{1, "issuing", 5, id[:], 0, []byte{0xa0}, nil}),
		"a long session":      wire(wireLeaf{1, "removed", 5, append(id[:], 0), 0, []byte{0xa0}, nil}),
		"a short session":     wire(wireLeaf{1, "removed", 5, id[:15], 0, []byte{0xa0}, nil}),
		"no session":          wire(wireLeaf{1, "removed", 5, nil, 0, []byte{0xa0}, nil}),
		"a negative time":     wire(wireLeaf{1, "removed", -5, id[:], 0, []byte{0xa0}, nil}),
		"an unknown field":    wire(wireLeaf{1, "removed", 5, id[:], 0, []byte{0xa1, 0x01, 0x01}, nil}),
		"a name as cause":     wire(wireLeaf{1, "aborted", 5, id[:], 0, []byte{0xa1, 0x01, 0x63, 'a', ' ', 'b'}, nil}),
		"a key twice":         wire(wireLeaf{1, "aborted", 5, id[:], 0, []byte{0xa2, 0x01, 0x61, 'a', 0x01, 0x61, 'a'}, nil}),
		"a long form":         wire(wireLeaf{1, "aborted", 5, id[:], 0, []byte{0xa1, 0x18, 0x01, 0x61, 'a'}, nil}),
		"a short commitment":  wire(wireLeaf{1, "removed", 5, id[:], 0, []byte{0xa0}, make([]byte, 31)}),
		"too long":            append([]byte(leafPrefix), make([]byte, maxLeaf)...),
	} {
		if e, err := decodeLeaf(leaf); err == nil {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func FuzzLeaf(f *testing.F) {
	for _, leaf := range everyLeaf(f) {
		f.Add(leaf)
	}
	f.Fuzz(func(t *testing.T, leaf []byte) {
		e, err := decodeLeaf(leaf)
		if err != nil {
			return
		}
		if _, err := json.Marshal(e); err != nil {
			t.Errorf("an entry without JSON: %v", err)
		}
		if e.Kind == KindIssuing {
			c, err := clearance.LeafClaims(leaf)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := clearance.Leaf(c); err != nil || !bytes.Equal(again, leaf) {
				t.Errorf("a clearance with two encodings: %x %x %v", leaf, again, err)
			}
			return
		}
		again, err := encodeNamed(Event{e.Session, e.Data}, e.Time, e.ClockBack, e.Names)
		if err != nil || !bytes.Equal(again, leaf) {
			t.Errorf("an event with two encodings: %x %x %v", leaf, again, err)
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	k := newKey(f)
	signed, err := signHead(k.options(), Head{Size: 17})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed)
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseCheckpoint(s, testOrigin, k.options().Verifiers)
		if err == nil && h != (Head{Size: 17}) {
			t.Errorf("a checkpoint that nobody signed: %v", h)
		}
	})
}

func TestT16_EachChangedByteOfACheckpointIsRefused(t *testing.T) {
	k := newKey(t)
	head := Head{Size: 1234567, Root: emptyRoot}
	signed, err := signHead(k.options(), head)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseCheckpoint(signed, testOrigin, k.options().Verifiers); err != nil || got != head {
		t.Fatal(got, err)
	}
	for i := range signed {
		for bit := range 8 {
			changed := []byte(signed)
			changed[i] ^= 1 << bit
			if _, err := ParseCheckpoint(string(changed), testOrigin, k.options().Verifiers); err == nil {
				t.Errorf("byte %d, bit %d: accepted", i, bit)
			}
		}
		if _, err := ParseCheckpoint(signed[:i], testOrigin, k.options().Verifiers); err == nil {
			t.Errorf("its first %d bytes: accepted", i)
		}
	}
}

func TestCheckpointsThatAreSignedButMalformed(t *testing.T) {
	k := newKey(t)
	root := strings.Repeat("A", 43) + "="
	for name, text := range map[string]string{
		"leading zero":       testOrigin + "\n017\n" + root + "\n",
		"a sign":             testOrigin + "\n+17\n" + root + "\n",
		"negative":           testOrigin + "\n-17\n" + root + "\n",
		"too large":          testOrigin + "\n9223372036854775808\n" + root + "\n",
		"another log's":      "x\n17\n" + root + "\n",
		"an extension line":  testOrigin + "\n17\n" + root + "\nmore\n",
		"two lines":          testOrigin + "\n17\n",
		"a short root":       testOrigin + "\n17\nAAAA\n",
		"a root's last bits": testOrigin + "\n17\n" + strings.Repeat("A", 42) + "B=\n",
	} {
		signed, err := signText(k.options(), text)
		if err != nil {
			t.Fatal(err)
		}
		if h, err := ParseCheckpoint(signed, testOrigin, k.options().Verifiers); err == nil {
			t.Errorf("%s: %v", name, h)
		}
	}
}

func TestKeysThatAreMalformed(t *testing.T) {
	k := newKey(t)
	for i := range k.private {
		if _, _, err := ParseKey(k.private[:i]); err == nil {
			t.Errorf("the first %d bytes of a key are a key", i)
		}
	}
	for _, origin := range []string{"", "a b", "a+b", "a\nb", strings.Repeat("a", 256), "\xff"} {
		if _, _, err := GenerateKey(origin); err == nil {
			t.Errorf("a log can be called %q", origin)
		}
	}
}
