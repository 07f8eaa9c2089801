package main

import (
	"errors"
	"fmt"
	"io"

	"pratique/rules/yara"
	"pratique/scanner/frame"
	"pratique/scanner/sandbox"
	"pratique/scanner/slot"
)

// compile reads the sources of rules, compiles them and writes the result. Whoever wrote the rules may want to break
// libyara's compiler, so even the sources are read in the jail.
func compile() int {
	input, output, answers := donated(3, "sources"), donated(4, "output"), donated(5, "answers")
	if !enter(sandbox.Compiler) {
		return sandbox.ExitSandbox
	}
	sources, err := readSources(input)
	if err != nil {
		return fail(slot.ExitProtocol, "%v", err)
	}
	rules, problems, err := yara.Compile(sources)
	if err != nil && !errors.Is(err, yara.ErrRejected) {
		return fail(exitFailed, "%v", err)
	}
	w := frame.NewWriter(answers)
	for _, p := range problems[:min(len(problems), slot.MaxProblems)] {
		if err := w.Write(slot.CompileAnswer{Problem: &p}); err != nil {
			return fail(slot.ExitProtocol, "%v", err)
		}
	}
	var last slot.Compiled
	if rules != nil {
		counter := &countingWriter{w: output}
		if err := rules.Save(counter); err != nil {
			return fail(exitFailed, "%v", err)
		}
		last = slot.Compiled{Rules: rules.Count(), Bytes: counter.n}
	}
	err = w.Write(slot.CompileAnswer{Compiled: &last})
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return fail(slot.ExitProtocol, "%v", err)
	}
	return 0
}

// readSources puts the parts together again, within the limits of package slot.
func readSources(r io.Reader) ([]yara.Source, error) {
	frames := frame.NewReader(r)
	var sources []yara.Source
	total, open := 0, false
	for {
		var part slot.SourcePart
		switch err := frames.Next(&part); {
		case err == io.EOF && !open:
			return sources, nil
		case err == io.EOF:
			return nil, fmt.Errorf("sources: %w", io.ErrUnexpectedEOF)
		case err != nil:
			return nil, fmt.Errorf("sources: %w", err)
		}
		total += len(part.Text)
		switch {
		case total > slot.MaxSourceBytes || len(part.Name) > slot.MaxSourceName:
			return nil, errors.New("sources: larger than the limit")
		case open && part.Name != sources[len(sources)-1].Name:
			return nil, errors.New("sources: a part of another file")
		case !open && len(sources) == slot.MaxSources:
			return nil, errors.New("sources: too many files")
		case !open:
			sources = append(sources, yara.Source{Name: part.Name})
		}
		s := &sources[len(sources)-1]
		s.Text = append(s.Text, part.Text...)
		open = !part.Last
	}
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
