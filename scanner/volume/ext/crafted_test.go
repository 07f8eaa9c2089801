package ext

import (
	"bytes"
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pratique/scanner/report"
	"pratique/scanner/volume"
	"pratique/scanner/volume/volumetest"
)

// bench is a volume with changes, for crafted cases. Inodes are found with debugfs.
type bench struct {
	t     testing.TB
	m     *volumetest.Mutant
	image string
}

func (b bench) put(at int64, data ...byte) {
	b.m.Edits = append(b.m.Edits, volumetest.Edit{Offset: at, New: bytes.Clone(data)})
}
func (b bench) put16(at int64, v uint16) { b.put(at, le.AppendUint16(nil, v)...) }
func (b bench) put32(at int64, v uint32) { b.put(at, le.AppendUint32(nil, v)...) }

func (b bench) read(at, n int64) []byte {
	b.t.Helper()
	p := make([]byte, n)
	if _, err := b.m.ReadAt(p, at); err != nil {
		b.t.Fatal(err)
	}
	return p
}

func (b bench) get32(at int64) uint32 { return le.Uint32(b.read(at, 4)) }

func (b bench) fs() *FS {
	b.t.Helper()
	v, err := Open(b.m)
	if err != nil {
		b.t.Fatal(err)
	}
	return v.(*FS)
}

var inodeLine = regexp.MustCompile(`Inode: (\d+)`)

// number is the inode of a path.
func (b bench) number(path string) int64 {
	b.t.Helper()
	m := inodeLine.FindSubmatch(tool(b.t, "debugfs", "-R", "stat \"/"+path+"\"", b.image))
	if m == nil {
		b.t.Fatalf("no inode of %q", path)
	}
	n, _ := strconv.ParseInt(string(m[1]), 10, 64)
	return n
}

// at is where a field of a path's inode lies.
func (b bench) at(path string, field int64) int64 {
	b.t.Helper()
	return b.fs().inodeAt(b.number(path)) + field
}

// body is where what says where the content lies begins.
const body = 40

// first is where the first block of a path lies that has a map of ext2.
func (b bench) first(path string) int64 {
	b.t.Helper()
	return int64(b.get32(b.at(path, body))) << b.fs().geo.shift
}

// named is where the entry of a name lies in a directory.
func (b bench) named(dir, name string) int64 {
	b.t.Helper()
	block := b.read(b.first(dir), b.fs().geo.block())
	i := bytes.Index(block, []byte(name))
	if i < 8 {
		b.t.Fatalf("no entry %q in %q", name, dir)
	}
	return b.first(dir) + int64(i) - 8
}

// bit clears or sets one bit of a group's first bitmap of blocks or inodes.
func (b bench) bit(bitmap uint32, n int64, on bool) {
	at := int64(bitmap)<<b.fs().geo.shift + n/8
	v := b.read(at, 1)[0] &^ (1 << (n % 8))
	if on {
		v |= 1 << (n % 8)
	}
	b.put(at, v)
}

// crafted changes a volume and says what must come of it. All but those that say "tree" are of ext2 in blocks of 1 KiB.
var crafted = map[string]struct {
	craft   func(b bench)
	outcome report.Outcome // of the volume
	rule    string         // a finding on it or on an entry
	entry   string         // whose outcome is
	becomes report.Outcome
	areas   string // the beginning of an area's path that must be there
}{
	"block of another file": {craft: func(b bench) { b.put32(b.at("gap001", body), b.get32(b.at("gap003", body))) },
		outcome: report.Malformed, rule: "content-damaged", areas: "lost blocks"},
	"block of the table of inodes": {craft: func(b bench) { b.put32(b.at("gap001", body), b.fs().groups[0].table) },
		outcome: report.Malformed, entry: "gap001", becomes: report.Malformed},
	"the superblock as content":    {craft: func(b bench) { b.put32(b.at("gap001", body), 1) }, outcome: report.Malformed, entry: "gap001", becomes: report.Malformed},
	"block behind the volume":      {craft: func(b bench) { b.put32(b.at("gap001", body), 1<<31) }, outcome: report.Malformed, entry: "gap001", becomes: report.Malformed},
	"block cut out":                {craft: func(b bench) { b.put32(b.at("gap001", body+4), 0) }, outcome: report.Clean, rule: "block-count", areas: "lost blocks"},
	"map that holds itself":        {craft: func(b bench) { n := b.get32(b.at("pieces.bin", body+4*13)); b.put32(int64(n)<<10+20, n) }, outcome: report.Malformed, entry: "pieces.bin", becomes: report.Malformed},
	"map in three levels of it":    {craft: func(b bench) { b.put32(b.at("pieces.bin", body+4*14), b.get32(b.at("pieces.bin", body+4*13))) }, outcome: report.Malformed, entry: "pieces.bin", becomes: report.Malformed},
	"size behind what it has":      {craft: func(b bench) { b.put32(b.at("gap001", 4), 1<<31) }, outcome: report.TooLarge},
	"size of 2^62":                 {craft: func(b bench) { b.put32(b.at("gap001", 108), 1<<30) }, outcome: report.TooLarge, entry: "gap001", becomes: report.TooLarge},
	"content behind its end":       {craft: func(b bench) { b.put32(b.at("gap001", 4), 1) }, outcome: report.Malformed, entry: "gap001", becomes: report.Malformed, areas: "blocks behind the ends"},
	"extents where there are none": {craft: func(b bench) { b.put32(b.at("gap001", 32), flagExtents) }, outcome: report.Malformed, entry: "gap001", becomes: report.Malformed},
	"content said to be inline":    {craft: func(b bench) { b.put32(b.at("gap001", 32), flagInline) }, outcome: report.Malformed, entry: "gap001", becomes: report.Malformed},
	"hashes of fs-verity": {craft: func(b bench) {
		b.put32(superAt+100, roSparse|2|roVerity)
		b.put32(b.at("gap001", 32), flagVerity)
		b.put32(b.at("gap001", 4), 1)
	}, outcome: report.Clean, areas: "blocks behind the ends"},
	"journal that is a file": {craft: func(b bench) {
		b.put32(superAt+92, compatJournal|compatResize)
		b.put32(superAt+224, uint32(b.number("gap001")))
	},
		outcome: report.Clean, areas: "file of the volume"},
	"journal that is a directory": {craft: func(b bench) {
		b.put32(superAt+92, compatJournal|compatResize)
		b.put32(superAt+224, uint32(b.number("things")))
	},
		outcome: report.Malformed, entry: "things", becomes: report.Malformed},
	"a table for every group":             {craft: func(b bench) { b.put32(2048+32+8, b.get32(2048+8)) }, outcome: report.Malformed},
	"T25 fscrypt":                         {craft: func(b bench) { b.put32(b.at("gap001", 32), flagEncrypted) }, outcome: report.Encrypted, rule: "encrypted", entry: "gap001", becomes: report.Encrypted},
	"T25 directory of fscrypt":            {craft: func(b bench) { b.put32(b.at("things", 32), flagEncrypted) }, outcome: report.Encrypted, rule: "encrypted", entry: "things", becomes: report.Encrypted},
	"no kind":                             {craft: func(b bench) { b.put16(b.at("gap001", 0), 0o644) }, outcome: report.Malformed, entry: "gap001", becomes: report.Malformed},
	"file that is said to be a pipe":      {craft: func(b bench) { b.put16(b.at("gap001", 0), 0o10644) }, outcome: report.Malformed, entry: "gap001", becomes: report.Malformed},
	"directory that is said to be a file": {craft: func(b bench) { b.put16(b.at("things", 0), 0o100644) }, outcome: report.Malformed, entry: "things", becomes: report.Malformed, areas: "$Orphan/"},
	"deleted, but still named":            {craft: func(b bench) { b.put16(b.at("gap001", 26), 0) }, outcome: report.Malformed, entry: "gap001", becomes: report.Malformed},
	"name taken away":                     {craft: func(b bench) { b.put32(b.named("things", "linked"), 0) }, outcome: report.Clean, rule: "link-count"},
	"only name taken away":                {craft: func(b bench) { b.put32(b.named("things", "long"), 0) }, outcome: report.Clean, rule: "orphan", areas: "$Orphan/inode"},
	"name more":                           {craft: func(b bench) { b.put32(b.named("things", "long"), uint32(b.number("gap001"))) }, outcome: report.Malformed, rule: "link-count"},
	"name that leads outside":             {craft: func(b bench) { b.put32(b.named("things", "long"), 1<<30) }, outcome: report.Malformed, entry: "things/long", becomes: report.Malformed},
	"name of the journal's inode":         {craft: func(b bench) { b.put32(b.named("things", "long"), 8) }, outcome: report.Malformed, entry: "things/long", becomes: report.Malformed},
	"name of a blank inode":               {craft: func(b bench) { b.put32(b.named("things", "long"), 1500) }, outcome: report.Malformed, entry: "things/long", becomes: report.Malformed},
	"directory that holds the root":       {craft: func(b bench) { b.put32(b.named("things", "long"), 2) }, outcome: report.Malformed, entry: "things/long", becomes: report.Malformed},
	"directory that holds itself": {craft: func(b bench) {
		b.put32(b.named("things", "long"), uint32(b.number("things")))
		b.put(b.named("things", "long")+7, 2)
	}, outcome: report.Malformed, entry: "things/long", becomes: report.Malformed},
	"directory with two names": {craft: func(b bench) {
		b.put32(b.named("things", "long"), uint32(b.number("Flat")))
		b.put(b.named("things", "long")+7, 2)
	}, outcome: report.Malformed, rule: "entry-damaged"},
	"kind that is not the inode's":  {craft: func(b bench) { b.put(b.named("things", "long")+7, 1) }, outcome: report.Malformed, entry: "things/long", becomes: report.Malformed},
	"name with a separator":         {craft: func(b bench) { b.put(b.named("things", "long")+9, '/') }, outcome: report.Malformed, rule: "entry-damaged"},
	"name that means above":         {craft: func(b bench) { b.put(b.named("things", "long")+6, 2); b.put(b.named("things", "long")+8, '.', '.') }, outcome: report.Malformed, rule: "entry-damaged"},
	"name that is twice":            {craft: func(b bench) { b.put(b.named("things", "pipe")+8, 'l', 'o', 'n', 'g') }, outcome: report.Clean, rule: "name-twice"},
	"name that is not UTF-8":        {craft: func(b bench) { b.put(b.named("things", "pipe")+8, 0xE9) }, outcome: report.Clean, rule: "name-bytes"},
	"name that is read backwards":   {craft: func(b bench) { b.put(b.named("things", "dangling")+8, []byte("\u202Etxt")...) }, outcome: report.Clean, rule: "name-direction"},
	"entry of no length":            {craft: func(b bench) { b.put16(b.named("things", "long")+4, 0) }, outcome: report.Malformed, entry: "things", becomes: report.Malformed, areas: "$Orphan/"},
	"entry behind its block":        {craft: func(b bench) { b.put16(b.named("things", "long")+4, 1024) }, outcome: report.Malformed, entry: "things", becomes: report.Malformed, areas: "$Orphan/"},
	"directory that is another":     {craft: func(b bench) { b.put32(b.first("things"), 2) }, outcome: report.Malformed, entry: "things", becomes: report.Malformed},
	"directory that lies elsewhere": {craft: func(b bench) { b.put32(b.first("things")+12, uint32(b.number("Flat"))) }, outcome: report.Clean, rule: "parent-differs"},
	"directory that is too short":   {craft: func(b bench) { b.put32(b.at("things", 4), 0) }, outcome: report.Malformed, entry: "things", becomes: report.Malformed},
	"directory with a hole":         {craft: func(b bench) { b.put32(b.at("things", 4), 2048) }, outcome: report.Malformed, entry: "things", becomes: report.Malformed},
	"inode that is free":            {craft: func(b bench) { b.bit(b.fs().groups[0].inodes, b.number("things")-1, false) }, outcome: report.Malformed},
	"inode in use by nobody":        {craft: func(b bench) { b.bit(b.fs().groups[0].inodes, 1500, true) }, outcome: report.Clean, rule: "inodes-differ"},
	"blocks that are free":          {craft: func(b bench) { b.bit(b.fs().groups[0].blocks, int64(b.get32(b.at("things", body)))-1, false) }, outcome: report.Malformed},
	"blocks in use by nobody":       {craft: func(b bench) { b.bit(b.fs().groups[2].blocks, 8000, true) }, outcome: report.Clean, rule: "lost-blocks", areas: "lost blocks"},
	"attributes of another file":    {craft: func(b bench) { b.put32(b.at("gap001", 104), b.get32(b.at("gap003", body))) }, outcome: report.Malformed, entry: "gap001", becomes: report.Malformed},
	"attributes outside":            {craft: func(b bench) { b.put32(b.at("gap001", 104), 1<<31) }, outcome: report.Malformed, entry: "gap001", becomes: report.Malformed},
	"attributes that are none":      {craft: func(b bench) { b.put32(int64(b.get32(b.at("things/linked", 104)))<<10, 0) }, outcome: report.Malformed, entry: "things/linked", becomes: report.Malformed},
	"attribute of no place":         {craft: func(b bench) { b.put16(int64(b.get32(b.at("things/linked", 104)))<<10+34, 1020) }, outcome: report.Malformed, entry: "things/linked", becomes: report.Malformed},
	"list of bad blocks":            {craft: func(b bench) { b.put16(b.fs().inodeAt(1)+26, 1); b.put32(b.fs().inodeAt(1)+body, 20_000) }, outcome: report.Malformed, rule: "bad-blocks", areas: "blocks marked as bad"},
	"quota that is hidden":          {craft: func(b bench) { b.put16(b.fs().inodeAt(3), 0o100600); b.put32(b.fs().inodeAt(3)+body, 20_000) }, outcome: report.Malformed, areas: "quotas of users"},
	"code before the superblock":    {craft: func(b bench) { b.put(100, []byte("boot")...) }, outcome: report.Clean, areas: "space beside"},
	"group that lies":               {craft: func(b bench) { b.put32(2048+8, 1<<30) }, outcome: report.Malformed},
	"group over another":            {craft: func(b bench) { b.put32(2048+32, b.get32(2048)) }, outcome: report.Malformed},
	"copy of the groups that lies":  {craft: func(b bench) { b.put32(8193<<10+1024+8, 7) }, outcome: report.Malformed, rule: "superblocks-differ"},
	"copy of another volume":        {craft: func(b bench) { b.put32(8193<<10+4, 24_000) }, outcome: report.Malformed, rule: "superblocks-differ"},
	"copy that is damaged":          {craft: func(b bench) { b.put16(8193<<10+56, 0) }, outcome: report.Clean, rule: "superblocks-differ"},
	"root that is a file":           {craft: func(b bench) { b.put16(b.fs().inodeAt(2), 0o100644) }, outcome: report.Malformed, areas: "$Orphan/"},
	"journal that was not replayed": {craft: func(b bench) { b.put32(superAt+96, incompatFileType|incompatRecover) }, outcome: report.Clean, rule: "journal-pending"},
	"journal on another medium":     {craft: func(b bench) { b.put32(superAt+92, compatJournal|compatResize); b.put32(superAt+224, 0) }, outcome: report.Clean, rule: "journal-elsewhere"},
	"journal with changes on another medium": {craft: func(b bench) {
		b.put32(superAt+92, compatJournal|compatResize)
		b.put32(superAt+96, incompatFileType|incompatRecover)
	}, outcome: report.Unscanned, rule: "journal-elsewhere"},
	"T25 feature that is not known":  {craft: func(b bench) { b.put32(superAt+96, incompatFileType|1<<30) }, outcome: report.Unscanned},
	"T25 compression":                {craft: func(b bench) { b.put32(superAt+96, incompatFileType|1) }, outcome: report.Unscanned},
	"T25 Lustre":                     {craft: func(b bench) { b.put32(superAt+96, incompatFileType|0x1000) }, outcome: report.Unscanned},
	"T25 blocks that are shared":     {craft: func(b bench) { b.put32(superAt+100, roSparse|roShared) }, outcome: report.Unscanned},
	"T25 GNU Hurd":                   {craft: func(b bench) { b.put32(superAt+72, 1) }, outcome: report.Unscanned},
	"feature that reading needs not": {craft: func(b bench) { b.put32(superAt+100, roSparse|2|1<<30) }, outcome: report.Clean, rule: "features-unknown"},
	"volume with errors":             {craft: func(b bench) { b.put16(superAt+58, 3) }, outcome: report.Clean, rule: "volume-errors"},
	"volume that was not closed":     {craft: func(b bench) { b.put16(superAt+58, 0) }, outcome: report.Clean, rule: "volume-dirty"},
	"files that are being deleted":   {craft: func(b bench) { b.put32(superAt+232, 13) }, outcome: report.Clean, rule: "deletion-pending"},

	"tree: wrong magic":        {craft: func(b bench) { b.put16(b.at("gap001", body), 0) }, outcome: report.Malformed, entry: "gap001", becomes: report.Malformed},
	"tree: depth of 6":         {craft: func(b bench) { b.put16(b.at("pieces.bin", body+6), 6) }, outcome: report.Malformed, entry: "pieces.bin", becomes: report.Malformed},
	"tree: depth that is less": {craft: func(b bench) { b.put16(b.at("pieces.bin", body+6), 0) }, outcome: report.Malformed, entry: "pieces.bin", becomes: report.Malformed},
	"tree: more than has room": {craft: func(b bench) { b.put16(b.at("gap001", body+2), 5) }, outcome: report.Malformed, entry: "gap001", becomes: report.Malformed},
	"tree: node outside":       {craft: func(b bench) { b.put32(b.at("pieces.bin", body+16), 1<<30) }, outcome: report.Malformed, entry: "pieces.bin", becomes: report.Malformed},
	"tree: node that holds itself": {craft: func(b bench) {
		node := b.get32(b.at("pieces.bin", body+16))
		b.put16(b.at("pieces.bin", body+6), 2)
		b.put16(int64(node)<<10+6, 1)
		b.put32(int64(node)<<10+16, node)
	}, outcome: report.Malformed, entry: "pieces.bin", becomes: report.Malformed},
	"tree: pieces out of order": {craft: func(b bench) {
		b.put32(int64(b.get32(b.at("pieces.bin", body+16)))<<10+12+12, 0)
	}, outcome: report.Malformed, entry: "pieces.bin", becomes: report.Malformed},
	"tree: pieces that lie elsewhere": {craft: func(b bench) { b.put32(b.at("pieces.bin", body+12), 1) }, outcome: report.Malformed, entry: "pieces.bin", becomes: report.Malformed},
	"tree: piece of no length":        {craft: func(b bench) { b.put16(b.at("gap001", body+16), 0) }, outcome: report.Malformed, entry: "gap001", becomes: report.Malformed},
	"tree: piece that reads as zeros": {craft: func(b bench) {
		n := b.read(b.at("gap001", body+16), 2)
		b.put16(b.at("gap001", body+16), le.Uint16(n)|1<<15)
	}, outcome: report.Clean},
	"tree: piece of another file":   {craft: func(b bench) { b.put32(b.at("gap001", body+20), b.get32(b.at("gap003", body+20))) }, outcome: report.Malformed, rule: "content-damaged"},
	"tree: piece behind the volume": {craft: func(b bench) { b.put16(b.at("gap001", body+18), 1) }, outcome: report.Malformed, entry: "gap001", becomes: report.Malformed},
}

func TestT03_CraftedVolumes(t *testing.T) {
	plain := bench{t: t}
	plain.image, _ = rich(t, 24*mega, "-t", "ext2", "-b", "1024")
	trees := bench{t: t}
	trees.image, _ = rich(t, 24*mega, "-t", "ext4", "-b", "1024", "-O", "^metadata_csum,^uninit_bg")
	for name, c := range crafted {
		t.Run(name, func(t *testing.T) {
			b := plain
			if strings.HasPrefix(name, "tree") {
				b = trees
			}
			b.t, b.m = t, &volumetest.Mutant{Source: opened(t, b.image)}
			c.craft(b)
			l := list(t, b.m, volume.Options{})
			if l.Summary.Outcome != c.outcome {
				t.Errorf("the volume is %v, want %v: %s", l.Summary.Outcome, c.outcome, l.Summary.Reason)
			}
			if c.rule != "" && !l.Has(c.rule) {
				t.Errorf("no finding %q: %q", c.rule, l.Rules())
			}
			if c.entry != "" {
				if e := l.Entry(t, c.entry); e.Outcome != c.becomes {
					t.Errorf("%q is %v, want %v", c.entry, e.Outcome, c.becomes)
				}
			}
			if c.areas != "" && areas(l, c.areas) == 0 {
				t.Errorf("no area %q", c.areas)
			}
		})
	}
}

// Superblocks that no volume can have are refused before anything is read by them.
func TestSuperblocksThatContradictThemselvesAreRefused(t *testing.T) {
	image := format(t, t.TempDir(), 24*mega, "-t", "ext4", "-b", "4096", "-O", "64bit")
	for name, craft := range map[string]func(b bench){
		"blocks of 2^31 bytes":         func(b bench) { b.put32(superAt+24, 21) },
		"blocks of 2^(2^32) bytes":     func(b bench) { b.put32(superAt+24, 1<<32-1) },
		"first block":                  func(b bench) { b.put32(superAt+20, 1) },
		"first block far away":         func(b bench) { b.put32(superAt+20, 1<<31) },
		"no blocks":                    func(b bench) { b.put32(superAt+4, 0) },
		"blocks of 2^64":               func(b bench) { b.put32(superAt+336, 1<<31) },
		"inodes of 100 bytes":          func(b bench) { b.put16(superAt+88, 100) },
		"inodes of 8 KiB":              func(b bench) { b.put16(superAt+88, 8192) },
		"descriptors of 40 bytes":      func(b bench) { b.put16(superAt+254, 40) },
		"descriptors of none":          func(b bench) { b.put16(superAt+254, 0) },
		"groups of no blocks":          func(b bench) { b.put32(superAt+32, 0) },
		"groups of 12 blocks":          func(b bench) { b.put32(superAt+32, 12) },
		"groups of more than a bitmap": func(b bench) { b.put32(superAt+32, 65536) },
		"groups of no inodes":          func(b bench) { b.put32(superAt+40, 0) },
		"groups of too many inodes":    func(b bench) { b.put32(superAt+40, 1<<20) },
		"inodes that are not theirs":   func(b bench) { b.put32(superAt, 77) },
		"clusters smaller than blocks": func(b bench) { b.put32(superAt+28, 0) },
		"first inode 3":                func(b bench) { b.put32(superAt+84, 3) },
		"first inode 4,000":            func(b bench) { b.put32(superAt+84, 4000) },
		"revision 7":                   func(b bench) { b.put32(superAt+76, 7) },
		"no signature":                 func(b bench) { b.put16(superAt+56, 0) },
	} {
		b := bench{t: t, m: &volumetest.Mutant{Source: opened(t, image)}, image: image}
		craft(b)
		if fs, err := Open(b.m); err == nil || volume.OutcomeOf(err) == report.Clean {
			t.Errorf("%s: %v, %v", name, fs, err)
		}
	}
}

// Whatever length a volume says it has, it is read as far as the medium goes, and is not whole.
func TestVolumesThatAreCutShortAreNotWhole(t *testing.T) {
	image, _ := rich(t, 24*mega, "-t", "ext4", "-b", "1024")
	whole := opened(t, image)
	for _, bytes := range []int64{1024, 1500, 2048, 100 << 10, mega, 9*mega + 512, 24*mega - 512} {
		src := volume.Section(whole, 0, bytes)
		fs, err := Open(src)
		if err != nil {
			continue
		}
		l, err := volumetest.ReadAll(context.Background(), src, fs, volume.Options{Deep: true})
		if err != nil {
			t.Fatalf("%d bytes: %v", bytes, err)
		}
		if !l.Bars() {
			t.Errorf("%d bytes of %d are %v", bytes, 24*mega, l.Summary.Outcome)
		}
	}
}

// With checksums every change of a structure is seen, by whatever it is covered.
func TestChecksumsCoverEveryStructure(t *testing.T) {
	image, _ := rich(t, 24*mega, "-t", "ext4", "-b", "1024", "-O", "metadata_csum,64bit,dir_index")
	b := bench{t: t, image: image, m: &volumetest.Mutant{Source: opened(t, image)}}
	fs := b.fs()
	r := fs.groups[0]
	extents := int64(b.get32(b.at("pieces.bin", body+16))) << 10
	folder := int64(b.get32(b.at("things", body+20))) << 10
	attributes := int64(b.get32(b.at("things/linked", 104))) << 10
	for name, at := range map[string]int64{
		"label": superAt + 125, "group": 2048 + 44, "blocks": int64(r.blocks)<<10 + 900, "inodes": int64(r.inodes)<<10 + 100,
		"inode": b.at("things", 12), "second half of an inode": b.at("things", 140), "extents": extents + 600, "folder": folder + 1000,
		"attributes": attributes + 300,
	} {
		m := &volumetest.Mutant{Source: opened(t, image)}
		p := make([]byte, 1)
		if _, err := m.ReadAt(p, at); err != nil {
			t.Fatal(err)
		}
		m.Edits = []volumetest.Edit{{Offset: at, New: []byte{p[0] ^ 0x10}}}
		if l := list(t, m, volume.Options{}); l.Summary.Outcome != report.Malformed {
			t.Errorf("%s: the volume is %v", name, l.Summary.Outcome)
		}
	}
}

// A tree without a name is handed out with the names that its files have in it.
func TestTreesWithoutANameAreRead(t *testing.T) {
	image, truth := rich(t, 24*mega, "-t", "ext2", "-b", "1024")
	b := bench{t: t, image: image, m: &volumetest.Mutant{Source: opened(t, image)}}
	b.put32(b.named("", "things"), 0)
	l := list(t, b.m, volume.Options{})
	i := slices.IndexFunc(l.Entries, func(e volume.Entry) bool {
		return e.Kind == report.Area && strings.HasPrefix(e.Path, "$Orphan/") && strings.HasSuffix(e.Path, "/linked")
	})
	if i < 0 || l.Bars() {
		t.Fatalf("%+v", l.Summary)
	}
	if f, err := volumetest.Hash(b.m, &l.Entries[i]); err != nil || f != truth["things/linked"] {
		t.Errorf("%v, %v", f, err)
	}
	if _, there := l.Files["things/linked"]; there {
		t.Error("a file that nobody can open is listed as one")
	}
}
