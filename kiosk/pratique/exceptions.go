package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"pratique/kiosk"
	"pratique/kiosk/exception"
	"pratique/kiosk/localapi"
)

func (p *program) exceptionsList(ctx context.Context, args []string) (int, error) {
	set := p.flags("exceptions list", "", "exceptions list --all")
	asJSON := set.Bool("json", false, "print one JSON object a line")
	all := set.Bool("all", false, "also those that have ended")
	state := stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	var list []localapi.Exception
	c, err := ask(ctx, *state)
	switch {
	case err == nil:
		defer c.Close()
		list, err = c.Exceptions(ctx, localapi.MaxExceptions)
	case errors.Is(err, localapi.ErrNoDaemon):
		err = withState(ctx, *state, func(st *kiosk.State) (err error) {
			list, err = st.Exceptions(ctx, localapi.MaxExceptions)
			return err
		})
	}
	if err != nil {
		return 0, err
	}
	w := &errWriter{w: p.stdout}
	for _, x := range list {
		if !*all && x.State != localapi.ExceptionWaits && x.State != localapi.ExceptionHolds {
			continue
		}
		if *asJSON {
			data, err := json.Marshal(x)
			if err != nil {
				return 0, err
			}
			w.printf("%s\n", data)
			continue
		}
		exceptionText(w, x)
	}
	return exitOK, w.err
}

func exceptionText(w *errWriter, x localapi.Exception) {
	w.printf("%s  %s until %s: %s\n", x.ID, x.State, x.Until, printable(x.Reason))
	w.printf("  content  %s\n  findings %s\n", x.SHA256, printable(strings.Join(x.Findings, ", ")))
	w.printf("  rules    %s version %d\n", printable(x.Rules.Name), x.Rules.Version)
	w.printf("  proposed %s by %s", x.Proposed, x.Proposer)
	if x.Confirmed != "" {
		w.printf(", confirmed %s by %s", x.Confirmed, x.Confirmer)
	}
	w.printf("\n")
}

func (p *program) exceptionsAdd(ctx context.Context, args []string) (int, error) {
	set := p.flags("exceptions add", "", "exceptions add --sha256 2c26b46b68ff… --finding yara/Packed_Program --reason vendor-tool --days 7")
	sum := set.String("sha256", "", "`HASH` of the content, as screen --json has it")
	findings := set.list("finding", "`CHECK/RULE` that is wrong about it; may be given more than once")
	reason := set.String("reason", "", "a `WORD` for the log, such as a ticket's number; no file's name")
	days := set.Int("days", exception.DefaultDays, fmt.Sprintf("how many `DAYS` it holds, at most %d", exception.MaxDays))
	configFile, state := configFlag(set), stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	if *sum == "" || len(*findings) == 0 || *reason == "" {
		return 0, usagef("exceptions add: --sha256 HASH, --finding CHECK/RULE and --reason WORD are needed")
	}
	x, err := p.agree(ctx, *state, func(c *localapi.Client) (localapi.Exception, error) {
		return c.Except(ctx, localapi.Except{SHA256: *sum, Findings: *findings, Reason: *reason, Days: *days})
	}, func(st *kiosk.State) (localapi.Exception, error) {
		cfg, err := loadConfig(*configFile)
		if err != nil {
			return localapi.Exception{}, err
		}
		dir, err := stateDir(*state)
		if err != nil {
			return localapi.Exception{}, err
		}
		pack, err := loadPack(cfg, dir, "", "")
		if err != nil {
			return localapi.Exception{}, err
		}
		return st.ProposeException(ctx, exception.Wish{SHA256: *sum, Findings: *findings, Reason: *reason, Days: *days}, pack, me())
	})
	if err != nil {
		return 0, err
	}
	w := &errWriter{w: p.stdout}
	w.printf("proposed %s; within a day a second person must put it in force: pratique exceptions confirm %s\n", x.ID, x.ID[:min(8, len(x.ID))])
	return exitOK, w.err
}

func (p *program) exceptionsConfirm(ctx context.Context, args []string) (int, error) {
	return p.exceptionStep(ctx, "confirm", args, (*localapi.Client).ConfirmException, (*kiosk.State).ConfirmException)
}

func (p *program) exceptionsRemove(ctx context.Context, args []string) (int, error) {
	return p.exceptionStep(ctx, "remove", args, (*localapi.Client).RemoveException, (*kiosk.State).RemoveException)
}

// How a step is taken: by asking the daemon, or here, on behalf of a person.
type (
	askedStep func(c *localapi.Client, ctx context.Context, name string) (localapi.Exception, error)
	ownStep   func(st *kiosk.State, ctx context.Context, name, person string) (localapi.Exception, error)
)

// exceptionStep takes the next step of an exception, and shows what the person has agreed to.
func (p *program) exceptionStep(ctx context.Context, what string, args []string, asked askedStep, here ownStep) (int, error) {
	set := p.flags("exceptions "+what, "ID", "exceptions "+what+" 3f2a91c0")
	state := stateFlag(set)
	if err := parse(set, args, 1); err != nil {
		return 0, err
	}
	name := set.Arg(0)
	x, err := p.agree(ctx, *state, func(c *localapi.Client) (localapi.Exception, error) { return asked(c, ctx, name) },
		func(st *kiosk.State) (localapi.Exception, error) { return here(st, ctx, name, me()) })
	if err != nil {
		return 0, err
	}
	w := &errWriter{w: p.stdout}
	exceptionText(w, x)
	return exitOK, w.err
}

// agree goes through the daemon: the kernel tells it who asks. Without one it works on a demonstration's state alone, where
// this user is who asks.
func (p *program) agree(ctx context.Context, state string, asked func(*localapi.Client) (localapi.Exception, error),
	here func(*kiosk.State) (localapi.Exception, error)) (x localapi.Exception, err error) {
	c, err := ask(ctx, state)
	if err == nil {
		defer c.Close()
		return asked(c)
	}
	if !errors.Is(err, localapi.ErrNoDaemon) {
		return x, err
	}
	return x, withState(ctx, state, func(st *kiosk.State) (err error) {
		if enrolled, err := st.Enrolled(); err != nil || enrolled {
			return errors.Join(kiosk.ErrTwoPeople, err)
		}
		x, err = here(st)
		return err
	})
}
