// Package readers picks the reader for a volume that package volume found, and has the words for those that are refused.
//
// It trusts the name of a candidate only as a hint: the reader it picks checks the volume itself. A name that it does not
// know is refused, so a new signature in package volume can never open something by accident.
package readers

import (
	"errors"
	"fmt"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/exfat"
	"pratique/scanner/volume/ext"
	"pratique/scanner/volume/fat"
	"pratique/scanner/volume/iso9660"
	"pratique/scanner/volume/ntfs"
	"pratique/scanner/volume/udf"
)

// ErrNoReader marks a volume that is recognised and refused.
var ErrNoReader = errors.New("there is no reader for this volume")

// Open opens the volume that c describes on the medium src. Errors wrap ErrNoReader, volume.ErrMalformed or
// volume.ErrUnreadable, and OutcomeOf says what each means.
func Open(src volume.Source, c volume.Candidate) (volume.FileSystem, error) {
	if c.Start < 0 || c.Bytes <= 0 || c.Bytes > src.Size()-c.Start {
		return nil, fmt.Errorf("%w: it lies outside the medium", volume.ErrMalformed)
	}
	section := volume.Section(src, c.Start, c.Bytes)
	switch c.FileSystem {
	case "fat12", "fat16", "fat32":
		v, err := fat.Open(section)
		if err != nil {
			return nil, err
		}
		if v.Type() != c.FileSystem {
			// The boot sector was read twice and said two things: a medium that lies.
			return nil, fmt.Errorf("%w: the boot sector changed while it was read", volume.ErrMalformed)
		}
		return v, nil
	case "exfat":
		return exfat.Open(section)
	case "ntfs":
		return ntfs.Open(section)
	case "ext2", "ext3", "ext4":
		return ext.Open(section)
	case "iso9660":
		return iso9660.Open(section)
	case "udf":
		return udf.Open(section)
	}
	text, _ := Refusal(c.FileSystem)
	return nil, fmt.Errorf("%w: %s", ErrNoReader, text)
}

// OutcomeOf says what became of a volume that Open refused with err, in one sentence and as an outcome that is never Clean.
func OutcomeOf(c volume.Candidate, err error) (text string, outcome report.Outcome) {
	switch {
	case errors.Is(err, volume.ErrUnreadable):
		return "The medium could not be read where the volume describes itself.", report.Unreadable
	case errors.Is(err, volume.ErrMalformed):
		return "The volume is damaged: it contradicts itself.", report.Malformed
	}
	return Refusal(c.FileSystem)
}

// Refusal has the words for a volume without a reader. The text is one sentence; the outcome bars a clearance.
func Refusal(name string) (text string, outcome report.Outcome) {
	if product, ok := encrypted[name]; ok {
		return fmt.Sprintf("The volume is encrypted with %s.", product), report.Encrypted
	}
	if product, ok := unsupported[name]; ok {
		return fmt.Sprintf("The volume is %s, which this kiosk cannot read.", product), report.Unscanned
	}
	switch name {
	case "random":
		return "The volume holds what looks like random data: it may be encrypted.", report.Encrypted
	case "fat12", "fat16", "fat32", "exfat", "ntfs", "ext2", "ext3", "ext4", "iso9660", "udf":
		return "The volume could not be opened.", report.Unscanned
	}
	return "The volume holds data of an unknown kind.", report.Unscanned
}

var encrypted = map[string]string{
	"bitlocker":       "BitLocker",
	"bitlocker-to-go": "BitLocker To Go",
	"luks1":           "LUKS",
	"luks2":           "LUKS",
	"corestorage":     "FileVault (Core Storage)",
}

// unsupported: the words are what a person may know the thing by.
var unsupported = map[string]string{
	"amiga-label":    "divided by an Amiga partition table",
	"apfs":           "APFS (Apple)",
	"apple-map":      "divided by an Apple partition map",
	"bsd-label":      "divided by a BSD disk label",
	"btrfs":          "btrfs (Linux)",
	"cramfs":         "cramfs (Linux)",
	"erofs":          "EROFS (Linux)",
	"ewf":            "an EnCase image",
	"ext-journal":    "the journal of another volume (Linux)",
	"f2fs":           "F2FS (Linux, Android)",
	"gfs2":           "GFS2 (Linux)",
	"hfs":            "HFS (Apple)",
	"hfsplus":        "HFS+ (Apple)",
	"hpfs":           "HPFS (OS/2)",
	"jfs":            "JFS",
	"ldm":            "part of a Windows dynamic disk",
	"lvm2":           "part of a Linux volume group (LVM)",
	"md":             "part of a Linux RAID",
	"minix":          "Minix",
	"nilfs2":         "NILFS2 (Linux)",
	"ocfs2":          "OCFS2 (Linux)",
	"qcow2":          "a QEMU disk image",
	"refs":           "ReFS (Windows)",
	"reiserfs":       "ReiserFS (Linux)",
	"romfs":          "romfs (Linux)",
	"sgi-label":      "divided by an SGI disk label",
	"solaris-label":  "divided by a Solaris disk label",
	"squashfs":       "SquashFS (Linux)",
	"storage-space":  "part of a Windows storage space",
	"sun-label":      "divided by a Sun disk label",
	"swap":           "Linux swap space",
	"sysv68-label":   "divided by a Motorola disk label",
	"ufs":            "UFS (BSD)",
	"ultrix-label":   "divided by an Ultrix disk label",
	"unixware-label": "divided by a UnixWare disk label",
	"vdi":            "a VirtualBox disk image",
	"vhd":            "a Hyper-V disk image",
	"vhdx":           "a Hyper-V disk image",
	"vmdk":           "a VMware disk image",
	"xfs":            "XFS (Linux)",
	"zfs":            "ZFS",
}
