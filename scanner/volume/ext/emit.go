package ext

import (
	"slices"
	"strings"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// item is a name on its way out.
type item struct {
	path     string
	orphan   bool // nobody can open it: an area, and no file of a mounted volume
	findings []report.Finding
	faults   []string // ends of sentences
	outcome  report.Outcome
}

// roomBehind is kept in a path for the name of an attribute.
const roomBehind = 1 << 10

// lost hands out a name that leads nowhere.
func (w *walker) lost(it *item, o report.Outcome) error {
	halt := w.judge(it, o)
	if err := w.hand(w.entry(it)); err != nil {
		return err
	}
	return halt
}

func (w *walker) entry(it *item) volume.Entry {
	e := volume.Entry{Path: it.path, Kind: report.File, Outcome: it.outcome, Findings: it.findings}
	if it.orphan {
		e.Kind = report.Area
	}
	return e
}

// file hands out one name of a file, with its extended attributes.
func (w *walker) file(it *item, in *inode) error {
	first := w.seen.Add(in.number, 1)
	w.count(in, first)
	attributes, blocks, err := w.attributes(in)
	if err != nil {
		it.faults = append(it.faults, strings.TrimSuffix(sentence(err), "."))
	}
	halt := w.judge(it, outcomeOr(err, report.Malformed))
	e := w.entry(it)
	switch in.kind() {
	case typeFile, typeLink:
		if in.kind() == typeLink {
			e.Findings = append(e.Findings, finding("symbolic-link", report.Inform, "The entry is a link to another place. It was not followed."))
		}
		if err := w.fill(&e, in, attributes, blocks, first); err != nil {
			return err
		}
	case typeChar, typeBlock, typeFIFO, typeSocket:
		e.Findings = append(e.Findings, finding("special-file", report.Warn,
			"The entry is no file, but a door to a device or a program of the computer that it is opened on."))
	}
	if err := w.hand(e); err != nil {
		return err
	}
	if err := w.streams(it, attributes); err != nil {
		return err
	}
	return halt
}

func outcomeOr(err error, o report.Outcome) report.Outcome {
	if err != nil {
		return volume.OutcomeOf(err)
	}
	return o
}

// count compares the names of a file with how many it says it has.
func (w *walker) count(in *inode, first bool) {
	left, known := w.linked[uint32(in.number)]
	switch g := &w.fs.geo; {
	case in.number == g.journalInode, in.number == g.quotaInode, in.number == g.orphanInode:
		// It was handed out before as what it is. tune2fs makes a journal that is a file, too.
	case first && in.links > 1:
		if len(w.linked) >= maxLinked {
			w.Note("many-links", report.Inform, -1, "The volume has so many files with more than one name that not all were counted.")
			return
		}
		w.linked[uint32(in.number)] = in.links - 1
	case !first && known && left > 0:
		w.linked[uint32(in.number)] = left - 1
	case !first && (known || in.links <= 1):
		w.differ()
	}
}

func (w *walker) differ() {
	w.Note("link-count", report.Warn, -1, "A file has more or fewer names than it says.")
}

// fill says of an entry where its content lies, or what it is.
func (w *walker) fill(e *volume.Entry, in *inode, attributes []attribute, blocks int64, first bool) error {
	e.Size, e.Valid = in.size, in.size
	fail := func(o report.Outcome, rule, text string) {
		if e.Outcome == report.Unscanned {
			e.Outcome = o
		}
		w.Wrong(o, "The content of a file cannot be read in full.")
		e.Findings = append(e.Findings, finding(rule, report.Warn, text))
	}
	if in.has(flagEncrypted) {
		w.Wrong(report.Encrypted, "A file is encrypted (fscrypt).")
		fail(report.Encrypted, "encrypted", "The content is encrypted (fscrypt).")
	}
	switch fast := in.kind() == typeLink && in.size < inlineBytes && !in.has(flagExtents|flagInline); {
	case in.has(flagInline) && in.has(flagExtents):
		fail(report.Malformed, "content-damaged", "The content is said to lie in two places.")
		return nil
	case fast, in.has(flagInline):
		data := in.body()
		for i := range attributes {
			if a := &attributes[i]; a.inline() && !fast {
				data = append(data[:inlineBytes:inlineBytes], a.value...)
			}
		}
		switch {
		case in.size > int64(len(data)):
			e.Valid = 0
			fail(report.Malformed, "content-damaged", "The file is longer than what its inode holds.")
		case in.size > maxInline:
			e.Valid = 0
			fail(report.TooLarge, "content-large", "The inode holds more than this program reads.")
		case in.size > 0:
			e.Inline = data[:in.size]
		}
		w.checkSectors(in, 0, charged(attributes, blocks))
		return nil
	}
	c := w.content(in, first)
	if c.err == nil {
		w.checkSectors(in, c.blocks, charged(attributes, blocks))
	}
	if err := w.locate(e, in, &c); err != nil {
		return err
	}
	if c.err != nil {
		fail(volume.OutcomeOf(c.err), "content-damaged", "Where the content lies cannot be followed: "+sentence(c.err))
	}
	return nil
}

// locate takes over where content lies, and what belongs to a file and is no content. What was written behind the end of one
// is damage, but for the hashes that fs-verity keeps there.
func (w *walker) locate(e *volume.Entry, in *inode, c *content) error {
	block := w.fs.geo.block()
	behind := c.cut((in.size + block - 1) &^ (block - 1))
	if len(behind) > 0 && !(in.has(flagVerity) && w.fs.geo.ro&roVerity != 0) && c.err == nil {
		c.err = volume.Malformed("it goes on behind its end.")
	}
	for _, x := range behind {
		if err := w.odd.Add(x.Start, x.Bytes); err != nil {
			return err
		}
	}
	e.Size, e.Valid, e.Extents = in.size, min(in.size, c.stored), c.extents
	if !w.deep {
		return nil
	}
	if k := len(c.extents) - 1; k >= 0 && c.extents[k].Start >= 0 && c.bytes > in.size {
		x := c.extents[k]
		over := c.bytes - in.size
		if err := w.slack.Add(x.Start+x.Bytes-over, over); err != nil {
			return err
		}
	}
	for _, x := range c.kept {
		if err := w.slack.Add(x.Start, x.Bytes); err != nil {
			return err
		}
	}
	return w.maps(c.maps)
}

// charged is how many blocks a file has for its extended attributes, or -1 if that is not known: what lies in inodes of its
// own counts in the file's blocks, and may be shared.
func charged(attributes []attribute, blocks int64) int64 {
	if slices.ContainsFunc(attributes, func(a attribute) bool { return a.inode != 0 }) {
		return -1
	}
	return blocks
}

// checkSectors compares the blocks that were found, and those for attributes, with how many an inode says it has. A block
// that was cut out of its map shows here and nowhere else. Clusters are counted in ways of their own.
func (w *walker) checkSectors(in *inode, blocks, beside int64) {
	g := &w.fs.geo
	if beside >= 0 && g.cluster == 1 && in.sectors != (blocks+beside)<<(g.shift-9) {
		w.Note("block-count", report.Warn, -1, "A file has more or fewer blocks than it says.")
	}
}

// structure notes, for a deep walk, blocks that this package read and understood.
func (w *walker) structure(start, bytes int64) error {
	if !w.deep {
		return nil
	}
	return w.shape.Add(start, bytes)
}

// hand hands out one entry, within the limits on how much they hold.
func (w *walker) hand(e volume.Entry) error {
	if len(e.Findings) > report.MaxPerItem {
		e.Findings = e.Findings[:report.MaxPerItem]
	}
	if w.held > contentFactor*w.fs.src.Size()+spareContent-min(e.Size, 1<<61) {
		w.Wrong(report.TooLarge, "The files of the volume hold much more than it has room for.")
		if e.Outcome == report.Unscanned {
			e.Outcome = report.TooLarge
		}
	} else {
		w.held += e.Size
	}
	return w.emit(e)
}
