package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"pratique/rules/pack"
	"pratique/testdata/packs"
	"pratique/testdata/stick"
)

// Nightly runs take the full counts.
var (
	kills = flag.Int("kills", 20, "how many times a screening is killed at a random moment")
)

// built is where the real programs and the sample sticks are for every test here.
var built struct{ bin, sticks string }

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "without-landlock" {
		fmt.Fprintln(os.Stderr, withoutLandlock(os.Args[2:]))
		os.Exit(exitUsage)
	}
	flag.Parse()
	code, err := runMain(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runMain(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "pratique-test-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	// Tests drop privileges, and the unprivileged must be able to run what is here.
	if err := os.Chmod(dir, 0o755); err != nil {
		return 1, err
	}
	built.bin, built.sticks = filepath.Join(dir, "bin"), filepath.Join(dir, "sticks")
	for _, d := range []string{built.bin, built.sticks} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return 1, err
		}
	}
	for cgo, names := range map[string][]string{"1": {"./kiosk/pratique", "./kiosk/pratiqued", "./kiosk/keyhelper", "./scanner/yaraworker", "./rules/rulepack"}, "0": {"./scanner/scanworker", "./kiosk/clearcheck"}} {
		cmd := exec.Command("go", append([]string{"build", "-trimpath", "-ldflags", "-s -w -buildid=", "-o", built.bin + "/"}, names...)...)
		cmd.Dir = filepath.Join("..", "..")
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
		if out, err := cmd.CombinedOutput(); err != nil {
			return 1, fmt.Errorf("build %v: %w\n%s", names, err, out)
		}
	}
	for _, s := range stick.Sticks() {
		if err := s.Create(filepath.Join(built.sticks, s.Name+".img")); err != nil {
			return 1, err
		}
	}
	return m.Run(), nil
}

// TestScripts runs the real programs from end to end.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("..", "..", "testdata", "script"),
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", built.bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			env.Setenv("STICKS", built.sticks)
			env.Setenv("STATE", filepath.Join(env.WorkDir, "state"))
			env.Setenv("UID", strconv.Itoa(os.Getuid()))
			for name, files := range smallSticks() {
				if err := smallStick(filepath.Join(env.WorkDir, name+".img"), files); err != nil {
					return err
				}
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "grab": grab, "replace": replace, "station": station, "publish": publish, "carry": carry, "enrol": enrol},
	})
}

// smallSticks are what the scripts need beside the samples: images alone, and a program under its own name.
func smallSticks() map[string][]stick.File {
	program := make([]byte, 600)
	copy(program, "MZ")
	program[0x3C] = 128
	copy(program[128:], "PE\x00\x00\x64\x86")
	return map[string][]stick.File{
		// Windows writes the last two to every stick, and no class must take bytes of an unknown type for them.
		"images": {{Path: "PICTURE.PNG", Data: stick.PNG(32, 32, 1)}, {Path: "System Volume Information/WPSettings.dat", Data: []byte("\x0C\x00\x00\x00\x9F\x31\xEB\x07\x5C\x11\xD4\x5F")},
			{Path: "System Volume Information/IndexerVolumeGuid", Data: bytes.Repeat([]byte("{\x00"), 38)}},
		"program": {{Path: "Setup/SETUP.EXE", Data: program}},
		// What the instruction for a first rule is about; cut in two, so that no other scanner takes this file for it.
		"prices": {{Path: "PRICES.BAT", Data: []byte("rem Price list of the ward\r\npower" + "shell -file x.ps1\r\n")}},
	}
}

// smallStick writes one volume without a partition table.
func smallStick(name string, files []stick.File) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(16 * mega); err != nil {
		return err
	}
	_, err = stick.WriteFAT(f, stick.FAT{Bits: 16, Bytes: 16 * mega}, files)
	return err
}

// exits CODE PROGRAM ARGS...: runs a program and wants this exit code. Output goes to the files stdout and stderr, which
// grep reads.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	program := filepath.Join(built.bin, args[1])
	cmd := exec.Command(program, args[2:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = []string{"HOME=" + ts.MkAbs("home"), "PATH=" + ts.Getenv("PATH")}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	ts.Check(os.WriteFile(ts.MkAbs("stdout"), stdout.Bytes(), 0o644))
	ts.Check(os.WriteFile(ts.MkAbs("stderr"), stderr.Bytes(), 0o644))
	ts.Logf("%s%s", stdout.String(), stderr.String())
	if got := cmd.ProcessState.ExitCode(); got != want {
		ts.Fatalf("%s ended with exit code %d, want %d", args[1], got, want)
	}
}

// grab VAR REGEXP: sets a variable to what the first group of a pattern matches in the file stdout.
func grab(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: grab VAR REGEXP")
	}
	text, err := os.ReadFile(ts.MkAbs("stdout"))
	ts.Check(err)
	found := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(string(text))
	if len(found) != 2 {
		ts.Fatalf("stdout does not match %q", args[1])
	}
	ts.Setenv(args[0], found[1])
}

// publish DIR VERSION [FILE=TEXT...]: the test's security team publishes a small pack, with these files or, where there is no
// text, without them. In a text \n is a line's end, SHA256(FILE) the hash of a file in an image that mtools can read.
func publish(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: publish DIR VERSION [FILE=TEXT...]")
	}
	version, err := strconv.ParseUint(args[1], 10, 64)
	ts.Check(err)
	more := map[string]string{}
	for _, arg := range args[2:] {
		name, text, _ := strings.Cut(arg, "=")
		more[name] = strings.ReplaceAll(text, `\n`, "\n")
	}
	dir, now := ts.MkAbs(args[0]), time.Now().Add(-time.Hour)
	repo := packs.Open(dir, now)
	if _, err := os.Stat(dir); err != nil {
		repo, err = packs.New(dir, now)
		ts.Check(err)
	}
	ts.Check(repo.Publish(packs.Source(version, time.Now().Add(90*24*time.Hour), more)))
}

// carry DIR IMAGE: puts what a station needs of a repository onto a stick.
func carry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: carry DIR IMAGE")
	}
	dir, err := os.MkdirTemp(ts.MkAbs("."), "stick-")
	ts.Check(err)
	ts.Check(pack.Carry(context.Background(), ts.MkAbs(args[0]), dir, time.Now()))
	files, err := stick.FilesOf(os.DirFS(dir), "")
	ts.Check(err)
	ts.Check(smallStick(ts.MkAbs(args[1]), files))
}

// enrol CONFIG FILE: puts the path of a root file into a configuration, and that of the test's folder.
func enrol(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: enrol CONFIG FILE")
	}
	text := strings.NewReplacer("ROOT", ts.MkAbs(args[1]), "WORK", ts.Getenv("WORK")).Replace(ts.ReadFile(args[0]))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// replace FILE OLD NEW: changes the first place where OLD stands in FILE, and nothing else.
func replace(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 || len(args[1]) != len(args[2]) {
		ts.Fatalf("usage: replace FILE OLD NEW, with OLD and NEW of one length")
	}
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR, 0)
	ts.Check(err)
	defer f.Close()
	data, err := os.ReadFile(f.Name())
	ts.Check(err)
	at := bytes.Index(data, []byte(args[1]))
	if at < 0 {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	_, err = f.WriteAt([]byte(args[2]), int64(at))
	ts.Check(err)
}
