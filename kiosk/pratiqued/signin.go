package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"pratique/kiosk"
	"pratique/kiosk/localapi"
	"pratique/kiosk/staff"
)

// What the screen can be told.
var (
	errWrong  = &localapi.Error{Code: localapi.CodeSignIn, Text: "This badge or number and this PIN do not belong together."}
	errSlow   = &localapi.Error{Code: localapi.CodeSlow, Text: "There were too many wrong PINs. Wait a little before the next one."}
	errTrying = &localapi.Error{Code: localapi.CodeBusy, Text: "Another PIN is being looked at."}
	errWords  = &localapi.Error{Code: localapi.CodeRequest, Text: "Company and work order are one word each, of letters, digits and . _ - +."}
	errNobody = &localapi.Error{Code: localapi.CodeSignIn, Text: "Nobody is signed in who may do this."}
)

// newDesk makes the desk at which people sign in on the screen.
func (d *daemon) newDesk() *staff.Desk {
	kept, err := d.state.Delays()
	if err != nil {
		d.log.Error("what is known of wrong PINs cannot be read", "error", err)
		kept = []byte{} // which counts as too many of them
	}
	return staff.NewDesk(staff.DeskConfig{
		Roster: func() (staff.Roster, staff.Key) {
			r, key, _ := d.people.current()
			return r, key
		},
		Idle: d.cfg.Idle, Delays: kept, Save: d.state.SaveDelays, Changed: d.showStaff,
		Slowed: func(who [16]byte, mistakes int) {
			d.log.Warn("one wrong PIN after the other", "mistakes", mistakes)
			ctx, cancel := context.WithTimeout(context.Background(), signInTime)
			defer cancel()
			if err := d.state.Slowed(ctx, who, mistakes); err != nil {
				d.log.Error("the log does not take an entry", "error", err)
			}
		},
	})
}

// signInTime is how long the log may take over what a person at the screen waits for.
const signInTime = 10 * time.Second

// Badge takes what the badge reader read. Nobody is signed in by that alone.
func (d *daemon) Badge(says string) { d.desk.Badge(says) }

// showStaff tells the screen who is at the desk.
func (d *daemon) showStaff() {
	view := signInView(d.desk.View())
	d.station.SetStaff(&view)
}

func signInView(v staff.View) localapi.SignIn {
	out := localapi.SignIn{Badge: v.Badge, Name: v.Name, Sponsor: v.NeedSponsor, Guest: v.Company, Classes: v.Classes}
	for _, a := range v.May {
		out.May = append(out.May, string(a))
	}
	for _, t := range []struct {
		at   time.Time
		text *string
	}{{v.Until, &out.Until}, {v.Wait, &out.Wait}} {
		if !t.at.IsZero() {
			*t.text = localapi.Time(t.at.Add(time.Second - 1)) // whole seconds, and not too early
		}
	}
	return out
}

// signIn signs a person in until the connection ends, if not sooner.
func (d *daemon) signIn(ctx context.Context, number string, pin localapi.PIN) (localapi.SignIn, error) {
	signOut, err := d.desk.SignIn(number, string(pin))
	switch {
	case errors.Is(err, staff.ErrWrong):
		return localapi.SignIn{}, errWrong
	case errors.Is(err, staff.ErrSlow):
		return localapi.SignIn{}, errSlow
	case errors.Is(err, staff.ErrBusy):
		return localapi.SignIn{}, errTrying
	case err != nil:
		return localapi.SignIn{}, err
	}
	context.AfterFunc(ctx, signOut)
	return d.arrived(ctx)
}

// guest lets the sponsor who is signed in answer for a guest.
func (d *daemon) guest(company, order string) (localapi.SignIn, error) {
	switch err := d.desk.Guest(company, order); {
	case errors.Is(err, staff.ErrWord):
		return localapi.SignIn{}, errWords
	case err != nil:
		return localapi.SignIn{}, errNobody
	}
	return d.arrived(context.Background())
}

// arrived enters that a guest came. A guest whom the log does not know is sent away.
func (d *daemon) arrived(ctx context.Context) (localapi.SignIn, error) {
	if who, ok := d.desk.Who(); ok && who.Guest != nil {
		logging, cancel := context.WithTimeout(context.WithoutCancel(ctx), signInTime)
		defer cancel()
		if err := d.state.GuestCame(logging, who.ID, who.Sponsor, *who.Guest); err != nil {
			d.desk.SignOut()
			return localapi.SignIn{}, err
		}
	}
	return signInView(d.desk.View()), nil
}

// asks is who asks for something: at the screen who is signed in, else whom the kernel says.
func (d *daemon) asks(peer localapi.Peer) (kiosk.Person, error) {
	if d.people.roles(peer)&localapi.RoleScreen != 0 {
		if who, ok := d.desk.Who(); ok {
			d.desk.Stay()
			out := rightsOf(who.Person)
			out.ID, out.Guest = who.ID, who.Guest != nil
			return out, nil
		}
		if d.people.isScreen(peer) {
			return kiosk.Person{}, errNobody
		}
	}
	return d.people.person(peer), nil
}

// onBehalf reports whether the person who is signed in may ask for what the screen may not by itself.
func (d *daemon) onBehalf(verb localapi.Verb) bool {
	right := map[localapi.Verb]staff.Action{localapi.VerbSessions: staff.ReadLog, localapi.VerbInstall: staff.Install}[verb]
	if right == "" || !slices.Contains(d.desk.View().May, right) {
		return false
	}
	d.desk.Stay()
	return true
}

// publish hands the state to clients, and notes when a medium is taken out: then nobody is signed in any more. It is called
// under the station's lock, so the desk is told by the daemon's own loop.
func (d *daemon) publish(st localapi.State) {
	d.server.Publish(st)
	now := map[string]shown{}
	for i := range st.Ports {
		p := &st.Ports[i]
		now[p.ID] = shown{p.Session, p.State}
		was := d.shown[p.ID]
		if was.session != "" && (p.Session != was.session || p.State == localapi.Leaving && was.state != localapi.Leaving) {
			select {
			case d.left <- struct{}{}:
			default: // it will be told
			}
		}
	}
	d.shown = now
}

// shown is what was last seen of a port.
type shown struct{ session, state string }
