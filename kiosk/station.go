package kiosk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"pratique/kiosk/audit"
	"pratique/kiosk/localapi"
)

// personTime is how long a decided medium waits for a person. After that whoever comes to the station may be somebody
// else, who did not plug it in.
const personTime = 10 * time.Minute

// StationConfig says what a station is made of. All but the last are required.
type StationConfig struct {
	State   *State
	Name    string
	Contact string // whom to call, if anybody says so
	// Want is how every medium is screened. Its class is the one that a medium is decided for before anybody says what it
	// is for; target, folder and functions are not used.
	Want    Screening
	Ports   []PortConfig
	Publish func(localapi.State) // told of each new state; must not wait, nor call the station
	Log     *slog.Logger         // one line for each change of a port's state

	PersonTime time.Duration // 0 is ten minutes
}

// PortConfig is a place where media are plugged in.
type PortConfig struct{ ID, Name string }

// Plugged is what a source says is in a port.
type Plugged struct {
	// Open opens the medium for reading. What is learned of a medium that cannot be opened is in the medium; an error is a
	// failure of the kiosk. It is called once, on a goroutine of its own, and ends early when ctx does; again only for a medium
	// that serves one reading, after that one was closed.
	Open func(ctx context.Context) (*Medium, error)
}

// Refusal is a device that was not let in.
type Refusal struct {
	Code     string // a fixed word
	Text     string // a sentence for staff
	VID, PID uint16
	Digest   [32]byte // of its descriptors
}

// Person is somebody who asks for a clearance.
type Person struct {
	ID       string   // as the roster has it; it leaves the station as a pseudonym only
	Classes  []string // that they may clear media for; none refuses
	Security bool     // of the security team: one of two who override belongs to it
	Guest    bool     // with their sponsor: clears, and never overrides
}

// Station runs the sessions of several ports at once. The machine (step) says what happens next on each, the jobs do it.
//
// Everything that changes a port happens under one lock, for microseconds: what takes longer is a job on its own goroutine,
// one for each port at a time, whose end comes back as an event. Jobs are started with the session; the lock is never held
// while one touches a medium, the log or the state folder.
type Station struct {
	cfg     StationConfig
	jobs    sync.WaitGroup
	issuing sync.RWMutex // read while a clearance is issued, written to change the pack

	mu       sync.Mutex
	ports    []*port
	problems []localapi.Problem
	ready    bool
	stopping bool
	staff    *localapi.SignIn // who is at the screen
}

// port is one place and the session in it. Its fields belong to the lock. What session points to belongs to the job that
// runs and, between jobs, to the lock.
type port struct {
	PortConfig
	added   bool // by AddPort
	at      position
	medium  Plugged // what is in it
	turn    uint64  // counts what was plugged in, so that an answer or a timer of the one before is told apart
	session *session
	cancel  context.CancelCauseFunc // of the job that runs
	timer   *time.Timer             // a person's time
	ask     *ask
	errand  *errand
	pending *pending         // an override that waits for its second person
	refusal *localapi.Reason // of the device that is in it, once nothing of a session is
	view    localapi.Port
	began   time.Time     // of the scan
	changed chan struct{} // closed when something of this port changes
}

// ask is a request for a clearance that is being worked on.
type ask struct {
	class, person string
	red           *red // an override; nil for a clearance
	over          bool
	done          chan struct{}   // closed when the port shows the answer
	answer        localapi.Answer // once done is closed
	err           error
}

// NewStation returns a station with nothing plugged in. It clears nothing until SetProblems says that it is ready.
func NewStation(cfg StationConfig) (*Station, error) {
	if _, ok := cfg.Want.Pack.Policies[cfg.Want.Class]; !ok {
		return nil, fmt.Errorf("%w: %q", ErrClass, cfg.Want.Class)
	}
	if len(cfg.Ports) > localapi.MaxPorts {
		return nil, fmt.Errorf("%d ports (want at most %d)", len(cfg.Ports), localapi.MaxPorts)
	}
	if cfg.PersonTime == 0 {
		cfg.PersonTime = personTime
	}
	st := &Station{cfg: cfg}
	for _, c := range cfg.Ports {
		st.ports = append(st.ports, &port{PortConfig: c, view: localapi.Port{ID: c.ID, Name: c.Name, State: localapi.Idle}, changed: make(chan struct{})})
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.publish()
	return st, nil
}

// SetProblems says what a person should see to, and whether the station may issue clearances nevertheless.
func (st *Station) SetProblems(ready bool, problems []localapi.Problem) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if ready != st.ready || !slices.Equal(problems, st.problems) {
		st.ready, st.problems = ready, problems
		st.publish()
	}
}

// SetStaff says who is at the screen; nil where nobody can sign in. It must not be changed afterwards.
func (st *Station) SetStaff(who *localapi.SignIn) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !reflect.DeepEqual(who, st.staff) {
		st.staff = who
		st.publish()
	}
}

// AddPort adds a port that was not known from the start, such as one of a hub that somebody plugged in. A port that is known
// already is left alone. Where there is no room, an empty port that was added makes way.
func (st *Station) AddPort(c PortConfig) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.port(c.ID) != nil {
		return nil
	}
	p := &port{PortConfig: c, added: true, view: localapi.Port{ID: c.ID, Name: c.Name, State: localapi.Idle}, changed: make(chan struct{})}
	if len(st.ports) < localapi.MaxPorts {
		st.ports = append(st.ports, p)
		st.publish()
		return nil
	}
	for i, old := range st.ports {
		if old.added && old.at == (position{}) {
			st.ports[i] = p
			st.publish()
			return nil
		}
	}
	return fmt.Errorf("more than %d ports are in use", localapi.MaxPorts)
}

// Plug says that a medium is in a port. Another one that was in it is gone.
func (st *Station) Plug(id string, m Plugged) error {
	return st.outside(id, func(p *port) {
		p.medium = m
		p.turn++
		st.deliver(p, plugged)
	})
}

// Unplug says that nothing is in a port.
func (st *Station) Unplug(id string) error {
	return st.outside(id, func(p *port) { st.deliver(p, unplugged) })
}

// Refuse says that a device in a port was not let in, or is no longer what it was let in as: a session in the port ends. It
// is recorded for ports too that are none of the station's, whose error it then is.
func (st *Station) Refuse(id string, r Refusal) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.stopping {
		return nil
	}
	st.jobs.Go(func() {
		st.record(audit.Event{Data: audit.Refused{Port: audit.Word(id), Cause: audit.Word(r.Code), VID: r.VID, PID: r.PID, Digest: r.Digest}})
	})
	p := st.port(id)
	if p == nil {
		return errPort
	}
	p.turn++ // who asked for the medium before is not answered about this one
	p.refusal = &localapi.Reason{Code: r.Code, Text: r.Text}
	st.deliver(p, barred)
	return nil
}

// Eject ends the session of the medium in a port, and returns when it is closed.
func (st *Station) Eject(ctx context.Context, id string) error {
	var turn uint64
	if err := st.outside(id, func(p *port) {
		turn = p.turn
		st.deliver(p, eject)
	}); err != nil {
		return err
	}
	for {
		st.mu.Lock()
		p := st.port(id)
		over, changed := p.turn != turn || !p.at.hasSession(), p.changed
		st.mu.Unlock()
		if over {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Stop ends all sessions and returns when nothing runs any more. What was not decided by then is aborted in the log.
func (st *Station) Stop() {
	st.mu.Lock()
	st.stopping = true
	for _, p := range st.ports {
		st.deliver(p, unplugged)
	}
	st.mu.Unlock()
	st.jobs.Wait()
}

// outside runs f on a port, under the lock.
func (st *Station) outside(id string, f func(*port)) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	p := st.port(id)
	switch {
	case p == nil:
		return errPort
	case !st.stopping:
		f(p)
	}
	return nil
}

func (st *Station) port(id string) *port {
	for _, p := range st.ports {
		if p.ID == id {
			return p
		}
	}
	return nil
}

// deliver moves a port's machine and does what it says. The lock is held.
func (st *Station) deliver(p *port, e event) {
	before := p.at
	to, effects := step(p.at, e)
	p.at = to
	if a := p.ask; a != nil && !a.over && (e == signed || e == declined || e == kept || e == failed) {
		a.over = true
		close(a.done)
	}
	if g := p.errand; g != nil && !g.over && (e == tried || e == failed) {
		g.over = true
		close(g.done)
	}
	if to.phase == refused && (before.phase != refused || e == barred) {
		p.view = localapi.Port{ID: p.ID, Name: p.Name, Refusal: p.refusal, State: p.view.State, Since: p.view.Since}
	}
	if to.phase != before.phase {
		p.view.State, p.view.Since = to.phase.String(), localapi.Time(time.Now())
		st.cfg.Log.Info("port", "port", p.ID, "state", p.view.State, "was", before.phase.String(), "event", e.String(), "session", p.view.Session)
	}
	for _, f := range effects {
		st.do(p, f)
	}
	if p.timer != nil && to.phase != waiting {
		p.timer.Stop()
		p.timer = nil
	}
	st.touch(p)
}

// do is one effect. The lock is held.
func (st *Station) do(p *port, f effect) {
	switch f {
	case doOpen:
		p.pending = nil
		p.view, p.ask, p.errand = localapi.Port{ID: p.ID, Name: p.Name, State: p.view.State, Since: p.view.Since}, nil, nil
		medium := p.medium
		st.start(p, func(ctx context.Context) event { return st.open(ctx, p, medium) })
	case doScan:
		p.began = time.Now()
		st.start(p, func(ctx context.Context) event { return st.scan(ctx, p) })
	case doIssue:
		st.start(p, func(ctx context.Context) event { return st.issue(ctx, p) })
	case doInstall:
		p.began = time.Now()
		st.start(p, func(ctx context.Context) event { return st.install(ctx, p) })
	case doClose:
		pulled := !st.stopping
		st.start(p, func(context.Context) event { return st.close(p, pulled) })
	case doCancel:
		p.cancel(ErrRemoved)
	case doWait:
		turn := p.turn
		p.timer = time.AfterFunc(st.cfg.PersonTime, func() {
			st.outside(p.ID, func(p *port) {
				if p.turn == turn && p.at.phase == waiting && p.timer != nil {
					p.view.Refusal = &localapi.Reason{Code: "too-late", Text: "Nobody asked for a clearance in time. Take the medium out and plug it in again."}
					st.deliver(p, late)
				}
			})
		})
	case doForget:
		p.view, p.medium = localapi.Port{ID: p.ID, Name: p.Name, State: p.view.State, Since: p.view.Since}, Plugged{}
	}
}

// start runs a job, and delivers its end. The lock is held.
func (st *Station) start(p *port, job func(context.Context) event) {
	ctx, cancel := context.WithCancelCause(context.Background())
	p.cancel = cancel
	st.jobs.Go(func() {
		defer cancel(nil)
		e := job(ctx)
		st.mu.Lock()
		defer st.mu.Unlock()
		st.deliver(p, e)
	})
}

// change shows something of a port. It is called by jobs, without the lock.
func (st *Station) change(p *port, f func(*localapi.Port)) {
	st.mu.Lock()
	defer st.mu.Unlock()
	f(&p.view)
	st.touch(p)
}

// touch tells whoever looks at a port. The lock is held.
func (st *Station) touch(p *port) {
	close(p.changed)
	p.changed = make(chan struct{})
	st.publish()
}

// scan is the job that reads the medium and decides it for the station's own class. A scan that was called off is decided
// too, as one that could not be checked: so the log binds what was seen until then.
func (st *Station) scan(ctx context.Context, p *port) event {
	se := p.session
	if err := se.scan(ctx); err != nil {
		return st.broken(ctx, p, se, err)
	}
	logging, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	class := se.want.Class
	d, err := se.decide(logging, class)
	if err != nil {
		return st.broken(ctx, p, se, err)
	}
	st.change(p, func(v *localapi.Port) { se.show(v, class, d) })
	for _, policy := range se.want.Pack.Policies {
		if Decide(&se.report, policy, se.excepted).Verdict == Cleared {
			return clearable
		}
	}
	return hopeless
}

// issue is the job that answers a person.
func (st *Station) issue(ctx context.Context, p *port) event {
	st.mu.Lock()
	a := p.ask
	st.mu.Unlock()
	if a.red != nil {
		return st.overrule(ctx, p, a)
	}
	return st.answer(ctx, p, a)
}

func (st *Station) answer(ctx context.Context, p *port, a *ask) event {
	se := p.session
	logging, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	d, err := se.decide(logging, a.class)
	if err != nil {
		a.err = err
		return st.broken(ctx, p, se, err)
	}
	a.answer = se.answer(p.ID, a.class, d)
	st.change(p, func(v *localapi.Port) { se.show(v, a.class, d) })
	if d.Verdict != Cleared {
		return declined
	}
	// The pack does not change until the log has what is issued: so either this asks the new pack, or its recall sees this.
	st.issuing.RLock()
	defer st.issuing.RUnlock()
	now := st.wanted()
	st.mu.Lock()
	ready := st.ready
	st.mu.Unlock()
	if !ready { // since the person asked: a canary that was not found, or a clock that was set back
		a.err = errUnready
		return declined
	}
	switch changed, err := se.outdated(ctx, now.Pack, a.class); {
	case err != nil:
		a.err = err
		return st.broken(ctx, p, se, err)
	case changed:
		a.err = errRules
		return declined
	}
	// The canary of the hour is the one of the rules that the medium was scanned with, unless they have changed since.
	if now.Pack.InForce() == se.want.Pack.InForce() {
		se.want.Canary = now.Canary
	}
	return st.sign(ctx, p, a, nil)
}

// sign is the last step of an answer: the clearance, or an override of the verdict.
func (st *Station) sign(ctx context.Context, p *port, a *ask, over *overruling) event {
	se := p.session
	c, err := se.issueAs(ctx, a.class, personOf(a.person), over)
	switch {
	case errors.Is(err, ErrExcepted):
		a.err = errExcepted
		return declined
	case errors.Is(err, ErrRemoved):
		a.err = errGone
		return a.back() // the machine is leaving, or will be once it is told
	case err != nil:
		a.err = err
		return st.broken(ctx, p, se, err)
	}
	a.answer.Clearance = clearanceView(c)
	st.change(p, func(v *localapi.Port) { v.Clearance = a.answer.Clearance })
	return signed
}

// close is the job that ends a session. It ends, whatever the log says: a mark that stays is settled by the next start.
func (st *Station) close(p *port, pulled bool) event {
	se := p.session
	ctx, cancel := context.WithTimeout(context.Background(), afterwards)
	defer cancel()
	if err := se.close(ctx, pulled); err != nil {
		st.cfg.Log.Error("the log does not take the end of a session", "port", p.ID, "error", err)
		se.end(false)
		se.release()
	}
	st.hold(p, nil)
	return closed
}

// broken ends a session, or the attempt at one, in which the kiosk failed.
func (st *Station) broken(ctx context.Context, p *port, se *session, cause error) event {
	called := se == nil && ctx.Err() != nil // off, before there was anything to record
	switch {
	case se != nil:
		se.failed(ctx, cause)
		se.release()
		st.hold(p, nil)
	case !called:
		st.record(audit.Event{Data: audit.Failed{Cause: failureWord(cause)}})
	}
	if !called {
		st.cfg.Log.Error("a session failed", "port", p.ID, "error", cause)
		st.change(p, func(v *localapi.Port) {
			v.Refusal = &localapi.Reason{Code: string(failureWord(cause)), Text: "The kiosk failed. Take the medium out; its journal says more."}
		})
	}
	return failed
}

// hold gives a port its session, or takes it away. It is called by jobs, without the lock.
func (st *Station) hold(p *port, se *session) {
	st.mu.Lock()
	defer st.mu.Unlock()
	p.session = se
}

// record enters what no session waits for.
func (st *Station) record(ev audit.Event) { st.recordNamed(ev, audit.Named{}) }

func (st *Station) recordNamed(ev audit.Event, named audit.Named) {
	ctx, cancel := context.WithTimeout(context.Background(), afterwards)
	defer cancel()
	if _, err := st.cfg.State.log.AppendNamed(ctx, ev, named); err != nil {
		st.cfg.Log.Error("the log does not take an entry", "kind", ev.Data.Kind().String(), "error", err)
	}
}
