package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pratique/kiosk"
	"pratique/kiosk/audit"
	"pratique/kiosk/clearance"
	"pratique/kiosk/keys"
	"pratique/kiosk/localapi"
)

// defaultWindow is how far back clearances are in doubt unless somebody says: nothing older still holds (clearance.MaxLife).
const defaultWindow = clearance.MaxLife

func (p *program) incidentBegin(ctx context.Context, args []string) (int, error) {
	set := p.flags("incident begin", "", "incident begin --reason key-stolen --since 2026-11-20T08:00:00Z --out incident-1")
	reason := set.String("reason", "", "a `WORD` for the log, such as key-stolen")
	since := set.String("since", "", "clearances from this `TIME` on are in doubt (default: the last 72 hours)")
	out := set.String("out", "", "folder `DIR` for the report")
	state := stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	if *reason == "" {
		return 0, usagef("incident begin: --reason WORD is missing")
	}
	from, err := sinceTime(*since)
	if err != nil {
		return 0, err
	}
	const stopped = "pratique: no clearance is issued until two people end the incident"
	c, err := ask(ctx, *state)
	switch {
	case err == nil: // the security team may stop a station whose state it cannot open
		defer c.Close()
		if err := c.BeginIncident(ctx, *reason, from); err != nil {
			return 0, err
		}
		fmt.Fprintln(p.stderr, stopped)
		if *out == "" {
			return exitOK, nil
		}
		return exitOK, withState(ctx, *state, func(st *kiosk.State) error {
			in, err := st.Incident()
			if err != nil || in == nil {
				return errors.Join(usagef("there is no incident any more"), err)
			}
			return p.report(ctx, st, in, *out)
		})
	case !errors.Is(err, localapi.ErrNoDaemon):
		return 0, err
	}
	return exitOK, withState(ctx, *state, func(st *kiosk.State) error {
		in, err := st.BeginIncident(ctx, audit.Word(*reason), from, me())
		if in == nil {
			return err
		}
		fmt.Fprintln(p.stderr, stopped)
		if err != nil { // it is stopped; what is missing is the log's entry
			return err
		}
		return p.report(ctx, st, in, *out)
	})
}

func sinceTime(text string) (time.Time, error) {
	if text == "" {
		return time.Now().Add(-defaultWindow), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, usagef("--since takes a time such as 2026-11-21T08:00:00Z")
	}
	return t, nil
}

func (p *program) incidentReport(ctx context.Context, args []string) (int, error) {
	set := p.flags("incident report", "", "incident report --out incident-1")
	out := set.String("out", "", "folder `DIR` for the report")
	state := stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	if *out == "" {
		return 0, usagef("incident report: --out DIR is missing")
	}
	return exitOK, withState(ctx, *state, func(st *kiosk.State) error {
		in, err := st.Incident()
		if err != nil {
			return err
		}
		if in == nil {
			return usagef("there is no incident")
		}
		return p.report(ctx, st, in, *out)
	})
}

// report writes the files of an incident and lists what is to be recalled.
func (p *program) report(ctx context.Context, st *kiosk.State, in *kiosk.Incident, out string) error {
	w := &errWriter{w: p.stdout}
	if out == "" {
		list, err := st.Issued(in.Since)
		if err != nil {
			return err
		}
		w.printf("%s since %s; pratique incident report --out DIR writes the recall list and the evidence\n",
			count(uint64(len(list)), "clearance", "clearances"), in.Since.Format(timeFormat))
		return w.err
	}
	key, err := enrolledKey(st)
	if err != nil {
		return err
	}
	recalls, err := st.Report(ctx, in, key, out)
	if err != nil {
		return err
	}
	for _, r := range recalls {
		end := "holds until " + r.Expires
		if r.Expired {
			end = "expired at " + r.Expires
		}
		w.printf("recall %s  for %s, issued %s, %s, log entry %d\n", r.Code, printable(strings.Join(r.Classes, ", ")), r.Issued, end, r.LogIndex)
	}
	w.printf("%s to recall; %s: recall.json, revocation.json for the root holders, evidence\n", count(uint64(len(recalls)), "clearance", "clearances"), out)
	return w.err
}

// enrolledKey is the public half of the station's enrolled key; nil if it has none.
func enrolledKey(st *kiosk.State) (*clearance.StationKey, error) {
	data, err := st.KeyBox(kiosk.EnrolledKey)
	if err != nil || data == nil {
		return nil, err
	}
	box, err := keys.Parse(data)
	if err != nil {
		return nil, err
	}
	public, err := box.Public()
	return &public, err
}

// incidentEnd goes through the daemon where there is one: the kernel tells it who asks.
func (p *program) incidentEnd(ctx context.Context, args []string) (int, error) {
	set := p.flags("incident end", "", "incident end")
	state := stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	over := false
	c, err := ask(ctx, *state)
	switch {
	case err == nil:
		defer c.Close()
		over, err = c.EndIncident(ctx)
	case errors.Is(err, localapi.ErrNoDaemon):
		err = withState(ctx, *state, func(st *kiosk.State) (err error) {
			over, err = st.EndIncident(ctx, me())
			return err
		})
	}
	if err != nil {
		return 0, err
	}
	text := "noted; a second person must ask for it too"
	if over {
		text = "there is no incident any more"
	}
	_, err = fmt.Fprintln(p.stdout, text)
	return exitOK, err
}
