package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pratique/kiosk"
	"pratique/testdata/stick"
)

const mega = 1 << 20

// refused is a volume that the kiosk does not read.
type refused struct {
	name  string // as the contract has it
	words string // for a person
	code  string // of the reason
	bytes int64
	make  func(t *testing.T, image string) // into a file of zeros
}

// madeByTools are volumes of the tools that everybody uses.
var madeByTools = []refused{
	{"luks1", "encrypted with LUKS", "encrypted", 8 * mega, luks("luks1")},
	{"luks2", "encrypted with LUKS", "encrypted", 24 * mega, luks("luks2")},
	{"ext-journal", "journal of another volume", "unsupported-volume", 8 * mega, tool("mke2fs", "-q", "-F", "-O", "journal_dev", "IMAGE")},
	{"btrfs", "btrfs", "unsupported-volume", 128 * mega, tool("mkfs.btrfs", "-q", "IMAGE")},
	{"xfs", "XFS", "unsupported-volume", 320 * mega, tool("mkfs.xfs", "-q", "IMAGE")},
	{"f2fs", "F2FS", "unsupported-volume", 64 * mega, tool("mkfs.f2fs", "-q", "IMAGE")},
	{"jfs", "JFS", "unsupported-volume", 16 * mega, tool("mkfs.jfs", "-q", "IMAGE")},
	{"reiserfs", "ReiserFS", "unsupported-volume", 40 * mega, tool("mkreiserfs", "-q", "-ff", "IMAGE")},
	{"apfs", "APFS", "unsupported-volume", 512 * mega, tool("mkapfs", "IMAGE")},
	{"hfs", "HFS", "unsupported-volume", 8 * mega, tool("hformat", "-l", "TEST", "IMAGE")},
	{"swap", "swap", "unsupported-volume", 8 * mega, tool("mkswap", "IMAGE")},
	{"hfsplus", "HFS+", "unsupported-volume", 0, hfsplus},
	{"squashfs", "SquashFS", "unsupported-volume", 0, tool("mksquashfs", "FOLDER", "IMAGE", "-noappend", "-quiet")},
	{"erofs", "EROFS", "unsupported-volume", 0, tool("mkfs.erofs", "IMAGE", "FOLDER")},
	{"ufs", "UFS", "unsupported-volume", 0, tool("makefs", "-t", "ffs", "-s", "8m", "-o", "version=1", "IMAGE", "FOLDER")},
	{"ufs", "UFS", "unsupported-volume", 0, tool("makefs", "-t", "ffs", "-s", "8m", "-o", "version=2", "IMAGE", "FOLDER")},
}

// madeByHand are volumes whose tools are not to be had, or want a device and a kernel. blkid, which is not ours, must know
// those that it has a name for.
var madeByHand = []struct {
	refused
	blkid string
}{
	{refused{"bitlocker", "encrypted with BitLocker", "encrypted", 8 * mega, puts(0, "\xEB\x58\x90-FVE-FS-", 3, "-FVE-FS-")}, ""},
	{refused{"bitlocker-to-go", "encrypted with BitLocker To Go", "encrypted", 64 * mega, bitlockerToGo}, ""},
	{refused{"corestorage", "FileVault", "encrypted", 8 * mega, puts(8, "\x01\x00\x10\x00", 88, "CS\x01\x00")}, ""},
	{refused{"random", "may be encrypted", "encrypted", 8 * mega, noise}, ""}, // VeraCrypt, plain dm-crypt, a LUKS header kept elsewhere
	{refused{"refs", "ReFS", "unsupported-volume", 8 * mega, puts(0, "\x00\x00\x00ReFS\x00\x00\x00\x00")}, "ReFS"},
	{refused{"lvm2", "LVM", "unsupported-volume", 8 * mega, lvm}, "LVM2_member"},
	{refused{"md", "RAID", "unsupported-volume", 8 * mega, raid(0)}, "linux_raid_member"},
	{refused{"md", "RAID", "unsupported-volume", 8 * mega, raid(4096)}, "linux_raid_member"},
	{refused{"md", "RAID", "unsupported-volume", 8 * mega, raid(8*mega - 8192)}, "linux_raid_member"},
	{refused{"md", "RAID", "unsupported-volume", 8 * mega, puts(8*mega-64<<10, "\xFC\x4E\x2B\xA9\x00\x00\x00\x00\x5A\x00\x00\x00")}, "linux_raid_member"},
	{refused{"zfs", "ZFS", "unsupported-volume", 128 * mega, zfs}, "zfs_member"},
	{refused{"qcow2", "QEMU disk image", "unsupported-volume", 8 * mega, puts(0, "QFI\xFB\x00\x00\x00\x03")}, ""},
	{refused{"vhd", "Hyper-V disk image", "unsupported-volume", 8 * mega, puts(0, "conectix")}, ""},
	{refused{"vhdx", "Hyper-V disk image", "unsupported-volume", 8 * mega, puts(0, "vhdxfile")}, ""},
	{refused{"vmdk", "VMware disk image", "unsupported-volume", 8 * mega, puts(0, "KDMV\x01\x00\x00\x00")}, ""},
	{refused{"vdi", "VirtualBox disk image", "unsupported-volume", 8 * mega, puts(64, "\x7F\x10\xDA\xBE")}, ""},
	{refused{"ewf", "EnCase image", "unsupported-volume", 8 * mega, puts(0, "EVF\x09\x0D\x0A\xFF\x00")}, ""},
	{refused{"swap", "swap", "unsupported-volume", 8 * mega, puts(4086, "SWAPSPACE2", 1024, "\x01\x00\x00\x00\xFF\x07")}, "swap"},
}

// luks formats with a passphrase, as quickly as the tool allows.
func luks(kind string) func(*testing.T, string) {
	return func(t *testing.T, image string) {
		cmd := exec.Command("cryptsetup", "luksFormat", "-q", "--type", kind, "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", image, "-")
		cmd.Stdin = strings.NewReader("a passphrase")
		output(t, cmd)
	}
}

// tool runs a program on an IMAGE, and a FOLDER with some files.
func tool(name string, args ...string) func(*testing.T, string) {
	return func(t *testing.T, image string) {
		args := slices.Clone(args)
		for i := range args {
			switch args[i] {
			case "IMAGE":
				args[i] = image
			case "FOLDER":
				args[i] = t.TempDir()
				if err := stick.WriteTree(args[i], stick.CleanFiles()); err != nil {
					t.Fatal(err)
				}
			}
		}
		if info, err := os.Stat(image); err == nil && info.Size() == 0 {
			os.Remove(image) // some make the file themselves
		}
		output(t, exec.Command(name, args...))
	}
}

// hfsplus is the volume that xorriso puts into a disc for Apple's computers.
func hfsplus(t *testing.T, image string) {
	tool("xorriso", "-as", "mkisofs", "-hfsplus", "-o", "IMAGE", "FOLDER")(t, image)
	disc, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(disc, []byte("H+\x00\x04")) - 1024
	if at < 0 || at%512 != 0 {
		t.Fatalf("no volume on the disc: %d", at)
	}
	if err := os.WriteFile(image, disc[at:], 0o644); err != nil {
		t.Fatal(err)
	}
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "LC_ALL=C.UTF-8", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if path, err := exec.LookPath(filepath.Join("/usr/sbin", cmd.Args[0])); err == nil {
		cmd.Path, cmd.Err = path, nil // not on everybody's path
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return string(out)
}

// puts writes texts at offsets.
func puts(pairs ...any) func(*testing.T, string) {
	return func(t *testing.T, image string) {
		edit(t, image, func(f stick.Image) {
			for i := 0; i < len(pairs); i += 2 {
				put(t, f, int64(pairs[i].(int)), []byte(pairs[i+1].(string)))
			}
		})
	}
}

func put(t *testing.T, w io.WriterAt, at int64, b []byte) {
	t.Helper()
	if _, err := w.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

func edit(t *testing.T, image string, change func(stick.Image)) {
	t.Helper()
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	change(f)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// blank is a file of zeros.
func blank(t *testing.T, bytes int64) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image")
	if err := errors.Join(os.WriteFile(name, nil, 0o644), os.Truncate(name, bytes)); err != nil {
		t.Fatal(err)
	}
	return name
}

// within is a medium with a healthy volume and, behind it, what is in a file: as a partition, or where no partition is.
func within(t *testing.T, image string, partition bool) string {
	t.Helper()
	const start = 20 * mega
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	size := (int64(len(data)) + 511) &^ 511
	name := blank(t, start+size+mega)
	edit(t, name, func(f stick.Image) {
		parts := []stick.Partition{{Start: mega, Bytes: 16 * mega, Type: 0x06}}
		fat16(t, f, mega, stick.File{Path: "NOTES.TXT", Data: []byte("nothing to see")})
		if partition {
			parts = append(parts, stick.Partition{Start: start, Bytes: size, Type: 0x83})
		}
		if err := stick.WriteMBR(f, parts, nil); err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(data); at += 64 << 10 {
			if b := data[at:min(at+64<<10, len(data))]; len(bytes.Trim(b, "\x00")) > 0 {
				put(t, f, start+int64(at), b)
			}
		}
	})
	return name
}

// fat16 puts a volume of 16 MiB at a place.
func fat16(t *testing.T, f stick.Image, at int64, files ...stick.File) {
	t.Helper()
	if _, err := stick.WriteFAT(io.NewOffsetWriter(f, at), stick.FAT{Bits: 16, Bytes: 16 * mega, Start: at}, files); err != nil {
		t.Fatal(err)
	}
}

// bitlockerToGo looks like FAT32, and on a computer without BitLocker shows files with a program to unlock it.
func bitlockerToGo(t *testing.T, image string) {
	edit(t, image, func(f stick.Image) {
		_, err := stick.WriteFAT(f, stick.FAT{Bits: 32, Bytes: 64 * mega}, []stick.File{{Path: "COV 0000. BL", Data: make([]byte, mega)}})
		if err != nil {
			t.Fatal(err)
		}
		put(t, f, 424, []byte("\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01"))
	})
}

func noise(t *testing.T, image string) {
	edit(t, image, func(f stick.Image) {
		b := make([]byte, 8*mega)
		rand.NewChaCha8([32]byte{25}).Read(b)
		put(t, f, 0, b)
	})
}

// lvm is the label of a physical volume (LVM2's label.h): it has a checksum, which blkid wants right.
func lvm(t *testing.T, image string) {
	label := make([]byte, 512)
	copy(label, "LABELONE")
	binary.LittleEndian.PutUint64(label[8:], 1)
	binary.LittleEndian.PutUint32(label[20:], 32)
	copy(label[24:], "LVM2 001"+strings.Repeat("PRATIQUE", 4))
	crc := uint32(0xF597A6CF)
	for _, b := range label[20:] {
		crc ^= uint32(b)
		for range 8 {
			crc = crc>>1 ^ 0xEDB88320*(crc&1)
		}
	}
	binary.LittleEndian.PutUint32(label[16:], crc)
	edit(t, image, func(f stick.Image) { put(t, f, 512, label) })
}

// raid is a Linux RAID superblock of version 1 (the kernel's md_p.h), at one of its three places.
func raid(at int64) func(*testing.T, string) {
	return func(t *testing.T, image string) {
		sb := make([]byte, 256+2*4)
		le := binary.LittleEndian
		le.PutUint32(sb, 0xA92B4EFC)
		le.PutUint32(sb[4:], 1)
		copy(sb[16:], "PRATIQUE RAID ID")
		le.PutUint64(sb[144:], uint64(at/512))
		le.PutUint32(sb[220:], 4)
		var sum uint64
		for i := 0; i < len(sb); i += 4 {
			sum += uint64(le.Uint32(sb[i:]))
		}
		le.PutUint32(sb[216:], uint32(sum)+uint32(sum>>32))
		edit(t, image, func(f stick.Image) { put(t, f, at, sb) })
	}
}

// zfs has the ring of überblocks of one label.
func zfs(t *testing.T, image string) {
	edit(t, image, func(f stick.Image) {
		for i := range int64(128) {
			b := make([]byte, 40)
			binary.LittleEndian.PutUint64(b, 0x00BAB10C)
			binary.LittleEndian.PutUint64(b[8:], 5000)
			put(t, f, 128<<10+i<<10, b)
		}
	})
}

// T25, on whole programs: whatever a volume without a reader is, and wherever it lies, the verdict names it.
func TestT25_VolumesThatCannotBeReadAreNamedInTheVerdict(t *testing.T) {
	state := t.TempDir()
	try := func(r refused, blkid string) {
		t.Run(r.name, func(t *testing.T) {
			image := blank(t, r.bytes)
			r.make(t, image)
			if blkid != "" {
				if got := strings.TrimSpace(output(t, exec.Command("blkid", "-p", "-o", "value", "-s", "TYPE", image))); got != blkid {
					t.Errorf("blkid takes it for %q, want %q", got, blkid)
				}
			}
			for where, name := range map[string]string{"whole device": image, "partition": within(t, image, true), "gap": within(t, image, false)} {
				code, res := screenJSON(t, "--state", state, name)
				named := slices.ContainsFunc(res.Volumes, func(v jsonVolume) bool { return v.FileSystem == r.name })
				said := slices.ContainsFunc(res.Reasons, func(x kiosk.Reason) bool {
					return string(x.Code) == r.code && strings.Contains(x.Text, r.words)
				})
				if code != 4 || !named || !said {
					t.Errorf("%s: exit code %d, volumes %+v, reasons %q", where, code, res.Volumes, res.Reasons)
				}
			}
		})
	}
	for _, r := range madeByTools {
		try(r, "")
	}
	for _, r := range madeByHand {
		try(r.refused, r.blkid)
	}
}

// Volumes that Linux writes, by the tools that everybody uses, through whole programs.
func TestExtVolumesAreScreened(t *testing.T) {
	state := t.TempDir()
	for _, kind := range []string{"ext2", "ext3", "ext4"} {
		for name, want := range map[string]int{"nothing to see": 0, string(stick.EICAR()): 3} {
			dir := t.TempDir()
			if err := stick.WriteTree(dir, append(stick.CleanFiles(), stick.File{Path: "folder/NOTES.TXT", Data: []byte(name)})); err != nil {
				t.Fatal(err)
			}
			image := blank(t, 24*mega)
			output(t, exec.Command("mke2fs", "-q", "-F", "-t", kind, "-d", dir, image))
			for where, medium := range map[string]string{"whole device": image, "partition": within(t, image, true)} {
				code, res := screenJSON(t, "--state", state, medium)
				if read := slices.ContainsFunc(res.Volumes, func(v jsonVolume) bool { return v.FileSystem == kind }); code != want || !read {
					t.Errorf("%s, %s: exit code %d, want %d; volumes %+v, reasons %q", kind, where, code, want, res.Volumes, res.Reasons)
				}
			}
		}
	}
}
