package kiosk

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"

	"pratique/kiosk/clearance"
)

// A recalled clearance is refused by devices once the trust file names it. The demonstration's own does at once. A site's is
// signed by its root holders, so the station writes them a list, and says until their file is here that it does not name
// them yet.

// Holding are those recalled clearances that would still be taken if no trust file named them.
func (s *State) Holding(recalls []Recall) []Recall {
	now := s.now()
	return slices.DeleteFunc(slices.Clone(recalls), func(r Recall) bool { return r.Cause == "" || !r.Expires.After(now) })
}

// Unrevoked are those of the recalled clearances that would still hold and that the site's trust file does not name. What was
// signed with the demonstration key is none of them: no device of a site takes it, and the station's own trust file names it.
func (s *State) Unrevoked(recalls []Recall) ([]Recall, error) {
	enrolled, err := s.Enrolled()
	if err != nil || !enrolled {
		return nil, err
	}
	t, err := s.Trust()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(s.Holding(recalls), func(r Recall) bool {
		return s.station.Demo() && r.Station == s.station.Issuer() || t != nil && slices.Contains(t.Revoked, [16]byte(r.ID))
	}), nil
}

// RevocationOf is what the root holders are asked to take back: those of the listed clearances that have not expired, the
// newest where a trust file cannot name them all, of which left says how many it leaves out. key is the enrolled key; nil if
// there is none.
func (s *State) RevocationOf(recalls []Recall, reason string, key *clearance.StationKey) (rev Revocation, left int) {
	rev = s.newRevocation(reason, key)
	now := s.now()
	for _, r := range recalls {
		if !r.Expires.After(now) {
			continue
		}
		rev.IDs = append(rev.IDs, r.ID.String())
		if rev.Since.IsZero() || r.Issued.Before(rev.Since) {
			rev.Since = r.Issued
		}
	}
	left = max(0, len(rev.IDs)-clearance.MaxRevoked)
	rev.IDs = rev.IDs[left:]
	return rev, left
}

func (s *State) newRevocation(reason string, key *clearance.StationKey) Revocation {
	rev := Revocation{Version: 1, Station: s.station.Issuer(), Reason: reason, IDs: []string{}}
	if key != nil {
		id := key.KeyID()
		rev.Station, rev.KeyID = key.Issuer, hex.EncodeToString(id[:])
	}
	return rev
}

// WriteLists writes what people carry to the root holders, one JSON file for each name.
func WriteLists(dir string, lists map[string]any) error {
	for name, v := range lists {
		data, err := json.MarshalIndent(v, "", "  ")
		if err == nil {
			err = writeFile(filepath.Join(dir, name), append(data, '\n'), 0o600)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrOut, err)
		}
	}
	return nil
}
