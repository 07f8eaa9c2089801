package kiosk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"pratique/kiosk/trial"
	"pratique/kiosk/worker"
	"pratique/rules/blocklist"
)

// tools is what a scan looks with: rules and a blocklist, both compiled on this machine.
type tools struct {
	rules *os.File
	list  *os.File
}

// prepare compiles the pack, or takes the rules that this station compiled before. Nothing is scanned with half of it: one
// bad line refuses the whole.
func (s *State) prepare(ctx context.Context, want Screening) (_ tools, err error) {
	var t tools
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	texts := []io.Reader{strings.NewReader(trial.CanaryHash())} // by which every list is tried
	for _, text := range want.Pack.Lists {
		texts = append(texts, bytes.NewReader(text))
	}
	if t.list, err = s.compileList(texts); err != nil {
		return tools{}, err
	}
	cfg, sources := compileOf(want)
	if t.rules, err = s.compiled(ctx, cfg, sources); err != nil {
		var bad *worker.CompileError
		if errors.As(err, &bad) {
			return tools{}, fmt.Errorf("%w: %w", ErrRules, err)
		}
		if errors.Is(err, ErrState) {
			return tools{}, err
		}
		return tools{}, workerError(err)
	}
	return t, nil
}

// compileOf is how a pack's rules are compiled, and what they are compiled from.
func compileOf(want Screening) (worker.Config, []worker.Source) {
	var sources []worker.Source
	for _, src := range want.Pack.YARA {
		sources = append(sources, worker.Source{Name: src.Name, Text: src.Text})
	}
	return worker.Config{Dir: want.Workers, RequireNamespaces: want.RequireNamespaces}, sources
}

// compileList compiles hash lists into a file without a name, which lives as long as its descriptor. It is in the state's
// folder and not in memory, because ten million hashes are 340 MB of which a scan touches little.
func (s *State) compileList(texts []io.Reader) (*os.File, error) {
	f, err := os.CreateTemp(s.path("sessions"), ".list-*")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	defer f.Close() // what is given away below is a descriptor of its own, for reading only
	defer os.Remove(f.Name())
	if _, err := blocklist.Compile(f, texts...); err != nil {
		var line *blocklist.LineError
		if errors.As(err, &line) {
			return nil, fmt.Errorf("%w: blocklist: %w", ErrRules, err)
		}
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	list, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd())) // not by its name, which a repair may just have swept
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	return list, nil
}

func (t tools) close() {
	for _, f := range []*os.File{t.rules, t.list} {
		if f != nil {
			f.Close()
		}
	}
}

// config is how the workers of one session run: a slot for each core, or as many as are wanted.
func (t tools) config(want Screening) worker.Config {
	slots := want.Slots
	if slots == 0 {
		slots = min(runtime.NumCPU(), worker.MaxSlots)
	}
	return worker.Config{Dir: want.Workers, Slots: slots, Rules: t.rules, Lists: []*os.File{t.list}, Deep: want.Deep,
		RequireNamespaces: want.RequireNamespaces}
}
