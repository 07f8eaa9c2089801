package main

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pratique/kiosk/audit/export"
	"pratique/kiosk/localapi"
	"pratique/testdata/stick"
)

// ward is three media full of patients' names: in paths, labels, DICOM values, members of archives and NTFS streams, the values of
// which are nobody's.
type ward struct {
	names  []string
	images map[string]string
}

func newWard(t *testing.T, dir string) *ward {
	t.Helper()
	w := &ward{names: patients(1000), images: map[string]string{}}
	left := w.names
	take := func(n int) (out []string) {
		out, left = left[:n], left[n:]
		return out
	}
	volume := func(name string, write func(f *os.File) error) {
		t.Helper()
		w.images[name] = filepath.Join(dir, name+".img")
		f, err := os.Create(w.images[name])
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := errors.Join(f.Truncate(48*mega), write(f)); err != nil {
			t.Fatal(err)
		}
	}
	var studies []stick.Study
	for i, name := range take(200) {
		studies = append(studies, stick.Study{Patient: strings.ToUpper(name) + "^JANE", ID: strings.ToUpper(name), Slices: 1, Side: 16, Number: i})
	}
	clean := stick.DICOM(studies)
	for _, name := range take(200) {
		clean = append(clean, stick.File{Path: "LETTERS/" + name + "^Jane/" + name + " report.pdf", Data: stick.PDF("nothing found")})
	}
	label := take(2)
	volume("clean", func(f *os.File) error {
		_, err := stick.WriteFAT(f, stick.FAT{Bits: 16, Bytes: 48 * mega, ClusterBytes: 2048, Label: strings.ToUpper(label[0][:11])}, clean)
		return err
	})
	var members bytes.Buffer
	z := zip.NewWriter(&members)
	for _, name := range take(200) {
		f, err := z.Create(name + "/" + name + ".dcm")
		if err != nil {
			t.Fatal(err)
		}
		f.Write(stick.EICAR())
	}
	z.Close()
	harmful := []stick.File{{Path: "studies.zip", Data: members.Bytes()}}
	for i, name := range take(200) {
		data := stick.PDF(name)
		if i%2 == 0 {
			data = stick.RuleSample()
		}
		harmful = append(harmful, stick.File{Path: name + "/" + name + ".pdf.exe", Data: data})
	}
	volume("harmful", func(f *os.File) error {
		_, err := stick.WriteExFAT(f, stick.ExFAT{Bytes: 48 * mega, Label: label[1][:11]}, harmful)
		return err
	})
	streams := left
	volume("streams", func(*os.File) error { return nil })
	output(t, exec.Command("mkntfs", "-F", "-Q", "-q", "-L", streams[0], w.images["streams"]))
	part := filepath.Join(dir, "part")
	for i, name := range streams[1:] {
		if err := os.WriteFile(part, append([]byte("MZ"), make([]byte, 300)...), 0o600); err != nil {
			t.Fatal(err)
		}
		file := fmt.Sprintf("scan%d.txt", i%20)
		if i < 20 {
			output(t, exec.Command("ntfscp", "-q", "-f", w.images["streams"], part, file))
		}
		output(t, exec.Command("ntfscp", "-q", "-f", "-N", name, w.images["streams"], part, file))
	}
	return w
}

// kept runs a program as a station does, in a folder where its dumps would lie, and holds what it says against the names.
func kept(t *testing.T, s *searcher, dir string, want int, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(built.bin, name), args...)
	cmd.Dir, cmd.Env = dir, []string{"HOME=" + dir}
	code, stdout, stderr := runCmd(t, cmd)
	if code != want {
		t.Errorf("%v: exit code %d, want %d\n%s", args, code, want, stderr)
	}
	s.none(t, fmt.Sprintf("what %v says", args[:2]), []byte(stdout+stderr))
	return stdout
}

// noDump fails unless a process cannot leave a core dump: the limit is hard.
func noDump(t *testing.T, pid int) {
	t.Helper()
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(limits)) {
		if fields := strings.Fields(line); strings.HasPrefix(line, "Max core file size") && (fields[4] != "0" || fields[5] != "0") {
			comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			t.Errorf("%s may dump its memory: %s", bytes.TrimSpace(comm), line)
		}
	}
}

// childrenOf lists the processes that one started, with their names.
func childrenOf(pid int) map[int]string {
	out := map[int]string{}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range tasks {
		text, _ := os.ReadFile(file)
		for _, word := range strings.Fields(string(text)) {
			child, _ := strconv.Atoi(word)
			comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", child))
			out[child] = strings.TrimSpace(string(comm))
		}
	}
	return out
}

// A thousand patients on three media: after they were screened by a person and by the station, cleared, refused, crashed in the
// middle of, listed, exported in every form and backed up, no file of the station holds one of their names, and nothing that
// it said but to the person who screened.
func TestT10_NoPatientIsNamedAnywhere(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"media", "desk", "desk/in", "out"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	desk, out := filepath.Join(dir, "desk"), filepath.Join(dir, "out")
	state := filepath.Join(desk, "state")
	w := newWard(t, filepath.Join(dir, "media"))
	s := newSearcher(w.names)

	// The control: the media and the answer to the person who asked are full of names.
	shown := 0
	for name, want := range map[string]int{"clean": 0, "harmful": 3, "streams": 3} {
		data, err := os.ReadFile(w.images[name])
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]bool{}
		s.find(data, func(p pattern) { found[p.name] = true })
		cmd := exec.Command(filepath.Join(built.bin, "pratique"), "screen", "--json", "--items", "--state", state, w.images[name])
		cmd.Dir, cmd.Env = desk, []string{}
		code, stdout, stderr := runCmd(t, cmd)
		if code != want || len(found) < 150 {
			t.Fatalf("%s: exit code %d, %d names on the medium: %s", name, code, len(found), stderr)
		}
		s.none(t, "standard error of screen", []byte(stderr))
		s.find([]byte(stdout), func(pattern) { shown++ })
	}
	if shown < 500 {
		t.Errorf("the person who screened was shown %d names", shown)
	}

	journal := stationOfWard(t, w, s, desk, state)
	for _, args := range [][]string{{"status", "--json"}, {"sessions", "--json"}} {
		if kept(t, s, desk, 0, "pratique", append(args, "--state", state)...) == "" {
			t.Errorf("%v says nothing", args)
		}
	}
	s.none(t, "the journal", journal())
	abort(t, w, s, desk, state)

	kept(t, s, desk, 0, "pratique", "audit", "list", "--state", state, "--json")
	kept(t, s, desk, 0, "pratique", "audit", "list", "--state", state)
	kept(t, s, desk, 0, "pratique", "audit", "verify", "--state", state)
	for _, form := range export.Formats() {
		args := []string{"audit", "export", "--state", state, "--format", form, "--out", filepath.Join(out, "log."+form)}
		if form == "csv" || form == "jsonl" {
			args = append(args, "--items")
		}
		kept(t, s, desk, 0, "pratique", args...)
	}
	files, size := s.noneBelow(t, desk)
	more, bytes := s.noneBelow(t, out)
	t.Logf("%d names in 6 ways of writing: none in %d files of the station (%d MB) and %d of exports (%d MB)", len(w.names), files, size/mega, more, bytes/mega)
	if more != 2*len(export.Formats()) || files < 20 {
		t.Errorf("%d files of exports, %d of the station", more, files)
	}
}

// stationOfWard lets a daemon screen the media from a watched folder, under names that are patients' too, and hands out a
// clearance. It returns what the daemon wrote to its journal until it ended.
func stationOfWard(t *testing.T, w *ward, s *searcher, desk, state string) func() []byte {
	t.Helper()
	write := func(name, text string) string {
		path := filepath.Join(desk, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	roster := write("roster.toml", fmt.Sprintf("[[person]]\nid = \"p-1\"\nuid = %d\nclasses = [\"general\"]\n", os.Getuid()))
	config := write("station.toml", fmt.Sprintf("[scan]\nrequire_namespaces = false\n[sources]\nwatch = %q\n[staff]\nroster = %q\n", filepath.Join(desk, "in"), roster))
	cmd := exec.Command(filepath.Join(built.bin, "pratiqued"), "--config", config, "--state", state)
	cmd.Dir, cmd.Env = desk, []string{}
	var journal bytes.Buffer
	cmd.Stderr, cmd.Stdout = &journal, &journal
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the daemon: %v\n%s", err, journal.String())
		}
	}()
	var c *localapi.Client
	for end := time.Now().Add(30 * time.Second); c == nil; time.Sleep(10 * time.Millisecond) {
		c, _ = localapi.Dial(t.Context(), localapi.SocketOf(state))
		if c == nil && time.Now().After(end) {
			t.Fatalf("the daemon does not answer: %s", journal.String())
		}
	}
	defer c.Close()
	noDump(t, cmd.Process.Pid)
	for i, name := range []string{"clean", "harmful", "streams"} { // a file's name is part of a path, too
		output(t, exec.Command("cp", "--sparse=always", w.images[name], filepath.Join(desk, "copy")))
		plugged := filepath.Join(desk, "in", w.names[i]+".img")
		if err := os.Rename(filepath.Join(desk, "copy"), plugged); err != nil {
			t.Fatal(err)
		}
		port := decidedPort(t, c)
		if want := map[string]string{"clean": localapi.Waiting}[name]; want != "" && port.State != want {
			t.Errorf("%s: %+v", name, port)
		}
		if name == "clean" {
			receipt := kept(t, s, desk, 0, "pratique", "issue", "--state", state, "--for", "general")
			if !strings.Contains(receipt, "clearance ") {
				t.Errorf("no receipt: %s", receipt)
			}
		}
		if err := os.Remove(plugged); err != nil {
			t.Fatal(err)
		}
		statusUntil(t, c, func(st *localapi.State) bool {
			for _, p := range st.Ports {
				if p.Session != "" {
					return false
				}
			}
			return true
		})
	}
	kept(t, s, desk, 0, "pratique", "audit", "export", "--state", state, "--format", "csv") // through the daemon
	s.noneBelow(t, state)                                                                   // with all that a running station has open
	return journal.Bytes
}

// decidedPort waits until a medium has a verdict.
func decidedPort(t *testing.T, c *localapi.Client) (port localapi.Port) {
	t.Helper()
	statusUntil(t, c, func(st *localapi.State) bool {
		for _, p := range st.Ports {
			if p.Verdict != "" {
				port = p
				return true
			}
		}
		return false
	})
	return port
}

func statusUntil(t *testing.T, c *localapi.Client, f func(*localapi.State) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for ; ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		if st, err := c.Status(ctx); err == nil && f(st) {
			return
		}
	}
	t.Fatal("the station never came so far")
}

// abort kills a process that reads a medium, in the way that makes others dump their memory, and then the one that supervises
// them.
func abort(t *testing.T, w *ward, s *searcher, desk, state string) {
	t.Helper()
	for _, victim := range []string{"scanworker", "yaraworker", "pratique"} {
		killed := false
		for tries := 0; !killed && tries < 20; tries++ { // it may be done before it is hit
			cmd := exec.Command(filepath.Join(built.bin, "pratique"), "screen", "--deep", "--state", state, w.images["clean"])
			cmd.Dir, cmd.Env = desk, []string{"GOTRACEBACK=crash"} // dumps as much as it may
			var words bytes.Buffer
			cmd.Stdout, cmd.Stderr = &words, &words
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if pid := running(cmd.Process.Pid, victim); pid != 0 {
				noDumpSoon(t, pid)
				killed = syscall.Kill(pid, syscall.SIGABRT) == nil
			}
			cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code == exitOK && killed && victim != "yaraworker" { // the next one of those does its work
				killed = false
			}
			s.none(t, "what is said when "+victim+" is killed", words.Bytes())
		}
		if !killed {
			t.Errorf("no %s was killed, or each left a medium cleared", victim)
		}
	}
}

// running waits until a process has started one of a name, or, if it is to be killed itself, the one that reads.
func running(parent int, victim string) int {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		for child, name := range childrenOf(parent) {
			switch {
			case name == victim:
				return child
			case victim == "pratique" && name == "scanworker":
				return parent
			}
		}
	}
	return 0
}

// noDumpSoon is noDump for a process that is about to enter its jail.
func noDumpSoon(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
		if err != nil {
			return // it is gone already
		}
		for line := range strings.Lines(string(limits)) {
			if fields := strings.Fields(line); strings.HasPrefix(line, "Max core file size") && fields[4] == "0" && fields[5] == "0" {
				return
			}
		}
	}
	t.Errorf("process %d may dump its memory", pid)
}
