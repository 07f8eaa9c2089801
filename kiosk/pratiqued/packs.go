package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pratique/kiosk"
	"pratique/kiosk/localapi"
	"pratique/kiosk/source"
	"pratique/rules/pack"
)

// canaryTime is how often the station tries whether it finds what it must find.
const canaryTime = time.Hour

// rulePacks is what the daemon knows of its rules.
type rulePacks struct {
	cfg kiosk.PackConfig
	mu  sync.Mutex // held while a pack is tried and put in force
	in  kiosk.InForce

	recalls atomic.Pointer[[]kiosk.Recall] // what was recalled
}

// loadPacks finds the pack in force, and makes up for what a crash cut off after one was installed.
func (d *daemon) loadPacks(ctx context.Context) error {
	in, err := d.state.Packs(d.packs.cfg)
	if err != nil {
		return err
	}
	// Rules that do not compile and workers that do not run are found now, and not when somebody plugs a stick in.
	if err := d.state.TryRules(ctx, kiosk.Screening{Pack: in.Pack, Workers: d.workers}); err != nil {
		return err
	}
	recalls, err := d.state.Settle(ctx, in)
	d.packs.in = in
	return errors.Join(err, d.tellRecalls(ctx, recalls))
}

// try has the canary scanned with a pack, and says in the station's state what came of it.
func (d *daemon) try(ctx context.Context, in kiosk.InForce) (kiosk.CanaryResult, error) {
	want := d.want
	want.Pack = in.Pack
	res, err := d.state.Canary(ctx, want, true)
	switch {
	case ctx.Err() != nil: // the station ends
	case err != nil:
		d.log.Error("the canary could not be tried", "error", err)
		d.health.set("canary", ailment{"The scanner could not be tried, so nothing is cleared.", true})
	case !res.Passed():
		d.log.Error("the canary was not found", "says", res.Failed[0].Text)
		d.health.set("canary", ailment{"The scanner does not find what it must find, so nothing is cleared: " + res.Failed[0].Text, true})
	default:
		d.health.set("canary", ailment{})
	}
	return res, err
}

// swap puts a pack in force for media that are plugged in from now on.
func (d *daemon) swap(ctx context.Context, in kiosk.InForce) error {
	res, err := d.try(ctx, in)
	if err != nil {
		res = kiosk.CanaryResult{} // nothing is cleared until it was found
	}
	if err := d.station.SetPack(in.Pack, res); err != nil {
		return err
	}
	d.packs.in = in
	d.log.Info("a rule pack is in force", "rules", in.Name, "version", in.Version)
	return nil
}

// canary tries the pack in force once more.
func (d *daemon) canary(ctx context.Context) {
	d.packs.mu.Lock()
	defer d.packs.mu.Unlock()
	res, err := d.try(ctx, d.packs.in)
	if err != nil {
		res = kiosk.CanaryResult{}
	}
	if err := d.station.SetPack(d.packs.in.Pack, res); err != nil {
		d.log.Error("the rule pack cannot be used", "error", err)
	}
}

// install puts a pack in force that try brings.
func (d *daemon) install(ctx context.Context, try func(kiosk.PackConfig) (kiosk.InForce, []kiosk.Recall, error)) (localapi.Pack, error) {
	d.packs.mu.Lock()
	defer d.packs.mu.Unlock()
	cfg := d.packs.cfg
	cfg.Want, cfg.Swap = d.want, d.swap
	in, recalls, err := try(cfg)
	if err != nil {
		return localapi.Pack{}, err
	}
	if err := d.tellRecalls(ctx, recalls); err != nil { // the pack is in force all the same
		d.log.Error("what was recalled cannot be read", "error", err)
	}
	d.health.set("recall", d.recallAilment())
	d.checkPack(ctx)
	return localapi.Pack{Name: in.Name, Version: in.Version, Recalled: uint64(len(recalls))}, nil
}

// asked answers a client who brings a pack, in a folder, as an image or on the medium in a port. It goes on if the client hangs
// up: whoever looks sees the pack in force.
func (d *daemon) asked(ctx context.Context, port, path string) (localapi.Pack, error) {
	if port != "" {
		return d.station.Install(ctx, port, d.carried)
	}
	ctx = context.WithoutCancel(ctx)
	return d.tell(d.install(ctx, func(cfg kiosk.PackConfig) (kiosk.InForce, []kiosk.Recall, error) {
		return d.state.InstallPath(ctx, path, cfg)
	}))
}

// carried tries what was carried off a medium.
func (d *daemon) carried(ctx context.Context, o kiosk.Offer) (localapi.Pack, error) {
	return d.tell(d.install(ctx, func(cfg kiosk.PackConfig) (kiosk.InForce, []kiosk.Recall, error) {
		return d.state.InstallOffer(ctx, o, cfg)
	}))
}

// tell turns what became of a pack into what a client can be told.
func (d *daemon) tell(done localapi.Pack, err error) (localapi.Pack, error) {
	var refused *kiosk.PackRefused
	switch {
	case errors.As(err, &refused):
		d.log.Warn("a rule pack was refused", "gate", refused.Gate, "code", refused.Code)
		return done, &localapi.Error{Code: localapi.CodePack, Text: sentence(refused.Error())}
	case errors.Is(err, pack.ErrBusy):
		return done, &localapi.Error{Code: localapi.CodeBusy, Text: "Another rule pack is being tried at the moment."}
	}
	return done, err
}

// maxSentence bounds what a pack's author can say to a client.
const maxSentence = 1_000

func sentence(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxSentence)], "")
}

// offered tries what lies in the watched folder. It returns false if it should be offered again.
func (d *daemon) offered(ctx context.Context) bool {
	done, err := d.install(ctx, func(cfg kiosk.PackConfig) (kiosk.InForce, []kiosk.Recall, error) {
		return d.state.Install(ctx, kiosk.PackFolder(d.cfg.Rules.Watch), "folder", cfg)
	})
	var refused *kiosk.PackRefused
	said := ailment{}
	switch {
	case err == nil:
		d.log.Info("a rule pack came from the watched folder", "rules", done.Name, "version", done.Version)
	case errors.As(err, &refused) && (refused.Code == string(pack.NothingNew) || refused.Code == string(pack.NoRepository)):
	case errors.As(err, &refused):
		d.log.Warn("a rule pack from the watched folder was refused", "gate", refused.Gate, "code", refused.Code)
		said = ailment{"The rule pack in the watched folder is refused: " + sentence(refused.Text), false}
	case errors.Is(err, pack.ErrBusy):
		return false
	case ctx.Err() == nil:
		d.log.Error("a rule pack from the watched folder could not be tried", "error", err)
		said = ailment{"The rule pack in the watched folder could not be tried.", false}
	}
	d.health.set("pack-folder", said)
	return true
}

// startPacks starts what looks after the rules.
func (d *daemon) startPacks(ctx context.Context, jobs *sync.WaitGroup) {
	jobs.Go(func() {
		hourly := time.NewTicker(canaryTime)
		defer hourly.Stop()
		for {
			select {
			case <-hourly.C:
				d.canary(ctx)
			case <-ctx.Done():
				return
			}
		}
	})
	if d.cfg.Rules.Watch != "" {
		jobs.Go(func() { source.WatchRepository(ctx, d.cfg.Rules.Watch, func() bool { return d.offered(ctx) }) })
	}
}

// checkPack judges the age of the pack, and notices one that another process put in force.
func (d *daemon) checkPack(ctx context.Context) {
	in := d.packs.in
	now, err := d.state.Installed(d.packs.cfg)
	if have := installedAs(in); err == nil && now != have {
		if in, err = d.state.Packs(d.packs.cfg); err == nil {
			err = errors.Join(d.swap(ctx, in), d.tellRecalls(ctx, nil))
		}
	}
	if err != nil && ctx.Err() == nil {
		d.log.Error("the store of rule packs cannot be used", "error", err)
		d.health.set("pack", ailment{"The installed rule pack cannot be used, so nothing is cleared.", true})
		return
	}
	fresh, err := d.state.Freshness(ctx, in, d.packs.cfg, d.cfg.Rules.WarnAge(), d.cfg.Rules.StopAge())
	if err != nil {
		fresh = kiosk.Freshness{Text: "How old the rule pack is cannot be found out.", Stops: true}
	}
	d.health.set("pack", ailment{fresh.Text, fresh.Stops})
}

func installedAs(in kiosk.InForce) string {
	if in.Meta == nil {
		return ""
	}
	return in.Meta.SHA256
}

// tellRecalls says what was recalled just now, and keeps what was recalled in all. A name in the journal is that of a clearance,
// of equipment or of a station.
func (d *daemon) tellRecalls(ctx context.Context, recalls []kiosk.Recall) error {
	for i := range recalls {
		if i == maxTold {
			d.log.Warn("more clearances were recalled", "count", len(recalls)-maxTold)
			break
		}
		r := &recalls[i]
		d.log.Warn("a clearance was recalled", "clearance", r.Code, "classes", strings.Join(r.Classes, ","), "station", r.Station, "cause", r.Cause)
	}
	all, err := d.state.Recalled(ctx)
	if err == nil {
		d.packs.recalls.Store(&all)
	}
	return err
}

// maxTold bounds the clearances that are named where the command line and the log have them all.
const maxTold = 5

// recallAilment says which recalled clearances devices would still take, because the trust file does not name them. It stops
// nothing: what is screened now is screened with the rules that know better.
func (d *daemon) recallAilment() ailment {
	all := d.packs.recalls.Load()
	if all == nil || len(*all) == 0 {
		return ailment{}
	}
	missing, err := d.state.Unrevoked(*all)
	if err != nil || len(missing) == 0 { // a trust file that cannot be read is said elsewhere
		return ailment{}
	}
	var names []string
	for _, r := range missing[:min(len(missing), maxTold)] {
		names = append(names, fmt.Sprintf("%s (for %s, by %s)", r.Code, strings.Join(r.Classes, ", "), r.Station))
	}
	more := ""
	if n := len(missing) - len(names); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return ailment{"Recalled, and not yet in the trust file: clearance " + strings.Join(names, "; ") + more +
		". pratique rules recall --out DIR writes what the root holders need.", false}
}
