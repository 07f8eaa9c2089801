package usbdevice

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"
)

// command is a wrapper around a SCSI command.
func command(tag uint32, length uint32, in bool, lun byte, block ...byte) []byte {
	b := append([]byte("USBC"), 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(b[4:], tag)
	b = binary.LittleEndian.AppendUint32(b, length)
	flags := byte(0)
	if in {
		flags = 0x80
	}
	b = append(b, flags, lun, byte(len(block)))
	return append(b, append(block, make([]byte, 16-len(block))...)...)
}

// transact sends a command and reads its data and its status, as a host does.
func transact(t *testing.T, d *Device, wrapper []byte) (data, status []byte) {
	t.Helper()
	if s := d.BulkOut(2, wrapper); s != Success {
		t.Fatalf("the command ends with %d", s)
	}
	stop := make(chan struct{})
	timer := time.AfterFunc(5*time.Second, func() { close(stop) })
	defer timer.Stop()
	for left := int(binary.LittleEndian.Uint32(wrapper[8:])); left > 0; {
		part, s := d.BulkIn(0x81, left, stop)
		if s != Success {
			t.Fatalf("the data ends with %d", s)
		}
		data = append(data, part...)
		if left -= len(part); len(part)%512 != 0 || len(part) == 0 {
			break
		}
	}
	status, s := d.BulkIn(0x81, 13, stop)
	if s != Success {
		t.Fatalf("the status ends with %d", s)
	}
	return data, status
}

func pattern(_ int, p []byte, off int64) {
	for i := range p {
		p[i] = byte((off + int64(i)) / 512)
	}
}

func TestHonestStickAnswersAsSticksDo(t *testing.T) {
	d := Stick(2048, pattern)
	if _, status := transact(t, d, command(1, 0, false, 0, testUnitReady)); status[12] != 1 {
		t.Error("the first command does not tell that the stick was just switched on")
	}
	if sense, _ := transact(t, d, command(2, 18, true, 0, requestSense)); sense[2] != 6 || sense[12] != 0x29 {
		t.Errorf("sense % x", sense)
	}
	if data, status := transact(t, d, command(3, 8, true, 0, readCapacity10)); !bytes.Equal(data, []byte{0, 0, 7, 0xFF, 0, 0, 2, 0}) || status[12] != 0 {
		t.Errorf("capacity % x, status % x", data, status)
	}
	data, status := transact(t, d, command(4, 1024, true, 0, read10, 0, 0, 0, 0, 5, 0, 0, 2))
	if len(data) != 1024 || data[0] != 5 || data[512] != 6 || !bytes.Equal(status, append([]byte("USBS\x04\x00\x00\x00"), 0, 0, 0, 0, 0)) {
		t.Errorf("%d bytes, % x, status % x", len(data), data[:1], status)
	}
	if _, status := transact(t, d, command(5, 512, true, 0, read10, 0, 0, 0, 8, 0, 0, 0, 1)); status[12] != 1 {
		t.Error("a block behind the end was read")
	}
	if v := d.Violations(); len(v) != 0 {
		t.Errorf("reading is held against the reader: %q", v)
	}
}

func TestEveryCommandThatIsNotKnownToReadIsHeldAgainstItsSender(t *testing.T) {
	for opcode := range 256 {
		d := Stick(16, nil)
		d.BulkOut(2, command(1, 0, false, 0, byte(opcode), 0x10))
		if got, want := len(d.Violations()) == 0, slices.Contains(harmless, byte(opcode)); got != want {
			t.Errorf("command %02x: harmless %v", opcode, got)
		}
		d = Stick(16, nil)
		d.BulkOut(2, command(1, 512, false, 0, byte(opcode), 0x10))
		if len(d.Violations()) == 0 {
			t.Errorf("command %02x with data for the stick is harmless", opcode)
		}
	}
	d := Stick(16, nil)
	d.Storage.MayEject = true
	d.BulkOut(2, command(1, 0, false, 0, startStop, 0, 0, 0, 2))
	if v := d.Violations(); len(v) != 0 {
		t.Errorf("ejecting: %q", v)
	}
	d.BulkOut(2, command(1, 0, false, 0, startStop, 0, 0, 0, 1))
	if len(d.Violations()) != 1 {
		t.Error("starting the motor is not ejecting")
	}
	d.Control(Setup{Type: 0x40, Request: 1}, []byte("firmware"))
	if v := d.Violations(); len(v) != 2 || !strings.Contains(v[0], "control transfer 40") {
		t.Errorf("a control transfer to the device: %q", v)
	}
}

func TestFaultsAreWhatTheySay(t *testing.T) {
	read := command(7, 1024, true, 0, read10, 0, 0, 0, 0, 5, 0, 0, 2)
	stick := func(f Fault) *Device {
		d := Stick(2048, pattern)
		transact(t, d, command(1, 0, false, 0, testUnitReady))
		d.Storage.Fault = func(Command) Fault { return f }
		return d
	}
	for _, c := range []struct {
		fault Fault
		bytes int
		check func(data, status []byte) bool
	}{
		{None, 1024, func(_, s []byte) bool { return s[12] == 0 }},
		{WrongTag, 1024, func(_, s []byte) bool { return s[4] == 7^0xFF }},
		{WrongSignature, 1024, func(_, s []byte) bool { return s[3] == 'X' }},
		{PhaseError, 1024, func(_, s []byte) bool { return s[12] == 2 }},
		{MediumError, 0, func(_, s []byte) bool { return s[12] == 1 }},
		{Short, 512, func(_, s []byte) bool { return s[12] == 0 && binary.LittleEndian.Uint32(s[8:]) == 0 }},
		{HugeResidue, 1024, func(_, s []byte) bool { return binary.LittleEndian.Uint32(s[8:]) > 1024 }},
		{Garbage, 1024, func(d, _ []byte) bool { return d[0] != 5 || d[1] != 5 }},
	} {
		d := stick(c.fault)
		if c.fault == Short { // a host that asks for the rest gets the status in its place
			d.BulkOut(2, read)
			data, _ := d.BulkIn(0x81, 1024, nil)
			status, _ := d.BulkIn(0x81, 13, nil)
			if len(data) != 512 || !c.check(data, status) {
				t.Errorf("short: %d bytes, status % x", len(data), status)
			}
			continue
		}
		if data, status := transact(t, d, read); len(data) != c.bytes || !c.check(data, status) {
			t.Errorf("fault %d: %d bytes, status % x", c.fault, len(data), status)
		}
	}
	for _, f := range []Fault{StallOnce, StallAlways} {
		d := stick(f)
		d.BulkOut(2, read)
		if _, s := d.BulkIn(0x81, 1024, nil); s != Stall {
			t.Errorf("fault %d ends with %d", f, s)
		}
		d.Control(Setup{Type: 2, Request: 1, Index: 0x81}, nil)
		if _, s := d.BulkIn(0x81, 13, nil); (s == Stall) != (f == StallAlways) {
			t.Errorf("fault %d after recovery: %d", f, s)
		}
	}
	d := stick(Silent)
	d.BulkOut(2, read)
	stop := make(chan struct{})
	time.AfterFunc(20*time.Millisecond, func() { close(stop) })
	if _, s := d.BulkIn(0x81, 1024, stop); s == Success {
		t.Error("a silent stick answers")
	}
}

func TestSlowStickIsSlow(t *testing.T) {
	d := Stick(4096, nil)
	transact(t, d, command(1, 0, false, 0, testUnitReady))
	d.Storage.Latency, d.Storage.Rate = 10*time.Millisecond, 10<<20
	begin := time.Now()
	transact(t, d, command(2, 1<<20, true, 0, read10, 0, 0, 0, 0, 0, 0, 8, 0))
	if took := time.Since(begin); took < 105*time.Millisecond {
		t.Errorf("a megabyte at 10 MiB/s takes %v", took)
	}
}

func TestDescriptorsAreThoseOfAStick(t *testing.T) {
	d := Stick(16, nil)
	d.Interfaces = append(d.Interfaces, UAS(0, 1))
	config, _ := d.Control(Setup{Type: 0x80, Request: 6, Value: 0x0200, Length: 4096}, nil)
	if len(config) != 9+9+14+9+4*(7+4) || int(binary.LittleEndian.Uint16(config[2:])) != len(config) || config[4] != 1 {
		t.Errorf("configuration % x", config)
	}
	if name, _ := d.Control(Setup{Type: 0x80, Request: 6, Value: 0x0302, Length: 255}, nil); string(name) != "\x0c\x03S\x00t\x00i\x00c\x00k\x00" {
		t.Errorf("string %q", name)
	}
}

// Whatever a host sends, the model answers or stalls.
func FuzzHost(f *testing.F) {
	f.Add(command(1, 512, true, 0, read10, 0, 0, 0, 0, 5, 0, 0, 2))
	f.Add(command(1, 1<<31, true, 15, read16, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255))
	f.Fuzz(func(t *testing.T, wrapper []byte) {
		d := WithKeyboard(Stick(16, nil))
		d.BulkOut(2, wrapper)
		stop := make(chan struct{})
		close(stop)
		d.BulkIn(0x81, 512, stop)
		if len(wrapper) >= 8 {
			d.Control(Setup{Type: wrapper[0], Request: wrapper[1], Value: binary.LittleEndian.Uint16(wrapper[2:]),
				Index: binary.LittleEndian.Uint16(wrapper[4:]), Length: binary.LittleEndian.Uint16(wrapper[6:])}, wrapper[8:])
		}
		d.Violations()
	})
}
