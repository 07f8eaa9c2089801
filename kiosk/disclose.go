package kiosk

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"pratique/kiosk/audit"
)

// Asker is a person who asks for names to be shown.
type Asker struct {
	Person  string // such as "uid:1001"
	Auditor bool
}

// Subject is whose names are asked for: those of a session, or of one entry that belongs to none.
type Subject struct {
	Session string // its id, or the first digits of it
	Entry   int64  // if there is no session
}

// ErrDisclosure says why names are not shown.
var ErrDisclosure = errors.New("the names are not shown")

// disclosureName is the file that remembers the first of the two persons. It holds no name.
const disclosureName = "disclosure"

// disclosureTime is how long the first person's word holds: until then the second can be found, and not for ever, so that it
// is known what was agreed to.
const disclosureTime = time.Hour

// wish is what the first person wants to be shown.
type wish struct {
	Session audit.ID   `json:"session"`
	Entry   int64      `json:"entry"`
	Reason  audit.Word `json:"reason"`
	By      string     `json:"by"` // pseudonym
	Auditor bool       `json:"auditor"`
	At      time.Time  `json:"at"`
}

// Disclose is asked for by two persons, one of whom is an auditor: the first is noted, the second is shown the names. nil means
// that it was noted. Each is in the log, the second before a name is read.
func (s *State) Disclose(ctx context.Context, what Subject, reason audit.Word, who Asker) (*audit.Disclosure, error) {
	want := wish{Entry: what.Entry, Reason: reason, Auditor: who.Auditor, At: s.now().UTC().Truncate(time.Second)}
	if who.Person == "" || reason == "" {
		return nil, fmt.Errorf("%w: who asks, and why, must be known", ErrDisclosure)
	}
	if what.Session != "" {
		var err error
		if want.Session, err = s.sessionNamed(ctx, what.Session); err != nil {
			return nil, err
		}
		want.Entry = -1
	}
	id := s.pseudonym(who.Person)
	want.By = hex.EncodeToString(id[:])
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	first, err := s.askedFirst()
	if err != nil {
		return nil, err
	}
	age := want.At.Sub(first.At)
	if first.By == "" || first.By == want.By || first.Session != want.Session || first.Entry != want.Entry || age < 0 || age > disclosureTime {
		if err := s.administered(ctx, audit.Administered{What: "disclosure-asked", Reason: reason}, who.Person); err != nil {
			return nil, err
		}
		data, err := json.Marshal(want)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrState, err)
		}
		return nil, s.write(disclosureName, append(data, '\n'), 0o600)
	}
	if !first.Auditor && !who.Auditor {
		return nil, fmt.Errorf("%w: one of the two must be an auditor", ErrDisclosure)
	}
	var before audit.Pseudonym
	if n, err := hex.Decode(before[:], []byte(first.By)); err != nil || n != len(before) {
		return nil, fmt.Errorf("%w: the file %s is damaged: remove it, and ask again", ErrDisclosure, disclosureName)
	}
	// A word holds for one disclosure: it is taken back before the names are shown.
	if err := os.Remove(s.path(disclosureName)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	if err := syncDir(s.dir); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	d, err := s.log.Disclose(ctx, want.Session, want.Entry, audit.Disclosed{Asked: before, Agreed: id, Reason: first.Reason}, s.names)
	if errors.Is(err, audit.ErrErased) || errors.Is(err, audit.ErrNotNamed) {
		return nil, fmt.Errorf("%w: %w", ErrDisclosure, err)
	}
	if err != nil {
		return nil, logError(err)
	}
	return d, nil
}

// askedFirst reads who asked; the zero value if nobody did. What cannot be read is nobody: then the next one is the first.
func (s *State) askedFirst() (first wish, err error) {
	data, err := readSmall(s.path(disclosureName), 4<<10)
	if errors.Is(err, fs.ErrNotExist) {
		return wish{}, nil
	}
	if err != nil {
		return wish{}, fmt.Errorf("%w: %w", ErrState, err)
	}
	if json.Unmarshal(data, &first) != nil {
		return wish{}, nil
	}
	return first, nil
}

// Erase destroys names. A session is named as Show takes it. With them go the manifests of the same sessions: they hold no name,
// but whoever has the token can try names against them.
func (s *State) Erase(ctx context.Context, session string, e audit.Erasure, person string) (audit.Erased, error) {
	if person == "" {
		return audit.Erased{}, fmt.Errorf("%w: who erases must be known", ErrState)
	}
	if session != "" {
		var err error
		if e.Session, err = s.sessionNamed(ctx, session); err != nil {
			return audit.Erased{}, err
		}
	}
	// Two erasures at once would both want to make the month's next key.
	unlock, err := s.lock(ctx)
	if err != nil {
		return audit.Erased{}, err
	}
	defer unlock()
	// Before the names, so that the same call finishes what a crash cuts off.
	if err := s.eraseManifests(e); err != nil {
		return audit.Erased{}, err
	}
	ev, err := s.log.Erase(ctx, e, s.pseudonym(person))
	if errors.Is(err, audit.ErrErased) {
		return ev, fmt.Errorf("%w: %w", ErrDisclosure, err)
	}
	if err != nil {
		return ev, logError(err)
	}
	return ev, nil
}

// eraseManifests removes the manifests of what is erased. Devices do without: they compute the root again.
func (s *State) eraseManifests(e audit.Erasure) error {
	list, err := s.Issued(time.Time{})
	if err != nil {
		return err
	}
	for _, c := range list {
		month := c.Claims.IssuedAt.UTC().Format("2006-01")
		if c.ManifestFile == "" || audit.ID(c.ID) != e.Session && month != e.Month && (e.Before == "" || month >= e.Before) {
			continue
		}
		if err := os.Remove(c.ManifestFile); err != nil {
			return fmt.Errorf("%w: %w", ErrState, err)
		}
		if err := syncDir(filepath.Dir(c.ManifestFile)); err != nil {
			return fmt.Errorf("%w: %w", ErrState, err)
		}
	}
	return nil
}

// stationPerson is who erases what is old.
const stationPerson = "station"

// EraseOld destroys the names of months that are more than so many before this one, and reports whether there were any. The
// caller knows that the clock is right.
func (s *State) EraseOld(ctx context.Context, months int) (bool, error) {
	kept, err := s.KeptNames(ctx)
	if err != nil || len(kept) == 0 {
		return false, err
	}
	now := s.now().UTC()
	first := time.Date(now.Year(), now.Month()-time.Month(months), 1, 0, 0, 0, 0, time.UTC).Format("2006-01")
	if kept[0].Month >= first {
		return false, nil
	}
	_, err = s.Erase(ctx, "", audit.Erasure{Before: first}, stationPerson)
	return err == nil, err
}

// KeptNames says of how many sessions names are kept, by month.
func (s *State) KeptNames(ctx context.Context) ([]audit.MonthOfNames, error) {
	kept, err := s.log.KeptNames(ctx)
	if err != nil {
		return nil, logError(err)
	}
	return kept, nil
}
