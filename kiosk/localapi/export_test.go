package localapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// An export comes whole and in order, in as many messages as it takes, and one that breaks off is an error.
func TestExportsComeWholeOrAreAnError(t *testing.T) {
	long := bytes.Repeat([]byte("a line of an export\n"), 20_000)
	for name, tt := range map[string]struct {
		write []byte
		err   error
	}{
		"nothing": {nil, nil}, "short": {[]byte("x"), nil}, "long": {long, nil}, "breaks off": {long, errors.New("the log is gone")},
	} {
		var asked Export
		r := newRig(t, Handler{Roles: func(Peer) Roles { return RoleAudit | RoleAdmin }, Export: func(_ context.Context, _ Peer, what Export, to io.Writer) (Exported, error) {
			asked = what
			if _, err := to.Write(tt.write); err != nil {
				return Exported{}, err
			}
			return Exported{From: 3, To: 9, Bytes: int64(len(tt.write)), Checkpoint: "note"}, tt.err
		}}, nil)
		want := Export{Form: "jsonl", Since: 7, Until: 9, After: strings.Repeat("c", maxAfter), Items: true}
		var out bytes.Buffer
		c := r.dial(t)
		done, err := c.Export(t.Context(), want, &out)
		if (err == nil) != (tt.err == nil) || !bytes.Equal(out.Bytes(), tt.write) || asked != want {
			t.Errorf("%s: %d bytes, %+v %v", name, out.Len(), asked, err)
		}
		if err == nil && (done.To != 9 || done.Bytes != int64(out.Len())) {
			t.Errorf("%s: %+v", name, done)
		}
		if _, err := c.Status(t.Context()); err != nil {
			t.Errorf("%s: the connection is of no use any more: %v", name, err)
		}
	}
	since, until := (&Export{Since: 1}).Period()
	if !since.Equal(time.Unix(1, 0)) || !until.IsZero() {
		t.Errorf("%v to %v", since, until)
	}
	for _, bad := range []Export{{}, {Form: strings.Repeat("x", maxWord+1)}, {Form: "csv", Since: -1}, {Form: "csv", After: strings.Repeat("x", maxAfter+1)}} {
		if bad.check() == nil || (&Request{Verb: VerbExport, Export: &bad}).check() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	if (&Request{Verb: VerbStatus, Export: &Export{Form: "csv"}}).check() == nil || (&Request{Verb: VerbExport}).check() == nil {
		t.Error("a field too many or too few is taken")
	}
}
