package localapi

import (
	"context"
	"errors"
	"fmt"
)

// Exceptions: two people of the security role agree that findings about one content are wrong.
//
//	exceptions         the latest Exceptions, newest first, max of them
//	except             proposes the exception in except; the Reply's one Exception says how it is called
//	confirm-exception  puts the exception of this name in force; only for another person than the one who proposed it
//	remove-exception   ends the exception of this name

// The verbs about exceptions.
const (
	VerbExceptions       Verb = "exceptions"
	VerbExcept           Verb = "except"
	VerbConfirmException Verb = "confirm-exception"
	VerbRemoveException  Verb = "remove-exception"
)

// CodeExcept is the code of an Error about what two people cannot agree on.
const CodeExcept = "exception-refused"

// Limits on exceptions.
const (
	// MaxExceptions bounds the exceptions of one reply: three times as many as can be in force, with eight names each.
	MaxExceptions = 100
	maxNamed      = 8   // findings of an exception
	maxFinding    = 160 // bytes: a check and the name of a YARA rule
	maxDays       = 366
)

// Exception is an agreement, or the proposal of one.
type Exception struct {
	ID        string   `cbor:"1,keyasint" json:"id"`
	SHA256    string   `cbor:"2,keyasint" json:"sha256"`
	Findings  []string `cbor:"3,keyasint" json:"findings"` // CHECK/RULE
	Reason    string   `cbor:"4,keyasint" json:"reason"`
	State     string   `cbor:"5,keyasint" json:"state"` // one of the words below
	Until     string   `cbor:"6,keyasint" json:"until"`
	Rules     Rules    `cbor:"7,keyasint" json:"rules"` // in force when it was proposed
	Proposed  string   `cbor:"8,keyasint" json:"proposed"`
	Proposer  string   `cbor:"9,keyasint" json:"proposer"` // pseudonyms, as in the log
	Confirmed string   `cbor:"10,keyasint,omitempty" json:"confirmed,omitempty"`
	Confirmer string   `cbor:"11,keyasint,omitempty" json:"confirmer,omitempty"`
	Removed   string   `cbor:"12,keyasint,omitempty" json:"removed,omitempty"`
}

// The states of an exception.
const (
	ExceptionWaits   = "proposed" // for a second person
	ExceptionHolds   = "in force"
	ExceptionEnded   = "expired" // or it waited too long
	ExceptionRemoved = "removed"
)

// Except is what a person proposes.
type Except struct {
	SHA256   string   `cbor:"1,keyasint"` // of the content, in hex
	Findings []string `cbor:"2,keyasint"`
	Reason   string   `cbor:"3,keyasint"` // a word
	Days     int      `cbor:"4,keyasint"` // that it holds; 0 for what the station takes by itself
}

// checkException holds a request against the protocol as far as exceptions go; about is whether it is about them.
func (r *Request) checkException() (about bool, err error) {
	var name, wish bool
	switch r.Verb {
	case VerbExceptions:
		if r.Max < 0 || r.Max > MaxExceptions {
			return true, fmt.Errorf("%s: max of %d", r.Verb, r.Max)
		}
	case VerbExcept:
		wish = true
	case VerbConfirmException, VerbRemoveException:
		name = true
	default:
		if r.Exception != "" || r.Except != nil {
			return true, fmt.Errorf("%s: a field too many", r.Verb)
		}
		return false, nil
	}
	rest := *r
	rest.ID, rest.Verb, rest.Exception, rest.Except = 0, "", "", nil
	if r.Verb == VerbExceptions {
		rest.Max = 0
	}
	if rest != (Request{}) || name != (r.Exception != "") || wish != (r.Except != nil) {
		return true, fmt.Errorf("%s: a field too many or too few", r.Verb)
	}
	if len(r.Exception) > maxWord {
		return true, fmt.Errorf("%s: a name of %d bytes", r.Verb, len(r.Exception))
	}
	return true, r.Except.check()
}

func (x *Except) check() error {
	switch {
	case x == nil:
		return nil
	case len(x.SHA256) > maxWord || len(x.Reason) > maxWord || x.Days < 0 || x.Days > maxDays || len(x.Findings) > maxNamed:
		return errors.New("except: too much of something")
	}
	for _, f := range x.Findings {
		if len(f) > maxFinding {
			return fmt.Errorf("except: a finding with a name of %d bytes", len(f))
		}
	}
	return nil
}

// except does what is asked for about exceptions.
func (c *client) except(ctx context.Context, r Request) ([]Exception, error) {
	h := &c.server.handler
	var x Exception
	var err error
	switch r.Verb {
	case VerbExceptions:
		return h.Exceptions(ctx, r.Max)
	case VerbExcept:
		x, err = h.Except(ctx, c.peer, *r.Except)
	case VerbConfirmException:
		x, err = h.Confirm(ctx, c.peer, r.Exception)
	default:
		x, err = h.Remove(ctx, c.peer, r.Exception)
	}
	return []Exception{x}, err
}

// Exceptions returns the latest exceptions of the station, newest first.
func (c *Client) Exceptions(ctx context.Context, max int) ([]Exception, error) {
	reply, err := c.ask(ctx, Request{Verb: VerbExceptions, Max: max})
	return reply.Exceptions, err
}

// Except proposes an exception.
func (c *Client) Except(ctx context.Context, x Except) (Exception, error) {
	return c.exception(ctx, Request{Verb: VerbExcept, Except: &x})
}

// ConfirmException puts an exception in force that somebody else proposed.
func (c *Client) ConfirmException(ctx context.Context, name string) (Exception, error) {
	return c.exception(ctx, Request{Verb: VerbConfirmException, Exception: name})
}

// RemoveException ends an exception.
func (c *Client) RemoveException(ctx context.Context, name string) (Exception, error) {
	return c.exception(ctx, Request{Verb: VerbRemoveException, Exception: name})
}

func (c *Client) exception(ctx context.Context, r Request) (Exception, error) {
	reply, err := c.ask(ctx, r)
	if err != nil {
		return Exception{}, err
	}
	if len(reply.Exceptions) != 1 {
		return Exception{}, errors.New("the daemon does not say which exception that was")
	}
	return reply.Exceptions[0], nil
}
