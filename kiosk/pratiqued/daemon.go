package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"pratique/kiosk"
	"pratique/kiosk/config"
	"pratique/kiosk/localapi"
	"pratique/kiosk/source"
	"pratique/kiosk/staff"
	"pratique/kiosk/usb"
	"pratique/rules"
	"pratique/rules/baseline"
)

// daemon is the wiring of one station.
type daemon struct {
	options
	cfg     config.Config
	log     *slog.Logger
	state   *kiosk.State
	station *kiosk.Station
	server  *localapi.Server
	people  *people
	key     siteKey // belongs to the loop
	desk    *staff.Desk
	shown   map[string]shown // of each port; belongs to publish
	left    chan struct{}    // a medium was taken out
	health  *health
	want    kiosk.Screening
	packs   rulePacks
	clock   *kiosk.ClockWatch
	lost    chan error // what the station cannot go on without

	exporting sync.Mutex // held while an auditor takes entries out
}

// run is the daemon's life. It returns nil after ctx ended, and not before everything that it started has.
func run(ctx context.Context, o options, log *slog.Logger) error {
	cfg, err := loadConfig(o.config)
	if err != nil {
		return err
	}
	root, err := cfg.RootFile()
	if err != nil {
		return err
	}
	shipped, err := baseline.Pack()
	if err != nil {
		return err
	}
	state, err := kiosk.OpenState(ctx, o.state)
	if err != nil {
		return err
	}
	defer state.Close()
	d := &daemon{options: o, cfg: cfg, log: log, state: state, people: newPeople(cfg.Roster, state, log), clock: state.WatchClock(), left: make(chan struct{}, 1), lost: make(chan error, 1)}
	if err := d.openKey(ctx); err != nil {
		return err
	}
	defer d.closeKey()
	defer d.countLast()
	d.packs.cfg = kiosk.PackConfig{Root: root, Baseline: shipped, Tighten: cfg.Apply}
	if err := d.loadPacks(ctx); err != nil {
		return err
	}
	d.want = kiosk.Screening{Pack: d.packs.in.Pack, Class: defaultClass(d.packs.in.Pack), Deep: cfg.Scan.Deep, Workers: o.workers, Slots: cfg.Scan.Workers,
		RequireNamespaces: cfg.Scan.RequireNamespaces}
	return d.run(ctx)
}

func (d *daemon) run(ctx context.Context) error {
	d.desk = d.newDesk()
	d.server = localapi.NewServer(localapi.Handler{Roles: d.people.roles, Sessions: d.state.Sessions, Issue: d.issue, Eject: d.eject, Install: d.asked, Begin: d.beginIncident, End: d.endIncident, Disclose: d.disclose,
		Override: d.override, OnBehalf: d.onBehalf, SignIn: d.signIn, SignOut: d.desk.SignOut, Stay: d.desk.Stay, Guest: d.guest,
		Clock: d.acceptClock, Search: d.search, Exceptions: d.exceptions, Except: d.propose, Confirm: d.confirm, Remove: d.remove,
		Export: d.export, Failed: func(err error) { d.log.Error("a client's request failed", "error", err) }})
	name := d.cfg.Station.Name
	if name == "" {
		name = d.state.Key().Issuer
	}
	var err error
	d.station, err = kiosk.NewStation(kiosk.StationConfig{State: d.state, Name: name, Contact: d.cfg.Station.Contact, Want: d.want, Ports: d.ports(), Publish: d.publish, Log: d.log})
	if err != nil {
		return err
	}
	d.showStaff()
	d.health = &health{station: d.station, log: d.log, now: map[string]ailment{}}
	if len(d.cfg.Ports) > 0 { // what is plugged in before that is refused, so nobody is told that the station is ready
		d.health.set("usb", ailment{"The USB ports are not watched yet.", true})
	}
	d.canary(ctx) // before anybody can ask for a clearance
	d.checkup(ctx)

	l, err := localapi.Listen(d.socket)
	if err != nil {
		return fmt.Errorf("local socket: %w", err)
	}
	// Clients are served until the last session has ended, so that they see it end. What sees media ends first.
	serving, stopServing := context.WithCancel(context.Background())
	var server, sources sync.WaitGroup
	served := make(chan error, 1)
	server.Go(func() { served <- d.server.Serve(serving, l) })
	ctx, stop := context.WithCancel(ctx)
	defer server.Wait()
	defer stopServing()
	defer d.station.Stop()
	defer sources.Wait()
	defer stop()

	if err := d.start(ctx, &sources); err != nil {
		return err
	}
	d.checkup(ctx) // the gate has done its part now
	d.log.Info("the station is up", "state", d.options.state, "socket", d.socket, "rules", d.packs.in.Name, "version", d.packs.in.Version)
	checkup := time.NewTicker(checkupTime)
	defer checkup.Stop()
	for {
		select {
		case <-checkup.C:
			d.rekey(ctx)
			d.checkup(ctx)
		case <-d.left:
			d.desk.SignOut()
		case err := <-served: // only if it failed
			return fmt.Errorf("local socket: %w", err)
		case err := <-d.lost:
			return err
		case <-ctx.Done():
			d.log.Info("the station ends")
			return nil
		}
	}
}

// start starts what sees media.
func (d *daemon) start(ctx context.Context, sources *sync.WaitGroup) error {
	d.startPacks(ctx, sources)
	if dir := d.cfg.Sources.Watch; dir != "" {
		sources.Go(func() {
			if err := source.WatchFolder(ctx, dir, d.happened); err != nil {
				d.log.Error("the watched folder cannot be used", "error", err)
				d.health.set("folder", ailment{"The watched folder cannot be used.", false})
			}
		})
	}
	if devices := d.cfg.Sources.BlockDevices; len(devices) > 0 {
		sources.Go(func() { source.WatchBlock(ctx, devices, d.happened) })
	}
	if len(d.cfg.Ports) > 0 {
		return d.startUSB(ctx, sources)
	}
	return nil
}

// happened passes on what a folder or a block device did.
func (d *daemon) happened(e source.Event) {
	switch {
	case e.Told:
		d.health.set("source-"+e.Port, ailment{e.Problem, false})
	case e.File == nil:
		d.complain(d.station.Unplug(e.Port))
	default:
		d.complain(d.station.Plug(e.Port, kiosk.Plugged{Open: func(context.Context) (*kiosk.Medium, error) { return kiosk.MediumOf(e.File) }}))
	}
}

func (d *daemon) complain(err error) {
	if err != nil {
		d.log.Error("a port cannot be used", "error", err)
	}
}

// ports are those that are known from the start.
func (d *daemon) ports() (out []kiosk.PortConfig) {
	for _, p := range d.cfg.Ports {
		out = append(out, kiosk.PortConfig{ID: p.Path, Name: p.Name})
	}
	for i := range d.cfg.Sources.BlockDevices {
		out = append(out, kiosk.PortConfig{ID: source.BlockPort(i), Name: fmt.Sprintf("drive %d", i+1)})
	}
	if d.cfg.Sources.Watch != "" {
		for i := range source.Slots {
			out = append(out, kiosk.PortConfig{ID: source.FolderPort(i), Name: fmt.Sprintf("folder %d", i+1)})
		}
	}
	return out
}

// issue answers a person who asks for a clearance.
func (d *daemon) issue(ctx context.Context, peer localapi.Peer, port, class string) (localapi.Answer, error) {
	who, err := d.asks(peer)
	if err != nil {
		return localapi.Answer{}, err
	}
	return d.station.Issue(ctx, port, class, who)
}

// override answers one of two people who let a medium through.
func (d *daemon) override(ctx context.Context, peer localapi.Peer, port, class, reason string) (localapi.Answer, error) {
	who, err := d.asks(peer)
	if err != nil {
		return localapi.Answer{}, err
	}
	return d.station.Override(ctx, port, class, reason, who)
}

func (d *daemon) eject(ctx context.Context, _ localapi.Peer, port string) error {
	return d.station.Eject(ctx, port)
}

func loadConfig(path string) (config.Config, error) {
	if path != "" {
		return config.Load(path)
	}
	cfg, err := config.Load(config.DefaultPath)
	if errors.Is(err, fs.ErrNotExist) {
		return config.Default(), nil
	}
	return cfg, err
}

// defaultClass is what a medium is decided for before anybody says what it is for.
func defaultClass(pack rules.Pack) string {
	if _, ok := pack.Policies["general"]; ok {
		return "general"
	}
	return slices.Min(slices.Collect(maps.Keys(pack.Policies)))
}

// ailment is a problem, and whether it keeps the station from issuing clearances. Without words it is none.
type ailment struct {
	text  string
	stops bool
}

// health gathers the problems of the station.
type health struct {
	station *kiosk.Station
	log     *slog.Logger
	mu      sync.Mutex
	now     map[string]ailment
}

// set says how it stands with one thing.
func (h *health) set(code string, a ailment) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.now[code] != a {
		h.log.Warn("health", "what", code, "says", a.text, "stops", a.stops)
	}
	h.now[code] = a
	ready := true
	problems := []localapi.Problem{}
	for _, code := range slices.Sorted(maps.Keys(h.now)) {
		if a := h.now[code]; a.text != "" {
			problems = append(problems, localapi.Problem{Code: code, Text: a.text})
			ready = ready && !a.stops
		}
	}
	h.station.SetProblems(ready, problems)
}

const checkupTime = 10 * time.Second

// The room that the log needs. A part of the disk alone would stop a station with a large disk, a number alone one with a
// small one, so both must be short.
const (
	warnShare, stopShare = 0.20, 0.05
	warnBytes, stopBytes = 8 << 30, 1 << 30
)

// checkup looks after what changes by itself.
func (d *daemon) checkup(ctx context.Context) {
	if d.packs.mu.TryLock() { // else a pack is being tried, and who does that checks it too
		d.checkPack(ctx)
		d.packs.mu.Unlock()
	}
	d.health.set("exceptions", d.exceptionsAilment(ctx))
	d.health.set("disk", diskAilment(d.options.state))
	d.health.set("override", d.overrideAilment(ctx))
	d.checkClock(ctx)
	d.health.set("roster", d.people.ailment())
	d.recount(ctx)
	d.health.set("key", d.keyAilment())
	d.health.set("trust", d.trustAilment())
	d.health.set("recall", d.recallAilment())
	none := ailment{}
	if len(d.ports()) == 0 {
		none = ailment{"No port is configured, so nothing can be plugged in.", false}
	}
	d.health.set("ports", none)
	if len(d.cfg.Ports) > 0 {
		d.health.set("usb-guard", d.guardAilment())
	}
}

// guardAilment says what is missing of what keeps the kernel's drivers away from media.
func (d *daemon) guardAilment() ailment {
	policy, err := d.cfg.USB()
	if err != nil {
		return ailment{"The USB ports of the configuration contradict each other.", true}
	}
	layers := usb.Check(sysfs, policy)
	for _, l := range layers {
		if !l.Holds && l.Required {
			d.log.Warn("a guard of the USB ports is missing", "guard", l.Name, "says", l.Text)
			return ailment{"The USB ports are not guarded (" + l.Name + "): pratique doctor says more.", true}
		}
	}
	if !usb.Ready(layers) {
		return ailment{"Whether the USB ports are guarded cannot be found out.", true}
	}
	return ailment{}
}

func diskAilment(dir string) ailment {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return ailment{"The room on the disk cannot be found out.", true}
	}
	free := st.Bavail * uint64(st.Bsize)
	share := float64(st.Bavail) / float64(max(st.Blocks, 1))
	switch {
	case share < stopShare && free < stopBytes:
		return ailment{"The disk is full: there is no room for the log.", true}
	case share < warnShare && free < warnBytes:
		return ailment{"The disk is almost full.", false}
	}
	return ailment{}
}
