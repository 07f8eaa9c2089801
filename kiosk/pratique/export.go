package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"pratique/kiosk"
	"pratique/kiosk/audit/export"
	"pratique/kiosk/audit/forward"
	"pratique/kiosk/localapi"
)

// The hints are the same whether the log was read here or by the daemon.
const (
	exportHint    = "pratique audit export --help lists the forms and what they take"
	rewrittenHint = "keep the checkpoint and the state folder as they are: the log that was signed then is not the log that is here"
)

// checkpointSuffix names the file beside an export that the next one continues from.
const checkpointSuffix = ".checkpoint"

func (p *program) auditExport(ctx context.Context, args []string) (int, error) {
	set := p.flags("audit export", "", "audit export --format pdf --since 2026-11-01 --until 2026-12-01 --out november.pdf")
	format := set.String("format", "", "`FORM`: "+strings.Join(export.Formats(), ", "))
	since := set.String("since", "", "entries from this `TIME` on, such as 2026-11-01 or 2026-11-01T08:00:00Z (UTC)")
	until := set.String("until", "", "entries before this `TIME`")
	after := set.String("from-checkpoint", "", "entries behind the checkpoint in `FILE`, and proof that nothing before it was changed")
	items := set.Bool("items", false, "every item of each medium, not only those with findings (csv, jsonl)")
	out := set.String("out", "-", "`FILE` that is not there yet; its checkpoint goes beside it. Default: standard output")
	state := stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	if *format == "" {
		return 0, usagef("audit export: --format FORM is missing")
	}
	opts := export.Options{AllItems: *items}
	var err error
	if opts.Since, err = timeOf("--since", *since); err != nil {
		return 0, err
	}
	if opts.Until, err = timeOf("--until", *until); err != nil {
		return 0, err
	}
	if *after != "" {
		if opts.After, err = readCheckpoint(*after); err != nil {
			return 0, err
		}
	}
	c, err := ask(ctx, *state)
	switch {
	case err == nil: // the kernel tells the daemon who asks
		defer c.Close()
		return exitOK, p.export(*out, func(to io.Writer) (localapi.Exported, error) {
			return c.Export(ctx, localapi.Export{Form: *format, Since: unixOrZero(opts.Since), Until: unixOrZero(opts.Until), After: opts.After, Items: opts.AllItems}, to)
		})
	case !errors.Is(err, localapi.ErrNoDaemon):
		return 0, err
	}
	return exitOK, withState(ctx, *state, func(st *kiosk.State) error {
		return p.export(*out, func(to io.Writer) (localapi.Exported, error) {
			x, sum, err := st.Export(ctx, export.Format(*format), opts, me(), to)
			if err != nil {
				return localapi.Exported{}, err
			}
			return localapi.Exported{From: x.From, To: x.To, Items: sum.Items, Bytes: sum.Bytes, SHA256: sum.SHA256.String(), Checkpoint: x.Checkpoint}, nil
		})
	})
}

// unixOrZero is a time as the daemon is told it.
func unixOrZero(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// export writes to standard output or into a new file what take gives, and says what it was.
func (p *program) export(out string, take func(io.Writer) (localapi.Exported, error)) error {
	to, done := p.stdout, func(failed error) error { return failed }
	if out != "-" {
		f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return usagef("audit export: %s is there already", out)
		} else if err != nil {
			return fmt.Errorf("%w: %w", kiosk.ErrOut, err)
		}
		to, done = f, func(failed error) error {
			if failed == nil {
				failed = f.Sync()
			}
			if err := f.Close(); failed == nil {
				failed = err
			}
			if failed != nil {
				os.Remove(out) // a part of an export is no export
			}
			return failed
		}
	}
	x, err := take(to)
	if err := done(err); err != nil {
		return err
	}
	if out != "-" {
		if err := writeNew(out+checkpointSuffix, []byte(x.Checkpoint), 0o600); err != nil {
			return err
		}
	}
	entries := "no entries"
	if x.To > x.From {
		entries = fmt.Sprintf("entries %d to %d", x.From, x.To-1)
	}
	_, err = fmt.Fprintf(p.stderr, "pratique: %s, %s, %s, sha256 %s, under the checkpoint of %d entries\n", entries, count(x.Items, "item", "items"),
		size(x.Bytes), x.SHA256, x.To)
	return err
}

// timeOf reads a time, or a day, which begins at midnight UTC.
func timeOf(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC().Truncate(time.Second), nil // as the daemon is told it
		}
	}
	return time.Time{}, usagef("%s takes a day such as 2026-11-21, or a time such as 2026-11-21T08:00:00Z", flag)
}

// readCheckpoint reads the checkpoint of an export before, or that export in the form jsonl.
func readCheckpoint(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", usagef("--from-checkpoint: %v", err)
	}
	defer f.Close()
	text, err := export.Checkpoint(f)
	if err != nil {
		return "", usagef("--from-checkpoint %s: %v", name, err)
	}
	return text, nil
}

// auditForward sends what is new in the log to the collector that the configuration names. It does so once: a timer calls it.
func (p *program) auditForward(ctx context.Context, args []string) (int, error) {
	set := p.flags("audit forward", "", "audit forward --config /etc/pratique/station.toml")
	configFile, state := configFlag(set), stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	cfg, err := loadConfig(*configFile)
	if err != nil {
		return 0, err
	}
	if cfg.Syslog.Server == "" {
		return 0, usagef("audit forward: the configuration names no collector in [syslog], so nothing is sent")
	}
	form := export.Syslog
	if cfg.Syslog.Form == "dicom" {
		form = export.ATNASyslog
	}
	return exitOK, withState(ctx, *state, func(st *kiosk.State) error {
		x, err := st.Forward(ctx, form, me(), func(ctx context.Context) (kiosk.Delivery, error) {
			return forward.Dial(ctx, forward.Collector{Server: cfg.Syslog.Server, CA: cfg.Syslog.CA, Certificate: cfg.Syslog.Certificate, Key: cfg.Syslog.Key})
		})
		if errors.Is(err, export.ErrRewritten) || errors.Is(err, export.ErrCheckpoint) {
			return fmt.Errorf("the collector has entries of another history (was the log restored? then remove %s from the state, and all of it is sent): %w", kiosk.ForwardedName, err)
		}
		if err != nil {
			return err
		}
		text := "nothing is new"
		if x != nil {
			text = fmt.Sprintf("entries %d to %d were taken by %s", x.From, x.To-1, cfg.Syslog.Server)
		}
		_, err = fmt.Fprintf(p.stderr, "pratique: %s\n", text)
		return err
	})
}
