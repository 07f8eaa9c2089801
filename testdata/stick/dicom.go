package stick

import (
	"fmt"
	"math"
	"strings"
)

// The identifiers of DICOM that the study needs. https://dicom.nema.org/medical/dicom/current/output/chtml/part06/chapter_A.html
const (
	uidExplicit = "1.2.840.10008.1.2.1"
	uidCT       = "1.2.840.10008.5.1.4.1.1.2"
	uidDicomdir = "1.2.840.10008.1.3.10"
	uidRoot     = "1.2.826.0.1.3680043.9.9999" // test use only
)

// dataset is DICOM in explicit VR, little endian. https://dicom.nema.org/medical/dicom/current/output/chtml/part05/PS3.5.html
type dataset []byte

func (d *dataset) head(group, element uint16, vr string, length int) {
	*d = le.AppendUint16(le.AppendUint16(*d, group), element)
	*d = append(*d, vr...)
	switch vr {
	case "OB", "OW", "SQ", "UN":
		*d = le.AppendUint32(append(*d, 0, 0), uint32(length))
	default:
		*d = le.AppendUint16(*d, uint16(length))
	}
}

func (d *dataset) text(group, element uint16, vr, value string) {
	if len(value)%2 == 1 {
		if vr == "UI" {
			value += "\x00"
		} else {
			value += " "
		}
	}
	d.head(group, element, vr, len(value))
	*d = append(*d, value...)
}

func (d *dataset) short(group, element uint16, values ...uint16) {
	d.head(group, element, "US", 2*len(values))
	for _, v := range values {
		*d = le.AppendUint16(*d, v)
	}
}

func (d *dataset) long(group, element uint16, value uint32) {
	d.head(group, element, "UL", 4)
	*d = le.AppendUint32(*d, value)
}

func (d *dataset) bytes(group, element uint16, vr string, value []byte) {
	d.head(group, element, vr, len(value))
	*d = append(*d, value...)
}

// dicomFile puts the preamble and the file's own header before a dataset.
func dicomFile(class, instance string, body dataset) []byte {
	var meta dataset
	meta.bytes(2, 1, "OB", []byte{0, 1})
	meta.text(2, 2, "UI", class)
	meta.text(2, 3, "UI", instance)
	meta.text(2, 0x10, "UI", uidExplicit)
	meta.text(2, 0x12, "UI", uidRoot+".1")
	meta.text(2, 0x13, "SH", "PRATIQUE_TEST")
	file := dataset(append(make([]byte, 128), "DICM"...))
	file.long(2, 0, uint32(len(meta)))
	return append(append(file, meta...), body...)
}

// Study is a CT study of one patient who does not exist.
type Study struct {
	Patient string // as DICOM writes names: FAMILY^GIVEN
	ID      string
	Slices  int // up to 99
	Side    int // pixels
	Number  int // keeps the identifiers of several studies apart
}

func (s Study) uid(level string) string { return fmt.Sprintf("%s.%d.%s", uidRoot, s.Number+10, level) }

// slice is one image of the study, as a file.
func (s Study) slice(n int) []byte {
	var d dataset
	d.text(8, 5, "CS", "ISO_IR 100")
	d.text(8, 8, "CS", `ORIGINAL\PRIMARY\AXIAL`)
	d.text(8, 0x16, "UI", uidCT)
	d.text(8, 0x18, "UI", s.uid(fmt.Sprint("1.1.", n)))
	d.text(8, 0x20, "DA", "20240102")
	d.text(8, 0x30, "TM", "030406")
	d.text(8, 0x50, "SH", "")
	d.text(8, 0x60, "CS", "CT")
	d.text(8, 0x70, "LO", "Pratique test data")
	d.text(8, 0x90, "PN", "")
	d.text(0x10, 0x10, "PN", s.Patient)
	d.text(0x10, 0x20, "LO", s.ID)
	d.text(0x10, 0x30, "DA", "")
	d.text(0x10, 0x40, "CS", "O")
	d.text(0x18, 0x50, "DS", "5")
	d.text(0x18, 0x60, "DS", "120")
	d.text(0x20, 0xD, "UI", s.uid("1"))
	d.text(0x20, 0xE, "UI", s.uid("1.1"))
	d.text(0x20, 0x10, "SH", fmt.Sprint(s.Number))
	d.text(0x20, 0x11, "IS", "1")
	d.text(0x20, 0x13, "IS", fmt.Sprint(n))
	d.text(0x20, 0x32, "DS", fmt.Sprintf(`-125\-125\%d`, 5*n))
	d.text(0x20, 0x37, "DS", `1\0\0\0\1\0`)
	d.text(0x20, 0x52, "UI", s.uid("2"))
	d.short(0x28, 2, 1)
	d.text(0x28, 4, "CS", "MONOCHROME2")
	d.short(0x28, 0x10, uint16(s.Side))
	d.short(0x28, 0x11, uint16(s.Side))
	d.text(0x28, 0x30, "DS", `0.5\0.5`)
	d.short(0x28, 0x100, 16)
	d.short(0x28, 0x101, 12)
	d.short(0x28, 0x102, 11)
	d.short(0x28, 0x103, 0)
	d.text(0x28, 0x1052, "DS", "-1024")
	d.text(0x28, 0x1053, "DS", "1")
	pixels := make([]byte, 0, 2*s.Side*s.Side)
	half := float64(s.Side) / 2
	for y := range s.Side {
		for x := range s.Side {
			// A round body with a ring of bone and a spine, and a little of a scanner's noise.
			r := math.Hypot(float64(x)-half, (float64(y)-half)*1.2) / half
			v := uint16(24)
			switch {
			case math.Hypot(float64(x)-half, float64(y)-half*1.6) < half/(8+float64(n%3)):
				v = 1900
			case r < 0.78:
				v = 1060
			case r < 0.85:
				v = 1800
			}
			pixels = le.AppendUint16(pixels, v+uint16((x*7919+y*104729+n*1299709)%17))
		}
	}
	d.bytes(0x7FE0, 0x10, "OW", pixels)
	return dicomFile(uidCT, s.uid(fmt.Sprint("1.1.", n)), d)
}

// DICOM is a file-set of the studies as a DICOM exchange medium has it: DICOMDIR, and names of at most eight capitals.
func DICOM(studies []Study) []File {
	dir := File{Path: "DICOMDIR"}
	var files []File
	var patients []*record
	for p, s := range studies {
		series := &record{kind: "SERIES"}
		series.keys.text(8, 0x60, "CS", "CT")
		series.keys.text(0x20, 0xE, "UI", s.uid("1.1"))
		series.keys.text(0x20, 0x11, "IS", "1")
		for n := 1; n <= s.Slices; n++ {
			path := fmt.Sprintf("DICOM/PAT%05d/STUDY001/IM%06d", p+1, n)
			files = append(files, File{Path: path, Data: s.slice(n)})
			image := &record{kind: "IMAGE", file: strings.ReplaceAll(path, "/", `\`), instance: s.uid(fmt.Sprint("1.1.", n))}
			image.keys.text(0x20, 0x13, "IS", fmt.Sprint(n))
			series.below = append(series.below, image)
		}
		study := &record{kind: "STUDY", below: []*record{series}}
		study.keys.text(8, 0x20, "DA", "20240102")
		study.keys.text(8, 0x30, "TM", "030406")
		study.keys.text(8, 0x50, "SH", "")
		study.keys.text(8, 0x1030, "LO", "Synthetic CT")
		study.keys.text(0x20, 0xD, "UI", s.uid("1"))
		study.keys.text(0x20, 0x10, "SH", fmt.Sprint(s.Number))
		patient := &record{kind: "PATIENT", below: []*record{study}}
		patient.keys.text(0x10, 0x10, "PN", s.Patient)
		patient.keys.text(0x10, 0x20, "LO", s.ID)
		patients = append(patients, patient)
	}
	dir.Data = dicomdir(patients)
	return append([]File{dir}, files...)
}

// record is one directory record of a DICOMDIR. https://dicom.nema.org/medical/dicom/current/output/chtml/part03/chapter_F.html
type record struct {
	kind           string
	keys           dataset
	file, instance string // of an IMAGE
	below          []*record
	at             uint32 // bytes from the file's start
}

// item is the record as a sequence item; next is the record after it on its level.
func (r *record) item(next *record) dataset {
	var d dataset
	following, lower := uint32(0), uint32(0)
	if next != nil {
		following = next.at
	}
	if len(r.below) > 0 {
		lower = r.below[0].at
	}
	d.long(4, 0x1400, following)
	d.short(4, 0x1410, 0xFFFF)
	d.long(4, 0x1420, lower)
	d.text(4, 0x1430, "CS", r.kind)
	if r.file != "" {
		d.text(4, 0x1500, "CS", r.file)
		d.text(4, 0x1510, "UI", uidCT)
		d.text(4, 0x1511, "UI", r.instance)
		d.text(4, 0x1512, "UI", uidExplicit)
	}
	d = append(d, r.keys...)
	head := le.AppendUint32([]byte{0xFE, 0xFF, 0x00, 0xE0}, uint32(len(d)))
	return append(head, d...)
}

// dicomdir makes the directory twice: the first time to learn where each record lies, the second with those places.
func dicomdir(patients []*record) []byte {
	var file []byte
	for range 2 {
		var items dataset
		base := 0
		var walk func(level []*record)
		walk = func(level []*record) {
			for i, r := range level {
				var next *record
				if i+1 < len(level) {
					next = level[i+1]
				}
				r.at = uint32(base + len(items))
				items = append(items, r.item(next)...)
				walk(r.below)
			}
		}
		front := func() dataset {
			var d dataset
			d.text(4, 0x1130, "CS", "PRATIQUE")
			d.long(4, 0x1200, patients[0].at)
			d.long(4, 0x1202, patients[len(patients)-1].at)
			d.short(4, 0x1212, 0)
			d.head(4, 0x1220, "SQ", len(items))
			return d
		}
		base = len(dicomFile(uidDicomdir, uidRoot+".9", front()))
		walk(patients)
		file = dicomFile(uidDicomdir, uidRoot+".9", append(front(), items...))
	}
	return file
}
