package kiosk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"pratique/kiosk/audit"
	"pratique/kiosk/trial"
	"pratique/kiosk/worker"
	"pratique/rules"
	rulepack "pratique/rules/pack"
)

// PackConfig says what a station's rule packs are held against.
type PackConfig struct {
	Root     []byte     // the security team's root file that the station was enrolled with; none: no pack can be installed
	Baseline rules.Pack // in force until a pack is installed
	// Tighten puts the station's own demands on a pack. An error refuses the pack: a station that cannot have the policies
	// that it asks for would clear by others.
	Tighten func(rules.Pack) (rules.Pack, error)
	// Want says how the trial medium is scanned; its pack is not used.
	Want Screening
	// Swap is told of a new pack once it is in force, before what was issued meanwhile is held against it; nil for nobody.
	Swap func(context.Context, InForce) error
}

// InForce is the rule pack that media are screened with.
type InForce struct {
	rules.Pack                // as the station tightened it
	Meta       *rulepack.Meta // nil for the baseline
}

// PackRefused says why a rule pack was not put in force. The one before still is.
type PackRefused struct {
	Gate string // "medium", "signature", "policy", "compile", or a gate of package trial
	Code string // a fixed word
	Text string // for the security team, in words
}

// Error returns the words with the gate.
func (p *PackRefused) Error() string {
	return "the rule pack is refused at the gate " + p.Gate + ": " + p.Text
}

// The gates before those of the trial.
const (
	gateMedium    = "medium"    // can it be read off the medium that it came on?
	gateSignature = "signature" // who signed it, for what, and is it newer
	gatePolicy    = "policy"
	gateCompile   = "compile"
)

// codeGate is the code of every refusal but those of package pack, which have their own.
const codeGate = "gate"

// trialFileTime is what libyara may take for one file of at most a megabyte. A rule that looks at each byte once takes a
// hundredth of a second; with 3,000 rules, and on a machine with four scans under way, it is still below one.
const trialFileTime = 3 * time.Second

func (s *State) store(cfg PackConfig) (*rulepack.Store, error) {
	st, err := rulepack.Open(s.path("rules", "store"), cfg.Root)
	if err != nil && !errors.Is(err, rulepack.ErrNoRoot) {
		err = fmt.Errorf("%w: %w", ErrState, err)
	}
	return st, err
}

// Packs returns the pack in force: the one that was installed, else the baseline. A store that is damaged, or that the
// configuration has forgotten, is an error, and nothing may be cleared then: to fall back would undo every pack since the
// program was built.
func (s *State) Packs(cfg PackConfig) (InForce, error) { return PackIn(s.dir, cfg) }

// PackIn is Packs for a state folder that need not be there yet. It writes nothing into one that has no store.
func PackIn(dir string, cfg PackConfig) (InForce, error) {
	out := InForce{Pack: cfg.Baseline}
	name := filepath.Join(dir, "rules", "store")
	_, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return InForce{}, fmt.Errorf("%w: %w", ErrState, err)
	default:
		st, err := rulepack.Open(name, cfg.Root)
		if errors.Is(err, rulepack.ErrNoRoot) {
			return InForce{}, fmt.Errorf("%w: it has a store of rule packs, but the configuration names no root file to check them with", ErrState)
		}
		if err != nil {
			return InForce{}, fmt.Errorf("%w: %w", ErrState, err)
		}
		pack, meta, err := st.Current()
		switch {
		case errors.Is(err, rulepack.ErrNone):
		case err != nil:
			return InForce{}, fmt.Errorf("%w: %w", ErrState, err)
		default:
			out = InForce{pack, &meta}
		}
	}
	if out.Pack, err = cfg.Tighten(out.Pack); err != nil {
		return InForce{}, err
	}
	return out, nil
}

// Installed is the SHA-256 of the installed pack's file in hex, empty if there is none: what says whether Packs would return
// something else than before, at the price of a few signatures.
func (s *State) Installed(cfg PackConfig) (string, error) {
	st, err := s.store(cfg)
	if errors.Is(err, rulepack.ErrNoRoot) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	meta, err := st.Meta()
	if errors.Is(err, rulepack.ErrNone) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrState, err)
	}
	return meta.SHA256, nil
}

// PackHistory returns what was ever in force, newest first, without the baseline.
func (s *State) PackHistory(cfg PackConfig) ([]rulepack.Meta, error) {
	st, err := s.store(cfg)
	if errors.Is(err, rulepack.ErrNoRoot) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return st.History()
}

// PackFolder is where the repository is below a path that a person or a watched folder names: a stick has it in a folder of
// its own.
func PackFolder(path string) string {
	below := filepath.Join(path, rulepack.StickFolder)
	if info, err := os.Stat(below); err == nil && info.IsDir() {
		return below
	}
	return path
}

// Install puts the pack of a repository's folder in force, if it is signed, newer and passes every gate. Else the error is a
// *PackRefused, or the kiosk's own; either way the pack before stays in force. source is a word for the log.
//
// What a crash leaves:
//
//	while the gates are tried    a staging folder, which the next use of the store removes
//	after the recall             clearances that a signed pack recalled which is not in force; the next Install goes on from there
//	within Commit                the old pack or the new one
//	after Commit                 the new pack without an entry and a recall; Settle makes up for both at the next start
func (s *State) Install(ctx context.Context, folder, source string, cfg PackConfig) (InForce, []Recall, error) {
	return s.InstallOffer(ctx, Offer{Folder: folder, source: audit.Word(source)}, cfg)
}

// InstallOffer is Install for what somebody brought.
func (s *State) InstallOffer(ctx context.Context, o Offer, cfg PackConfig) (InForce, []Recall, error) {
	before, err := s.Packs(cfg)
	if err != nil {
		return InForce{}, nil, err
	}
	if _, err := s.Settle(ctx, before); err != nil { // what a crash left, where no daemon has started since
		return InForce{}, nil, err
	}
	in, recalls, err := s.install(ctx, o, before, cfg)
	var refused *PackRefused
	if errors.As(err, &refused) {
		if refused.Code == string(rulepack.NothingNew) { // a watched folder offers the pack in force again and again
			return InForce{}, nil, err
		}
		untold, ok := s.refused.enter(refusal{refused.Gate, refused.Code, string(o.source), in.Digest}, s.now())
		if !ok {
			return InForce{}, nil, err
		}
		ev := audit.Pack{Rules: auditRules(in.Pack), Before: auditRules(before.Pack), Refuse: audit.Word(refused.Code),
			Gate: audit.Word(refused.Gate), Source: o.source, Medium: o.medium, Untold: untold}
		if _, logErr := s.log.Append(ctx, audit.Event{Data: ev}); logErr != nil {
			return InForce{}, nil, errors.Join(err, logError(logErr))
		}
	}
	if err != nil {
		return InForce{}, nil, err
	}
	if err := s.step("pack"); err != nil {
		return InForce{}, nil, err
	}
	if cfg.Swap != nil {
		if err := cfg.Swap(ctx, in); err != nil {
			return InForce{}, nil, err
		}
	}
	late, err := s.settle(ctx, in, before, o)
	return in, append(recalls, late...), err
}

// install is Install less what is entered. With a refusal it returns as much of the pack as is known.
func (s *State) install(ctx context.Context, o Offer, before InForce, cfg PackConfig) (in InForce, recalls []Recall, err error) {
	if o.refused != nil {
		return in, nil, o.refused
	}
	st, err := s.store(cfg)
	if errors.Is(err, rulepack.ErrNoRoot) {
		return in, nil, &PackRefused{gateSignature, "no-root", "This station knows no security team: its configuration names no root file ([rules] root)."}
	}
	if err != nil {
		return in, nil, err
	}
	staged, err := st.Stage(ctx, o.Folder, s.now())
	var refusal *rulepack.Refusal
	switch {
	case errors.As(err, &refusal):
		return in, nil, &PackRefused{gateSignature, string(refusal.Reason), refusal.Text}
	case errors.Is(err, rulepack.ErrBusy):
		return in, nil, err
	case err != nil:
		return in, nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	defer staged.Discard()
	meta := staged.Meta()
	in = InForce{staged.Pack(), &meta}
	tight, err := cfg.Tighten(in.Pack)
	if err != nil {
		return in, nil, &PackRefused{gatePolicy, codeGate, err.Error()}
	}
	in.Pack = tight
	if !staged.Same() { // else every gate was passed by the same bytes
		if err := s.gates(ctx, staged.Pack(), tight, cfg); err != nil {
			return in, nil, err
		}
	}
	if err := s.step("gates"); err != nil {
		return in, nil, err
	}
	// While the policies of both packs are at hand. What is issued until the new one is in force is settle's.
	if recalls, err = s.recall(ctx, in.Pack, before.Pack); err != nil {
		return in, nil, err
	}
	if err := s.step("recall"); err != nil {
		return in, nil, err
	}
	if err := staged.Commit(); err != nil && !errors.Is(err, rulepack.ErrLeftovers) {
		return in, nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	return in, recalls, nil
}

// gates tries a pack before it is in force. tight is the same pack with the station's own demands.
func (s *State) gates(ctx context.Context, plain, tight rules.Pack, cfg PackConfig) error {
	want := cfg.Want
	want.Pack = tight
	if want.Class != "" {
		if _, ok := tight.Policies[want.Class]; !ok {
			return &PackRefused{gatePolicy, codeGate, fmt.Sprintf("The pack has no equipment class %q, for which this station decides first.", want.Class)}
		}
	}
	if err := s.compileFresh(ctx, want); err != nil {
		return err
	}
	tools, err := s.prepare(ctx, want)
	if errors.Is(err, ErrRules) {
		return &PackRefused{gateCompile, codeGate, err.Error()}
	}
	if err != nil {
		return err
	}
	defer tools.close()
	scan := tools.config(want)
	scan.FileTimeout, scan.Deep = trialFileTime, false
	failed, err := s.examine(ctx, trial.Full(plain), scan)
	if err != nil {
		return err
	}
	if len(failed) == 0 {
		return nil
	}
	text := failed[0].Text
	if n := len(failed) - 1; n > 0 {
		text += fmt.Sprintf(" There is more: %d further findings.", n)
	}
	return &PackRefused{string(failed[0].Gate), codeGate, text}
}

// compileFresh compiles the rules in a jailed worker and refuses every warning. What it made is kept for the first scan.
func (s *State) compileFresh(ctx context.Context, want Screening) error {
	cfg, sources := compileOf(want)
	compiled, info, err := worker.Compile(ctx, cfg, sources)
	var bad *worker.CompileError
	switch {
	case errors.As(err, &bad):
		return &PackRefused{gateCompile, codeGate, err.Error()}
	case err != nil && ctx.Err() == nil && !errors.Is(err, worker.ErrSandbox):
		// A compiler that was killed or ran out of time was brought down by what it compiled, as far as anybody can say.
		return &PackRefused{gateCompile, codeGate, err.Error()}
	case err != nil:
		return workerError(err)
	}
	defer compiled.Close()
	if len(info.Warnings) > 0 {
		return &PackRefused{gateCompile, codeGate, "The compiler warns: " + info.Warnings[0].String()}
	}
	compiler, err := worker.Compiler(ctx, cfg)
	if err != nil {
		return workerError(err)
	}
	key, err := s.rulesKey()
	if err != nil {
		return err
	}
	id := rulesID(compiler, sources)
	if keepCompiled(s.compiledName(id), key, id, compiled, info.Bytes) == nil { // else the next scan compiles once more
		s.sweepCompiled()
	}
	return nil
}

// Settle makes up for what a crash cut off after a pack was put in force. It is called at each start, with what Packs
// returned.
func (s *State) Settle(ctx context.Context, in InForce) ([]Recall, error) {
	if in.Meta == nil {
		return nil, nil
	}
	last, err := s.lastPack(ctx)
	if err != nil || last.Digest == in.Digest && last.Version == in.Version {
		return nil, err
	}
	before := rules.Pack{Name: string(last.Name), Version: last.Version, Digest: last.Digest, Added: last.Added} // without its policies
	return s.settle(ctx, in, InForce{Pack: before}, Offer{source: "start"})
}

// settle recalls what a new pack knows to be harmful, and then enters the pack: so an entry says that both was done.
func (s *State) settle(ctx context.Context, in, before InForce, from Offer) ([]Recall, error) {
	recalls, err := s.recall(ctx, in.Pack, before.Pack)
	if err != nil {
		return nil, err
	}
	ev := audit.Pack{Rules: auditRules(in.Pack), Before: auditRules(before.Pack), Source: from.source, Medium: from.medium}
	if _, err := s.log.Append(ctx, audit.Event{Data: ev}); err != nil {
		return nil, logError(err)
	}
	return recalls, nil
}

// lastPack is the pack that the log says was put in force last.
func (s *State) lastPack(ctx context.Context) (out audit.Rules, err error) {
	err = s.log.List(ctx, audit.ListOptions{Newest: true, Kinds: []audit.Kind{audit.KindPack}}, func(e audit.Entry) error {
		if d, ok := e.Data.(audit.Pack); ok && d.Refuse == "" {
			out = d.Rules
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return audit.Rules{}, logError(err)
	}
	return out, nil
}

// Age of packs, when a station's configuration does not ask for less.
const (
	WarnAge = 7 * 24 * time.Hour
	StopAge = 30 * 24 * time.Hour
)

// maxBack is how far a clock may be behind what the log and the signatures prove. Clocks are set right by minutes.
const maxBack = 5 * time.Minute

// Freshness is what the age of the pack in force and the clock say.
type Freshness struct {
	Code  string // "pack-age", "pack-none", "clock"; empty if all is well
	Text  string // for staff
	Stops bool   // no clearance is issued
}

// JudgeAge says whether a pack is fresh enough. meta is nil for the baseline, which has no age: it serves demonstration keys.
// enrolled says that the station signs with a key that devices trust. now is the station's clock and floor the latest time
// that the log and the signatures prove.
func JudgeAge(meta *rulepack.Meta, enrolled bool, now, floor time.Time, warn, stop time.Duration) Freshness {
	switch {
	case !enrolled:
		return Freshness{}
	case meta == nil:
		return Freshness{"pack-none", "No rule pack of the security team is installed, so nothing is cleared.", true}
	case floor.Sub(now) > maxBack:
		return Freshness{clockName, behindText(now, floor), true}
	}
	from := meta.AgeFrom()
	age := max(now.Sub(from), floor.Sub(from))
	days := int(age / (24 * time.Hour))
	text := fmt.Sprintf("The rule pack was published %d days ago", days)
	switch {
	case age > stop:
		return Freshness{"pack-age", fmt.Sprintf("%s; after %d days nothing is cleared. Install the newest pack.", text, int(stop/(24*time.Hour))), true}
	case age > warn:
		return Freshness{"pack-age", text + ". Install the newest pack.", false}
	}
	return Freshness{}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func date(t time.Time) string { return t.UTC().Format("2 January 2006 15:04 UTC") }

// Freshness judges the pack in force by the station's clock.
func (s *State) Freshness(ctx context.Context, in InForce, cfg PackConfig, warn, stop time.Duration) (Freshness, error) {
	if enrolled, err := s.Enrolled(); err != nil || !enrolled {
		return Freshness{}, err
	}
	floor, err := s.floor(ctx, cfg)
	if err != nil {
		return Freshness{}, err
	}
	return JudgeAge(in.Meta, true, s.now(), floor, warn, stop), nil
}

// maxFloorEntries bounds how much of the log is read for the clock.
const maxFloorEntries = 10_000

// signedFloor is the latest of the times that were signed: those of rule packs that the store took, and of the trust file.
func (s *State) signedFloor(cfg PackConfig) (floor time.Time, err error) {
	switch st, err := s.store(cfg); {
	case errors.Is(err, rulepack.ErrNoRoot):
	case err != nil:
		return floor, err
	default:
		if floor, err = st.Floor(); err != nil {
			return floor, fmt.Errorf("%w: %w", ErrState, err)
		}
	}
	t, err := s.Trust()
	if err != nil || t == nil || t.Issued.Before(floor) {
		return floor, err
	}
	return t.Issued, nil
}

// floor is a time that has passed: the latest of the signed times, and of the entries since the pack in force was entered or an
// administrator accepted the clock. Those before do not count, so that a clock which was wrong by years and is right again is
// forgotten once the team, whose times are signed, has sent a newer pack, or the administrator has looked at it.
func (s *State) floor(ctx context.Context, cfg PackConfig) (time.Time, error) {
	floor, err := s.signedFloor(cfg)
	if err != nil {
		return floor, err
	}
	err = s.log.List(ctx, audit.ListOptions{Newest: true, Limit: maxFloorEntries}, func(e audit.Entry) error {
		switch d := e.Data.(type) {
		case audit.Pack:
			if d.Refuse == "" {
				return errEnough
			}
		case audit.Administered:
			if d.What == clockAccepted {
				floor = later(floor, e.Time)
				return errEnough
			}
		}
		floor = later(floor, e.Time)
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return floor, logError(err)
	}
	return floor, nil
}
