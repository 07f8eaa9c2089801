package audit

import (
	"errors"
	"testing"
	"time"

	"pratique/kiosk/clearance"
)

// overrideLeaf is the leaf of an override that the first of two people asked for.
func overrideLeaf(t *testing.T, session ID, at time.Time, change func(*clearance.Claims)) []byte {
	t.Helper()
	c := testClaims(session, at)
	c.Operator = Pseudonym{1}
	c.Overrule(clearance.NotCleared, clearance.Override{Reason: "drill", Second: Pseudonym{2}})
	if change != nil {
		change(&c)
	}
	leaf, err := clearance.Leaf(c)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// The log takes an override only for what two different people agreed on, about a medium that was refused.
func TestT18_TheLogTakesAnOverrideFromTwoPeopleOnly(t *testing.T) {
	asked := Override{Class: "imaging", Reason: "drill", Person: Pseudonym{1}}
	confirmed := Override{"imaging", "drill", Pseudonym{2}, Pseudonym{1}, true}
	refused := decided(NotCleared, Digest{}, 0)
	refused.Content = Digest{0xc0}
	empty := decided(NotCleared, Digest{}, 0)
	for name, row := range map[string]struct {
		verdict Decided
		before  []Data
		claims  func(*clearance.Claims)
		at      int // the step that is refused: 0 is the first of before, len(before) the leaf; -1 none
	}{
		"two people":                 {refused, []Data{asked, confirmed}, nil, -1},
		"after a change of mind":     {refused, []Data{Override{Class: "imaging", Reason: "equipment-down", Person: Pseudonym{1}}, asked, confirmed}, nil, -1},
		"nobody confirmed":           {refused, []Data{asked}, nil, 1},
		"nobody asked":               {refused, nil, nil, 0},
		"confirmed what is not":      {refused, []Data{confirmed}, nil, 0},
		"another reason":             {refused, []Data{Override{Class: "imaging", Reason: "equipment-down", Person: Pseudonym{1}}, confirmed}, nil, 1},
		"another person asked":       {refused, []Data{Override{Class: "imaging", Reason: "drill", Person: Pseudonym{3}}, confirmed}, nil, 1},
		"one person":                 {refused, []Data{asked, Override{"imaging", "drill", Pseudonym{1}, Pseudonym{1}, true}}, nil, 1},
		"of what is cleared":         {decided(Cleared, Digest{}, 0), []Data{asked}, nil, 0},
		"another class":              {refused, []Data{Override{Class: "infusion", Reason: "drill", Person: Pseudonym{1}}}, nil, 0},
		"of nothing":                 {empty, []Data{asked, confirmed}, func(c *clearance.Claims) { c.Content.Root = [32]byte{} }, 2},
		"other content":              {refused, []Data{asked, confirmed}, func(c *clearance.Claims) { c.Content.Root[0]++ }, 2},
		"a token for another":        {refused, []Data{asked, confirmed}, func(c *clearance.Claims) { c.Operator = Pseudonym{3} }, 2},
		"a token with another":       {refused, []Data{asked, confirmed}, func(c *clearance.Claims) { c.Override.Second = Pseudonym{3} }, 2},
		"a token for both orders":    {refused, []Data{asked, confirmed}, func(c *clearance.Claims) { c.Operator, c.Override.Second = c.Override.Second, c.Operator }, 2},
		"a token for more":           {refused, []Data{asked, confirmed}, func(c *clearance.Claims) { c.Audience = []string{"general", "imaging"} }, 2},
		"a token for another reason": {refused, []Data{asked, confirmed}, func(c *clearance.Claims) { c.Override.Reason = "equipment-down" }, 2},
		"a clearance":                {refused, []Data{asked, confirmed}, func(c *clearance.Claims) { c.Verdict, c.Override = clearance.Cleared, nil }, 2},
	} {
		l, _ := newLog(t)
		session := sessionID(1)
		l.must(t, session, Attached{Source: Image, Bytes: 64 << 20, SectorSize: 512})
		l.must(t, session, row.verdict)
		step, err := 0, error(nil)
		for _, d := range row.before {
			if _, err = l.Append(t.Context(), Event{session, d}); err != nil {
				break
			}
			step++
		}
		if err == nil {
			at := time.Now().UTC().Truncate(time.Second)
			_, err = l.AppendLeaf(t.Context(), KindIssuing, session, at, overrideLeaf(t, session, at, row.claims))
		}
		if (row.at < 0) != (err == nil) || row.at >= 0 && step != row.at {
			t.Errorf("%s: step %d: %v", name, step, err)
		}
		if row.at == len(row.before) && !errors.Is(err, ErrOrder) {
			t.Errorf("%s: %v", name, err)
		}
		if res, err := l.Verify(t.Context(), VerifyOptions{}); err != nil || !res.Sound {
			t.Errorf("%s: the log is not sound: %v %v", name, res.Bad, err)
		}
	}
}

// Nobody fills the log by asking.
func TestOverridesOfOneSessionAreBounded(t *testing.T) {
	l, _ := newLog(t)
	session := sessionID(1)
	l.must(t, session, Attached{Source: Image, Bytes: 64 << 20, SectorSize: 512})
	l.must(t, session, decided(NotCleared, Digest{}, 0))
	for i := range maxOverrides + 1 {
		_, err := l.Append(t.Context(), Event{session, Override{Class: "imaging", Reason: "drill", Person: Pseudonym{1, byte(i)}}})
		if (err == nil) != (i < maxOverrides) {
			t.Fatalf("entry %d: %v", i, err)
		}
	}
}
