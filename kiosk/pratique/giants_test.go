package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pratique/testdata/stick"
)

// Nightly runs take the full sizes.
var giants = flag.Bool("giants", false, "media of full size: ten million files, sixteen terabytes")

const (
	kib, mib, gib, tb = 1 << 10, 1 << 20, 1 << 30, 1_000_000_000_000
	// longestSilence is how long a screen may stand still, and longestQuick the same on a machine with other work.
	longestSilence, longestQuick = 2 * time.Second, 10 * time.Second
)

// most is what each process may ever have held, in MiB, shared buffers counted with each.
var most = map[string]int64{"pratique": 400, "scanworker": 256}

// giant is a medium that is large in one way.
type giant struct {
	name        string
	quick, full int64 // 0 is left out
	unit        string
	build       func(t *testing.T, f *os.File, n int64) error
	deep        bool
	code        int
	reason      string // the first
}

var giantMedia = []giant{
	{"files in three FAT32 volumes", 60_000, 10_000_000, "", fatGiant(3), false, 0, ""},
	{"files in one FAT32 volume", 0, 10_000_000, "", fatGiant(1), false, 4, "too-large"},
	{"names in one folder of exFAT", 20_000, 1_000_000, "", func(t *testing.T, f *os.File, n int64) error {
		var files []stick.File
		for i := range n {
			files = append(files, stick.File{Path: fmt.Sprintf("one folder/file %d.dcm", i)})
		}
		return exfatGiant(f, max(n*200*2, 64*mib), files)
	}, false, 0, ""},
	{"files with paths of 32 KB", 2_000, 50_000, "", func(t *testing.T, f *os.File, n int64) error {
		deep := strings.Repeat(strings.Repeat("d", 250)+"/", 128)
		var files []stick.File
		for i := range n {
			files = append(files, stick.File{Path: fmt.Sprintf("%sfile %d", deep, i)})
		}
		return exfatGiant(f, max(n*400, 64*mib), files)
	}, false, 0, ""},
	{"levels of folders on FAT32", 255, 255, "", levels(stick.FAT{Bits: 32}), false, 0, ""},
	{"levels of folders on FAT32", 300, 300, "", levels(stick.FAT{Bits: 32}), false, 4, "too-large"},
	{"levels of folders on exFAT", 255, 255, "", levels(stick.FAT{}), false, 0, ""},
	{"levels of folders on exFAT", 300, 300, "", levels(stick.FAT{}), false, 4, "too-large"},
	{"on a medium of mostly nothing", 2, 16, "TB", sparseGiant(1), false, 0, ""},
	{"on a medium of a hundred partitions", 2, 16, "TB", sparseGiant(100), false, 0, ""},
	{"looked through deeply", 1, 16, "GiB", func(t *testing.T, f *os.File, n int64) error {
		return exfatGiant(f, n*gib, []stick.File{{Path: "a.txt", Data: []byte("a")}})
	}, true, 0, ""},
	{"of zeros behind what is stored", 18, 4096, "GiB", zeroGiant, false, 4, "too-large"},
}

// fatGiant spreads n files over some volumes.
func fatGiant(volumes int) func(*testing.T, *os.File, int64) error {
	return func(t *testing.T, f *os.File, n int64) error {
		each := int(n) / volumes
		folders := each/50_000 + 20
		bytes := int64(each)/16*4*kib + int64(each)*32*2 + int64(folders)*64*kib + 512*mib
		bytes -= bytes % mib
		var parts []stick.Partition
		for i := range int64(volumes) {
			parts = append(parts, stick.Partition{Start: mib + i*bytes, Bytes: bytes, Type: 0x0C})
		}
		if err := table(f, mib+int64(volumes)*bytes, parts); err != nil {
			return err
		}
		for _, p := range parts {
			spec := stick.FAT{Bits: 32, Bytes: p.Bytes, Start: p.Start, ClusterBytes: 4 * kib}
			if err := stick.WriteGiantFAT(io.NewOffsetWriter(f, p.Start), spec, folders, each); err != nil {
				return err
			}
		}
		return nil
	}
}

func table(f *os.File, size int64, parts []stick.Partition) error {
	if err := f.Truncate(size); err != nil {
		return err
	}
	return stick.WriteMBR(f, parts, nil)
}

func exfatGiant(f *os.File, bytes int64, files []stick.File) error {
	if err := table(f, mib+bytes, []stick.Partition{{Start: mib, Bytes: bytes, Type: 7}}); err != nil {
		return err
	}
	_, err := stick.WriteExFAT(io.NewOffsetWriter(f, mib), stick.ExFAT{Bytes: bytes, Start: mib, ClusterBytes: 32 * kib}, files)
	return err
}

// levels is a file below n folders.
func levels(fat stick.FAT) func(*testing.T, *os.File, int64) error {
	return func(t *testing.T, f *os.File, n int64) error {
		files := []stick.File{{Path: strings.Repeat("d/", int(n)) + "a.txt", Data: []byte("a")}}
		if fat.Bits == 0 {
			return exfatGiant(f, 64*mib, files)
		}
		fat.Bytes, fat.Start = 64*mib, mib
		if err := table(f, mib+fat.Bytes, []stick.Partition{{Start: mib, Bytes: fat.Bytes, Type: 0x0C}}); err != nil {
			return err
		}
		_, err := stick.WriteFAT(io.NewOffsetWriter(f, mib), fat, files)
		return err
	}
}

// sparseGiant is a small volume and some empty partitions, and nothing between and behind them.
func sparseGiant(partitions int64) func(*testing.T, *os.File, int64) error {
	return func(t *testing.T, f *os.File, n int64) error {
		size := n * tb / mib * mib
		if err := f.Truncate(size); err != nil {
			return err
		}
		parts := []stick.Partition{{Start: mib, Bytes: 64 * mib}}
		for i := range partitions {
			parts = append(parts, stick.Partition{Start: (i + 1) * (size / (partitions + 2)), Bytes: size / (partitions + 2) / 2 / mib * mib})
		}
		for i := range parts {
			parts[i].Start -= parts[i].Start % mib
		}
		if err := stick.WriteGPT(f, size, 512, parts); err != nil {
			return err
		}
		_, err := stick.WriteFAT(io.NewOffsetWriter(f, mib), stick.FAT{Bits: 32, Bytes: 64 * mib, Start: mib}, []stick.File{{Path: "a.txt", Data: []byte("a")}})
		return err
	}
}

// zeroGiant is a file of NTFS of n GiB, of which nothing is stored.
func zeroGiant(t *testing.T, f *os.File, n int64) error {
	const firstFile = "64" // the number that mkntfs leaves for it
	bytes := n*gib*2 + 64*mib
	if err := f.Truncate(bytes); err != nil {
		return err
	}
	for _, args := range [][]string{{"mkntfs", "-F", "-Q", "-q", "-c", "65536", f.Name()}, {"ntfscp", "-f", "-q", f.Name(), "/dev/null", "zeros.bin"},
		{"ntfstruncate", f.Name(), firstFile, strconv.FormatInt(n*gib, 10)}} {
		output(t, exec.Command(args[0], args[1:]...))
	}
	return nil
}

// A medium can be large in many ways. Whichever it is, the program ends with a verdict in words, what it holds in memory
// does not grow, and whoever looks at it sees it move.
func TestT24_GiantMediaEndInWordsAndInBoundedMemory(t *testing.T) {
	for _, g := range giantMedia {
		n := g.quick
		if *giants {
			n = g.full
		}
		if n == 0 {
			continue
		}
		t.Run(fmt.Sprintf("%d %s %s", n, g.unit, g.name), func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "giant.img")
			f, err := os.Create(image)
			if err != nil {
				t.Fatal(err)
			}
			err = g.build(t, f, n)
			f.Close()
			if err != nil {
				t.Fatal(err)
			}
			state := t.TempDir()
			args := []string{"screen", "--json", "--state", state}
			if g.deep {
				args = append(args, "--deep")
			}
			w := watch(t, "pratique", append(args, image)...)
			var res jsonResult
			if err := json.Unmarshal(w.stdout, &res); err != nil {
				t.Fatalf("exit code %d, %v\n%s", w.code, err, w.stdout)
			}
			reason, text := "", ""
			if len(res.Reasons) > 0 {
				reason, text = string(res.Reasons[0].Code), ": "+res.Reasons[0].Text
			}
			if w.code != g.code || reason != g.reason {
				t.Errorf("exit code %d, reasons %+v, want %d %s", w.code, res.Reasons, g.code, g.reason)
			}
			for name, limit := range most {
				if w.peak[name] == 0 && w.took > time.Second || w.peak[name] > limit { // what lives for milliseconds may not be seen
					t.Errorf("%s held %d MiB", name, w.peak[name])
				}
			}
			if w.silence > longestQuick || *giants && w.silence > longestSilence {
				t.Errorf("the screen stood still for %v", w.silence)
			}
			checked := ""
			if c := res.Clearance; c != nil && !g.deep {
				v := watch(t, "clearcheck", "--demo", "--trust", filepath.Join(state, "demo.trust"), "--token", c.TokenFile, image)
				// What a device holds grows with what was cleared and with nothing else: it may write nothing down.
				if limit := 64 + int64(res.Counts.Files)*120/mib; v.code != 0 || v.peak["clearcheck"] > limit {
					t.Errorf("clearcheck: exit code %d, %d MiB\n%s", v.code, v.peak["clearcheck"], v.stdout)
				}
				checked = fmt.Sprintf("; clearcheck %v, %d MiB", v.took.Round(100*time.Millisecond), v.peak["clearcheck"])
			}
			unit := g.unit
			if unit != "" {
				unit += " "
			}
			t.Logf("%d %s%s: %s%s; %v, at most %v without a sign; pratique %d MiB, scanworker %d MiB, yaraworker %d MiB%s", n, unit, g.name,
				res.Verdict, text, w.took.Round(100*time.Millisecond), w.silence.Round(100*time.Millisecond), w.peak["pratique"], w.peak["scanworker"], w.peak["yaraworker"], checked)
		})
	}
}

// watched is how a program ran.
type watched struct {
	code    int
	stdout  []byte
	took    time.Duration
	silence time.Duration    // longest time in which nothing was drawn on the terminal
	peak    map[string]int64 // MiB that the program, and each that it started, ever held
}

// watch runs a program with its words on a terminal, as a person does.
func watch(t *testing.T, name string, args ...string) watched {
	t.Helper()
	master, terminal := openTerminal(t)
	cmd := exec.Command(filepath.Join(built.bin, name), args...)
	var stdout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, terminal
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	terminal.Close()
	w := watched{peak: map[string]int64{}}
	drawn := make(chan struct{})
	go func() {
		defer close(drawn)
		buf := make([]byte, 64*kib)
		last := time.Now()
		for {
			_, err := master.Read(buf)
			w.silence = max(w.silence, time.Since(last))
			last = time.Now()
			if err != nil { // EIO once nobody has the terminal open
				return
			}
		}
	}()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for running := true; running; {
		select {
		case <-ended:
			running = false
		case <-ticker.C:
			peaks(cmd.Process.Pid, w.peak)
		}
	}
	w.took = time.Since(begin)
	<-drawn
	w.code, w.stdout = cmd.ProcessState.ExitCode(), stdout.Bytes()
	return w
}

// peaks notes the most memory that a process and its descendants had so far.
func peaks(pid int, into map[string]int64) {
	dir := fmt.Sprintf("/proc/%d", pid)
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return
	}
	var name string
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch value = strings.TrimSpace(value); key {
		case "Name":
			name = value
		case "VmHWM":
			kilobytes, _ := strconv.ParseInt(strings.TrimSuffix(value, " kB"), 10, 64)
			into[name] = max(into[name], kilobytes>>10)
		}
	}
	tasks, _ := filepath.Glob(dir + "/task/*/children")
	for _, file := range tasks {
		list, _ := os.ReadFile(file)
		for _, child := range strings.Fields(string(list)) {
			if id, err := strconv.Atoi(child); err == nil {
				peaks(id, into)
			}
		}
	}
}

// openTerminal returns both ends of a terminal.
func openTerminal(t *testing.T) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	return master, terminal
}
