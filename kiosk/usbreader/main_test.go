package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pratique/kiosk/usb/bot"
	"pratique/kiosk/usb/lun"
	"pratique/scanner/blocks"
	"pratique/scanner/sandbox"
)

var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "usbreader")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program = filepath.Join(dir, "usbreader")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// start runs the program with descriptors from 3 on, and returns its exit code and what it says.
func start(t *testing.T, files []*os.File, args ...string) (int, string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = []string{}
	cmd.ExtraFiles = files
	var words bytes.Buffer
	cmd.Stderr = &words
	timer := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Run() // the exit code says it
	return cmd.ProcessState.ExitCode(), words.String()
}

// descriptors are those that a supervisor gives.
func descriptors(t *testing.T) []*os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	files := []*os.File{w}
	for range lun.MaxUnits {
		client, server, err := blocks.Pair()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close(); server.Close() })
		files = append(files, server)
	}
	return files
}

var arguments = []string{"usb", "999", "127", "-config", "1", "-interface", "0", "-device", "0781:5567"}

func TestReaderRefusesArgumentsAndDescriptorsThatDoNotFit(t *testing.T) {
	files := descriptors(t)
	if code, words := start(t, files, arguments...); code != lun.ExitGone {
		t.Fatalf("exit code %d, want %d: %s", code, lun.ExitGone, words)
	}
	change := func(at int, to string) []string {
		args := append([]string{}, arguments...)
		args[at] = to
		return args
	}
	for _, args := range [][]string{
		{}, {"usb"}, {"usb", "1", "2"}, {"scan", "1", "2", "3"}, append(arguments[:len(arguments):len(arguments)], "more"), arguments[:7], arguments[:3], change(4, "0"), change(4, "256"), change(6, "-1"),
		change(6, "x"), change(8, "0781"), change(8, "0781-5567"), change(8, "07815:567"), change(8, "078g:5567"), change(3, "-other"),
	} {
		if code, words := start(t, files, args...); code != lun.ExitUsage {
			t.Errorf("%q: exit code %d: %s", args, code, words)
		}
	}
	for _, args := range [][]string{change(1, "0"), change(1, "1000"), change(2, "128"), change(2, "../x")} { // Landlock cannot be told which node
		if code, words := start(t, files, args...); code != sandbox.ExitSandbox {
			t.Errorf("%q: exit code %d: %s", args, code, words)
		}
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for name, files := range map[string][]*os.File{
		"none": nil, "no pipe": append([]*os.File{null}, files[1:]...), "15 channels": files[:lun.MaxUnits], "a channel that is none": append(append([]*os.File{}, files[:5]...), append([]*os.File{null}, files[6:]...)...),
	} {
		if code, words := start(t, files, arguments...); code != lun.ExitUsage {
			t.Errorf("%s: exit code %d: %s", name, code, words)
		}
	}
}

func TestEveryEndHasItsCode(t *testing.T) {
	for want, errs := range map[int][]error{
		lun.ExitGone:        {bot.ErrGone, &blocks.Error{Status: blocks.Gone}},
		lun.ExitRefused:     {bot.ErrRefused, fmt.Errorf("x: %w", bot.ErrRefused)},
		lun.ExitProtocol:    {bot.ErrProtocol, &blocks.Error{Status: blocks.Failed}},
		lun.ExitSilent:      {bot.ErrSilent, &blocks.Error{Status: blocks.TimedOut}},
		lun.ExitAccess:      {bot.ErrAccess},
		lun.ExitChanged:     {&blocks.Error{Status: blocks.Changed}},
		lun.ExitUsage:       {errUsage},
		sandbox.ExitSandbox: {errJail},
		lun.ExitFailed:      {errors.New("x"), blocks.ErrProtocol, &blocks.Error{Status: blocks.Unreadable}},
	} {
		for _, err := range errs {
			if got := code(err); got != want {
				t.Errorf("%v ends with %d, want %d", err, got, want)
			}
		}
	}
}

// TestT03_HotplugIsNotHeard: what is left of libusb's netlink socket says nothing, to nobody.
func TestT03_HotplugIsNotHeard(t *testing.T) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		t.Fatal(err)
	}
	const at = 100
	if err := unix.Dup3(fd, at, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	defer unix.Close(at)
	client, server, err := blocks.Pair() // a channel stays as it is
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	defer server.Close()
	if err := deafen(); err != nil {
		t.Fatal(err)
	}
	if link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", at)); err != nil || link != "anon_inode:[eventfd]" {
		t.Error(link, err)
	}
	if _, _, _, _, err := unix.Recvmsg(at, make([]byte, 1), nil, 0); err != unix.ENOTSOCK {
		t.Error(err)
	}
	if n, err := unix.Poll([]unix.PollFd{{Fd: at, Events: unix.POLLIN}}, 10); n != 0 || err != nil {
		t.Errorf("%d, %v: libusb's thread would never sleep", n, err)
	}
	if _, err := client.Write([]byte("x")); err != nil {
		t.Error(err)
	}
}

// No word of a device reaches standard error: what is printed is this program's own.
func TestWordsAreOurOwn(t *testing.T) {
	_, words := start(t, descriptors(t), arguments...)
	if strings.TrimSpace(words) != "usbreader: error: "+bot.ErrGone.Error() {
		t.Errorf("%q", words)
	}
}
