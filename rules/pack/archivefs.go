package pack

import (
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// index makes the folders of the archive. A name that is a file and a folder is refused.
func (a *Archive) index() error {
	a.dirs = map[string][]fs.DirEntry{".": nil}
	files, made := map[string]bool{}, map[string]bool{}
	for _, e := range a.entries {
		files[e.name] = true
	}
	for _, e := range a.entries {
		a.dirs[path.Dir(e.name)] = append(a.dirs[path.Dir(e.name)], fs.FileInfoToDirEntry(info{path.Base(e.name), e.size, 0o444}))
		for dir := path.Dir(e.name); dir != "."; dir = path.Dir(dir) {
			if files[dir] {
				return refuse(Malformed, "%s is a file and a folder in the pack file", dir)
			}
			if made[dir] {
				break // and so are those above it
			}
			made[dir] = true
			up := path.Dir(dir)
			a.dirs[up] = append(a.dirs[up], fs.FileInfoToDirEntry(info{path.Base(dir), 0, fs.ModeDir | 0o555}))
		}
	}
	for _, list := range a.dirs {
		slices.SortFunc(list, func(x, y fs.DirEntry) int { return strings.Compare(x.Name(), y.Name()) })
	}
	return nil
}

// Open implements fs.FS.
func (a *Archive) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	if list, ok := a.dirs[name]; ok {
		return &openDir{info{path.Base(name), 0, fs.ModeDir | 0o555}, list}, nil
	}
	if e, ok := a.find(name); ok {
		return &openFile{io.NewSectionReader(a.r, e.offset, e.size), info{path.Base(name), e.size, 0o444}}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func (a *Archive) find(name string) (entry, bool) {
	if name == manifestName {
		return a.entries[0], true
	}
	rest := a.entries[1:]
	i, ok := slices.BinarySearchFunc(rest, name, func(e entry, name string) int { return strings.Compare(e.name, name) })
	if !ok {
		return entry{}, false
	}
	return rest[i], true
}

type openFile struct {
	*io.SectionReader
	info info
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error               { return nil }

type openDir struct {
	info info
	list []fs.DirEntry
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *openDir) Close() error               { return nil }

func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.info.name, Err: fs.ErrInvalid}
}

func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(d.list) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(d.list) {
		n = len(d.list)
	}
	list := slices.Clone(d.list[:n])
	d.list = d.list[n:]
	return list, nil
}

// info describes a file or folder of an archive: it has a name and a size, and nothing else that could differ.
type info struct {
	name string
	size int64
	mode fs.FileMode
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }
