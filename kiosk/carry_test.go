package kiosk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pratique/kiosk/audit"
	rulepack "pratique/rules/pack"
	"pratique/scanner/carry"
	"pratique/testdata/stick"
)

// stick carries the team's repository to a stick, as "rulepack publish --carry" does.
func (x *team) stick() []stick.File {
	x.t.Helper()
	dir := x.t.TempDir()
	if err := rulepack.Carry(x.t.Context(), x.Dir, dir, time.Now()); err != nil {
		x.t.Fatal(err)
	}
	return filesOf(x.t, filepath.Join(dir, rulepack.StickFolder))
}

func filesOf(t testing.TB, repository string) []stick.File {
	t.Helper()
	files, err := stick.FilesOf(os.DirFS(repository), rulepack.StickFolder)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

const stickBytes = 16 << 20

// newImage makes an empty image.
func newImage(t testing.TB, bytes int64) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "stick.img"))
	if err == nil {
		err = f.Truncate(bytes)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// fatStick is a stick with one FAT volume.
func fatStick(t testing.TB, files []stick.File) string {
	t.Helper()
	f := newImage(t, stickBytes)
	if _, err := stick.WriteFAT(f, stick.FAT{Bits: 16, Bytes: stickBytes}, files); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func exfatStick(t testing.TB, files []stick.File) string {
	t.Helper()
	f := newImage(t, stickBytes)
	if _, err := stick.WriteExFAT(f, stick.ExFAT{Bytes: stickBytes}, files); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// extStick is one with what change makes of the files in a folder: links, devices, whatever a system can make.
func extStick(t testing.TB, files []stick.File, change func(dir string)) string {
	t.Helper()
	dir := t.TempDir()
	for _, file := range files {
		name := filepath.Join(dir, file.Path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, file.Data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if change != nil {
		change(filepath.Join(dir, rulepack.StickFolder))
	}
	f := newImage(t, stickBytes)
	run(t, "mke2fs", "-q", "-F", "-t", "ext4", "-d", dir, f.Name())
	return f.Name()
}

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// twoVolumes is a stick with two partitions.
func twoVolumes(t testing.TB, first, second []stick.File) string {
	t.Helper()
	f := newImage(t, 2*stickBytes+2<<20)
	var parts []stick.Partition
	for i, files := range [][]stick.File{first, second} {
		start := int64(1<<20) + int64(i)*stickBytes
		if _, err := stick.WriteFAT(offset{f, start}, stick.FAT{Bits: 16, Bytes: stickBytes, Start: start, Serial: uint32(i + 1)}, files); err != nil {
			t.Fatal(err)
		}
		parts = append(parts, stick.Partition{Start: start, Bytes: stickBytes, Type: 0x06})
	}
	if err := stick.WriteMBR(f, parts, nil); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

type offset struct {
	*os.File
	by int64
}

func (o offset) WriteAt(p []byte, at int64) (int, error) { return o.File.WriteAt(p, at+o.by) }

// refusedOn wants a stick to be refused at a gate, in words, and the pack in force to stay.
func (x *team) refusedOn(t *testing.T, image, gate, code, words string) {
	t.Helper()
	before := x.inForce()
	_, _, err := x.s.InstallPath(t.Context(), image, x.cfg)
	var refused *PackRefused
	if !errors.As(err, &refused) || refused.Gate != gate || refused.Code != code || !strings.Contains(refused.Text, words) {
		t.Errorf("want %s: %s: %q, got %v", gate, code, words, err)
	}
	if now := x.inForce(); now.Digest != before.Digest || now.Version != before.Version {
		t.Fatalf("%s version %d is in force", now.Name, now.Version)
	}
	if left, err := filepath.Glob(filepath.Join(x.dir, "sessions", "*")); err != nil || len(left) > 0 {
		t.Fatalf("left behind: %v %v", left, err)
	}
}

func TestAPackIsInstalledFromAStick(t *testing.T) {
	x := newTeam(t)
	version := uint64(1)
	for name, write := range map[string]func([]stick.File) string{
		"FAT":            func(f []stick.File) string { return fatStick(t, f) },
		"exFAT":          func(f []stick.File) string { return exfatStick(t, f) },
		"ext":            func(f []stick.File) string { return extStick(t, f, nil) },
		"beside another": func(f []stick.File) string { return twoVolumes(t, stick.CleanFiles(), f) },
		"among others":   func(f []stick.File) string { return fatStick(t, append(stick.CleanFiles(), f...)) },
	} {
		version++
		x.publish(version, nil)
		in, _, err := x.s.InstallPath(t.Context(), write(x.stick()), x.cfg)
		if err != nil || in.Version != version {
			t.Fatalf("%s: version %d: %v", name, in.Version, err)
		}
	}
	// A whole repository, with every publication since its beginning, is as good.
	x.publish(version+1, nil)
	if in, _, err := x.s.InstallPath(t.Context(), fatStick(t, filesOf(t, x.Dir)), x.cfg); err != nil || in.Version != version+1 {
		t.Fatalf("version %d: %v", in.Version, err)
	}
	want := []string{"attached", "pack", "removed"}
	if kinds := x.sound(); len(kinds) != 6*len(want) || !slices.Equal(kinds[:3], want) {
		t.Error(kinds)
	}
	var session audit.ID
	err := x.s.Log(t.Context(), func(e audit.Entry) error {
		if e.Kind == audit.KindAttached {
			session = e.Session
		}
		if d, ok := e.Data.(audit.Pack); ok && (d.Source != fromMedium || d.Medium != session) {
			t.Errorf("%+v, of session %v", d, session)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A stick that somebody made to get something past the station, or to break it: refused in words that quote nothing of it.
func TestT29_SticksThatArePreparedAreRefusedBeforeAnythingOfThemIsTrusted(t *testing.T) {
	x := newTeam(t)
	x.publish(2, nil)
	x.install()
	x.publish(3, nil)
	good := x.stick()
	with := func(more ...stick.File) []stick.File { return append(slices.Clone(good), more...) }
	below := func(name string, data string) stick.File {
		return stick.File{Path: rulepack.StickFolder + "/" + name, Data: []byte(data)}
	}
	many := func(n int) (files []stick.File) {
		for i := range n {
			files = append(files, below(fmt.Sprintf("metadata/%d.json", i), ""))
		}
		return files
	}
	for _, test := range []struct {
		name  string
		image func() string
		code  carry.Code
		words string
	}{
		{"no folder", func() string { return fatStick(t, stick.CleanFiles()) }, carry.None, "no volume has a folder PRATIQUE-PACK"},
		{"an empty folder", func() string { return fatStick(t, []stick.File{{Path: rulepack.StickFolder, Dir: true}}) }, carry.None, "no volume has a folder"},
		{"a folder that is a file", func() string { return fatStick(t, []stick.File{{Path: rulepack.StickFolder, Data: []byte("x")}}) }, carry.Strange, "no plain file"},
		{"a folder in another", func() string {
			return fatStick(t, []stick.File{{Path: "x/" + rulepack.StickFolder + "/metadata/1.root.json"}})
		}, carry.None, "no volume"},
		{"a pack on each of two volumes", func() string { return twoVolumes(t, good, good) }, carry.Several, "More than one volume"},
		{"a folder beside it in small letters", func() string {
			return extStick(t, good, func(dir string) { check(t, os.Mkdir(filepath.Join(filepath.Dir(dir), "Pratique-Pack"), 0o755)) })
		}, carry.Misnamed, "a name that no rule pack has, or a name twice"},
		{"names that differ in case", func() string {
			return extStick(t, good, func(dir string) { check(t, os.WriteFile(filepath.Join(dir, "metadata/TIMESTAMP.json"), nil, 0o644)) })
		}, carry.Misnamed, "a name twice"},
		{"a name that turns back", func() string { return fatStick(t, with(below("metadata/\u202enosj.toor", ""))) }, carry.Misnamed, "a name that no rule pack has"},
		{"a name that goes up", func() string { return extStick(t, with(below("metadata/..x", "")), nil) }, carry.Misnamed, "a name that no rule pack has"},
		{"a hidden name", func() string { return fatStick(t, with(below("metadata/._1.root.json", ""))) }, carry.Misnamed, "a name that no rule pack has"},
		{"a name with a line in it", func() string { return extStick(t, with(below("metadata/a\nb", "")), nil) }, carry.Misnamed, "a name that no rule pack has"},
		{"a deep folder", func() string { return fatStick(t, with(below("a/b/c/d", ""))) }, carry.Misnamed, "a name that no rule pack has"},
		{"many files", func() string { return fatStick(t, many(carry.MaxFiles+1)) }, carry.TooMany, "too many files"},
		{"an endless file", func() string {
			f := newImage(t, 4<<30)
			_, err := stick.WriteFAT(f, stick.FAT{Bits: 32, Bytes: 4 << 30, ClusterBytes: 32 << 10}, with(stick.File{Path: rulepack.StickFolder + "/targets/x", Size: carry.MaxFile + 1}))
			check(t, err)
			return f.Name()
		}, carry.TooLarge, "more than a station takes"},
		{"a link to a file of the station's", func() string {
			return extStick(t, good, func(dir string) {
				check(t, errors.Join(os.Remove(filepath.Join(dir, "metadata/timestamp.json")), os.Symlink("/etc/passwd", filepath.Join(dir, "metadata/timestamp.json"))))
			})
		}, carry.Strange, "a link, a device or the like"},
		{"a folder that is a link", func() string {
			return extStick(t, good, func(dir string) {
				check(t, errors.Join(os.Rename(dir, dir+"-2"), os.Symlink(filepath.Base(dir)+"-2", dir)))
			})
		}, carry.Strange, "a link, a device or the like"},
		{"a FIFO", func() string {
			return extStick(t, good, func(dir string) { run(t, "mkfifo", filepath.Join(dir, "metadata/2.root.json")) })
		}, carry.Strange, "a link, a device or the like"},
		{"a device", func() string {
			return extStick(t, good, func(dir string) { run(t, "mknod", filepath.Join(dir, "metadata/2.root.json"), "c", "1", "5") })
		}, carry.Strange, "a link, a device or the like"},
		{"a file that is cut off", func() string { return damaged(t, good) }, carry.Unread, "could not be read in full"},
		{"another volume that is damaged", func() string {
			image := twoVolumes(t, good, stick.CleanFiles())
			scribble(t, image, 1<<20+stickBytes+512, 4<<10)
			return image
		}, carry.Unchecked, "could not be read in full, so nobody knows what else is on it"},
		{"a medium of zeros", func() string { return newImage(t, stickBytes).Name() }, carry.None, "no volume"},
		{"an image that ends early", func() string {
			image := fatStick(t, good)
			check(t, os.Truncate(image, stickBytes/2))
			return image
		}, carry.Unchecked, "could not be read in full"},
	} {
		t.Run(test.name, func(t *testing.T) { x.refusedOn(t, test.image(), gateMedium, string(test.code), test.words) })
	}
	if in, _, err := x.s.InstallPath(t.Context(), fatStick(t, good), x.cfg); err != nil || in.Version != 3 {
		t.Fatalf("the good one: %v", err)
	}
	x.sound()
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func scribble(t testing.TB, image string, at int64, n int) {
	t.Helper()
	f, err := os.OpenFile(image, os.O_WRONLY, 0)
	check(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte(strings.Repeat("\xA5\x17", n/2)), at)
	check(t, err)
}

// damaged is a stick whose pack has a chain of clusters that ends before the file does.
func damaged(t testing.TB, files []stick.File) string {
	t.Helper()
	f := newImage(t, stickBytes)
	v, err := stick.WriteFAT(f, stick.FAT{Bits: 16, Bytes: stickBytes}, files)
	check(t, err)
	for name, chain := range v.Chain {
		if strings.HasSuffix(name, ".pack") && len(chain) > 2 {
			for i := range v.FATs {
				_, err := f.WriteAt([]byte{0xFF, 0xFF}, v.FAT+int64(i)*v.FATBytes+2*int64(chain[0]))
				check(t, err)
			}
		}
	}
	return f.Name()
}

// What is carried off well is judged as every pack is, by the same gates, whoever brings it.
func TestT14_PacksOnSticksThatAreOldOrForgedAreRefused(t *testing.T) {
	x := newTeam(t)
	old := x.stick()
	x.publish(2, nil)
	x.install()
	x.publish(3, nil)
	stage := t.TempDir()
	check(t, rulepack.Carry(t.Context(), x.Dir, stage, time.Now()))
	repository := filepath.Join(stage, rulepack.StickFolder)
	swap := func(files []stick.File, name string, data []byte) []stick.File {
		out := slices.Clone(files)
		for i := range out {
			if strings.HasSuffix(out[i].Path, name) {
				out[i].Data = data
			}
		}
		return out
	}
	without := func(name string) []stick.File {
		return slices.DeleteFunc(filesOf(t, repository), func(f stick.File) bool { return strings.HasSuffix(f.Path, name) })
	}
	timestamp, err := os.ReadFile(filepath.Join(repository, "metadata/timestamp.json"))
	check(t, err)
	for _, test := range []struct {
		name  string
		files []stick.File
		code  rulepack.Reason
		words string
	}{
		{"an older pack", old, rulepack.Older, "older than what this station has seen"},
		{"another team's", filesOf(t, strangers(t)), rulepack.Changed, "the repository is another team's"},
		{"one signature of two cut out", swap(filesOf(t, repository), "rules.json", cutSignature(t, dataOf(filesOf(t, repository), "rules.json"))), rulepack.Changed, "it was changed or comes from another publication"},
		{"another product", swap(filesOf(t, repository), "rules.json", bytes.Replace(dataOf(filesOf(t, repository), "rules.json"), []byte(rulepack.Product), []byte("submarin"), 1)), rulepack.Changed, "it was changed or comes from another publication"},
		{"a swapped pack", filesOf(t, changed(t, repository)), rulepack.Changed, "the pack is not the one that was signed"},
		{"a replayed timestamp", swap(filesOf(t, repository), "timestamp.json", dataOf(old, "timestamp.json")), rulepack.Older, "older than what this station has seen"},
		{"a timestamp that grew", swap(filesOf(t, repository), "timestamp.json", append(slices.Clone(timestamp), make([]byte, 1<<20)...)), rulepack.TooLarge, "has more than 65536 bytes"},
		{"no timestamp", without("timestamp.json"), rulepack.NoRepository, "(timestamp) is missing"},
		{"no pack", without(".pack"), rulepack.NoRepository, "the pack is missing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			x.refusedOn(t, fatStick(t, test.files), gateSignature, string(test.code), test.words)
		})
	}
	x.s.now = func() time.Time { return time.Now().Add(85 * 24 * time.Hour) }
	x.refusedOn(t, fatStick(t, filesOf(t, repository)), gateSignature, string(rulepack.Expired), "the publisher's date (timestamp) ran out on")
	x.s.now = time.Now
	for i, test := range []struct{ name, gate, words, file, text string }{
		{"a pack that finds nothing", "canary", "was not found", "yara/test.yar", "rule nothing { strings: $a = \"no such words\" condition: $a }\n"},
		{"a pack that matches everything", "goodware", "The rule everything matches", "yara/test.yar", eicarRule + "rule everything { condition: true }\n"},
	} {
		x.publish(uint64(4+i), map[string]string{test.file: test.text})
		t.Run(test.name, func(t *testing.T) { x.refusedOn(t, fatStick(t, x.stick()), test.gate, codeGate, test.words) })
	}
	x.sound()
}

// cutSignature takes the first signature out of a metadata file.
func cutSignature(t testing.TB, data []byte) []byte {
	t.Helper()
	from, to := bytes.IndexByte(data, '{')+len(`{"signatures":[`), bytes.Index(data, []byte("},{"))+2
	if to < from {
		t.Fatalf("no two signatures in %.200s", data)
	}
	return slices.Delete(bytes.Clone(data), from, to)
}

func dataOf(files []stick.File, name string) []byte {
	for _, f := range files {
		if strings.HasSuffix(f.Path, name) {
			return f.Data
		}
	}
	return nil
}
