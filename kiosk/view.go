package kiosk

import (
	"cmp"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"time"

	"pratique/kiosk/audit"
	"pratique/kiosk/exception"
	"pratique/kiosk/localapi"
	"pratique/rules"
	"pratique/scanner/report"
)

// publish hands out the station's state. The lock is held. What is handed out is never changed: a port's view points only
// to what was made for it.
func (st *Station) publish() {
	s := localapi.State{Version: 1, Station: st.cfg.Name, Ready: st.ready, Problems: st.problems, Demo: st.cfg.State.Key().Demo,
		Rules: localapi.Rules{Name: st.cfg.Want.Pack.Name, Version: st.cfg.Want.Pack.Version}, Classes: slices.Sorted(maps.Keys(st.cfg.Want.Pack.Policies)), Staff: st.staff, Contact: st.cfg.Contact}
	for _, p := range st.ports {
		s.Ports = append(s.Ports, p.view)
	}
	st.cfg.Publish(s)
}

// progress shows how far the scan of a port is.
func (st *Station) progress(p *port, pr report.Progress) {
	st.change(p, func(v *localapi.Port) {
		seconds := time.Since(p.began).Seconds()
		view := localapi.Progress{Read: pr.Read, Total: max(pr.Total, pr.Read), Files: pr.Files, Seconds: int64(seconds), Left: -1}
		if seconds >= 1 && pr.Read > 0 { // in the first second nobody can know
			view.Left = int64(float64(view.Total-view.Read) / (float64(pr.Read) / seconds))
		}
		v.Progress = &view
	})
}

// show puts a verdict into a port's view.
func (se *session) show(v *localapi.Port, class string, d Decision) {
	findings := countFindings(&se.report, se.want.Pack.Policies[class], se.excepted)
	v.Class, v.Verdict, v.Reasons, v.Findings, v.Progress = class, d.Verdict.String(), reasonViews(d.Reasons), &findings, nil
	v.Found = foundViews(&se.report, se.want.Pack.Policies[class], se.excepted)
}

// answer is what a person is told.
func (se *session) answer(port, class string, d Decision) localapi.Answer {
	return localapi.Answer{Port: port, Session: audit.ID(se.id).String(), Class: class, Verdict: d.Verdict.String(),
		Reasons: reasonViews(d.Reasons), Findings: countFindings(&se.report, se.want.Pack.Policies[class], se.excepted)}
}

func reasonViews(reasons []Reason) []localapi.Reason {
	out := []localapi.Reason{}
	for _, r := range reasons[:min(len(reasons), localapi.MaxReasons)] {
		out = append(out, localapi.Reason{Code: string(r.Code), Text: r.Text})
	}
	return out
}

func countFindings(rep *report.Report, policy rules.Policy, except exception.Set) (n localapi.Findings) {
	count := func(it *report.Item, f report.Finding) {
		s, by := severity(policy, except, it, f)
		if by != nil {
			n.Excepted++
		}
		switch s {
		case report.Inform:
			n.Inform++
		case report.Warn:
			n.Warn++
		default:
			n.Block++
		}
	}
	for i := range rep.NotClean {
		for _, f := range rep.NotClean[i].Findings {
			count(&rep.NotClean[i], f)
		}
	}
	for i := range rep.Found {
		count(&report.Item{}, rep.Found[i].Finding)
	}
	return n
}

// foundViews sorts findings by kind, worst first, so that the screen can say each in plain words. No kind names anything on
// the medium.
func foundViews(rep *report.Report, policy rules.Policy, except exception.Set) []localapi.Found {
	type kind struct {
		check    report.Check
		rule     string
		severity report.Severity
	}
	counts := map[kind]uint64{}
	count := func(it *report.Item, f report.Finding) {
		s, _ := severity(policy, except, it, f)
		counts[kind{f.Check, f.Rule, s}]++
	}
	for i := range rep.NotClean {
		for _, f := range rep.NotClean[i].Findings {
			count(&rep.NotClean[i], f)
		}
	}
	for i := range rep.Found {
		count(&report.Item{}, rep.Found[i].Finding)
	}
	kinds := slices.SortedFunc(maps.Keys(counts), func(a, b kind) int {
		return cmp.Or(cmp.Compare(a.severity, b.severity), cmp.Compare(counts[b], counts[a]), cmp.Compare(a.check, b.check), cmp.Compare(a.rule, b.rule))
	})
	out := []localapi.Found{}
	for _, k := range kinds[:min(len(kinds), localapi.MaxFound)] {
		out = append(out, localapi.Found{Check: k.check.String(), Rule: k.rule, Severity: k.severity.String(), Count: counts[k]})
	}
	return out
}

func clearanceView(c *Clearance) *localapi.Clearance {
	v := &localapi.Clearance{ID: hex.EncodeToString(c.ID[:]), Code: c.Code, Class: c.Claims.Audience[0], QR: c.QR,
		Expires: localapi.Time(c.Expires), LogIndex: c.LogIndex, LogHead: c.LogHead}
	if o := c.Claims.Override; o != nil {
		v.Override = o.Reason
	}
	return v
}

// failureWord is the word that the log has for a failure of the kiosk.
func failureWord(cause error) audit.Word {
	switch {
	case errors.Is(cause, ErrWorkers):
		return "workers"
	case errors.Is(cause, ErrRules):
		return "rules"
	case errors.Is(cause, ErrCanary):
		return "canary"
	}
	return "state"
}
