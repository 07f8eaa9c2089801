package kiosk

import (
	"context"
	"errors"

	"pratique/kiosk/audit"
	"pratique/kiosk/clearance"
	"pratique/kiosk/localapi"
)

// errEnough ends the reading of a log.
var errEnough = errors.New("enough")

// Sessions returns the latest sessions of the log, newest first, at most max of them. A session that began so long ago that
// the log was not read that far is left out.
func (s *State) Sessions(ctx context.Context, max int) ([]localapi.Session, error) {
	known := map[audit.ID]*localapi.Session{}
	out := []localapi.Session{}
	err := s.log.List(ctx, audit.ListOptions{Newest: true}, func(e audit.Entry) error {
		if e.Session == (audit.ID{}) {
			return nil
		}
		v := known[e.Session]
		if v == nil {
			v = &localapi.Session{ID: e.Session.String(), End: e.Kind.String(), Ended: localapi.Time(e.Time), Verdicts: []localapi.Verdict{}}
			known[e.Session] = v
		}
		switch d := e.Data.(type) {
		case audit.Attached:
			v.Attached, v.Port = localapi.Time(e.Time), string(d.Port)
			units := int(d.Units)
			if units == 0 {
				units = 1
			}
			v.Medium = localapi.Medium{Kind: d.Source.String(), Bytes: d.Bytes, Units: units, Vacant: int(d.Vacant), VID: d.VID, PID: d.PID}
			if out = append(out, *v); len(out) >= max {
				return errEnough
			}
		case audit.Decided:
			verdict := localapi.Verdict{Class: string(d.Class), Verdict: d.Verdict.String()}
			for _, r := range d.Reasons {
				verdict.Reasons = append(verdict.Reasons, string(r))
			}
			v.Verdicts = append([]localapi.Verdict{verdict}, v.Verdicts...)
		case audit.Issued:
			v.Code = clearance.Code(e.Session)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, logError(err)
	}
	return out, nil
}
