package kiosk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"pratique/kiosk/worker"
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
	if t.list, err = s.list(want.Pack); err != nil {
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

// TryRules makes a pack's rules and lists ready as a session does, and gives them up again. What this station compiled before is
// not compiled again.
func (s *State) TryRules(ctx context.Context, want Screening) error {
	t, err := s.prepare(ctx, want)
	t.close()
	return err
}

// compileOf is how a pack's rules are compiled, and what they are compiled from.
func compileOf(want Screening) (worker.Config, []worker.Source) {
	var sources []worker.Source
	for _, src := range want.Pack.YARA {
		sources = append(sources, worker.Source{Name: src.Name, Text: src.Text})
	}
	return worker.Config{Dir: want.Workers, RequireNamespaces: want.RequireNamespaces}, sources
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
