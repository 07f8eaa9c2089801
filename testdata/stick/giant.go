package stick

import (
	"fmt"
	"io"
)

// giantFull: one file in so many of a giant has content, so that millions of them are an image of hundreds of megabytes.
const giantFull = 16

// WriteGiantFAT writes a FAT32 volume with so many folders in its root and so many files in them, without holding either in
// memory. All names are short ones. One file in sixteen has eight bytes of content, which no other file has.
func WriteGiantFAT(w io.WriterAt, spec FAT, folders, files int) error {
	f := &fatWriter{FAT: spec, w: w}
	if err := f.geometry(); err != nil {
		return err
	}
	if f.Bits != 32 || folders < 1 || folders > 60_000 || files/folders >= 65_000 {
		return fmt.Errorf("%d files in %d folders of a FAT%d", files, folders, f.Bits)
	}
	perFolder := (files + folders - 1) / folders
	in := func(entries int) int64 { return (int64(entries)*32 + f.ClusterBytes - 1) / f.ClusterBytes }
	f.free = clusters{next: 2, end: f.v.Clusters + 2}
	f.table = []uint32{f.mark()&^0xFF&0x0FFFFFFF | 0xF8, f.mark()}
	take := func(n int64) (first uint32, err error) {
		chain, err := f.free.take(n, false)
		if err != nil {
			return 0, err
		}
		for _, c := range chain[:n-1] {
			f.table = append(f.table, c+1)
		}
		f.table = append(f.table, f.mark())
		return chain[0], nil
	}
	root, err := take(in(folders))
	if err != nil {
		return err
	}
	f.root = &node{dir: true, clusters: []uint32{root}}
	var top []byte
	for n := range folders {
		first, err := take(in(min(perFolder, max(files-n*perFolder, 0)) + 2))
		if err != nil {
			return err
		}
		top = append(top, f.record(short(fmt.Sprintf("DIR%05d", n), ""), 0x10, first, 0)...)
		list := append(f.record(short(".", ""), 0x10, first, 0), f.record(short("..", ""), 0x10, 0, 0)...)
		for i := n * perFolder; i < min((n+1)*perFolder, files); i++ {
			content, size := uint32(0), uint32(0)
			if i%giantFull == 0 {
				if content, err = take(1); err != nil {
					return err
				}
				size = 8
				if _, err := w.WriteAt(le.AppendUint64(nil, uint64(i)+1), f.v.Cluster(content)); err != nil {
					return err
				}
			}
			list = append(list, f.record(short(fmt.Sprintf("F%07d", i), "DAT"), 0x20, content, size)...)
		}
		if _, err := w.WriteAt(list, f.v.Cluster(first)); err != nil {
			return err
		}
	}
	if _, err := w.WriteAt(top, f.v.Cluster(root)); err != nil {
		return err
	}
	if err := f.boot(); err != nil {
		return err
	}
	packed := f.packed()
	for n := range f.v.FATs {
		if _, err := w.WriteAt(packed, f.v.FAT+int64(n)*f.v.FATBytes); err != nil {
			return err
		}
	}
	return nil
}

// short is a name as an entry stores it.
func short(name, extension string) [11]byte {
	return [11]byte([]byte(fmt.Sprintf("%-8.8s%-3.3s", name, extension)))
}
