package kiosk

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"pratique/kiosk/audit"
	"pratique/kiosk/clearance"
)

// What a caller can branch on.
var (
	// ErrTrust says that a trust file was not taken.
	ErrTrust = errors.New("the trust file is refused")
	// ErrNotEnrolled says that the station has no key at present that its site trusts: it issues nothing.
	ErrNotEnrolled = errors.New("the station's key is not enrolled")
)

const trustName = "trust.cbr"

// KeySlot is a place in the state for the box of a key (package keys).
type KeySlot string

// The slots.
const (
	EnrolledKey KeySlot = "key/enrolled" // signs, once the trust file lists it
	NextKey     KeySlot = "key/next"     // waits for its enrolment while the other one signs
)

// site is a station that signs with a key that its site enrolled, and never with the demonstration key.
type site struct {
	name string
	keys *clearance.Keys // nil if the key could not be opened: nothing is issued

	mu    sync.Mutex
	data  []byte // of the trust file, as it was read last
	trust *clearance.Trust
}

// UseSite makes this process sign with the site's key and with no other. Without keys it issues nothing. Only pratiqued
// calls it: what screens on its own signs with the demonstration key, which no device takes. While a station runs, call it
// within Station.Pause.
func (s *State) UseSite(name string, keys *clearance.Keys) error {
	if keys != nil && keys.Demo() {
		return fmt.Errorf("%w: a demonstration key is never a site's", ErrNotEnrolled)
	}
	s.site.Store(&site{name: name, keys: keys})
	return nil
}

// Enrolled reports whether the state belongs to a site: there is a key box or a trust file. Then the daemon never falls back
// to the demonstration key.
func (s *State) Enrolled() (bool, error) {
	for _, name := range []string{string(EnrolledKey), trustName} {
		switch _, err := os.Lstat(s.path(name)); {
		case err == nil:
			return true, nil
		case !errors.Is(err, fs.ErrNotExist):
			return false, fmt.Errorf("%w: %w", ErrState, err)
		}
	}
	return false, nil
}

// signer returns what signs clearances now, and the version of the trust file that lists it.
func (s *State) signer() (*clearance.Keys, uint64, error) {
	if err := s.noIncident(); err != nil {
		return nil, 0, err
	}
	site := s.site.Load()
	if site == nil {
		return s.station, 0, nil
	}
	t, err := s.listed(site.keys)
	if err != nil {
		return nil, 0, err
	}
	if err := s.counting.refuses(); err != nil { // last: a key that cannot be opened has no counter that can be read
		return nil, 0, err
	}
	return site.keys, t.Version, nil
}

// MayIssue says why the station may not issue at present, or nothing.
func (s *State) MayIssue() error {
	_, _, err := s.signer()
	return err
}

// listed holds a key against the trust file in force. A trust file that is missing, or cannot be read, lists nobody. A key that
// was taken back signs nothing any more, from whatever place in the log on it was.
func (s *State) listed(k *clearance.Keys) (*clearance.Trust, error) {
	if k == nil {
		return nil, fmt.Errorf("%w: it could not be opened", ErrNotEnrolled)
	}
	t, err := s.Trust()
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, fmt.Errorf("%w: there is no trust file", ErrNotEnrolled)
	}
	listed, found := t.Station(k.Public().KeyID())
	now := s.now()
	switch {
	case !found || listed.Issuer != k.Issuer() || !listed.PQ.Equal(k.Public().PQ):
		return nil, fmt.Errorf("%w: the trust file does not list it", ErrNotEnrolled)
	case listed.RevokedFromLog != nil:
		return nil, fmt.Errorf("%w: it was taken back", ErrNotEnrolled)
	case now.Before(listed.NotBefore) || now.After(listed.NotAfter):
		return nil, fmt.Errorf("%w: it is not valid at this time", ErrNotEnrolled)
	case now.Before(t.Issued.Add(-clearance.MaxSkew)):
		return nil, fmt.Errorf("%w: the clock is behind the trust file", ErrNotEnrolled)
	}
	return t, nil
}

// Trust returns the site's trust file, or nil if none was installed.
func (s *State) Trust() (*clearance.Trust, error) {
	data, err := readSmall(s.path(trustName), clearance.MaxTrust)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrState, trustName, err)
	}
	site := s.site.Load()
	if site != nil { // a thousand stations' keys take a while, and hardly ever change
		site.mu.Lock()
		defer site.mu.Unlock()
		if site.trust != nil && bytes.Equal(site.data, data) {
			return site.trust, nil
		}
	}
	t, err := clearance.ParseTrust(data)
	if err == nil && t.Demo {
		err = errors.New("it is a demonstration's")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrState, trustName, err)
	}
	if site != nil {
		site.data, site.trust = data, t
	}
	return t, nil
}

// readSmall reads a file of at most limit bytes. One more is read, so that what is too long is not cut to something right.
func readSmall(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = errors.New("it is too long")
	}
	return data, err
}

// InstallTrust puts a site's trust file in force. The first one is believed on six words, which an administrator compared
// with a root holder; each later one on the signatures of the roots of the one before. person is who does it.
//
// The log learns of it first: a crash then leaves a log that names a newer file than there is, and the station issues nothing
// until it is installed again. So an older file that somebody puts back is seen too.
func (s *State) InstallTrust(ctx context.Context, data []byte, words, person string) (*clearance.Trust, error) {
	refused := func(err error) (*clearance.Trust, error) { return nil, fmt.Errorf("%w: %w", ErrTrust, err) }
	t, err := clearance.ParseTrust(data)
	if err != nil {
		return refused(err)
	}
	if t.Demo {
		return refused(errors.New("it is a demonstration's"))
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	floor, digest, err := s.trustFloor(ctx)
	if err != nil {
		return nil, err
	}
	old, err := s.Trust()
	if err != nil {
		return nil, err
	}
	again := t.Version == floor && t.Digest() == digest // after a crash, or the same file once more
	switch {
	case t.Version < floor || t.Version == floor && !again:
		return refused(fmt.Errorf("version %d is not newer than version %d, which this station had", t.Version, floor))
	case old == nil && words == "":
		return refused(errors.New("the first trust file needs the six words of its roots"))
	case old == nil && !clearance.SameWords(words, t.RootsWords()):
		return refused(errors.New("the six words are not those of its roots"))
	case old != nil && again && t.Same(old):
		return t, nil
	case old != nil:
		if err := t.Succeeds(old); err != nil {
			return refused(err)
		}
	}
	if err := s.administered(ctx, audit.Administered{What: "trust-installed", Number: t.Version, Digest: t.Digest()}, person); err != nil {
		return nil, err
	}
	if err := s.step("trust"); err != nil {
		return nil, err
	}
	return t, s.write(trustName, data, 0o644)
}

// trustFloor is the newest trust file that the log knows of.
func (s *State) trustFloor(ctx context.Context) (version uint64, digest [32]byte, err error) {
	return s.installed(ctx, "trust-installed")
}

// installed is the newest of what was put in force under a word, as far as the log knows.
func (s *State) installed(ctx context.Context, what audit.Word) (version uint64, digest [32]byte, err error) {
	err = s.log.List(ctx, audit.ListOptions{Kinds: []audit.Kind{audit.KindAdministered}, Newest: true}, func(e audit.Entry) error {
		if d, ok := e.Data.(audit.Administered); ok && d.What == what {
			version, digest = d.Number, d.Digest
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return 0, digest, logError(err)
	}
	return version, digest, nil
}

// CheckTrust holds the trust file in force against the log: somebody may have put an older one back.
func (s *State) CheckTrust(ctx context.Context) error {
	floor, digest, err := s.trustFloor(ctx)
	if err != nil || floor == 0 {
		return err
	}
	t, err := s.Trust()
	switch {
	case err != nil:
		return err
	case t == nil || t.Version != floor || t.Digest() != digest:
		return fmt.Errorf("%w: the log knows version %d, and another is in its place", ErrTrust, floor)
	}
	return nil
}

// TrustAge is how old the trust file is; 0 if there is none.
func (s *State) TrustAge() (time.Duration, error) {
	t, err := s.Trust()
	if err != nil || t == nil {
		return 0, err
	}
	return s.now().Sub(t.Issued), nil
}

// maxKeyBox is more than package keys writes.
const maxKeyBox = 8 << 10

// KeyStamp is another text whenever the enrolled key may have changed; trust whenever the trust file may have.
func (s *State) KeyStamp() (key, trust string) {
	return s.stamp(string(EnrolledKey)), s.stamp(trustName)
}

// stamp is another text whenever files in the state may have changed.
func (s *State) stamp(names ...string) (out string) {
	for _, name := range names {
		info, err := os.Stat(s.path(name))
		if err != nil {
			out += fmt.Sprint(errors.Is(err, fs.ErrNotExist), ";")
			continue
		}
		out += fmt.Sprint(info.Size(), " ", info.ModTime().UnixNano(), ";")
	}
	return out
}

// KeyBox reads a key's box; nil if the slot is empty.
func (s *State) KeyBox(slot KeySlot) ([]byte, error) {
	data, err := readSmall(s.path(string(slot)), maxKeyBox)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrState, slot, err)
	}
	return data, nil
}

// PutKey puts a new key's box into a slot that must be empty.
func (s *State) PutKey(ctx context.Context, slot KeySlot, box []byte, person string) error {
	if slot != EnrolledKey && slot != NextKey {
		return fmt.Errorf("%w: no slot %q", ErrState, slot)
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if old, err := s.KeyBox(slot); err != nil || old != nil {
		return errors.Join(fmt.Errorf("%w: there is a key already in %s", ErrState, slot), err)
	}
	if err := s.administered(ctx, audit.Administered{What: "key-made", Digest: sha256.Sum256(box)}, person); err != nil {
		return err
	}
	return s.write(string(slot), box, 0o600)
}

// RotateKey lets the next key sign in place of the enrolled one. The trust file must list it already, so that devices know
// it before the first clearance that it signs. What the old key signed holds as long as the trust file lists that one.
func (s *State) RotateKey(ctx context.Context, public clearance.StationKey, person string) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	box, err := s.KeyBox(NextKey)
	if err != nil {
		return err
	}
	if box == nil {
		return fmt.Errorf("%w: there is no next key", ErrNotEnrolled)
	}
	t, err := s.Trust()
	if err != nil {
		return err
	}
	if t == nil {
		return fmt.Errorf("%w: there is no trust file", ErrNotEnrolled)
	}
	listed, found := t.Station(public.KeyID())
	now := s.now()
	switch {
	case !found || listed.Issuer != public.Issuer:
		return fmt.Errorf("%w: the trust file does not list the next key", ErrNotEnrolled)
	case listed.RevokedFromLog != nil || now.Before(listed.NotBefore) || now.After(listed.NotAfter):
		return fmt.Errorf("%w: the next key is not valid at this time", ErrNotEnrolled)
	}
	if err := s.administered(ctx, audit.Administered{What: "key-rotated", Digest: sha256.Sum256(box)}, person); err != nil {
		return err
	}
	if err := os.Rename(s.path(string(NextKey)), s.path(string(EnrolledKey))); err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	return syncDir(s.path("key"))
}

// LogKey is the verifier key of the station's log.
func (s *State) LogKey() (string, error) {
	data, err := readSmall(s.path("key", "log.pub"), 4<<10)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrState, err)
	}
	return string(bytes.TrimSpace(data)), nil
}

// administered enters what somebody did to the station.
func (s *State) administered(ctx context.Context, a audit.Administered, person string) error {
	a.Person = s.pseudonym(person)
	if _, err := s.log.AppendNamed(ctx, audit.Event{Data: a}, audit.Named{Person: person}); err != nil {
		return logError(err)
	}
	return nil
}

// Issued lists the clearances that were issued from a time on, oldest first.
func (s *State) Issued(since time.Time) ([]*Clearance, error) {
	entries, err := os.ReadDir(s.path("clearances"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	var out []*Clearance
	for _, e := range entries {
		c, err := s.load(s.path("clearances", e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // being made, or left by a crash
		}
		if err != nil {
			return nil, err
		}
		if !c.Claims.IssuedAt.Before(since) {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *Clearance) int { return cmp.Compare(a.LogIndex, b.LogIndex) })
	return out, nil
}
