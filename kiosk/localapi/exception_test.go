package localapi

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
)

// exceptionHandler counts what is asked of it, and notes who asked.
func exceptionHandler(role Roles, done *atomic.Int32, uid *atomic.Uint32) Handler {
	step := func(p Peer, x Exception) (Exception, error) {
		done.Add(1)
		uid.Store(p.UID)
		return x, nil
	}
	return Handler{
		Roles:      func(Peer) Roles { return role },
		Exceptions: func(_ context.Context, max int) ([]Exception, error) { done.Add(1); return make([]Exception, max), nil },
		Except: func(_ context.Context, p Peer, x Except) (Exception, error) {
			return step(p, Exception{SHA256: x.SHA256, Findings: x.Findings, Reason: x.Reason})
		},
		Confirm: func(_ context.Context, p Peer, name string) (Exception, error) {
			return step(p, Exception{ID: name, State: "in force"})
		},
		Remove: func(_ context.Context, p Peer, name string) (Exception, error) {
			return step(p, Exception{ID: name, State: "removed"})
		},
	}
}

// Who looks after the station, reads its log or asks for clearances has no part in what it lets pass.
func TestT19_TheSecurityRoleAloneAgreesOnExceptions(t *testing.T) {
	steps := map[Verb]Request{
		VerbExceptions:       {Verb: VerbExceptions, Max: 2},
		VerbExcept:           {Verb: VerbExcept, Except: &Except{SHA256: "ab", Findings: []string{"yara/x"}, Reason: "vendor"}},
		VerbConfirmException: {Verb: VerbConfirmException, Exception: "0123456789abcdef"},
		VerbRemoveException:  {Verb: VerbRemoveException, Exception: "0123456789abcdef"},
	}
	all := RoleScreen | RoleStaff | RoleSecurity | RoleAudit | RoleAdmin
	for role := range all + 1 {
		if role == 0 {
			continue
		}
		for verb, request := range steps {
			may := role&RoleSecurity != 0 || verb == VerbExceptions && role&(RoleAudit|RoleAdmin) != 0
			if role.May(verb) != may {
				t.Errorf("role %b, %s: %v", role, verb, !may)
			}
			if role&(role-1) != 0 { // over the socket one at a time
				continue
			}
			var done atomic.Int32
			var uid atomic.Uint32
			r := newRig(t, exceptionHandler(role, &done, &uid), nil)
			_, err := r.dial(t).ask(t.Context(), request)
			var e *Error
			if may != (err == nil) || !may && (!errors.As(err, &e) || e.Code != CodeDenied || done.Load() != 0) {
				t.Errorf("role %b, %s: %v", role, verb, err)
			}
		}
	}
}

func TestExceptionsTravelWhole(t *testing.T) {
	var done atomic.Int32
	var uid atomic.Uint32
	c := newRig(t, exceptionHandler(RoleSecurity, &done, &uid), nil).dial(t)
	long := "yara/" + strings.Repeat("x", 128)
	wish := Except{SHA256: strings.Repeat("a", 64), Findings: []string{long, long, long, long, long, long, long, long}, Reason: strings.Repeat("r", 40), Days: 30}
	if x, err := c.Except(t.Context(), wish); err != nil || len(x.Findings) != 8 || x.Findings[7] != long || x.Reason != wish.Reason {
		t.Fatalf("%+v %v", x, err)
	}
	if x, err := c.ConfirmException(t.Context(), "abc"); err != nil || x.State != "in force" {
		t.Fatalf("%+v %v", x, err)
	}
	if x, err := c.RemoveException(t.Context(), "abc"); err != nil || x.State != "removed" {
		t.Fatalf("%+v %v", x, err)
	}
	if list, err := c.Exceptions(t.Context(), MaxExceptions); err != nil || len(list) != MaxExceptions {
		t.Fatalf("%d %v", len(list), err)
	}
}

func TestRequestsAboutExceptionsThatBreakTheRulesAreRefused(t *testing.T) {
	good := func() *Except { return &Except{SHA256: "a", Findings: []string{"yara/x"}, Reason: "r"} }
	bad := func(f func(*Except)) Request {
		x := good()
		f(x)
		return Request{Verb: VerbExcept, Except: x}
	}
	for i, r := range []Request{
		{Verb: VerbExcept}, {Verb: VerbExcept, Except: good(), Exception: "x"}, {Verb: VerbExcept, Except: good(), Port: "p"}, {Verb: VerbExcept, Except: good(), Path: "/x"},
		{Verb: VerbConfirmException}, {Verb: VerbConfirmException, Exception: strings.Repeat("x", 65)}, {Verb: VerbConfirmException, Exception: "x", Except: good()},
		{Verb: VerbRemoveException, Exception: "x", Max: 1}, {Verb: VerbExceptions, Max: MaxExceptions + 1}, {Verb: VerbExceptions, Max: -1}, {Verb: VerbExceptions, Class: "x"},
		{Verb: VerbStatus, Exception: "x"}, {Verb: VerbInstall, Path: "/x", Except: good()},
		bad(func(x *Except) { x.Days = -1 }), bad(func(x *Except) { x.Days = 1 << 40 }), bad(func(x *Except) { x.Findings = make([]string, 9) }),
		bad(func(x *Except) { x.Findings[0] = strings.Repeat("x", 161) }), bad(func(x *Except) { x.Reason = strings.Repeat("x", 65) }),
		bad(func(x *Except) { x.SHA256 = strings.Repeat("x", 65) }),
	} {
		if r.check() == nil {
			t.Errorf("request %d is taken: %+v", i, r)
		}
	}
}
