package localapi

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pratique/scanner/frame"
)

// rig is a server on a socket of its own, with a handler that does what a test says.
type rig struct {
	*Server
	path string
}

func newRig(t *testing.T, h Handler, change func(*Server)) rig {
	t.Helper()
	if h.Roles == nil {
		h.Roles = func(Peer) Roles { return RoleAdmin | RoleStaff }
	}
	s := NewServer(h)
	if change != nil {
		change(s)
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the server does not end")
		}
	})
	return rig{s, path}
}

func (r rig) dial(t *testing.T) *Client {
	t.Helper()
	c, err := Dial(t.Context(), r.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// full has something in every field.
func full() State {
	return State{Version: 1, Station: "demo", Ready: true, Problems: []Problem{{"roster", "x"}}, Rules: Rules{"baseline", 3}, Classes: []string{"general"}, Demo: true,
		Ports: []Port{{ID: "1-2", Name: "left", State: Issued, Since: "2026-11-21T12:00:00Z", Session: "aa", Medium: &Medium{"usb", 1, 2, 1, 3, 4},
			Progress: &Progress{1, 2, 3, 4, -1}, Class: "general", Verdict: "cleared", Reasons: []Reason{{"a", "b"}}, Findings: &Findings{1, 2, 3, 1},
			Clearance: &Clearance{"aa", "bb", "general", "123", "2026-11-21T12:00:00Z", 7, "drill", "5 00ff"}, Refusal: &Reason{"c", "d"},
			Override: &Override{"general", "drill", "2026-11-21T12:00:00Z"}}},
		Staff: &SignIn{true, "Jane Doe", true, "Acme", []string{"general"}, []string{"override"}, "2026-11-21T12:00:00Z", "2026-11-21T12:00:00Z"}}
}

// TestTheLargestStateFitsIntoOneMessage: every port in use, each with all that is said of one at its longest.
func TestTheLargestStateFitsIntoOneMessage(t *testing.T) {
	word, text, digits := strings.Repeat("w", maxWord), strings.Repeat("t", 200), strings.Repeat("7", 1600) // no sentence is longer; a QR code of version 20-M holds so many
	st := full()
	p := st.Ports[0]
	p.ID, p.Name, p.Session, p.Class, p.Refusal = word, text, word, word, &Reason{word, text}
	p.Clearance = &Clearance{ID: word, Code: word, Class: word, QR: digits, Expires: "2026-11-21T12:00:00Z", LogIndex: 1 << 63, Override: word}
	p.Reasons = nil
	for range MaxReasons {
		p.Reasons = append(p.Reasons, Reason{word, text})
	}
	st.Ports = nil
	for range MaxPorts {
		st.Ports = append(st.Ports, p)
	}
	for range 16 {
		st.Problems, st.Classes = append(st.Problems, Problem{word, text}), append(st.Classes, word)
	}
	r := newRig(t, Handler{}, nil)
	c := r.dial(t)
	r.Publish(st)
	if got, err := c.Status(t.Context()); err != nil || len(got.Ports) != MaxPorts || len(got.Ports[MaxPorts-1].Reasons) != MaxReasons {
		t.Errorf("%v", err)
	}
}

func TestEachVerbIsAnswered(t *testing.T) {
	answer := Answer{"1-2", "aa", "general", "cleared", []Reason{}, Findings{}, &Clearance{ID: "aa"}, false}
	var ejected atomic.Value
	r := newRig(t, Handler{
		Roles: func(p Peer) Roles {
			if p.UID != uint32(os.Getuid()) || p.PID != int32(os.Getpid()) || !p.In(uint32(os.Getgid())) {
				t.Errorf("peer %+v", p)
			}
			return RoleAdmin | RoleStaff
		},
		Sessions: func(_ context.Context, max int) ([]Session, error) { return make([]Session, max), nil },
		Issue: func(_ context.Context, _ Peer, port, class string) (Answer, error) {
			if port != "1-2" {
				return Answer{}, &Error{CodePort, "no"}
			}
			return answer, nil
		},
		Eject: func(_ context.Context, _ Peer, port string) error { ejected.Store(port); return nil },
	}, nil)
	c := r.dial(t)
	if st, err := c.Status(t.Context()); err != nil || st.Ready {
		t.Errorf("before anything was published: %+v %v", st, err)
	}
	r.Publish(full())
	want := full()
	want.Staff = nil // who is at the screen is for the screen
	if st, err := c.Status(t.Context()); err != nil || !reflect.DeepEqual(*st, want) {
		t.Errorf("status %+v %v", st, err)
	}
	if got, err := c.Sessions(t.Context(), 3); err != nil || len(got) != 3 {
		t.Errorf("sessions %v %v", got, err)
	}
	if got, err := c.Issue(t.Context(), "1-2", "general"); err != nil || got.Clearance == nil || got.Verdict != "cleared" {
		t.Errorf("issue %+v %v", got, err)
	}
	var e *Error
	if _, err := c.Issue(t.Context(), "9-9", "general"); !errors.As(err, &e) || e.Code != CodePort {
		t.Errorf("issue elsewhere: %v", err)
	}
	if err := c.Eject(t.Context(), "1-2"); err != nil || ejected.Load() != "1-2" {
		t.Errorf("eject %v", err)
	}
}

func TestWatchersSeeTheLatestState(t *testing.T) {
	r := newRig(t, Handler{}, nil)
	enough := errors.New("enough")
	seen := 0
	go func() {
		for i := range 1000 {
			r.Publish(State{Version: 1, Station: string(rune('a' + i%26)), Ready: i == 999})
			time.Sleep(time.Millisecond / 2)
		}
	}()
	err := r.dial(t).Watch(t.Context(), func(st *State) error {
		if seen++; st.Ready {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || seen < 2 || seen > 100 {
		t.Errorf("%d states of 1000, %v", seen, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.dial(t).Watch(ctx, func(*State) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a watcher that was called off: %v", err)
	}
}

func TestWhatFailedInsideIsNotTold(t *testing.T) {
	secret := errors.New("open /secret/PATIENT: no")
	var told error
	r := newRig(t, Handler{Eject: func(context.Context, Peer, string) error { return secret }, Failed: func(err error) { told = err }}, nil)
	var e *Error
	if err := r.dial(t).Eject(t.Context(), "x"); !errors.As(err, &e) || e.Code != CodeFailed || strings.Contains(e.Text, "PATIENT") {
		t.Errorf("%v", err)
	}
	if told != secret {
		t.Errorf("the journal was told %v", told)
	}
}

// The screen asks on behalf of a person, with that person's rights and for nothing that names a path.
func TestT18_TheScreenAsksOnBehalfOfAPerson(t *testing.T) {
	for right, may := range map[Verb]string{"": "", VerbSessions: "sessions", VerbInstall: "install p"} {
		r := newRig(t, Handler{
			Roles:    func(Peer) Roles { return RoleScreen },
			Sessions: func(context.Context, int) ([]Session, error) { return nil, nil },
			Install:  func(context.Context, string, string) (Pack, error) { return Pack{}, nil },
			OnBehalf: func(v Verb) bool { return v == right },
		}, nil)
		for what, request := range map[string]Request{"sessions": {Verb: VerbSessions, Max: 1}, "install p": {Verb: VerbInstall, Port: "p"}, "install path": {Verb: VerbInstall, Path: "/p"}} {
			_, err := r.dial(t).ask(t.Context(), request)
			var e *Error
			if what == may != (err == nil) || err != nil && (!errors.As(err, &e) || e.Code != CodeDenied) {
				t.Errorf("with the right %q, %s: %v", right, what, err)
			}
		}
	}
}

// Every verb is denied to every role that the table does not name, and to who has none.
func TestT18_RolesDecideWhatAClientMayDo(t *testing.T) {
	verbs := []Request{{Verb: VerbExport, Export: &Export{Form: "csv"}}, {Verb: VerbStatus}, {Verb: VerbSubscribe}, {Verb: VerbSessions, Max: 1}, {Verb: VerbIssue, Port: "p", Class: "c"}, {Verb: VerbEject, Port: "p"},
		{Verb: VerbInstall, Path: "/media/stick"}, {Verb: VerbInstall, Port: "p"}, {Verb: VerbEnd}, {Verb: VerbBegin, Reason: "drill", Since: "2026-11-22T08:00:00Z"},
		{Verb: VerbOverride, Port: "p", Class: "c", Reason: "drill"}, {Verb: VerbSignIn, PIN: "1"},
		{Verb: VerbSignOut}, {Verb: VerbStay}, {Verb: VerbGuest, Company: "Acme", Order: "WO-1"},
		{Verb: VerbClock}, {Verb: VerbSearch, Search: &Search{Max: 5}}, {Verb: VerbDisclose, Disclose: &Disclose{Session: "5e", Entry: -1, Reason: "test"}}}
	for role, may := range map[Roles]string{
		0: "", RoleScreen: "status subscribe issue eject override sign-in sign-out stay guest", RoleStaff: "status subscribe issue eject override",
		RoleSecurity: "status subscribe sessions install begin-incident end-incident disclose", RoleAudit: "status subscribe sessions disclose export search",
		RoleAdmin: "status subscribe sessions eject install begin-incident end-incident disclose accept-clock search",
		1 << 7:    "",
	} {
		var done atomic.Int32
		h := Handler{
			Roles:    func(Peer) Roles { return role },
			Sessions: func(context.Context, int) ([]Session, error) { done.Add(1); return nil, nil },
			Export:   func(context.Context, Peer, Export, io.Writer) (Exported, error) { done.Add(1); return Exported{}, nil },
			Issue:    func(context.Context, Peer, string, string) (Answer, error) { done.Add(1); return Answer{}, nil },
			Eject:    func(context.Context, Peer, string) error { done.Add(1); return nil },
			Install:  func(context.Context, string, string) (Pack, error) { done.Add(1); return Pack{}, nil },
			End:      func(context.Context, Peer) (bool, error) { done.Add(1); return true, nil },
			Begin:    func(context.Context, Peer, string, time.Time) error { done.Add(1); return nil },
			Override: func(context.Context, Peer, string, string, string) (Answer, error) { done.Add(1); return Answer{}, nil },
			SignIn:   func(context.Context, string, PIN) (SignIn, error) { done.Add(1); return SignIn{}, nil },
			SignOut:  func() { done.Add(1) },
			Stay:     func() { done.Add(1) },
			Search:   func(context.Context, Search) ([]byte, bool, error) { done.Add(1); return nil, false, nil },
			Clock:    func(context.Context, Peer) error { done.Add(1); return nil },
			Disclose: func(context.Context, Peer, Roles, Disclose) ([]byte, error) { done.Add(1); return nil, nil },
			Guest:    func(string, string) (SignIn, error) { done.Add(1); return SignIn{}, nil },
		}
		for _, v := range verbs {
			done.Store(0)
			want := strings.Contains(" "+may+" ", " "+string(v.Verb)+" ")
			_, err := newRig(t, h, nil).dial(t).ask(t.Context(), v) // one user has few connections to one server
			var e *Error
			if want != (err == nil) || !want && (!errors.As(err, &e) || e.Code != CodeDenied || done.Load() != 0) {
				t.Errorf("role %b, %s: %v", role, v.Verb, err)
			}
		}
	}
}

func TestRequestsThatBreakTheRulesAreRefused(t *testing.T) {
	long := strings.Repeat("x", maxWord+1)
	for _, r := range []Request{{}, {Verb: "delete"}, {Verb: VerbStatus, Port: "x"}, {Verb: VerbIssue}, {Verb: VerbIssue, Port: "x"}, {Verb: VerbIssue, Class: "x"},
		{Verb: VerbIssue, Port: long, Class: "x"}, {Verb: VerbIssue, Port: "x", Class: long}, {Verb: VerbEject}, {Verb: VerbEject, Port: "x", Class: "y"},
		{Verb: VerbInstall}, {Verb: VerbInstall, Port: "x", Path: "/y"}, {Verb: VerbInstall, Port: long}, {Verb: VerbInstall, Path: "y"},
		{Verb: VerbSessions, Max: -1}, {Verb: VerbSessions, Max: MaxSessions + 1}, {Verb: VerbStatus, Max: 1},
		{Verb: VerbSignIn}, {Verb: VerbSignIn, Number: "1"}, {Verb: VerbSignIn, PIN: "1234567890123"}, {Verb: VerbStatus, PIN: "1"}, {Verb: VerbGuest, Company: "x"},
		{Verb: VerbBegin, Reason: "x"}, {Verb: VerbBegin, Since: "2026-11-22T08:00:00Z"}, {Verb: VerbOverride, Port: "x", Class: "y"}, {Verb: VerbOverride, Port: "x", Class: "y", Reason: "because"}} {
		if r.check() == nil {
			t.Errorf("%+v is taken", r)
		}
	}
	r := newRig(t, Handler{}, nil)
	var e *Error
	if _, err := r.dial(t).ask(t.Context(), Request{Verb: "verdict"}); !errors.As(err, &e) || e.Code != CodeRequest {
		t.Errorf("%v", err)
	}
}

// Who is at the screen is told to the screen alone, and a connection that signed a person in is not cut off while they read.
func TestT18_TheScreenAloneKnowsWhoIsSignedIn(t *testing.T) {
	var role atomic.Uint32
	role.Store(uint32(RoleScreen))
	r := newRig(t, Handler{Roles: func(Peer) Roles { return Roles(role.Load()) },
		SignIn: func(ctx context.Context, number string, pin PIN) (SignIn, error) {
			if number != "4711" || pin != "123456" {
				return SignIn{}, &Error{CodeSignIn, "no"}
			}
			return SignIn{Name: "Jane Doe"}, nil
		}, Stay: func() {}}, func(s *Server) { s.idle = 200 * time.Millisecond })
	r.Publish(full())
	c := r.dial(t)
	if st, err := c.Status(t.Context()); err != nil || st.Staff == nil || st.Staff.Name != "Jane Doe" {
		t.Errorf("the screen: %+v %v", st, err)
	}
	var e *Error
	if _, err := c.SignIn(t.Context(), "4711", "123457"); !errors.As(err, &e) || e.Code != CodeSignIn {
		t.Errorf("a wrong PIN: %v", err)
	}
	if who, err := c.SignIn(t.Context(), "4711", "123456"); err != nil || who.Name != "Jane Doe" {
		t.Errorf("%+v %v", who, err)
	}
	time.Sleep(500 * time.Millisecond)
	if err := c.Stay(t.Context()); err != nil {
		t.Errorf("cut off while somebody is signed in: %v", err)
	}
	for _, other := range []Roles{RoleStaff, RoleSecurity, RoleAudit, RoleAdmin} {
		role.Store(uint32(other))
		if st, err := r.dial(t).Status(t.Context()); err != nil || st.Staff != nil {
			t.Errorf("role %b is told who is at the screen: %v", other, err)
		}
	}
}

func TestAPINIsNeverPrinted(t *testing.T) {
	r := Request{Verb: VerbSignIn, Number: "4711", PIN: "123456"}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, r); strings.Contains(text, "123456") {
			t.Errorf("%s: %s", format, text)
		}
	}
}

func TestTheSpecificationsExample(t *testing.T) {
	var b bytes.Buffer
	w := frame.NewWriter(&b)
	if err := errors.Join(w.Write(Request{ID: 1, Verb: VerbStatus}), w.Flush()); err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(b.Bytes()); got != "0000000b"+"a20101"+"0266737461747573" {
		t.Errorf("%s", got)
	}
}

// Hostile clients of every kind at once, while an honest one is served.
func TestT18_HostileClientsDoNotHoldUpTheStation(t *testing.T) {
	r := newRig(t, Handler{}, func(s *Server) { s.idle, s.write = 500*time.Millisecond, 200*time.Millisecond })
	r.Publish(full())
	raw := func() net.Conn {
		c, err := net.Dial("unix", r.path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	status := []byte{0, 0, 0, 11, 0xa2, 1, 1, 2, 0x66, 's', 't', 'a', 't', 'u', 's'}
	for name, attack := range map[string]func(net.Conn){
		"sends nothing":          func(c net.Conn) {},
		"sends garbage":          func(c net.Conn) { c.Write(bytes.Repeat([]byte{0xFF}, 1<<16)) },
		"sends half a frame":     func(c net.Conn) { c.Write(status[:9]) },
		"sends a huge length":    func(c net.Conn) { c.Write([]byte{0, 3, 0, 0}) },
		"sends an unknown field": func(c net.Conn) { c.Write([]byte{0, 0, 0, 5, 0xa1, 0x18, 99, 0x61, 'x'}) },
		"asks without end": func(c net.Conn) {
			go io.Copy(io.Discard, c)
			for range 1_000_000 {
				if _, err := c.Write(status); err != nil {
					return
				}
			}
			t.Error("a million requests were taken")
		},
		"asks and does not read": func(c net.Conn) {
			for range 100_000 {
				if _, err := c.Write(status); err != nil {
					return
				}
			}
			t.Error("all were taken from a client that reads nothing")
		},
		"closes": func(c net.Conn) { c.Close() },
	} {
		c := raw()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		attack(c)
		begin := time.Now()
		if _, err := r.dial(t).Status(t.Context()); err != nil || time.Since(begin) > time.Second {
			t.Errorf("beside a client that %s: %v after %v", name, err, time.Since(begin))
		}
		if name == "closes" {
			continue
		}
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a client that %s is not cut off", name)
		}
	}
}

// One who subscribes and never reads is cut off, and the state goes on.
func TestSlowWatcherIsDropped(t *testing.T) {
	r := newRig(t, Handler{}, func(s *Server) { s.write = 200 * time.Millisecond })
	big := full()
	for range 400 {
		big.Problems = append(big.Problems, Problem{"x", strings.Repeat("x", 400)})
	}
	c := r.dial(t)
	if err := errors.Join(c.w.Write(Request{ID: 1, Verb: VerbSubscribe}), c.w.Flush()); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; {
		begin := time.Now()
		r.Publish(big)
		if d := time.Since(begin); d > 100*time.Millisecond {
			t.Fatalf("publish took %v", d)
		}
		r.mu.Lock()
		left := r.total
		r.mu.Unlock()
		if left == 0 && time.Until(end) < 9*time.Second {
			return
		}
		if time.Now().After(end) {
			t.Fatal("it is still there")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestConnectionsOfOneUserAreBounded(t *testing.T) {
	r := newRig(t, Handler{}, nil)
	for range maxClientsUID {
		if _, err := r.dial(t).Status(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var e *Error
	if _, err := r.dial(t).Status(t.Context()); !errors.As(err, &e) || e.Code != CodeBusy {
		t.Errorf("one too many: %v", err)
	}
}

// A request whose client hangs up is called off.
func TestHangingUpCallsTheRequestOff(t *testing.T) {
	began, ended := make(chan bool), make(chan bool)
	r := newRig(t, Handler{Issue: func(ctx context.Context, _ Peer, _, _ string) (Answer, error) {
		close(began)
		<-ctx.Done()
		close(ended)
		return Answer{}, ctx.Err()
	}}, nil)
	c := r.dial(t)
	go c.Issue(t.Context(), "p", "c")
	<-began
	c.conn.Close()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("it runs on")
	}
}

func TestListenTakesOverFromTheDeadAndNotFromTheLiving(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil {
		t.Error("two daemons on one socket")
	}
	l.SetUnlinkOnClose(false) // as a killed daemon leaves it
	l.Close()
	if l, err = Listen(path); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil {
		t.Error("a file was replaced")
	}
}

// FuzzRequest: whatever a client sends, it is a request within the limits or the end of the connection.
func FuzzRequest(f *testing.F) {
	f.Add([]byte{0, 0, 0, 11, 0xa2, 1, 1, 2, 0x66, 's', 't', 'a', 't', 'u', 's'})
	for _, r := range []Request{{ID: 1 << 60, Verb: VerbIssue, Port: "1-2.3", Class: "imaging"}, {Verb: VerbSessions, Max: 9}} {
		var b bytes.Buffer
		w := frame.NewWriter(&b)
		if err := errors.Join(w.Write(r), w.Flush()); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		frames := frame.NewSmallReader(bytes.NewReader(data), maxRequest)
		for {
			var r Request
			if frames.Next(&r) != nil {
				return
			}
			if r.check() == nil && (len(r.Port)+len(r.Class) > 2*maxWord || r.Max > MaxSessions || allowed[r.Verb] == 0) {
				t.Errorf("%+v is taken", r)
			}
		}
	})
}
