package clearance

import (
	"bytes"
	"errors"

	"pratique/scanner/report"
)

// ErrNeedManifest says that the token alone cannot tell whether the content is the same: the medium has more volumes than
// the one that is seen, or streams that are not seen.
var ErrNeedManifest = errors.New("the manifest is needed for this comparison")

// View is how much of a medium is seen.
type View uint8

// The views. The zero value is none, and compares nothing.
const (
	NoView      View = iota
	WholeMedium      // an image or the device: every volume, with streams
	Folder           // one volume as an operating system shows it, where streams cannot be seen
)

// ChangeKind is what became of an entry.
type ChangeKind uint8

// The kinds of change.
const (
	Changed ChangeKind = iota // same path, other content or kind
	Added
	Removed
)

// Change is one difference between what was cleared and what is there.
type Change struct {
	Kind   ChangeKind
	Volume int      // its place among the volumes that are seen; for Removed among those that were cleared
	Key    [32]byte // PathKey
	Entry  report.Kind
	Size   uint64 // for Removed of what was cleared, else of what is there
	SHA256 [32]byte
}

// MaxChanges is how many differences are listed; one is enough for the answer.
const MaxChanges = 1_000

// Comparison is the answer to whether a medium still holds what was cleared. Its zero value says no.
type Comparison struct {
	Equal   bool
	Changes []Change // at most MaxChanges, and only if there was a manifest
	More    bool     // there are more changes
	// StreamsUnchecked is how many cleared streams could not be looked at.
	StreamsUnchecked uint64
}

// Compare holds what is seen against the claims of a token. seen is a sealed manifest with the token's id. cleared is the
// token's manifest or nil; it must be the one that Verify accepts, or the answer is no.
func Compare(c Claims, cleared, seen *Manifest, view View) (Comparison, error) {
	content, sealed := seen.Content()
	if !sealed || seen.id != c.ID {
		return Comparison{}, errOpen
	}
	if seen.spool != nil || cleared != nil && cleared.spool != nil {
		return Comparison{}, errSpooled
	}
	if cleared != nil {
		if known, sealed := cleared.Content(); !sealed || cleared.id != c.ID || known != c.Content {
			return Comparison{}, ErrMalformed
		}
	}
	switch view {
	case WholeMedium:
		return compareWhole(c, content, cleared, seen), nil
	case Folder:
		if len(seen.volumes) != 1 {
			return Comparison{}, errors.New("clearance: a folder is one volume")
		}
		return compareFolder(c, content, cleared, seen)
	}
	return Comparison{}, errors.New("clearance: nothing was seen")
}

func compareWhole(c Claims, content Content, cleared, seen *Manifest) Comparison {
	result := Comparison{Equal: content == c.Content}
	if result.Equal || cleared == nil {
		return result
	}
	for i := range max(len(cleared.volumes), len(seen.volumes)) {
		result.add(difference(i, cleared.entries(i), seen.entries(i), true))
	}
	return result
}

func compareFolder(c Claims, content Content, cleared, seen *Manifest) (Comparison, error) {
	if cleared == nil {
		if c.Content.Volumes != 1 || c.Content.Streams != 0 {
			return Comparison{}, ErrNeedManifest
		}
		return Comparison{Equal: content == c.Content}, nil
	}
	// The folder must equal one of the volumes. If it equals none, the nearest one is what the person wants to hear about.
	var nearest []Change
	for i := range cleared.volumes {
		changes := difference(0, cleared.entries(i), seen.entries(0), false)
		if len(changes) == 0 {
			result := Comparison{Equal: true}
			in := cleared.entries(i)
			for r := in.held(); r != nil; r = in.held() {
				if r.kind() == leafStream {
					result.StreamsUnchecked++
				}
			}
			return result, nil
		}
		if nearest == nil || len(changes) < len(nearest) {
			nearest = changes
		}
	}
	var result Comparison
	result.add(nearest)
	return result, nil
}

func (r *Comparison) add(changes []Change) {
	room := MaxChanges - len(r.Changes)
	if len(changes) > room {
		changes, r.More = changes[:room], true
	}
	r.Changes = append(r.Changes, changes...)
}

// difference walks two sorted lists side by side. It stops at one more change than can be shown.
func difference(volume int, was, is *merger, streams bool) []Change {
	var changes []Change
	a, b := was.held(), is.held()
	for (a != nil || b != nil) && len(changes) <= MaxChanges {
		order := 0
		switch {
		case a == nil:
			order = 1
		case b == nil:
			order = -1
		default:
			order = bytes.Compare(a.keyBytes(), b.keyBytes())
		}
		switch {
		case order < 0:
			if streams || a.kind() != leafStream {
				changes = append(changes, a.change(Removed, volume))
			}
			a = was.held()
		case order > 0:
			changes = append(changes, b.change(Added, volume))
			b = is.held()
		default:
			if !a.sameEntry(b) {
				changes = append(changes, b.change(Changed, volume))
			}
			a, b = was.held(), is.held()
		}
	}
	return changes
}

func (r *record) change(kind ChangeKind, volume int) Change {
	c := Change{Kind: kind, Volume: volume, Key: r.key(), Size: r.size(), SHA256: r.sum()}
	switch r.kind() {
	case leafFile:
		c.Entry = report.File
	case leafDirectory:
		c.Entry = report.Directory
	case leafStream:
		c.Entry = report.Stream
	}
	return c
}
