// Package gate is what pratiqued and usbgate say to each other, and nothing else: a request of one size, an answer of one
// size, over a socket that keeps messages apart (SOCK_SEQPACKET). All numbers are little-endian.
//
//	request, 64 bytes              answer, 8 bytes
//	 0  4  "PGQ1"                   0  4  "PGA1"
//	 4  1  verb                     4  1  verb of the request
//	 5  1  configuration            5  1  1 if it was done, else 0
//	 6  1  interface                6  2  the kernel's error number, 0 if there is none
//	 7  1  length of the port
//	 8  2  bus
//	10  2  address
//	12  4  zero
//	16 48  port, padded with zeros
//
// Everything that a verb does not use is zero. A request that breaks this is answered with EINVAL, and so is a port that
// was not given to usbgate when it was started. One request is answered before the next is read.
//
// Example: authorise interface 0 in configuration 1 of the device on port 1-2.
//
//	50 47 51 31  02 01 00 03  00 00 00 00  00 00 00 00  31 2d 32 00 …
//	50 47 41 31  02 01 00 00
//
// The package trusts nothing that it decodes. It has no effect.
package gate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"syscall"
)

// Verb is what is asked for.
type Verb uint8

// The verbs. The zero value asks for nothing and is refused.
const (
	NoVerb      Verb = iota
	Defaults         // no device and no interface lives unless it is authorised, and no driver comes by itself
	Authorise        // a media port's device, and one interface of it; no driver is probed
	Deauthorise      // the device of a port
	Disable          // take a media port's power
	Enable           // give it back
	HandOver         // give a media port's device node to the reader's user
	TakeBack         // and back to root
	AdmitHub         // authorise a media port's device as a hub: bind the hub driver and no other
	AdmitOwn         // authorise a device of the station's own, and one interface of it, and let the kernel find a driver
	verbs            // how many there are
)

var verbWords = [verbs]string{
	"nothing", "set defaults", "authorise", "de-authorise", "disable", "enable", "hand over", "take back", "admit hub", "admit own",
}

// String returns the verb's words.
func (v Verb) String() string {
	if v < verbs {
		return verbWords[v]
	}
	return verbWords[NoVerb]
}

// Known reports whether there is such a verb.
func (v Verb) Known() bool { return v > NoVerb && v < verbs }

// The sizes of the two messages.
const (
	RequestSize = 64
	AnswerSize  = 8
	portOffset  = 16
	// MaxPort bounds a port's name: three digits of bus and six hubs' ports of three digits, as USB allows tiers.
	MaxPort = 3 + 6*4
)

const (
	requestMagic = "PGQ1"
	answerMagic  = "PGA1"
)

// Request is one request.
type Request struct {
	Verb      Verb
	Config    uint8
	Interface uint8
	Bus       uint16
	Address   uint16
	Port      string
}

// ErrMessage says that a message is not one.
var ErrMessage = errors.New("not a message of the gate")

// ErrPort says that a port's name cannot be one.
var ErrPort = errors.New("not the name of a USB port")

// Port is the name of a port that was looked at letter by letter. The zero value is none.
type Port struct{ name string }

// String returns the name.
func (p Port) String() string { return p.name }

// ParsePort takes a name as the kernel writes them, and nothing that could be a path: a bus, "-", then the port on each hub
// on the way, with dots between, all numbers from 1 to 255 without leading zeros, at most six of them
// (https://docs.kernel.org/driver-api/usb/usb.html; USB 2.0, 4.1.1 for the number of tiers).
func ParsePort(s string) (Port, error) {
	if len(s) > MaxPort {
		return Port{}, ErrPort
	}
	value, digits, numbers := 0, 0, 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] >= '0' && s[i] <= '9' {
			if s[i] == '0' && digits == 0 {
				return Port{}, ErrPort
			}
			value, digits = value*10+int(s[i]-'0'), digits+1
			if digits > 3 || value > 255 {
				return Port{}, ErrPort
			}
			continue
		}
		if digits == 0 {
			return Port{}, ErrPort
		}
		if numbers++; i < len(s) && (numbers == 1) != (s[i] == '-') || i < len(s) && s[i] != '-' && s[i] != '.' {
			return Port{}, ErrPort
		}
		value, digits = 0, 0
	}
	if numbers < 2 || numbers > 7 {
		return Port{}, ErrPort
	}
	return Port{s}, nil
}

// Within reports whether a port is another one, or behind it through hubs.
func (p Port) Within(o Port) bool {
	return o.name != "" && (p.name == o.name || strings.HasPrefix(p.name, o.name+"."))
}

// Switch is where sysfs has the port's own switches: the directory of its hub's interface, and the port's in that. A root hub's
// is 1-0:1.0, that of a hub on 1-2 is 1-2:1.0. A hub whose configuration has another number than 1 is not found so.
func (p Port) Switch() (iface, port string) {
	i := strings.LastIndexAny(p.name, "-.")
	if i < 0 {
		return "", ""
	}
	hub, number := p.name[:i], p.name[i+1:]
	if p.name[i] == '-' {
		return hub + "-0:1.0", "usb" + hub + "-port" + number
	}
	return hub + ":1.0", hub + "-port" + number
}

// Encode writes a request. A port that cannot be one is ErrPort.
func (r Request) Encode() ([]byte, error) {
	if r.Verb != Defaults {
		if _, err := ParsePort(r.Port); err != nil {
			return nil, err
		}
	}
	b := make([]byte, RequestSize)
	copy(b, requestMagic)
	b[4], b[5], b[6], b[7] = byte(r.Verb), r.Config, r.Interface, byte(len(r.Port))
	binary.LittleEndian.PutUint16(b[8:], r.Bus)
	binary.LittleEndian.PutUint16(b[10:], r.Address)
	copy(b[portOffset:], r.Port)
	return b, nil
}

// DecodeRequest reads a request and checks all of it. There is one way to write each, and only that is taken.
func DecodeRequest(b []byte) (Request, Port, error) {
	if len(b) != RequestSize || string(b[:4]) != requestMagic {
		return Request{}, Port{}, ErrMessage
	}
	n := int(b[7])
	if n > MaxPort {
		return Request{}, Port{}, ErrMessage
	}
	r := Request{
		Verb: Verb(b[4]), Config: b[5], Interface: b[6], Port: string(b[portOffset : portOffset+n]),
		Bus: binary.LittleEndian.Uint16(b[8:]), Address: binary.LittleEndian.Uint16(b[10:]),
	}
	var port Port
	if r.Verb != Defaults {
		var err error
		if port, err = ParsePort(r.Port); err != nil {
			return Request{}, Port{}, err
		}
	}
	if !r.Verb.Known() || !r.only() {
		return Request{}, Port{}, ErrMessage
	}
	if again, err := r.Encode(); err != nil || !bytes.Equal(again, b) { // what is not looked at above is zero
		return Request{}, Port{}, ErrMessage
	}
	return r, port, nil
}

// only reports whether a request says no more than its verb has use for.
func (r Request) only() bool {
	interfaces := r.Verb == Authorise || r.Verb == AdmitHub || r.Verb == AdmitOwn
	node := r.Verb == HandOver || r.Verb == TakeBack
	return (r.Verb != Defaults || r.Port == "") &&
		(interfaces && r.Config > 0 || !interfaces && r.Config == 0 && r.Interface == 0) &&
		(node && r.Bus > 0 && r.Address > 0 || !node && r.Bus == 0 && r.Address == 0)
}

// EncodeAnswer writes the answer to a verb. No error is a success.
func EncodeAnswer(v Verb, done bool, errno syscall.Errno) []byte {
	b := make([]byte, AnswerSize)
	copy(b, answerMagic)
	b[4] = byte(v)
	if done {
		b[5] = 1
	} else {
		binary.LittleEndian.PutUint16(b[6:], uint16(errno))
	}
	return b
}

// DecodeAnswer reads the answer to a verb. It is nil only if all of it says that the verb was done.
func DecodeAnswer(b []byte, v Verb) error {
	if len(b) != AnswerSize || string(b[:4]) != answerMagic || Verb(b[4]) != v {
		return ErrMessage
	}
	errno := syscall.Errno(binary.LittleEndian.Uint16(b[6:]))
	switch {
	case b[5] == 1 && errno == 0:
		return nil
	case b[5] == 0 && errno != 0:
		return errno
	}
	return ErrMessage
}
