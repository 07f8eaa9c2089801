// Command rulepack is the security team's tool: it begins, checks and measures a rule pack, fills its hash lists from feeds,
// builds it from a folder, adds a person's signature, publishes what enough persons have signed, and says in words what a
// kiosk would do with it. It is never installed on a kiosk.
//
//	rulepack new DIR
//	rulepack lint [--foreign DIR]... DIR
//	rulepack test [--clean DIR]... DIR
//	rulepack bench [--corpus DIR] [--top N] [--per-mb TIME] [--per-file TIME] [--worst TIME] DIR
//	rulepack import [--format FORMAT] [--pack DIR] [--clean DIR]... [-o FILE] FEED
//	rulepack keys new [--pkcs11 LIBRARY --token LABEL] --name NAME -o FILE
//	rulepack init --root FILE... --signer FILE... --publisher FILE... --to DIR
//	rulepack build [--version N] [--not-after DATE] -o FILE DIR
//	rulepack sign [--pkcs11 LIBRARY] --key FILE PACK|DIR
//	rulepack publish [--pkcs11 LIBRARY] --key FILE [--days N] [--carry STICK] --to DIR [PACK [SIGNATURES...]]
//	rulepack inspect [--root FILE] [--store DIR] [--json] PATH
//
// A pack travels from person to person with its signature file, PACK.sig; no private key ever leaves its owner. One that is in a
// token never leaves that: keyhelper, which is beside this program, holds the library of the token's vendor. It opens no
// connection: a repository is a folder, and a stick carries it to the kiosks.
//
// Data goes to standard output, words to standard error. Exit codes: 0 done, or a kiosk would take it; 3 refused, or a kiosk
// would not; 2 usage; 1 the work could not be done.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"pratique/rules/p11"
	"pratique/rules/pack"
)

// The exit codes.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2
	exitRefused = 3
)

// program is what every verb gets.
type program struct {
	stdin  *os.File
	stdout io.Writer
	stderr io.Writer
	helper string // the keyhelper program
}

type verb struct {
	name string // one or two words
	help string
	run  func(p *program, ctx context.Context, args []string) (int, error)
}

var verbs = []verb{
	{"new", "begin a pack in a new folder", (*program).newPack},
	{"lint", "say what is wrong with a pack, and what to do", (*program).lint},
	{"test", "try a pack on its samples and on clean files", (*program).test},
	{"bench", "measure each rule, and name the slow ones", (*program).bench},
	{"import", "make a hash list of somebody's feed", (*program).importFeed},
	{"keys new", "make a key to sign with", (*program).keysNew},
	{"init", "say who may sign what, for a new repository or anew", (*program).initRepository},
	{"build", "make a pack file of a folder", (*program).build},
	{"sign", "add one person's signature to a pack, or to who may sign what", (*program).sign},
	{"publish", "put a signed pack into the repository, and onto a stick", (*program).publish},
	{"inspect", "say what a kiosk would do with a repository or a pack, and why", (*program).inspect},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	if len(os.Args) == 2 && os.Args[1] == compileVerb {
		os.Exit(compileInChild())
	}
	p := &program{os.Stdin, os.Stdout, os.Stderr, helperBeside()}
	code := p.main(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func (p *program) main(ctx context.Context, args []string) int {
	if len(args) == 0 || args[0] == "-h" || args[0] == "--help" || args[0] == "-help" || args[0] == "help" {
		p.usage()
		if len(args) == 0 {
			return exitUsage
		}
		return exitOK
	}
	for _, v := range verbs {
		words := strings.Fields(v.name)
		if len(args) < len(words) || strings.Join(args[:len(words)], " ") != v.name {
			continue
		}
		code, err := v.run(p, ctx, args[len(words):])
		if err != nil {
			return p.fail(err)
		}
		return code
	}
	return p.fail(usagef("there is no verb %q", args[0]))
}

func (p *program) usage() {
	fmt.Fprintln(p.stderr, "usage: rulepack VERB [flags] args")
	for _, v := range verbs {
		fmt.Fprintf(p.stderr, "  %-10s %s\n", v.name, v.help)
	}
	fmt.Fprintln(p.stderr, "Each verb has --help. Example: rulepack build -o core.pack core")
}

// say writes a line of words.
func (p *program) say(format string, args ...any) { fmt.Fprintf(p.stderr, format+"\n", args...) }

// usageError is a mistake in the call.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// errHelp says that help was asked for and given.
var errHelp = errors.New("help")

// hints are what a person can do about a refusal.
var hints = map[pack.Reason]string{
	pack.NotSigned:    "rulepack sign --key FILE adds a person's signature; the pack and its .sig file travel together",
	pack.Expired:      "rulepack publish without a pack gives what is published new dates; a pack that ran out is built with a later --not-after",
	pack.Older:        "rulepack build --version N builds it with a new, higher version",
	pack.TwoVersions:  "rulepack build --version N builds it with a new, higher version",
	pack.Changed:      "take the files from where they were made again",
	pack.NoRepository: "rulepack init makes a repository, rulepack publish fills it",
	pack.NothingNew:   "there is nothing to do",
}

// fail is the one place that turns an error into words, a hint and an exit code.
func (p *program) fail(err error) int {
	if errors.Is(err, errHelp) {
		return exitOK
	}
	p.say("rulepack: error: %v", err)
	code, hint := exitFailed, ""
	var usage *usageError
	var refusal *pack.Refusal
	switch {
	case errors.As(err, &usage):
		code, hint = exitUsage, "rulepack --help lists the verbs, rulepack VERB --help their flags"
	case errors.As(err, &refusal):
		code, hint = exitRefused, hints[refusal.Reason]
	case errors.Is(err, p11.ErrToken):
		hint = "the token must be plugged in, its label and PIN right, and keyhelper beside rulepack; a token locks itself after a few wrong PINs"
	case errors.Is(err, errTokenFile):
		hint = "--pkcs11 names the library of the token's vendor"
	case errors.Is(err, errPassphrase):
		hint = "the passphrase is the one that the key was made with"
	case errors.Is(err, fs.ErrNotExist):
		hint = "there is no such file or folder"
	}
	if hint != "" {
		p.say("rulepack: hint: %s", hint)
	}
	return code
}

// verbFlags are the flags of one verb, with its help.
type verbFlags struct {
	*flag.FlagSet
	args []string // what is no flag
	help func()
}

// flags returns the flag set of a verb. Its errors come back and are said once, by fail.
func (p *program) flags(name, args, example string) *verbFlags {
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	return &verbFlags{FlagSet: set, help: func() {
		p.say("usage: %s", strings.TrimSpace("rulepack "+name+" [flags] "+args))
		set.VisitAll(func(f *flag.Flag) {
			kind, text := flag.UnquoteUsage(f)
			p.say("  %-24s %s", strings.TrimSpace(dashed(f.Name)+" "+kind), text)
		})
		p.say("Example: rulepack %s", example)
	}}
}

// dashed is a flag as people write it.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// parse reads flags and arguments in any order, since "build DIR -o FILE" reads as well as the other way round. least and
// most bound the arguments; most below 0 is without end.
func (f *verbFlags) parse(args []string, least, most int) error {
	for {
		if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
			f.help()
			return errHelp
		} else if err != nil {
			return usagef("%s: %v", f.Name(), err)
		}
		if f.NArg() == 0 {
			break
		}
		f.args = append(f.args, f.Arg(0))
		args = f.Args()[1:]
	}
	switch {
	case len(f.args) < least:
		return usagef("%s: an argument is missing", f.Name())
	case most >= 0 && len(f.args) > most:
		return usagef("%s: too many arguments", f.Name())
	}
	return nil
}

// need refuses a call without a flag that has no default.
func (f *verbFlags) need(names ...string) error {
	given := map[string]bool{}
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for _, name := range names {
		if !given[name] {
			return usagef("%s: the flag %s is missing", f.Name(), dashed(name))
		}
	}
	return nil
}

// fileList is a flag that can be given several times.
type fileList []string

func (l *fileList) String() string     { return strings.Join(*l, " ") }
func (l *fileList) Set(s string) error { *l = append(*l, s); return nil }
