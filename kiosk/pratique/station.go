package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pratique/kiosk"
	"pratique/kiosk/clearance"
	"pratique/kiosk/localapi"
)

// errNoPort says that the call leaves open which medium is meant.
var errNoPort = errors.New("which port is not clear")

// ask connects to the daemon of a state folder.
func ask(ctx context.Context, state string) (*localapi.Client, error) {
	dir, err := stateDir(state)
	if err != nil {
		return nil, err
	}
	return localapi.Dial(ctx, localapi.SocketOf(dir))
}

func (p *program) status(ctx context.Context, args []string) (int, error) {
	set := p.flags("status", "", "status --json")
	asJSON := set.Bool("json", false, "print one JSON object")
	state := stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	var st *localapi.State
	c, err := ask(ctx, *state)
	switch {
	case err == nil:
		defer c.Close()
		if st, err = c.Status(ctx); err != nil {
			return 0, err
		}
	case errors.Is(err, localapi.ErrNoDaemon):
		if st, err = withoutDaemon(ctx, *state); err != nil {
			return 0, err
		}
	default:
		return 0, err
	}
	if *asJSON {
		return exitOK, json.NewEncoder(p.stdout).Encode(st)
	}
	w := &errWriter{w: p.stdout}
	stateText(w, st)
	return exitOK, w.err
}

// withoutDaemon is what can be said when nobody looks at the ports.
func withoutDaemon(ctx context.Context, flag string) (*localapi.State, error) {
	cfg, err := loadConfig("")
	if err != nil {
		return nil, err
	}
	dir, err := stateDir(flag)
	if err != nil {
		return nil, err
	}
	pack, err := loadPack(cfg, dir, "", "")
	if err != nil {
		return nil, err
	}
	st := &localapi.State{Version: 1, Rules: localapi.Rules{Name: pack.Name, Version: pack.Version},
		Classes: slices.Sorted(maps.Keys(pack.Policies)), Ports: []localapi.Port{}, Problems: []localapi.Problem{{Code: "no-daemon", Text: "No daemon runs on this state: start pratiqued, or screen with pratique screen."}}}
	return st, withState(ctx, flag, func(s *kiosk.State) error {
		enrolled, err := s.Enrolled()
		st.Station, st.Demo = s.Key().Issuer, s.Key().Demo && !enrolled
		return err
	})
}

func (p *program) watch(ctx context.Context, args []string) (int, error) {
	set := p.flags("watch", "", "watch --json")
	asJSON := set.Bool("json", false, "print one JSON object a line")
	state := stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	c, err := ask(ctx, *state)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	w := &errWriter{w: p.stdout}
	last := map[string]string{}
	err = c.Watch(ctx, func(st *localapi.State) error {
		if *asJSON {
			return json.NewEncoder(p.stdout).Encode(st)
		}
		for i := range st.Ports { // one line for each port that changed
			port := &st.Ports[i]
			if line := portLine(port); line != last[port.ID] {
				last[port.ID] = line
				w.printf("%s  %s\n", time.Now().Format("15:04:05"), line)
			}
		}
		return w.err
	})
	if ctx.Err() != nil { // the person has seen enough
		return exitOK, nil
	}
	return 0, err
}

func (p *program) sessions(ctx context.Context, args []string) (int, error) {
	set := p.flags("sessions", "", "sessions --max 50")
	asJSON := set.Bool("json", false, "print one JSON object a line")
	most := set.Int("max", 20, "how many `SESSIONS`, newest first")
	state := stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	if *most < 1 || *most > localapi.MaxSessions {
		return 0, usagef("sessions: --max: want 1 to %d", localapi.MaxSessions)
	}
	var list []localapi.Session
	c, err := ask(ctx, *state)
	switch {
	case err == nil:
		defer c.Close()
		list, err = c.Sessions(ctx, *most)
	case errors.Is(err, localapi.ErrNoDaemon):
		err = withState(ctx, *state, func(s *kiosk.State) (err error) {
			list, err = s.Sessions(ctx, *most)
			return err
		})
	}
	if err != nil {
		return 0, err
	}
	w := &errWriter{w: p.stdout}
	for i := range list {
		if *asJSON {
			if err := json.NewEncoder(p.stdout).Encode(&list[i]); err != nil {
				return 0, err
			}
			continue
		}
		w.printf("%s\n", sessionLine(&list[i]))
	}
	return exitOK, w.err
}

func (p *program) issue(ctx context.Context, args []string) (int, error) {
	set := p.flags("issue", "[PORT]", "issue --for imaging left")
	class := set.String("for", "", "equipment `CLASS` that the medium is for")
	reason := set.String("override", "", "let the medium through although it is not cleared, for this `REASON`; a second person confirms with the same call")
	asJSON := set.Bool("json", false, "print one JSON object")
	state := stateFlag(set)
	if err := parse(set, args, min(1, portsGiven(args, set))); err != nil {
		return 0, err
	}
	if *class == "" {
		return 0, usagef("issue: --for CLASS is missing")
	}
	if *reason != "" && !slices.Contains(localapi.OverrideReasons, *reason) {
		return 0, usagef("issue: --override %q: want one of %s", *reason, strings.Join(localapi.OverrideReasons, ", "))
	}
	c, err := ask(ctx, *state)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	port, err := choosePort(ctx, c, set.Arg(0))
	if err != nil {
		return 0, err
	}
	var answer localapi.Answer
	if *reason != "" {
		answer, err = c.Override(ctx, port, *class, *reason)
	} else {
		answer, err = c.Issue(ctx, port, *class)
	}
	if err != nil {
		return 0, err
	}
	if *asJSON {
		err = json.NewEncoder(p.stdout).Encode(answer)
	} else {
		err = p.answerText(&answer)
	}
	if err != nil {
		return 0, fmt.Errorf("write the answer: %w", err)
	}
	switch {
	case answer.Clearance != nil:
		return exitOK, nil
	case answer.Verdict == kiosk.NotCleared.String():
		return exitNotCleared, nil
	}
	return exitCouldNotCheck, nil
}

func (p *program) eject(ctx context.Context, args []string) (int, error) {
	set := p.flags("eject", "PORT", "eject left")
	state := stateFlag(set)
	if err := parse(set, args, 1); err != nil {
		return 0, err
	}
	c, err := ask(ctx, *state)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	port, err := choosePort(ctx, c, set.Arg(0))
	if err != nil {
		return 0, err
	}
	return exitOK, c.Eject(ctx, port)
}

// portsGiven counts the arguments behind the flags.
func portsGiven(args []string, set verbFlags) int {
	if set.Parse(args) != nil {
		return 0
	}
	return set.NArg()
}

// choosePort finds a port by its id or its name; without one, the only port that has a medium in it.
func choosePort(ctx context.Context, c *localapi.Client, name string) (string, error) {
	st, err := c.Status(ctx)
	if err != nil {
		return "", err
	}
	var fits []string
	for _, port := range st.Ports {
		switch {
		case name != "" && port.ID == name:
			return port.ID, nil
		case name != "" && port.Name == name, name == "" && port.Session != "":
			fits = append(fits, port.ID)
		}
	}
	switch {
	case len(fits) == 1:
		return fits[0], nil
	case len(fits) == 0 && name != "":
		return name, nil // the daemon says what it thinks of it
	case len(fits) == 0:
		return "", fmt.Errorf("%w: there is no medium in any port", errNoPort)
	}
	return "", fmt.Errorf("%w: it could be %s", errNoPort, strings.Join(fits, ", "))
}

func stateText(w *errWriter, st *localapi.State) {
	ready := "ready"
	if !st.Ready {
		ready = "NOT READY: it issues no clearances"
	}
	w.printf("%s: %s\n", printable(st.Station), ready)
	w.printf("  rules %s version %d\n", printable(st.Rules.Name), st.Rules.Version)
	if st.Demo {
		w.printf("  signs with a demonstration key: devices refuse it unless told otherwise\n")
	}
	for _, pr := range st.Problems {
		w.printf("  ! %s\n", printable(pr.Text))
	}
	for i := range st.Ports {
		w.printf("  %s\n", portLine(&st.Ports[i]))
	}
}

// portLine is a port in one line.
func portLine(p *localapi.Port) string {
	line := fmt.Sprintf("%-10s %s", printable(p.ID), p.State)
	if p.Name != p.ID && p.Name != "" {
		line = fmt.Sprintf("%-10s %-12s %s", printable(p.ID), printable(p.Name), p.State)
	}
	if m := p.Medium; m != nil {
		line += fmt.Sprintf(", %s of %s", m.Kind, size(m.Bytes))
	}
	if pr := p.Progress; pr != nil {
		line += fmt.Sprintf(", %s of %s, %s", size(pr.Read), size(pr.Total), count(pr.Files, "file", "files"))
		if pr.Left >= 0 {
			line += fmt.Sprintf(", %v left", time.Duration(pr.Left)*time.Second)
		}
	}
	if p.Verdict != "" {
		line += fmt.Sprintf(": %s for %s", p.Verdict, printable(p.Class))
	}
	if p.Override != nil {
		line += fmt.Sprintf(", override (%s) waits for a second person", printable(p.Override.Reason))
	}
	if c := p.Clearance; c != nil {
		if c.Override != "" {
			line += ", RED (" + printable(c.Override) + ")"
		}
		line += ", clearance " + c.Code
	} else if len(p.Reasons) > 0 {
		line += ": " + printable(p.Reasons[0].Text)
	}
	if r := p.Pack; r != nil {
		line += fmt.Sprintf(": the rule pack %s version %d came from it", printable(r.Name), r.Version)
	}
	if p.Refusal != nil {
		line += ": " + printable(p.Refusal.Text)
	}
	return line
}

func sessionLine(s *localapi.Session) string {
	line := fmt.Sprintf("%s  %s  %s of %s", s.Attached, s.ID[:min(8, len(s.ID))], s.Medium.Kind, size(s.Medium.Bytes))
	if s.Port != "" {
		line += ", port " + printable(s.Port)
	}
	for _, v := range s.Verdicts {
		line += fmt.Sprintf(", %s for %s", v.Verdict, printable(v.Class))
		if len(v.Reasons) > 0 {
			line += " (" + strings.Join(v.Reasons, ", ") + ")"
		}
	}
	if s.Code != "" {
		line += ", clearance " + s.Code
	}
	return line + ", " + s.End
}

// answerText shows an answer as screen shows a result.
func (p *program) answerText(a *localapi.Answer) error {
	w := &errWriter{w: p.stdout}
	w.printf("%s: %s\n", printable(a.Port), a.Verdict)
	for _, r := range a.Reasons {
		w.printf("  %s\n", printable(r.Text))
	}
	if n := a.Findings; n.Block+n.Warn > 0 {
		w.printf("  %s that bar it, %s\n", count(n.Block, "finding", "findings"), count(n.Warn, "warning", "warnings"))
	}
	if a.Pending {
		w.printf("  an override was asked for: another person must confirm it with the same call, one of the two of the security team\n")
	}
	if c := a.Clearance; c != nil {
		if c.Override != "" {
			w.printf("  RED: NOT CLEARED; two people let it through (%s), and devices refuse it unless they were told otherwise\n", printable(c.Override))
		}
		w.printf("  clearance %s, for %s until %s, log entry %d\n", c.Code, printable(c.Class), c.Expires, c.LogIndex)
		w.printf("  pratique clearance save --out DIR %s copies token and manifest\n", c.Code)
		qr, err := clearance.QRText(c.QR)
		if err != nil {
			return err
		}
		w.printf("%s", qr)
	}
	return w.err
}
