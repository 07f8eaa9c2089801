package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"pratique/kiosk"
	"pratique/kiosk/config"
	"pratique/kiosk/localapi"
	"pratique/rules/baseline"
	"pratique/rules/pack"
)

// packConfig is what a station's rule packs are held against.
func packConfig(cfg config.Config) (kiosk.PackConfig, error) {
	root, err := cfg.RootFile()
	if err != nil {
		return kiosk.PackConfig{}, err
	}
	shipped, err := baseline.Pack()
	if err != nil {
		return kiosk.PackConfig{}, err
	}
	return kiosk.PackConfig{Root: root, Baseline: shipped, Tighten: cfg.Apply}, nil
}

// withPacks opens the state for a verb about rules.
func withPacks(ctx context.Context, configFile, state string, f func(*kiosk.State, config.Config, kiosk.PackConfig) error) error {
	cfg, err := loadConfig(configFile)
	if err != nil {
		return err
	}
	packs, err := packConfig(cfg)
	if err != nil {
		return err
	}
	return withState(ctx, state, func(st *kiosk.State) error { return f(st, cfg, packs) })
}

type jsonPack struct {
	Name      string   `json:"name"`
	Version   uint64   `json:"version"`
	SHA256    string   `json:"sha256,omitempty"`
	Author    string   `json:"author,omitempty"`
	Signers   []string `json:"signers,omitempty"`
	Published string   `json:"published,omitempty"`
	Expires   string   `json:"expires,omitempty"`
	Installed string   `json:"installed,omitempty"`
	Changes   []string `json:"changes,omitempty"`
}

func packJSON(m *pack.Meta) jsonPack {
	stamp := func(t time.Time) string { return t.UTC().Format(timeFormat) }
	return jsonPack{m.Name, m.Version, m.SHA256, m.Author, m.Signers, stamp(m.Published), stamp(m.Expires), stamp(m.Installed), m.Changes}
}

func (p *program) rulesStatus(ctx context.Context, args []string) (int, error) {
	set := p.flags("rules status", "", "rules status --json")
	asJSON := set.Bool("json", false, "print one JSON object")
	configFile, state := configFlag(set), stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	return exitOK, withPacks(ctx, *configFile, *state, func(st *kiosk.State, cfg config.Config, packs kiosk.PackConfig) error {
		in, err := st.Packs(packs)
		if err != nil {
			return err
		}
		fresh, err := st.Freshness(ctx, in, packs, cfg.Rules.WarnAge(), cfg.Rules.StopAge())
		if err != nil {
			return err
		}
		recalled, err := st.Recalled(ctx)
		if err != nil {
			return err
		}
		enrolled, err := st.Enrolled()
		if err != nil {
			return err
		}
		excepted, err := st.Exceptions(ctx, localapi.MaxExceptions)
		if err != nil {
			return err
		}
		excepted = slices.DeleteFunc(excepted, func(x localapi.Exception) bool { return x.State != localapi.ExceptionHolds })
		out := struct {
			Pack     jsonPack `json:"pack"`
			Source   string   `json:"source"` // "baseline" or "installed"
			InForce  string   `json:"in_force"`
			Enrolled bool     `json:"enrolled"`
			Problem  string   `json:"problem,omitempty"`
			Stops    bool     `json:"stops"`
			Recalled int      `json:"recalled"`
			Excepted int      `json:"excepted"` // contents
			// Holding are those that devices take until their trust file names them.
			Holding []jsonRecall `json:"holding"`
		}{jsonPack{Name: in.Name, Version: in.Version}, "baseline", fmt.Sprintf("%x", in.Pack.InForce()), enrolled, fresh.Text, fresh.Stops, len(recalled), len(excepted), []jsonRecall{}}
		missing, err := st.Unrevoked(recalled)
		if err != nil {
			return err
		}
		for _, r := range st.Holding(recalled) {
			j := recallJSON(&r)
			j.Revoked = new(!slices.ContainsFunc(missing, func(m kiosk.Recall) bool { return m.ID == r.ID }))
			out.Holding = append(out.Holding, j)
		}
		if in.Meta != nil {
			out.Pack, out.Source = packJSON(in.Meta), "installed"
		}
		if *asJSON {
			return json.NewEncoder(p.stdout).Encode(out)
		}
		w := &errWriter{w: p.stdout}
		w.printf("rules      %s version %d, %s\n", printable(out.Pack.Name), out.Pack.Version, map[bool]string{true: "installed", false: "shipped with the program"}[in.Meta != nil])
		if in.Meta != nil {
			w.printf("  by       %s; signed by %s\n", printable(out.Pack.Author), printable(strings.Join(out.Pack.Signers, ", ")))
			w.printf("  times    published %s, installed %s, runs out %s\n", out.Pack.Published, out.Pack.Installed, out.Pack.Expires)
		}
		w.printf("  digest   %s\n", out.InForce)
		if fresh.Text != "" {
			w.printf("  PROBLEM  %s\n", fresh.Text)
		}
		if out.Recalled > 0 {
			w.printf("  recalled %s: pratique rules recall\n", count(uint64(out.Recalled), "clearance", "clearances"))
		}
		for _, j := range out.Holding {
			words := "the trust file names it"
			if !*j.Revoked {
				words = "NOT in the trust file: pratique rules recall --out DIR writes what the root holders need"
			}
			w.printf("    %s  for %s, by %s, until %s: %s\n", j.Code, printable(strings.Join(j.Classes, ", ")), printable(j.Station), j.Expires, words)
		}
		if out.Excepted > 0 {
			w.printf("  excepted %s: pratique exceptions list\n", count(uint64(out.Excepted), "content", "contents"))
		}
		return w.err
	})
}

func (p *program) rulesInstall(ctx context.Context, args []string) (int, error) {
	set := p.flags("rules install", "[PATH]", "rules install --port left")
	port := set.String("port", "", "read the pack off the medium in `PORT`, once it is screened, by the port's id or its name")
	configFile, state := configFlag(set), stateFlag(set)
	if err := parse(set, args, min(1, portsGiven(args, set))); err != nil {
		return 0, err
	}
	if (*port == "") == (set.NArg() == 0) {
		return 0, usagef("rules install: want PATH, which is a folder, an image of a medium or a block device, or --port PORT")
	}
	var done localapi.Pack
	var err error
	if *port != "" {
		done, err = installFrom(ctx, *state, *port)
	} else {
		done, err = p.install(ctx, *configFile, *state, set.Arg(0))
	}
	if err != nil {
		return 0, err
	}
	w := &errWriter{w: p.stdout}
	w.printf("%s version %d is in force\n", printable(done.Name), done.Version)
	if done.Recalled > 0 {
		w.printf("%s recalled: pratique rules recall\n", count(done.Recalled, "clearance was", "clearances were"))
	}
	return exitOK, w.err
}

// installFrom has the daemon read the medium in a port: nobody else has it.
func installFrom(ctx context.Context, state, port string) (localapi.Pack, error) {
	c, err := ask(ctx, state)
	if err != nil {
		return localapi.Pack{}, err
	}
	defer c.Close()
	if port, err = choosePort(ctx, c, port); err != nil {
		return localapi.Pack{}, err
	}
	return c.InstallFrom(ctx, port)
}

// install lets the daemon do it, if one runs: it must change its rules anyway.
func (p *program) install(ctx context.Context, configFile, state, path string) (localapi.Pack, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return localapi.Pack{}, usagef("rules install: %v", err)
	}
	c, err := ask(ctx, state)
	if err == nil {
		defer c.Close()
		return c.Install(ctx, path)
	}
	if !errors.Is(err, localapi.ErrNoDaemon) {
		return localapi.Pack{}, err
	}
	var done localapi.Pack
	err = withPacks(ctx, configFile, state, func(st *kiosk.State, cfg config.Config, packs kiosk.PackConfig) error {
		workers, err := workerDir()
		if err != nil {
			return err
		}
		packs.Want = kiosk.Screening{Workers: workers, Slots: cfg.Scan.Workers, RequireNamespaces: cfg.Scan.RequireNamespaces}
		in, recalls, err := st.InstallPath(ctx, path, packs)
		if err != nil {
			return err
		}
		done = localapi.Pack{Name: in.Name, Version: in.Version, Recalled: uint64(len(recalls))}
		return nil
	})
	return done, err
}

// rulesRollback changes nothing: a station that could step back could be made to.
func (p *program) rulesRollback(ctx context.Context, args []string) (int, error) {
	set := p.flags("rules rollback", "", "rules rollback")
	configFile, state := configFlag(set), stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	err := withPacks(ctx, *configFile, *state, func(st *kiosk.State, _ config.Config, packs kiosk.PackConfig) error {
		history, err := st.PackHistory(packs)
		if err != nil {
			return err
		}
		w := &errWriter{w: p.stdout}
		w.printf("A station never goes back to an older rule pack: who could make it, could make it forget what it knows.\n")
		switch {
		case len(history) == 0:
			w.printf("No pack was installed yet: the one that ships with the program is in force.\n")
			return w.err
		case len(history) == 1:
			w.printf("In force: %s version %d. There was no other before.\n", printable(history[0].Name), history[0].Version)
			return w.err
		}
		now, before := history[0], history[1]
		w.printf("In force: %s version %d; before it version %d, of %s.\n", printable(now.Name), now.Version, before.Version, before.Issued.UTC().Format(timeFormat))
		w.printf("To have the rules of version %d again, the security team takes their source of that version out of git,\n", before.Version)
		w.printf("gives it a version above %d, builds, signs and publishes it, and the station installs it as any other:\n", now.Version)
		w.printf("  rulepack build, rulepack sign (%d persons), rulepack publish; pratique rules install PATH\n", now.Needed)
		return w.err
	})
	return exitOK, err
}

func (p *program) rulesHistory(ctx context.Context, args []string) (int, error) {
	set := p.flags("rules history", "", "rules history --json")
	asJSON := set.Bool("json", false, "print one JSON object a line")
	configFile, state := configFlag(set), stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	return exitOK, withPacks(ctx, *configFile, *state, func(st *kiosk.State, _ config.Config, packs kiosk.PackConfig) error {
		history, err := st.PackHistory(packs)
		if err != nil {
			return err
		}
		w := &errWriter{w: p.stdout}
		for i := range history {
			m := packJSON(&history[i])
			if *asJSON {
				data, err := json.Marshal(m)
				if err != nil {
					return err
				}
				w.printf("%s\n", data)
				continue
			}
			w.printf("%s  %s version %d, signed by %s\n", m.Installed, printable(m.Name), m.Version, printable(strings.Join(m.Signers, ", ")))
			for _, c := range m.Changes {
				w.printf("    %s\n", printable(c))
			}
		}
		return w.err
	})
}

type jsonRecall struct {
	ID      string   `json:"id"`
	Code    string   `json:"code"`
	Station string   `json:"station"`
	Classes []string `json:"classes"`
	Issued  string   `json:"issued,omitempty"`
	Expires string   `json:"expires"`
	Rules   string   `json:"rules"`
	Version uint64   `json:"version"`
	Cause   string   `json:"cause,omitempty"` // of the recall; absent if the clearance was not recalled
	Items   uint64   `json:"items,omitempty"`
	Revoked *bool    `json:"revoked,omitempty"` // by the trust file; of those that rules status lists
}

func recallJSON(r *kiosk.Recall) jsonRecall {
	j := jsonRecall{ID: r.ID.String(), Code: r.Code, Station: r.Station, Classes: r.Classes, Expires: r.Expires.UTC().Format(timeFormat),
		Rules: string(r.Rules.Name), Version: r.Rules.Version, Cause: r.Cause, Items: r.Items}
	if !r.Issued.IsZero() {
		j.Issued = r.Issued.UTC().Format(timeFormat)
	}
	return j
}

func (p *program) rulesRecall(ctx context.Context, args []string) (int, error) {
	set := p.flags("rules recall", "", "rules recall --since 2026-11-01T00:00:00Z --pack core@41")
	asJSON := set.Bool("json", false, "print one JSON object a line")
	since := set.String("since", "", "list every clearance issued from `TIME` on, recalled or not")
	until := set.String("until", "", "and before `TIME`")
	name := set.String("pack", "", "and with the rules of `NAME[@VERSION]`, up to that version")
	out := set.String("out", "", "`DIR` for recall.json and for revocation.json, which trust edit --revoke takes")
	configFile, state := configFlag(set), stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	w, err := windowOf(*since, *until, *name)
	if err != nil {
		return 0, err
	}
	return exitOK, withPacks(ctx, *configFile, *state, func(st *kiosk.State, _ config.Config, _ kiosk.PackConfig) error {
		list, err := st.Recalled(ctx)
		if w != (kiosk.Window{}) {
			list, err = st.Cleared(ctx, w)
		}
		if err != nil {
			return err
		}
		lines := &errWriter{w: p.stdout}
		recalls := []jsonRecall{}
		for _, r := range list {
			j := recallJSON(&r)
			recalls = append(recalls, j)
			if *asJSON {
				data, err := json.Marshal(j)
				if err != nil {
					return err
				}
				lines.printf("%s\n", data)
				continue
			}
			words := "not recalled"
			if r.Cause != "" {
				words = fmt.Sprintf("RECALLED (%s, %s)", r.Cause, count(r.Items, "item", "items"))
			}
			lines.printf("%s  for %s, by %s, until %s, rules %s %d: %s\n", r.Code, strings.Join(r.Classes, ", "), printable(j.Station), j.Expires, printable(j.Rules), j.Version, words)
		}
		if *out == "" {
			return lines.err
		}
		return errors.Join(lines.err, p.writeRevocation(st, list, recalls, *out))
	})
}

// writeRevocation writes the recall list, for whoever looks after the equipment, and what the root holders are to take back.
func (p *program) writeRevocation(st *kiosk.State, list []kiosk.Recall, recalls []jsonRecall, dir string) error {
	key, err := enrolledKey(st)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return usagef("%v", err)
	}
	revocation, left := st.RevocationOf(list, "recall", key)
	if err := kiosk.WriteLists(dir, map[string]any{"recall.json": recalls, "revocation.json": revocation}); err != nil {
		return err
	}
	fmt.Fprintf(p.stderr, "%s to look after in %s/recall.json; %d of them still hold, for the root holders: pratique trust edit --revoke %s/revocation.json\n",
		count(uint64(len(recalls)), "clearance", "clearances"), dir, len(revocation.IDs), dir)
	if left > 0 {
		fmt.Fprintf(p.stderr, "A trust file cannot name %d more: revoke the station's key too (--revoke-station)\n", left)
	}
	return nil
}

func windowOf(since, until, name string) (kiosk.Window, error) {
	var w kiosk.Window
	for _, t := range []struct {
		flag, text string
		into       *time.Time
	}{{"since", since, &w.Since}, {"until", until, &w.Until}} {
		if t.text == "" {
			continue
		}
		var err error
		if *t.into, err = time.Parse(time.RFC3339, t.text); err != nil {
			return w, usagef("rules recall: --%s: want a time such as 2026-11-01T00:00:00Z", t.flag)
		}
	}
	var version string
	var ok bool
	if w.Pack, version, ok = strings.Cut(name, "@"); ok {
		var err error
		if w.Version, err = strconv.ParseUint(version, 10, 63); err != nil || w.Version == 0 || w.Pack == "" {
			return w, usagef("rules recall: --pack: want NAME or NAME@VERSION")
		}
	}
	return w, nil
}
