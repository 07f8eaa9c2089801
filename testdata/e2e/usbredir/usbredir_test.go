package usbredir

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"pratique/testdata/e2e/usbdevice"
)

// guest is the other side of the protocol, as far as the tests need it.
type guest struct {
	t    *testing.T
	conn net.Conn
	long bool
}

func message(long bool, kind uint32, id uint64, body []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, kind)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	if long {
		b = binary.LittleEndian.AppendUint64(b, id)
	} else {
		b = binary.LittleEndian.AppendUint32(b, uint32(id))
	}
	return append(b, body...)
}

func (g *guest) send(kind uint32, id uint64, body ...byte) {
	g.t.Helper()
	if _, err := g.conn.Write(message(g.long, kind, id, body)); err != nil {
		g.t.Fatal(err)
	}
}

// next reads a message, which must be of this type and id.
func (g *guest) next(kind uint32, id uint64) []byte {
	g.t.Helper()
	head := make([]byte, 12)
	if g.long {
		head = make([]byte, 16)
	}
	if _, err := io.ReadFull(g.conn, head); err != nil {
		g.t.Fatal(err)
	}
	body := make([]byte, binary.LittleEndian.Uint32(head[4:]))
	if _, err := io.ReadFull(g.conn, body); err != nil {
		g.t.Fatal(err)
	}
	gotID := uint64(binary.LittleEndian.Uint32(head[8:]))
	if got := binary.LittleEndian.Uint32(head); got != kind || gotID != id {
		g.t.Fatalf("message %d with id %d, want %d with %d", got, gotID, kind, id)
	}
	return body
}

func helloBody(caps uint32) []byte {
	b := make([]byte, helloBytes)
	binary.LittleEndian.PutUint32(b[64:], caps)
	return b
}

// plug connects a device and reads all that comes before the first transfer.
func plug(t *testing.T, d *usbdevice.Device) (*guest, *Server, <-chan error) {
	t.Helper()
	ours, theirs := net.Pipe()
	ours.SetDeadline(time.Now().Add(20 * time.Second))
	served, plugged := make(chan error, 1), make(chan *Server, 1)
	go func() { served <- Serve(theirs, d, func(s *Server) { plugged <- s }) }()
	t.Cleanup(func() { ours.Close() })
	g := &guest{t: t, conn: ours}
	g.next(hello, 0)
	g.send(hello, 0, helloBody(capabilities)...)
	g.long = true
	g.connected(d)
	return g, <-plugged, served
}

func (g *guest) connected(d *usbdevice.Device) {
	g.t.Helper()
	interfaces, endpoints := g.next(interfaceInfo, 0), g.next(endpointInfo, 0)
	if n := binary.LittleEndian.Uint32(interfaces); len(interfaces) != 132 || len(endpoints) != 160 || int(n) > len(d.Interfaces) {
		g.t.Fatalf("%d interfaces in %d bytes, endpoints in %d", n, len(interfaces), len(endpoints))
	}
	if b := g.next(deviceConnect, 0); len(b) != 10 || binary.LittleEndian.Uint16(b[4:]) != d.Vendor {
		g.t.Fatalf("connect % x", b)
	}
}

var inquiry = append([]byte("USBC\x01\x00\x00\x00\x24\x00\x00\x00\x80\x00\x06\x12\x00\x00\x00\x24"), make([]byte, 11)...)

// bulk is the body of a bulk packet.
func bulk(endpoint byte, n int, data ...byte) []byte {
	return append(bulkHead(endpoint, 0, n, 0), data...)
}

func TestStickIsReachedOverTheWire(t *testing.T) {
	d := usbdevice.Stick(2048, nil)
	g, s, served := plug(t, d)
	g.send(controlPacket, 5, append([]byte{0x80, 6, 0x80, 0, 0, 1, 0, 0}, 18, 0)...)
	if b := g.next(controlPacket, 5); b[3] != 0 || !bytes.Equal(b[10:], d.DeviceDescriptor()) {
		t.Errorf("device descriptor % x", b)
	}
	g.send(setConfiguration, 6, 1)
	if b := g.next(configurationStatus, 6); !bytes.Equal(b, []byte{0, 1}) || d.Config() != 1 {
		t.Errorf("configuration % x", b)
	}
	g.send(bulkPacket, 7, bulk(2, len(inquiry), inquiry...)...)
	if b := g.next(bulkPacket, 7); b[1] != 0 {
		t.Errorf("command % x", b)
	}
	g.send(bulkPacket, 8, bulk(0x81, 36)...)
	if b := g.next(bulkPacket, 8); b[1] != 0 || len(b) != 10+36 || string(b[18:23]) != "MODEL" {
		t.Errorf("inquiry % x", b)
	}
	g.send(bulkPacket, 9, bulk(0x81, 13)...)
	if b := g.next(bulkPacket, 9); string(b[10:14]) != "USBS" {
		t.Errorf("status % x", b)
	}
	// A transfer that nobody answers can be taken back, and the device goes on.
	g.send(bulkPacket, 10, bulk(0x81, 13)...)
	g.send(cancelData, 10)
	if b := g.next(bulkPacket, 10); b[1] != cancelled {
		t.Errorf("taken back: % x", b)
	}
	g.send(reset, 0)
	g.send(getConfiguration, 11)
	g.next(configurationStatus, 11)
	if s.Resets() != 1 {
		t.Errorf("%d resets", s.Resets())
	}
	g.conn.Close()
	if err := <-served; err != nil {
		t.Errorf("the end: %v", err)
	}
}

func TestStickComesBackAsAKeyboardThatTypes(t *testing.T) {
	g, s, _ := plug(t, usbdevice.Stick(2048, nil))
	keyboard := usbdevice.KeyboardAlone()
	done := make(chan error, 1)
	go func() { done <- s.Replace(keyboard) }()
	g.next(deviceDisconnect, 0)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	g.send(getConfiguration, 1) // to a device that is gone: void
	g.send(disconnectAck, 0)
	g.connected(keyboard)
	g.send(startInterrupt, 2, 0x83)
	g.next(interruptStatus, 2)
	if b := g.next(interruptPacket, 1); b[0] != 0x83 || len(b) != 12 || b[4+2] != keyboard.Keyboard.Keys[0] {
		t.Errorf("report % x", b)
	}
}

func TestPeerThatBreaksTheProtocolEndsTheConnection(t *testing.T) {
	for name, raw := range map[string][]byte{
		"an old peer":     message(false, hello, 0, helloBody(0)),
		"a short hello":   message(false, hello, 0, make([]byte, 10)),
		"a huge message":  {0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0},
		"an unknown type": message(false, 99, 0, nil),
		"a short control": append(message(false, hello, 0, helloBody(capabilities)), message(true, controlPacket, 1, make([]byte, 9))...),
		"a short bulk":    append(message(false, hello, 0, helloBody(capabilities)), message(true, bulkPacket, 1, make([]byte, 9))...),
	} {
		if err := serveBytes(raw); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// wire is a connection that says what it was given and takes everything.
type wire struct{ io.Reader }

func (wire) Write(p []byte) (int, error) { return len(p), nil }
func (wire) Close() error                { return nil }

func serveBytes(raw []byte) error {
	return Serve(wire{bytes.NewReader(raw)}, usbdevice.WithKeyboard(usbdevice.Stick(16, nil)), func(*Server) {})
}

func FuzzPeer(f *testing.F) {
	first := message(false, hello, 0, helloBody(capabilities))
	f.Add(first)
	f.Add(append(bytes.Clone(first), message(true, bulkPacket, 1, bulk(2, 31, inquiry...))...))
	f.Add(append(bytes.Clone(first), message(true, controlPacket, 1, []byte{0x80, 6, 0x80, 0, 0, 1, 0, 0, 18, 0})...))
	f.Add(append(bytes.Clone(first), message(true, startInterrupt, 1, []byte{0x83})...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) < 1<<16 {
			serveBytes(raw)
		}
	})
}
