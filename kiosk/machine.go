package kiosk

// phase is where a port is on its way. The words in package localapi are its states.
//
// In attached, scanning, issuing, installing and leaving a job runs, one at a time, and its end arrives as an event. A medium that goes
// while a job runs leads to leaving: the job is called off, and only once it has ended is the session closed. In every
// other phase nothing runs.
type phase uint8

const (
	idle       phase = iota // nothing is in the port
	attached                // job: open the medium, begin its session
	scanning                // job: read it
	waiting                 // for a person who asks for a clearance
	decided                 // no clearance will come of this session, unless two people override
	issuing                 // job: decide for a class and sign
	issued                  // the clearance is out
	installing              // job: carry a rule pack off the medium and try it
	leaving                 // job: whatever ran before ends; then the session is closed
	removed                 // the session is over, the medium still in the port
	refused                 // the device was not let in
	fault                   // the kiosk failed in this session, and closed it
	phaseEnd
)

var phaseWords = [phaseEnd]string{"idle", "attached", "scanning", "waiting", "decided", "issuing", "issued", "installing", "leaving", "removed",
	"refused", "fault"}

func (p phase) String() string {
	if p < phaseEnd {
		return phaseWords[p]
	}
	return phaseWords[fault]
}

// position is a port's place in the machine. then is what follows leaving: idle, removed, refused, or attached if another
// medium was plugged in meanwhile. In every other phase it is idle.
type position struct{ phase, then phase }

// event is what can happen to a port. The first seven come from outside, the others are ends of jobs.
type event uint8

const (
	plugged   event = iota // a medium is in the port
	unplugged              // nothing is
	barred                 // a device is in the port that may not be used
	asked                  // a person, allowed for the class, asks for a clearance
	eject                  // a person asks for the end of the session
	late                   // nobody asked in time
	brought                // a person says that there is a rule pack on the medium
	overruled              // a person asks to let through what was not cleared, or confirms that another did
	opened                 // attached: the session has begun
	clearable              // scanning: over; the default class was decided, and some class may be cleared
	hopeless               // scanning: over; no class could be cleared
	signed                 // issuing: the clearance is out
	declined               // issuing: not cleared for that class; another may be
	kept                   // issuing: not cleared, and no class is
	tried                  // installing: the pack is in force, or refused
	failed                 // any job: the kiosk failed, and the session is closed
	closed                 // leaving: the session is closed
	eventEnd
)

var eventWords = [eventEnd]string{"plugged", "unplugged", "barred", "asked", "eject", "late", "brought", "overruled", "opened", "clearable", "hopeless",
	"signed", "declined", "kept", "tried", "failed", "closed"}

func (e event) String() string { return eventWords[e] }

// effect is what the driver does when the machine moves, in the order given.
type effect uint8

const (
	doOpen    effect = iota // start the job that opens what is plugged in
	doScan                  // start the job that scans
	doIssue                 // start the job that decides and signs
	doInstall               // start the job that carries a rule pack off and tries it
	doClose                 // start the job that closes the session
	doCancel                // call the running job off
	doWait                  // give a person their time
	doForget                // nothing is in the port: show nothing of it
)

// step is the whole machine: where a port goes from a position on an event, and what is to be done. What makes no sense in
// a phase changes nothing: events come from devices and people, and a late one is not an error.
func step(at position, e event) (position, []effect) {
	switch e {
	case plugged:
		return arrive(at, attached, doOpen)
	case barred:
		return arrive(at, refused)
	case unplugged:
		return leave(at, idle, doForget)
	case eject:
		return leave(at, removed)
	case brought:
		if at.hasSession() && !at.hasJob() { // the scan is over, and nobody is being answered
			return position{phase: installing}, []effect{doInstall}
		}
		return at, nil
	}
	switch at.phase {
	case attached:
		if e == opened {
			return position{phase: scanning}, []effect{doScan}
		}
	case scanning:
		switch e {
		case clearable:
			return position{phase: waiting}, []effect{doWait}
		case hopeless:
			return position{phase: decided}, nil
		}
	case waiting:
		switch e {
		case asked, overruled:
			return position{phase: issuing}, []effect{doIssue}
		case late:
			return position{phase: decided}, nil
		}
	case decided:
		if e == overruled {
			return position{phase: issuing}, []effect{doIssue}
		}
	case issuing:
		switch e {
		case signed:
			return position{phase: issued}, nil
		case declined:
			return position{phase: waiting}, []effect{doWait}
		case kept:
			return position{phase: decided}, nil
		}
	case installing:
		if e == tried { // a medium that was opened twice is not the one that was scanned: nothing is issued for it any more
			return position{leaving, removed}, []effect{doClose}
		}
	case leaving:
		switch e {
		case opened, clearable, hopeless, signed, declined, kept, tried: // the job that was called off has ended, in whatever way
			return at, []effect{doClose}
		case failed, closed:
			switch at.then {
			case attached:
				return position{phase: attached}, []effect{doOpen}
			case idle:
				return position{}, []effect{doForget}
			}
			return position{phase: at.then}, nil
		}
	}
	if e == failed && at.hasJob() {
		return position{phase: fault}, nil
	}
	return at, nil
}

// arrive is what a port does when something new is in it, after closing the session of what was there before: a plug may be
// seen without the unplug.
func arrive(at position, to phase, first ...effect) (position, []effect) {
	if at.hasSession() {
		return leave(at, to)
	}
	return position{phase: to}, first
}

// leave ends the session that a port has. If there is none, a port that is empty forgets what it showed.
func leave(at position, then phase, empty ...effect) (position, []effect) {
	switch {
	case at.phase == leaving:
		// An eject comes too late for a medium that is gone or was followed by another.
		if then == removed {
			then = at.then
		}
		return position{leaving, then}, nil
	case at.hasJob():
		return position{leaving, then}, []effect{doCancel}
	case at.hasSession():
		return position{leaving, then}, []effect{doClose}
	case then == idle:
		return position{}, empty
	}
	return at, nil
}

func (at position) hasJob() bool {
	switch at.phase {
	case attached, scanning, issuing, installing, leaving:
		return true
	}
	return false
}

// hasSession reports whether there is a session to close.
func (at position) hasSession() bool {
	switch at.phase {
	case waiting, decided, issued:
		return true
	}
	return at.hasJob()
}
