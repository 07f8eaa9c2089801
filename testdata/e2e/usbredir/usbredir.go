// Package usbredir puts a software USB device (package usbdevice) on the bus of a virtual machine: it is the host's side of
// the usbredir protocol, https://gitlab.freedesktop.org/spice/usbredir/-/blob/main/docs/usb-redirection-protocol.md, to which
// QEMU's device usb-redir is the guest's side. The device then is behind a real (emulated) controller, and every byte that
// the guest's kernel gets from it is the test's.
//
// Each message is a header {type, length, id}, numbers little-endian, the id of 8 bytes once both sides have said that they
// can, of 4 before; then a header of the type, then data. Both sides begin with hello {version text, capabilities}.
//
// The peer is QEMU, but what it sends comes from a guest that runs the system under test: lengths are bounded, and a message
// that is too short for its type ends the connection with an error. Isochronous transfers and streams are not spoken.
package usbredir

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"pratique/testdata/e2e/usbdevice"
)

// The types of message.
const (
	hello               = 0
	deviceConnect       = 1
	deviceDisconnect    = 2
	reset               = 3
	interfaceInfo       = 4
	endpointInfo        = 5
	setConfiguration    = 6
	getConfiguration    = 7
	configurationStatus = 8
	setAlternate        = 9
	getAlternate        = 10
	alternateStatus     = 11
	startInterrupt      = 15
	stopInterrupt       = 16
	interruptStatus     = 17
	cancelData          = 21
	filterReject        = 22
	filterFilter        = 23
	disconnectAck       = 24
	controlPacket       = 100
	bulkPacket          = 101
	interruptPacket     = 103
)

// The capabilities that both sides must have: a version in device_connect, an answer to device_disconnect, packet sizes in
// endpoint_info, ids of 64 bits, bulk lengths of 32. Any QEMU of the last ten years has them.
const capabilities = 1<<1 | 1<<3 | 1<<4 | 1<<5 | 1<<6

const (
	helloBytes = 68
	maxMessage = 128 << 20 // the protocol's own limit for a bulk transfer
	highSpeed  = 2
	cancelled  = 1
)

// Server is one connection; one device at a time is on it.
type Server struct {
	conn io.ReadWriteCloser

	sending sync.Mutex
	long    bool // ids of 64 bits: from the peer's hello on

	mu        sync.Mutex
	device    *usbdevice.Device
	alternate map[byte]byte
	pending   map[uint64]pending
	typing    map[byte]chan struct{}
	next      *usbdevice.Device // what to connect when the disconnection is acknowledged
	resets    int
	reports   uint64
}

// pending is a bulk transfer that the device has not answered yet.
type pending struct {
	endpoint byte
	stop     chan struct{}
}

// Serve speaks the protocol on conn until it ends, with d plugged in as soon as the peer has said hello. plugged gets the
// server at that moment.
func Serve(conn io.ReadWriteCloser, d *usbdevice.Device, plugged func(*Server)) error {
	s := &Server{conn: conn, device: d, alternate: map[byte]byte{}, pending: map[uint64]pending{}, typing: map[byte]chan struct{}{}}
	defer s.stopAll()
	head := make([]byte, helloBytes)
	copy(head, "pratique test device")
	binary.LittleEndian.PutUint32(head[64:], capabilities)
	if err := s.send(hello, 0, head, nil); err != nil {
		return err
	}
	for {
		kind, id, body, err := s.receive()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := s.handle(kind, id, body, plugged); err != nil {
			return err
		}
	}
}

func (s *Server) send(kind uint32, id uint64, head, data []byte) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	b := binary.LittleEndian.AppendUint32(nil, kind)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(head)+len(data)))
	if s.long {
		b = binary.LittleEndian.AppendUint64(b, id)
	} else {
		b = binary.LittleEndian.AppendUint32(b, uint32(id))
	}
	_, err := s.conn.Write(append(append(b, head...), data...))
	return err
}

func (s *Server) receive() (kind uint32, id uint64, body []byte, err error) {
	head := make([]byte, 12, 16)
	s.sending.Lock()
	if s.long {
		head = head[:16]
	}
	s.sending.Unlock()
	if _, err := io.ReadFull(s.conn, head); err != nil {
		return 0, 0, nil, err
	}
	kind, length := binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint32(head[4:])
	if length > maxMessage {
		return 0, 0, nil, fmt.Errorf("usbredir: a message of %d bytes", length)
	}
	if id = uint64(binary.LittleEndian.Uint32(head[8:])); len(head) == 16 {
		id = binary.LittleEndian.Uint64(head[8:])
	}
	body = make([]byte, length)
	_, err = io.ReadFull(s.conn, body)
	return kind, id, body, err
}

// least is how long a message of each type must be to be looked into.
var least = map[uint32]int{hello: helloBytes, setConfiguration: 1, setAlternate: 2, getAlternate: 1, startInterrupt: 1, stopInterrupt: 1,
	controlPacket: 10, bulkPacket: 10, interruptPacket: 4}

func (s *Server) handle(kind uint32, id uint64, body []byte, plugged func(*Server)) error {
	if len(body) < least[kind] {
		return fmt.Errorf("usbredir: a message of type %d with %d bytes", kind, len(body))
	}
	s.mu.Lock()
	d := s.device
	s.mu.Unlock()
	if d == nil && kind != hello && kind != disconnectAck { // nothing is plugged: what was under way is void
		return nil
	}
	switch kind {
	case hello:
		if peer := binary.LittleEndian.Uint32(body[64:]); peer&capabilities != capabilities {
			return fmt.Errorf("usbredir: the peer has capabilities %#x and not %#x", peer, capabilities)
		}
		s.sending.Lock()
		s.long = true
		s.sending.Unlock()
		if err := s.connect(d); err != nil {
			return err
		}
		plugged(s)
	case reset:
		s.mu.Lock()
		s.resets++
		s.mu.Unlock()
	case setConfiguration:
		d.SetConfig(body[0])
		return s.send(configurationStatus, id, []byte{0, body[0]}, nil)
	case getConfiguration:
		return s.send(configurationStatus, id, []byte{0, d.Config()}, nil)
	case setAlternate:
		s.mu.Lock()
		s.alternate[body[0]] = body[1]
		s.mu.Unlock()
		if err := s.describe(d); err != nil { // the endpoints are others now
			return err
		}
		return s.send(alternateStatus, id, []byte{0, body[0], body[1]}, nil)
	case getAlternate:
		s.mu.Lock()
		alternate := s.alternate[body[0]]
		s.mu.Unlock()
		return s.send(alternateStatus, id, []byte{0, body[0], alternate}, nil)
	case startInterrupt:
		s.startTyping(d, body[0])
		return s.send(interruptStatus, id, []byte{0, body[0]}, nil)
	case stopInterrupt:
		s.stopTyping(body[0])
		return s.send(interruptStatus, id, []byte{0, body[0]}, nil)
	case cancelData:
		s.mu.Lock()
		p, ok := s.pending[id]
		delete(s.pending, id)
		s.mu.Unlock()
		if ok {
			close(p.stop)
			return s.send(bulkPacket, id, bulkHead(p.endpoint, cancelled, 0, 0), nil)
		}
	case filterReject, filterFilter:
	case disconnectAck:
		return s.reconnect()
	case controlPacket:
		return s.control(d, id, body)
	case bulkPacket:
		return s.bulk(d, id, body)
	case interruptPacket:
		return s.send(interruptPacket, id, []byte{body[0], 0, body[2], body[3]}, nil)
	default:
		return fmt.Errorf("usbredir: a message of type %d", kind)
	}
	return nil
}

func (s *Server) control(d *usbdevice.Device, id uint64, body []byte) error {
	setup := usbdevice.Setup{Request: body[1], Type: body[2], Value: binary.LittleEndian.Uint16(body[4:]),
		Index: binary.LittleEndian.Uint16(body[6:]), Length: binary.LittleEndian.Uint16(body[8:])}
	data, status := d.Control(setup, body[10:])
	n := len(data)
	if setup.Type&0x80 == 0 && status == usbdevice.Success {
		n = int(setup.Length)
	}
	head := append([]byte(nil), body[:10]...)
	head[3] = byte(status)
	binary.LittleEndian.PutUint16(head[8:], uint16(n))
	return s.send(controlPacket, id, head, data)
}

// bulkHead is the header of a bulk packet: the length is in two halves.
func bulkHead(endpoint, status byte, n int, stream uint32) []byte {
	b := []byte{endpoint, status, byte(n), byte(n >> 8)}
	b = binary.LittleEndian.AppendUint32(b, stream)
	return append(b, byte(n>>16), byte(n>>24))
}

func (s *Server) bulk(d *usbdevice.Device, id uint64, body []byte) error {
	endpoint, stream := body[0], binary.LittleEndian.Uint32(body[4:])
	n := int(binary.LittleEndian.Uint16(body[2:])) | int(binary.LittleEndian.Uint16(body[8:]))<<16
	if endpoint&0x80 == 0 {
		status := d.BulkOut(endpoint, body[10:])
		return s.send(bulkPacket, id, bulkHead(endpoint, byte(status), n, stream), nil)
	}
	if n > maxMessage {
		return fmt.Errorf("usbredir: a transfer of %d bytes", n)
	}
	p := pending{endpoint, make(chan struct{})}
	s.mu.Lock()
	s.pending[id] = p
	s.mu.Unlock()
	// A silent device never answers, and the others are served meanwhile.
	go func() {
		data, status := d.BulkIn(endpoint, n, p.stop)
		s.mu.Lock()
		_, wanted := s.pending[id]
		delete(s.pending, id)
		s.mu.Unlock()
		if wanted {
			s.send(bulkPacket, id, bulkHead(endpoint, byte(status), len(data), stream), data) // a lost connection ends Serve
		}
	}()
	return nil
}

// describe says which interfaces and endpoints the device has, with the alternates that are chosen.
func (s *Server) describe(d *usbdevice.Device) error {
	const slots = 32
	interfaces := make([]byte, 4+4*slots)
	endpoints := make([]byte, 3*slots+2*slots)
	for i := range slots {
		endpoints[i] = 255 // none
	}
	for _, control := range []int{0, 16} {
		endpoints[control] = 0
		binary.LittleEndian.PutUint16(endpoints[3*slots+2*control:], 64)
	}
	n := 0
	s.mu.Lock()
	for _, f := range d.Interfaces {
		if f.Alternate != s.alternate[f.Number] || n == slots {
			continue
		}
		interfaces[4+n], interfaces[4+slots+n], interfaces[4+2*slots+n], interfaces[4+3*slots+n] = f.Number, f.Class, f.SubClass, f.Protocol
		n++
		for _, e := range f.Endpoints {
			k := int(e.Address&0x0F) | int(e.Address&0x80)>>3
			endpoints[k], endpoints[slots+k], endpoints[2*slots+k] = e.Type, e.Interval, f.Number
			binary.LittleEndian.PutUint16(endpoints[3*slots+2*k:], e.Packet)
		}
	}
	s.mu.Unlock()
	binary.LittleEndian.PutUint32(interfaces, uint32(n))
	if err := s.send(interfaceInfo, 0, interfaces, nil); err != nil {
		return err
	}
	return s.send(endpointInfo, 0, endpoints, nil)
}

func (s *Server) connect(d *usbdevice.Device) error {
	if err := s.describe(d); err != nil {
		return err
	}
	b := []byte{highSpeed, d.Class, 0, 0}
	b = binary.LittleEndian.AppendUint16(b, d.Vendor)
	b = binary.LittleEndian.AppendUint16(b, d.Product)
	return s.send(deviceConnect, 0, append(b, 0x00, 0x01), nil)
}

// Unplug takes the device off the bus, at any moment.
func (s *Server) Unplug() error { return s.Replace(nil) }

// Replace takes the device off the bus and puts another on the same port, if d is not nil: what a stick does that comes back
// as something else.
func (s *Server) Replace(d *usbdevice.Device) error {
	s.mu.Lock()
	gone := s.device == nil
	s.device, s.next = nil, d
	s.mu.Unlock()
	if gone {
		return s.reconnect()
	}
	s.stopAll()
	return s.send(deviceDisconnect, 0, nil, nil)
}

func (s *Server) reconnect() error {
	s.mu.Lock()
	d := s.next
	s.device, s.next = d, nil
	s.alternate = map[byte]byte{}
	s.mu.Unlock()
	if d == nil {
		return nil
	}
	return s.connect(d)
}

// Resets returns how often the bus was reset.
func (s *Server) Resets() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resets
}

// stopAll ends what waits for the device.
func (s *Server) stopAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, p := range s.pending {
		close(p.stop)
		delete(s.pending, id)
	}
	for endpoint, stop := range s.typing {
		close(stop)
		delete(s.typing, endpoint)
	}
}

func (s *Server) startTyping(d *usbdevice.Device, endpoint byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.Keyboard == nil || d.Keyboard.Endpoint != endpoint || s.typing[endpoint] != nil {
		return
	}
	stop := make(chan struct{})
	s.typing[endpoint] = stop
	go d.Keyboard.Type(stop, func(report []byte) {
		s.mu.Lock()
		s.reports++
		id := s.reports
		s.mu.Unlock()
		s.send(interruptPacket, id, []byte{endpoint, 0, byte(len(report)), byte(len(report) >> 8)}, report) // a lost connection ends Serve
	})
}

func (s *Server) stopTyping(endpoint byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stop := s.typing[endpoint]; stop != nil {
		close(stop)
		delete(s.typing, endpoint)
	}
}
