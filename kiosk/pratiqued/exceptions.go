package main

import (
	"context"
	"errors"
	"fmt"

	"pratique/kiosk/exception"
	"pratique/kiosk/localapi"
)

// Exceptions are agreed on by users of the security role. Who asks, the kernel says; two people are two users.

func (d *daemon) exceptions(ctx context.Context, max int) ([]localapi.Exception, error) {
	return d.state.Exceptions(ctx, max)
}

func (d *daemon) propose(ctx context.Context, peer localapi.Peer, x localapi.Except) (localapi.Exception, error) {
	d.packs.mu.Lock() // while another pack is put in force, nobody can say which one a list's finding comes from
	in := d.packs.in.Pack
	d.packs.mu.Unlock()
	out, err := d.state.ProposeException(ctx, exception.Wish{SHA256: x.SHA256, Findings: x.Findings, Reason: x.Reason, Days: x.Days}, in, userOf(peer))
	return d.agreed("proposed", out, err)
}

func (d *daemon) confirm(ctx context.Context, peer localapi.Peer, name string) (localapi.Exception, error) {
	out, err := d.state.ConfirmException(ctx, name, userOf(peer))
	return d.agreed("confirmed", out, err)
}

func (d *daemon) remove(ctx context.Context, peer localapi.Peer, name string) (localapi.Exception, error) {
	out, err := d.state.RemoveException(ctx, name, userOf(peer))
	return d.agreed("removed", out, err)
}

// agreed tells the journal of a step, and the client why there was none.
func (d *daemon) agreed(step string, x localapi.Exception, err error) (localapi.Exception, error) {
	var refused *exception.Refusal
	switch {
	case errors.As(err, &refused):
		d.log.Warn("an exception was refused", "step", step, "code", refused.Code)
		return x, &localapi.Error{Code: localapi.CodeExcept, Text: refused.Text}
	case err == nil:
		d.log.Warn("an exception was "+step, "exception", x.ID, "until", x.Until)
	}
	return x, err
}

// exceptionsAilment keeps in sight that something is excepted.
func (d *daemon) exceptionsAilment(ctx context.Context) ailment {
	list, err := d.state.Exceptions(ctx, localapi.MaxExceptions)
	n := 0
	for _, x := range list {
		if x.State == localapi.ExceptionHolds {
			n++
		}
	}
	switch {
	case ctx.Err() != nil:
		return ailment{}
	case err != nil:
		d.log.Error("the exceptions cannot be read", "error", err)
		return ailment{"The exceptions cannot be read, so nothing is cleared.", true}
	case n == 1:
		return ailment{"Findings about one content are excepted: pratique exceptions list.", false}
	case n > 1:
		return ailment{fmt.Sprintf("Findings about %d contents are excepted: pratique exceptions list.", n), false}
	}
	return ailment{}
}

func userOf(peer localapi.Peer) string { return fmt.Sprintf("uid:%d", peer.UID) }
