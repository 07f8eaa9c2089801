package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"pratique/scanner/frame"
	"pratique/scanner/sandbox"
	"pratique/scanner/slot"
)

// DefaultCompileTimeout is ten times what the largest public set of rules needs.
const DefaultCompileTimeout = 90 * time.Second

// Info is what is known about compiled rules.
type Info struct {
	Rules    int
	Bytes    int64     // of the compiled form
	Warnings []Problem // at most slot.MaxProblems
}

// CompileError says that the rules hold errors. There are no compiled rules then.
type CompileError struct{ Problems []Problem }

// Error returns one line for each problem.
func (e *CompileError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return "the rules have errors:\n" + strings.Join(lines, "\n")
}

// Compile compiles rules in a jailed yaraworker and returns the result as a sealed memfd, fit for Config.Rules. The caller
// closes it. Errors in the rules are a *CompileError; any other error means that the kiosk failed.
func Compile(ctx context.Context, cfg Config, sources []Source) (_ *os.File, _ Info, err error) {
	cfg.Slots = max(cfg.Slots, 1)
	if err := cfg.check(); err != nil {
		return nil, Info{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.CompileTimeout, fmt.Errorf("the rules were not compiled within %v", cfg.CompileTimeout))
	defer cancel()

	input, err := packSources(sources)
	if err != nil {
		return nil, Info{}, err
	}
	defer input.Close()
	output, err := newMemfd("compiled rules", 0)
	if err != nil {
		return nil, Info{}, err
	}
	defer func() {
		if err != nil {
			output.Close()
		}
	}()
	answers, theirs, err := pipe(true, false)
	if err != nil {
		return nil, Info{}, err
	}
	defer answers.Close()
	defer theirs.Close()

	n, err := newNursery(cfg)
	if err != nil {
		return nil, Info{}, err
	}
	defer n.close()
	p, err := n.start(yaraWorker, []string{"compile"}, []*os.File{input, output, theirs})
	if err != nil {
		return nil, Info{}, err
	}
	defer p.kill()
	theirs.Close() // so that the answers end when the process does
	stop := context.AfterFunc(ctx, p.kill)
	defer stop()

	info, problems, answerErr := collect(answers)
	if answerErr != nil {
		p.kill() // it may still be sending
	}
	<-p.exited
	switch {
	case ctx.Err() != nil:
		return nil, Info{}, fmt.Errorf("worker: compile rules: %w", context.Cause(ctx))
	case p.code() == sandbox.ExitSandbox:
		return nil, Info{}, ErrSandbox
	case answerErr != nil:
		return nil, Info{}, fmt.Errorf("worker: compile rules: %w (%s)", answerErr, p.end())
	case p.code() != 0:
		return nil, Info{}, fmt.Errorf("worker: compile rules: yaraworker %s", p.end())
	}
	for _, problem := range problems {
		if !problem.Warning {
			return nil, Info{}, &CompileError{problems}
		}
	}
	info.Warnings = problems
	if err := sealRules(output, info); err != nil {
		return nil, Info{}, err
	}
	return output, info, nil
}

// packSources writes the sources to a sealed memfd in the form of slot.SourcePart.
func packSources(sources []Source) (*os.File, error) {
	if len(sources) > slot.MaxSources {
		return nil, &CompileError{[]Problem{{File: "rules", Text: fmt.Sprintf("there are more than %d files", slot.MaxSources)}}}
	}
	total := 0
	for _, s := range sources {
		total += len(s.Text)
		if len(s.Name) > slot.MaxSourceName || !utf8.ValidString(s.Name) {
			return nil, &CompileError{[]Problem{{File: fmt.Sprintf("%.60q", s.Name), Text: "the file's name is too long or is not UTF-8"}}}
		}
	}
	if total > slot.MaxSourceBytes {
		return nil, &CompileError{[]Problem{{File: "rules", Text: fmt.Sprintf("the files hold more than %d MiB", slot.MaxSourceBytes>>20)}}}
	}
	f, err := newMemfd("rules", 0)
	if err != nil {
		return nil, err
	}
	w := frame.NewWriter(f)
	for _, s := range sources {
		for text := s.Text; ; {
			n := min(len(text), slot.PartBytes)
			if err := w.Write(slot.SourcePart{Name: s.Name, Text: text[:n], Last: n == len(text)}); err != nil {
				f.Close()
				return nil, fmt.Errorf("worker: pack rules: %w", err)
			}
			if text = text[n:]; len(text) == 0 {
				break
			}
		}
	}
	err = w.Flush()
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err == nil {
		err = addSeals(f, sealAll)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("worker: pack rules: %w", err)
	}
	return f, nil
}

// collect reads the answers of a compiling yaraworker up to the last one.
func collect(r io.Reader) (Info, []Problem, error) {
	frames := frame.NewReader(r)
	var problems []Problem
	for {
		var a slot.CompileAnswer
		if err := frames.Next(&a); err != nil {
			if err == io.EOF {
				err = errors.New("yaraworker ended before its last answer")
			}
			return Info{}, nil, err
		}
		switch {
		case (a.Problem == nil) == (a.Compiled == nil):
			return Info{}, nil, errors.New("an answer without meaning")
		case a.Problem != nil && len(problems) >= slot.MaxProblems:
			return Info{}, nil, errors.New("too many problems")
		case a.Problem != nil:
			problems = append(problems, *a.Problem)
		default:
			return Info{Rules: a.Compiled.Rules, Bytes: a.Compiled.Bytes}, problems, nil
		}
	}
}

// sealRules makes the compiled rules final, if they are what was said about them.
func sealRules(f *os.File, info Info) error {
	stat, err := f.Stat()
	if err != nil {
		return fmt.Errorf("worker: compiled rules: %w", err)
	}
	if info.Rules <= 0 || info.Bytes <= 0 || stat.Size() != info.Bytes {
		return fmt.Errorf("worker: compiled rules: %d rules in %d bytes, where %d were announced", info.Rules, stat.Size(), info.Bytes)
	}
	if err := addSeals(f, sealAll); err != nil {
		return fmt.Errorf("worker: compiled rules: %w", err)
	}
	return nil
}

// sealAll makes a memfd's content final.
const sealAll = unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL
