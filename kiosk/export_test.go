package kiosk

import (
	"bytes"
	"errors"
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
