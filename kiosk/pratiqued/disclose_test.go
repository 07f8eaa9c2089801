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
