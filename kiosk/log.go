package kiosk

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"pratique/kiosk/audit"
	"pratique/kiosk/clearance"
)

// Log calls f for each entry of the log, oldest first.
func (s *State) Log(ctx context.Context, f func(audit.Entry) error) error {
	return s.log.List(ctx, audit.ListOptions{}, f)
}

// Read is Log for somebody who is shown entries: the log is told first.
func (s *State) Read(ctx context.Context, opts audit.ListOptions, f func(audit.Entry) error) error {
	from, to, err := s.log.Period(ctx, opts.Since, opts.Until)
	if err != nil {
		return logError(err)
	}
	opts.From, opts.To = max(opts.From, from), to
	if err := s.wasRead(ctx, opts.From, max(opts.From, to)); err != nil {
		return err
	}
	if opts.From >= to {
		return nil
	}
	return s.log.List(ctx, opts, f)
}

// Search looks in the log, and tells it which entries were shown.
func (s *State) Search(ctx context.Context, q audit.Query) ([]audit.Match, error) {
	found, err := s.log.Search(ctx, q)
	if err != nil {
		return nil, logError(err)
	}
	from, to := int64(math.MaxInt64), int64(0)
	for _, m := range found {
		for _, e := range m.Entries {
			from, to = min(from, e.Index), max(to, e.Index+1)
		}
	}
	return found, s.wasRead(ctx, min(from, to), to)
}

// Show returns the entries of a session, which is named by its id, by the first digits of it or by a clearance's short code.
func (s *State) Show(ctx context.Context, name string) ([]audit.Entry, error) {
	id, err := s.sessionNamed(ctx, name)
	if err != nil {
		return nil, err
	}
	entries, err := s.log.Show(ctx, id)
	if err != nil {
		return nil, logError(err)
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("%w: %q", ErrNoSession, name)
	}
	return entries, s.wasRead(ctx, entries[0].Index, entries[len(entries)-1].Index+1)
}

// Items calls f with each item of a session that Show has returned.
func (s *State) Items(ctx context.Context, session audit.ID, f func(audit.Item) error) error {
	if err := s.log.ListItems(ctx, session, f); err != nil {
		return logError(err)
	}
	return nil
}

// ErrNoSession says that the log has no session by that name.
var ErrNoSession = errors.New("there is no such session")

func (s *State) sessionNamed(ctx context.Context, name string) (audit.ID, error) {
	ids, err := s.log.Sessions(ctx, strings.ToLower(name))
	switch {
	case err != nil:
		return audit.ID{}, logError(err)
	case len(ids) == 1:
		return ids[0], nil
	case len(ids) > 1:
		return audit.ID{}, fmt.Errorf("%w: %q fits more than one", ErrNoSession, name)
	}
	c, err := s.Clearance(name)
	if errors.Is(err, ErrNoClearance) {
		return audit.ID{}, fmt.Errorf("%w: %q", ErrNoSession, name)
	}
	if err != nil {
		return audit.ID{}, err
	}
	return c.ID, nil
}

func (s *State) wasRead(ctx context.Context, from, to int64) error {
	if _, err := s.log.Append(ctx, audit.Event{Data: audit.Read{From: from, To: to}}); err != nil {
		return logError(err)
	}
	return nil
}

// Pseudonym is what the log calls a person, such as "person:p-17" or "uid:1001".
func (s *State) Pseudonym(person string) audit.Pseudonym { return s.pseudonym(person) }

// Checkpoint returns the signed head of the log.
func (s *State) Checkpoint(ctx context.Context) (string, error) {
	signed, err := s.log.Checkpoint(ctx)
	if err != nil {
		return "", logError(err)
	}
	return signed, nil
}

// WitnessRequest returns what a witness is asked with that last signed the log of old entries.
func (s *State) WitnessRequest(ctx context.Context, old int64) (string, error) {
	request, err := s.log.WitnessRequest(ctx, old)
	if err != nil {
		return "", logError(err)
	}
	return request, nil
}

// AddCosignature stores a checkpoint that a witness has signed. Who is a witness, the trust file says, and keys for a station
// that has none.
func (s *State) AddCosignature(ctx context.Context, signed string, keys []string, person string) (audit.Cosignature, error) {
	t, err := s.Trust()
	if err != nil {
		return audit.Cosignature{}, err
	}
	if t != nil {
		keys = t.Witnesses
	}
	witnesses, err := parseWitnesses(keys)
	if err != nil {
		return audit.Cosignature{}, err
	}
	c, err := s.log.AddCosignature(ctx, signed, witnesses)
	if err != nil {
		return c, logError(err)
	}
	return c, s.administered(ctx, audit.Administered{What: "checkpoint-cosigned", Number: uint64(c.Size), Digest: sha256.Sum256([]byte(signed))}, person)
}

func parseWitnesses(keys []string) (out []*audit.Witness, err error) {
	for _, text := range keys {
		w, err := audit.ParseWitness(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("%w: a witness: %w", ErrState, err)
		}
		out = append(out, w)
	}
	return out, nil
}

// Evidence is what a log is verified with. Only State or Log is needed.
type Evidence struct {
	State     string   // a folder laid out as a state; its tokens are witnesses
	Log       string   // the database, if it is not the state's
	Keys      []string // of the log; none means key/log.pub of the state
	Tokens    [][]byte // that left the station
	Heads     []string // checkpoints from receipts, exports and witnesses
	Witnesses []string // keys of who signs checkpoints
}

// VerifyLog checks the log in a state folder, or in a copy of one, with the public key beside it, and against every token
// that was issued: a log that was put back to an older state as a whole lacks the newest tokens' entries. It writes
// nothing, so that it can be run on evidence.
func VerifyLog(ctx context.Context, dir string) (audit.Result, error) {
	return Verify(ctx, Evidence{State: dir})
}

// Verify checks a log with whatever there is of it.
func Verify(ctx context.Context, ev Evidence) (audit.Result, error) {
	keys := ev.Keys
	if len(keys) == 0 {
		text, err := os.ReadFile(filepath.Join(ev.State, "key", "log.pub"))
		if err != nil {
			return audit.Result{}, fmt.Errorf("%w: there is no key to verify the log with: %w", ErrState, err)
		}
		keys = []string{string(text)}
	}
	verifiers, err := LogVerifiers(keys)
	if err != nil {
		return audit.Result{}, err
	}
	opts := audit.VerifyOptions{Heads: ev.Heads}
	if opts.Witnesses, err = parseWitnesses(ev.Witnesses); err != nil {
		return audit.Result{}, err
	}
	if ev.State != "" {
		if opts.Leaves, err = issuedLeaves(ev.State); err != nil {
			return audit.Result{}, err
		}
	}
	for _, token := range ev.Tokens {
		leaf, index, err := clearance.LeafOfToken(token)
		if err != nil {
			return audit.Result{}, fmt.Errorf("%w: a token: %w", ErrState, err)
		}
		opts.Leaves = append(opts.Leaves, audit.Known{Index: int64(index), Leaf: leaf})
	}
	name := ev.Log
	if name == "" {
		name = filepath.Join(ev.State, audit.FileName)
	}
	return verifyWith(ctx, name, verifiers, opts)
}

// LogVerifiers reads keys of logs.
func LogVerifiers(keys []string) (out []note.Verifier, err error) {
	for _, text := range keys {
		v, err := note.NewVerifier(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("%w: the key of a log: %w", ErrState, err)
		}
		out = append(out, v)
	}
	return out, nil
}

// noteList is a list of verifiers as package note takes it.
func noteList(verifiers []note.Verifier) note.Verifiers { return note.VerifierList(verifiers...) }

// verifyWith verifies with the key that signed the log, where a trust file has those of many stations. A log that none of them
// signed is verified with the first, which says so.
func verifyWith(ctx context.Context, name string, verifiers []note.Verifier, opts audit.VerifyOptions) (res audit.Result, err error) {
	use := verifiers[0]
	for _, v := range verifiers[1:] {
		r, err := audit.OpenReader(ctx, name, v.Name(), note.VerifierList(v))
		if err != nil {
			break // and the next lines say why
		}
		_, err = r.Checkpoint(ctx)
		r.Close()
		if err == nil {
			use = v
			break
		}
	}
	r, err := audit.OpenReader(ctx, name, use.Name(), note.VerifierList(use))
	if err != nil {
		return res, logError(err)
	}
	defer r.Close()
	if res, err = r.Verify(ctx, opts); err != nil {
		return res, logError(err)
	}
	return res, nil
}

// issuedLeaves returns the log's leaves as the tokens in a state folder tell them.
func issuedLeaves(dir string) ([]audit.Known, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "clearances"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	var out []audit.Known
	for _, e := range entries {
		name := filepath.Join(dir, "clearances", e.Name(), tokenName)
		token, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a folder that a crash left
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrState, err)
		}
		leaf, index, err := clearance.LeafOfToken(token)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrState, name, err)
		}
		out = append(out, audit.Known{Index: int64(index), Leaf: leaf})
	}
	return out, nil
}
