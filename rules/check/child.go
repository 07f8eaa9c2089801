package check

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"pratique/rules/yara"
	"pratique/scanner/slot"
)

// CompileTime is how long libyara may take over a pack: the 1,338 rules of two public sets take 2 seconds.
const CompileTime = 60 * time.Second

// childMemory bounds the child: libyara needs some 10 bytes for each byte of rules.
const childMemory = 4 << 30

// ErrSlow says that the compiler did not end in time.
var ErrSlow = errors.New("libyara needs too long for these rules, and was stopped")

// InChild is a Compiler that runs a program, which is to call Child.
func InChild(program string, args ...string) Compiler {
	return func(ctx context.Context, sources []slot.Source) ([]slot.Problem, error) {
		bounded, stop := context.WithTimeout(ctx, CompileTime)
		defer stop()
		text, err := json.Marshal(sources)
		if err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(bounded, program, args...)
		cmd.Env = []string{}
		cmd.Stdin = bytes.NewReader(text)
		var out, words bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &words
		err = cmd.Run()
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case bounded.Err() != nil:
			return nil, fmt.Errorf("%w after %v", ErrSlow, CompileTime)
		case err != nil:
			return []slot.Problem{{File: "yara", Text: "libyara broke over these rules: " + err.Error()}}, nil
		}
		var problems []slot.Problem
		if err := json.Unmarshal(out.Bytes(), &problems); err != nil {
			return nil, fmt.Errorf("read the compiler's answer: %w", err)
		}
		return problems, nil
	}
}

// Child reads sources, compiles them and writes what libyara says of them.
func Child(in io.Reader, out io.Writer) error {
	if err := unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: childMemory, Max: childMemory}); err != nil {
		return os.NewSyscallError("setrlimit", err)
	}
	var sources []slot.Source
	if err := json.NewDecoder(io.LimitReader(in, 2*slot.MaxSourceBytes)).Decode(&sources); err != nil {
		return err
	}
	_, problems, err := yara.Compile(sources)
	if err != nil && !errors.Is(err, yara.ErrRejected) {
		return err
	}
	return json.NewEncoder(out).Encode(problems)
}
