//go:build linux

// Program usbwatch is the USB half of a station, for the test guest: it watches the bus as pratiqued does (package usb), asks
// usbgate for what follows, and prints each event as a line of JSON. It reads no medium and decides nothing.
//
//	usbwatch [-gate FILE] PORT=NAME...
//
// PORT is a port for media, as the kernel names it, and NAME its socket's. Without -gate it changes nothing. It trusts whoever
// starts it, runs as root and is never installed.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"pratique/kiosk/usb"
)

// reader is the user that gets the device nodes, as the guest's list of users has it.
const reader = 901

// line is one event.
type line struct {
	Kind   string `json:"kind"`
	Port   string `json:"port,omitempty"`
	Action string `json:"action,omitempty"`
	Code   string `json:"code,omitempty"`
	Done   string `json:"done,omitempty"`  // what usbgate did
	Error  string `json:"error,omitempty"` // why it did not
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "usbwatch: error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("usbwatch", flag.ContinueOnError)
	path := flags.String("gate", "", "`FILE` of usbgate")
	if err := flags.Parse(args); err != nil {
		return err
	}
	policy := usb.Policy{Media: map[string]string{}}
	for _, arg := range flags.Args() {
		port, name, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("%q is not PORT=NAME", arg)
		}
		policy.Media[port] = name
	}
	var gate *usb.Gate
	if *path != "" {
		var err error
		gate, err = usb.StartGate(ctx, usb.GateConfig{Path: *path, Media: slices.Sorted(maps.Keys(policy.Media)), Reader: reader})
		if err != nil {
			return err
		}
		defer gate.Close()
		if err := gate.Defaults(); err != nil {
			return err
		}
	}
	events, err := usb.Watch(ctx, "/sys", policy)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	for e := range events {
		l := line{Kind: e.Kind.String(), Port: e.Port, Code: string(e.Decision.Code)}
		if e.Kind == usb.Attached || e.Kind == usb.Admitted {
			l.Action = e.Decision.Action.String()
		}
		if e.Kind == usb.Problem && e.Err != nil {
			l.Error = e.Err.Error()
		}
		if err := out.Encode(l); err != nil { // at once: the screen does not wait for the kernel either
			return err
		}
		if gate == nil {
			continue
		}
		l = line{Kind: "gate", Port: e.Port}
		if l.Done, err = act(gate, e); err != nil {
			l.Error = err.Error()
		}
		if l.Done == "" && l.Error == "" {
			continue
		}
		if err := out.Encode(l); err != nil {
			return err
		}
	}
	return nil
}

// act does for an event what a station does.
func act(gate *usb.Gate, e usb.Event) (done string, err error) {
	switch {
	case e.Kind == usb.Attached:
		return "handed over", errors.Join(gate.Authorise(e.Device, e.Decision.Interface), gate.HandOver(e.Device))
	case e.Kind == usb.Admitted && e.Decision.Action == usb.Hub:
		return "hub", gate.AdmitHub(e.Device, e.Decision.Interface)
	case e.Kind == usb.Refused || e.Kind == usb.Changed:
		return "off", gate.Disable(e.Port)
	}
	return "", nil
}
