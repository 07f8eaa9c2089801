package keys

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/google/go-tpm/tpm2"
)

// tpmCounter is where a station's counter is in its TPM.
type tpmCounter struct {
	Index uint32 `cbor:"1,keyasint"`
	Start uint64 `cbor:"2,keyasint"` // its value when it was made
}

const (
	counterSize = 8 // TPM 2.0 Library specification part 2, 13.2: a counter is a 64 bit number
	counterAuth = sha256.Size
	// sealedCounter is what is sealed behind the seed: the authorisation value, the index and the first value.
	sealedCounter = counterAuth + 4 + counterSize
	// Indexes are drawn from a part of those that belong to the owner (TCG registry of reserved handles, 2.2.2), so that two keys
	// of one machine do not meet, and nothing has to be found out first.
	firstIndex = 0x01A00000
	indexTries = 8
)

// counterNV is the public area of a counter. Who has its authorisation value counts; the owner, whose authorisation is empty on
// most machines, reads it. No power cycle and no wrong guess touches it.
func counterNV(index uint32) tpm2.TPMSNVPublic {
	return tpm2.TPMSNVPublic{NVIndex: tpm2.TPMHandle(index), NameAlg: tpm2.TPMAlgSHA256, DataSize: counterSize,
		Attributes: tpm2.TPMANV{NT: tpm2.TPMNTCounter, AuthWrite: true, AuthRead: true, OwnerRead: true, NoDA: true}}
}

// Counter is a number in a TPM that only rises. It is as good as the TPM: who owns it can remove the counter, but one that is
// made again in its place begins above every value that any counter of this TPM ever had (part 3, 31.8). So a removed counter
// is missed, and no value comes back.
type Counter struct {
	t     *tpm
	at    tpmCounter
	auth  []byte
	point []byte
}

// ID names the counter of one key.
func (c *Counter) ID() [32]byte { return c.at.id(c.point) }

func (at tpmCounter) id(point []byte) [32]byte {
	text := binary.BigEndian.AppendUint32([]byte("pratique log counter v1\x00"), at.Index)
	return sha256.Sum256(append(binary.BigEndian.AppendUint64(text, at.Start), point...))
}

// Start is the value that it had when it was made.
func (c *Counter) Start() uint64 { return c.at.Start }

// Read returns the value.
func (c *Counter) Read() (uint64, error) {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	return c.t.readCounter(c.at.Index)
}

// Advance adds one, and returns the value after it.
func (c *Counter) Advance() (uint64, error) {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	if err := c.t.advanceCounter(c.at.Index, c.auth); err != nil {
		return 0, err
	}
	return c.t.readCounter(c.at.Index)
}

// Counter is the counter of the key's TPM; nil where there is none.
func (o *Opened) Counter() *Counter { return o.p.counter }

// HasCounter reports whether a key has a counter.
func (b *Box) HasCounter() bool { return b.TPM != nil && b.TPM.Counter != nil }

// Reading is what a counter shows.
type Reading struct {
	ID           [32]byte // of the counter
	Value, Start uint64   // now, and when it was made
}

// ReadCounter reads the counter of a key without opening it: no secret is needed to look.
func ReadCounter(b *Box, a Access) (r Reading, err error) {
	if !b.HasCounter() {
		return r, fmt.Errorf("%w: the key has no counter", ErrClosed)
	}
	t, err := dialTPM(a.Device)
	if err != nil {
		return r, err
	}
	at := b.TPM.Counter
	value, err := t.readCounter(at.Index)
	return Reading{at.id(b.Point), value, at.Start}, errors.Join(err, t.close())
}

// counterName is the name of an index that is what newCounter made, and nothing that somebody put in its place.
func (t *tpm) counterName(index uint32) (tpm2.NamedHandle, error) {
	fail := func(err error) (tpm2.NamedHandle, error) {
		return tpm2.NamedHandle{}, fmt.Errorf("%w: TPM: counter: %w", ErrClosed, err)
	}
	rsp, err := tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(index)}.Execute(t.conn)
	if err != nil {
		return fail(err)
	}
	got, err := rsp.NVPublic.Contents()
	if err != nil {
		return fail(err)
	}
	written := counterNV(index)
	written.Attributes.Written = true
	if !bytes.Equal(tpm2.Marshal(got), tpm2.Marshal(written)) && !bytes.Equal(tpm2.Marshal(got), tpm2.Marshal(counterNV(index))) {
		return fail(errors.New("something else is in its place"))
	}
	name, err := tpm2.NVName(got)
	if err != nil {
		return fail(err)
	}
	return tpm2.NamedHandle{Handle: tpm2.TPMHandle(index), Name: *name}, nil
}

func (t *tpm) readCounter(index uint32) (uint64, error) {
	at, err := t.counterName(index)
	if err != nil {
		return 0, err
	}
	owner := tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: t.session(nil, hideOut)}
	rsp, err := tpm2.NVRead{AuthHandle: owner, NVIndex: at, Size: counterSize}.Execute(t.conn)
	if err != nil {
		return 0, fmt.Errorf("%w: TPM: counter: %w", ErrClosed, err)
	}
	if len(rsp.Data.Buffer) != counterSize {
		return 0, fmt.Errorf("%w: TPM: a counter of %d bytes", ErrClosed, len(rsp.Data.Buffer))
	}
	return binary.BigEndian.Uint64(rsp.Data.Buffer), nil
}

func (t *tpm) advanceCounter(index uint32, auth []byte) error {
	at, err := t.counterName(index)
	if err != nil {
		return err
	}
	// The command has no parameter that could be hidden; the authorisation value itself never crosses the bus.
	own := tpm2.AuthHandle{Handle: at.Handle, Name: at.Name,
		Auth: tpm2.HMAC(tpm2.TPMAlgSHA256, 16, tpm2.Auth(auth), tpm2.Salted(t.srk.Handle, t.pub))}
	if _, err := (tpm2.NVIncrement{AuthHandle: own, NVIndex: at}).Execute(t.conn); err != nil {
		return fmt.Errorf("%w: TPM: counter: %w", ErrClosed, err)
	}
	return nil
}

// newCounter makes a counter, and returns what is sealed beside the seed: who cannot open the key cannot count, and who changes
// where the box says that the counter is, or leaves it out, has a key that does not open.
func (t *tpm) newCounter() (*tpmCounter, []byte, error) {
	secret := make([]byte, counterAuth)
	if _, err := rand.Read(secret); err != nil {
		return nil, nil, err
	}
	withoutZeros(secret)
	at, err := t.defineCounter(secret)
	if err != nil {
		return nil, nil, fmt.Errorf("TPM: counter: %w", err)
	}
	if err = t.advanceCounter(at.Index, secret); err == nil { // before the first time it has no value
		at.Start, err = t.readCounter(at.Index)
	}
	if err == nil && at.Start == math.MaxUint64 {
		err = errors.New("TPM: its counters are at their end")
	}
	if err != nil {
		t.dropCounter(at.Index)
		return nil, nil, err
	}
	return at, at.seal(secret), nil
}

func (at tpmCounter) seal(secret []byte) []byte {
	out := binary.BigEndian.AppendUint32(bytes.Clone(secret), at.Index)
	return binary.BigEndian.AppendUint64(out, at.Start)
}

func (t *tpm) defineCounter(auth []byte) (*tpmCounter, error) {
	var err error
	for range indexTries {
		var draw [2]byte
		if _, err := rand.Read(draw[:]); err != nil {
			return nil, err
		}
		at := &tpmCounter{Index: firstIndex + uint32(binary.BigEndian.Uint16(draw[:]))}
		_, err = tpm2.NVDefineSpace{AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: t.session(nil, hideIn)},
			Auth: tpm2.TPM2BAuth{Buffer: auth}, PublicInfo: tpm2.New2B(counterNV(at.Index))}.Execute(t.conn)
		if !errors.Is(err, tpm2.TPMRCNVDefined) {
			return at, err
		}
	}
	return nil, err
}

// dropCounter takes back what newCounter made for a key that came to nothing. A TPM has room for few.
func (t *tpm) dropCounter(index uint32) {
	at, err := t.counterName(index)
	if err != nil {
		return
	}
	owner := tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}
	_, _ = tpm2.NVUndefineSpace{AuthHandle: owner, NVIndex: at}.Execute(t.conn)
}

// splitSeed parts what was sealed, and holds the counter's part against what the box says.
func (b *Box) splitSeed(data []byte) (seed, auth []byte, err error) {
	if !b.HasCounter() {
		return data, nil, nil // longer than a seed if the box was stripped, which fromSeed refuses
	}
	n := len(data) - sealedCounter
	if n < 0 {
		return nil, nil, fmt.Errorf("%w: its counter is not the one that was sealed", ErrClosed)
	}
	auth = data[n : n+counterAuth]
	if !bytes.Equal(data[n:], b.TPM.Counter.seal(auth)) {
		return nil, nil, fmt.Errorf("%w: its counter is not the one that was sealed", ErrClosed)
	}
	return data[:n], auth, nil
}
