package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"pratique/kiosk"
	"pratique/kiosk/audit"
	"pratique/kiosk/audit/export"
	"pratique/kiosk/localapi"
)

// An auditor takes the log out of a running station through its socket, in every form, and it proves itself; the log says who it
// was, as the kernel knows them.
func TestT21_ARunningStationIsExportedThroughItsSocket(t *testing.T) {
	d := newDesk(t, `"general"`)
	d.start()
	c := d.client()
	defer c.Close()
	d.plug("infected", "TESTPATIENT.img")
	d.until("scanned", in("", localapi.Decided))
	var first localapi.Exported
	for _, form := range export.Formats() {
		var out bytes.Buffer
		x, err := c.Export(t.Context(), localapi.Export{Form: form, Items: form == "jsonl"}, &out)
		if err != nil || x.Bytes != int64(out.Len()) || x.SHA256 != fmt.Sprintf("%x", sha256.Sum256(out.Bytes())) || x.To == 0 {
			t.Fatalf("%s: %d bytes, %+v %v", form, out.Len(), x, err)
		}
		if bytes.Contains(out.Bytes(), []byte("TESTPATIENT")) {
			t.Errorf("%s holds the name of a file", form)
		}
		if form == "jsonl" {
			first = x
			key, err := os.ReadFile(filepath.Join(d.state, "key", "log.pub"))
			if err != nil {
				t.Fatal(err)
			}
			verifier, err := note.NewVerifier(strings.TrimSpace(string(key)))
			if err != nil {
				t.Fatal(err)
			}
			res, err := audit.VerifyExport(&out, verifier.Name(), note.VerifierList(verifier))
			if err != nil || !res.Sound || res.Items == 0 || res.Entries != x.To {
				t.Errorf("%+v %v", res, err)
			}
		}
	}
	var out bytes.Buffer
	if x, err := c.Export(t.Context(), localapi.Export{Form: "csv", After: first.Checkpoint, Until: time.Now().Add(time.Hour).Unix()}, &out); err != nil || x.From != first.To {
		t.Errorf("%+v %v", x, err)
	}
	for _, bad := range []localapi.Export{{Form: "docx"}, {Form: "pdf", Items: true}, {Form: "csv", After: "no note"}, {Form: "csv", After: first.Checkpoint, Since: 7}} {
		var refused *localapi.Error
		if _, err := c.Export(t.Context(), bad, &out); !errors.As(err, &refused) || refused.Code != localapi.CodeExport {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	d.kill(syscall.SIGTERM)
	st, err := kiosk.OpenState(t.Context(), d.state)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	told := 0
	if err := st.Log(t.Context(), func(e audit.Entry) error {
		if x, ok := e.Data.(audit.Exported); ok && x.Person == st.Pseudonym(fmt.Sprintf("uid:%d", os.Getuid())) {
			told++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if told != len(export.Formats())+1 {
		t.Errorf("the log knows of %d exports by this user", told)
	}
}
