// Command bench screens a generated stick with the real programs and says what that costs, as ratios within one run: the
// machine is shared and its speed changes, a ratio taken side by side does not.
//
//	bench -bin DIR [-mb 500] [-mix 1000] [-rounds 3] [-rules DIR] [-only small|large|packed]
//
// Two more sticks hold what hospitals' sticks do, one in small files and one in large ones (hospital.go); -only measures one
// of them and nothing else. A third holds archives, and is screened beside clamscan (containers.go). Then it measures the readers by themselves, on a volume of each file system.
//
// It prints lines "bench NAME VALUE". Each round runs the contenders one after another on warm pages, and the median of
// the rounds counts.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"pratique/testdata/stick"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench: error:", err)
		os.Exit(1)
	}
}

func run() error {
	bin := flag.String("bin", "bin", "folder of the built programs; empty to measure only the readers")
	mb := flag.Int64("mb", 500, "size of the stick's content in megabytes")
	mixMB := flag.Int64("mix", 1000, "size of each hospital stick's content in megabytes")
	rounds := flag.Int("rounds", 3, "how often each contender runs")
	rules := flag.String("rules", "", "folder of YARA rules that both sides use besides the baseline")
	baseline := flag.String("baseline", filepath.Join("rules", "baseline", "yara"), "folder of the baseline's rules, for the yara program")
	only := flag.String("only", "", "measure this stick alone: small, large or packed")
	flag.Parse()
	mixes := slices.DeleteFunc(stick.Mixes(), func(m stick.Mix) bool { return *only != "" && m.Name != *only })
	if len(mixes) == 0 && *only != packedStickName {
		return fmt.Errorf("there is no stick %q", *only)
	}

	dir, err := os.MkdirTemp("", "pratique-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if *bin == "" {
		return volumes(dir, *rounds)
	}
	screen := []string{filepath.Join(*bin, "pratique"), "screen", "--state", filepath.Join(dir, "state")}
	ruleFiles, err := yaraFiles(*baseline)
	if err != nil {
		return err
	}
	if *rules != "" {
		screen = append(screen, "--rules", *rules)
		more, err := yaraFiles(*rules)
		if err != nil {
			return err
		}
		ruleFiles = append(ruleFiles, more...)
	}
	if *only == packedStickName {
		return containers(dir, *rounds, screen)
	}
	if *only != "" {
		return hospital(dir, *bin, *mixMB, *rounds, mixes, screen, ruleFiles)
	}
	if err := stick.CreateBench(dir, *mb<<20, 1); err != nil {
		return err
	}
	image, tree := filepath.Join(dir, "bench.img"), filepath.Join(dir, "bench")
	yara := []string{"yara", "-r", "-p", strconv.Itoa(runtime.NumCPU())}
	for _, name := range externals {
		yara = append(yara, "-d", name+"=")
	}
	yara = append(append(yara, ruleFiles...), tree)
	// One process over all files, as many lines as it takes: what a person would type.
	sha := []string{"sh", "-c", `find "$1" -type f -print0 | xargs -0 sha256sum`, "sh", tree}

	var ours, theirs, sums, peaks []float64
	var out string
	for range *rounds {
		o, err := measure(append(slices.Clone(screen), image))
		if err != nil {
			return err
		}
		y, err := measure(yara)
		if err != nil {
			return err
		}
		s, err := measure(sha)
		if err != nil {
			return err
		}
		ours, theirs, sums, peaks = append(ours, o.seconds), append(theirs, y.seconds), append(sums, s.seconds), append(peaks, o.peak)
		out = o.output
	}
	content, read, err := amounts(out)
	if err != nil {
		return err
	}
	fmt.Printf("bench screen-seconds %.2f\n", median(ours))
	fmt.Printf("bench screen-mb-per-second %.0f\n", content/median(ours)/1e6)
	fmt.Printf("bench yara-ratio %.2f\n", median(ours)/median(theirs))
	fmt.Printf("bench sha256sum-ratio %.2f\n", median(ours)/median(sums))
	fmt.Printf("bench read-amplification %.3f\n", read/content)
	fmt.Printf("bench peak-pss-mb %.0f\n", slices.Max(peaks))
	for _, name := range []string{image, tree} {
		if err := os.RemoveAll(name); err != nil {
			return err
		}
	}
	if err := hospital(dir, *bin, *mixMB, *rounds, mixes, screen, ruleFiles); err != nil {
		return err
	}
	if err := containers(dir, *rounds, screen); err != nil {
		return err
	}
	return volumes(dir, *rounds)
}

func yaraFiles(dir string) (out []string, err error) {
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if ext := filepath.Ext(name); err == nil && (ext == ".yar" || ext == ".yara") {
			out = append(out, name)
		}
		return err
	})
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("%s holds no rules", dir)
	}
	return out, err
}

type result struct {
	seconds float64
	cpu     float64 // seconds of processor time, of the whole process tree
	peak    float64 // megabytes, proportional set size of the whole process tree
	output  string
}

// measure runs a command and samples the memory of everything that it started.
func measure(args []string) (result, error) {
	cmd := exec.Command(args[0], args[1:]...)
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return result{}, err
	}
	ended := make(chan struct{})
	peak := make(chan float64)
	go func() {
		highest := 0.0
		for {
			highest = max(highest, pss(cmd.Process.Pid))
			select {
			case <-ended:
				peak <- highest
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	err := cmd.Wait()
	res := result{seconds: time.Since(begin).Seconds(), output: out.String()}
	res.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	close(ended)
	res.peak = <-peak
	var exit *exec.ExitError
	// A match on noise is no failure of the run: public rules fire where they will.
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 3) {
		return result{}, fmt.Errorf("%s: %w\n%s", args[0], err, words.String())
	}
	return res, nil
}

// pss sums the proportional set size of a process and its descendants, in megabytes.
func pss(root int) float64 {
	parents := map[int]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		// pid (comm) state ppid: comm may hold anything, so from the last parenthesis on
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) > 1 {
			parents[pid], _ = strconv.Atoi(fields[1])
		}
	}
	total := 0.0
	for pid := range parents {
		for p := pid; p > 1; p = parents[p] {
			if p == root {
				total += pssOf(pid)
				break
			}
		}
	}
	return total
}

var pssLine = regexp.MustCompile(`(?m)^Pss:\s+(\d+) kB`)

func pssOf(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	m := pssLine.FindSubmatch(text)
	if m == nil {
		return 0
	}
	kb, _ := strconv.ParseFloat(string(m[1]), 64)
	return kb / 1000
}

var amountLine = regexp.MustCompile(`(\d+) bytes of content, (\d+) bytes read`)

// amounts takes from what screen prints how much content there was and how much was read.
func amounts(text string) (content, read float64, err error) {
	m := amountLine.FindStringSubmatch(text)
	if m == nil {
		return 0, 0, fmt.Errorf("the program does not say what it read:\n%s", text)
	}
	content, _ = strconv.ParseFloat(m[1], 64)
	read, _ = strconv.ParseFloat(m[2], 64)
	return content, read, nil
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
