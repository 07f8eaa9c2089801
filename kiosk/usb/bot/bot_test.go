package bot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pratique/kiosk/usb/lun"
	"pratique/scanner/blocks"
)

func honest(t *testing.T, s *stick) *Device {
	t.Helper()
	d, err := met(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestAttentionCostsNoTime: every stick says once that it was plugged in, and a person waits meanwhile. One that says nothing else is
// asked with pauses, until its time is over.
func TestAttentionCostsNoTime(t *testing.T) {
	for name, c := range map[string]struct {
		attentions int
		least      time.Duration
		most       time.Duration
		want       lun.Trouble
	}{
		"once":     {1, 0, 0, lun.Good},
		"thrice":   {3, 0, 0, lun.Good},
		"ten":      {maxAttentions + 2, 2 * readyEvery, 2 * readyEvery, lun.Good},
		"for ever": {1 << 20, readyTimeout, readyTimeout + askTimeout, lun.NotReady},
	} {
		disc := disk512(64)
		disc.next = slices.Repeat([][3]byte{{6, 0x29, 0}}, c.attentions)
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			d := honest(t, newStick(disc))
			if took := time.Since(begin); d.Units[0].Info.Trouble != c.want || took < c.least || took > c.most {
				t.Errorf("%s: %v after %v", name, d.Units[0].Info.Trouble, took)
			}
		})
	}
}

func TestHonestStickIsReadToItsLastByte(t *testing.T) {
	for _, sector := range []int{512, 1024, 2048, 4096} {
		disc := disk512(3*4096 + 8)
		disc.sector = sector
		disc.next = [][3]byte{{6, 0x29, 0}, {2, 0x04, 1}} // it was plugged in, and is not ready yet
		s := newStick(disc)
		synctest.Test(t, func(t *testing.T) {
			d := honest(t, s)
			u := d.Units[0]
			want := lun.Unit{Trouble: good, Bytes: int64(len(disc.content)), SectorSize: sector, Removable: true, Vendor: "ACME", Product: "Flash Disk", Revision: "1.00"}
			if len(d.Units) != 1 || u.Info != want {
				t.Fatalf("%+v", u.Info)
			}
			got := make([]byte, len(disc.content))
			if n, err := u.ReadAt(got, 0); n != len(got) || err != nil {
				t.Fatal(n, err)
			}
			if !bytes.Equal(got, disc.content) {
				t.Error("other bytes")
			}
			for _, bad := range []struct {
				off int64
				n   int
			}{{-int64(sector), sector}, {1, sector}, {0, 1}, {u.Size(), sector}, {u.Size() - int64(sector), 2 * sector}} {
				if _, err := u.ReadAt(make([]byte, bad.n), bad.off); statusOf(err) != blocks.OutOfRange {
					t.Errorf("%+v: %v", bad, err)
				}
			}
		})
		if len(s.forbids) > 0 {
			t.Error(s.forbids)
		}
	}
}

// TestT02_TheDeviceIsAskedOnceMoreAtTheEnd: what it does after the last read is the last that is seen of it.
func TestT02_TheDeviceIsAskedOnceMoreAtTheEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(s *stick)
		want   blocks.Status
	}{
		"as it was":                {func(*stick) {}, blocks.Done},
		"was reset":                {func(s *stick) { s.units[0].next = [][3]byte{{6, 0x29, 0}} }, blocks.Done},
		"larger":                   {func(s *stick) { s.units[0].content = make([]byte, 128*512) }, blocks.Changed},
		"smaller, says the second": {func(s *stick) { s.units[1].content = make([]byte, 512) }, blocks.Changed},
		"other sectors":            {func(s *stick) { s.units[0].sector = 4096 }, blocks.Changed},
		"no medium":                {func(s *stick) { s.units[0].none = true }, blocks.Changed},
		"another medium":           {func(s *stick) { s.units[1].next = [][3]byte{{6, 0x28, 0}} }, blocks.Changed},
		"gone":                     {func(s *stick) { s.gone = true }, blocks.Gone},
		"says nothing":             {func(s *stick) { s.silent = true }, blocks.TimedOut},
		"never ready":              {func(s *stick) { s.units[0].next = slices.Repeat([][3]byte{{2, 4, 1}}, 1000) }, blocks.TimedOut},
		"breaks the protocol":      {func(s *stick) { s.status = func(c sent, w []byte) []byte { w[0] = 'X'; return w } }, blocks.Failed},
		"no capacity any more": {func(s *stick) {
			s.answers = map[byte]func(sent) ([]byte, bool){0x25: func(sent) ([]byte, bool) { return nil, false }}
		}, blocks.Changed},
		"the empty slot has a medium": {func(s *stick) { s.units[2].none = false }, blocks.Done},
	} {
		s := newStick(disk512(64), disk512(64), disk512(64))
		s.units[2].none = true
		synctest.Test(t, func(t *testing.T) {
			d := honest(t, s)
			if n, err := d.Units[1].ReadAt(make([]byte, 1024), 0); n != 1024 || err != nil {
				t.Fatal(n, err)
			}
			s.units[2].next = nil
			tt.change(s)
			if err := d.Confirm(t.Context()); statusOf(err) != tt.want {
				t.Errorf("%s: %v, want %v", name, err, tt.want)
			}
		})
		if len(s.forbids) > 0 {
			t.Error(s.forbids)
		}
	}
}

func TestUnitsAreToldApart(t *testing.T) {
	cd := disk512(64)
	cd.sector, cd.kind = 2048, 5
	tape, absent := disk512(8), disk512(8)
	tape.kind, absent.kind = 1, 0x7F
	s := newStick(disk512(100), &disc{none: true}, cd, tape, absent)
	synctest.Test(t, func(t *testing.T) {
		d := honest(t, s)
		var got []string
		for _, u := range d.Units {
			got = append(got, fmt.Sprint(u.Info.Trouble, " ", u.Info.Bytes, " ", u.Info.SectorSize))
		}
		want := "[good 51200 512 no medium 0 0 good 32768 2048 no disk 0 0 no disk 0 0]"
		if fmt.Sprint(got) != want {
			t.Errorf("%v, want %v", got, want)
		}
		p := make([]byte, 2048)
		if _, err := d.Units[2].ReadAt(p, 4096); err != nil || !bytes.Equal(p, cd.content[4096:6144]) {
			t.Error(err)
		}
		if _, err := d.Units[1].ReadAt(p, 0); statusOf(err) != blocks.OutOfRange {
			t.Error(err)
		}
	})
	alone := newStick(disk512(4))
	alone.noLUN = true
	if d := honest(t, alone); len(d.Units) != 1 {
		t.Error(len(d.Units))
	}
	odd := newStick(disk512(4))
	odd.requests = func(r request) error {
		if r == getMaxLUN {
			return errLink
		}
		return nil
	}
	if d := honest(t, odd); len(d.Units) != 1 || d.Units[0].Info.Trouble != good {
		t.Error(len(d.Units))
	}
}

// TestT05_ImpossibleSizesAreRefused: a capacity or sector that no stick has is told, not computed with.
func TestT05_ImpossibleSizesAreRefused(t *testing.T) {
	capacity := func(last uint64, sector uint32) *stick {
		s := newStick(disk512(8))
		s.answers = map[byte]func(sent) ([]byte, bool){
			0x25: func(sent) ([]byte, bool) {
				b := binary.BigEndian.AppendUint32(nil, uint32(min(last, 1<<32-1)))
				return binary.BigEndian.AppendUint32(b, sector), true
			},
			0x9E: func(sent) ([]byte, bool) {
				b := binary.BigEndian.AppendUint64(nil, last)
				return append(binary.BigEndian.AppendUint32(b, sector), make([]byte, 20)...), true
			},
		}
		return s
	}
	for _, tt := range []struct {
		last   uint64
		sector uint32
		want   lun.Trouble
	}{
		{7, 512, good}, {0, 4096, good}, {1<<32 - 2, 512, good}, {1<<32 - 1, 512, good}, {1 << 33, 512, good},
		{7, 0, lun.WrongSize}, {7, 3, lun.WrongSize}, {7, 256, lun.WrongSize}, {7, 520, lun.WrongSize}, {7, 8192, lun.WrongSize}, {7, 65536, lun.WrongSize},
		{7, 1<<32 - 1, lun.WrongSize}, {1<<64 - 1, 512, lun.WrongSize}, {1<<64 - 2, 512, lun.WrongSize}, {1 << 55, 512, lun.WrongSize}, {lun.MaxBytes / 512, 512, lun.WrongSize},
	} {
		d := honest(t, capacity(tt.last, tt.sector))
		u := d.Units[0].Info
		if u.Trouble != tt.want || (u.Trouble == good) != (u.Bytes == int64(tt.last+1)*int64(tt.sector) && u.Bytes > 0) {
			t.Errorf("%d, %d: %+v", tt.last, tt.sector, u)
		}
		ready := lun.Ready{Units: []lun.Unit{u}}
		if err := ready.Check(); err != nil {
			t.Error(err)
		}
	}
	for _, short := range []int{0, 1, 7} {
		s := newStick(disk512(8))
		s.answers = map[byte]func(sent) ([]byte, bool){0x25: func(sent) ([]byte, bool) { return make([]byte, short), true }}
		if d := honest(t, s); d.Units[0].Info.Trouble != lun.Refusing {
			t.Errorf("%d bytes: %v", short, d.Units[0].Info.Trouble)
		}
	}
	s, calls := newStick(disk512(8)), uint32(0)
	s.answers = map[byte]func(sent) ([]byte, bool){0x25: func(sent) ([]byte, bool) {
		calls++
		return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 6+calls), 512), true
	}}
	if d := honest(t, s); d.Units[0].Info.Trouble != lun.WrongSize {
		t.Errorf("a capacity that changes: %+v", d.Units[0].Info)
	}
}

// TestT04_LyingDevicesAreGivenUp: each breaks one rule at every READ. Not one byte of theirs may be taken for the medium's.
func TestT04_LyingDevicesAreGivenUp(t *testing.T) {
	isRead := func(c sent) bool { return c.op == 0x28 }
	status := func(change func(s []byte) []byte) func(*stick) {
		return func(s *stick) {
			s.status = func(c sent, w []byte) []byte {
				if isRead(c) {
					return change(w)
				}
				return w
			}
		}
	}
	le := binary.LittleEndian
	for name, tt := range map[string]struct {
		set  func(*stick)
		want blocks.Status
	}{
		"wrong tag":           {status(func(w []byte) []byte { w[4]++; return w }), blocks.Failed},
		"old tag":             {status(func(w []byte) []byte { le.PutUint32(w[4:], le.Uint32(w[4:])-1); return w }), blocks.Failed},
		"wrong signature":     {status(func(w []byte) []byte { w[0] = 'X'; return w }), blocks.Failed},
		"residue too large":   {status(func(w []byte) []byte { le.PutUint32(w[8:], 1<<31); return w }), blocks.Failed},
		"residue of one":      {status(func(w []byte) []byte { w[8]++; return w }), blocks.Failed},
		"phase error":         {status(func(w []byte) []byte { w[12] = 2; return w }), blocks.Failed},
		"status that is none": {status(func(w []byte) []byte { w[12] = 77; return w }), blocks.Failed},
		"short status":        {status(func(w []byte) []byte { return w[:12] }), blocks.Failed},
		"empty status":        {status(func(w []byte) []byte { return nil }), blocks.Failed},
		"long status":         {status(func(w []byte) []byte { return append(w, 0) }), blocks.Failed},
		"short data": {func(s *stick) {
			s.data = func(c sent, d []byte) []byte {
				if isRead(c) {
					return d[:len(d)/2]
				}
				return d
			}
		}, blocks.Failed},
		"no data": {func(s *stick) {
			s.data = func(c sent, d []byte) []byte {
				if isRead(c) {
					return nil
				}
				return d
			}
		}, blocks.Failed},
		"too much data": {func(s *stick) {
			s.data = func(c sent, d []byte) []byte {
				if isRead(c) {
					return append(bytes.Clone(d), 1)
				}
				return d
			}
		}, blocks.Failed},
		"stalls at data": {func(s *stick) {
			s.stalls = func(c sent) (int, int) {
				if isRead(c) {
					return 1, 0
				}
				return 0, 0
			}
		}, blocks.Failed},
		"stalls for ever": {func(s *stick) {
			s.stalls = func(c sent) (int, int) {
				if isRead(c) {
					return 9, 9
				}
				return 0, 0
			}
		}, blocks.Failed},
		"stalls at commands": {func(s *stick) {
			s.before = func(c sent) error {
				if isRead(c) {
					return errStall
				}
				return nil
			}
		}, blocks.Failed},
		"cannot be reset": {func(s *stick) {
			status(func(w []byte) []byte { w[4]++; return w })(s)
			s.requests = func(r request) error {
				if r == resetBulk {
					return errStall
				}
				return nil
			}
		}, blocks.Failed},
		"goes away": {func(s *stick) {
			s.before = func(c sent) error {
				s.gone = isRead(c)
				if s.gone {
					return errGone
				}
				return nil
			}
		}, blocks.Gone},
		"falls silent": {func(s *stick) {
			s.before = func(c sent) error { s.silent = isRead(c); return nil }
		}, blocks.TimedOut},
		"has no status": {func(s *stick) {
			s.status = func(c sent, w []byte) []byte {
				s.silent = s.silent || isRead(c)
				return w
			}
		}, blocks.TimedOut},
		"another medium": {func(s *stick) {
			s.before = func(c sent) error {
				if isRead(c) {
					s.units[0].next = [][3]byte{{6, 0x28, 0}}
				}
				return nil
			}
		}, blocks.Changed},
		"medium taken out": {func(s *stick) {
			s.before = func(c sent) error {
				s.units[0].none = s.units[0].none || isRead(c)
				return nil
			}
		}, blocks.Changed},
		"another size": {func(s *stick) {
			s.before = func(c sent) error {
				if isRead(c) && len(s.units[0].content) == 4096*512 {
					s.units[0].next = [][3]byte{{6, 0x2A, 9}}
					s.units[0].content = s.units[0].content[:2048*512]
				}
				return nil
			}
		}, blocks.Changed},
		"attention for ever": {func(s *stick) {
			s.before = func(c sent) error {
				if isRead(c) {
					s.units[0].next = [][3]byte{{6, 0x29, 0}}
				}
				return nil
			}
		}, blocks.Failed},
		"never ready again": {func(s *stick) {
			s.before = func(c sent) error {
				if isRead(c) || len(s.units[0].next) > 0 || c.nth > 8 {
					s.units[0].next = [][3]byte{{2, 4, 1}, {2, 4, 1}}
				}
				return nil
			}
		}, blocks.TimedOut},
		"sense without end": {func(s *stick) {
			reads := false
			s.status = func(c sent, w []byte) []byte {
				if reads = reads || isRead(c); reads {
					w[12] = 1
				}
				return w
			}
		}, blocks.Unreadable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStick(disk512(4096))
				d := honest(t, s)
				before := s.commands
				tt.set(s)
				u, start := d.Units[0], time.Now()
				p := make([]byte, 1<<20)
				n, err := u.ReadAt(p, 4096)
				if n != 0 || statusOf(err) != tt.want {
					t.Fatalf("%d, %v", n, err)
				}
				if took := time.Since(start); took > 100*time.Second { // less than a client waits
					t.Errorf("took %v", took)
				}
				if s.commands-before > 250 { // asked for 20 s whether it is ready, and why not
					t.Errorf("%d commands", s.commands-before)
				}
				if tt.want == blocks.Unreadable {
					return
				}
				before = s.commands
				for _, off := range []int64{0, 512} {
					if n, err := u.ReadAt(p, off); n != 0 || statusOf(err) != tt.want {
						t.Errorf("later: %d, %v", n, err)
					}
				}
				if s.commands != before {
					t.Error("a device that was given up is still asked")
				}
				if len(s.forbids) > 0 {
					t.Error(s.forbids)
				}
			})
		})
	}
}

// TestDevicesThatCannotBeOpened: what is learned before a unit is known.
func TestDevicesThatCannotBeOpened(t *testing.T) {
	for name, tt := range map[string]struct {
		set  func(*stick)
		want error
	}{
		"silent":    {func(s *stick) { s.silent = true }, ErrSilent},
		"gone":      {func(s *stick) { s.gone = true }, ErrGone},
		"256 units": {func(s *stick) { s.maxLUN = 255 }, ErrProtocol},
		"17 units":  {func(s *stick) { s.maxLUN = 16 }, ErrProtocol},
		"wrong tag": {func(s *stick) { s.status = func(_ sent, w []byte) []byte { w[4]++; return w } }, ErrProtocol},
		"silent at commands": {func(s *stick) {
			s.before = func(sent) error { s.silent = true; return nil }
		}, ErrSilent},
		"babbles": {func(s *stick) { s.data = func(_ sent, d []byte) []byte { return make([]byte, 99) } }, ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStick(disk512(8))
				tt.set(s)
				start := time.Now()
				if _, err := met(s); err == nil || !errors.Is(opening(err), tt.want) {
					t.Errorf("%v, want %v", err, tt.want)
				}
				if took := time.Since(start); took > 40*time.Second { // less than the supervisor waits
					t.Errorf("took %v", took)
				}
			})
		})
	}
	// Sixteen units that never become ready share one time.
	var discs []*disc
	for range 16 {
		d := disk512(8)
		for range 1000 {
			d.next = append(d.next, [3]byte{2, 4, 1})
		}
		discs = append(discs, d)
	}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		d, err := met(newStick(discs...))
		if err == nil && d.Units[15].Info.Trouble == good {
			t.Error("ready")
		}
		if took := time.Since(start); took > 2*readyTimeout {
			t.Errorf("took %v, %v", took, err)
		}
	})
}

func TestStumbleIsForgivenOnce(t *testing.T) {
	for name, set := range map[string]func(s *stick, first func(sent) bool){
		"wrong tag": func(s *stick, first func(sent) bool) {
			s.status = func(c sent, w []byte) []byte {
				if first(c) {
					w[4]++
				}
				return w
			}
		},
		"reset on the bus": func(s *stick, first func(sent) bool) {
			s.before = func(c sent) error {
				if first(c) {
					s.units[0].next = [][3]byte{{6, 0x29, 0}}
				}
				return nil
			}
		},
		"aborted": func(s *stick, first func(sent) bool) {
			s.before = func(c sent) error {
				if first(c) {
					s.units[0].next = [][3]byte{{0xB, 0, 6}}
				}
				return nil
			}
		},
		"a stall before the status": func(s *stick, _ func(sent) bool) { s.stalls = func(sent) (int, int) { return 0, 1 } },
		"too long for it": func(s *stick, _ func(sent) bool) {
			s.before = func(c sent) error {
				if c.op == 0x28 && c.wanted > 64<<10 {
					s.units[0].next = [][3]byte{{5, 0x24, 0}}
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, done := newStick(disk512(8192)), false
				d := honest(t, s)
				set(s, func(c sent) bool {
					first := c.op == 0x28 && !done
					done = done || first
					return first
				})
				p := make([]byte, 4<<20)
				if n, err := d.Units[0].ReadAt(p, 0); n != len(p) || err != nil || !bytes.Equal(p, s.units[0].content) {
					t.Error(n, err)
				}
			})
		})
	}
}

func TestBadSectorsAreFoundAndBounded(t *testing.T) {
	s := newStick(disk512(8192))
	s.units[0].bad[1000] = true
	d := honest(t, s)
	u := d.Units[0]
	p := make([]byte, 2<<20)
	n, err := u.ReadAt(p, 0)
	if n != 1000*512 || statusOf(err) != blocks.Unreadable || err.(*blocks.Error).Sense != (blocks.Sense{Key: 3, Code: 0x11}) || !bytes.Equal(p[:n], s.units[0].content[:n]) {
		t.Fatal(n, err)
	}
	if n, err := u.ReadAt(p[:1<<20], 1001*512); n != 1<<20 || err != nil {
		t.Error(n, err)
	}
	for i := range uint64(8192) {
		s.units[0].bad[i] = true
	}
	for i := range int64(1000) {
		if n, err := u.ReadAt(p[:64<<10], i*4096); n != 0 || statusOf(err) != blocks.Unreadable {
			t.Fatal(n, err)
		}
	}
	if s.units[0].failed > maxBad {
		t.Errorf("%d READs failed", s.units[0].failed)
	}
}

// TestNoWriteCommandExists reads the source of this package: opcodes are constants of one type, in one closed list, and
// nothing else becomes the first byte of a command or leaves by an OUT endpoint.
func TestNoWriteCommandExists(t *testing.T) {
	set := token.NewFileSet()
	pkgs, err := parser.ParseDir(set, ".", func(f fs.FileInfo) bool { return !strings.HasSuffix(f.Name(), "_test.go") }, 0)
	if err != nil {
		t.Fatal(err)
	}
	var opcodes []string
	made, written, cdbs := 0, 0, 0
	for _, file := range pkgs["bot"].Files {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				if id, ok := n.Type.(*ast.Ident); ok && id.Name == "opcode" {
					opcodes = append(opcodes, n.Names[0].Name+" "+n.Values[0].(*ast.BasicLit).Value)
				}
			case *ast.CallExpr:
				if id, ok := n.Fun.(*ast.Ident); ok && id.Name == "opcode" {
					t.Error("an opcode is made from something else")
				}
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok && (strings.HasPrefix(sel.Sel.Name, "Write") || sel.Sel.Name == "NewStream") {
					written++
				}
			case *ast.CompositeLit:
				if id, ok := n.Type.(*ast.Ident); ok && id.Name == "command" {
					made++
				}
			case *ast.SelectorExpr:
				if n.Sel.Name == "SetAutoDetach" || n.Sel.Name == "Reset" {
					t.Errorf("%s is called", n.Sel.Name)
				}
			case *ast.AssignStmt:
				for _, l := range n.Lhs {
					if ix, ok := l.(*ast.IndexExpr); ok {
						if sel, ok := ix.X.(*ast.SelectorExpr); ok && sel.Sel.Name == "cdb" && ix.Index.(*ast.BasicLit).Value == "0" {
							cdbs++
						}
					}
				}
			}
			return true
		})
	}
	want := "[testUnitReady 0x00 requestSense 0x03 inquiry 0x12 readCapacity10 0x25 read10 0x28 read16 0x88 serviceActionIn 0x9E]"
	if got := fmt.Sprint(opcodes); got != want {
		t.Errorf("opcodes %s, want %s", got, want)
	}
	if made != 1 || written != 1 || cdbs != 1 {
		t.Errorf("%d commands are made, %d transfers written and %d first bytes set in the source: want one place each", made, written, cdbs)
	}
}

// FuzzDevice: whatever a device answers, the code ends, asks for nothing but reading, and takes no byte that was not sent.
func FuzzDevice(f *testing.F) {
	f.Add([]byte{0}, uint64(1))
	f.Add([]byte("\x00\x0d\x01\x02\x03\x04\x05"), uint64(2))
	f.Fuzz(func(t *testing.T, script []byte, seed uint64) {
		synctest.Test(t, func(t *testing.T) { mutate(t, script, seed) })
	})
}

// mutate runs a device whose every answer may be changed by the next byte of a script.
func mutate(t *testing.T, script []byte, seed uint64) {
	s := newStick(disk512(512))
	random := rand.New(rand.NewPCG(seed, 1))
	next := func() byte {
		if len(script) == 0 {
			return 0
		}
		b := script[0]
		script = script[1:]
		return b
	}
	lied := false
	change := func(b []byte) []byte {
		b = bytes.Clone(b)
		switch k := next(); {
		case k < 160 || len(b) == 0:
			return b
		case k < 200:
			b[random.IntN(len(b))] ^= 1 << random.IntN(8)
		case k < 220:
			b = b[:random.IntN(len(b))]
		case k < 240:
			b = append(b, make([]byte, random.IntN(600))...)
		default:
			for i := range b {
				b[i] = byte(random.Uint32())
			}
		}
		lied = true
		return b
	}
	s.data = func(_ sent, b []byte) []byte { return change(b) }
	s.status = func(_ sent, b []byte) []byte { return change(b) }
	s.stalls = func(sent) (int, int) {
		if next() < 230 {
			return 0, 0
		}
		lied = true
		return random.IntN(3), random.IntN(3)
	}
	s.before = func(sent) error {
		switch next() {
		case 250:
			return errStall
		case 251:
			return errLink
		case 252:
			s.gone = true
			return errGone
		case 253:
			s.silent = true
		}
		return nil
	}
	d, err := met(s)
	if err == nil {
		ready := lun.Ready{}
		for _, u := range d.Units {
			ready.Units = append(ready.Units, u.Info)
		}
		if err := ready.Check(); err != nil {
			t.Fatal(err)
		}
		for _, u := range d.Units {
			if u.Info.Trouble != good {
				continue
			}
			p := make([]byte, 128<<10)
			n, err := u.ReadAt(p, 0)
			if n < len(p) && err == nil {
				t.Fatal("short without an error")
			}
			if !lied && !bytes.Equal(p[:n], s.units[0].content[:n]) {
				t.Fatal("other bytes")
			}
		}
	}
	if len(s.forbids) > 0 {
		t.Fatal(s.forbids)
	}
	if s.commands > 3000 {
		t.Fatalf("%d commands", s.commands)
	}
}

func TestT04_MutatedAnswersNeverBreakTheReader(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 2000 {
		script := make([]byte, random.IntN(200))
		for j := range script {
			if random.IntN(4) == 0 {
				script[j] = byte(random.Uint32())
			}
		}
		synctest.Test(t, func(t *testing.T) { mutate(t, script, uint64(i)) })
	}
}
