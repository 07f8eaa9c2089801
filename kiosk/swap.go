package kiosk

import (
	"context"
	"fmt"

	"pratique/rules"
)

// SetPack changes the rules for media that are plugged in from now on. A session that is under way ends with the rules that
// it began with; what these cannot know is asked of the new ones before it is issued (answer). The class that media are
// decided for first must be among the pack's.
func (st *Station) SetPack(p rules.Pack, canary CanaryResult) error {
	st.issuing.Lock()
	defer st.issuing.Unlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	if _, ok := p.Policies[st.cfg.Want.Class]; !ok {
		return fmt.Errorf("%w: %q", ErrClass, st.cfg.Want.Class)
	}
	st.cfg.Want.Pack, st.cfg.Want.Canary = p, canary
	st.publish()
	return nil
}

// Pause runs f while nothing is being issued: a clearance is signed with one key from its first entry to its last.
func (st *Station) Pause(f func()) {
	st.issuing.Lock()
	defer st.issuing.Unlock()
	f()
	st.mu.Lock()
	defer st.mu.Unlock()
	st.publish()
}

// wanted is how a medium is screened that is plugged in now.
func (st *Station) wanted() Screening {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.cfg.Want
}

// knows reports whether the pack in force has a class.
func (st *Station) knows(class string) bool {
	_, ok := st.wanted().Pack.Policies[class]
	return ok
}

// outdated reports whether a pack that came into force since the scan knows something of the medium that the session's own
// did not: it would be recalled as soon as it was issued.
func (se *session) outdated(ctx context.Context, now rules.Pack, class string) (bool, error) {
	if now.InForce() == se.want.Pack.InForce() {
		return false, nil
	}
	known, shut, err := se.state.knownHashes(ctx, now)
	if err != nil {
		return false, err
	}
	defer shut()
	cause, _, err := se.state.judgeCleared(ctx, se.id, []string{class}, known, now, se.want.Pack)
	if err != nil {
		return false, logError(err)
	}
	return cause != "", nil
}
