package kiosk

import (
	"context"
	"slices"
	"strings"
	"testing"

	"pratique/kiosk/audit"
	"pratique/kiosk/localapi"
	"pratique/rules"
)

// newer is the shipped pack with a higher version, and hashes that it knows.
func newer(t *testing.T, hashes ...string) rules.Pack {
	t.Helper()
	p := pack(t)
	p.Version += 10
	p.Digest[0] ^= 1
	if len(hashes) > 0 {
		p.Lists = append(slices.Clone(p.Lists), []byte(strings.Join(hashes, "\n")))
	}
	return p
}

func (d *desk) swap(p rules.Pack) {
	d.t.Helper()
	res, err := d.cfg.State.Canary(d.t.Context(), Screening{Pack: p, Workers: built.bin}, true)
	if err != nil || !res.Passed() {
		d.t.Fatalf("%+v %v", res, err)
	}
	if err := d.SetPack(p, res); err != nil {
		d.t.Fatal(err)
	}
}

func TestASessionEndsWithTheRulesThatItBeganWith(t *testing.T) {
	d := newDesk(t, nil)
	// The left medium was scanned, and the right one is being opened, when the pack changes.
	opened, goOn := make(chan struct{}), make(chan struct{})
	d.plug("left", image("clean"))
	d.untilState("left", localapi.Waiting)
	d.plug("right", Plugged{Open: func(ctx context.Context) (*Medium, error) {
		close(opened)
		<-goOn
		return image("clean").Open(ctx)
	}})
	<-opened
	d.swap(newer(t))
	close(goOn)
	d.untilState("right", localapi.Waiting)
	want := map[string]uint64{"left": pack(t).Version, "right": newer(t).Version}
	canaries := map[string]string{"left": "none", "right": "passed"}
	for port, version := range want {
		a, err := d.Issue(t.Context(), port, "general", anybody)
		if err != nil || a.Clearance == nil {
			t.Fatalf("%s: %+v %v", port, a, err)
		}
		c, err := d.cfg.State.Clearance(a.Clearance.ID)
		if err != nil || c.Claims.Rules.Version != version || c.Claims.Canary != canaries[port] {
			t.Errorf("%s: %+v %v", port, c.Claims, err)
		}
	}
	d.Stop()
	kinds(t, d.dir)
}

func TestWhatTheNewRulesKnowIsNotClearedByTheOldOnes(t *testing.T) {
	d := newDesk(t, nil)
	d.plug("left", image("clean"))
	d.untilState("left", localapi.Waiting)
	d.mu.Lock()
	session := d.last.Ports[0].Session
	d.mu.Unlock()
	var sums []string
	err := d.cfg.State.Log(t.Context(), func(e audit.Entry) error {
		if e.Session.String() != session || e.Kind != audit.KindAttached {
			return nil
		}
		return d.cfg.State.log.ListItems(t.Context(), e.Session, func(it audit.Item) error {
			if it.Kind == "file" && it.Size > 0 {
				sums = append(sums, it.SHA256.String())
			}
			return nil
		})
	})
	if err != nil || len(sums) == 0 {
		t.Fatal(sums, err)
	}
	d.swap(newer(t, sums[0]))
	if a, err := d.Issue(t.Context(), "left", "general", anybody); code(err) != localapi.CodeRemoved || a.Clearance != nil {
		t.Fatalf("%+v %v", a, err)
	}
	d.unplug("left")
	d.untilState("left", localapi.Idle)
	d.plug("left", image("clean"))
	if p := d.untilState("left", localapi.Decided, localapi.Waiting); p.Verdict != "not cleared" {
		t.Errorf("%+v", p)
	}
	d.Stop()
	_, verdicts := kinds(t, d.dir)
	if !slices.Contains(verdicts, "general: not cleared") {
		t.Error(verdicts)
	}
}

func TestT15_WhileTheCanaryIsNotFoundNothingIsIssued(t *testing.T) {
	d := newDesk(t, nil)
	d.plug("left", image("clean"))
	d.untilState("left", localapi.Waiting)
	d.SetProblems(false, []localapi.Problem{{Code: "canary", Text: "The scanner does not find what it must find."}})
	if a, err := d.Issue(t.Context(), "left", "general", anybody); code(err) != localapi.CodeNotReady || a.Clearance != nil {
		t.Fatalf("%+v %v", a, err)
	}
	d.SetProblems(true, nil)
	if a, err := d.Issue(t.Context(), "left", "general", anybody); err != nil || a.Clearance == nil {
		t.Fatalf("%+v %v", a, err)
	}
}

func TestAPackWithoutTheStationsClassIsNotTaken(t *testing.T) {
	d := newDesk(t, nil)
	p := newer(t)
	p.Policies = map[string]rules.Policy{"kitchen": p.Policies["general"]}
	if err := d.SetPack(p, CanaryResult{}); err == nil {
		t.Fatal("it was taken")
	}
	if d.wanted().Pack.Digest != pack(t).Digest {
		t.Error("the pack is another one")
	}
}
