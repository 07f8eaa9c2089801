package staff

import (
	"encoding/hex"
	"errors"
	"slices"
	"sync"
	"time"
)

// badgeTime is how long the reader's last badge waits for its PIN. After that whoever comes to the station may be somebody else.
const badgeTime = 30 * time.Second

// DefaultIdle is how long a person stays signed in who touches nothing.
const DefaultIdle = time.Minute

// What a caller can branch on.
var (
	// ErrWrong is the one answer to a badge or number that nobody has, a person without a PIN, a person whose last day is over,
	// and a wrong PIN. It takes the same time in each case.
	ErrWrong = errors.New("this badge or number and this PIN do not belong together")
	ErrSlow  = errors.New("there were too many wrong PINs: wait before the next one")
	ErrBusy  = errors.New("another PIN is being looked at")
	ErrNone  = errors.New("nobody is signed in who may do this")
	ErrWord  = errors.New("company and work order are one word each")
)

// DeskConfig is what a desk works with. Its functions are called without the desk's lock, and all are required.
type DeskConfig struct {
	Roster  func() (Roster, Key)             // as they are at this moment
	Idle    time.Duration                    // 0 is DefaultIdle
	Delays  []byte                           // as Save had it last; nil before the first time
	Save    func(delays []byte) error        // must be durable when it returns
	Changed func()                           // View has changed
	Slowed  func(who [16]byte, mistakes int) // somebody makes more and more mistakes; who is a keyed digest
}

// Desk is where people sign in on the screen, one at a time. It holds no PIN any longer than it takes to look at it, and nothing of
// a person but the id: what they may do is asked of the roster each time.
type Desk struct {
	cfg DeskConfig

	trying sync.Mutex // held while a PIN is looked at, which takes 64 MiB

	mu      sync.Mutex
	delays  delays
	wait    time.Time // what the last try would have to wait for
	badge   string    // digest of the one that was held to the reader
	badgeAt time.Time
	guest   string // id of one who waits for the sponsor
	here    *here
	roster  [32]byte // digest of the one that here belongs to
	until   time.Time
	timer   *time.Timer
	visit   uint64 // counts sign-ins, so that the end of one does not end the next
}

// guestID begins what stands for a guest whom the roster does not have. No person's id does.
const guestID = "guest:"

// here is who is signed in.
type here struct {
	id      string
	sponsor string // id of who answers for them
	company string // of a guest whom the roster does not have
	order   string
}

// Present is a person who is signed in, as the roster has them now.
type Present struct {
	Person  Person // whose rights count; for a guest without a place in the roster, nobody's but the classes
	ID      string // for pseudonyms
	Sponsor string // id of the sponsor of a guest
	Guest   *Guest // of a guest
}

// View is what the screen is told.
type View struct {
	Badge       bool // one waits for its PIN
	Name        string
	NeedSponsor bool // a guest waits for the sponsor
	Company     string
	Classes     []string
	May         []Action
	Until       time.Time
	Wait        time.Time // zero, or the next PIN is looked at then
}

// NewDesk returns a desk at which nobody is.
func NewDesk(cfg DeskConfig) *Desk {
	if cfg.Idle <= 0 {
		cfg.Idle = DefaultIdle
	}
	return &Desk{cfg: cfg, delays: parseDelays(cfg.Delays, time.Now())}
}

// Badge takes what the reader read. Whether anybody has this badge is not said before the PIN is there.
func (d *Desk) Badge(says string) {
	_, key := d.cfg.Roster()
	digest, err := key.Badge(says)
	if err != nil {
		return // no badge says that
	}
	d.mu.Lock()
	d.badge, d.badgeAt = digest, time.Now()
	d.mu.Unlock()
	d.cfg.Changed()
	time.AfterFunc(badgeTime, d.cfg.Changed)
}

// claim is who somebody says to be: the person if there is one, and a name for their mistakes.
func (d *Desk) claim(r *Roster, key Key, number string, now time.Time) (p Person, who string, known bool) {
	claimed := "number\x00" + number
	if number != "" {
		p, known = r.byNumber(number)
	} else {
		d.mu.Lock()
		digest := d.badge
		if now.Sub(d.badgeAt) > badgeTime {
			digest = ""
		}
		d.mu.Unlock()
		claimed = "badge\x00" + digest
		p, known = r.byBadge(digest)
	}
	if known { // by whichever way, it is one person's mistakes
		claimed = "person\x00" + p.ID
	}
	return p, hex.EncodeToString(key.mac("try", claimed)[:16]), known
}

// SignIn signs in who has a number, or without one the badge that was held to the reader, and a PIN. A guest is then asked for the
// sponsor, who signs in the same way. It returns what ends the visit, for the end of the connection.
func (d *Desk) SignIn(number, pin string) (signOut func(), err error) {
	if !d.trying.TryLock() {
		return nil, ErrBusy
	}
	defer d.trying.Unlock()
	now := time.Now()
	roster, key := d.cfg.Roster()
	p, who, known := d.claim(&roster, key, number, now)

	d.mu.Lock()
	wait := d.delays.wait(who, now)
	d.wait = wait
	d.mu.Unlock()
	if now.Before(wait) {
		d.cfg.Changed()
		return nil, ErrSlow
	}
	if right := key.verify(p, pin) && key.ID() == roster.KeyID; !right || !known || p.Expired(now) {
		return nil, d.wrong(who)
	}
	d.mu.Lock()
	d.delays.right(who)
	saved := d.delays.bytes()
	d.mu.Unlock()
	if err := d.cfg.Save(saved); err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.badge, d.wait = "", time.Time{}
	d.enter(&roster, p)
	visit := d.visit
	d.mu.Unlock()
	d.cfg.Changed()
	return func() { d.leave(visit) }, nil
}

// wrong counts a mistake, durably before it is told: who pulls the plug after each try gains nothing.
func (d *Desk) wrong(who string) error {
	now := time.Now()
	d.mu.Lock()
	n := d.delays.wrong(who, now)
	d.wait = d.delays.wait(who, now)
	saved := d.delays.bytes()
	d.mu.Unlock()
	if n > freeTries && n&(n-1) == 0 { // each doubling once, so that nobody fills the log
		if digest, err := hex.DecodeString(who); err == nil {
			d.cfg.Slowed([16]byte(digest), n)
		}
	}
	err := d.cfg.Save(saved)
	d.cfg.Changed()
	return errors.Join(ErrWrong, err)
}

// enter signs a person in, or lets a guest wait for the sponsor. The lock is held.
func (d *Desk) enter(r *Roster, p Person) {
	d.visit++
	guest, waiting := r.ByID(d.guest)
	d.guest, d.here = "", &here{id: p.ID}
	switch {
	case p.Guest != nil: // may do nothing yet
		d.guest, d.here = p.ID, nil
	case waiting && guest.Guest != nil && guest.Guest.Sponsor == p.ID && p.Sponsor && !guest.Expired(time.Now()):
		d.here = &here{id: guest.ID, sponsor: p.ID}
	}
	d.roster = r.digest
	d.stay()
}

// stay gives the person at the desk their time again. The lock is held.
func (d *Desk) stay() {
	d.until = time.Now().Add(d.cfg.Idle)
	if d.timer != nil {
		d.timer.Stop()
	}
	visit := d.visit
	d.timer = time.AfterFunc(d.cfg.Idle, func() { d.leave(visit) })
}

// Guest lets the sponsor who is signed in answer for a guest whom the roster does not have. The guest may clear media for the
// sponsor's classes, and nothing else.
func (d *Desk) Guest(company, order string) error {
	if !isWord(company) || !isWord(order) {
		return ErrWord
	}
	who, ok := d.Who()
	if !ok || who.Guest != nil || !who.Person.Sponsor {
		return ErrNone
	}
	d.mu.Lock()
	if d.here != nil && d.here.id == who.ID && d.here.company == "" {
		d.here = &here{id: who.ID, sponsor: who.ID, company: company, order: order}
		d.stay()
	}
	d.mu.Unlock()
	d.cfg.Changed()
	return nil
}

// Stay says that whoever is at the desk is still there.
func (d *Desk) Stay() {
	d.mu.Lock()
	if d.here != nil || d.guest != "" {
		d.stay()
	}
	d.mu.Unlock()
	d.cfg.Changed()
}

// SignOut sends away whoever is at the desk.
func (d *Desk) SignOut() {
	d.mu.Lock()
	visit := d.visit
	d.mu.Unlock()
	d.leave(visit)
}

// leave ends one visit, if it is not over.
func (d *Desk) leave(visit uint64) {
	d.mu.Lock()
	gone := d.visit == visit && (d.here != nil || d.guest != "" || d.badge != "")
	if gone {
		d.here, d.guest, d.badge, d.until = nil, "", "", time.Time{}
		if d.timer != nil {
			d.timer.Stop()
		}
	}
	d.mu.Unlock()
	if gone {
		d.cfg.Changed()
	}
}

// Who is signed in and may act. Whom the roster does not have any more, or has changed, is nobody.
func (d *Desk) Who() (Present, bool) {
	roster, _ := d.cfg.Roster()
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.here == nil || !now.Before(d.until) || d.roster != roster.digest {
		return Present{}, false
	}
	return d.here.present(&roster, now)
}

func (h *here) present(r *Roster, now time.Time) (Present, bool) {
	p, found := r.ByID(h.id)
	if !found || p.Expired(now) {
		return Present{}, false
	}
	out := Present{Person: p, ID: p.ID, Sponsor: h.sponsor, Guest: p.Guest}
	switch {
	case h.company != "":
		out.Guest = &Guest{h.company, h.order, h.sponsor}
		out.ID = guestID + h.company + ":" + h.order
		out.Person = Person{Roles: []Role{Operator}, Classes: p.Classes, Guest: out.Guest}
	case h.sponsor != "":
		sponsor, found := r.ByID(h.sponsor)
		if !found || !sponsor.Sponsor || sponsor.Expired(now) {
			return Present{}, false
		}
		out.Person.Classes = slices.DeleteFunc(slices.Clone(p.Classes), func(c string) bool { return !slices.Contains(sponsor.Classes, c) })
	}
	return out, true
}

// View is what the screen is told at this moment.
func (d *Desk) View() View {
	who, in := d.Who()
	roster, _ := d.cfg.Roster()
	now := time.Now()
	d.mu.Lock()
	v := View{Badge: d.badge != "" && now.Sub(d.badgeAt) <= badgeTime, NeedSponsor: d.guest != ""}
	if v.Wait = d.wait; !now.Before(v.Wait) {
		v.Wait = time.Time{}
	}
	if in || v.NeedSponsor {
		v.Until = d.until
	}
	d.mu.Unlock()
	if !in {
		return v
	}
	v.Name, v.Classes = who.Person.Label(), nil
	if who.Person.Has(Operator) {
		v.Classes = who.Person.Classes
	}
	if who.Guest != nil {
		v.Company = who.Guest.Company
		if v.Name == "" {
			v.Name = v.Company
		}
		return v
	}
	for _, a := range Actions() {
		if a == Clear {
			continue
		}
		if a == Override { // of at least one class
			if who.Person.Has(Security) || who.Person.Has(Operator) && len(who.Person.Classes) > 0 {
				v.May = append(v.May, a)
			}
		} else if answer, _ := roster.Can(who.ID, a, "", now); answer == Yes {
			v.May = append(v.May, a)
		}
	}
	return v
}
