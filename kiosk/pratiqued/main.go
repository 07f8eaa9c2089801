// Command pratiqued is the station's daemon: it sees what is plugged in, has it screened, and signs clearances for people
// who may have them.
//
//	pratiqued [--config FILE] [--state DIR] [--socket PATH] [--workers DIR] [--gate PATH] [--secret FILE] [--tpm DEVICE]
//
// It holds the log and the signing key, and parses not one byte of a medium: that is done in jailed processes of their own,
// which it starts, bounds and kills (packages kiosk/worker, kiosk/usb). What people see and ask for goes over one local
// socket (package kiosk/localapi); it has no other, and no network.
//
// Media come from where the configuration says, and from nowhere else: the USB ports that it names, through usbgate; a
// watched folder of images; block devices. Without a file that says so nothing can be plugged in. Whatever else a person
// should know is a problem in the station's state, and some keep it from issuing clearances: USB ports that cannot be seen
// to be guarded, a disk that is almost full, no roster.
//
// A station whose site enrolled its key signs with that and with no other; if the key cannot be opened it screens and issues
// nothing. A station that nobody enrolled signs with the demonstration key, which devices refuse.
//
// SIGTERM ends it: scans are stopped and recorded as such. It may be killed at any moment; the next start closes in the log
// what was cut off, and issues nothing late. The journal (standard error) names ports, states, words and numbers, never
// anything that is stored on a medium.
//
// Exit codes: 0 after a signal; 1 the station failed; 2 usage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"pratique/kiosk"
	"pratique/kiosk/config"
	"pratique/kiosk/keys"
	"pratique/kiosk/localapi"
	"pratique/kiosk/usb"
)

// options are the flags.
type options struct {
	config  string
	state   string
	socket  string
	workers string
	gate    string
	secret  string
	tpm     string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	code := start(ctx, os.Args[1:], os.Stderr)
	stop()
	os.Exit(code)
}

func start(ctx context.Context, args []string, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "pratiqued: error: %v\n", err)
		return 2
	}
	if err := kiosk.NoDump(); err != nil {
		fmt.Fprintf(stderr, "pratiqued: error: %v\n", err)
		return 1
	}
	if err := run(ctx, o, slog.New(slog.NewTextHandler(stderr, nil))); err != nil {
		fmt.Fprintf(stderr, "pratiqued: error: %v\n", err)
		if hint := hintFor(err); hint != "" {
			fmt.Fprintf(stderr, "pratiqued: hint: %s\n", hint)
		}
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	set := flag.NewFlagSet("pratiqued", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.StringVar(&o.config, "config", "", "`FILE` with the configuration (default: "+config.DefaultPath+" if it exists)")
	set.StringVar(&o.state, "state", localapi.ServiceState, "`DIR` that holds the log, keys and clearances")
	set.StringVar(&o.socket, "socket", "", "`PATH` of the local socket (default: "+localapi.ServiceSocket+", or in another state folder)")
	set.StringVar(&o.workers, "workers", "", "`DIR` of the scan processes (default: beside this program)")
	set.StringVar(&o.gate, "gate", "", "`PATH` of usbgate's socket (default: start usbgate, which takes root)")
	set.StringVar(&o.secret, "secret", "", "`FILE` with the passphrase or PIN of the station's key, such as a systemd credential")
	set.StringVar(&o.tpm, "tpm", keys.DefaultTPM, "`DEVICE` of the TPM")
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			set.SetOutput(stderr)
			fmt.Fprintln(stderr, "usage: pratiqued [flags]")
			set.PrintDefaults()
			fmt.Fprintln(stderr, "Example: pratiqued --config station.toml --state ./state")
		}
		return o, err
	}
	if set.NArg() > 0 {
		return o, fmt.Errorf("an argument that is no flag: %q", set.Arg(0))
	}
	if o.workers == "" {
		self, err := os.Executable()
		if err != nil {
			return o, err
		}
		o.workers = filepath.Dir(self)
	}
	if o.socket == "" {
		o.socket = localapi.SocketOf(o.state)
	}
	return o, nil
}

func hintFor(err error) string {
	switch {
	case errors.Is(err, config.ErrConfig):
		return "correct the file; nothing is screened before that"
	case errors.Is(err, kiosk.ErrState):
		return "the state folder must be this user's, writable, with free space; --state names another"
	case errors.Is(err, kiosk.ErrBrokenLog):
		return "keep the folder for the auditor: pratique audit verify names the first bad record"
	case errors.Is(err, usb.ErrGate):
		return "usbgate guards the USB ports: start it, then this program; what is plugged in is to be plugged in anew"
	case errors.Is(err, kiosk.ErrWorkers):
		return "scanworker and yaraworker belong beside this program, and the kernel must grant their jail: pratique doctor says more"
	}
	return ""
}
