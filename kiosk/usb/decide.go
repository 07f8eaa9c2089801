package usb

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"pratique/kiosk/usb/gate"
)

// Action is what is to be done with a device.
type Action uint8

// The actions. The zero value refuses.
const (
	Refuse Action = iota
	Attach        // a medium: authorise its one interface, then start a usbreader
	Hub           // a hub and nothing else: authorise it, and let the kernel's hub driver have it
	Admit         // a device of the station's own: authorise it, and let the kernel have it
)

// String returns the action's word in the log. Anything that is not an action reads as a refusal.
func (a Action) String() string {
	switch a {
	case Attach:
		return "attach"
	case Hub:
		return "hub"
	case Admit:
		return "admit"
	}
	return "refuse"
}

// Code is why a device was refused: a closed list, for the log and for integrators.
type Code string

// The codes.
const (
	NotAMediaPort  Code = "not-a-media-port"   // media are not read here
	OwnChanged     Code = "own-device-changed" // where the station's own device belongs is something else
	Malformed      Code = "malformed-device"   // its descriptors contradict themselves
	NotReadable    Code = "unreadable-device"  // sysfs did not say what it is
	InputDevice    Code = "input-device"       // keyboard, mouse, or whatever else can type
	NetworkDevice  Code = "network-device"     // network adapter, modem, serial line
	WirelessDevice Code = "wireless-device"    // Bluetooth and the like
	PrinterDevice  Code = "printer"            //
	AudioVideo     Code = "audio-video-device" // sound card, camera for video
	CameraOrPhone  Code = "camera-or-phone"    // still images, and media transfer to phones
	SmartCard      Code = "smart-card-reader"  //
	VendorDevice   Code = "vendor-device"      // what only its maker's driver knows
	OtherDevice    Code = "other-device"       // any other class
	HubAndMore     Code = "hub-and-more"       // a hub that is something else as well
	UASOnly        Code = "uas-only"           // storage, only by USB Attached SCSI
	OldStorage     Code = "storage-protocol"   // storage of another protocol: floppy drives and the like
	StorageShape   Code = "storage-shape"      // storage that does not have the pipes its protocol needs
	SeveralInOne   Code = "several-in-one"     // more than one storage interface, or configuration
	PresentAtStart Code = "present-at-start"   // it was there before the station watched
	ReturnedAs     Code = "returned-changed"   // it was a medium, and is now something else
	TwoInOneSocket Code = "two-in-one-socket"  // both halves of a USB 3 socket are in use at once
)

// Arrival reports whether a device was refused for how it came and not for what it is. Plugged in anew, it may be let in.
func (c Code) Arrival() bool { return c == PresentAtStart || c == ReturnedAs || c == TwoInOneSocket }

// Decision is what Decide or Ports made of a device. Text is for staff.
type Decision struct {
	Action    Action
	Code      Code   // empty unless it is refused
	Text      string // empty unless it is refused
	Config    int    // the configuration's value, for Attach and Hub
	Interface int    // the interface's number, for Attach and Hub
}

// Policy says which ports are for media, and what belongs to the station. The zero value refuses everything.
type Policy struct {
	// Media are the ports for foreign media, each with its socket's name. Both halves of a USB 3 socket have the same name.
	Media map[string]string
	// Own are the station's touch screen, badge reader, printer, internal hub. Nothing else may be on their ports. A port may
	// have several, of which one is there: a spare part, or what a device is while it starts.
	Own []Own
}

// Own is a device of the station's own: it is known by where it is and by all that it says of itself.
type Own struct {
	Port   string
	Digest [32]byte
	Name   string
}

// ErrPolicy says that a policy cannot be meant.
var ErrPolicy = errors.New("the list of USB ports contradicts itself")

// Check refuses a policy with ports that cannot be, without names, or with a port for two purposes.
func (p Policy) Check() error {
	for port, name := range p.Media {
		if _, err := gate.ParsePort(port); err != nil {
			return fmt.Errorf("%w: media port %q: %w", ErrPolicy, port, err)
		}
		if name == "" || len(name) > maxName {
			return fmt.Errorf("%w: media port %s needs a name of at most %d bytes", ErrPolicy, port, maxName)
		}
		for other := range p.Media {
			if below(other, port) {
				return fmt.Errorf("%w: media port %s is behind media port %s", ErrPolicy, other, port)
			}
		}
	}
	for i, own := range p.Own {
		if _, err := gate.ParsePort(own.Port); err != nil {
			return fmt.Errorf("%w: own device's port %q: %w", ErrPolicy, own.Port, err)
		}
		if slices.ContainsFunc(p.Own[:i], func(o Own) bool { return o.Port == own.Port && o.Digest == own.Digest }) {
			return fmt.Errorf("%w: the device on port %s is named twice", ErrPolicy, own.Port)
		}
		if socket, ok := p.Socket(own.Port); ok {
			return fmt.Errorf("%w: port %s of a device of its own is media port %q", ErrPolicy, own.Port, socket)
		}
		if own.Digest == [32]byte{} {
			return fmt.Errorf("%w: the device on port %s has no digest", ErrPolicy, own.Port)
		}
	}
	return nil
}

// maxName bounds a socket's name, which a person reads on a small screen.
const maxName = 64

// below reports whether a port is behind another one, through hubs.
func below(port, hub string) bool { return strings.HasPrefix(port, hub+".") }

// Socket names the socket that a person sees for a port on which media may be: a media port's name, and behind a hub in
// it the hub's ports, as in "front 1.3".
func (p Policy) Socket(port string) (string, bool) {
	if name, ok := p.Media[port]; ok {
		return name, true
	}
	for media, name := range p.Media {
		if below(port, media) {
			return name + " " + port[len(media)+1:], true
		}
	}
	return "", false
}

// kind is what an alternate setting is to this station.
type kind uint8

const (
	kindOther kind = iota
	kindBOT
	kindUAS
	kindStorage // of another protocol
	kindHub
)

// The class codes are those of https://www.usb.org/defined-class-codes and of the Mass Storage Class Overview 1.4,
// tables 1 and 2.
const (
	classPerInterface = 0x00
	classStorage      = 0x08
	classHub          = 0x09

	subclassSCSI = 0x06 // SCSI transparent command set
	protocolBOT  = 0x50
	protocolUAS  = 0x62
)

func (a Alternate) kind() kind {
	switch {
	case a.Class == classHub:
		return kindHub
	case a.Class != classStorage:
		return kindOther
	case a.Subclass == subclassSCSI && a.Protocol == protocolBOT:
		return kindBOT
	case a.Subclass == subclassSCSI && a.Protocol == protocolUAS:
		return kindUAS
	}
	return kindStorage
}

// foreign are the classes that no medium has, those first that do most harm: the first that a device has names its refusal.
// A class that is not here is OtherDevice.
var foreign = []struct {
	class byte
	code  Code
	word  string
}{
	{0x03, InputDevice, "a keyboard, a mouse or the like"},
	{0x02, NetworkDevice, "a network adapter or modem"},
	{0x0A, NetworkDevice, "a network adapter or modem"},
	{0xE0, WirelessDevice, "a wireless adapter"},
	{0xFF, VendorDevice, "a device that needs its maker's own software"},
	{0x07, PrinterDevice, "a printer"},
	{0x06, CameraOrPhone, "a camera or a phone"},
	{0x01, AudioVideo, "a sound or video device"},
	{0x0E, AudioVideo, "a sound or video device"},
	{0x10, AudioVideo, "a sound or video device"},
	{0x0B, SmartCard, "a smart card reader"},
}

// texts are the sentences that need no word put in.
var texts = map[Code]string{
	NotAMediaPort:  "This socket is not for USB sticks. Use the marked socket.",
	OwnChanged:     "A part of this station was changed. The station cannot be used; call IT security.",
	Malformed:      "What this device says about itself is not valid. It was not read. Give it to IT security.",
	NotReadable:    "The station could not find out what this device is. Pull it out and try once more.",
	HubAndMore:     "This is a USB hub and something else in one. It was not read. Give it to IT security.",
	UASOnly:        "This drive can only be read in a way that this station does not use (UAS). Copy the files to a USB stick.",
	OldStorage:     "This drive is of an old kind that this station does not read. Copy the files to a USB stick.",
	StorageShape:   "This says that it is a USB stick, but is not built like one. It was not read. Give it to IT security.",
	SeveralInOne:   "This is more than one drive in one device. The station could only check one of them, so it read none.",
	PresentAtStart: "This was plugged in before the station was ready. Pull it out and plug it in again.",
	ReturnedAs:     "This device changed what it is while it was plugged in. The check was stopped. Give it to IT security.",
	TwoInOneSocket: "Two devices answer from one socket. Nothing was read. Give what is plugged in to IT security.",
}

// refusal is a decision with the sentence of its code.
func refusal(code Code) Decision { return Decision{Code: code, Text: texts[code]} }

// Decide says what a device may be, from nothing but what it says of itself and where it is plugged in.
func Decide(d Device, p Policy) Decision {
	owned := false
	for _, own := range p.Own {
		if own.Port != d.Port {
			continue
		}
		if own.Digest == d.Digest && own.Digest != [32]byte{} && d.Fault != FaultUnreadable {
			return Decision{Action: Admit}
		}
		owned = true
	}
	if owned {
		return refusal(OwnChanged)
	}
	if _, ok := p.Socket(d.Port); !ok {
		return refusal(NotAMediaPort)
	}
	switch {
	case d.Fault == FaultUnreadable:
		return refusal(NotReadable)
	case d.Fault != "", len(d.Configs) == 0:
		return refusal(Malformed)
	}
	kinds := map[kind]bool{}
	classes := map[byte]bool{}
	for _, c := range d.Configs {
		for _, i := range c.Interfaces {
			for _, a := range i.Alternates {
				kinds[a.kind()] = true
				classes[a.Class] = true
			}
		}
	}
	// The device descriptor can name a class for the whole device, and some hosts choose their driver by that alone.
	if c := d.Class[0]; c != classPerInterface && c != 0xEF { // 0xEF/02/01 says only that interfaces come in groups
		classes[c] = true
		if c != classHub && c != classStorage {
			kinds[kindOther] = true
		}
	}
	storage := classes[classStorage]
	switch {
	case kinds[kindOther]:
		return refuseForeign(classes, storage)
	case classes[classHub]:
		return decideHub(d)
	case kinds[kindStorage]:
		return refusal(OldStorage)
	case !kinds[kindBOT]:
		return refusal(UASOnly)
	// What a host reads would depend on which of them it takes: this station would vouch for the other ones unseen.
	case len(d.Configs) != 1 || len(d.Configs[0].Interfaces) != 1:
		return refusal(SeveralInOne)
	}
	return decideStorage(d.Configs[0])
}

// refuseForeign names the worst of what a device is, and whether it is storage too: that is what an attack looks like.
func refuseForeign(classes map[byte]bool, storage bool) Decision {
	code, word := OtherDevice, "a device that is not a USB stick"
	for _, f := range foreign {
		if classes[f.class] {
			code, word = f.code, f.word
			break
		}
	}
	if storage {
		return Decision{Code: code, Text: "This looks like a USB stick but is also " + word + ". It was not read. Give it to IT security."}
	}
	return Decision{Code: code, Text: "This is " + word + ". Only USB sticks are read here. Pull it out."}
}

// decideHub takes a hub that is nothing else: class 9 in the device and in one interface, which may have two settings (one
// or many transaction translators, USB 2.0, 11.23.1), each with one interrupt endpoint.
func decideHub(d Device) Decision {
	if d.Class[0] != classHub || len(d.Configs) != 1 || len(d.Configs[0].Interfaces) != 1 {
		return refusal(HubAndMore)
	}
	c := d.Configs[0]
	for _, a := range c.Interfaces[0].Alternates {
		if a.kind() != kindHub || len(a.Endpoints) != 1 || a.Endpoints[0].transfer() != transferInterrupt || !a.Endpoints[0].in() {
			return refusal(HubAndMore)
		}
	}
	return Decision{Action: Hub, Config: c.Value, Interface: c.Interfaces[0].Number}
}

// decideStorage takes an interface whose setting zero, which is in force without asking, is Bulk-Only Transport with its two
// pipes (Mass Storage Class Bulk-Only Transport 1.0, 4.3 and 4.4), and whose other settings are UAS with its four.
func decideStorage(c Config) Decision {
	i := c.Interfaces[0]
	for n, a := range i.Alternates {
		if n == 0 && (a.kind() != kindBOT || !a.hasBulkPair()) || n > 0 && (a.kind() != kindUAS || !a.hasPipes()) {
			return refusal(StorageShape)
		}
	}
	return Decision{Action: Attach, Config: c.Value, Interface: i.Number}
}

// hasBulkPair reports one bulk endpoint each way. With two of a direction hosts would not agree on which to use. An
// interrupt endpoint beside them is harmless and seen on old sticks.
func (a Alternate) hasBulkPair() bool {
	in, out := 0, 0
	for _, e := range a.Endpoints {
		switch {
		case e.transfer() == transferInterrupt:
		case e.transfer() != transferBulk:
			return false
		case e.in():
			in++
		default:
			out++
		}
	}
	return in == 1 && out == 1
}

// hasPipes reports the four pipes of UAS, each once, each the way that it goes.
func (a Alternate) hasPipes() bool {
	var pipes []byte
	for _, e := range a.Endpoints {
		if e.transfer() != transferBulk || e.Pipe == 0 || e.in() != (e.Pipe == pipeStatus || e.Pipe == pipeDataIn) {
			return false
		}
		pipes = append(pipes, e.Pipe)
	}
	slices.Sort(pipes)
	return slices.Equal(pipes, []byte{pipeCommand, pipeStatus, pipeDataIn, pipeDataOut})
}
