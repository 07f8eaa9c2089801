package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	"pratique/kiosk"
	"pratique/kiosk/clearance"
	"pratique/kiosk/keys"
)

// words is a flag that may be given several times.
type words []string

func (w *words) String() string { return strings.Join(*w, " ") }

func (w *words) Set(s string) error {
	*w = append(*w, s)
	return nil
}

func (set verbFlags) list(name, usage string) *words {
	var w words
	set.Var(&w, name, usage)
	return &w
}

// readBounded reads a small file that a person named.
func readBounded(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, usagef("%v", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = usagef("%s is longer than %d bytes", name, limit)
	}
	return data, err
}

func readTrust(name string, parse func([]byte) (*clearance.Trust, error)) (*clearance.Trust, error) {
	data, err := readBounded(name, clearance.MaxTrust)
	if err != nil {
		return nil, err
	}
	t, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", kiosk.ErrTrust, name, err)
	}
	return t, nil
}

// trustKey makes the key of a root holder, on the holder's own machine.
func (p *program) trustKey(ctx context.Context, args []string) (int, error) {
	set := p.flags("trust key", "FILE", "trust key --name anna anna.key")
	name := set.String("name", "", "`NAME` of the holder")
	f := set.keyFlags(true)
	if err := parse(set, args, 1); err != nil {
		return 0, err
	}
	if *name == "" {
		return 0, usagef("trust key: --name NAME is missing")
	}
	box, err := p.newBox(ctx, keys.Root, *name, f)
	if err != nil {
		return 0, err
	}
	data, err := box.Marshal()
	if err != nil {
		return 0, err
	}
	if err := writeNew(set.Arg(0), data, 0o600); err != nil {
		return 0, err
	}
	root, err := box.RootKey()
	if err != nil {
		return 0, err
	}
	w := &errWriter{w: p.stdout}
	w.printf("%s\n%s\n", clearance.RootText(root), clearance.RootWords(root))
	return exitOK, w.err
}

// writeNew writes a file that must not be there yet: it may be the only copy of something.
func writeNew(name string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return usagef("%v", err)
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// edits are the flags that say what a new trust file holds.
type edits struct {
	roots, drop, enrol, words, revoke, rules, witnesses *words
	station                                             *string
	fromLog                                             *int64
	threshold                                           *int
	qr                                                  *bool
}

func (set verbFlags) edits() edits {
	return edits{
		roots:     set.list("root", "`KEY` of a root holder to add, as trust key prints it"),
		drop:      set.list("drop-root", "`KEY` of a root holder to take out"),
		enrol:     set.list("enrol", "`FILE` with the request of a station"),
		words:     set.list("words", "the six `WORDS` of that request, or the digits of its QR code, read at the station"),
		revoke:    set.list("revoke", "`ID` of a clearance to take back, or an incident's revocation.json"),
		rules:     set.list("min-rules", "`NAME=VERSION`: least version of a rule pack that is still good enough"),
		witnesses: set.list("witness", "`KEY` of a witness of the logs"),
		station:   set.String("revoke-station", "", "`NAME` or key id of a station to take back"),
		fromLog:   set.Int64("from-log", 0, "with --revoke-station: from this `ENTRY` of its log on; 0 is everything"),
		threshold: set.Int("threshold", 0, "how many root holders must sign (`N`)"),
		qr:        set.Bool("qr-without-pq", false, "let the QR form of a token stand without its post-quantum signature"),
	}
}

func (p *program) trustInit(_ context.Context, args []string) (int, error) {
	set := p.flags("trust init", "DRAFT", "trust init --root KEY --root KEY --root KEY --threshold 2 draft.cbr")
	e := set.edits()
	if err := parse(set, args, 1); err != nil {
		return 0, err
	}
	return p.draft(&clearance.Trust{}, e, set.Arg(0))
}

func (p *program) trustEdit(_ context.Context, args []string) (int, error) {
	set := p.flags("trust edit", "DRAFT", `trust edit --from trust.cbr --enrol request.cbr --words "six words" draft.cbr`)
	from := set.String("from", "", "the trust `FILE` that the new one takes the place of")
	e := set.edits()
	if err := parse(set, args, 1); err != nil {
		return 0, err
	}
	if *from == "" {
		return 0, usagef("trust edit: --from FILE is missing")
	}
	t, err := readTrust(*from, clearance.ParseTrust)
	if err != nil {
		return 0, err
	}
	return p.draft(t, e, set.Arg(0))
}

// draft writes the next version of a trust file, for the root holders to sign.
func (p *program) draft(old *clearance.Trust, e edits, name string) (int, error) {
	next := *old
	next.Version, next.Demo = old.Version+1, false
	next.Issued = time.Now().UTC().Truncate(time.Second)
	if next.Issued.Before(old.Issued) {
		return 0, usagef("the clock of this machine is behind the trust file of %s", old.Issued.Format(timeFormat))
	}
	next.Roots, next.Stations, next.Revoked = slices.Clone(old.Roots), slices.Clone(old.Stations), slices.Clone(old.Revoked)
	next.LogKeys, next.Witnesses, next.MinRules = slices.Clone(old.LogKeys), slices.Clone(old.Witnesses), maps.Clone(old.MinRules)
	next.QRWithout = old.QRWithout || *e.qr
	for _, step := range []func(*clearance.Trust) error{e.applyRoots, e.applyEnrolments, e.applyRevocations, e.applyRules} {
		if err := step(&next); err != nil {
			return 0, err
		}
	}
	data, err := clearance.DraftTrust(&next)
	if err != nil {
		return 0, usagef("this is no trust file: %v", err)
	}
	if err := writeNew(name, data, 0o644); err != nil {
		return 0, err
	}
	draft, err := clearance.ParseDraft(data)
	if err != nil {
		return 0, err
	}
	return exitOK, p.showTrust(draft)
}

func (e edits) applyRoots(t *clearance.Trust) error {
	for _, text := range *e.roots {
		root, err := clearance.ParseRoot(text)
		if err != nil {
			return usagef("--root %q: %v", text, err)
		}
		t.Roots = append(t.Roots, root)
	}
	for _, text := range *e.drop {
		root, err := clearance.ParseRoot(text)
		if err != nil {
			return usagef("--drop-root %q: %v", text, err)
		}
		before := len(t.Roots)
		if t.Roots = slices.DeleteFunc(t.Roots, func(k *ecdsa.PublicKey) bool { return k.Equal(root) }); len(t.Roots) == before {
			return usagef("--drop-root %q: it is not in the file", text)
		}
	}
	if *e.threshold > 0 {
		t.Threshold = *e.threshold
	}
	if t.Threshold == 0 {
		return usagef("--threshold N is missing: how many of the root holders must sign")
	}
	return nil
}

// applyEnrolments takes stations in. The words stand between a request that was swapped on its way and the site's trust.
func (e edits) applyEnrolments(t *clearance.Trust) error {
	if len(*e.enrol) != len(*e.words) {
		return usagef("each --enrol FILE needs its --words, read at the station itself")
	}
	for i, name := range *e.enrol {
		data, err := readBounded(name, clearance.MaxRequest)
		if err != nil {
			return err
		}
		r, err := clearance.ParseRequest(data)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", kiosk.ErrTrust, name, err)
		}
		if got := (*e.words)[i]; !clearance.SameWords(got, r.Words()) && strings.Join(strings.Fields(got), "") != r.Digits() {
			return fmt.Errorf("%w: %s is not the request that shows these words: it may have been changed on its way", kiosk.ErrTrust, name)
		}
		t.Stations = append(t.Stations, r.Key)
		if !slices.Contains(t.LogKeys, r.LogKey) {
			t.LogKeys = append(t.LogKeys, r.LogKey)
		}
	}
	return nil
}

func (e edits) applyRevocations(t *clearance.Trust) error {
	for _, what := range *e.revoke {
		ids := []string{what}
		if strings.HasSuffix(what, ".json") {
			data, err := readBounded(what, clearance.MaxTrust)
			if err != nil {
				return err
			}
			var r kiosk.Revocation
			dec := json.NewDecoder(bytes.NewReader(data))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&r); err != nil || r.Version != 1 {
				return usagef("--revoke %s: it is no revocation: %v", what, err)
			}
			ids = r.IDs
		}
		for _, text := range ids {
			id, err := hex.DecodeString(text)
			if err != nil || len(id) != 16 {
				return usagef("--revoke %q: want the whole id of a clearance, 32 hex digits", text)
			}
			if !slices.Contains(t.Revoked, [16]byte(id)) {
				t.Revoked = append(t.Revoked, [16]byte(id))
			}
		}
	}
	if *e.station == "" {
		if *e.fromLog != 0 {
			return usagef("--from-log goes with --revoke-station")
		}
		return nil
	}
	if *e.fromLog < 0 {
		return usagef("--from-log: want an entry of the log")
	}
	found := false
	for i := range t.Stations {
		id := t.Stations[i].KeyID()
		if t.Stations[i].Issuer == *e.station || hex.EncodeToString(id[:]) == *e.station {
			from := uint64(*e.fromLog)
			if old := t.Stations[i].RevokedFromLog; old == nil || from < *old { // never gives back what was taken
				t.Stations[i].RevokedFromLog = &from
			}
			found = true
		}
	}
	if !found {
		return usagef("--revoke-station %q: the trust file lists no such station", *e.station)
	}
	return nil
}

func (e edits) applyRules(t *clearance.Trust) error {
	for _, text := range *e.rules {
		name, version, _ := strings.Cut(text, "=")
		n, err := strconv.ParseUint(version, 10, 64)
		if err != nil {
			return usagef("--min-rules %q: want NAME=VERSION", text)
		}
		if t.MinRules == nil {
			t.MinRules = map[string]uint64{}
		}
		t.MinRules[name] = max(n, t.MinRules[name])
	}
	t.Witnesses = append(t.Witnesses, *e.witnesses...)
	return nil
}

func (p *program) trustSign(ctx context.Context, args []string) (int, error) {
	set := p.flags("trust sign", "DRAFT", "trust sign --key anna.key draft.cbr")
	key := set.String("key", "", "`FILE` of your root key")
	agreed := set.String("words", "", "the six `WORDS` of the content, as the other holders see them (default: ask)")
	f := set.keyFlags(false)
	if err := parse(set, args, 1); err != nil {
		return 0, err
	}
	if *key == "" {
		return 0, usagef("trust sign: --key FILE is missing")
	}
	boxed, err := readBounded(*key, 16<<10)
	if err != nil {
		return 0, err
	}
	box, err := keys.Parse(boxed)
	if err != nil {
		return 0, err
	}
	data, err := readBounded(set.Arg(0), clearance.MaxTrust)
	if err != nil {
		return 0, err
	}
	t, err := clearance.ParseDraft(data)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", kiosk.ErrTrust, err)
	}
	if err := p.showTrust(t); err != nil {
		return 0, err
	}
	if *agreed == "" {
		if *agreed, err = p.askWords(); err != nil {
			return 0, err
		}
	}
	if !clearance.SameWords(*agreed, t.ContentWords()) {
		return 0, fmt.Errorf("%w: these are not the words of this file; nothing was signed", kiosk.ErrTrust)
	}
	o, err := p.openBox(ctx, box, f)
	if err != nil {
		return 0, err
	}
	defer o.Close()
	if _, err := box.RootKey(); err != nil {
		return 0, err
	}
	signed, err := clearance.Countersign(data, o.Signer)
	if err != nil {
		return 0, err
	}
	// Beside the draft and then in its place, so that no signature of another holder is lost on the way.
	tmp := set.Arg(0) + ".new"
	if err := writeNew(tmp, signed, 0o644); err != nil {
		return 0, err
	}
	if err := os.Rename(tmp, set.Arg(0)); err != nil {
		return 0, err
	}
	t, err = clearance.ParseDraft(signed)
	if err != nil {
		return 0, err
	}
	_, err = fmt.Fprintf(p.stdout, "signed by %s: %d of the %d signatures that it needs\n", printable(box.Name), t.Signed(t.Roots), t.Threshold)
	return exitOK, err
}

// askWords lets a person type what another one reads out.
func (p *program) askWords() (string, error) {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return "", usagef("--words is missing, and there is no terminal to ask on")
	}
	fmt.Fprint(p.stderr, "the six words, as another holder reads them out: ")
	var line []byte
	for b := make([]byte, 1); len(line) < 256; {
		if n, err := os.Stdin.Read(b); n == 0 || err != nil || b[0] == '\n' {
			break
		}
		line = append(line, b[0])
	}
	return string(line), nil
}

func (p *program) trustPublish(_ context.Context, args []string) (int, error) {
	set := p.flags("trust publish", "DRAFT", "trust publish --from trust.cbr --out trust-2.cbr draft.cbr")
	from := set.String("from", "", "the trust `FILE` that it takes the place of; the first one has none")
	out := set.String("out", "", "`FILE` for stations and devices")
	if err := parse(set, args, 1); err != nil {
		return 0, err
	}
	if *out == "" {
		return 0, usagef("trust publish: --out FILE is missing")
	}
	data, err := readBounded(set.Arg(0), clearance.MaxTrust)
	if err != nil {
		return 0, err
	}
	t, err := clearance.ParseTrust(data)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", kiosk.ErrTrust, err)
	}
	if *from == "" && t.Version != 1 {
		return 0, usagef("trust publish: --from FILE is missing: this is version %d", t.Version)
	}
	if *from != "" {
		old, err := readTrust(*from, clearance.ParseTrust)
		if err != nil {
			return 0, err
		}
		if err := t.Succeeds(old); err != nil {
			return 0, fmt.Errorf("%w: %w", kiosk.ErrTrust, err)
		}
	}
	if err := writeNew(*out, data, 0o644); err != nil {
		return 0, err
	}
	return exitOK, p.showTrust(t)
}

func (p *program) trustShow(_ context.Context, args []string) (int, error) {
	set := p.flags("trust show", "FILE", "trust show trust.cbr")
	if err := parse(set, args, 1); err != nil {
		return 0, err
	}
	t, err := readTrust(set.Arg(0), clearance.ParseDraft)
	if err != nil {
		return 0, err
	}
	return exitOK, p.showTrust(t)
}

// showTrust says what a trust file, or a draft of one, holds. Everything in it is a word, a number or a key.
func (p *program) showTrust(t *clearance.Trust) error {
	w := &errWriter{w: p.stdout}
	w.printf("trust file version %d of %s", t.Version, t.Issued.Format(timeFormat))
	if t.Demo {
		w.printf(", OF A DEMONSTRATION")
	}
	good := t.Signed(t.Roots)
	w.printf("\n  signatures  %d of the %d that it needs", good, t.Threshold)
	if good < t.Threshold {
		w.printf(": a DRAFT, which nobody takes")
	}
	w.printf("\n  content     %s\n  roots       %s\n", t.ContentWords(), t.RootsWords())
	if age := time.Since(t.Issued); age > clearance.MaxTrustAge {
		w.printf("  OLD         devices say that they cannot tell what was taken back since\n")
	}
	if t.QRWithout {
		w.printf("  QR codes stand without a post-quantum signature\n")
	}
	for _, root := range t.Roots {
		w.printf("  root        %s  %s\n", clearance.RootText(root), clearance.RootWords(root))
	}
	for _, k := range t.Stations {
		id := k.KeyID()
		w.printf("  station     %s, id %x, %s to %s", printable(k.Issuer), id, k.NotBefore.Format(timeFormat), k.NotAfter.Format(timeFormat))
		if k.RevokedFromLog != nil {
			w.printf(", TAKEN BACK from log entry %d on", *k.RevokedFromLog)
		}
		w.printf("\n")
	}
	for _, id := range t.Revoked {
		w.printf("  revoked     %s %x\n", clearance.Code(id), id)
	}
	for _, name := range slices.Sorted(maps.Keys(t.MinRules)) {
		w.printf("  rules       %s from version %d on\n", printable(name), t.MinRules[name])
	}
	for _, key := range t.LogKeys {
		w.printf("  log         %s\n", printable(key))
	}
	for _, key := range t.Witnesses {
		w.printf("  witness     %s\n", printable(key))
	}
	return w.err
}

func (p *program) trustInstall(ctx context.Context, args []string) (int, error) {
	set := p.flags("trust install", "FILE", `trust install --words "six words" trust.cbr`)
	roots := set.String("words", "", "the six `WORDS` of the roots, from a root holder; the first trust file needs them")
	state := stateFlag(set)
	if err := parse(set, args, 1); err != nil {
		return 0, err
	}
	data, err := readBounded(set.Arg(0), clearance.MaxTrust)
	if err != nil {
		return 0, err
	}
	return exitOK, withState(ctx, *state, func(st *kiosk.State) error {
		t, err := st.InstallTrust(ctx, data, *roots, me())
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.stdout, "trust file version %d of %s is in force\n", t.Version, t.Issued.Format(timeFormat))
		return err
	})
}
