package audit

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"pratique/kiosk/clearance"
)

const (
	leafPrefix  = "pratique log v1\x00" // keeps a leaf apart from everything else that is hashed or signed
	leafVersion = 1
	timeLayout  = "2006-01-02T15:04:05.000000000Z" // of fixed length, so that the column sorts
)

var (
	encoder = mustEncMode()
	decoder = mustDecMode()
)

func mustEncMode() cbor.EncMode {
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err)
	}
	return mode
}

// mustDecMode: a log under verification is an attacker's file, so the decoder is as narrow as the format.
func mustDecMode() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		MaxNestedLevels:   6,
		MaxArrayElements:  maxReasons,
		MaxMapPairs:       16,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return mode
}

type wireLeaf struct {
	Version int             `cbor:"1,keyasint"`
	Kind    string          `cbor:"2,keyasint"`
	Time    int64           `cbor:"3,keyasint"`
	Session []byte          `cbor:"4,keyasint,omitempty"`
	Behind  uint64          `cbor:"5,keyasint,omitempty"`
	Data    cbor.RawMessage `cbor:"6,keyasint"`
	Names   []byte          `cbor:"7,keyasint,omitempty"`
}

// Entry is one entry of the log, decoded for showing.
type Entry struct {
	Index     int64     `json:"index"`
	Time      time.Time `json:"time"`
	Kind      Kind      `json:"kind"`
	Session   ID        `json:"session,omitzero"`     // zero if it belongs to none
	ClockBack uint64    `json:"clock_back,omitempty"` // seconds that the clock was behind the latest entry before
	Data      Data      `json:"data"`
	Names     *Digest   `json:"names,omitempty"` // what it commits to in the side table; nil if nothing
	Leaf      []byte    `json:"-"`
}

// encodeLeaf returns the leaf of an event at a time that has no names.
func encodeLeaf(ev Event, at time.Time, behind uint64) ([]byte, error) {
	return encodeNamed(ev, at, behind, nil)
}

// encodeNamed returns the leaf of an event at a time. names is what it commits to in the side table; nil for nothing.
func encodeNamed(ev Event, at time.Time, behind uint64, names *Digest) ([]byte, error) {
	if ev.Data == nil {
		return nil, errors.New("an event without data")
	}
	kind := ev.Data.Kind()
	if own := ev.Session != (ID{}); own != kind.ofSession() && kind != KindFailed { // a kiosk can fail between sessions
		return nil, fmt.Errorf("belongs to a session: %v", own)
	}
	if err := ev.Data.check(); err != nil {
		return nil, err
	}
	if at.UnixNano() < 0 || at.Year() < 1970 || at.Year() > 2200 { // the range in which UnixNano holds
		return nil, fmt.Errorf("a clock that shows the year %d", at.Year())
	}
	data, err := encoder.Marshal(ev.Data)
	if err != nil {
		return nil, err
	}
	w := wireLeaf{Version: leafVersion, Kind: kind.String(), Time: at.UnixNano(), Behind: behind, Data: data}
	if ev.Session != (ID{}) {
		w.Session = ev.Session[:]
	}
	if names != nil {
		w.Names = names[:]
	}
	body, err := encoder.Marshal(w)
	if err != nil {
		return nil, err
	}
	if len(leafPrefix)+len(body) > maxLeaf {
		return nil, fmt.Errorf("a leaf of %d bytes", len(body))
	}
	return append([]byte(leafPrefix), body...), nil
}

// decodeLeaf is the reverse, for the log's own leaves and for those of clearances. It accepts nothing that encodeLeaf
// would not have written, byte for byte. The index is the caller's to set.
func decodeLeaf(leaf []byte) (Entry, error) {
	if len(leaf) > maxLeaf {
		return Entry{}, fmt.Errorf("leaf of %d bytes", len(leaf))
	}
	body, own := bytes.CutPrefix(leaf, []byte(leafPrefix))
	if !own {
		c, err := clearance.LeafClaims(leaf)
		if err != nil {
			return Entry{}, fmt.Errorf("neither an event nor a clearance: %w", err)
		}
		data := Issuing{Leaf: sha256.Sum256(leaf), Content: c.Content.Root, Expires: c.Expires.Unix(), Operator: c.Operator}
		for _, class := range c.Audience {
			data.Classes = append(data.Classes, Word(class))
		}
		if c.Override != nil {
			data.Override, data.second = Word(c.Override.Reason), c.Override.Second
		}
		return Entry{Time: c.IssuedAt.UTC(), Kind: KindIssuing, Session: c.ID, Data: data, Leaf: leaf}, nil
	}
	var w wireLeaf
	if err := decoder.Unmarshal(body, &w); err != nil {
		return Entry{}, err
	}
	if w.Version != leafVersion {
		return Entry{}, fmt.Errorf("leaf of version %d", w.Version)
	}
	kind, err := ParseKind(w.Kind)
	if err != nil {
		return Entry{}, err
	}
	data, err := decodeData(kind, w.Data)
	if err != nil {
		return Entry{}, fmt.Errorf("%v: %w", kind, err)
	}
	e := Entry{Time: time.Unix(0, w.Time).UTC(), Kind: kind, ClockBack: w.Behind, Data: data, Leaf: leaf}
	copy(e.Session[:], w.Session)
	if w.Names != nil {
		e.Names = new(Digest)
		copy(e.Names[:], w.Names)
	}
	again, err := encodeNamed(Event{e.Session, data}, e.Time, w.Behind, e.Names)
	if err != nil {
		return Entry{}, err
	}
	if !bytes.Equal(again, leaf) {
		return Entry{}, errors.New("leaf is not in canonical form")
	}
	return e, nil
}

// DecodeEntry reads an entry from its leaf, as it came from a daemon.
func DecodeEntry(index int64, leaf []byte) (Entry, error) {
	e, err := decodeLeaf(leaf)
	e.Index = index
	return e, err
}

// leafHead reads the kind and the session of a leaf, in a tenth of the time that all of it takes and without its checks:
// for a log whose end Open has checked, read from its first entry at each start of the program.
func leafHead(leaf []byte) (Kind, ID, error) {
	body, own := bytes.CutPrefix(leaf, []byte(leafPrefix))
	if !own {
		_, id, err := clearance.LeafTime(leaf)
		return KindIssuing, id, err
	}
	var w wireLeaf
	if err := decoder.Unmarshal(body, &w); err != nil {
		return NoKind, ID{}, err
	}
	var id ID
	copy(id[:], w.Session)
	kind, err := ParseKind(w.Kind)
	return kind, id, err
}

func decodeData(kind Kind, raw []byte) (Data, error) {
	switch kind {
	case KindAttached:
		return decodeAs[Attached](raw)
	case KindDecided:
		return decodeAs[Decided](raw)
	case KindIssued:
		return decodeAs[Issued](raw)
	case KindAbandoned:
		return decodeAs[Abandoned](raw)
	case KindRemoved:
		return decodeAs[Removed](raw)
	case KindAborted:
		return decodeAs[Aborted](raw)
	case KindFailed:
		return decodeAs[Failed](raw)
	case KindDenied:
		return decodeAs[Denied](raw)
	case KindRefused:
		return decodeAs[Refused](raw)
	case KindAdministered:
		return decodeAs[Administered](raw)
	case KindExported:
		return decodeAs[Exported](raw)
	case KindVerified:
		return decodeAs[Verified](raw)
	case KindRead:
		return decodeAs[Read](raw)
	case KindPack:
		return decodeAs[Pack](raw)
	case KindCanary:
		return decodeAs[Canary](raw)
	case KindRecalled:
		return decodeAs[Recalled](raw)
	case KindGuest:
		return decodeAs[Guest](raw)
	case KindOverride:
		return decodeAs[Override](raw)
	case KindErased:
		return decodeAs[Erased](raw)
	case KindDisclosed:
		return decodeAs[Disclosed](raw)
	case KindException:
		return decodeAs[Exception](raw)
	}
	return nil, errors.New("no event has this kind")
}

func decodeAs[T Data](raw []byte) (Data, error) {
	var d T
	err := decoder.Unmarshal(raw, &d)
	return d, err
}
