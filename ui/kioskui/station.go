package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"pratique/kiosk/localapi"
	"pratique/ui"
)

// station is the daemon, as the window sees it. Three kinds of connections go to it: one that follows its state; one that belongs to
// the person who is signed in, who is signed out when it ends; and one for each other request, since some take as long as a scan.
type station struct {
	socket  string
	changed func(*localapi.State) // nil: it is gone

	mu   sync.Mutex
	desk *localapi.Client
	ctx  context.Context // of watch: what is asked ends with it
}

// Limits on waiting.
const (
	againAfter = time.Second      // for a daemon that does not answer
	askTime    = 15 * time.Second // for a request that does not wait for a scan
	issueTime  = 8 * time.Hour    // for one that does, or that tries a rule pack
)

func newStation(socket string, changed func(*localapi.State)) *station {
	return &station{socket: socket, changed: changed, ctx: context.Background()}
}

// watch follows the daemon's state until ctx ends.
func (s *station) watch(ctx context.Context) {
	s.mu.Lock()
	s.ctx = ctx
	s.mu.Unlock()
	for ctx.Err() == nil {
		if c, err := localapi.Dial(ctx, s.socket); err == nil {
			_ = c.Watch(ctx, func(st *localapi.State) error { // it ends when the daemon does, for whatever reason
				s.changed(st)
				return nil
			})
			c.Close()
			s.hangUp()
		}
		if ctx.Err() != nil {
			return
		}
		s.changed(nil)
		select {
		case <-time.After(againAfter):
		case <-ctx.Done():
		}
	}
}

// hangUp ends the connection of the person who was signed in.
func (s *station) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.desk != nil {
		s.desk.Close()
		s.desk = nil
	}
}

// ask asks the daemon for something, and passes the answer on. It does not wait.
func (s *station) ask(e ui.Effect, answered func([]localapi.Session, *localapi.Error)) {
	s.mu.Lock()
	ctx := s.ctx
	s.mu.Unlock()
	go func() {
		history, err := s.send(ctx, e)
		var said *localapi.Error
		if err != nil && !errors.As(err, &said) {
			said = &localapi.Error{Code: localapi.CodeFailed, Text: "The station did not answer."}
		}
		answered(history, said)
	}()
}

func (s *station) send(ctx context.Context, e ui.Effect) (history []localapi.Session, err error) {
	limit := askTime
	if e.Verb == localapi.VerbIssue || e.Verb == localapi.VerbOverride || e.Verb == localapi.VerbInstall {
		limit = issueTime
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	switch e.Verb {
	case localapi.VerbSignIn, localapi.VerbSignOut, localapi.VerbStay, localapi.VerbGuest:
		return nil, s.atDesk(ctx, e)
	}
	c, err := localapi.Dial(ctx, s.socket)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	switch e.Verb {
	case localapi.VerbIssue:
		_, err = c.Issue(ctx, e.Port, e.Class)
	case localapi.VerbEject:
		err = c.Eject(ctx, e.Port)
	case localapi.VerbOverride:
		_, err = c.Override(ctx, e.Port, e.Class, e.Reason)
	case localapi.VerbInstall:
		_, err = c.InstallFrom(ctx, e.Port)
	case localapi.VerbSessions:
		history, err = c.Sessions(ctx, localapi.MaxSessions)
	default:
		err = &localapi.Error{Code: localapi.CodeRequest, Text: "This screen cannot ask for that."}
	}
	return history, err
}

// atDesk asks on the connection that a person is signed in on. One request at a time goes over it.
func (s *station) atDesk(ctx context.Context, e ui.Effect) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.desk == nil {
		c, err := localapi.Dial(ctx, s.socket)
		if err != nil {
			return err
		}
		s.desk = c
	}
	var err error
	switch e.Verb {
	case localapi.VerbSignIn:
		_, err = s.desk.SignIn(ctx, e.Number, e.PIN)
	case localapi.VerbGuest:
		_, err = s.desk.Guest(ctx, e.Company, e.Order)
	case localapi.VerbStay:
		err = s.desk.Stay(ctx)
	default:
		err = s.desk.SignOut(ctx)
	}
	var said *localapi.Error
	if err != nil && !errors.As(err, &said) { // the connection broke
		s.desk.Close()
		s.desk = nil
	}
	return err
}
