package ext

import (
	"encoding/base64"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// shortest is the least that an entry of a directory takes: its inode, its length, its kind and one letter.
const shortest = 12

// recordBytes is the length of an entry. In blocks of 64 KiB the two lowest bits hold what would not fit.
func recordBytes(b []byte, block int) int {
	n := int(le.Uint16(b[4:]))
	if block < 1<<16 {
		return n
	}
	if n == 0 || n == 1<<16-1 {
		return block
	}
	return n&^3 | n&3<<16
}

// kinds are the types of file that an entry may state; 0 says nothing.
var kinds = [...]uint16{1: typeFile, 2: typeFolder, 3: typeChar, 4: typeBlock, 5: typeFIFO, 6: typeSocket, 7: typeLink}

// folder walks one directory and then hands it out.
func (w *walker) folder(d *folder) error {
	in, err := w.fs.inode(d.number)
	if err != nil {
		return w.unfollowed(d, err)
	}
	d.encrypted = in.has(flagEncrypted)
	attributes, blocks, err := w.attributes(in)
	if err != nil {
		w.blame(d, err)
	}
	if in.has(flagInline) {
		err = w.inlineFolder(d, in, attributes)
	} else {
		err = w.blocksOf(d, in, charged(attributes, blocks))
	}
	if err != nil && err != errHalt {
		return err
	}
	if err == errHalt {
		d.worse(report.Malformed)
	}
	if halted := w.leave(d, attributes); halted != nil {
		return halted
	}
	return err
}

// leave hands out a directory that was walked.
func (w *walker) leave(d *folder, attributes []attribute) error {
	it := item{path: d.path, orphan: d.orphan}
	if d.path == "" {
		it.path = "root directory"
		return w.streams(&item{path: it.path, orphan: true}, attributes)
	}
	if d.outcome == report.Unscanned {
		d.outcome = report.Clean
	}
	e := volume.Entry{Path: d.path, Kind: report.Directory, Outcome: d.outcome, Findings: d.findings, Empty: d.children == 0}
	if d.encrypted {
		e.Findings = append(e.Findings, finding("encrypted", report.Warn, "The names in this directory are encrypted (fscrypt)."))
		e.Outcome = report.Encrypted
		w.Wrong(report.Encrypted, "A directory is encrypted (fscrypt).")
	}
	if d.orphan {
		e.Kind = report.Area
	}
	if err := w.hand(e); err != nil {
		return err
	}
	return w.streams(&it, attributes)
}

// unfollowed hands out a directory whose content cannot be found.
func (w *walker) unfollowed(d *folder, err error) error {
	w.blame(d, err)
	return w.leave(d, nil)
}

// blame says that an error bars a directory, and with it the volume.
func (w *walker) blame(d *folder, err error) {
	d.worse(volume.OutcomeOf(err))
	w.Wrong(volume.OutcomeOf(err), "A directory cannot be followed: "+sentence(err))
}

// worse sets the outcome unless there is one already.
func (d *folder) worse(o report.Outcome) {
	if d.outcome == report.Unscanned {
		d.outcome = o
	}
}

// inlineFolder reads a directory that lies in its inode: behind the number of its parent, and in an attribute.
func (w *walker) inlineFolder(d *folder, in *inode, attributes []attribute) error {
	body := in.body()
	w.above(d, int64(le.Uint32(body)))
	if err := w.records(d, body[4:], false); err != nil {
		return err
	}
	for i := range attributes {
		if a := &attributes[i]; a.inline() && a.inode == 0 && len(a.value) > 0 {
			return w.records(d, a.value, false)
		}
	}
	return nil
}

// blocksOf reads all blocks of a directory, those behind its end too: where its length and its blocks do not agree, systems
// differ in what they list.
func (w *walker) blocksOf(d *folder, in *inode, beside int64) error {
	g := &w.fs.geo
	c := w.content(in, true)
	if c.err != nil {
		w.blame(d, c.err)
	}
	var written int64
	for _, x := range c.extents {
		if x.Start >= 0 {
			written += x.Bytes
		}
	}
	if c.err == nil && (c.bytes != in.size || written != in.size || in.size == 0) {
		w.blame(d, volume.Malformed("its blocks and its length do not agree."))
	}
	if written > maxDir {
		w.blame(d, &volume.Fault{Outcome: report.TooLarge, Text: "it is larger than this program follows."})
	}
	w.checkSectors(in, c.blocks, beside)
	for _, list := range [][]volume.Extent{c.maps, c.kept, c.extents} {
		for _, x := range list {
			if x.Start >= 0 {
				if err := w.structure(x.Start, x.Bytes); err != nil {
					return err
				}
			}
		}
	}
	b, first, left := make([]byte, g.block()), true, int64(maxDir)
	for _, x := range c.extents {
		for at := int64(0); x.Start >= 0 && at < x.Bytes && left > 0; at, left = at+g.block(), left-g.block() {
			if w.ctx.Err() != nil {
				return w.ended()
			}
			if err := w.fs.readFull(b, x.Start+at); err != nil {
				w.blame(d, err)
				continue
			}
			if !g.directorySealed(in.seed, b) {
				w.blame(d, volume.Malformed("a checksum in it is wrong."))
			}
			if err := w.records(d, b, first); err != nil {
				return err
			}
			first = false
		}
	}
	return nil
}

// records reads the entries of one block. What stands behind an entry that cannot be is not followed: its files are found as
// ones without a name.
func (w *walker) records(d *folder, b []byte, dots bool) error {
	for at, n := 0, 0; at < len(b); n++ {
		r := b[at:]
		if len(r) < shortest {
			return w.torn(d)
		}
		length, name := recordBytes(r, len(b)), int(r[6])
		number := int64(le.Uint32(r))
		if length < shortest || length%4 != 0 || length > len(r) || number != 0 && 8+name > length {
			return w.torn(d)
		}
		at += length
		if dots && n < 2 {
			if number != 0 && string(r[8:8+name]) == ".."[:n+1] {
				w.dot(d, n, number)
				continue
			}
			if err := w.torn(d); err != nil {
				return err
			}
		}
		if number == 0 {
			continue
		}
		if err := w.name(d, number, r[7], r[8:8+name]); err != nil {
			return err
		}
	}
	return nil
}

// torn counts places where a directory contradicts itself, and gives up a volume with too many.
func (w *walker) torn(d *folder) error {
	w.blame(d, volume.Malformed("its entries contradict themselves."))
	return w.damaged()
}

// dot takes the first or second entry of a directory: itself, and the one in which it lies.
func (w *walker) dot(d *folder, n int, number int64) {
	switch {
	case n == 1:
		w.above(d, number)
	case number != d.number:
		w.blame(d, volume.Malformed("it says that it is another one."))
	}
}

// above compares what a directory says lies above it with where it was found.
func (w *walker) above(d *folder, number int64) {
	if d.parent != 0 && number != d.parent {
		w.Note("parent-differs", report.Warn, -1, "A directory says that it lies in another one.")
	}
}

// encryptedName stands for a name that nobody can read, as Linux shows one: its bytes may be any.
func encryptedName(b []byte) string { return "_" + base64.RawURLEncoding.EncodeToString(b) }
