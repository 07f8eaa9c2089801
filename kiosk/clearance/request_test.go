package clearance

import (
	"bytes"
	"crypto/ecdsa"
	"strings"
	"testing"
	"time"
)

func TestARequestComesBackAndIsToldByItsWords(t *testing.T) {
	r := newRig(t, false)
	data, err := r.keys.Request("kiosk-1/log+1+AA")
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseRequest(data)
	if err != nil {
		t.Fatal(err)
	}
	if got.Key.KeyID() != r.keys.Public().KeyID() || got.Key.Issuer != "kiosk-1" || got.LogKey != "kiosk-1/log+1+AA" || !got.Key.PQ.Equal(r.keys.Public().PQ) {
		t.Errorf("%+v", got)
	}
	if words := strings.Fields(got.Words()); len(words) != 6 || len(got.Digits()) < 80 || len(got.Digits()) > 90 {
		t.Errorf("%q, %d digits", got.Words(), len(got.Digits()))
	}
	// A signature is another one each time, the fingerprint stays.
	again, err := r.keys.Request("kiosk-1/log+1+AA")
	if err != nil {
		t.Fatal(err)
	}
	second, err := ParseRequest(again)
	if err != nil || second.Words() != got.Words() || second.Digits() != got.Digits() {
		t.Errorf("the fingerprint changed: %v", err)
	}
	other, err := GenerateKeys("kiosk-1", false, exampleTime)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.Request("kiosk-1/log+1+AA")
	if err != nil {
		t.Fatal(err)
	}
	if third, err := ParseRequest(foreign); err != nil || third.Words() == got.Words() {
		t.Errorf("another key of the same name has the same words: %v", err)
	}
}

func TestT12_EveryChangedByteOfARequestIsRejected(t *testing.T) {
	r := newRig(t, false)
	data, err := r.keys.Request("kiosk-1/log+1+AA")
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		if i > 200 && i < len(data)-200 && i%23 != 0 { // the middle is the post-quantum key
			continue
		}
		for _, b := range changes(data[i]) {
			bad := bytes.Clone(data)
			bad[i] = b
			if _, err := ParseRequest(bad); err == nil {
				t.Fatalf("byte %d as %#02x: the request was taken", i, b)
			}
		}
		if _, err := ParseRequest(data[:i]); err == nil {
			t.Fatalf("a request cut to %d bytes was taken", i)
		}
	}
	if _, err := ParseRequest(append(bytes.Clone(data), 0)); err == nil {
		t.Error("a request with a byte behind its end was taken")
	}
}

func TestT34_ADemonstrationKeyIsNeverEnrolled(t *testing.T) {
	r := newRig(t, true)
	if _, err := r.keys.Request("log+1+AA"); err == nil {
		t.Error("a demonstration key asked to be enrolled")
	}
	// Whatever a demonstration signs, a real trust file that lists its key does not make it real.
	real := r.contents()
	real.Demo = false
	data, err := SignTrust(real, r.roots[0], r.roots[1])
	if err != nil {
		t.Fatal(err)
	}
	trust, err := ParseTrust(data)
	if err != nil {
		t.Fatal(err)
	}
	q := r.question(r.token(t, nil))
	q.Trust = trust
	if res := Verify(q); res.Reason != Demonstration {
		t.Errorf("%v: %s", res.Reason, res.Text)
	}
	q.AllowDemo = true
	if res := Verify(q); res.Reason != UnknownIssuer {
		t.Errorf("%v: %s", res.Reason, res.Text)
	}
	if err := trust.Succeeds(r.trust); err == nil {
		t.Error("a real trust file followed a demonstration's")
	}
}

func TestWordsCanBeReadOutAndCompared(t *testing.T) {
	if got := Words([32]byte{0, 0, 0xFF, 0xFF, 0x12, 0x34}); got != "babab zuzuz damuh babab babab babab" {
		t.Errorf("%q", got)
	}
	words := "babab zuzuz damuh babab babab kusuf"
	for text, same := range map[string]bool{words: true, "BABAB-zuzuz, damuh\nbabab babab  kusuf ": true, "babab zuzuz damuh babab babab": false,
		words + " babab": false, "": false, "babab zuzuz damuh babab kusuf babab": false} {
		if SameWords(words, text) != same {
			t.Errorf("%q: want %v", text, same)
		}
	}
	if SameWords("", "") {
		t.Error("no words are no fingerprint")
	}
}

func TestRootsTravelAsText(t *testing.T) {
	for range 20 { // both signs of y
		root, err := GenerateRoot()
		if err != nil {
			t.Fatal(err)
		}
		text := RootText(&root.PublicKey)
		got, err := ParseRoot(text)
		if err != nil || !got.Equal(&root.PublicKey) || RootWords(got) != RootWords(&root.PublicKey) {
			t.Fatalf("%s: %v", text, err)
		}
		if _, err := ParseRoot(text[:len(text)-1]); err == nil {
			t.Error("a cut key was taken")
		}
		if _, err := ParseRoot(text + "A"); err == nil {
			t.Error("a longer key was taken")
		}
	}
}

func TestRootsSignOnTheirOwnMachines(t *testing.T) {
	r := newRig(t, false)
	draft, err := DraftTrust(r.contents())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseTrust(draft); err == nil {
		t.Fatal("a draft was taken for a trust file")
	}
	one, err := Countersign(draft, r.roots[2])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseTrust(one); err == nil {
		t.Fatal("one of two signatures was enough")
	}
	twice, err := Countersign(one, r.roots[2])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseTrust(twice); err == nil {
		t.Fatal("one root counted twice")
	}
	stranger, err := GenerateRoot()
	if err != nil {
		t.Fatal(err)
	}
	if helped, err := Countersign(one, stranger); err != nil {
		t.Fatal(err)
	} else if _, err := ParseTrust(helped); err == nil {
		t.Fatal("a stranger's signature counted")
	}
	two, err := Countersign(twice, r.roots[0])
	if err != nil {
		t.Fatal(err)
	}
	trust, err := ParseTrust(two)
	if err != nil || trust.Signed(trust.Roots) != 2 {
		t.Fatalf("%v", err)
	}
	if !trust.Same(r.trust) || trust.ContentWords() != r.trust.ContentWords() || trust.RootsWords() != r.trust.RootsWords() {
		t.Error("the same content has other words")
	}
}

// A change of roots needs enough of the old ones and enough of the new ones, on one file.
func TestT17_RootsChangeOnlyByOldAndNewTogether(t *testing.T) {
	r := newRig(t, false)
	fresh := make([]*ecdsa.PrivateKey, 2)
	next := r.contents()
	next.Version, next.Issued, next.Roots, next.Threshold = 8, next.Issued.Add(time.Minute), nil, 2
	for i := range fresh {
		var err error
		if fresh[i], err = GenerateRoot(); err != nil {
			t.Fatal(err)
		}
		next.Roots = append(next.Roots, &fresh[i].PublicKey)
	}
	draft, err := DraftTrust(next)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(data []byte, roots ...*ecdsa.PrivateKey) []byte {
		for _, root := range roots {
			if data, err = Countersign(data, root); err != nil {
				t.Fatal(err)
			}
		}
		return data
	}
	for name, row := range map[string]struct {
		roots []*ecdsa.PrivateKey
		good  bool
	}{
		"the new alone":           {fresh, false},
		"the new and one old":     {append([]*ecdsa.PrivateKey{r.roots[0]}, fresh...), false},
		"the old alone":           {r.roots, false},
		"one new and all old":     {append([]*ecdsa.PrivateKey{fresh[0]}, r.roots...), false},
		"enough old and new ones": {append([]*ecdsa.PrivateKey{r.roots[0], r.roots[1]}, fresh...), true},
	} {
		trust, err := ParseTrust(sign(draft, row.roots...))
		if got := err == nil && trust.Succeeds(r.trust) == nil; got != row.good {
			t.Errorf("%s: taken %v", name, got)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	r := newRig(f, false)
	data, err := r.keys.Request("log+1+AA")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:40])
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := ParseRequest(data); err == nil && len(strings.Fields(r.Words())) != 6 {
			t.Error("a request without words")
		}
	})
}
