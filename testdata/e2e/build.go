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
	{"pratique/kiosk/usbgate", false},
	{"pratique/testdata/e2e/usbwatch", false},
}

// build builds a program into a folder and returns its path.
func (p program) build(ctx context.Context, dir string) (string, error) {
	to := filepath.Join(dir, filepath.Base(p.pkg))
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w -buildid=", "-o", to, p.pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if p.cgo {
		cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	}
	return to, output(cmd, "", nil)
}

// Prepare builds the programs, gets the kernel, and boots the machine that all cases start from. It says how long each step
// took. What is kept for the next run, which is only the kernel, is below cache.
func Prepare(ctx context.Context, dir, cache string, say func(format string, args ...any)) (*Setup, error) {
	begin := time.Now()
	step := func(what string) {
		say("set-up: %-28s %6.1f s", what, time.Since(begin).Seconds())
		begin = time.Now()
	}
	s := &Setup{Dir: dir, Initramfs: filepath.Join(dir, "initramfs")}
	var err error
	if s.Kernel, err = FetchKernel(ctx, cache); err != nil {
		return nil, err
	}
	step(s.Kernel.Version)
	bin := filepath.Join(dir, "bin")
	var image Image
	if image.Agent, err = (program{agentPackage, false}).build(ctx, bin); err != nil {
		return nil, err
	}
	for _, p := range guestPrograms {
		path, err := p.build(ctx, bin)
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
