package clearance

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math"
	"slices"
	"strings"

	"pratique/scanner/report"
)

const (
	// MaxLeaves bounds the entries of one manifest: 80 bytes each in memory make 160 MB, and no stick of patient studies
	// that was measured has a tenth of that.
	MaxLeaves = 2_000_000
	// MaxVolumes bounds the volumes, as a report does.
	MaxVolumes = report.MaxVolumes
	// maxSystemFile is the largest size at which a file that Windows writes by itself is left out. WPSettings.dat has 12
	// bytes and IndexerVolumeGuid 76, so there is no room for content.
	maxSystemFile = 128
)

var (
	// ErrTooMany says that a medium has more entries or volumes than a manifest holds.
	ErrTooMany = errors.New("more entries than a manifest holds")
	// ErrDuplicate says that two entries of one volume have the same path.
	ErrDuplicate = errors.New("two entries have the same path")
	// errSealed and errOpen are mistakes of the caller.
	errSealed = errors.New("clearance: the manifest is sealed")
	errOpen   = errors.New("clearance: the manifest is not sealed")
)

// Manifest is the list of what is on a medium, without any name. Fill it with AddVolume and Add, then Seal it. It is not
// safe for concurrent use until it is sealed.
type Manifest struct {
	id      [16]byte
	mac     hash.Hash
	leaves  int
	volumes []volumeTree
	parent  string // the directory of the last file, and its key: most files follow a neighbour
	key     [32]byte
	content *Content // set by Seal
}

type volumeTree struct {
	id      int
	leaves  []leaf
	parents map[[32]byte]struct{} // directories that are not empty
	root    [32]byte              // set by Seal
}

// leaf is one entry: 80 bytes in memory, leafBytes in the file and in the tree.
type leaf struct {
	key  [32]byte // PathKey of the entry's path
	sum  [32]byte
	size uint64
	kind byte
}

const leafBytes = 1 + 32 + 8 + 32

// The kinds of leaf.
const (
	leafFile      = 'F'
	leafDirectory = 'D' // an empty one
	leafStream    = 'S'
)

// PathKey is what a manifest holds in place of a path: HMAC-SHA256 with the clearance's id as the key. Whoever has the
// token and guesses a name can check the guess; the manifest alone tells nothing.
func PathKey(id [16]byte, path string) [32]byte {
	mac := hmac.New(sha256.New, id[:])
	mac.Write([]byte(path))
	return [32]byte(mac.Sum(nil))
}

// NewManifest starts the manifest of the session with this id.
func NewManifest(id [16]byte) *Manifest {
	return &Manifest{id: id, mac: hmac.New(sha256.New, id[:])}
}

// ID is the id of the clearance that the manifest belongs to.
func (m *Manifest) ID() [16]byte { return m.id }

// AddVolume says that the medium has a volume with this id, even if nothing is in it. Volumes may come in any order; the
// tree takes them by their id.
func (m *Manifest) AddVolume(id int) error {
	_, err := m.volume(id)
	return err
}

func (m *Manifest) volume(id int) (*volumeTree, error) {
	if m.content != nil {
		return nil, errSealed
	}
	for i := range m.volumes {
		if m.volumes[i].id == id {
			return &m.volumes[i], nil
		}
	}
	if id < 0 || id >= MaxVolumes || len(m.volumes) >= MaxVolumes {
		return nil, ErrTooMany
	}
	m.volumes = append(m.volumes, volumeTree{id: id, parents: map[[32]byte]struct{}{}})
	return &m.volumes[len(m.volumes)-1], nil
}

// Add adds an entry of a volume, by its path inside the volume as stored (WTF-8, components joined with '/'). Every
// directory may be given: Seal keeps those in which nothing is. What Windows writes by itself is left out, here and so
// on both sides, when it is small enough to hold nothing else.
func (m *Manifest) Add(volume int, kind report.Kind, path string, size int64, sha [32]byte) error {
	v, err := m.volume(volume)
	if err != nil {
		return err
	}
	if path == "" || len(path) > report.MaxPathBytes || size < 0 {
		return fmt.Errorf("clearance: entry with a path of %d bytes and size %d", len(path), size)
	}
	if leftOut(kind, path, size) {
		return nil
	}
	l := leaf{key: m.pathKey(path), sum: sha, size: uint64(size)}
	switch kind {
	case report.File:
		l.kind = leafFile
	case report.Stream:
		l.kind = leafStream
	case report.Directory:
		l.kind, l.size, l.sum = leafDirectory, 0, [32]byte{}
	default:
		return fmt.Errorf("clearance: a %v has no place in a manifest", kind)
	}
	if m.leaves >= MaxLeaves {
		return ErrTooMany
	}
	m.leaves++
	if len(v.leaves) == cap(v.leaves) {
		v.leaves = slices.Grow(v.leaves, 64+len(v.leaves)/8) // append would double 80 MB
	}
	v.leaves = append(v.leaves, l)
	if kind != report.Stream { // a stream belongs to its file, which is an entry itself
		m.markParent(v, path)
	}
	return nil
}

func (m *Manifest) pathKey(path string) [32]byte {
	m.mac.Reset()
	m.mac.Write([]byte(path))
	var key [32]byte
	m.mac.Sum(key[:0])
	return key
}

// markParent remembers that the directory of path is not empty. Its own parents are marked by its own entry.
func (m *Manifest) markParent(v *volumeTree, path string) {
	cut := strings.LastIndexByte(path, '/')
	if cut < 0 {
		return
	}
	if path[:cut] != m.parent {
		m.parent, m.key = strings.Clone(path[:cut]), m.pathKey(path[:cut])
	}
	v.parents[m.key] = struct{}{}
}

// leftOut reports whether an entry is one of those that Windows writes on every stick that it sees, so that a stick that
// was only plugged in is not called altered. They are scanned like everything else.
func leftOut(kind report.Kind, path string, size int64) bool {
	const folder = "System Volume Information"
	switch kind {
	case report.Directory:
		return path == folder // a leaf only if empty, and then it may be so on one side only
	case report.File:
		return size <= maxSystemFile && (path == folder+"/WPSettings.dat" || path == folder+"/IndexerVolumeGuid")
	}
	return false
}

// Seal sorts the entries and computes the tree. It refuses two entries with one path. After it nothing can be added;
// calling it again returns the same.
func (m *Manifest) Seal() (Content, error) {
	if m.content != nil {
		return *m.content, nil
	}
	slices.SortFunc(m.volumes, func(a, b volumeTree) int { return a.id - b.id })
	for i := range m.volumes {
		v := &m.volumes[i]
		v.leaves = slices.DeleteFunc(v.leaves, func(l leaf) bool {
			_, full := v.parents[l.key]
			return full && l.kind == leafDirectory
		})
		v.parents = nil
		slices.SortFunc(v.leaves, func(a, b leaf) int { return bytes.Compare(a.key[:], b.key[:]) })
	}
	return m.finish()
}

// finish checks order and limits, and computes roots and counts. It is the one way to a sealed manifest, for one that was
// filled and one that was read from a file.
func (m *Manifest) finish() (Content, error) {
	c := Content{Volumes: uint64(len(m.volumes))}
	var whole merkle
	for i := range m.volumes {
		v := &m.volumes[i]
		var tree merkle
		var buf [leafBytes]byte
		for j := range v.leaves {
			l := &v.leaves[j]
			if j > 0 {
				switch bytes.Compare(v.leaves[j-1].key[:], l.key[:]) {
				case 0:
					return Content{}, ErrDuplicate
				case 1:
					return Content{}, fmt.Errorf("manifest: %w: order", ErrMalformed)
				}
			}
			if l.size > math.MaxInt64 || c.Bytes+l.size > math.MaxInt64 {
				return Content{}, fmt.Errorf("manifest: %w: sizes", ErrMalformed)
			}
			c.Bytes += l.size
			switch l.kind {
			case leafFile:
				c.Files++
			case leafStream:
				c.Streams++
			case leafDirectory:
				if l.size != 0 || l.sum != [32]byte{} {
					return Content{}, fmt.Errorf("manifest: %w: directory", ErrMalformed)
				}
			default:
				return Content{}, fmt.Errorf("manifest: %w: kind", ErrMalformed)
			}
			tree.add(l.append(buf[:0]))
		}
		v.root = tree.root()
		whole.add(v.record(i))
	}
	c.Root = whole.root()
	m.content = &c
	return c, nil
}

// Content returns what Seal returned, or false if the manifest is not sealed.
func (m *Manifest) Content() (Content, bool) {
	if m.content == nil {
		return Content{}, false
	}
	return *m.content, true
}

// append writes the leaf's bytes: what is hashed, and what the file holds.
func (l *leaf) append(b []byte) []byte {
	b = append(b, l.kind)
	b = append(b, l.key[:]...)
	b = binary.BigEndian.AppendUint64(b, l.size)
	return append(b, l.sum[:]...)
}

// record is the leaf of the upper tree: it binds the volume's place and how many entries it has.
func (v *volumeTree) record(place int) []byte {
	return volumeRecord(place, len(v.leaves), v.root)
}

func volumeRecord(place, leaves int, root [32]byte) []byte {
	b := append(make([]byte, 0, 1+4+8+32), 'V')
	b = binary.BigEndian.AppendUint32(b, uint32(place))
	b = binary.BigEndian.AppendUint64(b, uint64(leaves))
	return append(b, root[:]...)
}
