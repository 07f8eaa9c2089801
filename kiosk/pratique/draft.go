package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"pratique/kiosk"
	"pratique/kiosk/clearance"
)

// edits are the flags that say what a new trust file holds.
type edits struct {
	roots, drop, enrol, words, revoke, rules, witnesses *words
	station                                             *string
	fromLog                                             *int64
	threshold                                           *int
	qr                                                  *bool
	keepers, dropKeepers, expired                       *words
	keeperThreshold                                     *int
	leastRoster                                         *uint64
}

func (set verbFlags) edits() edits {
	return edits{
		roots:           set.list("root", "`KEY` of a root holder to add, as trust key prints it"),
		drop:            set.list("drop-root", "`KEY` of a root holder to take out"),
		enrol:           set.list("enrol", "`FILE` with the request of a station"),
		words:           set.list("words", "the six `WORDS` of that request, or the digits of its QR code, read at the station"),
		revoke:          set.list("revoke", "`ID` of a clearance to take back, or an incident's revocation.json"),
		rules:           set.list("min-rules", "`NAME=VERSION`: least version of a rule pack that is still good enough"),
		witnesses:       set.list("witness", "`KEY` of a witness of the logs"),
		station:         set.String("revoke-station", "", "`NAME` or key id of a station to take back"),
		fromLog:         set.Int64("from-log", 0, "with --revoke-station: from this `ENTRY` of its log on; 0 is everything"),
		threshold:       set.Int("threshold", 0, "how many root holders must sign (`N`)"),
		keepers:         set.list("roster-key", "`KEY` of a person who signs the roster, as trust key prints it"),
		dropKeepers:     set.list("drop-roster-key", "`KEY` of such a person to take out"),
		keeperThreshold: set.Int("roster-threshold", 0, "how many of them must sign the roster (`N`)"),
		leastRoster:     set.Uint64("least-roster", 0, "`VERSION` of the oldest roster that is still good enough"),
		expired:         set.list("expired", "a trust `FILE` of 30 days ago or more: what it took back has expired since, and is left out"),
		qr:              set.Bool("qr-without-pq", false, "let the QR form of a token stand without its post-quantum signature"),
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
	for _, step := range []func(*clearance.Trust) error{e.applyRoots, e.applyKeepers, e.applyEnrolments, e.applyExpired, e.applyRevocations, e.applyRules} {
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

// editKeys adds keys to a list and takes keys out of it.
func editKeys(keys []*ecdsa.PublicKey, flag string, add, drop words) ([]*ecdsa.PublicKey, error) {
	keys = slices.Clone(keys)
	for _, text := range add {
		key, err := clearance.ParseRoot(text)
		if err != nil {
			return nil, usagef("--%s %q: %v", flag, text, err)
		}
		keys = append(keys, key)
	}
	for _, text := range drop {
		key, err := clearance.ParseRoot(text)
		if err != nil {
			return nil, usagef("--drop-%s %q: %v", flag, text, err)
		}
		before := len(keys)
		if keys = slices.DeleteFunc(keys, func(k *ecdsa.PublicKey) bool { return k.Equal(key) }); len(keys) == before {
			return nil, usagef("--drop-%s %q: it is not in the file", flag, text)
		}
	}
	return keys, nil
}

// applyKeepers says who signs the roster.
func (e edits) applyKeepers(t *clearance.Trust) (err error) {
	r := &t.Roster
	if r.Keys, err = editKeys(r.Keys, "roster-key", *e.keepers, *e.dropKeepers); err != nil {
		return err
	}
	if *e.keeperThreshold > 0 {
		r.Threshold = *e.keeperThreshold
	}
	r.Least = max(r.Least, *e.leastRoster) // an old roster never becomes good again
	switch {
	case len(r.Keys) == 0 && (r.Threshold > 0 || r.Least > 0):
		return usagef("--roster-key KEY is missing: somebody must sign the roster")
	case len(r.Keys) > 0 && r.Threshold == 0:
		return usagef("--roster-threshold N is missing: how many of them must sign the roster")
	}
	return nil
}

// applyExpired leaves out what has expired. An id in a trust file was issued before that file, so thirty days later no clearance
// holds that has it, and no verifier's time is earlier than the new file's: it is ten times the longest life, so that not even a
// station whose clock ran weeks ahead signed one that does.
func (e edits) applyExpired(t *clearance.Trust) error {
	for _, name := range *e.expired {
		old, err := readTrust(name, clearance.ParseTrust)
		if err != nil {
			return err
		}
		if t.Issued.Sub(old.Issued) < 10*clearance.MaxLife {
			return usagef("--expired %s: it was issued less than %d days ago", name, 10*clearance.MaxLife/(24*time.Hour))
		}
		t.Revoked = slices.DeleteFunc(t.Revoked, func(id [16]byte) bool { return slices.Contains(old.Revoked, id) })
	}
	return nil
}

func (e edits) applyRoots(t *clearance.Trust) (err error) {
	if t.Roots, err = editKeys(t.Roots, "root", *e.roots, *e.drop); err != nil {
		return err
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
