//go:build linux

// Program person is a screen of the station and somebody who stands in front of it, for the test guest.
//
//	person SOCKET PORT CLASS
//
// It prints each state that the station pushes as a line of JSON, as `pratique watch --json` does, with the second since the
// boot in which it connected: when the station dies it connects to the next, for as long as it takes. Whenever a medium in
// PORT waits for a person, it asks for a clearance for CLASS. It trusts whoever starts it, and is never installed.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pratique/kiosk/localapi"
)

// again is between two attempts to connect.
const again = 10 * time.Millisecond

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "person: error: usage: person SOCKET PORT CLASS")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	p := person{socket: os.Args[1], port: os.Args[2], class: os.Args[3]}
	for ctx.Err() == nil {
		p.watch(ctx)
		time.Sleep(again)
	}
}

type person struct {
	socket, port, class string
	asked               string // the session that was asked about last
}

// watch is one connection.
func (p *person) watch(ctx context.Context) {
	c, err := localapi.Dial(ctx, p.socket)
	if err != nil {
		return
	}
	defer c.Close()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return
	}
	line := struct {
		*localapi.State
		Connected float64 `json:"connected"`
	}{Connected: float64(now.Nano()) / 1e9}
	_ = c.Watch(ctx, func(st *localapi.State) error {
		line.State = st
		text, err := json.Marshal(line)
		if err != nil {
			return err
		}
		fmt.Println(string(text))
		for _, port := range st.Ports {
			if port.ID == p.port && port.State == localapi.Waiting && port.Session != p.asked {
				p.asked = port.Session
				go p.ask(ctx)
			}
		}
		return nil
	})
}

// ask is one request. What comes of it is in the next state.
func (p *person) ask(ctx context.Context) {
	c, err := localapi.Dial(ctx, p.socket)
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = c.Issue(ctx, p.port, p.class)
}
