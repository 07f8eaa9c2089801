package ui

import (
	"strconv"
	"strings"
	"time"

	"pratique/kiosk/localapi"
)

// Slip is what a receipt says. There is no file's name, no label and no person in it.
type Slip struct {
	Station string
	Verdict string
	Red     bool // two people let the medium through although it was not cleared
	Facts   [][2]string
	Digits  string // of the QR code
	Notes   []string
}

// SlipOf is the receipt of the clearance on the page; false if there is none.
func SlipOf(st *localapi.State, look Look, now time.Time) (Slip, bool) {
	v := view{st: st, look: look, now: now, say: look.Language.say}
	if st != nil {
		v.port = look.port(st)
	}
	if v.port == nil || v.port.State != localapi.Issued || v.port.Clearance == nil {
		return Slip{}, false
	}
	c := v.port.Clearance
	s := Slip{Station: Shown(st.Station), Verdict: v.say("cleared.title"), Digits: c.QR}
	s.Facts = [][2]string{{v.say("for.class"), v.className(c.Class)}, {v.say("for.until"), v.clock(c.Expires)}, {v.say("for.code"), grouped(c.Code)}}
	if c.Override != "" {
		s.Verdict, s.Red = v.say("red.title"), true
		s.Notes = append(s.Notes, v.say("override."+c.Override))
	}
	s.Facts = append(s.Facts, [2]string{v.say("details.entry"), strconv.FormatUint(c.LogIndex, 10)})
	if size, root, found := strings.Cut(c.LogHead, " "); found {
		s.Facts = append(s.Facts, [2]string{v.say("details.head"), Shown(size) + " " + Shown(root)})
	}
	if st.Demo {
		s.Notes = append(s.Notes, v.say("note.demo"))
	}
	return s, true
}
