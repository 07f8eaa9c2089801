package container

import (
	"io"
)

// DICOM objects that carry a document: the value of Encapsulated Document (0042,0011), PDF, CDA or a model (PS3.3 A.45,
// https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_A.45.html). The elements before it are passed over by
// their lengths, so that the many images of a study cost a few reads each. Behind the header of group 2, elements have their
// kind in letters or not, as the first of them shows, whatever the header says.
const (
	// maxElements bounds the elements that are passed over; an object with a document has some hundred.
	maxElements = 4096
	documentTag = 0x0042_0011
)

// dicomElement is one element.
type dicomElement struct {
	tag      uint32
	at, size int64 // of its value; -1 if its end is marked
}

// dicomNext reads the element at a place.
func dicomNext(c *Content, at int64, explicit bool) (e dicomElement, ok bool) {
	h := c.piece(at, 8)
	if h == nil {
		return e, false
	}
	e.tag = uint32(le.Uint16(h))<<16 | uint32(le.Uint16(h[2:]))
	e.at, e.size = at+8, int64(le.Uint32(h[4:]))
	if explicit && e.tag>>16 != 0xFFFE {
		switch kind := string(h[4:6]); kind {
		case "OB", "OW", "OF", "OD", "OL", "OV", "SQ", "UC", "UR", "UT", "UN", "SV", "UV":
			long := c.piece(at+8, 4)
			if long == nil {
				return e, false
			}
			e.at, e.size = at+12, int64(le.Uint32(long))
		default:
			e.size = int64(le.Uint16(h[6:]))
		}
	}
	if e.size == 0xFFFFFFFF {
		e.size = -1
	}
	return e, true
}

// dicomDocument finds the document.
func dicomDocument(c *Content) (e dicomElement, ok bool) {
	at := int64(132)
	if !c.has(128, "DICM") {
		return e, false
	}
	explicit, data := true, false
	depth := 0
	for range maxElements {
		if !data {
			if h := c.piece(at, 6); h == nil {
				return e, false
			} else if le.Uint16(h) != 2 {
				data = true
				explicit = h[4] >= 'A' && h[4] <= 'Z' && h[5] >= 'A' && h[5] <= 'Z'
			}
		}
		if e, ok = dicomNext(c, at, explicit); !ok {
			return e, false
		}
		switch {
		case depth == 0 && e.tag == documentTag && e.size > 0:
			return e, true
		case depth == 0 && e.tag > documentTag && e.tag>>16 != 0xFFFE:
			return e, false
		case e.tag == 0xFFFEE0DD || e.tag == 0xFFFEE00D: // the end of a sequence or of an item in it
			depth = max(0, depth-1)
			at = e.at
		case e.size < 0:
			depth++
			at = e.at
		default:
			at = e.at + e.size
		}
	}
	return e, false
}

func isDICOM(c *Content) bool {
	_, ok := dicomDocument(c)
	return ok
}

func openDICOM(c *Content, l *layer) error {
	e, ok := dicomDocument(c)
	if !ok {
		return errNot
	}
	if e.size > c.Size-e.at {
		l.damaged()
	}
	body := c.section(e.at, e.size)
	return l.member(Member{Name: "encapsulated document", Size: -1, At: body, Open: func() (io.Reader, error) { return io.NewSectionReader(body, 0, body.Size()), nil }})
}
