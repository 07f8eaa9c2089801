package main

import (
	"context"
	"errors"
	"fmt"

	"pratique/kiosk"
	"pratique/kiosk/localapi"
)

// checkClock looks at the clock, as often as at everything else that changes by itself.
func (d *daemon) checkClock(ctx context.Context) {
	found, err := d.clock.Check(ctx, d.packs.cfg)
	if err != nil {
		if ctx.Err() != nil {
			return
		}
		d.log.Error("the clock cannot be judged", "error", err)
		found = kiosk.Freshness{Text: "Whether the clock is right cannot be found out.", Stops: true}
	}
	d.health.set("clock", ailment{found.Text, found.Stops})
	if !found.Stops { // a clock that jumped ahead must not make names look old
		d.eraseOld(ctx)
	}
}

// eraseOld destroys names that have been kept for as long as the configuration says.
func (d *daemon) eraseOld(ctx context.Context) {
	erased, err := d.state.EraseOld(ctx, d.cfg.Names.Months())
	if err != nil && ctx.Err() == nil {
		d.log.Error("old names could not be erased", "error", err)
	}
	if erased {
		d.log.Info("old names were erased", "months", d.cfg.Names.Months())
	}
}

// acceptClock passes on that an administrator says that the clock is right. Who it is, the kernel says.
func (d *daemon) acceptClock(ctx context.Context, peer localapi.Peer) error {
	err := d.state.AcceptClock(ctx, d.packs.cfg, fmt.Sprintf("uid:%d", peer.UID))
	if errors.Is(err, kiosk.ErrClock) {
		return &localapi.Error{Code: localapi.CodeDenied, Text: sentence(err.Error())}
	}
	return err
}
