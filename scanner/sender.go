package scanner

import (
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"pratique/scanner/frame"
	"pratique/scanner/report"
)

// Sender is the scanner's end of the report pipe. It counts what it sends as the receiver will count it. It is safe for
// concurrent use; the order of items is the callers' matter.
type Sender struct {
	mu     sync.Mutex
	out    *frame.Writer
	digest *report.Digester
	tally  report.Tally
	items  uint64
	err    error
}

// NewSender returns a Sender that writes to w.
func NewSender(w io.Writer) *Sender {
	return &Sender{out: frame.NewWriter(w), digest: report.NewDigester()}
}

// Send sends one message. Items and the like wait in the buffer until something that a person or the supervisor waits for
// is sent. After an error every later Send returns it: a stream with a hole would not be believed.
func (s *Sender) Send(m report.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = s.send(m)
	}
	return s.err
}

func (s *Sender) send(m report.Message) error {
	tidy(&m)
	if err := s.out.Write(m); err != nil {
		return err
	}
	switch {
	case m.Region != nil:
		s.tally.CountRegion()
	case m.Finding != nil:
		s.tally.CountFinding()
	case m.Ready != nil, m.Progress != nil, m.Slot != nil, m.Done != nil:
		return s.out.Flush()
	}
	return nil
}

// item sends one item and counts it.
func (s *Sender) item(it *report.Item) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	for i := range it.Findings {
		tidyFinding(&it.Findings[i])
	}
	m := report.ItemMessage(it)
	if s.err = s.digest.Add(m); s.err == nil {
		s.err = s.out.Write(m)
	}
	s.items++
	s.tally.Count(it)
	return s.err
}

// sent is how many items were sent.
func (s *Sender) sent() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.items
}

// finish sends the last message, with the counts of what was sent.
func (s *Sender) finish(done report.Done) error {
	s.mu.Lock()
	done.Tally, done.Digest = s.tally, s.digest.Sum()
	s.mu.Unlock()
	return s.Send(report.Message{Done: &done})
}

// tidy cuts texts to their limits. They are the program's own words, but a reader may have put a number of surprising
// length into them, and one sentence too long must not make the whole stream invalid.
func tidy(m *report.Message) {
	switch {
	case m.Volume != nil:
		v := *m.Volume
		v.Reason = cut(v.Reason, report.MaxText)
		m.Volume = &v
	case m.Region != nil:
		r := *m.Region
		r.What = cut(r.What, report.MaxText)
		m.Region = &r
	case m.Finding != nil:
		f := *m.Finding
		tidyFinding(&f.Finding)
		m.Finding = &f
	case m.Done != nil:
		m.Done.Halted = cut(m.Done.Halted, report.MaxText)
	}
}

func tidyFinding(f *report.Finding) {
	f.Rule, f.Text = cut(f.Rule, report.MaxText), cut(f.Text, report.MaxText)
}

// cut shortens text to at most n bytes of valid UTF-8: anything else is not valid CBOR text.
func cut(text string, n int) string {
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "\uFFFD")
	}
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
