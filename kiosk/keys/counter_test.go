package keys

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-tpm/tpm2"
)

// newCounted makes a station's key in a TPM and opens it.
func newCounted(t *testing.T, a Access, pin []byte) (*Box, *Opened) {
	t.Helper()
	b, err := New(t.Context(), TPM, Station, "kiosk-1", a, pin, made)
	if err != nil {
		t.Fatal(err)
	}
	b = reload(t, b)
	o, err := Open(t.Context(), b, a, pin)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	if o.Counter() == nil || !b.HasCounter() {
		t.Fatal("a station's key in a TPM has no counter")
	}
	return b, o
}

func TestT16_ACounterRisesByOneAndStaysOverARestart(t *testing.T) {
	a := Access{Device: newTPMDevice(t)}
	b, o := newCounted(t, a, secret)
	c := o.Counter()
	if now, err := c.Read(); err != nil || now != c.Start() {
		t.Fatalf("%d %v, it began at %d", now, err, c.Start())
	}
	for i := uint64(1); i <= 3; i++ {
		if now, err := c.Advance(); err != nil || now != c.Start()+i {
			t.Fatalf("%d %v, it began at %d", now, err, c.Start())
		}
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	// Who looks needs no PIN.
	r, err := ReadCounter(b, a)
	if err != nil || r.Value != c.Start()+3 || r.ID != c.ID() || r.Start != c.Start() {
		t.Errorf("%+v %v", r, err)
	}
	if o, err = Open(t.Context(), b, a, secret); err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if now, err := o.Counter().Advance(); err != nil || now != r.Value+1 {
		t.Errorf("%d %v", now, err)
	}
}

// The owner of the TPM can take the counter away, and make another in its place. No value that it had comes back.
func TestT16_ACounterThatIsRemovedAndMadeAgainIsSeen(t *testing.T) {
	a := Access{Device: newTPMDevice(t)}
	_, o := newCounted(t, a, nil)
	c := o.Counter()
	last, err := c.Advance()
	if err != nil {
		t.Fatal(err)
	}
	c.t.dropCounter(c.at.Index)
	if _, err := c.Read(); !errors.Is(err, ErrClosed) {
		t.Errorf("a counter that is gone was read: %v", err)
	}
	if _, err := c.Advance(); !errors.Is(err, ErrClosed) {
		t.Errorf("a counter that is gone was moved: %v", err)
	}
	define := func(change func(*tpm2.TPMSNVPublic), auth []byte) {
		t.Helper()
		public := counterNV(c.at.Index)
		if change != nil {
			change(&public)
		}
		if _, err := (tpm2.NVDefineSpace{AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
			Auth: tpm2.TPM2BAuth{Buffer: auth}, PublicInfo: tpm2.New2B(public)}).Execute(c.t.conn); err != nil {
			t.Fatal(err)
		}
	}
	undefine := func() {
		t.Helper()
		rsp, err := tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(c.at.Index)}.Execute(c.t.conn)
		if err == nil {
			_, err = tpm2.NVUndefineSpace{AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
				NVIndex: tpm2.NamedHandle{Handle: tpm2.TPMHandle(c.at.Index), Name: rsp.NVName}}.Execute(c.t.conn)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	define(func(p *tpm2.TPMSNVPublic) { p.Attributes.NT = tpm2.TPMNTOrdinary }, c.auth) // a number that can be written
	if _, err := c.Read(); !errors.Is(err, ErrClosed) {
		t.Errorf("something else in its place was read: %v", err)
	}
	undefine()
	define(nil, []byte("mine"))
	if _, err := c.Advance(); !errors.Is(err, ErrClosed) {
		t.Errorf("another's counter was moved: %v", err)
	}
	if err := c.t.advanceCounter(c.at.Index, []byte("mine")); err != nil {
		t.Fatal(err)
	}
	if now, err := c.Read(); err != nil || now <= last {
		t.Errorf("a counter that was made again is at %d (%v), and was at %d", now, err, last)
	}
}

// A box that says of another counter, or of none, is not the one that was sealed.
func TestT16_ABoxWhoseCounterWasChangedDoesNotOpen(t *testing.T) {
	a := Access{Device: newTPMDevice(t)}
	b, o := newCounted(t, a, nil)
	o.Close()
	_, other := newCounted(t, a, nil)
	other.Close()
	for name, at := range map[string]*tpmCounter{"none": nil, "another": &other.Counter().at,
		"another first value": {b.TPM.Counter.Index, b.TPM.Counter.Start + 1}, "another index": {b.TPM.Counter.Index + 1, b.TPM.Counter.Start}} {
		changed := reload(t, b)
		changed.TPM.Counter = at
		if o, err := Open(t.Context(), changed, a, nil); err == nil {
			o.Close()
			t.Errorf("%s: it opened", name)
		} else if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeysOfOtherPlacesHaveNoCounter(t *testing.T) {
	a := Access{Device: newTPMDevice(t)}
	for name, row := range map[string]struct {
		place Place
		use   Use
	}{"a sealed file": {File, Station}, "a root": {TPM, Root}} {
		b, err := New(t.Context(), row.place, row.use, "x", a, secret, made)
		if err != nil {
			t.Fatal(err)
		}
		o, err := Open(t.Context(), b, a, secret)
		if err != nil {
			t.Fatal(err)
		}
		if o.Counter() != nil || b.HasCounter() {
			t.Errorf("%s has a counter", name)
		}
		o.Close()
		if _, err := ReadCounter(b, a); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// One PIN in nine has a zero in the value that is made of it. Each of them opens its key.
func TestEveryPINOpensItsKey(t *testing.T) {
	a := Access{Device: newTPMDevice(t)}
	for n, tried := 0, 0; tried < 3; n++ {
		pin := fmt.Appendf(nil, "pin %d", n)
		sum := sha256.Sum256(append([]byte("pratique tpm pin v1\x00"), pin...))
		if !bytes.Contains(sum[:], []byte{0}) {
			continue
		}
		tried++
		_, o := newCounted(t, a, pin)
		if _, err := o.Counter().Advance(); err != nil {
			t.Error(err)
		}
		o.Close()
	}
}
