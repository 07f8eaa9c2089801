package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// program is one that is built for the guest.
type program struct {
	pkg string
	cgo bool
}

// agentPackage is the guest's first process.
const agentPackage = "pratique/testdata/e2e/agent"

// guestPrograms are what the guest has, built as a release is.
var guestPrograms = []program{
	{"pratique/kiosk/pratique", true},
	{"pratique/scanner/scanworker", false},
	{"pratique/scanner/yaraworker", true},
	{"pratique/kiosk/pratiqued", true},
	{"pratique/kiosk/usbgate", false},
	{"pratique/kiosk/usbreader", true},
	{"pratique/testdata/e2e/usbwatch", false},
	{"pratique/testdata/e2e/usbspeed", false},
	{"pratique/testdata/e2e/pest", false},
	{"pratique/testdata/e2e/person", false},
}

// build builds a program into a folder and returns its path. One that is among those already built, in a folder that the caller
// names or "", is taken from there.
func (p program) build(ctx context.Context, dir, built string) (string, error) {
	if there := filepath.Join(built, filepath.Base(p.pkg)); built != "" {
		if _, err := os.Stat(there); err == nil {
			return there, nil
		}
	}
	to := filepath.Join(dir, filepath.Base(p.pkg))
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w -buildid=", "-o", to, p.pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if p.cgo {
		cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	}
	return to, output(cmd, "", nil)
}

// Options say what a run is made of.
type Options struct {
	Dir   string // for all files; sockets are below it, so its path must be short
	Cache string // for the kernel, which the next run finds there
	Built string // a folder with programs that are built already; empty for none
	Say   func(format string, args ...any)
}

// Prepare builds the programs, gets the kernel, and boots the machine that all cases start from. It says how long each step
// took.
func Prepare(ctx context.Context, o Options) (*Setup, error) {
	begin := time.Now()
	step := func(what string) {
		o.Say("set-up: %-28s %6.1f s", what, time.Since(begin).Seconds())
		begin = time.Now()
	}
	s := &Setup{Dir: o.Dir, Initramfs: filepath.Join(o.Dir, "initramfs")}
	var err error
	if s.Kernel, err = FetchKernel(ctx, o.Cache); err != nil {
		return nil, err
	}
	step(s.Kernel.Version)
	bin := filepath.Join(o.Dir, "bin")
	var image Image
	if image.Agent, err = (program{agentPackage, false}).build(ctx, bin, ""); err != nil {
		return nil, err
	}
	for _, p := range guestPrograms {
		path, err := p.build(ctx, bin, o.Built)
		if err != nil {
			return nil, err
		}
		image.Programs = append(image.Programs, path)
	}
	step("programs built")
	f, err := os.Create(s.Initramfs)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := s.Kernel.WriteInitramfs(f, image); err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	step("initramfs")
	if err := s.Boot(ctx); err != nil {
		return nil, err
	}
	step("booted and saved")
	return s, nil
}
