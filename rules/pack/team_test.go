package pack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The newest signed time that a station accepted is a floor under its clock.
func TestT14_ClockSetBackRevivesNothing(t *testing.T) {
	r := newRig(t)
	r.publish(1)
	forgotten := *r // a second machine of the publisher, which goes on from here by itself
	forgotten.dir = r.stick()
	forgotten.publish(3)
	for range 9 {
		forgotten.again() // high numbers, good for 30 days from today
	}
	r.now = today.Add(40 * daysOf)
	r.publish(2)
	s := r.store()
	must(t, install(s, r.dir, r.now))
	wantRefused(t, install(s, forgotten.dir, today.Add(daysOf)), Expired, "(timestamp) ran out on")
	wantInForce(t, s, 2)

	// A clock whose battery died takes new packs all the same, and does not take old ones for new.
	fresh := r.kiosk()
	must(t, install(fresh, r.dir, time.Unix(0, 0)))
	wantInForce(t, fresh, 2)
	wantRefused(t, install(fresh, forgotten.dir, time.Unix(0, 0)), Expired, "(timestamp) ran out on")
}

// The publisher's key is stolen. Root takes it away, and what the thief said with it is void: high numbers cannot lock
// kiosks out. The version of the pack still only grows.
func TestT14_StolenPublisherKeyIsReplaced(t *testing.T) {
	r := newRig(t)
	r.publish(1)
	r.publish(2)
	old := r.stick()
	s := r.store()
	evil := r.stick()
	r.craft(evil, func(c *crafted) {
		c.timestamp.Signed.Version, c.snapshot.Signed.Version = 1<<50, 1<<50
		c.timestamp.Signed.UnrecognizedFields = issuedAt(today.Add(79 * daysOf)) // as far ahead as the pack is good for
		c.timestamp.Signed.Expires, c.snapshot.Signed.Expires = today.Add(79*daysOf), today.Add(79*daysOf)
	})
	must(t, install(s, evil, today))
	r.publish(3)
	wantRefused(t, install(s, r.dir, today), Older, "older than what this station has seen")

	change := team()
	hugo := newPerson("hugo")
	change.Publisher = keysOf(hugo)
	must(t, Draft(r.dir, change, today))
	r.signDrafts(anna, cora)
	r.publisher = hugo
	r.publish(4)
	must(t, install(s, r.dir, today))
	wantInForce(t, s, 4)
	if floor, err := s.Floor(); err != nil || !floor.Equal(today) {
		t.Errorf("the thief's time is still a floor: %v, %v", floor, err)
	}
	for name, dir := range map[string]string{"the thief's": evil, "the old": old} {
		wantRefused(t, install(s, dir, today), NotSigned, "a key that may not sign this")
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

// One person alone, whatever that person holds, changes nothing that kiosks look for: not with a signature on a pack, not
// with a list of signers that needs only one, not as the publisher.
func TestT19_OnePersonAloneChangesNothing(t *testing.T) {
	r := newRig(t)
	r.publish(1)
	s := r.store()
	must(t, install(s, r.dir, today))
	for _, alone := range []person{anna, dora, gina} {
		r.signers = []person{alone}
		var refusal *Refusal
		if err := r.tryPublish(sources(2)); !errors.As(err, &refusal) || refusal.Reason != NotSigned {
			t.Errorf("%s published a pack alone: %v", alone.Name, err)
		}
		dir := r.stick()
		r.craft(dir, func(c *crafted) {
			c.rules.Signed.Version++
			c.by["rules"], c.by["targets"] = []person{alone}, []person{alone}
		})
		wantRefused(t, install(s, dir, today), NotSigned, "")
	}
	for name, change := range map[string]func(*Team){
		"root":  func(t *Team) { t.RootNeeds = 1 },
		"rules": func(t *Team) { t.RulesNeeds = 1 },
		"few":   func(t *Team) { t.Rules = t.Rules[:1] },
		"twice": func(t *Team) { t.Rules = append(t.Rules[:1:1], t.Rules[0]) },
		"under two names": func(t *Team) {
			t.Rules = append(t.Rules[:1:1], Key{"another", t.Rules[0].Public})
		},
	} {
		bad := team()
		change(&bad)
		if err := Draft(t.TempDir(), bad, today); err == nil {
			t.Errorf("%s: a repository that one person can fill alone", name)
		}
	}
	wantInForce(t, s, 1)
}

// A change of who may sign that still waits for signatures does not keep an urgent pack back.
func TestADraftThatWaitsDoesNotHoldUpAPack(t *testing.T) {
	r := newRig(t)
	r.publish(1)
	change := team()
	change.Rules = keysOf(dora, emil)
	must(t, Draft(r.dir, change, today))
	r.signDrafts(anna)
	r.publish(2)
	s := r.store()
	must(t, install(s, r.dir, today))
	wantInForce(t, s, 2)
	r.signDrafts(cora)
	r.publish(3)
	must(t, install(s, r.dir, today))
	if m, err := s.Meta(); err != nil || m.Version != 3 || m.Root != 2 {
		t.Errorf("version %d, root %d, %v", m.Version, m.Root, err)
	}
}

// A kiosk that was off for two years follows each change of who may sign.
func TestKioskFollowsEveryChangeOfTheTeam(t *testing.T) {
	r := newRig(t)
	r.publish(1)
	s := r.store()
	must(t, install(s, r.dir, today))
	people := []person{anna, bert, cora}
	for i := range 6 {
		next := newPerson(fmt.Sprintf("root %d", i))
		change := team()
		now := append([]person{next}, people[:2]...)
		change.Root = keysOf(now...)
		must(t, Draft(r.dir, change, r.now))
		r.signDrafts(people[0], people[1], next)
		people = now
		r.publish(uint64(2 + i))
	}
	must(t, install(s, r.dir, today))
	wantInForce(t, s, 7)
	if m, err := s.Meta(); err != nil || m.Root != 7 {
		t.Errorf("root %d, %v", m.Root, err)
	}
	again, err := Open(s.dir, r.root()) // still enrolled with the first one
	must(t, err)
	wantInForce(t, again, 7)

	// The administrator enrols the station anew, with the newest root file.
	newest, err := os.ReadFile(filepath.Join(r.dir, "metadata/7.root.json"))
	must(t, err)
	again, err = Open(s.dir, newest)
	must(t, err)
	wantInForce(t, again, 7)
	r.publish(8)
	must(t, install(again, r.dir, today))
	wantInForce(t, again, 8)
}

// A publication that breaks off after any file leaves a repository from which kiosks take the publication before.
func TestT23_PublicationThatBreaksOffLeavesTheOneBefore(t *testing.T) {
	r := newRig(t)
	r.publish(1)
	dir := r.stick() // as it was, and then file by file as it will be
	r.publish(2)
	order := []string{"targets/rules/*.core-2.pack", "metadata/2.rules.json", "metadata/2.snapshot.json", "metadata/timestamp.json"}
	for i, pattern := range order {
		from := theFile(r, r.dir, pattern)
		name, err := filepath.Rel(r.dir, from)
		must(t, err)
		if half, err := os.ReadFile(from); err != nil || os.WriteFile(filepath.Join(dir, name+".new"), half[:len(half)/2], 0o644) != nil {
			t.Fatal(name, err)
		}
		s := r.kiosk()
		must(t, install(s, dir, today)) // the half file beside it is nobody's
		wantInForce(t, s, 1)
		copyFile(r, from, filepath.Join(dir, name))
		s = r.kiosk()
		must(t, install(s, dir, today))
		wantInForce(t, s, uint64(1+i/(len(order)-1)))
	}
	if new, was := len(tree(t, r.dir)), len(tree(t, dir)); was != new+len(order) { // with the half files
		t.Errorf("the publication wrote %d files, the test knows of fewer: %d", new, was)
	}
}
