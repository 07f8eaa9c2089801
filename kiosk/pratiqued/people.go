package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/user"
	"strconv"
	"sync"
	"time"

	"pratique/kiosk"
	"pratique/kiosk/localapi"
	"pratique/kiosk/staff"
)

// groups are the Unix groups that give a role.
var groups = map[string]localapi.Roles{
	"pratique-security": localapi.RoleSecurity,
	"pratique-audit":    localapi.RoleAudit,
	"pratique-admin":    localapi.RoleAdmin,
	"pratique-ui":       localapi.RoleScreen,
}

// people says who a client is and what they may do. The roster is read again when its file has changed. A station that belongs to
// a site takes the roster that the site signed, and no file of the configuration.
type people struct {
	path   string // of the unsigned roster; empty if there is none
	state  *kiosk.State
	log    *slog.Logger
	gids   map[uint32]localapi.Roles
	mu     sync.Mutex
	stamp  string
	roster staff.Roster
	key    staff.Key
	err    error
	site   bool // the roster is the site's
}

func newPeople(roster string, state *kiosk.State, log *slog.Logger) *people {
	p := &people{path: roster, state: state, log: log, gids: map[uint32]localapi.Roles{}}
	for name, role := range groups {
		g, err := user.LookupGroup(name)
		if err != nil {
			continue // a group that is not there gives nobody anything
		}
		if gid, err := strconv.ParseUint(g.Gid, 10, 32); err == nil {
			p.gids[uint32(gid)] |= role
		}
	}
	return p
}

// roles is what a client may do. Root and the station's own user hold the state folder anyway, so they may look after it and
// read it; that lets neither of them have a clearance. On a desk, where the daemon's user is a person and the station is a
// demonstration, that person's window may be the screen.
func (p *people) roles(peer localapi.Peer) localapi.Roles {
	var out localapi.Roles
	own := peer.UID == uint32(os.Getuid())
	if peer.UID == 0 || own {
		out |= localapi.RoleAdmin | localapi.RoleAudit
	}
	for gid, role := range p.gids {
		if peer.In(gid) {
			out |= role
		}
	}
	roster, _, _ := p.current()
	if who, ok := roster.ByUID(peer.UID); ok && !who.Expired(time.Now()) {
		out |= localapi.RoleStaff
	}
	if own && !p.enrolled() {
		out |= localapi.RoleScreen
	}
	return out
}

// isScreen reports whether a client is the station's own screen, on which nobody is anybody before they sign in.
func (p *people) isScreen(peer localapi.Peer) bool {
	for gid, role := range p.gids {
		if role&localapi.RoleScreen != 0 && peer.In(gid) {
			return true
		}
	}
	return false
}

// person is who asks on the command line. Whom the roster does not know may clear nothing; nor may a guest, whose sponsor can be
// seen only at the screen.
func (p *people) person(peer localapi.Peer) kiosk.Person {
	roster, _, _ := p.current()
	who, ok := roster.ByUID(peer.UID)
	if !ok || who.Expired(time.Now()) || who.Guest != nil {
		return kiosk.Person{}
	}
	return rightsOf(who)
}

// rightsOf is what the station is told of a person.
func rightsOf(who staff.Person) kiosk.Person {
	out := kiosk.Person{ID: who.ID, Security: who.Has(staff.Security), Guest: who.Guest != nil}
	if who.Has(staff.Operator) {
		out.Classes = who.Classes
	}
	return out
}

// enrolled reports whether the station belongs to a site. Where that cannot be found out it does, and takes no unsigned roster.
func (p *people) enrolled() bool {
	site, err := p.state.Enrolled()
	return site || err != nil
}

// current returns the roster as it is now, and the key of its badges and PINs. One that cannot be used is nobody.
func (p *people) current() (staff.Roster, staff.Key, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	site := p.enrolled()
	stamp := strconv.FormatBool(site) + p.state.RosterStamp()
	if !site && p.path != "" {
		info, err := os.Stat(p.path)
		if err != nil {
			p.roster, p.key, p.stamp, p.err = staff.Roster{}, staff.Key{}, "", err
			return p.roster, p.key, p.err
		}
		stamp += info.ModTime().String() + strconv.FormatInt(info.Size(), 10)
	}
	if stamp == p.stamp {
		return p.roster, p.key, p.err
	}
	p.stamp, p.site = stamp, site
	p.roster, p.key, p.err = p.read(site)
	if p.err != nil {
		p.log.Error("the roster cannot be used", "error", p.err)
	}
	return p.roster, p.key, p.err
}

func (p *people) read(site bool) (r staff.Roster, key staff.Key, err error) {
	switch {
	case site:
		r, err = p.state.Roster(context.Background())
	case p.path != "":
		r, err = staff.Load(p.path)
	}
	if err != nil {
		return staff.Roster{}, staff.Key{}, err
	}
	if key, err = p.state.StaffKey(); err != nil { // then nobody can sign in, and the command line works on
		p.log.Error("the staff key cannot be used", "error", err)
	}
	return r, key, nil
}

// ailment says what is wrong with the roster.
func (p *people) ailment() ailment {
	roster, key, err := p.current()
	p.mu.Lock()
	site := p.site
	p.mu.Unlock()
	switch {
	case site && errors.Is(err, os.ErrNotExist):
		return ailment{"The roster that the site signs is not installed, so nobody may have a clearance: pratique staff install.", false}
	case err != nil:
		return ailment{"The roster cannot be used, so nobody may have a clearance.", false}
	case !site && p.path == "":
		return ailment{"There is no roster, so nobody may have a clearance.", false}
	case roster.Len() == 0:
		return ailment{"The roster is empty, so nobody may have a clearance.", false}
	case roster.KeyID != key.ID():
		return ailment{"The station does not have the roster's staff key, so nobody can sign in at the screen: pratique staff install --key FILE.", false}
	}
	return ailment{}
}

// reviewTime is how long an override stays on the screen: until the security team's next working day has seen it.
const reviewTime = 24 * time.Hour

// overrideAilment tells everybody that media were let through.
func (d *daemon) overrideAilment(ctx context.Context) ailment {
	n, err := d.state.Overrides(ctx, time.Now().Add(-reviewTime))
	switch {
	case err != nil:
		return ailment{"Whether media were let through by override cannot be found out.", false}
	case n > 0:
		return ailment{"A medium was let through by override in the last 24 hours: the security team reviews it.", false}
	}
	return ailment{}
}
