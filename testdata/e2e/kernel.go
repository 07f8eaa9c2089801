package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// Kernel is Debian's kernel, unpacked.
type Kernel struct {
	Version string // of the package
	Image   string // path of the uncompressed kernel
	modules string // folder with the candidates for modules, each by its name
}

// The most that is taken into memory of one file in the package: an uncompressed kernel is about 50 MB.
const maxKernelFile = 256 << 20

// moduleFolders is where the modules of this test live in the package, with what they depend on. The rest, 95 % of
// 400 MB, is not unpacked.
var moduleFolders = []string{
	"arch/x86/crypto", "block", "crypto", "drivers/block/virtio_blk.ko", "drivers/cdrom", "drivers/char/hw_random",
	"drivers/char/virtio_console.ko", "drivers/hid", "drivers/input/evdev.ko", "drivers/input/input-leds.ko", "drivers/net/mii.ko",
	"drivers/net/usb", "drivers/net/phy", "drivers/scsi", "drivers/usb", "drivers/virtio", "drivers/of", "fs/ext4", "fs/jbd2", "fs/mbcache.ko",
	"lib", "net/core",
}

// FetchKernel gets the kernel that Debian ships now, by apt, and unpacks it below cache, where the next run finds it. Its number
// changes with every security update, and old ones leave the mirror, so nothing is pinned.
func FetchKernel(ctx context.Context, cache string) (*Kernel, error) {
	name, file, err := kernelPackage(ctx)
	if err != nil {
		return nil, err
	}
	k := &Kernel{Version: strings.TrimSuffix(file, ".deb")}
	dir := filepath.Join(cache, k.Version)
	k.Image, k.modules = filepath.Join(dir, "vmlinux"), filepath.Join(dir, "modules")
	if _, err := os.Stat(k.Image); err == nil {
		return k, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	// Unpacked beside its place and then renamed, so that a run that was stopped leaves no half kernel under that name.
	tmp, err := os.MkdirTemp(cache, "unpack-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	if err := output(exec.CommandContext(ctx, "apt-get", "-qq", "download", name), tmp, nil); err != nil {
		return nil, err
	}
	debs, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil || len(debs) != 1 {
		return nil, fmt.Errorf("apt-get download %s leaves %d packages: %w", name, len(debs), err)
	}
	if err := unpackKernel(ctx, debs[0], tmp); err != nil {
		return nil, err
	}
	if err := os.Remove(debs[0]); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	return k, nil
}

// kernelPackage asks apt what the kernel's package and its file are called today.
func kernelPackage(ctx context.Context) (name, file string, err error) {
	var out bytes.Buffer
	find := func() error {
		out.Reset()
		if err := output(exec.CommandContext(ctx, "apt-cache", "depends", "linux-image-amd64"), "", &out); err != nil {
			return err
		}
		found := regexp.MustCompile(`(?m)^\s+Depends: (linux-image-[0-9]\S*)`).FindStringSubmatch(out.String())
		if found == nil {
			return errors.New("apt-cache names no kernel (apt-get update gets the lists)")
		}
		name = found[1]
		out.Reset()
		if err := output(exec.CommandContext(ctx, "apt-get", "--print-uris", "download", name), "", &out); err != nil {
			return err
		}
		fields := strings.Fields(out.String())
		if len(fields) < 2 || !strings.HasSuffix(fields[1], ".deb") {
			return fmt.Errorf("apt-get names no file for %s", name)
		}
		file = path.Base(fields[1])
		return nil
	}
	if err = find(); err != nil && os.Getuid() == 0 { // the lists of a fresh machine are empty
		if err := output(exec.CommandContext(ctx, "apt-get", "-o", "DPkg::Lock::Timeout=500", "-qq", "update"), "", nil); err != nil {
			return "", "", err
		}
		err = find()
	}
	return name, file, err
}

// output runs a command in a folder and copies its output to w; what it says on standard error becomes the error.
func output(cmd *exec.Cmd, dir string, w io.Writer) error {
	var words bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, w, &words
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd, err, bytes.TrimSpace(words.Bytes()))
	}
	return nil
}

// unpackKernel takes the kernel and the candidates for modules out of the package.
func unpackKernel(ctx context.Context, deb, dir string) error {
	if err := os.Mkdir(filepath.Join(dir, "modules"), 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = unpackTar(pipe, dir)
	if err != nil {
		cmd.Process.Kill() // it would wait for a reader
	}
	if waited := cmd.Wait(); err == nil {
		err = waited
	}
	return err
}

func unpackTar(r io.Reader, dir string) error {
	inFolder := regexp.MustCompile(`^\./(?:usr/)?lib/modules/[^/]+/kernel/(` + strings.Join(moduleFolders, "|") + `)(/|$)`)
	kernel := regexp.MustCompile(`^\./boot/vmlinuz-`)
	found := false
	for files := tar.NewReader(r); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		isKernel := kernel.MatchString(h.Name)
		if h.Typeflag != tar.TypeReg || !isKernel && (!inFolder.MatchString(h.Name) || !strings.HasSuffix(h.Name, ".ko")) {
			continue
		}
		data, err := io.ReadAll(io.LimitReader(files, maxKernelFile))
		if err != nil {
			return err
		}
		to := filepath.Join(dir, "modules", moduleName(h.Name))
		if isKernel {
			found = true
			to = filepath.Join(dir, "vmlinux")
			if data, err = uncompressKernel(data); err != nil {
				return fmt.Errorf("%s: %w", h.Name, err)
			}
		}
		if err := os.WriteFile(to, data, 0o644); err != nil {
			return err
		}
	}
	if !found {
		return errors.New("no kernel in the package")
	}
	return nil
}

// moduleName is how a module is called in other modules' dependencies: the kernel treats the two dashes as one.
func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(path.Base(file), ".ko"), "-", "_")
}

// uncompressKernel takes the kernel out of the image for boot loaders (the Linux x86 boot protocol,
// https://docs.kernel.org/arch/x86/boot.html, 1.3: setup_sects at 0x1F1, payload_offset and payload_length at 0x248). The guest
// would need twice as long to boot if it had to do that itself.
func uncompressKernel(image []byte) ([]byte, error) {
	if len(image) < 0x250 || string(image[0x202:0x206]) != "HdrS" {
		return nil, errors.New("not a kernel image")
	}
	start := (int(image[0x1F1])+1)*512 + int(binary.LittleEndian.Uint32(image[0x248:]))
	end := start + int(binary.LittleEndian.Uint32(image[0x24C:])) - 4 // the last four bytes say the length uncompressed
	if start > end || end > len(image) {
		return nil, errors.New("the payload is outside the image")
	}
	payload := image[start:end]
	switch {
	case bytes.HasPrefix(payload, []byte("\xFD7zXZ\x00")):
		cmd := exec.Command("xz", "-dc")
		cmd.Stdin = bytes.NewReader(payload)
		var out bytes.Buffer
		if err := output(cmd, "", &out); err != nil {
			return nil, err
		}
		return out.Bytes(), nil
	case bytes.HasPrefix(payload, []byte("\x1F\x8B")):
		z, err := gzip.NewReader(bytes.NewReader(payload))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(io.LimitReader(z, maxKernelFile))
	}
	return nil, fmt.Errorf("a payload that begins with % x is compressed in no way that is known here", payload[:min(len(payload), 4)])
}

// LoadOrder returns the files of the named modules with all that they depend on, each after what it needs.
func (k *Kernel) LoadOrder(names ...string) ([]string, error) {
	var order []string
	done := map[string]bool{}
	var add func(name, wanted string) error
	add = func(name, wanted string) error {
		if done[name] {
			return nil
		}
		done[name] = true // before its dependencies: a ring would be the kernel's mistake, not an endless loop here
		file := filepath.Join(k.modules, name)
		needs, err := dependencies(file)
		if err != nil {
			return fmt.Errorf("module %s, for %s: %w", name, wanted, err)
		}
		for _, need := range needs {
			if err := add(need, name); err != nil {
				return err
			}
		}
		order = append(order, file)
		return nil
	}
	for _, name := range names {
		if err := add(name, "the guest"); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// dependencies reads what a module says that it needs, from its section .modinfo.
func dependencies(file string) ([]string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	section := f.Section(".modinfo")
	if section == nil {
		return nil, errors.New("no section .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	var needs []string
	for field := range bytes.SplitSeq(info, []byte{0}) {
		if list, ok := strings.CutPrefix(string(field), "depends="); ok && list != "" {
			for need := range strings.SplitSeq(list, ",") {
				needs = append(needs, moduleName(need))
			}
		}
	}
	return needs, nil
}
