package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// guestModules are what the guest's kernel needs: its port to us, USB, and every driver that a stick could wake, so that
// one that stays unbound stays so because of the station and not for want of a driver. The checksum of ext4 is asked for by
// another name than its module's, which is why it is named here.
var guestModules = []string{
	"virtio_pci", "virtio_console", "virtio_blk", "xhci_pci", "usb_storage", "uas", "sd_mod", "sr_mod", "usbhid", "hid_generic", "evdev",
	"cdc_ether", "cdc_ncm", "cdc_acm", "rndis_host", "crc32c_generic", "ext4",
}

// The users and groups of a station, and root. Their numbers are those of the guest only.
const (
	passwd = "root:x:0:0:root:/:/bin/false\npratique:x:900:900:station:/var/lib/pratique:/bin/false\n" +
		"pratique-usb:x:901:901:reader:/:/bin/false\npratique-ui:x:902:902:screen:/:/bin/false\nstaff:x:1000:1000:staff:/:/bin/false\n" +
		"nobody:x:65534:65534:nobody:/:/bin/false\n"
	group = "root:x:0:\npratique:x:900:\npratique-usb:x:901:pratique\npratique-ui:x:902:\npratique-security:x:910:\n" +
		"pratique-audit:x:911:\npratique-admin:x:912:\nstaff:x:1000:\nnogroup:x:65534:\n"
)

// Programs is where the guest finds the station's programs; a worker is looked for beside the program that starts it.
const Programs = "/usr/lib/pratique"

// Image is what the guest's first file system holds.
type Image struct {
	Agent    string            // path of the built agent
	Programs []string          // paths of built programs
	Files    map[string][]byte // more files, by their path in the guest
}

// WriteInitramfs writes the guest's first file system. Programs that are linked dynamically get their libraries.
func (k *Kernel) WriteInitramfs(w io.Writer, image Image) error {
	buffered := bufio.NewWriterSize(w, 1<<20)
	c := newCPIO(buffered)
	for _, f := range []struct{ name, text string }{
		{"etc/passwd", passwd}, {"etc/group", group}, {"etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"},
		{"etc/hosts", "127.0.0.1 localhost\n"}, {"etc/hostname", "station\n"},
	} {
		c.file(f.name, 0o644, []byte(f.text))
	}
	for _, dir := range []string{"proc", "sys", "dev", "tmp", "run", "var", "mnt"} {
		c.dir(dir)
	}
	modules, err := k.LoadOrder(guestModules...)
	if err != nil {
		return err
	}
	var list strings.Builder
	for _, m := range modules {
		if err := c.copy("modules/"+filepath.Base(m)+".ko", 0o644, m); err != nil {
			return err
		}
		fmt.Fprintln(&list, filepath.Base(m)+".ko")
	}
	c.file("modules/list", 0o644, []byte(list.String()))
	if err := c.copy("init", 0o755, image.Agent); err != nil {
		return err
	}
	var libraries []string
	for _, p := range image.Programs {
		if err := c.copy(strings.TrimPrefix(Programs, "/")+"/"+filepath.Base(p), 0o755, p); err != nil {
			return err
		}
		needs, err := sharedLibraries(p)
		if err != nil {
			return err
		}
		libraries = append(libraries, needs...)
	}
	slices.Sort(libraries)
	for _, l := range slices.Compact(libraries) {
		// The loader's own path is fixed in each program; Debian's other libraries are found in the folders it knows.
		if err := c.copy(strings.TrimPrefix(l, "/"), 0o755, l); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range image.Files {
			if !yield(name) {
				return
			}
		}
	}) {
		c.file(strings.TrimPrefix(name, "/"), 0o644, image.Files[name])
	}
	if err := c.close(); err != nil {
		return err
	}
	return buffered.Flush()
}

// sharedLibraries asks the loader what a program is linked with. A static program has none.
func sharedLibraries(program string) ([]string, error) {
	var out bytes.Buffer
	cmd := exec.Command("ldd", program)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		if strings.Contains(out.String(), "not a dynamic executable") {
			return nil, nil
		}
		return nil, fmt.Errorf("ldd %s: %w: %s", program, err, out.String())
	}
	if strings.Contains(out.String(), "not found") {
		return nil, fmt.Errorf("ldd %s: %s", program, out.String())
	}
	var libraries []string
	for _, found := range regexp.MustCompile(`(?m)(/\S+) \(0x`).FindAllStringSubmatch(out.String(), -1) {
		libraries = append(libraries, found[1])
	}
	return libraries, nil
}

// cpio writes the one archive format that a kernel unpacks at its start: "newc"
// (https://docs.kernel.org/driver-api/early-userspace/buffer-format.html): a header of thirteen numbers of eight
// hexadecimal digits after a magic word, the name, the content, each padded to four bytes.
type cpio struct {
	w    io.Writer
	n    int64
	ino  int
	dirs map[string]bool
	err  error
}

func newCPIO(w io.Writer) *cpio { return &cpio{w: w, dirs: map[string]bool{".": true}} }

func (c *cpio) write(p []byte) {
	if c.err != nil {
		return
	}
	var n int
	n, c.err = c.w.Write(p)
	c.n += int64(n)
}

func (c *cpio) pad() { c.write(make([]byte, (4-c.n%4)%4)) }

func (c *cpio) entry(name string, mode uint32, data []byte) {
	c.ino++
	header := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X", c.ino, mode, 0, 0, 1, 0, len(data))
	header += fmt.Sprintf("%08X%08X%08X%08X%08X%08X", 0, 0, 0, 0, len(name)+1, 0)
	c.write([]byte(header + name + "\x00"))
	c.pad()
	c.write(data)
	c.pad()
}

// dir adds a folder, and those above it, once.
func (c *cpio) dir(name string) {
	if c.dirs[name] {
		return
	}
	c.dir(path.Dir(name))
	c.dirs[name] = true
	c.entry(name, 0o040755, nil)
}

func (c *cpio) file(name string, mode uint32, data []byte) {
	c.dir(path.Dir(name))
	c.entry(name, 0o100000|mode, data)
}

func (c *cpio) copy(name string, mode uint32, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	c.file(name, mode, data)
	return nil
}

func (c *cpio) close() error {
	c.entry("TRAILER!!!", 0, nil)
	return c.err
}
