package localapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Export says what an auditor wants to take out of the log.
type Export struct {
	Form  string `cbor:"1,keyasint"`
	Since int64  `cbor:"2,keyasint,omitempty"` // seconds since 1970; 0 is open
	Until int64  `cbor:"3,keyasint,omitempty"`
	After string `cbor:"4,keyasint,omitempty"` // the checkpoint at the end of the export before
	Items bool   `cbor:"5,keyasint,omitempty"` // all of them
}

// Exported says what was taken out. It comes behind the last bytes.
type Exported struct {
	From       int64  `cbor:"1,keyasint"` // first entry
	To         int64  `cbor:"2,keyasint"` // one after the last
	Items      uint64 `cbor:"3,keyasint"`
	Bytes      int64  `cbor:"4,keyasint"`
	SHA256     string `cbor:"5,keyasint"` // of the bytes, hex
	Checkpoint string `cbor:"6,keyasint"` // of To entries
}

const (
	maxAfter = 700      // bytes of a checkpoint that has to fit into a request
	chunk    = 64 << 10 // bytes of an export in one message
)

func (e *Export) check() error {
	switch {
	case e.Form == "" || len(e.Form) > maxWord:
		return errors.New("export: no form, or a word that is too long")
	case e.Since < 0 || e.Until < 0:
		return errors.New("export: a time before 1970")
	case len(e.After) > maxAfter:
		return fmt.Errorf("export: a checkpoint of more than %d bytes", maxAfter)
	}
	return nil
}

// Period returns since and until.
func (e *Export) Period() (since, until time.Time) {
	if e.Since > 0 {
		since = time.Unix(e.Since, 0).UTC()
	}
	if e.Until > 0 {
		until = time.Unix(e.Until, 0).UTC()
	}
	return since, until
}

// chunks sends what is written as the messages of one reply. A client that stops reading is cut off as ever.
type chunks struct {
	client *client
	id     uint64
}

func (w *chunks) Write(p []byte) (int, error) {
	for n := 0; n < len(p); n += chunk {
		if err := w.client.send(Reply{ID: w.id, Data: p[n:min(n+chunk, len(p))]}); err != nil {
			return n, err
		}
	}
	return len(p), nil
}

// Export writes an export of the log. What has been written is all of it only if there is no error.
func (c *Client) Export(ctx context.Context, what Export, to io.Writer) (Exported, error) {
	if err := what.check(); err != nil {
		return Exported{}, err
	}
	defer c.until(ctx)()
	reply, err := c.ask(ctx, Request{Verb: VerbExport, Export: &what})
	for ; err == nil && reply.Exported == nil; reply, err = c.next(ctx) {
		if len(reply.Data) == 0 {
			return Exported{}, errors.New("the daemon sent no export")
		}
		if _, err := to.Write(reply.Data); err != nil {
			return Exported{}, err
		}
	}
	if err != nil {
		return Exported{}, err
	}
	return *reply.Exported, nil
}
