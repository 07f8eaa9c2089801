package main

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"pratique/kiosk"
	"pratique/kiosk/localapi"
	"pratique/rules/baseline"
)

// Two people are two users, as the kernel knows them: nothing that a client says of itself makes another person of it.
func TestT19_TwoUsersAgreeOnAnException(t *testing.T) {
	state, err := kiosk.OpenState(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	shipped, err := baseline.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var journal bytes.Buffer
	d := &daemon{state: state, log: slog.New(slog.NewTextHandler(&journal, nil))}
	d.packs.in = kiosk.InForce{Pack: shipped}
	anna, bert := localapi.Peer{UID: 1001, PID: 1}, localapi.Peer{UID: 1002, PID: 2}
	wish := localapi.Except{SHA256: strings.Repeat("ab", 32), Findings: []string{"yara/Some_Rule"}, Reason: "INC-4711"}
	x, err := d.propose(t.Context(), anna, wish)
	if err != nil || x.State != "proposed" || x.Rules.Name != shipped.Name {
		t.Fatalf("%+v %v", x, err)
	}
	refused := func(what string, err error) {
		t.Helper()
		var e *localapi.Error
		if !errors.As(err, &e) || e.Code != localapi.CodeExcept || e.Text == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
	again := anna
	again.PID, again.GID, again.Groups = 99, 4711, []uint32{1, 2, 3}
	_, err = d.confirm(t.Context(), again, x.ID)
	refused("the same user from another terminal", err)
	if x, err = d.confirm(t.Context(), bert, x.ID[:8]); err != nil || x.State != "in force" || x.Confirmer == x.Proposer {
		t.Fatalf("%+v %v", x, err)
	}
	secret := wish
	secret.Reason = "DOE^JOHN.dcm"
	_, err = d.propose(t.Context(), bert, secret)
	refused("a file's name for a reason", err)
	secret.Reason, secret.SHA256 = "drill", "/media/DOE^JOHN"
	_, err = d.propose(t.Context(), bert, secret)
	refused("a path", err)
	if x, err = d.remove(t.Context(), anna, x.ID); err != nil || x.State != "removed" {
		t.Fatalf("%+v %v", x, err)
	}
	_, err = d.confirm(t.Context(), bert, x.ID)
	refused("one that was removed", err)
	list, err := d.exceptions(t.Context(), localapi.MaxExceptions)
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v %v", list, err)
	}
	if text := journal.String(); strings.Contains(text, "JOHN") || strings.Count(text, "an exception was confirmed") != 1 || strings.Contains(text, wish.SHA256) {
		t.Errorf("the journal says\n%s", text)
	}
}
