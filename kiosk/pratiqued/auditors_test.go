package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pratique/kiosk"
	"pratique/kiosk/audit"
	"pratique/kiosk/localapi"
)

func TestT21_ARunningStationShowsNamesToTwoPersonsOnly(t *testing.T) {
	d := newDesk(t, `"general"`)
	d.start()
	c := d.client()
	defer c.Close()
	d.plug("infected", "a.img")
	port := d.until("scanned", in("", localapi.Decided))
	what := localapi.Disclose{Session: port.Session, Entry: -1, Reason: "drill"}
	for range 2 {
		if names, err := c.Disclose(t.Context(), what); err != nil || names != nil {
			t.Fatalf("one person was shown %s: %v", names, err)
		}
	}
	var refused *localapi.Error
	if _, err := c.Disclose(t.Context(), localapi.Disclose{Session: "0123", Entry: -1, Reason: "drill"}); !errors.As(err, &refused) || refused.Code != localapi.CodeDenied {
		t.Errorf("a session that never was: %v", err)
	}
	st, err := kiosk.OpenState(t.Context(), d.state)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if d, err := st.Disclose(t.Context(), kiosk.Subject{Session: port.Session}, "drill", kiosk.Asker{Person: "uid:4711"}); err != nil || d == nil || len(d.Items) == 0 {
		t.Fatalf("%+v %v", d, err)
	}
	// The other way round: the daemon answers the second.
	if d, err := st.Disclose(t.Context(), kiosk.Subject{Session: port.Session}, "drill", kiosk.Asker{Person: "uid:4711"}); err != nil || d != nil {
		t.Fatalf("%+v %v", d, err)
	}
	names, err := c.Disclose(t.Context(), what)
	var got audit.Disclosure
	if err != nil || json.Unmarshal(names, &got) != nil || len(got.Items) == 0 {
		t.Fatalf("%s %v", names, err)
	}
	if path := got.Items[0].Item.Path; path == "" || strings.Contains(d.stderr.String(), path) {
		t.Errorf("the journal holds %q", path)
	}
}

func TestAuditorsSearchTheLogOfARunningStation(t *testing.T) {
	d := newDesk(t, `"general"`)
	d.start()
	c := d.client()
	defer c.Close()
	d.plug("infected", "a.img")
	port := d.until("scanned", in("", localapi.Decided))
	text, more, err := c.Search(t.Context(), localapi.Search{Verdict: "not cleared", Max: 10})
	if err != nil || more {
		t.Fatal(more, err)
	}
	found, err := kiosk.DecodeMatches(text)
	if err != nil || len(found) != 1 || found[0].Session.String() != port.Session || len(found[0].Entries) != 2 {
		t.Fatalf("%+v %v", found, err)
	}
	text, _, err = c.Search(t.Context(), localapi.Search{Session: port.Session[:8]})
	if err != nil {
		t.Fatal(err)
	}
	if found, err = kiosk.DecodeMatches(text); err != nil || len(found) != 1 || found[0].Entries[1].Kind != audit.KindDecided {
		t.Errorf("%+v %v", found, err)
	}
	var refused *localapi.Error
	for _, bad := range []localapi.Search{{Verdict: "maybe"}, {Since: "yesterday"}, {SHA256: "12"}, {Kind: "shouted"}, {Session: "0123456"}} {
		if _, _, err := c.Search(t.Context(), bad); !errors.As(err, &refused) || refused.Code != localapi.CodeRequest {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	st, err := kiosk.OpenState(t.Context(), d.state)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	read, err := st.Find(t.Context(), localapi.Search{Kind: "read"})
	if err != nil || len(read) != 2 {
		t.Errorf("%d reads in the log, %v", len(read), err)
	}
	for limit := range 600 {
		text, more, err := kiosk.EncodeMatches(append(read, read...), limit+2)
		back, decodeErr := kiosk.DecodeMatches(text)
		if err != nil || decodeErr != nil || len(text) > limit+2 || more != (len(back) < 4) {
			t.Fatalf("%d bytes in %d: %v %v %v", len(text), limit, more, err, decodeErr)
		}
	}
}

func TestADisclosureThatIsTooLongSaysWhatIsLeftOut(t *testing.T) {
	d := &audit.Disclosure{}
	for i := range 5_000 {
		d.Items = append(d.Items, audit.DisclosedItem{Row: int64(i), Item: audit.NamedItem{Path: fmt.Sprintf("%0100d", i)}})
	}
	text, err := namesJSON(d)
	if err != nil || len(text) > localapi.MaxNames || !bytes.Contains(text, []byte(`"left_out":`)) {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}
