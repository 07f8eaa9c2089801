package stick

import (
	"io"
	"math/rand/v2"
)

const mega = 1 << 20

// Stick is a sample for the demonstration and the end-to-end tests.
type Stick struct {
	Name    string
	Bytes   int64
	Verdict string // what screening must say
	About   string
	Write   func(image Image) error // into an image of zeros
}

// Image is where a stick is written, and damaged.
type Image interface {
	io.ReaderAt
	io.WriterAt
}

// Sticks are the samples, in the order of the demonstration.
func Sticks() []Stick {
	return []Stick{
		{"clean", 66 * mega, "cleared", "MBR, FAT32: a CT study with its DICOMDIR, a PDF, a DOCX, names in many scripts", Clean},
		{"infected", 34 * mega, "not cleared", "GPT, exFAT: EICAR, a file on the blocklist, a file that a rule finds", Infected},
		{"hidden", 34 * mega, "not cleared", "MBR, FAT16, and a partition of a hidden type that holds EICAR", Hidden},
		{"locked", 34 * mega, "could not check", "MBR, FAT16, and a volume that BitLocker has locked", Locked},
		{"damaged", 18 * mega, "could not check", "MBR, FAT16: the chain of one file runs in a circle", Damaged},
	}
}

// Create writes the stick to a file of its own, as a sparse one.
func (s Stick) Create(path string) error {
	return create(path, s.Bytes, func(w io.WriterAt) error { return s.Write(w.(Image)) })
}

// InMemory writes the stick into memory.
func (s Stick) InMemory() (*Memory, error) {
	m := NewMemory(s.Bytes)
	if err := s.Write(m); err != nil {
		return nil, err
	}
	return m, nil
}

// CleanFiles is what the clean stick holds.
func CleanFiles() []File {
	files := DICOM([]Study{
		{Patient: "TESTPATIENT^ALPHA", ID: "TEST-0001", Slices: 8, Side: 128, Number: 1},
		{Patient: "TESTPATIENT^BETA", ID: "TEST-0002", Slices: 4, Side: 256, Number: 2},
	})
	return append(files,
		File{Path: "REPORT.PDF", Data: PDF("Synthetic report: no finding.")},
		File{Path: "Letters/Letter to the referring physician about the synthetic examination of 2 January 2024.docx",
			Data: DOCX("This letter is test data.")},
		File{Path: "Letters/Entlassungsbrief für Übungszwecke.pdf", Data: PDF("Uebungsbrief")},
		File{Path: "Names/Снимок грудной клетки, учебный пример.txt", Data: []byte("Test data.\n")},
		File{Path: "Names/検査結果のサンプル.txt", Data: []byte("Test data.\n")},
		File{Path: "Names/تقرير تجريبي.txt", Data: []byte("Test data.\n")},
		File{Path: "Names/Ακτινογραφία δοκιμής.txt", Data: []byte("Test data.\n")},
		File{Path: "Names/Ward 7 🏥 notes 🩻😀.txt", Data: []byte("Test data.\n")},
		File{Path: "Pictures/Ultrasound.png", Data: PNG(320, 240, 1)},
		File{Path: "Pictures/Dressing change.jpg", Data: JPEG(640, 480, 2)},
		File{Path: "EMPTY.TXT"},
		File{Path: "Empty folder", Dir: true},
	)
}

// Clean writes the stick that is to be cleared.
func Clean(image Image) error {
	part := Partition{Start: mega, Bytes: 64 * mega, Type: 0x0C, Active: true}
	if err := WriteMBR(image, []Partition{part}, nil); err != nil {
		return err
	}
	spec := FAT{Bits: 32, Bytes: part.Bytes, Start: part.Start, Label: "TEST STUDY"}
	_, err := WriteFAT(io.NewOffsetWriter(image, part.Start), spec, CleanFiles())
	return err
}

// Infected writes the stick on which each of the three ways of finding finds something.
func Infected(image Image) error {
	part := Partition{Start: mega, Bytes: 32 * mega, Name: "Basic data partition"}
	if err := WriteGPT(image, 34*mega, sector, []Partition{part}); err != nil {
		return err
	}
	files := DICOM([]Study{{Patient: "TESTPATIENT^GAMMA", ID: "TEST-0003", Slices: 4, Side: 64, Number: 3}})
	files = append(files,
		File{Path: "Setup/eicar.com", Data: EICAR()},
		File{Path: "Setup/blocked sample.txt", Data: BlockedSample()},
		File{Path: "Отчёты/rule sample 🧪.txt", Data: RuleSample()},
		File{Path: "Manual.pdf", Data: PDF("Synthetic manual.")},
		File{Path: "Empty folder", Dir: true},
	)
	spec := ExFAT{Bytes: part.Bytes, Start: part.Start, Label: "SERVICE"}
	_, err := WriteExFAT(io.NewOffsetWriter(image, part.Start), spec, files)
	return err
}

// Hidden writes the stick whose second partition Windows does not show.
func Hidden(image Image) error {
	shown := Partition{Start: mega, Bytes: 16 * mega, Type: 0x06}
	hidden := Partition{Start: 17 * mega, Bytes: 16 * mega, Type: 0x16}
	if err := WriteMBR(image, []Partition{shown, hidden}, nil); err != nil {
		return err
	}
	if err := plainFAT16(image, shown, File{Path: "Notes.pdf", Data: PDF("Nothing to see here.")}); err != nil {
		return err
	}
	return plainFAT16(image, hidden, File{Path: "EICAR.COM", Data: EICAR()})
}

func plainFAT16(image Image, part Partition, files ...File) error {
	_, err := WriteFAT(io.NewOffsetWriter(image, part.Start), FAT{Bits: 16, Bytes: part.Bytes, Start: part.Start}, files)
	return err
}

// Locked writes the stick whose second partition only its owner can read.
func Locked(image Image) error {
	open := Partition{Start: mega, Bytes: 16 * mega, Type: 0x06}
	locked := Partition{Start: 17 * mega, Bytes: 16 * mega, Type: 0x07}
	if err := WriteMBR(image, []Partition{open, locked}, nil); err != nil {
		return err
	}
	if err := plainFAT16(image, open, File{Path: "Read me first.pdf", Data: PDF("The other partition is locked.")}); err != nil {
		return err
	}
	return writeBitLocker(io.NewOffsetWriter(image, locked.Start), locked.Bytes)
}

// writeBitLocker writes what can be told of a locked volume without its key: the boot sector, the three copies of the
// metadata's header, and noise for the rest of the first two megabytes.
// https://github.com/libyal/libbde/blob/main/documentation/BitLocker%20Drive%20Encryption%20(BDE)%20format.asciidoc
func writeBitLocker(w io.WriterAt, size int64) error {
	noise := make([]byte, 2*mega)
	fillNoise(noise, 7)
	b := noise[:sector]
	clear(b)
	copy(b, "\xEB\x58\x90-FVE-FS-")
	le.PutUint16(b[11:], sector)
	b[13], b[21] = 8, 0xF8
	le.PutUint16(b[24:], 63)
	le.PutUint16(b[26:], 255)
	le.PutUint64(b[40:], uint64(size/sector))
	guid, err := parseGUID("4967D63B-2E29-4AD8-8399-F6A339E3D001")
	if err != nil {
		return err
	}
	copy(b[160:], guid)
	b[510], b[511] = 0x55, 0xAA
	for i := range int64(3) {
		at := (i + 1) * size / 4
		le.PutUint64(b[176+8*i:], uint64(at))
		meta := make([]byte, 112)
		copy(meta, "-FVE-FS-")
		le.PutUint16(meta[10:], 2)
		le.PutUint64(meta[16:], uint64(size))
		if _, err := w.WriteAt(meta, at); err != nil {
			return err
		}
	}
	_, err = w.WriteAt(noise, 0)
	return err
}

// fillNoise fills p with bytes that look random and are the same for the same seed.
func fillNoise(p []byte, seed uint64) {
	var key [32]byte
	le.PutUint64(key[:], seed)
	rand.NewChaCha8(key).Read(p) // never fails
}

// LoopingFile is the file of the damaged stick whose chain runs in a circle.
const LoopingFile = "Archive/Series 12.bin"

// Damaged writes the stick on which a reader without care would run for ever.
func Damaged(image Image) error {
	part := Partition{Start: mega, Bytes: 16 * mega, Type: 0x06}
	if err := WriteMBR(image, []Partition{part}, nil); err != nil {
		return err
	}
	content := make([]byte, 40<<10)
	fillNoise(content, 12)
	v, err := WriteFAT(io.NewOffsetWriter(image, part.Start), FAT{Bits: 16, Bytes: part.Bytes, Start: part.Start}, []File{
		{Path: "Archive/Series 11.pdf", Data: PDF("Series 11")},
		{Path: LoopingFile, Data: content},
		{Path: "Archive/Series 13.pdf", Data: PDF("Series 13")},
	})
	if err != nil {
		return err
	}
	chain := v.Chain[LoopingFile]
	return v.Link(shifted{image, part.Start}, chain[len(chain)/2], chain[1])
}

// shifted is an image as seen from a partition's start.
type shifted struct {
	Image
	by int64
}

func (s shifted) ReadAt(p []byte, at int64) (int, error)  { return s.Image.ReadAt(p, at+s.by) }
func (s shifted) WriteAt(p []byte, at int64) (int, error) { return s.Image.WriteAt(p, at+s.by) }
