package stick

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
)

// BenchFiles is what a hospital's stick of about so many bytes holds: many images, documents, small files, some large ones,
// and, from 300 MB on, one of 100 MB. Contents are made while they are read.
func BenchFiles(total int64, seed uint64) []File {
	rng := rand.New(rand.NewPCG(seed, 0xBE4C4))
	var files []File
	var sum int64
	add := func(path string, size int64, content func(seed uint64) io.Reader) {
		own := rng.Uint64()
		files = append(files, File{Path: path, Size: size, Open: func() io.Reader { return content(own) }})
		sum += size
	}
	if total >= 300*mega {
		add("Export/Whole examination.bin", 100*mega, noise)
	}
	if total >= 100*mega {
		for i := range 6 {
			add(fmt.Sprintf("Export/Cine loop %d.bin", i+1), int64(5+rng.IntN(15))*mega, noise)
		}
	}
	for i := 0; sum < total; i++ {
		dir := fmt.Sprintf("DICOM/PAT%05d", i/400)
		switch i % 10 {
		case 0, 1, 2, 3, 4:
			add(fmt.Sprintf("%s/IM%06d", dir, i), int64(130+rng.IntN(400))<<10, dicomLike)
		case 5, 6:
			add(fmt.Sprintf("Letters/%02d/Letter of visit %d.txt", i/100, i), int64(4+rng.IntN(60))<<10, prose)
		case 7:
			add(fmt.Sprintf("Reports/%02d/Report %d.pdf", i/100, i), int64(20+rng.IntN(500))<<10, pdfLike)
		case 8:
			add(fmt.Sprintf("Pictures/%02d/Picture %d.png", i/100, i), int64(4+rng.IntN(900))<<10, pngLike)
		default:
			add(fmt.Sprintf("Viewer/data/%02d/part%05d.dat", i/100, i), int64(4+rng.IntN(60))<<10, noise)
		}
	}
	return files
}

// Bench writes an MBR and a FAT32 volume with BenchFiles, and says how long the image must be. w must hold zeros.
func Bench(w io.WriterAt, total int64, seed uint64) (int64, error) {
	return writeStick(w, BenchFiles(total, seed))
}

// writeStick writes an MBR and a FAT32 volume, and says how long the image must be.
func writeStick(w io.WriterAt, files []File) (int64, error) {
	var sum int64
	for _, f := range files {
		sum += roundUp(f.Size, 4096)
	}
	part := Partition{Start: mega, Bytes: roundUp(max(sum+sum/50, 280*mega)+8*mega, mega), Type: 0x0C}
	if err := WriteMBR(w, []Partition{part}, nil); err != nil {
		return 0, err
	}
	_, err := WriteFAT(io.NewOffsetWriter(w, part.Start), FAT{Bits: 32, Bytes: part.Bytes, Start: part.Start, ClusterBytes: 4096,
		Label: "BENCH"}, files)
	return part.Start + part.Bytes, err
}

// CreateBench writes the bench stick to dir/bench.img and the same files below dir/bench.
func CreateBench(dir string, total int64, seed uint64) error {
	return createBoth(dir, "bench", BenchFiles(total, seed))
}

// noise does not compress, as what is compressed already.
func noise(seed uint64) io.Reader {
	var key [32]byte
	le.PutUint64(key[:], seed)
	return rand.NewChaCha8(key)
}

// dicomLike has a DICOM header and pixels of twelve bits, of which the upper ones change little.
func dicomLike(seed uint64) io.Reader {
	head := Study{Patient: "TESTPATIENT^BENCH", ID: "TEST-BENCH", Slices: 1, Side: 4, Number: int(seed % 1000)}.slice(1)
	pixels := make([]byte, 64<<10)
	fillNoise(pixels, seed)
	for i := 1; i < len(pixels); i += 2 {
		pixels[i] = byte(4 + i>>12&1)
	}
	return io.MultiReader(bytes.NewReader(head), &repeat{of: pixels})
}

func pdfLike(seed uint64) io.Reader {
	return io.MultiReader(bytes.NewReader(PDF(fmt.Sprint("Report ", seed))), noise(seed))
}

func pngLike(seed uint64) io.Reader {
	return io.MultiReader(bytes.NewReader(PNG(16, 16, byte(seed))), noise(seed))
}

// prose is text of common words in an order of its own.
func prose(seed uint64) io.Reader {
	words := strings.Fields("the patient was seen today and reports no pain at rest chest clear heart sounds normal blood pressure " +
		"measured twice review in six weeks please arrange an examination of left knee with contrast dose as before thank you")
	rng := rand.New(rand.NewPCG(seed, 1))
	var b bytes.Buffer
	for b.Len() < 64<<10 {
		b.WriteString(words[rng.IntN(len(words))])
		b.WriteByte(" \n"[min(rng.IntN(12)/11, 1)])
	}
	return &repeat{of: b.Bytes()}
}

// repeat reads the same bytes over and over.
type repeat struct {
	of []byte
	at int
}

func (r *repeat) Read(p []byte) (int, error) {
	n := copy(p, r.of[r.at:])
	r.at = (r.at + n) % len(r.of)
	return n, nil
}
