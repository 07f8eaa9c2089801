package report

import (
	"crypto/sha256"
	"fmt"
	"hash"
)

// Digester computes Report.Digest: SHA-256 over the encoded Item messages in the order of the pipe. An encoded message is
// one CBOR item and ends where its own head says, so joining them without a separator is not ambiguous. Both ends of the
// pipe use it, and the log's item rows are bound by what the receiver computed.
type Digester struct{ h hash.Hash }

// NewDigester returns a Digester that has seen no item.
func NewDigester() *Digester { return &Digester{sha256.New()} }

// Add appends one message. Messages other than Item are not part of the digest.
func (d *Digester) Add(m Message) error {
	if m.Item == nil {
		return nil
	}
	data, err := m.Encode()
	if err != nil {
		return fmt.Errorf("report: encode an item: %w", err)
	}
	d.h.Write(data)
	return nil
}

// Sum returns the digest of what was added so far.
func (d *Digester) Sum() [32]byte { return [32]byte(d.h.Sum(nil)) }
