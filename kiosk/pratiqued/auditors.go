package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"pratique/kiosk"
	"pratique/kiosk/audit"
	"pratique/kiosk/localapi"
)

// disclose passes on that a person asks for names. Who it is, the kernel says.
func (d *daemon) disclose(ctx context.Context, peer localapi.Peer, roles localapi.Roles, what localapi.Disclose) ([]byte, error) {
	who := kiosk.Asker{Person: fmt.Sprintf("uid:%d", peer.UID), Auditor: roles&localapi.RoleAudit != 0}
	names, err := d.state.Disclose(ctx, kiosk.Subject{Session: what.Session, Entry: what.Entry}, audit.Word(what.Reason), who)
	switch {
	case errors.Is(err, kiosk.ErrDisclosure), errors.Is(err, kiosk.ErrNoSession):
		return nil, &localapi.Error{Code: localapi.CodeDenied, Text: sentence(err.Error()) + "."}
	case err != nil || names == nil:
		return nil, err
	}
	d.log.Warn("names were disclosed", "by", who.Person)
	return namesJSON(names)
}

// namesJSON leaves items out until the rest fits into a message.
func namesJSON(names *audit.Disclosure) ([]byte, error) {
	out := struct {
		*audit.Disclosure
		LeftOut int `json:"left_out,omitempty"`
	}{Disclosure: names}
	for {
		text, err := json.Marshal(out)
		if err != nil || len(text) <= localapi.MaxNames {
			return text, err
		}
		if len(names.Items) == 0 {
			return nil, errors.New("the names of one session's entries do not fit into a message")
		}
		keep := len(names.Items) / 2
		out.LeftOut += len(names.Items) - keep
		names.Items = names.Items[:keep]
	}
}

// search looks in the log for an auditor.
func (d *daemon) search(ctx context.Context, what localapi.Search) (found []byte, more bool, err error) {
	matches, err := d.state.Find(ctx, what)
	if errors.Is(err, kiosk.ErrQuery) || errors.Is(err, kiosk.ErrNoSession) {
		return nil, false, &localapi.Error{Code: localapi.CodeRequest, Text: sentence(err.Error()) + "."}
	}
	if err != nil {
		return nil, false, err
	}
	return kiosk.EncodeMatches(matches, localapi.MaxNames)
}
