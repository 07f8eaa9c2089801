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
	"pratique/kiosk/clearance"
)

// ErrIncident says that an incident is under way: the station issues nothing.
var ErrIncident = errors.New("an incident is under way: no clearance is issued")

// incidentName is the file whose presence alone stops the station, whatever is in it and whoever reads it.
const incidentName = "incident"

// Incident is what is known of one that is under way.
type Incident struct {
	Reason audit.Word `json:"reason"`
	Begun  time.Time  `json:"begun"`
	Since  time.Time  `json:"since"`            // clearances from then on are in doubt
	Agreed string     `json:"agreed,omitempty"` // who asked for its end: somebody else must too
}

// noIncident is nil only if it is certain that there is none.
func (s *State) noIncident() error {
	switch _, err := os.Lstat(s.path(incidentName)); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%w (%w)", ErrIncident, err)
	}
	return ErrIncident
}

// Incident returns the incident that is under way; nil if there is none.
func (s *State) Incident() (*Incident, error) {
	if s.noIncident() == nil {
		return nil, nil
	}
	data, err := readSmall(s.path(incidentName), 4<<10)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	var in Incident
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrState, incidentName, err)
	}
	return &in, nil
}

// BeginIncident stops the station at once, and then tells the log. What runs at this moment gets no clearance: the file is
// looked for again right before a token is written. A crash after the file leaves the station stopped, which is the aim.
func (s *State) BeginIncident(ctx context.Context, reason audit.Word, since time.Time, person string) (*Incident, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := s.noIncident(); err != nil {
		return nil, err
	}
	reason = audit.WordOf(string(reason)) // whoever is in a hurry types a sentence, and the log must take it at the end too
	now := s.now().UTC().Truncate(time.Second)
	in := &Incident{Reason: reason, Begun: now, Since: since.UTC().Truncate(time.Second)}
	if err := s.writeIncident(in); err != nil {
		return nil, err
	}
	if err := s.step("incident"); err != nil {
		return nil, err
	}
	list, err := s.Issued(in.Since)
	if err != nil {
		return nil, err
	}
	return in, s.administered(ctx, audit.Administered{What: "incident-begun", Reason: reason, Number: uint64(len(list))}, person)
}

// EndIncident is asked for by two people: the first is noted, the second ends it. It reports whether it is over.
func (s *State) EndIncident(ctx context.Context, person string) (over bool, err error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()
	in, err := s.Incident()
	switch {
	case err != nil:
		return false, err
	case in == nil:
		return true, nil
	case person == "":
		return false, fmt.Errorf("%w: it ends on the word of two people", ErrIncident)
	}
	id := s.pseudonym(person)
	who := hex.EncodeToString(id[:])
	if in.Agreed == "" || in.Agreed == who {
		first := in.Agreed == ""
		in.Agreed = who
		if !first {
			return false, nil
		}
		if err := s.administered(ctx, audit.Administered{What: "incident-end-asked", Reason: in.Reason}, person); err != nil {
			return false, err
		}
		return false, s.writeIncident(in)
	}
	// The log first: what it does not take does not start the station again.
	if err := s.administered(ctx, audit.Administered{What: "incident-ended", Reason: in.Reason}, person); err != nil {
		return false, err
	}
	if err := os.Remove(s.path(incidentName)); err != nil {
		return false, fmt.Errorf("%w: %w", ErrState, err)
	}
	return true, syncDir(s.dir)
}

func (s *State) writeIncident(in *Incident) error {
	data, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	// Readable for all: root may have begun it, and the station's own user must be able to end it.
	return s.write(incidentName, append(data, '\n'), 0o644)
}

// InDoubt is a clearance, as the report of an incident lists it.
type InDoubt struct {
	ID       string   `json:"id"`
	Code     string   `json:"code"`
	Classes  []string `json:"classes"`
	Issued   string   `json:"issued"`
	Expires  string   `json:"expires"`
	Expired  bool     `json:"expired"`
	LogIndex uint64   `json:"log_index"`
}

// Revocation is what a station asks its root holders to take back: these clearances, and, should its key be lost, the whole
// key from a place in the log on.
type Revocation struct {
	Version int       `json:"version"` // 1
	Station string    `json:"station"`
	KeyID   string    `json:"key_id,omitempty"` // of the enrolled key
	Reason  string    `json:"reason"`
	Since   time.Time `json:"since"`
	FromLog *uint64   `json:"from_log,omitempty"` // the first entry in doubt
	IDs     []string  `json:"ids"`                // clearances that have not expired
}

// Report writes what the people who handle an incident need into a folder: recall.json with the clearances in doubt,
// revocation.json for the root holders, and in evidence/ the log with its public key, at one moment. None holds a key or a
// name from a medium.
func (s *State) Report(ctx context.Context, in *Incident, key *clearance.StationKey, dir string) ([]InDoubt, error) {
	list, err := s.Issued(in.Since)
	if err != nil {
		return nil, err
	}
	rev := s.newRevocation(string(in.Reason), key)
	rev.Since = in.Since
	recalls := []InDoubt{}
	for _, c := range list {
		r := InDoubt{ID: hex.EncodeToString(c.ID[:]), Code: c.Code, Classes: c.Claims.Audience, Issued: c.Claims.IssuedAt.UTC().Format(time.RFC3339),
			Expires: c.Expires.UTC().Format(time.RFC3339), Expired: !s.now().Before(c.Expires), LogIndex: c.LogIndex}
		recalls = append(recalls, r)
		if !r.Expired {
			rev.IDs = append(rev.IDs, r.ID)
		}
		if rev.FromLog == nil || c.LogIndex < *rev.FromLog {
			rev.FromLog = &r.LogIndex
		}
	}
	evidence := filepath.Join(dir, "evidence")
	if err := os.MkdirAll(evidence, 0o700); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOut, err)
	}
	if err := WriteLists(dir, map[string]any{"recall.json": recalls, "revocation.json": rev}); err != nil {
		return nil, err
	}
	logKey, err := s.LogKey()
	if err != nil {
		return nil, err
	}
	// Laid out as a state, so that "audit verify --state" takes it.
	if err := os.MkdirAll(filepath.Join(evidence, "key"), 0o700); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOut, err)
	}
	if err := writeFile(filepath.Join(evidence, "key", "log.pub"), []byte(logKey+"\n"), 0o644); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOut, err)
	}
	if err := s.log.Copy(ctx, filepath.Join(evidence, audit.FileName)); err != nil {
		return nil, logError(err)
	}
	return recalls, nil
}
