package export

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"pratique/kiosk/audit"
	"pratique/kiosk/clearance"
	"pratique/scanner/report"
)

// keep leaves a test's exports in a folder, for looking at them.
var keep = flag.String("keep", "", "folder for the exports of TestEveryForm")

const testOrigin = "kiosk-3.stmary.example/log"

// rig is a log with a clock of its own.
type rig struct {
	t    testing.TB
	log  *audit.Log
	keys note.Verifiers
	now  time.Time
	rand *rand.Rand
	n    byte
}

// testPrivate is a key for these tests alone, the same in each run so that the bytes of an export are.
const testPrivate = "PRIVATE+KEY+kiosk-3.stmary.example/log+958ce534+AXByYXRpcXVlcHJhdGlxdWVwcmF0aXF1ZXByYXRpcXVl"

func newRig(t testing.TB) *rig {
	t.Helper()
	signer, public, err := audit.ParseKey(testPrivate)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, keys: note.VerifierList(verifier), now: time.Date(2026, 7, 6, 7, 0, 0, 0, time.UTC), rand: rand.New(rand.NewPCG(1, 2))}
	r.log, err = audit.Open(t.Context(), t.TempDir(), audit.Options{Origin: testOrigin, Signer: signer, Verifiers: r.keys, Now: func() time.Time { return r.now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.log.Close() })
	return r
}

func (r *rig) add(session audit.ID, d audit.Data) int64 {
	r.t.Helper()
	at, err := r.log.Append(r.t.Context(), audit.Event{Session: session, Data: d})
	if err != nil {
		r.t.Fatalf("%v: %v", d.Kind(), err)
	}
	r.now = r.now.Add(time.Duration(1+r.rand.IntN(20)) * time.Second)
	return at
}

func (r *rig) id() (id audit.ID) {
	r.n++
	for i := range id {
		id[i] = byte(r.rand.Uint32())
	}
	id[15] = r.n
	return id
}

var testPack = audit.Rules{Name: "baseline", Version: 41, Digest: audit.Digest{0xAB, 1}}

// session is one medium with n items, of which every fifth is harmful if the medium is to be refused.
func (r *rig) session(verdict audit.Verdict, class audit.Word, n int, pack audit.Rules) audit.ID {
	r.t.Helper()
	id := r.id()
	r.add(id, audit.Attached{Source: audit.USB, Bytes: 8_004_304_896, SectorSize: 512, VID: 0x0781, PID: 0x5567, Port: []audit.Word{"left", "right"}[r.rand.IntN(2)]})
	rows := r.log.NewItems(id, bytes.Repeat([]byte{7}, 32))
	counts := audit.Counts{Outcomes: audit.Outcomes{0}}
	found := []string{"EICAR_Test_File", "HTA_Launcher", "LNK_Runs_PowerShell", "Office_Macro_AutoOpen", "Webshell_PHP_Eval"}
	for i := range n {
		it := report.Item{Path: fmt.Sprintf("STUDY/DOE^JOHN/IM%04d", i), Kind: report.File, Size: int64(500 + r.rand.IntN(9000)), SHA256: [32]byte{id[0], byte(i)},
			Type: "application/dicom", Outcome: report.Clean}
		switch {
		case verdict == audit.NotCleared && i%5 == 0:
			it.Outcome, it.Findings = report.Flagged, []report.Finding{{Check: report.CheckYARA, Rule: found[r.rand.IntN(len(found))], Offset: -1}}
		case verdict == audit.CouldNotCheck && i == 1:
			it.Outcome = report.Encrypted
		}
		counts.Files, counts.Bytes, counts.Findings = counts.Files+1, counts.Bytes+uint64(it.Size), counts.Findings+uint64(len(it.Findings))
		if err := rows.Add(r.t.Context(), it); err != nil {
			r.t.Fatal(err)
		}
	}
	digest, items, err := rows.Close(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	d := audit.Decided{Verdict: verdict, Class: class, Rules: pack, Counts: counts, Items: items, ItemsDigest: digest}
	switch verdict {
	case audit.Cleared:
		d.Content = audit.Digest{0xC0, id[0]}
	case audit.NotCleared:
		d.Reasons = []audit.Word{"yara-match", "content-refused"}[:1+r.rand.IntN(2)]
	default:
		d.Reasons = []audit.Word{"encrypted-content"}
	}
	r.now = r.now.Add(time.Duration(20+r.rand.IntN(90)) * time.Second)
	r.add(id, d)
	if verdict == audit.Cleared {
		r.issue(id, d)
	}
	r.add(id, audit.Removed{})
	return id
}

// issue enters a clearance and its token.
func (r *rig) issue(id audit.ID, d audit.Decided) {
	r.t.Helper()
	at := r.now.Truncate(time.Second)
	leaf, err := clearance.Leaf(clearance.Claims{Issuer: "kiosk-3", Audience: []string{string(d.Class)}, IssuedAt: at, Expires: at.Add(8 * time.Hour), ID: id,
		Verdict: clearance.Cleared, Content: clearance.Content{Root: d.Content, Volumes: 1, Files: d.Counts.Files, Bytes: d.Counts.Bytes},
		Rules: clearance.Rules{Name: string(d.Rules.Name), Version: d.Rules.Version}, Canary: "passed", Coverage: clearance.Used, Source: "usb",
		PQKeyID: [8]byte{1}, Operator: [8]byte{0x0F, id[1] % 4, 3}})
	if err != nil {
		r.t.Fatal(err)
	}
	index, err := r.log.AppendLeaf(r.t.Context(), audit.KindIssuing, id, at, leaf)
	if err != nil {
		r.t.Fatal(err)
	}
	r.add(id, audit.Issued{Issuing: index, Token: audit.Digest{0x70, id[0]}})
}

// days lets a station work for some days, with one of everything that can happen.
func (r *rig) days(n int) {
	r.t.Helper()
	pack := testPack
	for d := range n {
		r.now = time.Date(2026, 7, 6+d, 7, r.rand.IntN(60), 0, 0, time.UTC)
		if d%9 == 0 {
			before := pack
			pack.Version++
			pack.Digest[2] = byte(d)
			r.add(audit.ID{}, audit.Pack{Rules: pack, Before: before, Source: "folder"})
		}
		r.add(audit.ID{}, audit.Canary{Rules: pack, Passed: 6})
		if r.now.Weekday() == time.Sunday {
			continue
		}
		for range 1 + r.rand.IntN(4) {
			verdict := audit.Cleared
			switch k := r.rand.IntN(12); {
			case k < 2:
				verdict = audit.NotCleared
			case k == 2:
				verdict = audit.CouldNotCheck
			}
			r.session(verdict, []audit.Word{"imaging", "general", "laboratory", "infusion"}[r.rand.IntN(4)], 1+r.rand.IntN(30), pack)
			r.now = r.now.Add(time.Duration(10+r.rand.IntN(90)) * time.Minute)
		}
	}
	r.rest(pack)
}

// rest enters one of each kind that days does not.
func (r *rig) rest(pack audit.Rules) {
	r.t.Helper()
	who := audit.Pseudonym{1, 2, 3, 4, 5, 6, 7, 8}
	id := r.id()
	r.add(id, audit.Attached{Source: audit.Image, Bytes: 1 << 30, SectorSize: 512})
	r.add(id, audit.Denied{Class: "imaging", Person: who, Cause: "no-such-class"})
	r.add(id, audit.Aborted{Cause: "removed"})
	id = r.id()
	r.add(id, audit.Attached{Source: audit.Block, Bytes: 4 << 30, SectorSize: 2048})
	r.add(id, audit.Failed{Cause: "worker-died"})
	r.add(audit.ID{}, audit.Failed{Cause: "no-workers"})
	r.add(audit.ID{}, audit.Refused{Port: "left", Cause: "keyboard", VID: 0x046d, PID: 0xc31c, Digest: audit.Digest{5}})
	r.add(audit.ID{}, audit.Administered{What: "incident-begun", Person: who, Reason: "key-stolen", Number: 3})
	r.add(audit.ID{}, audit.Pack{Rules: audit.Rules{Name: "baseline", Version: 12}, Before: pack, Refuse: "too-old", Gate: "repository", Source: "path"})
	r.add(audit.ID{}, audit.Canary{Rules: pack, Passed: 4, Failed: []audit.Word{"zip", "dicom"}})
	r.add(audit.ID{}, audit.Recalled{Clearance: audit.ID{9, 9}, Classes: []audit.Word{"imaging"}, Expires: r.now.Unix() + 3600, Cause: "hash", Items: 2, Rules: pack})
	r.add(audit.ID{}, audit.Exported{Format: "csv", From: 0, To: 40, SHA256: audit.Digest{8}})
	r.add(audit.ID{}, audit.Verified{Entries: 44, Sound: true, Bad: -1})
	r.add(audit.ID{}, audit.Read{From: 3, To: 9})
	other := audit.Pseudonym{9, 9}
	step := audit.Exception{What: audit.Proposed, ID: audit.ID{7}, Person: who, SHA256: audit.Digest{6}, Findings: []audit.FindingName{"yara/EICAR_Test_File"},
		Reason: "false-positive", Until: r.now.Add(24 * time.Hour).Unix(), Rules: pack}
	r.add(audit.ID{}, step)
	step.What, step.Person = audit.Confirmed, other
	r.add(audit.ID{}, step)
	r.add(audit.ID{}, audit.Guest{Person: who, Sponsor: other, Company: "Acme", Order: "WO-1"})
	r.add(audit.ID{}, audit.Erased{Scope: "month", Month: "2026-06", Secrets: 12, Person: who})
	r.add(audit.ID{}, audit.Disclosed{Session: id, Entry: -1, Asked: who, Agreed: other, Reason: "recall"})
	id = r.id()
	r.add(id, audit.Attached{Source: audit.USB, Bytes: 4 << 30, SectorSize: 512, Port: "left"})
	r.add(id, audit.Decided{Verdict: audit.NotCleared, Class: "imaging", Reasons: []audit.Word{"content-refused"}, Rules: pack, Content: audit.Digest{0xC1}})
	r.add(id, audit.Override{Class: "imaging", Reason: "drill", Person: who})
	r.add(id, audit.Override{Class: "imaging", Reason: "drill", Person: other, Asked: who, Confirmed: true})
	r.add(id, audit.Removed{})
}

// plan is Plan without an error.
func (r *rig) plan(opts Options) *Export {
	r.t.Helper()
	x, err := Plan(r.t.Context(), r.log.Reader, opts)
	if err != nil {
		r.t.Fatal(err)
	}
	return x
}

// write is an export as bytes.
func (r *rig) write(x *Export, f Format) []byte {
	r.t.Helper()
	var out bytes.Buffer
	if _, err := x.Write(r.t.Context(), f, &out); err != nil {
		r.t.Fatalf("%s: %v", f, err)
	}
	if *keep != "" {
		if err := os.WriteFile(*keep+"/export."+string(f), out.Bytes(), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	return out.Bytes()
}
