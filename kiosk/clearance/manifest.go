package clearance

import (
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
	// MaxLeaves bounds the entries of one manifest: as many as a report has items. The file has 73 bytes for each.
	MaxLeaves = report.MaxItems
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
	// errSealed, errOpen and errSpooled are mistakes of the caller.
	errSealed  = errors.New("clearance: the manifest is sealed")
	errOpen    = errors.New("clearance: the manifest is not sealed")
	errSpooled = errors.New("clearance: a manifest with a spool is only written")
)

// Manifest is the list of what is on a medium, without any name. Fill it with AddVolume and Add, then Seal it. It is not
// safe for concurrent use until it is sealed.
type Manifest struct {
	id      [16]byte
	mac     hash.Hash
	leaves  int
	volumes []volumeTree
	fresh   []record // not sorted yet
	runs    []run    // sorted
	spool   Spool    // nil: the runs are in memory
	spooled int64    // bytes in the spool
	parent  string   // volume and directory of the last file, and the directory's key: most files follow a neighbour
	content *Content // set by Seal
}

// volumeTree is what is known of one volume. Seal sets leaves and root.
type volumeTree struct {
	id     int
	leaves uint64
	root   [32]byte
}

// PathKey is what a manifest holds in place of a path: HMAC-SHA256 with the clearance's id as the key. Whoever has the
// token and guesses a name can check the guess; the manifest alone tells nothing.
func PathKey(id [16]byte, path string) [32]byte {
	mac := hmac.New(sha256.New, id[:])
	mac.Write([]byte(path))
	return [32]byte(mac.Sum(nil))
}

// NewManifest starts the manifest of the session with this id. It is held in memory: 74 bytes for each entry.
func NewManifest(id [16]byte) *Manifest {
	return &Manifest{id: id, mac: hmac.New(sha256.New, id[:])}
}

// NewSpooledManifest is for a station, whose memory must not grow with what somebody plugs in: at most runRecords entries
// are held, the others lie in the spool. It can be sealed and written, but not compared.
func NewSpooledManifest(id [16]byte, spool Spool) *Manifest {
	m := NewManifest(id)
	m.spool = spool
	return m
}

// ID is the id of the clearance that the manifest belongs to.
func (m *Manifest) ID() [16]byte { return m.id }

// AddVolume says that the medium has a volume with this id, even if nothing is in it. Volumes may come in any order; the
// tree takes them by their id.
func (m *Manifest) AddVolume(id int) error {
	switch {
	case m.content != nil:
		return errSealed
	case id < 0 || id >= MaxVolumes:
		return ErrTooMany
	case !slices.ContainsFunc(m.volumes, func(v volumeTree) bool { return v.id == id }):
		m.volumes = append(m.volumes, volumeTree{id: id})
	}
	return nil
}

// Add adds an entry of a volume, by its path inside the volume as stored (WTF-8, components joined with '/'). Every
// directory may be given: Seal keeps those in which nothing is. What Windows writes by itself is left out, here and so
// on both sides, when it is small enough to hold nothing else.
func (m *Manifest) Add(volume int, kind report.Kind, path string, size int64, sha [32]byte) error {
	if err := m.AddVolume(volume); err != nil {
		return err
	}
	if path == "" || len(path) > report.MaxPathBytes || size < 0 {
		return fmt.Errorf("clearance: entry with a path of %d bytes and size %d", len(path), size)
	}
	if leftOut(kind, path, size) {
		return nil
	}
	var is byte
	switch kind {
	case report.File:
		is = leafFile
	case report.Stream:
		is = leafStream
	case report.Directory:
		is, size, sha = leafDirectory, 0, [32]byte{}
	default:
		return fmt.Errorf("clearance: a %v has no place in a manifest", kind)
	}
	if m.leaves >= MaxLeaves {
		return ErrTooMany
	}
	m.leaves++
	if err := m.keep(newRecord(volume, is, m.pathKey(path), uint64(size), sha)); err != nil {
		return err
	}
	if kind == report.Stream { // a stream belongs to its file, which is an entry itself
		return nil
	}
	return m.markParent(volume, path)
}

func (m *Manifest) pathKey(path string) [32]byte {
	m.mac.Reset()
	m.mac.Write([]byte(path))
	var key [32]byte
	m.mac.Sum(key[:0])
	return key
}

// markParent notes that the directory of path is not empty. Its own parents are marked by its own entry.
func (m *Manifest) markParent(volume int, path string) error {
	cut := strings.LastIndexByte(path, '/')
	if cut < 0 {
		return nil
	}
	parent := string(rune(volume)) + path[:cut]
	if parent == m.parent {
		return nil
	}
	m.parent = parent
	return m.keep(newRecord(volume, parentMark, m.pathKey(path[:cut]), 0, [32]byte{}))
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
	if err := m.endRun(); err != nil {
		return Content{}, err
	}
	return m.finish()
}

// finish checks order and limits, and computes roots and counts. It is the one way to a sealed manifest, for one that was
// filled and one that was read from a file.
func (m *Manifest) finish() (Content, error) {
	c := Content{Volumes: uint64(len(m.volumes))}
	in := m.merge()
	var whole merkle
	var buf [leafBytes]byte
	var last record
	r, err := in.next()
	for i := range m.volumes {
		v := &m.volumes[i]
		v.leaves = 0
		var tree merkle
		for ; err == nil && r != nil && r.volume() == v.id; r, err = in.next() {
			size := r.size()
			switch {
			case v.leaves > 0 && r.key() == last.key():
				return Content{}, ErrDuplicate
			case size > math.MaxInt64 || c.Bytes+size > math.MaxInt64:
				return Content{}, fmt.Errorf("manifest: %w: sizes", ErrMalformed)
			}
			c.Bytes += size
			switch r.kind() {
			case leafFile:
				c.Files++
			case leafStream:
				c.Streams++
			case leafDirectory:
				if size != 0 || r.sum() != [32]byte{} {
					return Content{}, fmt.Errorf("manifest: %w: directory", ErrMalformed)
				}
			default:
				return Content{}, fmt.Errorf("manifest: %w: kind", ErrMalformed)
			}
			tree.add(r.leaf(buf[:0]))
			v.leaves++
			last = *r
		}
		v.root = tree.root()
		whole.add(volumeRecord(i, v.leaves, v.root))
	}
	if err != nil {
		return Content{}, err
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

// volumeRecord is the leaf of the upper tree: it binds the volume's place and how many entries it has.
func volumeRecord(place int, leaves uint64, root [32]byte) []byte {
	b := append(make([]byte, 0, 1+4+8+32), 'V')
	b = binary.BigEndian.AppendUint32(b, uint32(place))
	b = binary.BigEndian.AppendUint64(b, leaves)
	return append(b, root[:]...)
}
