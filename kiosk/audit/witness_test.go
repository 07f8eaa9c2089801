package audit

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// The example of the specification (https://c2sp.org/tlog-cosignature) has a signature whose key is not given there, so this
// holds the form against the text: key ids by type 0x04, the time in front, the two lines before the checkpoint.
func TestCosignaturesHaveTheFormOfTheSpecification(t *testing.T) {
	private, public, err := GenerateWitness("witness.example.com/w1")
	if err != nil {
		t.Fatal(err)
	}
	w, err := ParseWitness(public)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := parseCosigner(private, time.Unix(1679315147, 0))
	if err != nil || signer.KeyHash() != w.KeyHash() {
		t.Fatal(err)
	}
	text := "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
	sig, err := signer.Sign([]byte(text))
	if err != nil || len(sig) != 72 || !w.Verify([]byte(text), sig) || string(cosigned(1679315147, []byte(text))) != "cosignature/v1\ntime 1679315147\n"+text {
		t.Errorf("%x %v", sig, err)
	}
	for i := range sig {
		changed := append([]byte{}, sig...)
		changed[i] ^= 1
		if w.Verify([]byte(text), changed) {
			t.Errorf("byte %d", i)
		}
	}
	for _, bad := range []string{"", "x", public + "x", strings.Replace(public, "w1", "w2", 1), strings.Replace(public, "+B", "+A", 1)} {
		if _, err := ParseWitness(bad); err == nil {
			t.Errorf("%q is a witness", bad)
		}
	}
	if _, err := parseCosigner(strings.Replace(private, "w1", "w2", 1), time.Now()); err == nil {
		t.Error("a key under another name")
	}
}

func TestT16_AWitnessSignsOnlyWhatContinuesWhatItSaw(t *testing.T) {
	k, dir := newKey(t), t.TempDir()
	l := open(t, dir, k)
	verifiers := k.options().Verifiers
	private, public, err := GenerateWitness("auditor.example")
	if err != nil {
		t.Fatal(err)
	}
	w, err := ParseWitness(public)
	if err != nil {
		t.Fatal(err)
	}
	cosign := func(l *Log, old int64, seen string) (string, error) {
		t.Helper()
		request, err := l.WitnessRequest(t.Context(), old)
		if err != nil {
			t.Fatal(err)
		}
		return Cosign(request, seen, private, testOrigin, verifiers, time.Now())
	}
	seen := ""
	sizes := []int64{}
	for n := range 7 {
		runSession(t, l, sessionID(n), 1)
		next, err := cosign(l, int64(5*n), seen)
		if err != nil {
			t.Fatalf("round %d: %v", n, err)
		}
		c, err := l.AddCosignature(t.Context(), next, []*Witness{w})
		if err != nil || c.Size != int64(5*n+5) || time.Since(c.At).Abs() > time.Minute {
			t.Fatalf("round %d: %+v %v", n, c, err)
		}
		seen = next
		sizes = append(sizes, c.Size)
		if n == 3 { // the same once more is no other history
			if _, err := cosign(l, c.Size, seen); err != nil {
				t.Error(err)
			}
		}
	}
	res, err := l.Verify(t.Context(), VerifyOptions{Witnesses: []*Witness{w}})
	if err != nil || !res.Sound || res.Cosigned != 7 || res.CosignedTo != 35 {
		t.Errorf("%+v %v", res, err)
	}
	if notes, err := l.Cosigned(t.Context()); err != nil || len(notes) != 7 || notes[6] != seen {
		t.Errorf("%d %v", len(notes), err)
	}

	// Another history, a shorter one, a request that leaves out the beginning, another log.
	fork := open(t, t.TempDir(), k)
	for n := range 9 {
		runSession(t, fork, sessionID(n), 1)
	}
	var bad *Broken
	if _, err := cosign(fork, 35, seen); !errors.As(err, &bad) || !strings.Contains(err.Error(), "history was rewritten") {
		t.Errorf("a fork: %v", err)
	}
	short := open(t, t.TempDir(), k)
	runSession(t, short, sessionID(1), 1)
	if _, err := cosign(short, 0, seen); !errors.As(err, &bad) || bad.Index != 5 {
		t.Errorf("a log that was put back: %v", err)
	}
	runSession(t, l, sessionID(20), 1)
	if _, err := cosign(l, 20, seen); err == nil {
		t.Error("a proof from elsewhere")
	}
	if _, err := cosign(l, 0, seen); err == nil {
		t.Error("a request as if nothing was seen")
	}
	other, otherPublic, err := GenerateWitness("auditor.example")
	if err != nil {
		t.Fatal(err)
	}
	request, _ := l.WitnessRequest(t.Context(), 35)
	if _, err := Cosign(request, seen, other, testOrigin, verifiers, time.Now()); err == nil {
		t.Error("a checkpoint that another key cosigned counts as seen")
	}
	next, err := cosign(l, 35, seen)
	if err != nil {
		t.Fatal(err)
	}
	wo, err := ParseWitness(otherPublic)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.AddCosignature(t.Context(), next, []*Witness{wo}); err == nil {
		t.Error("a witness that nobody trusts")
	}
	if _, err := fork.AddCosignature(t.Context(), next, []*Witness{w}); !errors.Is(err, ErrBroken) {
		t.Errorf("a cosignature of another history: %v", err)
	}
	for _, text := range []string{"", "old 5", "old x\n\n" + next, "old 35\n!\n\n" + next, "old 035\n\n" + next, strings.Repeat("x", 1<<20), strings.Replace(request, "\n\n", "\nAAAA\n\n", 1)} {
		if _, err := Cosign(text, seen, private, testOrigin, verifiers, time.Now()); err == nil {
			t.Errorf("%.20q was cosigned", text)
		}
	}

	// Cut back to where the last cosignature is still kept, the log contradicts itself.
	if _, err := note.Open([]byte(next), verifiers); err != nil {
		t.Error(err)
	}
	db := plain(t, l.dir+"/"+FileName)
	dropTriggers(t, db)
	run(t, db, "UPDATE cosignature SET note = (SELECT note FROM cosignature WHERE size = 10) WHERE size = 15")
	if res, err := l.Verify(t.Context(), VerifyOptions{}); err != nil || res.Sound || res.Bad.Error() != "entry 14: the cosigned checkpoint of 15 entries: it says 10" {
		t.Errorf("%+v %v", res.Bad, err)
	}
}

// FuzzCosign looks for a request that breaks the witness, or gets its signature without being the log's.
func FuzzCosign(f *testing.F) {
	k := newKey(f)
	l := open(f, f.TempDir(), k)
	runSession(f, l, sessionID(1), 1)
	private, _, err := GenerateWitness("auditor.example")
	if err != nil {
		f.Fatal(err)
	}
	request, err := l.WitnessRequest(f.Context(), 3)
	if err != nil {
		f.Fatal(err)
	}
	own, err := l.Checkpoint(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(request)
	f.Add("old 0\n\n" + own)
	verifiers := k.options().Verifiers
	f.Fuzz(func(t *testing.T, text string) {
		signed, err := Cosign(text, "", private, testOrigin, verifiers, time.Now())
		if err == nil && !strings.HasPrefix(signed, own[:strings.Index(own, "\n\n")]) {
			t.Errorf("cosigned: %q", signed)
		}
	})
}
