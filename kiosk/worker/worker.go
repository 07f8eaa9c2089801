// Package worker runs the processes that read a foreign medium: it starts them, gives them what they need and nothing else,
// watches them, kills them by the clock, and collects what they say into a report.
//
// A scan is one scanworker, which reads the medium, and one yaraworker for each slot, which matches content. Each starts
// with an empty environment and the descriptors that are listed at start and nowhere else, and jails itself before it
// reads a foreign byte. A slot is a memfd and two pipes. The supervisor keeps the other ends, so that a yaraworker that
// died or ran too long is replaced on the same descriptors: kill, reap, drain both pipes, tell scanworker, start the next.
// A slot's buffer is never used again before the process that looked at it is reaped.
//
// Nothing that the workers say is trusted. Messages are bounded and held against their rules by report.Collector; that the
// buffers are sealed against writing is checked on the descriptors themselves; a worker that breaks a rule ends the scan.
// The jail that a worker closes around itself (package sandbox) is the same everywhere, or there is no scan. What comes on
// top at its start is not to be had everywhere: namespaces of its own, and another user if root starts it (isolate.go).
// The strongest that the kernel grants is taken, the report says which, and Config.RequireNamespaces insists. Check tries
// the whole jail from inside.
//
// What is trusted: the executables in Config.Dir, the rules and lists that the caller donates, and the kernel.
//
// Every way in which a scan can end early gives a report that is not complete and says why in a shortfall. An error means
// that the kiosk failed: there is nothing that a verdict could be taken from.
//
// The workers do not outlive the supervisor: the kernel kills them when the thread that started them ends.
package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"pratique/scanner/report"
	"pratique/scanner/slot"
)

// ErrSandbox says that a worker could not build its jail and refused to work. No medium can be scanned on this machine.
var ErrSandbox = errors.New("the sandbox of a worker could not be applied")

// ErrStart says that a worker could not be started or ended before it was ready.
var ErrStart = errors.New("a worker could not be started")

// The codes of the shortfalls that this package adds to a report.
const (
	CodeDied        = "worker-died"       // scanworker ended before its last message, or with an error
	CodeProtocol    = "worker-protocol"   // a worker sent what it may not send
	CodeStalled     = "worker-stalled"    // no message for Config.StallTimeout
	CodeInterrupted = "interrupted"       // the context ended
	CodeRestarts    = "too-many-restarts" // yaraworkers died again and again
	CodeChanged     = "medium-changed"    // the medium's size or time is not what it was when the scan began
)

const (
	// SlotBytes is the size of a slot's buffer, and so of the largest file that YARA sees in one piece. Larger ones go
	// through in blocks.
	SlotBytes = 64 << 20
	// MaxSlots bounds memory; a kiosk has four cores.
	MaxSlots = 32
	// MaxLists bounds the descriptors that scanworker gets.
	MaxLists = 16
	// MaxRestarts is how many yaraworkers may be replaced in one scan. A medium made of files that kill libyara cannot be
	// cleared after the first; going on only tells more about it.
	MaxRestarts = 100

	// DefaultFileTimeout is what matching one file may take: a hundred times what the slowest public rules need for 64 MiB.
	DefaultFileTimeout = 60 * time.Second
	// DefaultStallTimeout: scanworker reports its progress ten times a second, even while a slow medium is read.
	DefaultStallTimeout = 60 * time.Second
	// DefaultSlotTimeout is a second line behind scanworker's own deadlines, which grow with a file's size.
	DefaultSlotTimeout = 15 * time.Minute
	// exitGrace is how long a worker may take to end after its last message.
	exitGrace = 5 * time.Second
)

// Config says with what a medium is scanned. Dir and Slots are required, Rules too but for Compile.
type Config struct {
	Dir   string     // the folder of the worker executables
	Slots int        // yaraworkers side by side; one for each core
	Rules *os.File   // compiled rules, as Compile returned them
	Lists []*os.File // compiled blocklists, open for reading
	Deep  bool       // also scan unallocated space and slack

	// Seed says what is read a second time, and in what order; report.Job has more. Zero lets the scanner draw one.
	Seed [32]byte

	// RequireNamespaces refuses to scan where the workers cannot have namespaces of their own: right for a station, where
	// nothing but a mistake takes them away. Without it the report's layers say what was to be had.
	RequireNamespaces bool

	FileTimeout    time.Duration // for YARA on one file of up to SlotBytes; 0 is DefaultFileTimeout
	StallTimeout   time.Duration // without any message from scanworker; 0 is DefaultStallTimeout
	SlotTimeout    time.Duration // for one request to a yaraworker, or one block of a large file; 0 is DefaultSlotTimeout
	CompileTimeout time.Duration // for Compile as a whole; 0 is DefaultCompileTimeout

	// Stderr gets what the workers write there, at most maxStderr bytes; nil discards it. It is for tests: a worker's
	// crash may print what it was reading.
	Stderr io.Writer
}

// Sink receives what a report does not keep. Its functions are called one at a time, on Scan's goroutine.
type Sink struct {
	Item     func(report.Item) error // every item in order, clean ones too; an error ends the scan and is returned
	Progress func(report.Progress)   // may be nil
}

// Scan screens the medium src, of which size bytes are to be accounted for. sector is its sector size, 0 where the source
// does not say. src is a file or a block device, open for reading only, whose offset is not used; or a channel to a device
// (Unit.Blocks), which serves one scan, and whose size and sector are as its unit says. It stays open.
//
// An error means that there is no scan to speak of: the workers could not be started, a sandbox was refused (ErrSandbox), or
// the sink failed. Everything else that goes wrong is in the report, which then is not complete. Scan returns after every
// process it started is reaped, which a medium that hangs in the kernel can delay.
func Scan(ctx context.Context, src *os.File, size int64, sector int, cfg Config, sink Sink) (report.Report, error) {
	if err := cfg.check(); err != nil {
		return report.Report{}, err
	}
	if cfg.Rules == nil {
		return report.Report{}, errors.New("worker: no rules are given")
	}
	if src == nil || size < 0 {
		return report.Report{}, fmt.Errorf("worker: no medium, or a size of %d", size)
	}
	before, err := look(src)
	if err != nil {
		return report.Report{}, fmt.Errorf("worker: look at the medium: %w", err)
	}
	s := &scan{cfg: cfg, sink: sink, src: src}
	s.job = report.Job{
		Size: size, SectorSize: sector, Deep: cfg.Deep, Slots: cfg.Slots, SlotBytes: SlotBytes, Lists: len(cfg.Lists),
		FileTimeout: cfg.FileTimeout.Milliseconds(), Seed: cfg.Seed,
	}
	s.collector = report.NewCollector(s.job, sink.Item)
	err = s.run(ctx)
	if err != nil {
		return report.Report{}, err
	}
	r := s.collector.Report()
	r.Layers = append(r.Layers, s.nursery.layers()...)
	r.Shortfalls = append(r.Shortfalls, s.shortfalls...)
	if after, err := look(src); err != nil || after != before || !before.channel && before.size != size {
		r.Shortfalls = append(r.Shortfalls, report.Shortfall{Code: CodeChanged, Text: "The medium changed its size or was written to while it was read."})
	}
	if len(r.Shortfalls) > 0 {
		r.Complete = false
	}
	return r, nil
}

// check fills in the defaults and refuses what cannot be meant.
func (c *Config) check() error {
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{{&c.FileTimeout, DefaultFileTimeout}, {&c.StallTimeout, DefaultStallTimeout}, {&c.SlotTimeout, DefaultSlotTimeout}, {&c.CompileTimeout, DefaultCompileTimeout}} {
		if *d.value == 0 {
			*d.value = d.standard
		}
		if *d.value < time.Millisecond {
			return fmt.Errorf("worker: a time limit of %v", *d.value)
		}
	}
	switch {
	case c.Dir == "":
		return errors.New("worker: the folder of the workers is not given")
	case c.Slots < 1 || c.Slots > MaxSlots:
		return fmt.Errorf("worker: %d slots (want 1 to %d)", c.Slots, MaxSlots)
	case len(c.Lists) > MaxLists:
		return fmt.Errorf("worker: %d blocklists (want at most %d)", len(c.Lists), MaxLists)
	}
	return errors.Join(checkProgram(c.Dir, scanWorker), checkProgram(c.Dir, yaraWorker))
}

func checkProgram(dir, name string) error {
	info, err := os.Stat(filepath.Join(dir, name))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStart, err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return fmt.Errorf("%w: %s is not a program", ErrStart, name)
	}
	return nil
}

// mark is what shows from outside that a medium was changed. A device node has no time of its own. A channel shows nothing:
// the process at its other end says in its answers that a medium was changed (blocks.Changed).
type mark struct {
	size     int64
	modified time.Time
	channel  bool
}

func look(src *os.File) (mark, error) {
	info, err := src.Stat()
	if err != nil {
		return mark{}, err
	}
	if info.Mode().IsRegular() {
		return mark{size: info.Size(), modified: info.ModTime()}, nil
	}
	if info.Mode()&os.ModeSocket != 0 {
		return mark{channel: true}, nil
	}
	size, err := src.Seek(0, io.SeekEnd)
	return mark{size: size}, err
}

// The programs in Config.Dir.
const (
	scanWorker = "scanworker"
	yaraWorker = "yaraworker"
)

// Source is one file of rules, Problem what the compiler says about one.
type (
	Source  = slot.Source
	Problem = slot.Problem
)
