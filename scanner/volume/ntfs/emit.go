package ntfs

import (
	"bytes"
	"fmt"
	"strings"

	"pratique/scanner/report"
	"pratique/scanner/volume"
)

// systemNames are the names of the first records. Another name there would be a file that no system shows.
var systemNames = [...]string{"$MFT", "$MFTMirr", "$LogFile", "$Volume", "$AttrDef", ".", "$Bitmap", "$Boot", "$BadClus", "$Secure",
	"$UpCase", "$Extend"}

// emitter hands out one file under all its names.
type emitter struct {
	w       *walker
	f       *file
	problem problem
}

// root hands out the streams of the root directory, which is itself no entry.
func (e *emitter) root(links []link) error {
	e.confirm(links)
	if e.problem.rule != "" {
		e.w.Wrong(report.Malformed, "The root directory is a link or the like.")
	}
	if err := e.beside("root directory"); err != nil {
		return err
	}
	return e.streams("")
}

// system hands out what one of the volume's own files has on the medium, as areas.
func (e *emitter) system(links []link) error {
	known := ""
	if e.f.number < int64(len(systemNames)) {
		known = systemNames[e.f.number]
	}
	e.confirm(links)
	if known == "$Secure" && len(links) == 1 && links[0].name == "$Quota" {
		known = "$Quota" // before version 3
	}
	own := len(links) == 1 && links[0].name == known && links[0].parent.number() == recordRoot
	if !own && (known != "" || len(links) > 0) {
		e.w.Wrong(report.Malformed, "A record that is kept for the volume itself holds something else.")
	}
	if known == "" {
		known = fmt.Sprintf("record %d", e.f.number)
	}
	return e.hidden(known)
}

// confirm notes which names of the indexes are true, aliases too, and returns what else is known of each name.
func (e *emitter) confirm(links []link) (listed []bool, twice []bool) {
	n := &e.w.names
	for _, l := range links {
		key := nameKey(e.f.number, l.parent.number(), l.name)
		listed, twice = append(listed, n.confirm(key)), append(twice, n.twice[key])
	}
	return listed, twice
}

// links hands out a file or directory under each of its names.
func (e *emitter) links(links []link) error {
	listed, twice := e.confirm(links)
	areas := fmt.Sprintf("record %d", e.f.number) // by what name its areas go
	behind, done := "", false
	for i, l := range links {
		if l.alias {
			continue
		}
		p := e.w.place(l.parent)
		name, sound := volume.Component(l.name)
		path := join(p.path, name)
		var err error
		switch {
		case p.state == hidden:
			behind = path
			continue // another name of it may be one that people see
		case p.state == lost:
			err = e.orphan(name, finding("orphan", report.Warn, -1,
				"No directory leads to this file. It was read all the same."))
		case !listed[i]:
			err = e.orphan(name, finding("not-indexed", report.Warn, -1,
				"Its directory does not name this file, so that nobody sees it. It was read all the same."))
		default:
			findings := volume.NameFindings(l.name)
			if twice[i] {
				findings = append(findings, volume.SameName)
			}
			err = e.visible(path, sound, findings)
			if !done {
				areas = path
			}
		}
		if err != nil {
			return err
		}
		done = true
	}
	if !done && behind != "" {
		return e.hidden(shorten(behind))
	}
	if !done {
		why := finding("orphan", report.Warn, -1, "The file has no name, so that nobody sees it. It was read all the same.")
		if err := e.orphan("nameless", why); err != nil {
			return err
		}
	}
	return e.beside(areas)
}

// visible hands out one name of a file or directory, with its streams.
func (e *emitter) visible(path string, sound bool, findings []report.Finding) error {
	var outcome report.Outcome
	if e.f.err != nil {
		outcome = volume.OutcomeOf(e.f.err)
	}
	if short := shorten(path); !sound || short != path {
		path = short
		outcome = report.Malformed
		e.w.Wrong(report.Malformed, "A path is too long, or a name cannot be part of one.")
	}
	if e.problem.rule != "" {
		findings = append(findings, finding(e.problem.rule, report.Warn, -1, e.problem.text))
	}
	entry := volume.Entry{Path: path, Kind: report.File, Outcome: outcome, Findings: findings, Hidden: e.f.hidden()}
	if e.f.dir {
		entry.Kind = report.Directory
		d := e.w.folders.find(e.f.number)
		if d != nil && outcome == report.Unscanned {
			outcome = d.outcome
		}
		entry.Outcome, entry.Empty = outcome, d != nil && d.empty
		if outcome == report.Unscanned && d != nil && !e.problem.opaque {
			entry.Outcome = report.Clean
		}
	} else {
		if s := e.f.stream(typeData, ""); s != nil {
			e.fill(&entry, s)
		}
		entry.Opaque = entry.Opaque || e.problem.opaque
	}
	if err := e.w.hand(entry); err != nil {
		return err
	}
	return e.streams(path)
}

// streams hands out the named streams of a file.
func (e *emitter) streams(path string) error {
	var siblings volume.Siblings
	for i := range e.f.streams {
		s := &e.f.streams[i]
		if s.kind != typeData || s.name == "" {
			continue
		}
		name, sound := volume.Component(s.name)
		entry := volume.Entry{Path: path + ":" + name, Kind: report.Stream, Findings: volume.NameFindings(name)}
		if siblings.Add(name) {
			entry.Findings = append(entry.Findings, volume.SameName)
		}
		e.fill(&entry, s)
		if !sound {
			entry.Outcome = report.Malformed
			e.w.Wrong(report.Malformed, "A stream has a name that cannot be part of a path.")
		}
		if err := e.w.hand(entry); err != nil {
			return err
		}
	}
	return nil
}

// orphan hands out as areas what nobody can open: it is no file of a mounted volume.
func (e *emitter) orphan(name string, why report.Finding) error {
	path := fmt.Sprintf("$Orphan/record %d/%s", e.f.number, name)
	any := false
	for i := range e.f.streams {
		s := &e.f.streams[i]
		if s.kind != typeData {
			continue
		}
		entry := volume.Entry{Path: path, Kind: report.Area, Findings: []report.Finding{why}}
		if s.name != "" {
			stream, _ := volume.Component(s.name)
			entry.Path += ":" + stream
		}
		e.fill(&entry, s)
		entry.Opaque = entry.Opaque || e.problem.opaque && s.name == ""
		if err := e.w.hand(entry); err != nil {
			return err
		}
		any = true
	}
	if any {
		return nil
	}
	return e.w.hand(volume.Entry{Path: path, Kind: report.Area, Findings: []report.Finding{why}, Opaque: e.problem.opaque})
}

// fill says of an entry where the content of a stream lies.
func (e *emitter) fill(entry *volume.Entry, s *stream) {
	entry.Size, entry.Valid = s.size, min(s.valid, s.size)
	fail := func(o report.Outcome, rule, text string) {
		if entry.Outcome == report.Unscanned {
			entry.Outcome = o
		}
		entry.Findings = append(entry.Findings, finding(rule, report.Warn, -1, text))
	}
	if s.err != nil {
		entry.Extents = s.extents
		fail(volume.OutcomeOf(s.err), "content-damaged", "Where the content lies cannot be followed: "+s.err.Error())
		return
	}
	if s.flags&flagEncrypted != 0 {
		entry.Extents = s.extents
		e.w.Wrong(report.Encrypted, "A file is encrypted (EFS).")
		fail(report.Encrypted, "encrypted", "The content is encrypted (EFS).")
		return
	}
	if s.resident {
		if entry.Size > 0 {
			entry.Inline = bytes.Clone(s.value) // the record's memory is used again
		}
		return
	}
	entry.Extents = s.extents
	switch {
	case s.flags&maskCompressed == 0, s.size == 0:
	case s.flags&maskCompressed != flagCompressed, s.unit == 0, s.unit > maxUnit:
		entry.Opaque = true
		e.w.Wrong(report.Malformed, "A file is compressed in a way that is not known.")
		fail(report.Malformed, "compression-unknown", "The content is compressed in a way that is not known.")
	default:
		entry.Decode = s.decoder()
	}
}

// hand hands out one entry, within the limits on how many there are and how much they hold.
func (w *walker) hand(entry volume.Entry) error {
	if w.entries++; w.entries > maxEntries {
		w.Wrong(report.TooLarge, "The volume has more entries than this program follows.")
		return errHalt
	}
	if len(entry.Findings) > report.MaxPerItem {
		entry.Findings = entry.Findings[:report.MaxPerItem]
	}
	if w.content > contentFactor*w.fs.src.Size()+spareContent-min(entry.Size, 1<<61) {
		w.Wrong(report.TooLarge, "The files of the volume hold much more than it has room for.")
		if entry.Outcome == report.Unscanned {
			entry.Outcome = report.TooLarge
		}
	} else {
		w.content += entry.Size
	}
	return w.emit(entry)
}

// roomBehind is kept in a path for a stream's name and for words about it.
const roomBehind = 2 << 10

// shorten cuts a path that is too long to stand in a report.
func shorten(path string) string {
	if len(path) <= report.MaxPathBytes-roomBehind {
		return path
	}
	// What is cut in half becomes a mark of three bytes at most, and there is room for that.
	return strings.ToValidUTF8(path[:report.MaxPathBytes/3], "\uFFFD")
}
