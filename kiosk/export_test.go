package kiosk

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"pratique/kiosk/audit"
	"pratique/kiosk/audit/export"
)

// short takes some bytes and then no more.
type short struct{ left int }

func (s *short) Write(p []byte) (int, error) {
	n := min(len(p), s.left)
	if s.left -= n; n < len(p) {
		return n, errors.New("the disk is full")
	}
	return n, nil
}

// Whatever leaves the station is in its log before, by whom and with the digest of the bytes; also what was not taken whole.
func TestT21_EveryExportIsInTheLog(t *testing.T) {
	s, err := OpenState(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 3 {
		if err := s.administered(t.Context(), audit.Administered{What: "test"}, "uid:1"); err != nil {
			t.Fatal(err)
		}
	}
	last := func() (d audit.Exported) {
		t.Helper()
		err := s.log.List(t.Context(), audit.ListOptions{Kinds: []audit.Kind{audit.KindExported}, Newest: true, Limit: 1}, func(e audit.Entry) error {
			d = e.Data.(audit.Exported)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, form := range export.Formats() {
		var out bytes.Buffer
		x, sum, err := s.Export(t.Context(), export.Format(form), export.Options{}, "uid:7", &out)
		if err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		want := audit.Exported{Format: audit.Word(form), From: x.From, To: x.To, SHA256: sum.SHA256, Person: s.pseudonym("uid:7")}
		if got := last(); got != want || int64(out.Len()) != sum.Bytes {
			t.Errorf("the log says %+v, want %+v", got, want)
		}
		if _, _, err := s.Export(t.Context(), export.Format(form), export.Options{}, "uid:8", &short{100}); err == nil {
			t.Errorf("%s: 100 bytes are an export", form)
		}
		if got := last(); got.Person != s.pseudonym("uid:8") || got.To != x.To+1 {
			t.Errorf("the log does not say of an export that was not taken whole: %+v", got)
		}
	}
	size, _ := s.log.Size(t.Context())
	if _, _, err := s.Export(t.Context(), "docx", export.Options{}, "uid:7", &bytes.Buffer{}); !errors.Is(err, export.ErrFormat) {
		t.Error(err)
	}

	// A log that cannot be written lets nothing out.
	s.log.Close()
	var out bytes.Buffer
	if _, _, err := s.Export(t.Context(), export.CSV, export.Options{}, "uid:7", &out); err == nil || out.Len() > 0 {
		t.Errorf("%d bytes left a station without a log: %v", out.Len(), err)
	}
	if size == 0 {
		t.Error("nothing was exported")
	}
}

// collector is a delivery that keeps what it is given, or fails at one of its steps.
type collector struct {
	bytes.Buffer
	closed, abandoned bool
	failWrite         bool
	failClose         bool
}

func (c *collector) Write(p []byte) (int, error) {
	if c.failWrite {
		return 0, errors.New("it hung up")
	}
	return c.Buffer.Write(p)
}

func (c *collector) Close() error {
	c.closed = true
	if c.failClose {
		return errors.New("it did not take all")
	}
	return nil
}

func (c *collector) Abandon() { c.abandoned = true }

// What has happened is forwarded once, in order and without a gap, however deliveries fail; and forwarding alone is no news.
func TestForwardingLeavesNothingOut(t *testing.T) {
	s, err := OpenState(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	happen := func() {
		t.Helper()
		if err := s.administered(t.Context(), audit.Administered{What: "test"}, "uid:1"); err != nil {
			t.Fatal(err)
		}
	}
	forward := func(c *collector) (*export.Export, error) {
		return s.Forward(t.Context(), export.Syslog, "uid:7", func(context.Context) (Delivery, error) { return c, nil })
	}
	happen()
	if _, err := s.Forward(t.Context(), export.Syslog, "uid:7", func(context.Context) (Delivery, error) { return nil, errors.New("no collector") }); err == nil {
		t.Error("forwarded to nobody")
	}
	if size, _ := s.log.Size(t.Context()); size != 1 {
		t.Errorf("the log tells of a delivery that never began: %d entries", size)
	}
	for _, c := range []*collector{{failWrite: true}, {failClose: true}} {
		if _, err := forward(c); err == nil {
			t.Error("a delivery that failed is taken")
		}
		if c.failWrite != c.abandoned || c.failClose != c.closed {
			t.Errorf("%+v", c)
		}
	}
	var last int64
	for round := range 3 {
		c := &collector{}
		x, err := forward(c)
		if err != nil || x == nil || x.From != last || !c.closed || strings.Count(c.String(), "\n") != int(x.To-x.From)+1 {
			t.Fatalf("round %d: %+v %v", round, x, err)
		}
		last = x.To
		if x, err := forward(&collector{}); x != nil || err != nil {
			t.Errorf("nothing happened, and it is forwarded: %+v %v", x, err)
		}
		happen()
	}
	unlock, err := s.lockForward()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := forward(&collector{}); !errors.Is(err, ErrState) {
		t.Errorf("two at a time: %v", err)
	}
	unlock()
	// What a collector has of another history stops it, and stays for the auditor.
	other, err := OpenState(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	signed, err := other.log.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.write(ForwardedName, []byte(signed), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := forward(&collector{}); err == nil {
		t.Error("another log's checkpoint is continued")
	}
}
