//go:build screen

package screen

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"pratique/kiosk/localapi"
	"pratique/ui/samples"
)

// fake is a daemon that says what a test wants, over the real socket and protocol.
type fake struct {
	t      *testing.T
	socket string
	cancel context.CancelFunc
	served sync.WaitGroup

	mu     sync.Mutex
	server *localapi.Server
	touch  chan struct{} // somebody signed in, or tried to
}

func newFake(t *testing.T) *fake {
	f := &fake{t: t, socket: filepath.Join(t.TempDir(), "s"), touch: make(chan struct{}, 1000)}
	f.start()
	t.Cleanup(f.stop)
	return f
}

func (f *fake) start() {
	f.t.Helper()
	l, err := localapi.Listen(f.socket)
	if err != nil {
		f.t.Fatal(err)
	}
	refuse := &localapi.Error{Code: localapi.CodeSignIn, Text: "No."}
	note := func() {
		select {
		case f.touch <- struct{}{}:
		default:
		}
	}
	server := localapi.NewServer(localapi.Handler{
		Roles:    func(localapi.Peer) localapi.Roles { return localapi.RoleScreen },
		Sessions: func(context.Context, int) ([]localapi.Session, error) { note(); return nil, nil },
		Issue: func(context.Context, localapi.Peer, string, string) (localapi.Answer, error) {
			note()
			return localapi.Answer{}, refuse
		},
		Eject: func(context.Context, localapi.Peer, string) error { note(); return nil },
		Override: func(context.Context, localapi.Peer, string, string, string) (localapi.Answer, error) {
			note()
			return localapi.Answer{}, refuse
		},
		SignIn: func(context.Context, string, localapi.PIN) (localapi.SignIn, error) {
			note()
			return localapi.SignIn{}, refuse
		},
		SignOut: note, Stay: func() {}, Guest: func(string, string) (localapi.SignIn, error) { note(); return localapi.SignIn{}, refuse },
	})
	ctx, cancel := context.WithCancel(context.Background())
	f.mu.Lock()
	f.server, f.cancel = server, cancel
	f.mu.Unlock()
	f.says(station(localapi.Idle, 0))
	f.served.Go(func() { _ = server.Serve(ctx, l) })
}

func (f *fake) stop() {
	f.cancel()
	f.served.Wait()
}

func (f *fake) says(st localapi.State) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.server.Publish(st)
}

// station is a state with one port, in session n.
func station(state string, n int) localapi.State {
	p := localapi.Port{ID: "1-2", Name: "left", State: state, Since: localapi.Time(time.Now())}
	if state != localapi.Idle {
		p.Session = fmt.Sprintf("%032x", n)
	}
	switch state {
	case localapi.Scanning:
		p.Progress = &localapi.Progress{Read: int64(n%100) * 1e7, Total: 1e9, Files: uint64(n), Left: 10}
	case localapi.Issued:
		p.Clearance = &localapi.Clearance{Code: fmt.Sprintf("%08X", n), Class: "imaging", QR: fmt.Sprintf("%s%08d", samples.Digits[:len(samples.Digits)-8], n), Expires: localapi.Time(time.Now()), LogIndex: uint64(n)}
	}
	staff := &localapi.SignIn{}
	if n%2 == 1 {
		staff = &localapi.SignIn{Name: "Jane Doe", Classes: []string{"general", "imaging"}, May: []string{"override", "sponsor", "install", "read-log", "administer"}}
	}
	return localapi.State{Version: 1, Station: "Soak", Ready: true, Classes: []string{"general", "imaging"}, Staff: staff, Ports: []localapi.Port{p}}
}
