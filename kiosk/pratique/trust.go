package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
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
	for _, key := range t.Roster.Keys {
		w.printf("  roster      %s  %s\n", clearance.RootText(key), clearance.RootWords(key))
	}
	if n := len(t.Roster.Keys); n > 0 {
		w.printf("  roster      %d of these %d sign it, from version %d on\n", t.Roster.Threshold, n, t.Roster.Least)
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
