// Command pratique is the station's command line: it screens a medium, shows and saves clearances, and reads the log.
//
//	pratique screen [--for CLASS] [--rules DIR] [--blocklist FILE] [--config FILE] [--out DIR] [--json] [--items] [--deep] TARGET
//	pratique status [--json] | watch [--json] | sessions [--json] [--max N]
//	pratique issue --for CLASS [--override REASON] [--json] [PORT] | eject PORT
//	pratique clearance show ID | save --out DIR ID
//	pratique rules status | install PATH | rollback | history | recall [--since TIME] [--until TIME] [--pack NAME[@VERSION]]
//	pratique exceptions list | add --sha256 HASH --finding CHECK/RULE --reason WORD | confirm ID | remove ID
//	pratique audit list | show | search | verify | export | forward | checkpoint | cosign | disclose | erase | backup | restore
//	pratique keys new | request | show | rotate
//	pratique trust key | init | edit | sign | publish | show | install
//	pratique staff list | can NAME ACTION [CLASS] | lint | add | remove | pin | badge | key | sign | install
//	pratique incident begin | report | end
//	pratique clock accept
//	pratique doctor
//	pratique version
//
// Data goes to standard output, words to standard error. Without a daemon each verb opens the state itself: the folder
// named with --state, else the service's own, else the user's. Screening here always signs with the demonstration key.
// The station's configuration is read from --config, else from /etc/pratique/station.toml if that exists.
//
// Exit codes: 0 done, or the medium is cleared; 3 not cleared, a rule pack or an exception refused, or a person may not; 4 could not check; 2 usage;
// 1 the kiosk itself failed, or the log is not sound.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"pratique/kiosk"
	"pratique/kiosk/audit"
	"pratique/kiosk/audit/export"
	"pratique/kiosk/audit/forward"
	"pratique/kiosk/config"
	"pratique/kiosk/exception"
	"pratique/kiosk/keys"
	"pratique/kiosk/localapi"
	"pratique/kiosk/staff"
)

// The exit codes of the contract.
const (
	exitOK            = 0
	exitFailed        = 1
	exitUsage         = 2
	exitNotCleared    = 3
	exitCouldNotCheck = 4
)

// program is what every verb gets: where it writes, and nothing that it could take from the environment by itself.
type program struct {
	stdout io.Writer
	stderr io.Writer
}

type verb struct {
	name string // one or two words
	help string
	run  func(p *program, ctx context.Context, args []string) (int, error)
}

var verbs = []verb{
	{"screen", "screen a disk image or block device and say whether it may be used", (*program).screen},
	{"status", "show the station: what is plugged in, and what is wrong", (*program).status},
	{"watch", "show each change of the station, one a line", (*program).watch},
	{"sessions", "list the latest sessions", (*program).sessions},
	{"issue", "ask the station for a clearance of the medium in a port", (*program).issue},
	{"eject", "end the session of the medium in a port", (*program).eject},
	{"clearance show", "show a clearance and its QR code", (*program).clearanceShow},
	{"clearance save", "copy a clearance's token and manifest into a folder", (*program).clearanceSave},
	{"rules status", "show the rule pack in force, and how old it is", (*program).rulesStatus},
	{"rules install", "put a signed rule pack in force", (*program).rulesInstall},
	{"rules rollback", "say how an older rule pack comes back", (*program).rulesRollback},
	{"rules history", "list the rule packs that were in force", (*program).rulesHistory},
	{"rules recall", "list clearances that were recalled, or those of a window", (*program).rulesRecall},
	{"exceptions list", "list what is excepted for its hash, and what waits for a second person", (*program).exceptionsList},
	{"exceptions add", "propose that a rule is wrong about one content", (*program).exceptionsAdd},
	{"exceptions confirm", "put an exception in force that somebody else proposed", (*program).exceptionsConfirm},
	{"exceptions remove", "end an exception", (*program).exceptionsRemove},
	{"audit list", "list the log", (*program).auditList},
	{"audit show", "show all that the log has of a session", (*program).auditShow},
	{"audit search", "search the log by date, verdict, operator, class, rule or hash", (*program).auditSearch},
	{"audit verify", "prove that the log, a copy or an export was not changed", (*program).auditVerify},
	{"audit export", "write the log as a table, a report, or in healthcare's own forms", (*program).auditExport},
	{"audit forward", "send what is new in the log to the configured collector", (*program).auditForward},
	{"audit checkpoint", "show the log's signed head, ask a witness, keep its signature", (*program).auditCheckpoint},
	{"audit cosign", "sign a checkpoint as a witness, on a machine of your own", (*program).auditCosign},
	{"audit disclose", "show the names of a session: two persons must ask", (*program).auditDisclose},
	{"audit erase", "destroy names; the log's proofs still hold", (*program).auditErase},
	{"audit backup", "copy the log into a folder while the station works", (*program).auditBackup},
	{"audit restore", "put a backup in the place of a log that is lost", (*program).auditRestore},
	{"keys new", "make the station's key", (*program).keysNew},
	{"keys request", "ask the root holders to enrol the station's key", (*program).keysRequest},
	{"keys show", "show the station's keys and whether they are enrolled", (*program).keysShow},
	{"keys rotate", "let the next key sign", (*program).keysRotate},
	{"trust key", "make the key of a root holder", (*program).trustKey},
	{"trust init", "draft the first trust file of a site", (*program).trustInit},
	{"trust edit", "draft the next one: enrol, revoke, change roots", (*program).trustEdit},
	{"trust sign", "sign a draft with a root key", (*program).trustSign},
	{"trust publish", "make a trust file of a draft that enough have signed", (*program).trustPublish},
	{"trust show", "show a trust file or a draft", (*program).trustShow},
	{"trust install", "put a trust file in force on this station", (*program).trustInstall},
	{"staff list", "list who there is", (*program).staffList},
	{"staff can", "say whether a person may do something, and why", (*program).staffCan},
	{"staff lint", "say what is wrong with a roster, and what could be better", (*program).staffLint},
	{"staff add", "add a person to a roster, or change one", (*program).staffAdd},
	{"staff remove", "take a person out of a roster", (*program).staffRemove},
	{"staff pin", "give a person a PIN", (*program).staffPIN},
	{"staff badge", "give a person a badge", (*program).staffBadge},
	{"staff key", "make the key of a site's badges and PINs", (*program).staffKey},
	{"staff sign", "sign a roster", (*program).staffSign},
	{"staff install", "put a signed roster in force on this station", (*program).staffInstall},
	{"incident begin", "stop all clearances at once, and list what to recall", (*program).incidentBegin},
	{"incident report", "write the recall list, a revocation and the evidence", (*program).incidentReport},
	{"incident end", "end the incident: two people must ask for it", (*program).incidentEnd},
	{"clock accept", "say that the station's clock is right, after it jumped", (*program).clockAccept},
	{"doctor", "try what holds the scan processes on this machine, and say what is missing", (*program).doctor},
	{"version", "say which version this is", (*program).version},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	p := &program{stdout: os.Stdout, stderr: os.Stderr}
	code := exitFailed
	if err := kiosk.NoDump(); err != nil {
		fmt.Fprintf(os.Stderr, "pratique: error: %v\n", err)
	} else {
		code = p.main(ctx, os.Args[1:])
	}
	stop()
	os.Exit(code)
}

func (p *program) main(ctx context.Context, args []string) (code int) {
	defer func() {
		// The runtime ends a program that panics with the exit code of a wrong call.
		if r := recover(); r != nil {
			fmt.Fprintf(p.stderr, "pratique: error: internal error: %v\n", r)
			code = exitFailed
		}
	}()
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
	return p.fail(usagef("there is no verb %q", strings.Join(args[:min(len(args), 2)], " ")))
}

func (p *program) usage() {
	fmt.Fprintln(p.stderr, "usage: pratique VERB [flags] args")
	for _, v := range verbs {
		fmt.Fprintf(p.stderr, "  %-16s %s\n", v.name, v.help)
	}
	fmt.Fprintln(p.stderr, "Each verb has --help. Example: pratique screen --for imaging stick.img")
}

// usageError is a mistake in the call.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// errHelp says that help was asked for and given.
var errHelp = errors.New("help")

// fail is the one place that turns an error into words, a hint and an exit code.
func (p *program) fail(err error) int {
	if errors.Is(err, errHelp) {
		return exitOK
	}
	fmt.Fprintf(p.stderr, "pratique: error: %v\n", err)
	code, hint := exitFailed, ""
	var usage *usageError
	var refused *localapi.Error
	var pack *kiosk.PackRefused
	var except *exception.Refusal
	switch {
	case errors.As(err, &usage):
		code, hint = exitUsage, "pratique --help lists the verbs, pratique VERB --help their flags"
	case errors.Is(err, kiosk.ErrTarget):
		code, hint = exitUsage, "give a disk image or a block device"
	case errors.Is(err, kiosk.ErrClass):
		code, hint = exitUsage, "pratique doctor shows what each class allows"
	case errors.Is(err, config.ErrConfig):
		hint = "nothing is screened with half a configuration; correct the file, and pratique doctor shows what is in force"
	case errors.Is(err, kiosk.ErrRules):
		code, hint = exitUsage, "nothing was screened; correct the rules or the blocklist, or leave the flag out"
	case errors.Is(err, kiosk.ErrOut):
		code, hint = exitUsage, "--out names a folder that this user can write to, apart from the medium"
	case errors.Is(err, kiosk.ErrNoClearance):
		code, hint = exitUsage, "pratique audit list shows the sessions"
	case errors.As(err, &pack):
		code, hint = exitNotCleared, "the rule pack before stays in force; the security team corrects the pack and publishes it with a higher version"
		switch {
		case pack.Gate == "medium":
			hint = "the rule pack before stays in force; rulepack publish --carry fills an empty stick"
		case pack.Code == "nothing-new":
			hint = "pratique rules status shows what is in force"
		}
	case errors.As(err, &except):
		code, hint = exitNotCleared, exceptionHint
	case errors.Is(err, kiosk.ErrTwoPeople):
		hint = "start the daemon; two people of the group pratique-security ask it, one after the other"
	case errors.As(err, &refused):
		if refused.Code == localapi.CodeExcept {
			code, hint = exitNotCleared, exceptionHint
			break
		}
		if refused.Code == localapi.CodePack {
			code, hint = exitNotCleared, "the rule pack before stays in force; pratique rules status shows it"
			break
		}
		if refused.Code == localapi.CodePort || refused.Code == localapi.CodeClass || refused.Code == localapi.CodeNoMedium {
			code = exitUsage
		}
		if refused.Code == localapi.CodeRemoved {
			code = exitCouldNotCheck
		}
		hint = "pratique status shows the ports"
		switch refused.Code {
		case localapi.CodeExport:
			code, hint = exitUsage, exportHint
		case localapi.CodeHistory:
			hint = rewrittenHint
		}
		if refused.Code == localapi.CodeDenied {
			hint = "the station's roster says who may ask for what; Unix groups, who may look after the station"
		}
	case errors.Is(err, keys.ErrClosed):
		hint = "the passphrase or PIN, the TPM or token that the key was made in must be there; nothing was signed"
	case errors.Is(err, kiosk.ErrTrust):
		hint = "pratique trust show FILE says what is in it; ask a root holder for the newest one"
	case errors.Is(err, kiosk.ErrRoster), errors.Is(err, staff.ErrRoster):
		hint = "pratique staff lint --roster FILE says what is wrong with it; nobody may do what no sound roster says"
	case errors.Is(err, kiosk.ErrNotEnrolled):
		hint = "pratique keys show says what is missing"
	case errors.Is(err, export.ErrFormat), errors.Is(err, export.ErrItems), errors.Is(err, export.ErrBoth), errors.Is(err, export.ErrCheckpoint):
		code, hint = exitUsage, exportHint
	case errors.Is(err, forward.ErrRefused):
		hint = "what was not taken is sent again the next time; [syslog] in the configuration says where to and who vouches for it"
	case errors.Is(err, export.ErrRewritten):
		hint = rewrittenHint
	case errors.Is(err, kiosk.ErrIncident):
		hint = "pratique incident end, by two people, ends it"
	case errors.Is(err, localapi.ErrNoDaemon):
		hint = "start the daemon on this state: pratiqued --state DIR --config FILE"
	case errors.Is(err, errNoPort):
		code, hint = exitUsage, "name the port: pratique status lists them"
	case errors.Is(err, kiosk.ErrClock):
		hint = "set the clock of the machine first: timedatectl set-time"
	case errors.Is(err, kiosk.ErrNoSession):
		code, hint = exitUsage, "pratique audit search shows the sessions and their ids"
	case errors.Is(err, audit.ErrNoIndex), errors.Is(err, kiosk.ErrQuery):
		code = exitUsage
	case errors.Is(err, kiosk.ErrDisclosure):
		hint = "pratique audit disclose --help says who must ask; what was erased is nowhere any more"
	case errors.Is(err, kiosk.ErrLogGone):
		hint = "pratique audit restore --from DIR puts a backup in its place; --anew begins a new log, which says so"
	case errors.Is(err, kiosk.ErrState):
		hint = "the state folder must be this user's, writable, with free space; --state names another"
	case errors.Is(err, kiosk.ErrNewer):
		hint = "install the newer version of the program again, or use another --state"
	case errors.Is(err, kiosk.ErrBrokenLog):
		hint = "keep the folder for the auditor: pratique audit verify names the first bad record, and pratique audit restore puts a backup in its place"
	case errors.Is(err, kiosk.ErrCanary):
		hint = "nothing was screened; rules need one that blocks the EICAR test file anywhere in a file, and pratique doctor tries the rest"
	case errors.Is(err, kiosk.ErrWorkers):
		hint = "scanworker and yaraworker belong beside the pratique program, and the kernel must grant their jail: pratique doctor says more"
	}
	if hint != "" {
		fmt.Fprintf(p.stderr, "pratique: hint: %s\n", hint)
	}
	return code
}

const exceptionHint = "nothing is excepted by this; pratique exceptions list --all shows what is and was"

// verbFlags are the flags of one verb, with its help.
type verbFlags struct {
	*flag.FlagSet
	help func()
}

// flags returns the flag set of a verb. Its errors come back and are said once, by fail; its help is shown when asked for.
func (p *program) flags(name, args, example string) verbFlags {
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	return verbFlags{set, func() {
		fmt.Fprintf(p.stderr, "usage: %s\n", strings.TrimSpace("pratique "+name+" [flags] "+args))
		set.VisitAll(func(f *flag.Flag) {
			kind, text := flag.UnquoteUsage(f)
			fmt.Fprintf(p.stderr, "  --%-22s %s\n", strings.TrimSpace(f.Name+" "+kind), text)
		})
		fmt.Fprintf(p.stderr, "Example: pratique %s\n", example)
	}}
}

// parse reads the flags and wants exactly n arguments after them.
func parse(set verbFlags, args []string, n int) error {
	if err := set.Parse(args); errors.Is(err, flag.ErrHelp) {
		set.help()
		return errHelp
	} else if err != nil {
		return usagef("%s: %v", set.Name(), err)
	}
	switch rest := set.Args(); {
	case len(rest) == n:
		return nil
	case len(rest) > n:
		for _, a := range rest {
			if strings.HasPrefix(a, "-") && len(a) > 1 {
				return usagef("%s: flags come before arguments: %s", set.Name(), a)
			}
		}
		return usagef("%s: too many arguments", set.Name())
	default:
		return usagef("%s: an argument is missing", set.Name())
	}
}

// stateFlag adds --state.
func stateFlag(set verbFlags) *string {
	return set.String("state", "", "`DIR` that holds the log, keys and clearances (default: the service's or the user's own)")
}

// serviceState is the state of an installed station.
const serviceState = localapi.ServiceState

// stateDir is the folder that --state names; else the service's, if this user may use it; else the XDG state folder.
func stateDir(flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	if unixWritable(serviceState) {
		return serviceState, nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "pratique"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", usagef("there is no home folder for the state: %v", err)
	}
	return filepath.Join(home, ".local", "state", "pratique"), nil
}
