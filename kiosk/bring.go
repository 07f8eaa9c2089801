package kiosk

import (
	"context"
	"errors"

	"pratique/kiosk/localapi"
	"pratique/kiosk/worker"
)

// What a person who brings a rule pack can be told.
var (
	errNothing    = &localapi.Error{Code: localapi.CodeNoMedium, Text: "There is no medium in this port that a rule pack could be read from. Plug it in again."}
	errInstalling = &localapi.Error{Code: localapi.CodeBusy, Text: "A rule pack is being read from this medium. It gets no clearance; take it out and plug it in again."}
)

// errand is a request for the rule pack on a medium that is being worked on.
type errand struct {
	use  func(context.Context, Offer) (localapi.Pack, error)
	over bool
	done chan struct{} // closed when the port shows what came of it
	pack localapi.Pack // once done is closed
	err  error
}

// Install reads the rule pack that is on the medium in a port, has use try it, and waits for the end of that. The medium is
// screened first, as every medium is, whatever comes of it; its session ends with the pack. use is called with what was
// carried off, or with why nothing was, and goes on if the medium is pulled meanwhile: it is not needed any more. It returns a
// *localapi.Error for what a person can be told, and so does Install.
func (st *Station) Install(ctx context.Context, id string, use func(context.Context, Offer) (localapi.Pack, error)) (localapi.Pack, error) {
	var e *errand
	err := st.await(ctx, id, func(p *port) (done <-chan struct{}, settled bool, err error) {
		if e, err = st.bring(p, use); e != nil {
			done = e.done
		}
		return done, false, err
	})
	if err != nil {
		return localapi.Pack{}, err
	}
	return e.pack, e.err
}

// bring begins to read a pack, or says why not. If it returns nothing, the medium is still being screened or cleared. The
// lock is held.
func (st *Station) bring(p *port, use func(context.Context, Offer) (localapi.Pack, error)) (*errand, error) {
	switch p.at.phase {
	case attached, scanning, issuing:
		return nil, nil
	case waiting, decided, issued:
		p.errand = &errand{use: use, done: make(chan struct{})}
		st.deliver(p, brought)
		return p.errand, nil
	case installing:
		return nil, errInstalling
	case leaving:
		if p.at.then == attached { // what was there before makes way for it
			return nil, nil
		}
		return nil, errGone
	}
	return nil, errNothing
}

// install is the job that carries a pack off the medium and has it tried.
func (st *Station) install(ctx context.Context, p *port) event {
	st.mu.Lock()
	e, plugged := p.errand, p.medium
	st.mu.Unlock()
	se := p.session
	broken := func(err error) event {
		if ctx.Err() != nil { // it was called off, and that is all there is to say
			e.err = errGone
			return tried
		}
		e.err = err
		return st.broken(ctx, p, se, err)
	}
	if se.medium.Once {
		if err := se.reopen(ctx, plugged); err != nil {
			return broken(err)
		}
	}
	o, done, err := se.carry(ctx)
	if err != nil {
		return broken(err)
	}
	defer done()
	e.pack, e.err = e.use(context.WithoutCancel(ctx), o)
	var said *localapi.Error
	switch {
	case e.err == nil:
		st.change(p, func(v *localapi.Port) { v.Progress, v.Pack = nil, &e.pack })
	case errors.As(e.err, &said):
		st.change(p, func(v *localapi.Port) {
			v.Progress, v.Refusal = nil, &localapi.Reason{Code: said.Code, Text: said.Text}
		})
	default:
		return st.broken(ctx, p, se, e.err)
	}
	return tried
}

// reopen opens a medium for another reading. One that is not what it was is refused when it is read.
func (se *session) reopen(ctx context.Context, plugged Plugged) error {
	before := se.medium
	before.Close()
	se.medium = &Medium{Kind: before.Kind}
	m, err := plugged.Open(ctx)
	if err != nil {
		return err
	}
	se.medium = m
	same := m.VID == before.VID && m.PID == before.PID && m.Serial == before.Serial && len(m.Units) == len(before.Units)
	for i := range m.Units {
		same = same && m.Units[i].Bytes == before.Units[i].Bytes
	}
	if !same && m.Refused == nil {
		m.Refused = &worker.DeviceError{Code: worker.CodeDeviceChanged, Text: "The device is not the one that was screened."}
	}
	return nil
}
