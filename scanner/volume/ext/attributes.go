package ext

import (
	"crypto/sha256"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// Extended attributes lie behind the fields of an inode and in one block beside it; a large value has an inode of its own.
const (
	attributeMagic  = 0xEA020000
	attributeHeader = 32 // bytes of such a block before its first entry
	attributeEntry  = 16 // bytes before the name
)

// prefixes of the names, by the number that is stored for them.
var prefixes = map[byte]string{1: "user.", 2: "system.posix_acl_access", 3: "system.posix_acl_default", 4: "trusted.", 6: "security.",
	7: "system.", 8: "system.richacl", 9: "encryption.", 10: "gnu."}

const (
	prefixUser    = 1
	prefixTrusted = 4
	prefixSystem  = 7
)

// attribute is one extended attribute.
type attribute struct {
	prefix byte
	name   string // with its prefix, as stored
	value  []byte // if it lies with its name
	inode  int64  // else where it lies
	size   int64
}

// inline reports whether this is the rest of content that an inode holds itself, and no attribute.
func (a *attribute) inline() bool { return a.prefix == prefixSystem && a.name == "system.data" }

// own reports whether programs of the system alone write it.
func (a *attribute) own() bool { return a.prefix != prefixUser && a.prefix != prefixTrusted }

var errAttributes = volume.Malformed("its extended attributes contradict themselves.")

// attributes reads those of an inode. The block is taken into possession, which several inodes may share. It returns what it
// found even with an error.
func (w *walker) attributes(in *inode) (list []attribute, blocks int64, err error) {
	if len(in.raw) > oldInode {
		at := oldInode + int(le.Uint16(in.raw[oldInode:]))
		if at > len(in.raw) || at%4 != 0 {
			return nil, 0, errAttributes
		}
		switch b := in.raw[at:]; {
		case len(b) >= 8 && le.Uint32(b) == attributeMagic:
			if list, err = parseAttributes(nil, b[4:], 0); err != nil {
				return list, 0, err
			}
		case !volume.Zero(b):
			return nil, 0, volume.Malformed("its inode holds bytes that are no attributes.")
		}
	}
	if in.attributes == 0 {
		return list, 0, nil
	}
	g := &w.fs.geo
	if in.attributes <= g.first || in.attributes >= g.blocks {
		return list, 0, errOutside
	}
	if w.owned.Add(in.attributes, 1) {
		w.shares.Add(in.attributes, 1)
		w.written(in.attributes, 1)
	} else if !w.shares.Has(in.attributes) {
		return list, 0, errOwned
	}
	b := make([]byte, g.block())
	if err := w.fs.readAlone(b, in.attributes); err != nil {
		return list, 0, &volume.Fault{Outcome: report.Unreadable, Text: "the medium returned an error where its extended attributes lie."}
	}
	if le.Uint32(b) != attributeMagic || le.Uint32(b[8:]) != 1 {
		return list, 1, errAttributes
	}
	if !g.attributesSealed(in.attributes, b) {
		return list, 1, volume.Malformed("the checksum of its extended attributes is wrong.")
	}
	list, err = parseAttributes(list, b, attributeHeader)
	return list, 1, err
}

// parseAttributes appends the entries of b from at on. Values are where they say, from the beginning of b.
func parseAttributes(list []attribute, b []byte, at int) ([]attribute, error) {
	for at+4 <= len(b) && le.Uint32(b[at:]) != 0 {
		if at+attributeEntry > len(b) {
			return list, errAttributes
		}
		e := b[at:]
		n, offset, size := int(e[0]), int(le.Uint16(e[2:])), int64(le.Uint32(e[8:]))
		if at+attributeEntry+n > len(b) {
			return list, errAttributes
		}
		prefix, known := prefixes[e[1]]
		if !known {
			prefix = "unknown."
		}
		a := attribute{prefix: e[1], name: prefix + string(e[attributeEntry:attributeEntry+n]), inode: int64(le.Uint32(e[4:])), size: size}
		if a.inode == 0 {
			if size > int64(len(b)) || int64(offset) > int64(len(b))-size {
				return list, errAttributes
			}
			a.value = b[offset : offset+int(size)]
		}
		if len(list) >= report.MaxPerItem*4 {
			return list, &volume.Fault{Outcome: report.TooLarge, Text: "it has more extended attributes than this program follows."}
		}
		list = append(list, a)
		at += attributeEntry + (n+3)&^3
	}
	return list, nil
}

// streams hands out the extended attributes of a file or directory.
func (w *walker) streams(it *item, list []attribute) error {
	for i := range list {
		a := &list[i]
		if a.inline() {
			continue
		}
		name, sound := volume.Component(a.name)
		e := volume.Entry{Path: it.path + ":" + name, Kind: report.Stream, Size: a.size, Valid: a.size, Findings: nameFindings(a.name)}
		if a.own() {
			e.Kind = report.Area
			if a.inode == 0 && w.common(a.value) {
				continue
			}
		}
		switch {
		case a.inode != 0:
			if err := w.large(&e, a); err != nil {
				return err
			}
		case len(a.value) > maxInline:
			e.Outcome = report.TooLarge
			w.Wrong(report.TooLarge, "A file has an extended attribute that is larger than this program reads.")
		case len(a.value) > 0:
			e.Inline = a.value
		}
		if !sound {
			e.Outcome = report.Malformed
			w.Wrong(report.Malformed, "An extended attribute has a name that cannot be part of a path.")
		}
		if it.orphan {
			e.Kind = report.Area
		}
		if err := w.hand(e); err != nil {
			return err
		}
	}
	return nil
}

// maxInline is what an entry may hold itself.
const maxInline = 4 << 10

// common reports whether a value of the system was handed out before: the label of SELinux is the same on most files.
func (w *walker) common(value []byte) bool {
	key := sha256.Sum256(value)
	if _, ok := w.values[key]; ok {
		return true
	}
	if len(w.values) < maxShared {
		w.values[key] = struct{}{}
	}
	return false
}

// large finds the content of an attribute that has an inode of its own, which files with the same value share.
func (w *walker) large(e *volume.Entry, a *attribute) error {
	fail := func(err error) {
		e.Outcome = volume.OutcomeOf(err)
		w.Wrong(e.Outcome, "An extended attribute cannot be found in full: "+sentence(err))
		e.Findings = append(e.Findings, finding("content-damaged", report.Warn, "Where the content lies cannot be followed: "+sentence(err)))
	}
	g := &w.fs.geo
	if a.inode < g.firstFile || a.inode > g.inodes {
		fail(errOutside)
		return nil
	}
	in, err := w.fs.inode(a.inode)
	switch {
	case err != nil:
		fail(err)
	case !in.sealed || !in.has(flagEA) || in.kind() != typeFile || in.has(flagInline|flagEncrypted) || in.size != a.size:
		fail(volume.Malformed("its inode is another file."))
	default:
		c := w.content(in, w.seen.Add(in.number, 1))
		if err := w.locate(e, in, &c); err != nil {
			return err
		}
		if c.err != nil {
			fail(c.err)
		}
	}
	return nil
}
