package kiosk

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"pratique/kiosk/audit"
	"pratique/kiosk/clearance"
	"pratique/kiosk/worker"
	"pratique/rules"
	"pratique/scanner/report"
)

// What a caller can branch on when a screening could not begin, or the kiosk failed in it.
var (
	ErrClass   = errors.New("there is no policy for this equipment class")
	ErrRules   = errors.New("the rules or the blocklist cannot be used")
	ErrWorkers = errors.New("the scan processes cannot be run")
	ErrOut     = errors.New("the folder for token and manifest cannot be used")
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
	Slots   int    // yaraworkers side by side; 0 is one for each core
	// RequireNamespaces refuses to scan where the workers cannot have namespaces of their own.
	RequireNamespaces bool
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
	Decision
	Clearance *Clearance // nil unless cleared
}

// session is one medium on its way through the line.
type session struct {
	state    *State
	want     Screening
	policy   rules.Policy
	id       [16]byte
	medium   *medium
	tools    tools
	manifest *clearance.Manifest
	spool    *os.File        // what the manifest does not hold in memory
	said     report.Progress // last
	unlisted error           // why the manifest was given up: it could not hold an item
	items    *audit.Items
}

// Screen runs one session from start to end. An error means that the kiosk failed or that there was nothing to screen;
// whatever is learned about the medium is in the result. There is no path on which an error comes with a clearance.
func (s *State) Screen(ctx context.Context, want Screening) (Result, error) {
	policy, ok := want.Pack.Policies[want.Class]
	if !ok {
		return Result{}, fmt.Errorf("%w: %q", ErrClass, want.Class)
	}
	m, err := openMedium(want.Target)
	if err != nil {
		return Result{}, err
	}
	defer m.close()
	if err := checkOut(want.OutDir, m); err != nil {
		return Result{}, err
	}
	tools, err := s.prepare(ctx, want)
	if err != nil {
		return Result{}, err
	}
	defer tools.close()

	se := &session{state: s, want: want, policy: policy, medium: m, tools: tools}
	if _, err := rand.Read(se.id[:]); err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrState, err)
	}
	if se.spool, err = s.newSpool(); err != nil {
		return Result{}, err
	}
	defer se.spool.Close()
	end, err := s.begin(ctx, se.id)
	if err != nil {
		return Result{}, err
	}
	res, err := se.run(ctx)
	if err != nil {
		end(se.failed(ctx, err))
		return Result{}, err
	}
	end(true)
	return res, nil
}

// run is the straight line. A crash between two steps leaves what the log says and no more; repair.go finishes it.
func (se *session) run(ctx context.Context) (Result, error) {
	if _, err := se.append(ctx, audit.Attached{Source: sources[se.medium.kind], Bytes: se.medium.bytes, SectorSize: se.medium.sector}); err != nil {
		return Result{}, err
	}
	rep, content, err := se.scan(ctx)
	if err != nil {
		return Result{}, err
	}
	// From here on an interruption no longer counts: the verdict must reach the log.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	defer se.beat()()

	res := Result{ID: se.id, Kind: se.medium.kind, Bytes: se.medium.bytes, Sector: max(rep.SectorSize, se.medium.sector),
		Report: rep, Policy: se.policy, Decision: Decide(&rep, se.policy)}
	digest, n, err := se.items.Close(ctx)
	if err != nil {
		return Result{}, logError(err)
	}
	decided := audit.Decided{Verdict: verdicts[res.Verdict], Reasons: codes(res.Reasons), Class: audit.Word(se.policy.Class),
		Content: content.Root, Rules: se.auditRules(), Deep: se.want.Deep, Counts: audit.CountsOf(rep.Tally), Items: n, ItemsDigest: digest}
	if _, err := se.append(ctx, decided); err != nil {
		return Result{}, err
	}
	if res.Verdict == Cleared {
		if res.Clearance, err = se.issue(ctx, content); err != nil {
			return Result{}, err
		}
	}
	return res, nil
}

var sources = map[string]audit.Source{"image": audit.Image, "block": audit.Block}

var verdicts = map[Verdict]audit.Verdict{CouldNotCheck: audit.CouldNotCheck, NotCleared: audit.NotCleared, Cleared: audit.Cleared}

// codes are the reasons without their words, each once: a leaf holds nothing that was made of a medium's content.
func codes(reasons []Reason) []audit.Word {
	var out []audit.Word
	seen := map[Code]bool{}
	for _, r := range reasons {
		if !seen[r.Code] {
			seen[r.Code] = true
			out = append(out, audit.Word(r.Code))
		}
	}
	return out
}

func (se *session) append(ctx context.Context, data audit.Data) (int64, error) {
	index, err := se.state.log.Append(ctx, audit.Event{Session: se.id, Data: data})
	if err != nil {
		return 0, logError(err)
	}
	return index, nil
}

func (se *session) auditRules() audit.Rules {
	p := se.want.Pack
	return audit.Rules{Name: audit.Word(p.Name), Version: p.Version, Digest: p.Digest, Added: p.Added}
}

// scan reads the medium and gathers what the log and the manifest need. An item that one of them cannot hold ends the scan
// as incomplete: what is not on record is not cleared.
func (se *session) scan(ctx context.Context) (report.Report, clearance.Content, error) {
	se.manifest = clearance.NewSpooledManifest(se.id, se.spool)
	se.items = se.state.log.NewItems(se.id, se.state.names)
	switch {
	case se.medium.refused != nil:
		text := fmt.Sprintf("The medium could not be opened: %v.", unwrapErrno(se.medium.refused))
		return report.Report{Bytes: -1, Shortfalls: []report.Shortfall{{Code: string(Unreadable), Text: text}}}, clearance.Content{}, nil
	case se.medium.bytes == 0:
		return report.Report{}, clearance.Content{}, nil
	}
	recording := context.WithoutCancel(ctx) // an interrupted scan is recorded as far as it came
	sink := worker.Sink{
		Progress: se.progress,
		Item: func(it report.Item) error {
			if se.want.Item != nil {
				se.want.Item(&it)
			}
			se.record(&it)
			return se.items.Add(recording, it)
		},
	}
	cfg := se.tools.config(se.want)
	cfg.Seed = sha256.Sum256(append([]byte("second reading\x00"), se.id[:]...)) // the medium learns nothing of the session
	rep, err := worker.Scan(ctx, se.medium.file, se.medium.bytes, se.medium.sector, cfg, sink)
	if err != nil {
		return report.Report{}, clearance.Content{}, workerError(err)
	}
	rep.Deep = se.want.Deep
	defer se.beat()()
	return rep, se.seal(&rep), nil
}

// record puts an item into the manifest. Only what was seen in full belongs there; the rest bars a clearance anyway. A
// medium with more than a manifest holds is a fact about the medium and no fault of the kiosk: the scan goes on to its
// end, and seal says that it cannot be cleared.
func (se *session) record(it *report.Item) {
	switch it.Kind {
	case report.File, report.Stream, report.Directory:
		if !it.Outcome.Seen() || se.unlisted != nil {
			return
		}
		if err := se.manifest.Add(it.Volume, it.Kind, it.Path, it.Size, it.SHA256); err != nil {
			se.unlisted, se.manifest = err, nil
		}
	}
}

// seal ends the manifest. Where there is none, the report is not complete.
func (se *session) seal(rep *report.Report) clearance.Content {
	err := se.unlisted
	for i := range rep.Volumes {
		if v := &rep.Volumes[i]; v.Outcome == report.Clean && err == nil {
			err = se.manifest.AddVolume(v.ID)
		}
	}
	var content clearance.Content
	if err == nil {
		content, err = se.manifest.Seal()
	}
	if err == nil {
		return content
	}
	code := Incomplete
	if errors.Is(err, clearance.ErrTooMany) {
		code = TooLarge
	}
	rep.Complete = false
	rep.Shortfalls = append(rep.Shortfalls, report.Shortfall{Code: string(code), Text: fmt.Sprintf("The list of what is on the medium could not be made: %v.", err)})
	return clearance.Content{}
}

func unwrapErrno(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

func workerError(err error) error { return fmt.Errorf("%w: %w", ErrWorkers, err) }

// failed notes that the kiosk failed in this session, and reports whether the log took it. If it did not, the session's
// mark stays, and the next start aborts the session.
func (se *session) failed(ctx context.Context, cause error) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	word := audit.Word("state")
	if errors.Is(cause, ErrWorkers) {
		word = "workers"
	}
	_, err := se.append(ctx, audit.Failed{Cause: word})
	return err == nil
}

// operator is the pseudonym of the local user who runs the program.
func (s *State) operator() (pseudonym [8]byte) {
	mac := hmac.New(sha256.New, s.names)
	mac.Write([]byte("operator\x00uid:" + strconv.Itoa(os.Getuid())))
	copy(pseudonym[:], mac.Sum(nil))
	return pseudonym
}
