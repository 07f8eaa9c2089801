package localapi

import (
	"fmt"
	"net"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Peer is who is at the other end, as the kernel knows it from the time of connect.
type Peer struct {
	PID    int32
	UID    uint32
	GID    uint32
	Groups []uint32
}

// In reports whether the peer is in a group.
func (p *Peer) In(gid uint32) bool { return p.GID == gid || slices.Contains(p.Groups, gid) }

// Roles is what a peer may do, as a set. The zero value may do nothing.
type Roles uint8

// The roles.
const (
	RoleScreen   Roles = 1 << iota // the station's own screen
	RoleStaff                      // a person on the roster
	RoleSecurity                   // the security team
	RoleAudit                      // an auditor
	RoleAdmin                      // who looks after the station
)

// allowed is what each verb takes: one of these roles. A verb that is not here is for nobody.
var allowed = map[Verb]Roles{
	VerbStatus:    RoleScreen | RoleStaff | RoleSecurity | RoleAudit | RoleAdmin,
	VerbSubscribe: RoleScreen | RoleStaff | RoleSecurity | RoleAudit | RoleAdmin,
	VerbSessions:  RoleScreen | RoleSecurity | RoleAudit | RoleAdmin,
	VerbExport:    RoleAudit,
	VerbIssue:     RoleScreen | RoleStaff, // and only for a person that the roster lets clear media for the class
	VerbEject:     RoleScreen | RoleStaff | RoleAdmin,
	VerbInstall:   RoleScreen | RoleSecurity | RoleAdmin, // a pack proves itself; who brings it gains nothing
	VerbBegin:     RoleSecurity | RoleAdmin,
	VerbEnd:       RoleSecurity | RoleAdmin,
	VerbOverride:  RoleScreen | RoleStaff, // and only for two people whom the roster lets do it
	VerbSignIn:    RoleScreen,
	VerbSignOut:   RoleScreen,
	VerbStay:      RoleScreen,
	VerbGuest:     RoleScreen,
	VerbClock:     RoleAdmin,
	VerbSearch:    RoleAudit | RoleAdmin,
	VerbDisclose:  RoleSecurity | RoleAudit | RoleAdmin, // two persons, of whom one is an auditor

	VerbExceptions:       RoleSecurity | RoleAudit | RoleAdmin,
	VerbExcept:           RoleSecurity, // who looks after the station or its log has no part in what it lets pass
	VerbConfirmException: RoleSecurity, // and another person than the one who proposed it
	VerbRemoveException:  RoleSecurity,
}

// onBehalf are verbs that the screen has no right to by itself: it asks on behalf of the person who is signed in on it, who must have
// the right.
var onBehalf = map[Verb]bool{VerbSessions: true, VerbInstall: true}

// May reports whether a set of roles allows a verb.
func (r Roles) May(v Verb) bool { return r&allowed[v] != 0 }

// maxGroups is Linux's own limit on the groups of a process (NGROUPS_MAX).
const maxGroups = 65536

// peerOf asks the kernel who connected.
func peerOf(conn *net.UnixConn) (Peer, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var peer Peer
	var failed error
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			failed = err
			return
		}
		peer = Peer{PID: cred.Pid, UID: cred.Uid, GID: cred.Gid}
		peer.Groups, failed = peerGroups(fd)
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return Peer{}, fmt.Errorf("ask who connected: %w", err)
	}
	return peer, nil
}

// peerGroups reads the supplementary groups (socket(7), SO_PEERGROUPS). /etc/group would tell what they are now, which is
// not what the process has.
func peerGroups(fd uintptr) ([]uint32, error) {
	for n := uint32(64); ; {
		groups := make([]uint32, n)
		size := n * 4
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4], nil
		case errno == unix.ERANGE && size/4 > n && size/4 <= maxGroups:
			n = size / 4
		default:
			return nil, errno
		}
	}
}
