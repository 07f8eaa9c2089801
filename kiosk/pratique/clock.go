package main

import (
	"context"
	"errors"
	"fmt"

	"pratique/kiosk"
	"pratique/kiosk/localapi"
)

// clockAccept goes through the daemon where there is one: the kernel tells it who asks.
func (p *program) clockAccept(ctx context.Context, args []string) (int, error) {
	set := p.flags("clock accept", "", "clock accept")
	state := stateFlag(set)
	configFile := set.String("config", "", "the station's `FILE` (default: the installed one)")
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	c, err := ask(ctx, *state)
	switch {
	case err == nil:
		defer c.Close()
		err = c.AcceptClock(ctx)
	case errors.Is(err, localapi.ErrNoDaemon):
		err = acceptClock(ctx, *state, *configFile)
	}
	if err != nil {
		return 0, err
	}
	_, err = fmt.Fprintln(p.stdout, "noted; the station counts from this time on")
	return exitOK, err
}

// acceptClock is clockAccept where no daemon runs.
func acceptClock(ctx context.Context, state, configFile string) error {
	cfg, err := loadConfig(configFile)
	if err != nil {
		return err
	}
	root, err := cfg.RootFile()
	if err != nil {
		return err
	}
	return withState(ctx, state, func(st *kiosk.State) error {
		return st.AcceptClock(ctx, kiosk.PackConfig{Root: root}, me())
	})
}
