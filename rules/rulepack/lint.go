package main

import (
	"context"
	"fmt"
	"os"

	"pratique/rules/check"
)

// compileVerb is what rulepack calls itself with to compile rules where they do no harm. It is not for people.
const compileVerb = "compile-in-child"

// lint prints one line for each problem: FILE:LINE: what is wrong: what to do.
func (p *program) lint(ctx context.Context, args []string) (int, error) {
	set := p.flags("lint", "DIR", "lint ward-rules")
	var foreign fileList
	set.Var(&foreign, "foreign", "`DIR` in the pack, such as yara/public, whose rules others wrote: only what could harm a kiosk counts")
	if err := set.parse(args, 1, 1); err != nil {
		return 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	if _, err := os.Stat(set.args[0]); err != nil {
		return 0, err
	}
	problems, err := check.Lint(ctx, os.DirFS(set.args[0]), check.InChild(self, compileVerb), foreign...)
	if err != nil {
		return 0, err
	}
	return p.problems(problems), nil
}

// problems prints them and returns the exit code.
func (p *program) problems(problems []check.Problem) int {
	for _, problem := range problems {
		fmt.Fprintln(p.stdout, problem)
	}
	switch n := len(problems); n {
	case 0:
		p.say("no problems")
		return exitOK
	case 1:
		p.say("rulepack: error: 1 problem")
	default:
		p.say("rulepack: error: %d problems", n)
	}
	return exitRefused
}

// compileInChild is the other end of lint.
func compileInChild() int {
	if err := check.Child(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "rulepack: error:", err)
		return exitFailed
	}
	return exitOK
}
