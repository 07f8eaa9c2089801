package pack

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"pratique/rules"
)

const (
	blockSize    = 512
	manifestName = "pack.toml"
	maxManifest  = 256 << 10 // maxChanges notes, and room
	maxPath      = 100       // the name field of a USTAR header
)

// Archive is an opened pack file. It is an fs.FS of what the pack holds.
type Archive struct {
	Manifest rules.Manifest
	r        io.ReaderAt
	entries  []entry // in the file's order: pack.toml, then by name
	dirs     map[string][]fs.DirEntry
}

type entry struct {
	name         string
	offset, size int64
}

// allowedName says why a name may not stand in a pack.
func allowedName(name string) error {
	if len(name) > maxPath {
		return fmt.Errorf("the name has more than %d characters", maxPath)
	}
	for _, part := range strings.Split(name, "/") {
		if part == "" || part[0] == '.' {
			return errors.New("a part of the name is empty or starts with a dot")
		}
		if strings.Trim(part, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") != "" {
			return errors.New("the name has other characters than A-Z a-z 0-9 . _ -")
		}
	}
	top, rest, below := strings.Cut(name, "/")
	ext := path.Ext(name)
	switch {
	case !below && (name == manifestName || name == "hashes.txt" || name == "settings.toml" || name == "README.md"):
	case below && top == "yara" && (ext == ".yar" || ext == ".yara"):
	case below && !strings.Contains(rest, "/") && ext == ".toml" && (top == "policy" || top == "samples"):
	case below && !strings.Contains(rest, "/") && ext == ".txt" && top == "hashes":
	case below && top == "clean":
	default:
		return errors.New("nothing in a pack is read from there")
	}
	return nil
}

// header is the one header that a file of this name and size has.
func header(name string, size int64) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, Format: tar.FormatUSTAR})
	if err != nil {
		return nil, err
	}
	if buf.Len() != blockSize {
		return nil, errors.New("the header has no room for the name")
	}
	return buf.Bytes(), nil
}

// OpenArchive reads the table of a pack file and its manifest. r must not change while the Archive is used. The errors are
// Refusals.
func OpenArchive(r io.ReaderAt, size int64) (*Archive, error) {
	if size > maxPack {
		return nil, refuse(TooLarge, "the pack file has more than %d bytes", int64(maxPack))
	}
	a := &Archive{r: r}
	folded := map[string]bool{}
	block := make([]byte, blockSize)
	for at := int64(0); ; {
		if _, err := readFull(r, block, at); err != nil {
			return nil, refuse(Malformed, "the pack file ends in the middle")
		}
		if allZero(block) {
			if size != at+2*blockSize {
				return nil, refuse(Malformed, "the pack file goes on after its end")
			}
			if _, err := readFull(r, block, at+blockSize); err != nil || !allZero(block) {
				return nil, refuse(Malformed, "the pack file has no proper end")
			}
			break
		}
		e, err := parseHeader(block)
		if err != nil {
			return nil, refuse(Malformed, "the pack file: %v", err)
		}
		if e.offset = at + blockSize; e.size > size-e.offset {
			return nil, refuse(Malformed, "the pack file ends in the middle of %s", e.name)
		}
		switch last := len(a.entries) - 1; {
		case last < 0 && e.name != manifestName:
			return nil, refuse(Malformed, "the pack file does not start with %s", manifestName)
		case len(a.entries) == maxFiles:
			return nil, refuse(TooLarge, "the pack holds more than %d files", maxFiles)
		case last == 0 && e.name == manifestName, last > 0 && e.name <= a.entries[last].name:
			return nil, refuse(Malformed, "%s is not in its place in the pack file, or stands there twice", e.name)
		case folded[strings.ToLower(e.name)]:
			return nil, refuse(Malformed, "%s differs from another name only in the case of its letters", e.name)
		}
		folded[strings.ToLower(e.name)] = true
		a.entries = append(a.entries, e)
		padding := block[:-e.size&(blockSize-1)]
		if _, err := readFull(r, padding, e.offset+e.size); err != nil || !allZero(padding) {
			return nil, refuse(Malformed, "the padding of %s in the pack file is not empty", e.name)
		}
		at = e.offset + e.size + int64(len(padding))
	}
	if len(a.entries) == 0 {
		return nil, refuse(Malformed, "the pack file is empty")
	}
	if err := a.index(); err != nil {
		return nil, err
	}
	var err error
	a.Manifest, err = a.manifest()
	return a, err
}

// parseHeader takes name and size from a header, and then nothing but the exact header of a file of that name and size.
func parseHeader(block []byte) (entry, error) {
	name, rest, _ := bytes.Cut(block[:maxPath], []byte{0})
	if !allZero(rest) {
		return entry{}, errors.New("a name in a header has a tail")
	}
	if err := allowedName(string(name)); err != nil {
		return entry{}, fmt.Errorf("%q: %w", name, err)
	}
	size, err := strconv.ParseUint(strings.TrimRight(string(block[124:136]), "\x00"), 8, 40)
	if err != nil {
		return entry{}, fmt.Errorf("%q: the size in the header is no number", name)
	}
	want, err := header(string(name), int64(size))
	if err != nil || !bytes.Equal(want, block) {
		return entry{}, fmt.Errorf("%q is not a plain file with the header that packs use", name)
	}
	return entry{name: string(name), size: int64(size)}, nil
}

// manifest reads pack.toml and holds it against what a signed pack must say.
func (a *Archive) manifest() (rules.Manifest, error) {
	if a.entries[0].size > maxManifest {
		return rules.Manifest{}, refuse(TooLarge, "%s has more than %d bytes", manifestName, maxManifest)
	}
	text, err := fs.ReadFile(a, manifestName)
	if err != nil {
		return rules.Manifest{}, err
	}
	m, err := rules.ParseManifest(text)
	if err != nil {
		return rules.Manifest{}, refuse(Malformed, "%v", err)
	}
	return m, checkManifest(m)
}

// Names returns the names of the files below a folder, such as "samples".
func (a *Archive) Names(folder string) []string {
	var names []string
	for _, e := range a.entries {
		if strings.HasPrefix(e.name, folder+"/") {
			names = append(names, e.name)
		}
	}
	return names
}

// Load reads the rules out of a pack file, and refuses one with files in it that were not loaded: a list that a kiosk passes
// over is a hole in what it looks for.
func Load(a *Archive) (rules.Pack, error) {
	p, err := rules.LoadFS(a)
	if err != nil {
		return rules.Pack{}, refuse(Malformed, "%v", err)
	}
	lists := len(a.Names("hashes"))
	if _, ok := a.find("hashes.txt"); ok {
		lists++
	}
	if len(p.YARA) != len(a.Names("yara")) || len(p.Lists) != lists || len(p.Policies) != len(a.Names("policy")) {
		return rules.Pack{}, refuse(Malformed, "the pack holds rules, lists or policies that this program does not read")
	}
	return p, nil
}

// WriteArchive writes the pack file of a source folder and returns its manifest. Files and folders whose name starts with a
// dot are left out (a pack's source is kept in git); anything else that has no place in a pack is an error. If change is not
// nil it alters the manifest, and pack.toml is written anew.
func WriteArchive(ctx context.Context, w io.Writer, source fs.FS, change func(*rules.Manifest)) (rules.Manifest, error) {
	text, err := fs.ReadFile(source, manifestName)
	if err != nil {
		return rules.Manifest{}, err
	}
	m, err := rules.ParseManifest(text)
	if err != nil {
		return rules.Manifest{}, err
	}
	if change != nil {
		change(&m)
		text = m.Encode()
	}
	if err := checkManifest(m); err != nil {
		return rules.Manifest{}, err
	}
	names, err := sourceNames(source)
	if err != nil {
		return rules.Manifest{}, err
	}
	out := &limitedWriter{w: w}
	if err := writeEntry(out, manifestName, int64(len(text)), bytes.NewReader(text)); err != nil {
		return rules.Manifest{}, err
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return rules.Manifest{}, context.Cause(ctx)
		}
		if err := copyEntry(out, source, name); err != nil {
			return rules.Manifest{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	_, err = out.Write(make([]byte, 2*blockSize))
	return m, err
}

// sourceNames lists what goes into a pack beside the manifest, in order.
func sourceNames(source fs.FS) ([]string, error) {
	var names []string
	folded := map[string]string{}
	err := fs.WalkDir(source, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == "." || name == manifestName:
			return nil
		case d.Name()[0] == '.' && d.IsDir():
			return fs.SkipDir
		case d.Name()[0] == '.' || d.IsDir():
			return nil
		case !d.Type().IsRegular():
			return fmt.Errorf("%s is not a regular file", name)
		case len(names) == maxFiles-1:
			return fmt.Errorf("more than %d files", maxFiles)
		}
		if err := allowedName(name); err != nil {
			return fmt.Errorf("%q cannot be in a pack: %w", name, err)
		}
		fold := strings.ToLower(name)
		if other, taken := folded[fold]; taken {
			return fmt.Errorf("%s and %s differ only in the case of their letters", other, name)
		}
		folded[fold] = name
		names = append(names, name)
		return nil
	})
	slices.Sort(names) // WalkDir sorts within a folder, and '-' comes before '/'
	return names, err
}

func copyEntry(w io.Writer, source fs.FS, name string) error {
	f, err := source.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	return writeEntry(w, name, info.Size(), f)
}

func writeEntry(w io.Writer, name string, size int64, r io.Reader) error {
	head, err := header(name, size)
	if err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	n, err := io.Copy(w, io.LimitReader(r, size+1))
	if err != nil {
		return err
	}
	if n != size {
		return errors.New("it changed while it was read")
	}
	_, err = w.Write(make([]byte, -size&(blockSize-1)))
	return err
}

// limitedWriter keeps a build from making a pack that no kiosk would take.
type limitedWriter struct {
	w io.Writer
	n int64
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	if l.n += int64(len(p)); l.n > maxPack {
		return 0, fmt.Errorf("the pack would have more than %d bytes", int64(maxPack))
	}
	return l.w.Write(p)
}

// readFull fills p from an offset. Only a short read is an error: a ReaderAt may say io.EOF with the last bytes.
func readFull(r io.ReaderAt, p []byte, at int64) (int, error) {
	n, err := r.ReadAt(p, at)
	if n == len(p) {
		err = nil
	}
	return n, err
}

func allZero(p []byte) bool { return len(bytes.Trim(p, "\x00")) == 0 }
