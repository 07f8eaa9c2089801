package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pratique/kiosk"
	"pratique/kiosk/config"
	"pratique/kiosk/keys"
	"pratique/kiosk/usb"
	"pratique/rules"
)

// What doctor says of one thing.
const (
	stateOK      = "ok"
	stateMissing = "missing" // a medium can be screened without it
	stateFailed  = "failed"  // and without this it cannot
)

// minFree is room for the log and the clearances of a day.
const minFree = 64 << 20

// check is one line of doctor's.
type check struct {
	Name  string `json:"name"`
	State string `json:"state"`
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"`
}

// doctor says what is in force on this machine. What can be tried is tried: it starts the scan processes as a screening
// does and lets them attack their own jail, compiles the rules, opens the state, and verifies the log.
func (p *program) doctor(ctx context.Context, args []string) (int, error) {
	set := p.flags("doctor", "", "doctor --json")
	asJSON := set.Bool("json", false, "print one JSON object")
	configFile := configFlag(set)
	state := stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	dir, err := stateDir(*state)
	if err != nil {
		return 0, err
	}
	cfg, pack, configured, err := configChecks(*configFile, dir)
	if err != nil {
		return 0, err
	}
	checks := append([]check{kernelCheck()}, configured...)
	checks = append(checks, usbChecks(cfg)...)
	checks = append(checks, workerChecks(ctx, cfg, pack)...)
	checks = append(checks, stateChecks(ctx, dir)...)
	well := !slices.ContainsFunc(checks, func(c check) bool { return c.State == stateFailed })

	if *asJSON {
		enc := json.NewEncoder(p.stdout)
		enc.SetEscapeHTML(false)
		err = enc.Encode(struct {
			Version   int     `json:"version"`
			CanScreen bool    `json:"can_screen"`
			Checks    []check `json:"checks"`
		}{1, well, checks})
	} else {
		w := &errWriter{w: p.stdout}
		for _, c := range checks {
			w.printf("%-8s %-18s %s", c.State, c.Name, printable(c.Text))
			if c.Hint != "" {
				w.printf(" - %s", printable(c.Hint))
			}
			w.printf("\n")
		}
		verdict := "media can be screened here"
		if !well {
			verdict = "media can NOT be screened here"
		}
		w.printf("%s\n", verdict)
		err = w.err
	}
	if err != nil {
		return 0, fmt.Errorf("write the result: %w", err)
	}
	if !well {
		return exitFailed, nil
	}
	return exitOK, nil
}

func kernelCheck() check {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return check{"kernel", stateFailed, err.Error(), ""}
	}
	return check{"kernel", stateOK, fmt.Sprintf("%s on %s", unix.ByteSliceToString(name.Release[:]), unix.ByteSliceToString(name.Machine[:])), ""}
}

// usbChecks looks at what keeps the kernel away from the ports for media. Where there are none, nothing is plugged in.
func usbChecks(cfg config.Config) (out []check) {
	if len(cfg.Ports) == 0 {
		return nil
	}
	policy, err := cfg.USB()
	if err != nil {
		return []check{{"usb-ports", stateFailed, err.Error(), "nothing is screened before the file is corrected"}}
	}
	for _, l := range usb.Check("/sys", policy) {
		c := check{l.Name, stateOK, l.Text, l.Hint}
		switch {
		case !l.Holds && l.Required:
			c.State = stateFailed
		case !l.Holds:
			c.State = stateMissing
		}
		out = append(out, c)
	}
	return out
}

// layerWords say what each layer of the jail does, and how to get it where a machine does not grant it. Those without a
// hint are the jail's own: without them there is no scan at all.
var layerWords = map[string]struct{ text, hint string }{
	"descriptors":       {"nothing is open but what was given", ""},
	"dumpable-off":      {"no memory image, and nobody may look into its memory", ""},
	"no-new-privs":      {"no program can give it rights", ""},
	"landlock":          {"no file, by name, on any thread", ""},
	"rlimits":           {"no new descriptor, bounded memory", ""},
	"seccomp":           {"a system call that is not in the table kills", ""},
	"user-namespace":    {"users of its own, of whom it is nobody", namespaceHint},
	"mount-namespace":   {"mounts of its own", namespaceHint},
	"pid-namespace":     {"it sees no other process", namespaceHint},
	"net-namespace":     {"no network interface", namespaceHint},
	"ipc-namespace":     {"no shared memory of others", namespaceHint},
	"uts-namespace":     {"a host name of its own", namespaceHint},
	"unprivileged-user": {"it is not root outside either", "let everybody execute scanworker and yaraworker (mode 0755)"},
	"no-capabilities":   {"no right of root's", "do not start pratique with capabilities"},
}

const namespaceHint = "allow user namespaces: user.max_user_namespaces, kernel.unprivileged_userns_clone, or the container's own rules"

func workerChecks(ctx context.Context, cfg config.Config, pack rules.Pack) []check {
	dir, err := workerDir()
	if err != nil {
		return []check{{"programs", stateFailed, err.Error(), ""}}
	}
	for _, name := range []string{"scanworker", "yaraworker"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || !info.Mode().IsRegular() {
			return []check{{"programs", stateFailed, name + " is not in " + dir, "scanworker and yaraworker belong beside pratique"}}
		}
	}
	out := []check{{"programs", stateOK, "scanworker and yaraworker in " + dir, ""}}
	var words bytes.Buffer
	jail, err := kiosk.CheckJail(ctx, dir, &words)
	if err != nil {
		text := err.Error()
		if line, _, _ := strings.Cut(words.String(), "\n"); line != "" {
			text = line // the worker itself knows best
		}
		return append(out, check{"jail", stateFailed, text, "the kernel must allow seccomp filters and have Landlock, enabled at boot"})
	}
	for _, layer := range append(slices.Clone(jail.Layers), jail.Missing...) {
		c := check{layer, stateOK, layerWords[layer].text, ""}
		if layer == "landlock" {
			c.Text += fmt.Sprintf("; version %d", jail.LandlockABI)
		}
		if slices.Contains(jail.Missing, layer) {
			c.State, c.Hint = stateMissing, layerWords[layer].hint
			c.Text = "not granted here: " + c.Text
			if c.Hint == "" {
				c.State = stateFailed
			}
			if cfg.Scan.RequireNamespaces && strings.HasSuffix(layer, "-namespace") {
				c.State, c.Text = stateFailed, c.Text+", and the configuration requires it"
			}
		}
		out = append(out, c)
	}
	out = append(out, attemptChecks(jail)...)
	return append(out, ruleChecks(ctx, dir, jail.Library, pack)...)
}

// attemptChecks gives one line for each worker that was attacked, and one for each attempt that was not refused.
func attemptChecks(jail kiosk.Jail) (out []check) {
	for i, first := range jail.Attempts {
		if i > 0 && jail.Attempts[i-1].Worker == first.Worker {
			continue
		}
		tried, refused := 0, 0
		for _, a := range jail.Attempts {
			if a.Worker != first.Worker {
				continue
			}
			if tried++; a.Refused {
				refused++
				continue
			}
			out = append(out, check{"attack", stateFailed, fmt.Sprintf("%s could try to %s, and the answer was: %s", a.Worker, a.What, a.Answer),
				"do not screen with this kernel or these programs; please report it"})
		}
		c := check{"attack", stateOK, fmt.Sprintf("%s: %d of %d attempts from inside the jail refused", first.Worker, refused, tried), ""}
		if refused < tried {
			c.State = stateFailed
		}
		out = append(out, c)
	}
	return out
}

func ruleChecks(ctx context.Context, dir, library string, pack rules.Pack) []check {
	out := []check{{"libyara", stateOK, "built with " + library, ""}}
	n, err := kiosk.CheckRules(ctx, dir, pack)
	if err != nil {
		return append(out, check{"rules", stateFailed, err.Error(), "the programs may be of different versions: install them together"})
	}
	return append(out, check{"rules", stateOK, fmt.Sprintf("%s version %d: %s, digest %.8x", pack.Name, pack.Version, count(uint64(n), "rule", "rules"), pack.InForce()), ""})
}

func stateChecks(ctx context.Context, dir string) []check {
	folder := check{Name: "state", State: stateOK, Text: dir, Hint: ""}
	existing := dir
	for {
		if _, err := os.Lstat(existing); err == nil || !errors.Is(err, fs.ErrNotExist) || existing == filepath.Dir(existing) {
			break
		}
		existing = filepath.Dir(existing)
	}
	var space unix.Statfs_t
	switch err := unix.Statfs(existing, &space); {
	case err != nil:
		folder.State, folder.Text = stateFailed, fmt.Sprintf("%s: %v", existing, err)
	case !unixWritable(existing):
		folder.State, folder.Text, folder.Hint = stateFailed, existing+" is not writable", "the state folder must be this user's; --state names another"
	case space.Bavail*uint64(space.Bsize) < minFree:
		folder.State, folder.Text, folder.Hint = stateFailed, existing+": little room is left", "free 64 MiB or more"
	}
	if folder.State != stateOK {
		return []check{folder, clockCheck(time.Time{})}
	}
	if existing != dir {
		folder.Text += " will be made by the first screening, with its keys"
		return []check{folder, clockCheck(time.Time{})}
	}
	st, err := kiosk.OpenState(ctx, dir)
	if err != nil {
		folder.State, folder.Text = stateFailed, err.Error()
		folder.Hint = "keep a copy for the auditor; pratique audit verify may say more"
		return []check{folder, clockCheck(time.Time{})}
	}
	defer st.Close()
	out := []check{folder}
	log := check{Name: "log", State: stateOK}
	res, err := kiosk.VerifyLog(ctx, dir)
	switch {
	case err != nil:
		log.State, log.Text = stateFailed, err.Error()
	case !res.Sound:
		log.State, log.Text, log.Hint = stateFailed, verifyLine(res), "keep the folder for the auditor"
	default:
		log.Text = verifyLine(res)
	}
	last, err := st.LastEntry(ctx)
	if err != nil && log.State == stateOK {
		log.State, log.Text = stateFailed, err.Error()
	}
	out = append(out, log, clockCheck(last))
	if c, ok := enrolledCheck(st); ok {
		return append(out, c, counterCheck(dir, res), rosterCheck(ctx, st))
	}
	key := st.Key()
	if key.Demo {
		return append(out, check{"key", stateMissing, fmt.Sprintf("%s is a demonstration key", key.Issuer), "devices refuse its clearances unless they are told otherwise"})
	}
	return append(out, check{"key", stateOK, fmt.Sprintf("%s, until %s", key.Issuer, key.NotAfter.UTC().Format(timeFormat)), ""})
}

// enrolledCheck says where the station's own key is, and whether its site trusts it; nothing if it has none.
func enrolledCheck(st *kiosk.State) (check, bool) {
	c := check{"key", stateMissing, "", "pratique keys request asks for its enrolment; until then no clearance is issued"}
	data, err := st.KeyBox(kiosk.EnrolledKey)
	if err == nil && data == nil {
		return c, false
	}
	var box *keys.Box
	if err == nil {
		box, err = keys.Parse(data)
	}
	if err != nil {
		return check{"key", stateFailed, err.Error(), "restore the key's file, or make and enrol another key"}, true
	}
	trust, err := st.Trust()
	if err != nil {
		return check{"key", stateFailed, err.Error(), "install the newest trust file again"}, true
	}
	c.Text = keyLine(box, trust)
	public, err := box.Public()
	if err != nil || trust == nil {
		return c, true
	}
	if listed, found := trust.Station(public.KeyID()); found && listed.RevokedFromLog == nil {
		c.State, c.Hint = stateOK, ""
	}
	return c, true
}

// rosterCheck says whether the people of an enrolled station are known, and can sign in.
func rosterCheck(ctx context.Context, st *kiosk.State) check {
	r, err := st.Roster(ctx)
	if err != nil {
		return check{"roster", stateMissing, err.Error(), "pratique staff install: until then nobody may have a clearance"}
	}
	c := check{"roster", stateOK, fmt.Sprintf("version %d of %s, %s", r.Version, r.Issued.Format(timeFormat), count(uint64(r.Len()), "person", "people")), ""}
	if key, err := st.StaffKey(); err != nil || key.ID() != r.KeyID {
		c.State, c.Hint = stateMissing, "this station does not have the staff key of its badges and PINs: pratique staff install --staff-key FILE"
	}
	return c
}

// clockCheck holds the clock against the log and asks the kernel whether anything keeps it right.
func clockCheck(last time.Time) check {
	now := time.Now()
	c := check{"clock", stateOK, now.UTC().Format(timeFormat), ""}
	var timex unix.Timex
	status, err := unix.Adjtimex(&timex)
	switch {
	case now.Before(last):
		c.State, c.Text = stateFailed, fmt.Sprintf("it shows %s, and the log's newest entry is of %s", c.Text, last.UTC().Format(timeFormat))
		c.Hint = "set the clock: no clearance is issued across a jump"
	case err != nil:
		c.State, c.Text = stateMissing, c.Text+"; the kernel does not say whether it is kept right"
	case status == unix.TIME_ERROR || timex.Status&unix.STA_UNSYNC != 0:
		c.State, c.Text, c.Hint = stateMissing, c.Text+"; nothing keeps it right", "run a time service (chrony, systemd-timesyncd)"
	}
	return c
}
