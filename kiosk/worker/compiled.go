package worker

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// MaxCompiled bounds compiled rules. The largest public set has 16 MB.
const MaxCompiled = 256 << 20

// compilerTimeout is for a program that prints one line.
const compilerTimeout = 10 * time.Second

// Compiler identifies what compiles and loads rules here: yaraworker, with package split in it, the libyara that it runs, and
// the processor's architecture. Rules that were compiled by another are not to be loaded.
func Compiler(ctx context.Context, cfg Config) ([32]byte, error) {
	path, err := filepath.Abs(filepath.Join(cfg.Dir, yaraWorker))
	if err != nil {
		return [32]byte{}, fmt.Errorf("worker: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return [32]byte{}, fmt.Errorf("worker: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return [32]byte{}, fmt.Errorf("worker: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, compilerTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-library")
	cmd.Env, cmd.Dir = []string{}, "/"
	library, err := cmd.Output()
	if err != nil {
		return [32]byte{}, fmt.Errorf("worker: ask yaraworker for its library: %w", err)
	}
	if len(library) == 0 {
		return [32]byte{}, errors.New("worker: yaraworker does not say which library it runs")
	}
	fmt.Fprintf(h, "\x00%s\x00%s", runtime.GOARCH, library)
	return [32]byte(h.Sum(nil)), nil
}

// SealCompiled copies compiled rules into a sealed memfd, fit for Config.Rules. Only then can they be checked: what is checked
// in a file may be something else when it is used. The caller closes it.
func SealCompiled(compiled io.Reader) (*os.File, error) {
	f, err := newMemfd("compiled rules", 0)
	if err != nil {
		return nil, err
	}
	n, err := io.Copy(f, io.LimitReader(compiled, MaxCompiled+1))
	if err == nil && (n == 0 || n > MaxCompiled) {
		err = fmt.Errorf("there are %d bytes", n)
	}
	if err == nil {
		err = addSeals(f, sealAll)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("worker: compiled rules: %w", err)
	}
	return f, nil
}
