package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"pratique/scanner"
	"pratique/scanner/frame"
	"pratique/scanner/report"
	"pratique/scanner/slot"
	"pratique/scanner/volume"
	"pratique/scanner/volume/readers"
	"pratique/scanner/volume/volumetest"
	"pratique/testdata/stick"
)

// fileSystem is one kind of volume to be measured. A further one needs a row here and nothing else.
type fileSystem struct {
	name  string
	bytes int64 // of the image
	used  int64 // bytes of files that fit into it for certain
	make  func(image *os.File, bytes int64, files []stick.File) error
	trees int64 // of names, each with every file
}

// Cluster sizes are those that Windows takes for the size, but for FAT32, where the small ones make it harder. FAT12 ends
// at 4,084 clusters, so its image is smaller.
var fileSystems = []fileSystem{
	{"FAT12", 120 << 20, 100 << 20, fat(12, 32<<10), 1},
	{"FAT16", 1 << 30, 920 << 20, fat(16, 32<<10), 1},
	{"FAT32", 1 << 30, 980 << 20, fat(32, 4<<10), 1},
	{"exFAT", 1 << 30, 920 << 20, func(image *os.File, bytes int64, files []stick.File) error {
		_, err := stick.WriteExFAT(image, stick.ExFAT{Bytes: bytes, ClusterBytes: 32 << 10}, files)
		return err
	}, 1},
	{"NTFS", 1 << 30, 920 << 20, ntfs, 1},
	{"ext2", 1 << 30, 920 << 20, ext("ext2"), 1}, // a number for each block
	{"ext4", 1 << 30, 920 << 20, ext("ext4"), 1}, // extents and checksums
	// A disc is as long as what is on it. Its plain, its Rock Ridge and its Joliet names lead to the same content.
	{"ISO-9660", 0, 920 << 20, disc("-J", "-joliet-long", "-R", "-U"), 3},
	{"UDF", 0, 920 << 20, udf, 1},
	// Both on one disc, as DVDs are.
	{"bridge", 0, 920 << 20, disc("-J", "-joliet-long", "-R", "-U", "-udf"), 4},
}

// disc has genisoimage write the volume.
func disc(args ...string) func(*os.File, int64, []stick.File) error {
	return func(image *os.File, _ int64, files []stick.File) error {
		tree := image.Name() + ".tree"
		err := stick.WriteTree(tree, files)
		if err == nil {
			err = tool("genisoimage", append(args, "-quiet", "-o", image.Name(), tree)...)
		}
		return errors.Join(err, os.RemoveAll(tree))
	}
}

// udf takes away from a disc of both kinds what makes it one of ISO 9660.
func udf(image *os.File, bytes int64, files []stick.File) error {
	if err := disc("-udf")(image, bytes, files); err != nil {
		return err
	}
	_, err := image.WriteAt(make([]byte, 2*2048), 16*2048)
	return err
}

func fat(bits int, cluster int64) func(*os.File, int64, []stick.File) error {
	return func(image *os.File, bytes int64, files []stick.File) error {
		_, err := stick.WriteFAT(image, stick.FAT{Bits: bits, Bytes: bytes, ClusterBytes: cluster}, files)
		return err
	}
}

// ntfs has ntfs-3g's tools write the volume, as nothing here can. ntfscp makes no directories, so that all files lie in the
// root, under names that are made of their paths. Clusters are of 4 KiB, as Windows takes them.
func ntfs(image *os.File, _ int64, files []stick.File) error {
	if err := tool("mkntfs", "-F", "-Q", "-q", image.Name()); err != nil {
		return err
	}
	part := image.Name() + ".part"
	for i := range files {
		if err := save(part, &files[i]); err != nil {
			return err
		}
		if err := tool("ntfscp", "-q", "-f", image.Name(), part, strings.ReplaceAll(files[i].Path, "/", " ")); err != nil {
			return err
		}
	}
	return os.Remove(part)
}

// tool starts a tool, which Debian may keep where only root's path leads.
func tool(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	if cmd.Err != nil {
		cmd = exec.Command(filepath.Join("/usr/sbin", name), args...)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// ext has mke2fs write the volume from a folder, in blocks of 4 KiB.
func ext(kind string) func(*os.File, int64, []stick.File) error {
	return func(image *os.File, _ int64, files []stick.File) error {
		dir := image.Name() + ".tree"
		err := stick.WriteTree(dir, files)
		if err == nil {
			err = tool("mke2fs", "-q", "-F", "-t", kind, "-b", "4096", "-d", dir, image.Name())
		}
		return errors.Join(err, os.RemoveAll(dir))
	}
}

func save(name string, f *stick.File) error {
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, f.Content())
	return errors.Join(err, out.Close())
}

// volumes measures, for each file system, two things against hashing the raw image: the readers alone, which find every
// file and hash it in the order of the medium, and the scanner's whole way with a matcher that matches nothing. All are
// content per second of processor time, in this process, one after the other.
func volumes(dir string, rounds int) error {
	for _, fs := range fileSystems {
		image := filepath.Join(dir, "volume.img")
		files := stick.BenchFiles(fs.used, 1)
		if err := fs.create(image, files); err != nil {
			return fmt.Errorf("%s: %w", fs.name, err)
		}
		var content int64
		for i := range files {
			content += files[i].Length()
		}
		info, err := os.Stat(image)
		if err != nil {
			return err
		}
		var alone, whole, amplifications []float64
		for range rounds {
			raw, err := cpu(func() error { return hashRaw(image) })
			if err != nil {
				return err
			}
			var hashed int64
			found, err := cpu(func() (err error) { hashed, err = hashFiles(image); return err })
			if err == nil && hashed != content*fs.trees {
				err = fmt.Errorf("%d of %d bytes were hashed", hashed, content)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", fs.name, err)
			}
			var got scanned
			ours, err := cpu(func() (err error) { got, err = scan(image); return err })
			if err != nil {
				return fmt.Errorf("%s: %w", fs.name, err)
			}
			if err := got.check(len(files)*int(fs.trees), content*fs.trees); err != nil {
				return fmt.Errorf("%s: %w", fs.name, err)
			}
			rawRate := float64(info.Size()) / raw
			alone = append(alone, float64(content*fs.trees)/found/rawRate)
			whole = append(whole, float64(content)/ours/rawRate)
			amplifications = append(amplifications, float64(got.read)/float64(content))
		}
		fmt.Printf("bench fs-%s-throughput-ratio %.2f\n", fs.name, median(alone))
		fmt.Printf("bench fs-%s-scan-ratio %.2f\n", fs.name, median(whole))
		fmt.Printf("bench fs-%s-amplification %.3f\n", fs.name, median(amplifications))
		if err := os.Remove(image); err != nil {
			return err
		}
	}
	return nil
}

func (fs fileSystem) create(name string, files []stick.File) error {
	image, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(image.Truncate(fs.bytes), fs.make(image, fs.bytes, files), image.Close())
}

// cpu returns how many seconds of processor time this process spends in do.
func cpu(do func() error) (float64, error) {
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		return 0, err
	}
	err := errors.Join(do(), syscall.Getrusage(syscall.RUSAGE_SELF, &after))
	seconds := func(r syscall.Rusage) float64 {
		return float64(r.Utime.Sec+r.Stime.Sec) + float64(r.Utime.Usec+r.Stime.Usec)/1e6
	}
	return seconds(after) - seconds(before), err
}

func hashRaw(name string) error {
	image, err := os.Open(name)
	if err != nil {
		return err
	}
	defer image.Close()
	// Without ReadFrom and WriteTo of the two sides, so that the size of a read is ours.
	_, err = io.CopyBuffer(struct{ io.Writer }{sha256.New()}, struct{ io.Reader }{image}, make([]byte, 1<<20))
	return err
}

// hashFiles finds every file of an image, hashes each in the order of the medium, and says how many bytes that were.
func hashFiles(name string) (bytes int64, err error) {
	image, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer image.Close()
	info, err := image.Stat()
	if err != nil {
		return 0, err
	}
	src := &medium{File: image, size: info.Size()}
	layout, err := volume.Map(context.Background(), src)
	if err != nil {
		return 0, err
	}
	for _, c := range layout.Volumes {
		v, err := readers.Open(volume.NewCache(src), c)
		if err != nil {
			return 0, err
		}
		var files []volume.Entry
		_, err = v.Walk(context.Background(), volume.Options{}, func(e volume.Entry) error {
			if e.Kind == report.File {
				files = append(files, e)
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
		first := func(e volume.Entry) int64 {
			if len(e.Extents) == 0 {
				return -1
			}
			return e.Extents[0].Start
		}
		slices.SortStableFunc(files, func(a, b volume.Entry) int { return cmp.Compare(first(a), first(b)) })
		section := volume.Section(src, c.Start, c.Bytes)
		for i := range files {
			f, err := volumetest.Hash(section, &files[i])
			if err != nil {
				return 0, err
			}
			bytes += f.Size
		}
	}
	return bytes, nil
}

// medium is an image that counts what is read of it.
type medium struct {
	*os.File
	size int64
	mu   sync.Mutex
	read int64
}

func (m *medium) Size() int64     { return m.size }
func (m *medium) SectorSize() int { return 512 }
func (m *medium) ReadAt(p []byte, off int64) (int, error) {
	n, err := m.File.ReadAt(p, off)
	m.mu.Lock()
	m.read += int64(n)
	m.mu.Unlock()
	return n, err
}

// scanned is what one scan said, not yet decoded: that is the supervisor's work.
type scanned struct {
	job  report.Job
	said bytes.Buffer
	read int64
}

// scan runs the scanner as scanworker does, with one slot and a matcher in this process.
func scan(name string) (got scanned, err error) {
	image, err := os.Open(name)
	if err != nil {
		return got, err
	}
	defer image.Close()
	info, err := image.Stat()
	if err != nil {
		return got, err
	}
	const slotBytes = 64 << 20 // what the supervisor gives
	buffer := make([]byte, slotBytes)
	theirs, requests, err := os.Pipe()
	if err != nil {
		return got, err
	}
	answers, ours, err := os.Pipe()
	if err != nil {
		return got, err
	}
	defer func() {
		for _, f := range []*os.File{theirs, requests, answers, ours} {
			f.Close()
		}
	}()
	s, err := scanner.NewSlot(0, buffer, requests, answers)
	if err != nil {
		return got, err
	}
	if err := s.Restarted(report.FirstTime); err != nil {
		return got, err
	}
	go matchNothing(theirs, ours) // ends with its pipes
	src := &medium{File: image, size: info.Size()}
	got.job = report.Job{Size: src.size, SectorSize: 512, Slots: 1, SlotBytes: slotBytes, FileTimeout: time.Minute.Milliseconds()}
	out := scanner.NewSender(&got.said)
	if err := out.Send(report.Message{Ready: &report.Ready{Layers: []string{"none"}}}); err != nil {
		return got, err
	}
	err = scanner.Scan(context.Background(), src, got.job, []*scanner.Slot{s}, nil, out)
	got.read = src.read
	return got, err
}

// matchNothing answers as a yaraworker without a rule that matches. It asks for large content block by block.
func matchNothing(requests io.Reader, answers io.Writer) {
	in, out := frame.NewReader(requests), frame.NewWriter(answers)
	say := func(a slot.Answer) bool { return out.Write(a) == nil && out.Flush() == nil }
	if !say(slot.Answer{Ready: &slot.Ready{Rules: 1}}) {
		return
	}
	for {
		var r slot.Request
		if in.Next(&r) != nil {
			return
		}
		for _, p := range r.Batch {
			if !say(slot.Answer{Done: &slot.Done{ID: p.ID, Scanned: true}}) {
				return
			}
		}
		if st := r.Stream; st != nil {
			for at := int64(0); at < st.Bytes; at += slot.BlockBytes - slot.BlockOverlap {
				n := min(slot.BlockBytes, st.Bytes-at)
				if !say(slot.Answer{Need: &slot.Need{Offset: at, Bytes: n}}) || in.Next(&r) != nil {
					return
				}
				if at+n == st.Bytes {
					break
				}
			}
			if !say(slot.Answer{Done: &slot.Done{ID: st.ID, Scanned: true}}) {
				return
			}
		}
	}
}

// check fails unless the scan saw every file in full: a reader that skips is fast.
func (s *scanned) check(files int, content int64) error {
	collector := report.NewCollector(s.job, nil)
	in := frame.NewReader(&s.said)
	for {
		var m report.Message
		err := in.Next(&m)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = collector.Add(m)
		}
		if err != nil {
			return err
		}
	}
	rep := collector.Report()
	if !rep.Complete || len(rep.NotClean) > 0 || rep.Tally.Files != uint64(files) || rep.Tally.Bytes < uint64(content) {
		return fmt.Errorf("complete %v, %d items not clean, %d of %d files, %d of %d bytes: %v", rep.Complete, len(rep.NotClean),
			rep.Tally.Files, files, rep.Tally.Bytes, content, rep.Shortfalls)
	}
	return nil
}
