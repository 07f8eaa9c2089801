package main

import (
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

// people says who a client is and what they may do. The roster is read again when its file has changed.
type people struct {
	path   string // of the roster; empty if there is none
	gids   map[uint32]localapi.Roles
	mu     sync.Mutex
	stamp  rosterStamp
	roster staff.Roster
	err    error
}

type rosterStamp struct {
	size     int64
	modified time.Time
}

func newPeople(roster string) *people {
	p := &people{path: roster, gids: map[uint32]localapi.Roles{}}
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
// read it; that lets neither of them have a clearance.
func (p *people) roles(peer localapi.Peer) localapi.Roles {
	var out localapi.Roles
	if peer.UID == 0 || peer.UID == uint32(os.Getuid()) {
		out |= localapi.RoleAdmin | localapi.RoleAudit
	}
	for gid, role := range p.gids {
		if peer.In(gid) {
			out |= role
		}
	}
	roster, _ := p.current()
	if _, ok := roster.ByUID(peer.UID); ok {
		out |= localapi.RoleStaff
	}
	return out
}

// person is who asks for a clearance. Whom the roster does not know may clear nothing.
func (p *people) person(peer localapi.Peer) kiosk.Person {
	roster, _ := p.current()
	who, ok := roster.ByUID(peer.UID)
	if !ok {
		return kiosk.Person{}
	}
	return kiosk.Person{ID: who.ID, Classes: who.Classes}
}

// current returns the roster as the file has it now. One that cannot be used is nobody.
func (p *people) current() (staff.Roster, error) {
	if p.path == "" {
		return staff.Roster{}, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	info, err := os.Stat(p.path)
	if err != nil {
		p.roster, p.stamp, p.err = staff.Roster{}, rosterStamp{}, err
		return p.roster, p.err
	}
	if stamp := (rosterStamp{info.Size(), info.ModTime()}); stamp != p.stamp {
		p.stamp = stamp
		p.roster, p.err = staff.Load(p.path)
	}
	return p.roster, p.err
}

// ailment says what is wrong with the roster.
func (p *people) ailment() ailment {
	roster, err := p.current()
	switch {
	case p.path == "":
		return ailment{"There is no roster, so nobody may have a clearance.", false}
	case err != nil:
		return ailment{"The roster cannot be used, so nobody may have a clearance.", false}
	case roster.Len() == 0:
		return ailment{"The roster is empty, so nobody may have a clearance.", false}
	}
	return ailment{}
}
