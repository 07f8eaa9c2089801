// Package wire is what the tests on the host and the agent in the guest say to each other: one JSON object a line, requests
// one way, replies and events the other, over a virtio serial port.
//
// Each request has an id. Its replies carry that id; the last of them is of kind Done. Events carry id 0 and come at any
// moment. Times are the guest's seconds since its boot, so that two of them can be compared whatever the host does.
//
// Both ends are ours and trust each other: nothing here faces a medium. The only limit is the length of a line.
package wire

// MaxLine bounds a line: the largest file that is read or written in one piece (MaxFile), in base64, and its frame.
const (
	MaxLine = 24 << 20
	MaxFile = 16 << 20
)

// PortName is the name of the virtio serial port.
const PortName = "pratique.agent"

// Verb says what the agent is asked for.
type Verb string

// The verbs, with the fields of Request that they take.
const (
	Run       Verb = "run"       // Args, Dir, Env, User: a program; Started, then a Line for each line, then Done
	Kill      Verb = "kill"      // PID, Signal
	Read      Verb = "read"      // Path
	Write     Verb = "write"     // Path, Data, Mode, User
	List      Verb = "list"      // Path: the names in a folder
	MakeDir   Verb = "mkdir"     // Path, Mode, User
	Mount     Verb = "mount"     // Path, Device, System, ReadOnly
	Unmount   Verb = "unmount"   // Path
	Module    Verb = "module"    // Path (a module's file), Args (its parameters)
	Listen    Verb = "listen"    // Path, User, Args: a program for each connection, which it finds as descriptor 3
	USB       Verb = "usb"       // what the kernel made of what is plugged
	SetClock  Verb = "setclock"  // Data: the host's time, RFC 3339
	Processes Verb = "processes" // Path: the processes that run a program of this name
)

// Request asks the agent for one thing.
type Request struct {
	ID       int      `json:"id"`
	Verb     Verb     `json:"verb"`
	Path     string   `json:"path,omitempty"`
	Args     []string `json:"args,omitempty"`
	Dir      string   `json:"dir,omitempty"`
	Env      []string `json:"env,omitempty"`
	User     *User    `json:"user,omitempty"` // nil is root
	Data     []byte   `json:"data,omitempty"`
	Mode     uint32   `json:"mode,omitempty"`
	PID      int      `json:"pid,omitempty"`
	Signal   int      `json:"signal,omitempty"`
	Device   string   `json:"device,omitempty"`
	System   string   `json:"system,omitempty"`
	ReadOnly bool     `json:"readonly,omitempty"`
}

// User is whose rights a program gets.
type User struct {
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
}

// Kind says what a message is.
type Kind string

// The kinds of message.
const (
	Ready   Kind = "ready"   // event: the guest has booted
	Uevent  Kind = "uevent"  // event: the kernel's own, in Uevent
	Input   Kind = "input"   // event: a key, button or movement arrived at Path
	Started Kind = "started" // PID
	Line    Kind = "line"    // Stream, Text
	Done    Kind = "done"    // Error, or what the verb returns
)

// Message is a reply or an event.
type Message struct {
	ID     int               `json:"id"`
	Kind   Kind              `json:"kind"`
	Up     float64           `json:"up"` // when, in the guest's seconds since boot
	Error  string            `json:"error,omitempty"`
	PID    int               `json:"pid,omitempty"`
	Code   int               `json:"code,omitempty"`   // of a program that ended; minus the signal that killed it
	Stream int               `json:"stream,omitempty"` // 1 standard output, 2 standard error
	Text   string            `json:"text,omitempty"`
	Path   string            `json:"path,omitempty"`
	Data   []byte            `json:"data,omitempty"`
	Names  []string          `json:"names,omitempty"`
	PIDs   []int             `json:"pids,omitempty"`
	Uevent map[string]string `json:"uevent,omitempty"`
	Bus    *Bus              `json:"bus,omitempty"`
}

// Bus is what the guest's kernel made of all that is plugged. What belongs to root hubs is left out.
type Bus struct {
	Devices []Device `json:"devices"`
	Inputs  []string `json:"inputs"` // input devices on USB
	Nets    []string `json:"nets"`   // network interfaces but lo
	Disks   []string `json:"disks"`  // block devices on USB
	Keys    int      `json:"keys"`   // input events since the boot
}

// Device is one USB device as sysfs shows it.
type Device struct {
	Path        string            `json:"path"` // as the kernel names it, "1-2.1"
	Bus         int               `json:"bus"`
	Address     int               `json:"address"`
	Vendor      string            `json:"vendor"`
	Product     string            `json:"product"`
	Authorized  bool              `json:"authorized"`
	Config      string            `json:"config"`  // empty if none is chosen
	Drivers     map[string]string `json:"drivers"` // by interface; without a driver there is no entry
	Interfaces  int               `json:"interfaces"`
	Owner       int               `json:"owner"` // the user of its node below /dev/bus/usb, -1 without one
	Descriptors []byte            `json:"descriptors"`
}
