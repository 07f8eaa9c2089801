package container

import (
	"strings"
)

// format is one kind of container. match looks at the bytes alone and is sure: what it takes for a container and cannot be
// opened is told. open hands each member to the layer; an error of its own is about the content.
type format struct {
	name  string
	match func(*Content) bool
	open  func(*Content, *layer) error
}

// table is all that can be opened. A new format needs a row here. It is a function and no variable, because a format has what
// it finds looked up in it again.
func table() []format {
	return append(archives(),
		format{"program", isProgram, openProgram},
		format{"upx", isUPX, openUPX},
		format{"packer", isPacker, openPacker},
	)
}

// archives is what can be opened and is no program.
func archives() []format {
	return []format{
		{"zip", isZIP, openZIP},
		{"gzip", isGzip, openGzip},
		{"tar", isTar, openTar},
		{"bzip2", isBzip2, openBzip2},
		{"xz", isXz, openXz},
		{"lzma", isLzma, openLzma},
		{"lzip", isLzip, openLzip},
		{"zstd", isZstd, openZstd},
		{"lz4", isLz4, openLz4},
		{"compress", isCompress, openCompress},
		{"ar", isAr, openAr},
		{"cpio", isCpio, openCpio},
		{"rpm", isRpm, openRpm},
		{"7z", isSeven, openSeven},
		{"rar", isRar, openRar},
		{"cab", isCab, openCab},
		{"arj", isArj, openArj},
		{"lha", isLha, openLha},
		{"image", isImage, openImage},
		{"vhd", isVhd, openVhd},
		{"vhdx", isVhdx, openVhdx},
		{"vmdk", isVmdk, openVmdk},
		{"chm", isChm, openChm},
		{"sis", isSis, openSis},
		{"szdd", isSzdd, openSzdd},
		{"kwaj", isKwaj, openKwaj},
		{"nsis", isNSIS, openNSIS},
		{"installshield", isShield, openShield},
		{"ole", isOle, openOle},
		{"xml", isXML, openXML},
		{"pdf", isPDF, openPDF},
		{"rtf", isRTF, openRTF},
		{"mail", isMail, openMail},
		{"encoded", isEncoded, openEncoded},
		{"tnef", isTNEF, openTNEF},
		{"dicom", isDICOM, openDICOM},
		{"data", isData, openData},
	}
}

// named are containers that are known by their first bytes and not opened. A word that a text or random bytes could begin
// with is none of them: what it says blocks.
var named = []struct {
	name, word string
	at         int64
}{
	{"ACE", "**ACE**", 7},
	{"ALZip", "ALZ\x01", 0}, {"ALZip", "EGGA\x00\x01", 0},
	{"Apple disk image", "koly", -512}, {"Apple archive", "pbze", 0}, {"Apple archive", "pbzx", 0},
	{"BlakHole", "bh\x05\x07", 0}, {"BlakHole", "bh\x07\x07", 0},
	{"LZFSE", "bvx2", 0}, {"LZFSE", "bvx-", 0}, {"LZFSE", "bvxn", 0},
	{"lrzip", "LRZI", 0}, {"lzop", "\x89LZO\x00\r\n\x1A\n", 0},
	{"PEA", "\xEA\x00\x00", 0},
	{"QEMU disk image", "QFI\xFB", 0}, {"VirtualBox disk image", "\x7F\x10\xDA\xBE", 64}, {"EnCase image", "EVF\x09\x0D\x0A\xFF\x00", 0},
	{"snappy", "\xFF\x06\x00\x00sNaPpY", 0}, {"SquashFS", "hsqs", 0}, {"StuffIt", "rLau", 10}, {"StuffIt", "StuffIt (c)1997", 0},
	{"UHarc", "UHA\x04", 0}, {"UHarc", "UHA\x06", 0}, {"WIM", "MSWIM\x00\x00\x00", 0}, {"WIM", "WLPWM\x00\x00\x00", 0},
	{"xar", "xar!\x00\x1C", 0}, {"zoo", "\xDC\xA7\xC4\xFD", 20}, {"ZPAQ", "7kSt", 0}, {"ZPAQ", "zPQ\x01", 0}, {"ZPAQ", "zPQ\x02", 0},
	{"DriveSpace", "MSDSP6.", 3}, {"Windows backup", "TAPE\x00\x00", 0}, {"Ghost image", "\xFE\xEF\x01", 0}, {"cramfs", "\x45\x3D\xCD\x28", 0},
}

// recognise finds everything as which content can be opened. More than one is a polyglot, and each is opened. A signature
// that breaks on the content makes it one that nobody can open.
func (o *Opener) recognise(c *Content) (found []*format) {
	defer func() {
		if recover() != nil {
			found = append(found, &format{name: "broken", open: unknown})
		}
	}()
	if c.Size < smallest {
		return nil
	}
	for i := range o.formats {
		if f := &o.formats[i]; f.match(c) {
			found = append(found, f)
		}
	}
	if n := known(c); n != nil {
		found = append(found, n)
	}
	return found
}

// known is what content is known as that nobody can open, or nil.
func known(c *Content) *format {
	for i := range named {
		n := &named[i]
		at := n.at
		if at < 0 {
			at += c.Size
		}
		if at < int64(len(c.Head)) && at >= 0 && c.Head[at] != n.word[0] {
			continue
		}
		if c.has(at, n.word) {
			return &format{name: n.name, open: unknown}
		}
	}
	return nil
}

// smallest is less than any container needs to have a member with content.
const smallest = 12

func unknown(*Content, *layer) error { return errUnknown }

// stem is a name without the extension of what packed it, so that what comes out has a name that a person knows.
func stem(name string, extensions ...string) string {
	for _, e := range extensions {
		from, to, ok := strings.Cut(e, ">")
		if cut := len(name) - len(from); cut > 0 && strings.EqualFold(name[cut:], from) {
			if !ok {
				to = ""
			}
			return name[:cut] + to
		}
	}
	return name + " (unpacked)"
}
