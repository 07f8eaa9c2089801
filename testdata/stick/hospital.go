package stick

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
)

// Mix is what sizes of files a hospital's stick holds.
type Mix struct {
	Name        string
	Least, Most int64 // bytes of one file; most files are near the lower end
}

// Mixes are the two ends of what is seen: letters and single images, and whole examinations.
func Mixes() []Mix {
	return []Mix{{"small", 1 << 10, 64 << 10}, {"large", 512 << 10, 120 << 20}}
}

// hospitalKinds are what such a stick holds, how many files in twenty are of a kind, and how much smaller its largest are than
// the mix allows: what is long on these sticks are series of images, and nobody writes letters of 100 MB.
var hospitalKinds = []struct {
	count   int
	smaller int64
	path    string // from the number of the folder and of the file
	content func(seed uint64, size int64) io.Reader
}{
	{10, 1, "DICOM/PAT%05d/IM%06d", func(seed uint64, _ int64) io.Reader { return dicomLike(seed) }},
	{3, 2, "Reports/%03d/Report %d.pdf", func(seed uint64, _ int64) io.Reader { return pdfLike(seed) }},
	{2, 2, "Documents/%03d/Document %d.docx", func(seed uint64, size int64) io.Reader { return office(seed, size-officeBytes) }},
	{1, 4, "Pictures/%03d/Picture %d.png", func(seed uint64, _ int64) io.Reader { return pngLike(seed) }},
	{1, 4, "Pictures/%03d/Photo %d.jpg", func(seed uint64, _ int64) io.Reader { return jpegLike(seed) }},
	{2, 16, "Letters/%03d/Letter of visit %d.txt", func(seed uint64, _ int64) io.Reader { return prose(seed) }},
	{1, 1, "Viewer/%03d/tool%05d.exe", nil}, // one of the caller's programs
}

// HospitalFiles is a stick of about so many bytes, with one of the programs, if there are any, as every twentieth file.
func HospitalFiles(mix Mix, total int64, seed uint64, programs [][]byte) []File {
	rng := rand.New(rand.NewPCG(seed, 0x4057))
	var files []File
	for i, sum := 0, int64(0); sum < total; {
		for _, kind := range hospitalKinds {
			for range kind.count {
				i++
				own, part := rng.Uint64(), rng.Float64()
				path := fmt.Sprintf(kind.path, i/400, i)
				if kind.content == nil {
					if len(programs) > 0 {
						p := programs[own%uint64(len(programs))]
						files = append(files, File{Path: path, Data: p, Size: int64(len(p))})
						sum += int64(len(p))
					}
					continue
				}
				// The third power: few are large.
				size := officeBytes + mix.Least + int64(part*part*part*float64(max(0, mix.Most/kind.smaller-mix.Least)))
				files = append(files, File{Path: path, Size: size, Open: func() io.Reader { return kind.content(own, size) }})
				sum += size
			}
		}
	}
	return files
}

// CreateHospital writes the stick to dir/NAME.img and the same files below dir/NAME, NAME being the mix's.
func CreateHospital(dir string, mix Mix, total int64, seed uint64, programs [][]byte) error {
	return createBoth(dir, mix.Name, HospitalFiles(mix, total, seed, programs))
}

func jpegLike(seed uint64) io.Reader {
	return io.MultiReader(bytes.NewReader(JPEG(16, 16, byte(seed))), noise(seed))
}

// office is a document with a picture of so many bytes in it, which a ZIP file keeps as it is.
func office(seed uint64, picture int64) io.Reader {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	// Writing to memory does not fail, and the names are fixed.
	for _, part := range []struct {
		name    string
		method  uint16
		content io.Reader
	}{
		{"[Content_Types].xml", zip.Deflate, bytes.NewReader([]byte("<Types/>"))},
		{"word/document.xml", zip.Deflate, io.LimitReader(prose(0), 8<<10)},
		{"word/media/image1.png", zip.Store, io.LimitReader(noise(seed), picture)},
	} {
		w, _ := z.CreateHeader(&zip.FileHeader{Name: part.name, Method: part.method})
		io.Copy(w, part.content)
	}
	z.Close()
	return &b
}

// officeBytes is how much larger such a document is than its picture.
var officeBytes = func() int64 {
	n, _ := io.Copy(io.Discard, office(0, 0))
	return n
}()

// createBoth writes files as an image, dir/name.img, and as a folder, dir/name.
func createBoth(dir, name string, files []File) error {
	err := create(filepath.Join(dir, name+".img"), 0, func(w io.WriterAt) error {
		size, err := writeStick(w, files)
		if err != nil {
			return err
		}
		return w.(interface{ Truncate(int64) error }).Truncate(size)
	})
	if err != nil {
		return err
	}
	return WriteTree(filepath.Join(dir, name), files)
}

// CreateStick writes files to dir/name.img and below dir/name.
func CreateStick(dir, name string, files []File) error { return createBoth(dir, name, files) }
