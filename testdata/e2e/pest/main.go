//go:build linux

// Program pest is a client that misbehaves, for the test guest: it keeps the station's socket busy until it gets SIGTERM, and
// then says how often it has tried.
//
//	pest SOCKET silent|garbage|requests
//
// silent connects as often as it may and says nothing; garbage sends random bytes; requests asks for the state as fast as it
// is let, and connects again when it is cut off. It trusts whoever starts it, and is never installed.
package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"pratique/kiosk/localapi"
)

// pause is between two attempts to connect where the daemon takes no more, so that the guest's one processor does other things
// than refuse them.
const pause = 5 * time.Millisecond

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "pest: error: usage: pest SOCKET silent|garbage|requests")
		os.Exit(2)
	}
	connections, requests := 0, 0
	for ctx.Err() == nil {
		connections++
		requests += once(ctx, os.Args[1], os.Args[2])
		time.Sleep(pause)
	}
	fmt.Printf("%s: %d connections, %d requests\n", os.Args[2], connections, requests)
}

// once is one connection. It returns how many requests were answered.
func once(ctx context.Context, path, how string) (requests int) {
	if how == "requests" {
		c, err := localapi.Dial(ctx, path)
		if err != nil {
			return 0
		}
		defer c.Close()
		for {
			if _, err := c.Status(ctx); err != nil {
				return requests
			}
			requests++
		}
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		return 0
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	garbage := make([]byte, 64<<10)
	for i := range garbage {
		garbage[i] = byte(rand.Uint32())
	}
	for how == "garbage" {
		if _, err := conn.Write(garbage); err != nil {
			return 0
		}
	}
	conn.Read(garbage) // until the daemon hangs up
	return 0
}
