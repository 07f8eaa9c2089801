package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pratique/scanner/frame"
	"pratique/scanner/probe"
	"pratique/scanner/sandbox"
)

// probeTimeout is for one attempt, which takes milliseconds.
const probeTimeout = 10 * time.Second

// Jail is what holds the workers on this machine, as found out by attacking it.
type Jail struct {
	Layers      []string // in force on every worker
	Missing     []string // what this machine does not grant; there is a scan without them
	LandlockABI int
	Library     string // the version of libyara
	Attempts    []Attempt
}

// Attempt is one try of one worker at something that it must not be able to do.
type Attempt struct {
	Worker  string // "scanworker", "yaraworker scan", "yaraworker compile" or "usbreader"
	Name    string
	What    string // what was tried, for people
	Refused bool   // in exactly the way that the jail refuses it
	Answer  string // what happened, for people
}

// Holds reports whether every attempt was refused.
func (j *Jail) Holds() bool {
	return len(j.Attempts) > 0 && !slices.ContainsFunc(j.Attempts, func(a Attempt) bool { return !a.Refused })
}

// probed are the ways in which the workers can be started, each with a jail of its own. usbreader's device need not be there.
var probed = []struct {
	name    string
	program string
	args    []string
}{
	{"scanworker", scanWorker, []string{"probe"}},
	{"yaraworker scan", yaraWorker, []string{"probe", "scan"}},
	{"yaraworker compile", yaraWorker, []string{"probe", "compile"}},
	{"usbreader", usbReader, []string{"usb", "1", "1", "probe"}},
}

// Check starts the workers of cfg.Dir in their probe mode, the way a scan starts them, once for each attempt. The errors
// are those of Scan: a worker that cannot build its jail is ErrSandbox.
func Check(ctx context.Context, cfg Config) (_ Jail, err error) {
	cfg.Slots = max(cfg.Slots, 1)
	if err := cfg.check(); err != nil {
		return Jail{}, err
	}
	n, err := newNursery(cfg)
	if err != nil {
		return Jail{}, err
	}
	defer n.close()
	var own []string
	for _, kind := range probe.Namespaces {
		link, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			return Jail{}, fmt.Errorf("worker: namespaces: %w", err)
		}
		own = append(own, link)
	}
	var j Jail
	for _, w := range probed {
		if w.program == usbReader && checkProgram(cfg.Dir, usbReader) != nil {
			continue // no station: images are screened without it, and StartReader says that it is not there
		}
		for _, a := range probe.Attempts() {
			ready, answer, err := n.probe(ctx, w.program, append(slices.Clone(w.args), a.Name))
			if err != nil {
				return Jail{}, fmt.Errorf("worker: probe %s: %w", w.name, err)
			}
			layers := n.confirmed(ready, own)
			if j.Attempts == nil {
				j.Layers = layers
			}
			j.Layers = slices.DeleteFunc(j.Layers, func(l string) bool { return !slices.Contains(layers, l) })
			j.LandlockABI = ready.LandlockABI
			j.Library = max(j.Library, ready.Library)
			j.Attempts = append(j.Attempts, Attempt{w.name, a.Name, a.What, answer.is(a.Want), answer.text})
		}
	}
	for _, layer := range AllLayers() {
		if !slices.Contains(j.Layers, layer) {
			j.Missing = append(j.Missing, layer)
		}
	}
	return j, nil
}

// AllLayers names every layer that there can be, those of the jail itself first.
func AllLayers() (names []string) {
	policy, err := sandbox.Rules(sandbox.ScanWorker, 1)
	if err != nil {
		return nil
	}
	for _, layer := range policy.Layers {
		names = append(names, string(layer))
	}
	for _, space := range namespaces {
		names = append(names, space.layer)
	}
	return append(names, layerUser, layerCaps)
}

// confirmed are the layers that hold a probe: those of the jail on its own word, those of its start if it has seen them too.
func (n *nursery) confirmed(ready *probe.Ready, own []string) []string {
	lacking := map[string]bool{layerCaps: ready.Capabilities != 0}
	for i, kind := range probe.Namespaces {
		for _, space := range namespaces {
			if space.kind == kind {
				lacking[space.layer] = i >= len(ready.Namespaces) || ready.Namespaces[i] == own[i]
			}
		}
	}
	added := n.layers()
	names := slices.DeleteFunc(AllLayers(), func(layer string) bool {
		return !slices.Contains(ready.Layers, layer) && !slices.Contains(added, layer)
	})
	return slices.DeleteFunc(names, func(layer string) bool { return lacking[layer] })
}

// answer is how an attempt ended.
type answer struct {
	killed bool // by the filter
	tried  *probe.Tried
	text   string
}

func (a answer) is(want []unix.Errno) bool {
	if len(want) == 0 {
		return a.killed && a.tried == nil
	}
	return !a.killed && a.tried != nil && slices.Contains(want, unix.Errno(a.tried.Errno))
}

// probe makes one attempt.
func (n *nursery) probe(ctx context.Context, program string, args []string) (*probe.Ready, answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, probeTimeout, fmt.Errorf("no answer within %v", probeTimeout))
	defer cancel()
	source, buffer, err := bait()
	if err != nil {
		return nil, answer{}, err
	}
	defer source.Close()
	defer buffer.Close()
	answers, theirs, err := pipe(true, false)
	if err != nil {
		return nil, answer{}, err
	}
	defer answers.Close()
	defer theirs.Close()
	p, err := n.start(program, args, []*os.File{source, theirs, buffer})
	if err != nil {
		return nil, answer{}, err
	}
	defer func() { p.kill(); <-n.exits }() // reaped, however this ends
	theirs.Close()                         // so that the answers end when the process does
	stop := context.AfterFunc(ctx, p.kill)
	defer stop()

	var ready *probe.Ready
	var got answer
	frames := frame.NewReader(answers)
	for {
		var m probe.Message
		err := frames.Next(&m)
		if err == io.EOF {
			break
		}
		switch {
		case err != nil, (m.Ready == nil) == (m.Tried == nil), (m.Ready == nil) == (ready == nil), got.tried != nil:
			p.kill()
			<-p.exited
			return nil, answer{}, errors.Join(errors.New("an answer without meaning"), err)
		case m.Ready != nil:
			ready = m.Ready
		default:
			got.tried = m.Tried
		}
	}
	<-p.exited
	switch {
	case ctx.Err() != nil:
		return nil, answer{}, context.Cause(ctx)
	case p.code() == sandbox.ExitSandbox && ready == nil:
		return nil, answer{}, ErrSandbox
	case ready == nil:
		return nil, answer{}, fmt.Errorf("%w: %s %s before it was ready", ErrStart, program, p.end())
	}
	if status, ok := p.state.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGSYS {
		got.killed = true
	}
	switch {
	case got.tried == nil:
		got.text = p.end()
	case got.tried.Errno == 0:
		got.text = "succeeded"
	default:
		got.text = syscall.Errno(got.tried.Errno).Error()
	}
	return ready, got, nil
}

// bait makes the descriptors that the attempts are made on: a source that is open for reading, and a buffer as it is when
// scanworker has sealed it.
func bait() (source, buffer *os.File, err error) {
	content, err := newMemfd("source", probe.BufferBytes)
	if err != nil {
		return nil, nil, err
	}
	defer content.Close()
	if source, err = os.Open("/proc/self/fd/" + strconv.Itoa(int(content.Fd()))); err != nil {
		return nil, nil, err
	}
	if buffer, err = newMemfd("slot", probe.BufferBytes); err == nil {
		err = addSeals(buffer, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_FUTURE_WRITE)
	}
	if err != nil {
		source.Close()
		if buffer != nil {
			buffer.Close()
		}
		return nil, nil, err
	}
	return source, buffer, nil
}
