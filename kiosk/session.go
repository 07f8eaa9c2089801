package kiosk

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"time"

	"pratique/kiosk/audit"
	"pratique/kiosk/clearance"
	"pratique/kiosk/exception"
	"pratique/rules"
	"pratique/scanner/report"
)

// What a caller can branch on when a screening could not begin, or the kiosk failed in it.
var (
	ErrClass   = errors.New("there is no policy for this equipment class")
	ErrRules   = errors.New("the rules or the blocklist cannot be used")
	ErrWorkers = errors.New("the scan processes cannot be run")
	ErrOut     = errors.New("the folder for token and manifest cannot be used")
	ErrRemoved = errors.New("the medium was removed")
	ErrCanary  = errors.New("the scanner does not find what it must find")
)

// afterwards is how long the log and the state may take once a scan has ended, whether or not it was interrupted: what is
// known must become durable.
const afterwards = time.Minute

// Screening says what to screen and with what.
type Screening struct {
	Target  string // a disk image or a block device
	Class   string // the equipment class that the medium is for
	Pack    rules.Pack
	Deep    bool
	Workers string // the folder of scanworker and yaraworker
	OutDir  string // where token and manifest go besides the state; empty for nowhere
	LayOut  bool   // a demonstration's manifest lies in the state in the clear, for who looks for it there
	Slots   int    // yaraworkers side by side; 0 is one for each core
	// RequireNamespaces refuses to scan where the workers cannot have namespaces of their own.
	RequireNamespaces bool
	Canary            CanaryResult // of the last try with this pack; it goes into the clearance
	TryCanary         bool         // Screen tries it itself, and fails if it is not found
	// Item is called for each item, in the order of the scan, before it reaches the log; nil for nobody.
	Item func(*report.Item)
	// Progress is called several times a second, and every second while what was read is sealed and written; nil for
	// nobody. Calls do not overlap, but need not come from one goroutine.
	Progress func(report.Progress)
}

// Result is the end of a session.
type Result struct {
	ID     [16]byte
	Kind   string // of medium: "image" or "block"
	Bytes  int64
	Sector int
	Report report.Report
	Policy rules.Policy // of the class that it was screened for
	Except exception.Set
	Decision
	Clearance *Clearance // nil unless cleared
}

// Severity is what a finding did to the verdict, and the exception without which it would have barred the medium, if any.
func (r *Result) Severity(it *report.Item, f report.Finding) (report.Severity, *audit.Agreement) {
	return severity(r.Policy, r.Except, it, f)
}

// Screen runs one session from start to end. An error means that the kiosk failed or that there was nothing to screen;
// whatever is learned about the medium is in the result. There is no path on which an error comes with a clearance.
func (s *State) Screen(ctx context.Context, want Screening) (Result, error) {
	if _, ok := want.Pack.Policies[want.Class]; !ok {
		return Result{}, fmt.Errorf("%w: %q", ErrClass, want.Class)
	}
	m, err := OpenMedium(want.Target)
	if err != nil {
		return Result{}, err
	}
	defer m.Close()
	if err := checkOut(want.OutDir, m); err != nil {
		return Result{}, err
	}
	tools, err := s.prepare(ctx, want)
	if err != nil {
		return Result{}, err
	}
	defer tools.close()

	se, err := s.attach(ctx, m, tools, want, "")
	if err != nil {
		return Result{}, err
	}
	defer se.spool.Close()
	res, err := se.run(ctx)
	if err != nil {
		se.failed(ctx, err)
		return Result{}, err
	}
	se.end(true)
	return res, nil
}

// session is one medium on its way through the line. Its steps are attach, scan, decide, issue and an end: Screen takes
// them one after the other, a Station as its machine says. They are called one at a time.
type session struct {
	state    *State
	want     Screening
	id       [16]byte
	medium   *Medium
	tools    tools
	end      func(logged bool) // takes the session's mark away
	manifest *clearance.Manifest
	spool    *os.File        // what the manifest does not hold in memory
	said     report.Progress // last
	unlisted error           // why the manifest was given up: it could not hold an item
	items    *audit.Items

	// What the scan left; the class plays no part in any of it.
	report      report.Report
	content     clearance.Content
	rows        uint64
	itemsDigest audit.Digest
	decisions   map[string]Decision // by the classes that were asked for
	excepted    exception.Set       // when the latest of them was taken
	unsettled   bool                // a clearance was begun, and the log does not know what became of it
	denied      map[denial]bool     // of a station's session
}

// run takes the steps in a straight line. A crash between two of them leaves what the log says and no more; repair.go
// finishes it.
func (se *session) run(ctx context.Context) (Result, error) {
	if se.want.TryCanary {
		if err := se.tryFirst(ctx); err != nil {
			return Result{}, err
		}
	}
	if err := se.scan(ctx); err != nil {
		return Result{}, err
	}
	// From here on an interruption no longer counts: the verdict must reach the log.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	defer se.beat()()
	class := se.want.Class
	decision, err := se.decide(ctx, class)
	if err != nil {
		return Result{}, err
	}
	res := Result{ID: se.id, Kind: se.medium.Kind, Bytes: se.medium.size(), Sector: max(se.report.SectorSize, se.medium.sector()),
		Report: se.report, Policy: se.want.Pack.Policies[class], Except: se.excepted, Decision: decision}
	if res.Verdict == Cleared {
		if res.Clearance, err = se.issue(ctx, class, localUser()); err != nil {
			return Result{}, err
		}
		if se.want.OutDir != "" {
			if err := se.state.Save(ctx, res.Clearance, se.want.OutDir); err != nil {
				return Result{}, err
			}
		}
	}
	return res, nil
}

// attach begins a session: its mark, then its first log entry, before a byte of the medium is read.
func (s *State) attach(ctx context.Context, m *Medium, t tools, want Screening, port string) (*session, error) {
	if len(m.Units) > maxUnits {
		return nil, fmt.Errorf("%w: %d logical units", ErrTarget, len(m.Units))
	}
	se := &session{state: s, want: want, medium: m, tools: t, decisions: map[string]Decision{}}
	if _, err := rand.Read(se.id[:]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	var err error
	if se.spool, err = s.newSpool(); err != nil {
		return nil, err
	}
	if se.end, err = s.begin(ctx, se.id); err != nil {
		se.spool.Close()
		return nil, err
	}
	if err := s.step("mark"); err != nil {
		return se, err
	}
	attached := audit.Attached{Source: sources[m.Kind], Bytes: m.size(), SectorSize: m.sector(), VID: m.VID, PID: m.PID, Port: audit.Word(port)}
	if n := len(m.Units); n > 1 {
		attached.Units, attached.Vacant = uint8(n), uint8(m.vacant())
	}
	if err := se.appendNamed(ctx, attached, audit.Named{Serial: m.Serial}); err != nil {
		se.failed(ctx, err)
		se.spool.Close()
		return nil, err
	}
	return se, nil
}

// decide takes the verdict for one class and enters it. The scan is over by then, and every class that is asked for is
// decided from the same report. The first verdict of a session binds its items to the log, whatever class it is for.
func (se *session) decide(ctx context.Context, class string) (Decision, error) {
	if d, ok := se.decisions[class]; ok {
		return d, nil
	}
	policy, ok := se.want.Pack.Policies[class]
	if !ok {
		return Decision{}, fmt.Errorf("%w: %q", ErrClass, class)
	}
	// Anew for each class: a person may ask ten minutes later, and the log takes no verdict that rests on what has ended.
	var err error
	if se.excepted, err = se.state.excepted(ctx, se.want.Pack); err != nil {
		return Decision{}, err
	}
	d := Decide(&se.report, policy, se.excepted)
	err = se.append(ctx, audit.Decided{Verdict: verdicts[d.Verdict], Reasons: codes(d.Reasons), Class: audit.Word(policy.Class),
		Content: se.content.Root, Rules: auditRules(se.want.Pack), Deep: se.want.Deep, Counts: audit.CountsOf(se.report.Tally), Items: se.rows,
		ItemsDigest: se.itemsDigest, Excepted: d.Excepted})
	if err != nil {
		return Decision{}, err
	}
	se.decisions[class] = d
	return d, nil
}

// close ends a session whose medium is gone or, if not pulled, whose station ends. A mark that stays, because the log did
// not take the end, is settled by the next start.
func (se *session) close(ctx context.Context, pulled bool) (err error) {
	switch {
	case pulled:
		err = se.append(ctx, audit.Removed{})
	case len(se.decisions) == 0:
		err = se.append(ctx, audit.Aborted{Cause: "interrupted"})
	}
	if err == nil {
		err = se.state.step("closed")
	}
	if err != nil {
		return err
	}
	se.end(!se.unsettled)
	se.release()
	return nil
}

// release closes what a session held.
func (se *session) release() {
	se.medium.Close()
	se.tools.close()
	se.spool.Close()
}

var sources = map[string]audit.Source{"image": audit.Image, "block": audit.Block, "usb": audit.USB}

var verdicts = map[Verdict]audit.Verdict{CouldNotCheck: audit.CouldNotCheck, NotCleared: audit.NotCleared, Cleared: audit.Cleared}

// codes are the reasons without their words, each once: a leaf holds nothing that was made of a medium's content. What was
// excepted has a place of its own there, since it is no reason against a verdict.
func codes(reasons []Reason) []audit.Word {
	var out []audit.Word
	seen := map[Code]bool{}
	for _, r := range reasons {
		if !seen[r.Code] && r.Code != FindingsExcepted {
			seen[r.Code] = true
			out = append(out, audit.Word(r.Code))
		}
	}
	return out
}

func (se *session) append(ctx context.Context, data audit.Data) error {
	return se.appendNamed(ctx, data, audit.Named{})
}

func (se *session) appendNamed(ctx context.Context, data audit.Data, named audit.Named) error {
	if _, err := se.state.log.AppendNamed(ctx, audit.Event{Session: se.id, Data: data}, named); err != nil {
		return logError(err)
	}
	return nil
}

func workerError(err error) error { return fmt.Errorf("%w: %w", ErrWorkers, err) }

// failed ends a session in which the kiosk failed. If the log does not take that either, or a clearance was begun, the
// session's mark stays, and the next start aborts the session or settles the clearance.
func (se *session) failed(ctx context.Context, cause error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	se.end(se.append(ctx, audit.Failed{Cause: failureWord(cause)}) == nil && !se.unsettled)
}

// pseudonym stands for a person in tokens and in the log.
func (s *State) pseudonym(person string) (out [8]byte) {
	mac := hmac.New(sha256.New, s.names)
	mac.Write([]byte("operator\x00" + person))
	copy(out[:], mac.Sum(nil))
	return out
}
