// Package stick builds sticks for tests and for the demonstration: whole disk images with partition tables, FAT and exFAT
// volumes, and harmless samples.
//
// Everything is made here, nothing is downloaded, and no sample does harm: EICAR is the industry's test file, the others
// are texts. The same call gives the same bytes every time (on one Go release: compressors change between releases).
// Writers take an io.WriterAt and never write zeros that they need not, so that an image of a terabyte costs what is in it.
//
// Limits: this package writes volumes as a good implementation would, and trusts its caller. A wrong call, such as files
// that do not fit, is an error. Damage is done afterwards, with the places that Volume gives. It is for tests only: the
// product imports nothing of it.
package stick

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// File is a file, or a directory, of a volume. Directories on the way to it need not be listed.
type File struct {
	Path string // WTF-8, '/' between components, no leading slash
	Dir  bool

	Data []byte
	// Open gives the content of a file that is too large to hold; Size is then its length. Size alone, or Size beyond
	// Data, makes the rest a hole: zeros that are not written.
	Open func() io.Reader
	Size int64

	Attr    byte  // attribute bits beside "directory": 0x01 read-only, 0x02 hidden, 0x04 system
	Scatter bool  // put no two clusters of it side by side
	Chained bool  // exFAT: use a FAT chain even if the clusters are side by side
	Unsaid  int64 // exFAT: so many bytes at the end lie behind ValidDataLength, and hold junk on the medium
}

// Length is the content's length in bytes.
func (f *File) Length() int64 { return max(f.Size, int64(len(f.Data))) }

// Content reads the content, zeros included.
func (f *File) Content() io.Reader {
	n := f.Length() - f.Unsaid
	return io.MultiReader(io.LimitReader(io.MultiReader(f.stored(), zeros{}), n), io.LimitReader(zeros{}, f.Unsaid))
}

// stored reads the part of the content that has to be written.
func (f *File) stored() io.Reader {
	if f.Open != nil {
		return io.LimitReader(f.Open(), f.Length())
	}
	return bytes.NewReader(f.Data)
}

// FilesOf is what a folder holds, below another name.
func FilesOf(dir fs.FS, under string) (files []File, err error) {
	err = fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(dir, name)
		files = append(files, File{Path: path.Join(under, name), Data: data})
		return err
	})
	return files, err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Volume says where things lie in a volume that was written, for those who want to damage it. Offsets are bytes from the
// volume's start.
type Volume struct {
	Bytes        int64
	SectorSize   int64
	ClusterBytes int64
	Clusters     uint32 // valid numbers are 2 to Clusters+1
	FAT          int64  // first copy
	FATBytes     int64  // of one copy
	FATs         int
	Bits         int   // of a FAT entry: 12, 16 or 32
	Heap         int64 // where cluster 2 lies
	RootDir      int64 // where the root directory lies
	Bitmap       int64 // exFAT's allocation bitmap
	Upcase       int64 // exFAT's up-case table
	// Chain has the clusters of each file and directory by path, the root as "".
	Chain map[string][]uint32
	// Record has the place of each file's or directory's record in its parent's directory: FAT's 8.3 entry (its long name
	// lies before it), exFAT's first entry of the set.
	Record map[string]int64
	// Meta has the ranges that hold structure: start and length, in order.
	Meta [][2]int64
}

// Cluster is the place of a cluster.
func (v *Volume) Cluster(n uint32) int64 { return v.Heap + int64(n-2)*v.ClusterBytes }

// meta notes a range that holds structure.
func (v *Volume) meta(start, length int64) { v.Meta = append(v.Meta, [2]int64{start, length}) }

// node is a file or directory on its way into a volume.
type node struct {
	path     string
	name     []uint16
	file     *File // nil for a directory nobody listed
	dir      bool
	parent   *node
	children []*node
	clusters []uint32
	bytes    int64 // of content, or of directory entries
}

func (n *node) attr() byte {
	if n.file == nil {
		return 0
	}
	return n.file.Attr
}

// tree hangs files below a root, in the order in which they are given.
func tree(files []File) (*node, error) {
	root := &node{dir: true}
	byPath := map[string]*node{"": root}
	var add func(path string, dir bool) (*node, error)
	add = func(path string, dir bool) (*node, error) {
		parent, name := root, path
		if i := strings.LastIndexByte(path, '/'); i >= 0 {
			p, ok := byPath[path[:i]]
			if !ok {
				var err error
				if p, err = add(path[:i], true); err != nil {
					return nil, err
				}
			}
			parent, name = p, path[i+1:]
		}
		n := &node{path: path, name: Units(name), dir: dir, parent: parent}
		if len(n.name) == 0 || len(n.name) > 255 || !parent.dir {
			return nil, fmt.Errorf("no place for %q", path)
		}
		byPath[path] = n
		parent.children = append(parent.children, n)
		return n, nil
	}
	for i := range files {
		f := &files[i]
		n, ok := byPath[f.Path]
		if ok && !(n.dir && f.Dir && n.file == nil) {
			return nil, fmt.Errorf("%q is given twice", f.Path)
		}
		if !ok {
			var err error
			if n, err = add(f.Path, f.Dir); err != nil {
				return nil, err
			}
		}
		n.file = f
		if !f.Dir {
			n.bytes = f.Length()
		}
	}
	return root, nil
}

// each visits the tree, parents first.
func (n *node) each(visit func(*node) error) error {
	if err := visit(n); err != nil {
		return err
	}
	for _, c := range n.children {
		if err := c.each(visit); err != nil {
			return err
		}
	}
	return nil
}

// clusters hands out cluster numbers in rising order.
type clusters struct {
	next, end uint32
	used      []uint32 // in order
}

func (c *clusters) take(n int64, scatter bool) ([]uint32, error) {
	step := uint32(1)
	if scatter {
		step = 2
	}
	if n*int64(step) > int64(c.end)-int64(c.next) {
		return nil, fmt.Errorf("the volume is full")
	}
	got := make([]uint32, n)
	for i := range got {
		got[i] = c.next
		c.next += step
	}
	c.used = append(c.used, got...)
	return got, nil
}

func contiguous(chain []uint32) bool {
	return len(chain) == 0 || int(chain[len(chain)-1]-chain[0]) == len(chain)-1
}

// put writes content along a chain of clusters, in pieces of at most a megabyte.
func (v *Volume) put(w io.WriterAt, chain []uint32, content io.Reader) error {
	buf := make([]byte, min(max(1<<20, v.ClusterBytes), int64(len(chain))*v.ClusterBytes))
	for i := 0; i < len(chain); {
		run := 1
		for i+run < len(chain) && chain[i+run] == chain[i]+uint32(run) && int64(run+1)*v.ClusterBytes <= int64(len(buf)) {
			run++
		}
		n, err := io.ReadFull(content, buf[:int64(run)*v.ClusterBytes])
		if n > 0 {
			if _, err := w.WriteAt(buf[:n], v.Cluster(chain[i])); err != nil {
				return err
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
		i += run
	}
	return nil
}

// Units is a WTF-8 name as UTF-16; a surrogate on its own stays what it is.
func Units(name string) []uint16 {
	var u []uint16
	for i := 0; i < len(name); {
		if i+2 < len(name) && name[i] == 0xED && name[i+1] >= 0xA0 { // a surrogate, which UTF-8 proper does not have
			u = append(u, uint16(name[i]&0xF)<<12|uint16(name[i+1]&0x3F)<<6|uint16(name[i+2]&0x3F))
			i += 3
			continue
		}
		r, n := utf8.DecodeRuneInString(name[i:])
		u = utf16.AppendRune(u, r)
		i += n
	}
	return u
}

// WriteTree writes the same files below a folder of this machine.
func WriteTree(dir string, files []File) error {
	for i := range files {
		f := &files[i]
		path := filepath.Join(dir, filepath.FromSlash(f.Path))
		if f.Dir {
			if err := os.MkdirAll(path, 0o755); err != nil {
				return err
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := writeFile(path, f.Content()); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(path string, content io.Reader) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, content); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// Memory is an image in memory that holds only what was written; the rest reads as zeros. It is also a medium to read
// from, safe for many readers once nobody writes.
type Memory struct {
	size, sector int64
	pages        map[int64][]byte
}

const pageBytes = 16 << 10

// NewMemory makes an image of so many bytes, in sectors of 512.
func NewMemory(bytes int64) *Memory { return &Memory{bytes, 512, map[int64][]byte{}} }

// Size is the image's length in bytes.
func (m *Memory) Size() int64 { return m.size }

// SectorSize is what a device would say.
func (m *Memory) SectorSize() int { return int(m.sector) }

// WriteAt writes inside the image.
func (m *Memory) WriteAt(p []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(p)) > m.size {
		return 0, fmt.Errorf("write of %d bytes at %d in an image of %d", len(p), at, m.size)
	}
	for n := 0; n < len(p); {
		page := (at + int64(n)) / pageBytes
		if m.pages[page] == nil {
			m.pages[page] = make([]byte, pageBytes)
		}
		n += copy(m.pages[page][(at+int64(n))%pageBytes:], p[n:])
	}
	return len(p), nil
}

// ReadAt reads inside the image.
func (m *Memory) ReadAt(p []byte, at int64) (int, error) {
	if at < 0 || at >= m.size {
		return 0, io.EOF
	}
	want := p[:min(int64(len(p)), m.size-at)]
	for n := 0; n < len(want); {
		off := (at + int64(n)) % pageBytes
		part := want[n:min(int64(len(want)), int64(n)+pageBytes-off)]
		if page := m.pages[(at+int64(n))/pageBytes]; page != nil {
			copy(part, page[off:])
		} else {
			clear(part)
		}
		n += len(part)
	}
	if len(want) < len(p) {
		return len(want), io.EOF
	}
	return len(want), nil
}

// Save writes the image to a file, as a sparse one.
func (m *Memory) Save(path string) error {
	return create(path, m.size, func(w io.WriterAt) error {
		pages := make([]int64, 0, len(m.pages))
		for page := range m.pages {
			pages = append(pages, page)
		}
		sort.Slice(pages, func(i, j int) bool { return pages[i] < pages[j] })
		for _, page := range pages {
			if _, err := w.WriteAt(m.pages[page][:min(pageBytes, m.size-page*pageBytes)], page*pageBytes); err != nil {
				return err
			}
		}
		return nil
	})
}

// create makes a sparse file of so many bytes and lets build fill it.
func create(path string, size int64, build func(io.WriterAt) error) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := out.Truncate(size); err != nil {
		out.Close()
		return err
	}
	if err := build(out); err != nil {
		out.Close()
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return out.Close()
}
