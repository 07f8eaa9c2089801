package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"pratique/kiosk/localapi"
)

// station start FLAGS... | until PORT STATE | stop: a daemon for a script. WORK and UID in its TOML files stand for the
// script's folder and the user. What is left at the script's end is stopped.
func station(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: station start FLAGS... | until PORT STATE | stop")
	}
	socket := localapi.SocketOf(ts.Getenv("STATE"))
	switch args[0] {
	case "start":
		startStation(ts, socket, args[1:])
	case "until":
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		c, err := localapi.Dial(ctx, socket)
		ts.Check(err)
		defer c.Close()
		found := errors.New("found")
		err = c.Watch(ctx, func(st *localapi.State) error {
			for _, p := range st.Ports {
				if p.ID == args[1] && p.State == args[2] {
					return found
				}
			}
			return nil
		})
		if !errors.Is(err, found) {
			ts.Fatalf("port %s never was %s: %v", args[1], args[2], err)
		}
	case "stop":
		pid, err := strconv.Atoi(ts.ReadFile("station.pid"))
		ts.Check(err)
		ts.Check(syscall.Kill(pid, syscall.SIGTERM))
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if _, err := localapi.Dial(context.Background(), socket); err != nil {
				return
			}
			if time.Now().After(end) {
				ts.Fatalf("the daemon does not end")
			}
		}
	}
}

func startStation(ts *testscript.TestScript, socket string, flags []string) {
	for _, name := range []string{"station.toml", "roster.toml"} {
		if _, err := os.Stat(ts.MkAbs(name)); err != nil && name != "station.toml" {
			continue // its people are those whom the site signed
		}
		text := strings.NewReplacer("WORK", ts.MkAbs("."), "UID", strconv.Itoa(os.Getuid())).Replace(ts.ReadFile(name))
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
	}
	cmd := exec.Command(filepath.Join(built.bin, "pratiqued"), flags...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), []string{}
	var journal bytes.Buffer
	cmd.Stderr = &journal
	ts.Check(cmd.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // a script that stops it asks for the socket
	}()
	ts.Defer(func() {
		cmd.Process.Kill()
		<-ended
		ts.Logf("%s", journal.String())
	})
	ts.Check(os.WriteFile(ts.MkAbs("station.pid"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600))
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if c, err := localapi.Dial(context.Background(), socket); err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("the daemon does not answer")
		}
	}
}
