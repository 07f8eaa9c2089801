// Command yaraworker matches YARA rules against content, or compiles them. It is the only program on a station that links
// libyara, which is C, and so it gets as little as can be: it is started by the supervisor (package kiosk/worker) with an
// empty environment and the descriptors below, and jails itself before it reads the first byte that somebody else chose.
//
//	yaraworker scan       3 compiled rules, sealed · 4 a slot's buffer · 5 requests · 6 answers
//	yaraworker compile    3 the rules' sources, sealed · 4 where the compiled rules go · 5 answers
//	yaraworker probe MODE NAME    attacks the jail of that mode instead; package probe says how
//	yaraworker -library           prints which libyara it runs; reads nothing foreign, and so without a jail
//
// Landlock is closed around it before its first Go instruction (package early), and the rest of the jail before libyara sees
// the compiled rules.
//
// The messages are those of package scanner/slot. In scan mode the buffer is mapped for reading only, and the program
// refuses to start if it could be mapped otherwise: a bug in libyara must not reach the bytes that are being hashed. What
// it answers can hide a match and do nothing else.
//
// It trusts the compiled rules, which this machine wrote. It keeps no time: libyara's own limits do not hold, so the
// supervisor kills it by the clock. It writes nothing about content to standard error.
//
// Exit codes: 0 the requests ended; 1 libyara failed; 2 wrong command line; 3 and 4 as in package slot; 70 no sandbox.
//
// The two settings below keep the Go runtime from reading the number of processors again and again, from files that a
// jailed process cannot open.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"pratique/rules/yara"
	"pratique/scanner/probe"
	"pratique/scanner/sandbox"
	"pratique/scanner/sandbox/early"
	"pratique/scanner/slot"
)

const (
	exitFailed = 1
	exitUsage  = 2
	// goMemory is what Go's side may grow to before it collects harder: two cached blocks and messages.
	goMemory = 96 << 20
)

func main() {
	debug.SetMemoryLimit(goMemory)
	switch mode := strings.Join(os.Args[1:], " "); {
	case mode == "scan":
		os.Exit(scan())
	case mode == "compile":
		os.Exit(compile())
	case len(os.Args) == 4 && os.Args[1] == "probe":
		os.Exit(attack(os.Args[2], os.Args[3]))
	case mode == "-library":
		os.Exit(library())
	}
	fmt.Fprintln(os.Stderr, "yaraworker: error: is started by the supervisor, as \"yaraworker scan\" or \"yaraworker compile\"")
	os.Exit(exitUsage)
}

// library prints which libyara this program runs: compiled rules are for that one and no other.
func library() int {
	text, err := yara.Library()
	if err != nil {
		return fail(exitFailed, "%v", err)
	}
	fmt.Println(text)
	return 0
}

// fail says what went wrong. The text never holds content: what is wrapped comes from this program and the kernel.
func fail(code int, format string, args ...any) int {
	fmt.Fprintf(os.Stderr, "yaraworker: error: "+format+"\n", args...)
	return code
}

// enter closes the jail.
func enter(role sandbox.Role) (ok bool) {
	if err := early.Check(); err != nil {
		fail(sandbox.ExitSandbox, "%v", err)
		return false
	}
	if _, err := sandbox.Enter(role); err != nil {
		fail(sandbox.ExitSandbox, "%v", err)
		return false
	}
	return true
}

// attack probes the jail of a mode.
func attack(mode, name string) int {
	role, ok := map[string]sandbox.Role{"scan": sandbox.YARAWorker, "compile": sandbox.Compiler}[mode]
	if !ok {
		return fail(exitUsage, "there is no mode %q", mode)
	}
	if err := early.Check(); err != nil {
		return fail(sandbox.ExitSandbox, "%v", err)
	}
	if err := probe.Run(name, role, yara.Version()); err != nil {
		return fail(sandbox.ExitSandbox, "%v", err)
	}
	return 0
}

// donated is a descriptor that the supervisor gave.
func donated(fd int, name string) *os.File { return os.NewFile(uintptr(fd), name) }

// ended turns the end of a stream into an exit code: 0 if it ended between two messages.
func ended(err error) int {
	if err == io.EOF {
		return 0
	}
	return fail(slot.ExitProtocol, "%v", err)
}
