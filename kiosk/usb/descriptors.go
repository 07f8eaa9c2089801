package usb

import "encoding/binary"

// Fault is why the descriptors of a device were not taken: a closed list. The empty Fault is none.
type Fault string

// The faults. What each section of a specification demands is beside the check.
const (
	FaultUnreadable Fault = "unreadable"          // sysfs did not give them
	FaultTooLarge   Fault = "too-large"           // more than maxDescriptors bytes
	FaultTruncated  Fault = "truncated"           // they end before they say they do
	FaultTrailing   Fault = "trailing"            // bytes after the last configuration
	FaultZeroLength Fault = "zero-length"         // a descriptor of no length, which a careless parser never gets past
	FaultLength     Fault = "wrong-length"        // a length that its type cannot have
	FaultOverlap    Fault = "overlapping"         // a descriptor that reaches over its configuration's end
	FaultStray      Fault = "stray"               // a descriptor where its type cannot be
	FaultConfigs    Fault = "configuration-count" // none, or more than the kernel takes
	FaultValue      Fault = "configuration-value" // zero, or one that another configuration has
	FaultInterfaces Fault = "interface-count"     // not as many interfaces as it says
	FaultDuplicate  Fault = "duplicate-interface" // the same setting of the same interface twice
	FaultNumber     Fault = "interface-number"    // numbers that are not 0, 1, 2 … in this order
	FaultAlternate  Fault = "alternate-number"    // alternate settings that are not 0, 1, 2 …
	FaultEndpoints  Fault = "endpoint-count"      // not as many endpoints as a setting says
	FaultEndpoint   Fault = "endpoint-address"    // endpoint zero, a reserved bit, or an address twice
	FaultPacket     Fault = "endpoint-size"       // a packet size that bulk endpoints cannot have
	FaultGroup      Fault = "interface-group"     // an association of interfaces that are not there, or of one in two groups
	FaultPipe       Fault = "pipe-usage"          // a UAS pipe that there is not, or two for one endpoint
)

// Error makes a fault a phrase for the log.
func (f Fault) Error() string { return "descriptors refused: " + string(f) }

const (
	// maxDescriptors is far above the largest honest device (a few kilobytes for cameras) and bounds what Parse keeps.
	maxDescriptors = 32 << 10
	// maxConfigs is the kernel's USB_MAXCONFIG. It cuts a device that says more down to this, so that more cannot be seen.
	maxConfigs = 8
	// maxInterfaces is the kernel's USB_MAXINTERFACES.
	maxInterfaces = 32
)

// Descriptor types: USB 2.0 table 9-5, USB 3.2 table 9-6, and of USB Attached SCSI (UAS-3, 5.3.3.5) the pipe usage.
const (
	typeDevice        = 0x01
	typeConfiguration = 0x02
	typeString        = 0x03
	typeInterface     = 0x04
	typeEndpoint      = 0x05
	typeQualifier     = 0x06
	typeOtherSpeed    = 0x07
	typeAssociation   = 0x0B
	typeBOS           = 0x0F
	typePipeUsage     = 0x24 // in other classes something else
	typeCompanion     = 0x30
	typeIsochronous   = 0x31
)

// Parse reads what sysfs has in a device's file "descriptors": the device descriptor, then each configuration with all that
// belongs to it, as they came over the wire (https://docs.kernel.org/driver-api/usb/usb.html). The kernel itself parses
// leniently and repairs as it goes, and so do libusb and every other host, each in its own way. Here whatever could be
// read in two ways is a fault. The strings and the places of a Device are not Parse's to fill.
func Parse(blob []byte) (d Device, fault Fault) {
	if len(blob) > maxDescriptors {
		return Device{}, FaultTooLarge
	}
	if len(blob) < 2 {
		return Device{}, FaultTruncated
	}
	// USB 2.0, 9.6.1: 18 bytes.
	switch {
	case blob[0] == 0:
		return Device{}, FaultZeroLength
	case blob[1] != typeDevice:
		return Device{}, FaultStray
	case blob[0] != 18:
		return Device{}, FaultLength
	case len(blob) < 18:
		return Device{}, FaultTruncated
	}
	d.Class = [3]byte(blob[4:7])
	d.Vendor, d.Product = binary.LittleEndian.Uint16(blob[8:]), binary.LittleEndian.Uint16(blob[10:])
	configs := int(blob[17])
	if configs == 0 || configs > maxConfigs {
		return d, FaultConfigs
	}
	rest := blob[18:]
	var out []Config
	for range configs {
		c, size, fault := parseConfig(rest)
		if fault != "" {
			return d, fault
		}
		for _, other := range out {
			if other.Value == c.Value {
				return d, FaultValue
			}
		}
		out, rest = append(out, c), rest[size:]
	}
	if len(rest) > 0 {
		return d, FaultTrailing
	}
	d.Configs = out
	return d, ""
}

// configuration is one that is being read.
type configuration struct {
	Config
	owner  [256]int  // by endpoint address: 1 + the interface that has it
	groups [256]bool // by interface number: it is in an association
	ends   int       // 1 + the highest interface number in any association
	last   byte      // the type of the descriptor before
}

// parseConfig reads one configuration (USB 2.0, 9.6.3) and says how long it is.
func parseConfig(b []byte) (_ Config, size int, _ Fault) {
	if len(b) < 9 {
		return Config{}, 0, FaultTruncated
	}
	size = int(binary.LittleEndian.Uint16(b[2:]))
	switch {
	case b[0] == 0:
		return Config{}, 0, FaultZeroLength
	case b[1] != typeConfiguration:
		return Config{}, 0, FaultStray
	case b[0] != 9 || size < 9:
		return Config{}, 0, FaultLength
	case size > len(b):
		return Config{}, 0, FaultTruncated
	case b[5] == 0: // means "not configured" to SET_CONFIGURATION
		return Config{}, 0, FaultValue
	case b[4] == 0 || b[4] > maxInterfaces:
		return Config{}, 0, FaultInterfaces
	}
	interfaces := int(b[4])
	c := configuration{Config: Config{Value: int(b[5])}, last: typeConfiguration}
	for rest := b[9:size]; len(rest) > 0; {
		if rest[0] == 0 {
			return Config{}, 0, FaultZeroLength
		}
		n := int(rest[0])
		switch {
		case n < 2:
			return Config{}, 0, FaultLength
		case n > len(rest):
			return Config{}, 0, FaultOverlap
		}
		if fault := c.add(rest[:n]); fault != "" {
			return Config{}, 0, fault
		}
		c.last = rest[1]
		rest = rest[n:]
	}
	if fault := c.settled(); fault != "" {
		return Config{}, 0, fault
	}
	if len(c.Interfaces) != interfaces {
		return Config{}, 0, FaultInterfaces
	}
	if c.ends > interfaces {
		return Config{}, 0, FaultGroup
	}
	return c.Config, size, ""
}

// add takes the next descriptor, whose length is that of the slice and at least 2.
func (c *configuration) add(b []byte) Fault {
	switch b[1] {
	case typeDevice, typeConfiguration, typeString, typeQualifier, typeOtherSpeed, typeBOS:
		return FaultStray
	case typeInterface:
		return c.addInterface(b)
	case typeEndpoint:
		return c.addEndpoint(b)
	case typeAssociation: // Interface Association Descriptors ECN, 9.6.4: before the first interface of its group
		if len(b) != 8 {
			return FaultLength
		}
		first, count := int(b[2]), int(b[3])
		if count == 0 || first+count > maxInterfaces {
			return FaultGroup
		}
		for i := first; i < first+count; i++ {
			if c.groups[i] {
				return FaultGroup
			}
			c.groups[i] = true
		}
		c.ends = max(c.ends, first+count)
	case typeCompanion: // USB 3.2, 9.6.7: straight after its endpoint
		if len(b) != 6 {
			return FaultLength
		}
		if c.last != typeEndpoint {
			return FaultStray
		}
	case typeIsochronous: // USB 3.2, 9.6.8: straight after the companion
		if len(b) != 8 {
			return FaultLength
		}
		if c.last != typeCompanion {
			return FaultStray
		}
	case typePipeUsage:
		return c.addPipe(b)
	}
	return "" // of a class or vendor: its length was checked, its content is nobody's business here
}

// setting is the alternate setting that is being read, nil before the first.
func (c *configuration) setting() *Alternate {
	if len(c.Interfaces) == 0 {
		return nil
	}
	i := &c.Interfaces[len(c.Interfaces)-1]
	return &i.Alternates[len(i.Alternates)-1]
}

// settled checks the setting before the next begins.
func (c *configuration) settled() Fault {
	if s := c.setting(); s != nil && len(s.Endpoints) != s.declared {
		return FaultEndpoints
	}
	return ""
}

// addInterface is USB 2.0, 9.6.5: numbers from zero, the settings of an interface together, from zero too. A host that keeps
// interfaces in a table by number and one that keeps them in order see the same only then.
func (c *configuration) addInterface(b []byte) Fault {
	if len(b) != 9 {
		return FaultLength
	}
	if fault := c.settled(); fault != "" {
		return fault
	}
	number, alternate := int(b[2]), int(b[3])
	a := Alternate{Class: b[5], Subclass: b[6], Protocol: b[7], declared: int(b[4])}
	switch n := len(c.Interfaces); {
	case number == n && n < maxInterfaces:
		if alternate != 0 {
			return FaultAlternate
		}
		c.Interfaces = append(c.Interfaces, Interface{Number: number, Alternates: []Alternate{a}})
	case number < n && alternate < len(c.Interfaces[number].Alternates):
		return FaultDuplicate
	case number == n-1:
		i := &c.Interfaces[number]
		if alternate != len(i.Alternates) {
			return FaultAlternate
		}
		i.Alternates = append(i.Alternates, a)
	default:
		return FaultNumber
	}
	return ""
}

// addEndpoint is USB 2.0, 9.6.6. Nine bytes are an audio device's.
func (c *configuration) addEndpoint(b []byte) Fault {
	if len(b) != 7 && len(b) != 9 {
		return FaultLength
	}
	s := c.setting()
	if s == nil {
		return FaultStray
	}
	e := Endpoint{Address: b[2], Attributes: b[3], MaxPacket: binary.LittleEndian.Uint16(b[4:])}
	if len(s.Endpoints) == s.declared {
		return FaultEndpoints
	}
	if e.Address&0x0F == 0 || e.Address&0x70 != 0 {
		return FaultEndpoint
	}
	for _, other := range s.Endpoints {
		if other.Address == e.Address {
			return FaultEndpoint
		}
	}
	// "An endpoint is not shared among interfaces within a single configuration" (USB 2.0, 9.2.3).
	if owner := c.owner[e.Address]; owner != 0 && owner != len(c.Interfaces) {
		return FaultEndpoint
	}
	c.owner[e.Address] = len(c.Interfaces)
	if e.transfer() == transferBulk {
		switch e.MaxPacket { // USB 2.0, 5.8.3, and USB 3.2, 9.6.6
		case 8, 16, 32, 64, 512, 1024:
		default:
			return FaultPacket
		}
	}
	s.Endpoints = append(s.Endpoints, e)
	return ""
}

// addPipe is UAS-3, 5.3.3.5: which of the four pipes the endpoint before is. Other classes use the type for what they like.
func (c *configuration) addPipe(b []byte) Fault {
	s := c.setting()
	if s == nil || s.kind() != kindUAS {
		return ""
	}
	if len(b) != 4 {
		return FaultLength
	}
	if len(s.Endpoints) == 0 || c.last != typeEndpoint && c.last != typeCompanion && c.last != typePipeUsage {
		return FaultStray
	}
	e := &s.Endpoints[len(s.Endpoints)-1]
	if e.Pipe != 0 || b[2] < pipeCommand || b[2] > pipeDataOut {
		return FaultPipe
	}
	e.Pipe = b[2]
	return ""
}

// The pipes of UAS, with which way each goes.
const (
	pipeCommand = 1 // out
	pipeStatus  = 2 // in
	pipeDataIn  = 3 // in
	pipeDataOut = 4 // out
)
