package kiosk

import (
	"context"

	"pratique/kiosk/audit"
	"pratique/kiosk/localapi"
	"pratique/scanner/report"
)

// open is the job that opens a medium and begins its session.
func (st *Station) open(ctx context.Context, p *port, plugged Plugged) event {
	m, tools, want, err := st.openReady(ctx, plugged)
	if err != nil {
		return st.broken(ctx, p, nil, err)
	}
	want.Progress = func(pr report.Progress) { st.progress(p, pr) }
	logging, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	se, err := st.cfg.State.attach(logging, m, tools, want, p.ID)
	if err != nil {
		m.Close()
		tools.close()
		return st.broken(ctx, p, nil, err)
	}
	st.hold(p, se)
	st.change(p, func(v *localapi.Port) {
		v.Session = audit.ID(se.id).String()
		v.Medium = &localapi.Medium{Kind: m.Kind, Bytes: m.size(), Units: max(len(m.Units), 1), Vacant: m.vacant(), VID: m.VID, PID: m.PID}
	})
	return opened
}

// openReady opens a medium and makes the rules ready meanwhile: neither needs the other, and somebody waits for both. If the pack
// was changed until the medium was open, the new one counts.
func (st *Station) openReady(ctx context.Context, plugged Plugged) (m *Medium, t tools, want Screening, err error) {
	want = st.wanted()
	preparing, cancel := context.WithCancel(ctx)
	defer cancel()
	var unprepared error
	prepared := make(chan struct{})
	go func() {
		defer close(prepared)
		t, unprepared = st.cfg.State.prepare(preparing, want)
	}()
	m, err = plugged.Open(ctx)
	now := st.wanted()
	changed := now.Pack.InForce() != want.Pack.InForce()
	if err != nil || changed {
		cancel()
	}
	<-prepared
	if err == nil && changed {
		t.close()
		t, unprepared = st.cfg.State.prepare(ctx, now)
	}
	if err == nil && unprepared != nil {
		m.Close()
		err = unprepared
	}
	if err != nil {
		t.close()
		return nil, tools{}, Screening{}, err
	}
	return m, t, now, nil
}
