package kiosk

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pratique/kiosk/localapi"
	rulepack "pratique/rules/pack"
	"pratique/scanner/carry"
	"pratique/testdata/stick"
)

// stationWith is a desk whose station is the team's.
func stationWith(x *team) *desk {
	x.install()
	d := newDesk(x.t, func(c *StationConfig) { c.State, c.Want.Pack = x.s, x.inForce().Pack })
	d.dir = x.dir
	return d
}

// try is what a daemon does with what was carried off.
func (x *team) try(d *desk) func(context.Context, Offer) (localapi.Pack, error) {
	return func(ctx context.Context, o Offer) (localapi.Pack, error) {
		cfg := x.cfg
		cfg.Swap = func(_ context.Context, in InForce) error { return d.SetPack(in.Pack, CanaryResult{}) }
		in, recalls, err := x.s.InstallOffer(ctx, o, cfg)
		var refused *PackRefused
		if errors.As(err, &refused) {
			err = &localapi.Error{Code: localapi.CodePack, Text: refused.Error()}
		}
		return localapi.Pack{Name: in.Name, Version: in.Version, Recalled: uint64(len(recalls))}, err
	}
}

func imageAt(path string) Plugged {
	return Plugged{Open: func(context.Context) (*Medium, error) { return OpenMedium(path) }}
}

func said(err error) string {
	var e *localapi.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return "no word"
}

func TestAStickWithAPackIsScreenedReadAndNotCleared(t *testing.T) {
	x := newTeam(t)
	d := stationWith(x)
	x.publish(2, nil)
	d.plug("left", imageAt(fatStick(t, x.stick()))) // who asks at once waits for the scan
	done, err := d.Install(t.Context(), "left", x.try(d))
	if err != nil || done.Version != 2 {
		t.Fatalf("%+v %v", done, err)
	}
	p := d.untilState("left", localapi.Removed)
	if p.Pack == nil || p.Pack.Version != 2 || p.Clearance != nil || p.Refusal != nil || d.last.Rules.Version != 2 {
		t.Errorf("%+v", p)
	}
	if want := []string{"idle", "attached", "scanning", "decided", "installing", "leaving", "removed"}; !slices.Equal(d.trail["left"], want) {
		t.Errorf("%v", d.trail["left"])
	}
	if _, err := d.Issue(t.Context(), "left", "general", anybody); said(err) != localapi.CodeNoMedium {
		t.Errorf("a clearance for it: %v", err)
	}
	if _, err := d.Install(t.Context(), "left", x.try(d)); said(err) != localapi.CodeNoMedium {
		t.Errorf("once more: %v", err)
	}
	// A stick without one, and one that is not in any port.
	d.plug("left", image("clean"))
	if _, err := d.Install(t.Context(), "left", x.try(d)); said(err) != localapi.CodePack || !strings.Contains(err.Error(), "There is no rule pack on the medium") {
		t.Errorf("a stick without a pack: %v", err)
	}
	if p := d.untilState("left", localapi.Removed); p.Refusal == nil || p.Refusal.Code != localapi.CodePack || p.Pack != nil {
		t.Errorf("%+v", p)
	}
	if _, err := d.Install(t.Context(), "right", x.try(d)); said(err) != localapi.CodeNoMedium {
		t.Errorf("an empty port: %v", err)
	}
	if _, err := d.Install(t.Context(), "nowhere", x.try(d)); said(err) != localapi.CodePort {
		t.Errorf("no port: %v", err)
	}
	d.Stop()
	want := []string{"pack", "attached", "decided", "pack", "removed", "attached", "decided", "pack", "removed"}
	if kinds := x.sound(); !slices.Equal(kinds, want) {
		t.Error(kinds)
	}
}

// While a pack is read nobody gets a clearance for the medium, nor a second reading.
func TestWhileAPackIsTriedTheMediumIsTaken(t *testing.T) {
	x := newTeam(t)
	d := stationWith(x)
	d.plug("left", imageAt(fatStick(t, x.stick())))
	d.untilState("left", localapi.Decided) // it matches the rules that it holds
	begun, goOn := make(chan bool), make(chan bool)
	over := make(chan error)
	go func() {
		_, err := d.Install(context.WithoutCancel(t.Context()), "left", func(_ context.Context, o Offer) (localapi.Pack, error) {
			begun <- true
			<-goOn
			// It is not needed any more: what was carried off is here.
			if _, err := os.Stat(filepath.Join(o.Folder, "metadata/timestamp.json")); err != nil {
				t.Error(err)
			}
			return localapi.Pack{Version: 7}, nil
		})
		over <- err
	}()
	<-begun
	d.untilState("left", localapi.Installing)
	if _, err := d.Issue(t.Context(), "left", "general", anybody); said(err) != localapi.CodeBusy {
		t.Errorf("a clearance: %v", err)
	}
	if _, err := d.Install(t.Context(), "left", x.try(d)); said(err) != localapi.CodeBusy {
		t.Errorf("a second reading: %v", err)
	}
	d.unplug("left")
	d.untilState("left", localapi.Leaving)
	close(goOn)
	if err := <-over; err != nil {
		t.Error(err)
	}
	d.untilState("left", localapi.Idle)
	d.Stop()
	if left, err := filepath.Glob(filepath.Join(x.dir, "sessions", "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	x.sound()
}

func TestT29_AStickThatIsPulledInMidCopyLeavesThePackInForce(t *testing.T) {
	x := newTeam(t)
	d := stationWith(x)
	f := newImage(t, 640<<20)
	large := stick.File{Path: rulepack.StickFolder + "/targets/rules/large.pack", Size: 600 << 20}
	if _, err := stick.WriteExFAT(f, stick.ExFAT{Bytes: 640 << 20}, append(x.stick(), large)); err != nil {
		t.Fatal(err)
	}
	d.plug("left", imageAt(f.Name()))
	d.untilState("left", localapi.Decided) // it matches the rules that it holds
	over := make(chan error)
	go func() {
		_, err := d.Install(context.WithoutCancel(t.Context()), "left", func(context.Context, Offer) (localapi.Pack, error) {
			t.Error("half a pack is tried")
			return localapi.Pack{}, nil
		})
		over <- err
	}()
	d.until("left", "being copied", func(p localapi.Port) bool {
		copied, err := filepath.Glob(filepath.Join(x.dir, "sessions", "*.pack", "*", "targets", "rules", "large.pack"))
		return err == nil && len(copied) == 1 && p.State == localapi.Installing
	})
	d.unplug("left")
	if err := <-over; said(err) != localapi.CodeRemoved {
		t.Errorf("%v", err)
	}
	d.untilState("left", localapi.Idle)
	d.Stop()
	if left, err := filepath.Glob(filepath.Join(x.dir, "sessions", "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if in := x.inForce(); in.Version != 1 {
		t.Errorf("version %d is in force", in.Version)
	}
	if kinds := x.sound(); !slices.Equal(kinds, []string{"pack", "attached", "decided", "removed"}) {
		t.Error(kinds)
	}
}

// A medium whose files serve one reading is opened again, and one that is another by then is refused.
func TestT04_AStickThatIsAnotherWhenItIsReadAgainIsRefused(t *testing.T) {
	x := newTeam(t)
	d := stationWith(x)
	x.publish(2, nil)
	good := fatStick(t, x.stick())
	opened := 0
	source := func(change func(*Medium)) Plugged {
		opened = 0
		return Plugged{Open: func(context.Context) (*Medium, error) {
			m, err := OpenMedium(good)
			if opened++; err == nil {
				m.Once = true
				if opened > 1 {
					change(m)
				}
			}
			return m, err
		}}
	}
	for name, change := range map[string]func(*Medium){
		"another size":   func(m *Medium) { m.Units[0].Bytes -= 512 },
		"another serial": func(m *Medium) { m.Serial = "2" },
		"another maker":  func(m *Medium) { m.VID = 2 },
		"a second unit":  func(m *Medium) { m.Units = append(m.Units, Unit{}) },
	} {
		d.plug("left", source(change))
		if _, err := d.Install(t.Context(), "left", x.try(d)); said(err) != localapi.CodePack || !strings.Contains(err.Error(), "is not the one that was screened") {
			t.Errorf("%s: %v", name, err)
		}
		d.untilState("left", localapi.Removed)
	}
	// One that shows other bytes in the second reading is held to what was signed.
	other := fatStick(t, filesOf(t, changed(t, x.Dir)))
	d.plug("left", source(func(m *Medium) {
		o, err := OpenMedium(other)
		if err == nil {
			m.Units[0].File.Close()
			m.Units = o.Units
		}
	}))
	if _, err := d.Install(t.Context(), "left", x.try(d)); said(err) != localapi.CodePack || !strings.Contains(err.Error(), "the pack is not the one that was signed") {
		t.Errorf("other bytes: %v", err)
	}
	d.plug("left", source(func(*Medium) {}))
	if done, err := d.Install(t.Context(), "left", x.try(d)); err != nil || done.Version != 2 || opened != 2 {
		t.Errorf("the same: %+v %v, opened %d times", done, err, opened)
	}
	d.Stop()
	x.sound()
}

// A crash while a pack lies in the session's folder leaves nothing that the next start does not remove.
func TestT23_ACrashWhileAPackIsCarriedOffIsRepaired(t *testing.T) {
	x := newTeam(t)
	m, err := OpenMedium(fatStick(t, x.stick()))
	if err != nil {
		t.Fatal(err)
	}
	se, err := x.s.attach(t.Context(), m, tools{}, x.cfg.Want, "")
	if err != nil {
		t.Fatal(err)
	}
	o, _, err := se.carry(t.Context())
	if err != nil || o.refused != nil {
		t.Fatalf("%+v %v", o, err)
	}
	other := openState(t, x.dir) // while the session lives nobody takes it away
	if _, err := os.Stat(filepath.Join(o.Folder, "metadata")); err != nil {
		t.Fatal(err)
	}
	other.Close()
	se.end(false) // the process is gone
	se.release()
	openState(t, x.dir)
	if left, err := filepath.Glob(filepath.Join(x.dir, "sessions", "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if kinds := x.sound(); !slices.Equal(kinds, []string{"attached", "aborted"}) {
		t.Error(kinds)
	}
}

// Every unit counts: a card reader with two cards may have a pack on one of them.
func TestAPackOnOneUnitOfSeveral(t *testing.T) {
	x := newTeam(t)
	good, clean := fatStick(t, x.stick()), filepath.Join(built.sticks, "clean.img")
	unit := func(name string) Unit {
		m, err := OpenMedium(name)
		if err != nil {
			t.Fatal(err)
		}
		return m.Units[0]
	}
	for _, test := range []struct {
		name  string
		units []Unit
		code  carry.Code
	}{
		{"beside an empty one", []Unit{{}, unit(good)}, ""},
		{"beside another", []Unit{unit(clean), unit(good)}, ""},
		{"on two", []Unit{unit(good), unit(good)}, carry.Several},
		{"on none", []Unit{unit(clean), {}}, carry.None},
	} {
		se, err := x.s.attach(t.Context(), &Medium{Kind: "image", Units: test.units}, tools{}, x.cfg.Want, "")
		if err != nil {
			t.Fatal(err)
		}
		o, done, err := se.carry(t.Context())
		if err != nil || (test.code == "") != (o.refused == nil) || o.refused != nil && o.refused.Code != string(test.code) {
			t.Errorf("%s: %+v %v", test.name, o.refused, err)
		}
		done()
		if err := se.close(t.Context(), true); err != nil {
			t.Fatal(err)
		}
	}
	x.sound()
}
