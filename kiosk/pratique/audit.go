package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"pratique/kiosk"
	"pratique/kiosk/audit"
	"pratique/kiosk/keys"
	"pratique/kiosk/localapi"
)

// The verbs that read the log. Each is an entry itself.

func (p *program) auditList(ctx context.Context, args []string) (int, error) {
	set := p.flags("audit list", "", "audit list --since 2026-11-01T00:00:00Z --json")
	asJSON := set.Bool("json", false, "print one JSON object a line")
	since, until := periodFlags(set)
	state := stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	var opts audit.ListOptions
	var err error
	if opts.Since, err = kiosk.ParseTime(*since); err != nil {
		return 0, err
	}
	if opts.Until, err = kiosk.ParseTime(*until); err != nil {
		return 0, err
	}
	return exitOK, withState(ctx, *state, func(st *kiosk.State) error {
		w := &errWriter{w: p.stdout}
		return st.Read(ctx, opts, func(e audit.Entry) error { return w.entry(e, *asJSON) })
	})
}

// entry writes one entry as a line.
func (e *errWriter) entry(entry audit.Entry, asJSON bool) error {
	if !asJSON {
		e.printf("%s\n", entryLine(entry))
		return e.err
	}
	data, err := json.Marshal(entry)
	if err != nil {
		return err
	}
	e.printf("%s\n", data)
	return e.err
}

func periodFlags(set verbFlags) (since, until *string) {
	return set.String("since", "", "from this `TIME` on, such as 2026-11-21 or 2026-11-21T08:00:00Z"), set.String("until", "", "before this `TIME`")
}

// find looks in the log: in the state itself for who may open it, else through the daemon, which asks the kernel who that is.
func find(ctx context.Context, state string, what localapi.Search) (found []audit.Match, more bool, err error) {
	dir, err := stateDir(state)
	if err != nil {
		return nil, false, err
	}
	if !unixWritable(dir) {
		if c, err := ask(ctx, state); err == nil {
			defer c.Close()
			text, more, err := c.Search(ctx, what)
			if err != nil {
				return nil, false, err
			}
			found, err = kiosk.DecodeMatches(text)
			return found, more, err
		}
	}
	err = withState(ctx, state, func(st *kiosk.State) error {
		found, err = st.Find(ctx, what)
		return err
	})
	return found, what.Session == "" && len(found) == what.Max, err
}

func (p *program) auditShow(ctx context.Context, args []string) (int, error) {
	set := p.flags("audit show", "SESSION", "audit show --items 7KQ2-XM4C")
	asJSON := set.Bool("json", false, "print one JSON object a line")
	items := set.Bool("items", false, "show the session's items too; their names are pseudonyms")
	state := stateFlag(set)
	if err := parse(set, args, 1); err != nil {
		return 0, err
	}
	found, _, err := find(ctx, *state, localapi.Search{Session: set.Arg(0)})
	if err != nil {
		return 0, err
	}
	if len(found) != 1 { // from the daemon: one with more entries than fit into a message
		return 0, errors.New("the session has too many entries to show them through the daemon")
	}
	w := &errWriter{w: p.stdout}
	for _, e := range found[0].Entries {
		if err := w.entry(e, *asJSON); err != nil {
			return 0, err
		}
	}
	if !*items {
		return exitOK, w.err
	}
	row := audit.Row{Seq: -1}
	return exitOK, withState(ctx, *state, func(st *kiosk.State) error {
		return st.Items(ctx, found[0].Session, func(it audit.Item) error {
			row.Seq, row.Item = row.Seq+1, it
			return w.rows([]audit.Row{row}, *asJSON)
		})
	})
}

// rows writes items, one a line.
func (e *errWriter) rows(rows []audit.Row, asJSON bool) error {
	for _, r := range rows {
		if asJSON {
			data, err := json.Marshal(r)
			if err != nil {
				return err
			}
			e.printf("%s\n", data)
			continue
		}
		sum := "-"
		if r.SHA256 != nil {
			sum = r.SHA256.String()
		}
		e.printf("  item %d  %s  %s  %s  %s  %s\n", r.Seq, r.Name, r.Kind, sum, r.Outcome, r.Findings)
	}
	return e.err
}

func (p *program) auditSearch(ctx context.Context, args []string) (int, error) {
	set := p.flags("audit search", "", "audit search --since 2026-11-01 --verdict \"not cleared\" --for imaging")
	asJSON := set.Bool("json", false, "print one JSON object a line, for each match")
	var q localapi.Search
	set.StringVar(&q.Since, "since", "", "from this `TIME` on, such as 2026-11-21 or 2026-11-21T08:00:00Z")
	set.StringVar(&q.Until, "until", "", "before this `TIME`")
	set.StringVar(&q.Verdict, "verdict", "", "`VERDICT`: cleared, \"not cleared\" or \"could not check\"")
	set.StringVar(&q.Class, "for", "", "equipment `CLASS` that somebody asked for")
	set.StringVar(&q.Operator, "operator", "", "`PERSON`, such as person:p-17 or uid:1001, or a pseudonym of 16 digits")
	set.StringVar(&q.Rule, "rule", "", "`RULE` with its check, such as yara:EICAR_Test")
	set.StringVar(&q.Pack, "pack", "", "rule pack `NAME@VERSION`")
	set.StringVar(&q.SHA256, "hash", "", "`SHA-256` of an item")
	set.StringVar(&q.Kind, "kind", "", "has an entry of this `KIND`, such as refused")
	set.IntVar(&q.Max, "max", audit.DefaultMatches, "how many `MATCHES`, newest first")
	state := stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	if q.Max < 1 {
		return 0, usagef("audit search: --max: want 1 or more")
	}
	found, more, err := find(ctx, *state, q)
	if err != nil {
		return 0, err
	}
	w := &errWriter{w: p.stdout}
	for _, m := range found {
		if *asJSON {
			data, err := json.Marshal(m)
			if err != nil {
				return 0, err
			}
			w.printf("%s\n", data)
			continue
		}
		for _, e := range m.Entries {
			w.printf("%s\n", entryLine(e))
		}
		if err := w.rows(m.Items, false); err != nil {
			return 0, err
		}
		w.printf("\n")
	}
	if more && !*asJSON {
		w.printf("the newest %d; --max and a shorter time show others\n", len(found))
	}
	return exitOK, w.err
}

// errNeither is for verbs with flags of which one must be given.
func errNeither(verb string, flags ...string) error {
	return usagef("%s: want one of %s", verb, strings.Join(flags, ", "))
}

func (p *program) auditErase(ctx context.Context, args []string) (int, error) {
	set := p.flags("audit erase", "", "audit erase --before 2025-11")
	session := set.String("session", "", "names of one `SESSION`")
	month := set.String("month", "", "names of a `MONTH`, such as 2026-11")
	before := set.String("before", "", "names of all months before this `MONTH`")
	state := stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	given := 0
	for _, f := range []string{*session, *month, *before} {
		if f != "" {
			given++
		}
	}
	if given != 1 {
		return 0, errNeither("audit erase", "--session", "--month", "--before")
	}
	for _, f := range []string{*month, *before} {
		if _, err := time.Parse("2006-01", f); f != "" && err != nil {
			return 0, usagef("audit erase: %q is no month such as 2026-11", f)
		}
	}
	return exitOK, withState(ctx, *state, func(st *kiosk.State) error {
		ev, err := st.Erase(ctx, *session, audit.Erasure{Month: *month, Before: *before}, me())
		if err != nil {
			return err
		}
		kept, err := st.KeptNames(ctx)
		if err != nil {
			return err
		}
		w := &errWriter{w: p.stdout}
		w.printf("erased the names of %s: %s destroyed\n", eraseText(ev), count(ev.Secrets, "key", "keys"))
		for _, m := range kept {
			w.printf("  kept of %s: %s\n", m.Month, count(m.Secrets, "key", "keys"))
		}
		return w.err
	})
}

func (p *program) auditBackup(ctx context.Context, args []string) (int, error) {
	set := p.flags("audit backup", "", "audit backup --out /srv/backup/kiosk-3-2026-11-22")
	out := set.String("out", "", "new folder `DIR` for the copy")
	state := stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	if *out == "" {
		return 0, usagef("audit backup: --out DIR is missing")
	}
	return exitOK, withState(ctx, *state, func(st *kiosk.State) error {
		head, err := st.Backup(ctx, *out, me())
		if err != nil {
			return err
		}
		w := &errWriter{w: p.stdout}
		w.printf("%s: %s, root %v; pratique audit verify --state %s checks it\n", *out, count(uint64(head.Size), "entry", "entries"), head.Root, *out)
		return w.err
	})
}

// auditRestore is for a station that does not start, so it asks no daemon; one that runs would write into the old log.
func (p *program) auditRestore(ctx context.Context, args []string) (int, error) {
	set := p.flags("audit restore", "", "audit restore --from /srv/backup/kiosk-3-2026-11-22")
	from := set.String("from", "", "folder `DIR` of a backup")
	anew := set.Bool("anew", false, "there is no backup: begin a new log, which says so")
	counter := set.Bool("counter", false, "the log stays as it is: accept it where the TPM's counter is now, which it says")
	device := set.String("tpm", keys.DefaultTPM, "`DEVICE` of the TPM with the station's counter")
	state := stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	if *counter && (*from != "" || *anew) {
		return 0, usagef("audit restore: --counter is for a log that stays: --from DIR and --anew accept the counter themselves")
	}
	if !*counter && (*from != "") == *anew {
		return 0, errNeither("audit restore", "--from DIR", "--anew")
	}
	dir, err := stateDir(*state)
	if err != nil {
		return 0, err
	}
	if c, err := ask(ctx, *state); err == nil {
		c.Close()
		return 0, usagef("audit restore: the daemon runs on this state: stop it first")
	}
	w := &errWriter{w: p.stdout}
	if *counter {
		now, err := acceptCounter(ctx, dir, *device)
		if err != nil {
			return 0, err
		}
		w.printf("the log is accepted where the counter is: %d\n", now.Value)
		return exitOK, w.err
	}
	res, err := kiosk.RestoreLog(ctx, dir, *from, me())
	if err != nil {
		return 0, err
	}
	if box, err := countedBox(dir); err != nil || box != nil { // it is ahead of what was put back
		if err == nil {
			_, err = acceptCounter(ctx, dir, *device)
		}
		if err != nil {
			return 0, fmt.Errorf("the log is restored, and the counter not accepted yet (audit restore --counter): %w", err)
		}
	}
	if *anew {
		w.printf("a new log has begun\n")
	} else {
		w.printf("the log has the backup's %s\n", count(uint64(res.Head.Size), "entry", "entries"))
	}
	w.printf("what was there before is in %s: keep it for the auditor\n", res.Aside)
	for _, code := range res.Recalled {
		w.printf("recalled %s: the log does not know it\n", code)
	}
	return exitOK, w.err
}
