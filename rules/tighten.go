package rules

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"pratique/scanner/report"
)

// Tightening is what a station asks of one equipment class beyond the pack's policy. The zero value asks for nothing.
// Whatever would make a policy less strict is an error, in words, and not ignored: the person who wrote it believes that it
// holds.
type Tightening struct {
	// Base is the pack's class that a new class of this site begins with. It is empty for a class of the pack.
	Base string `toml:"base"`
	// Hours is how long a clearance holds, nil for as long as the policy says.
	Hours *int64 `toml:"token_hours"`
	// Allow are the only types that are left, each of them allowed by the policy; nil for all of those.
	Allow []string `toml:"allow_types"`
	// Deny takes further types away.
	Deny []string `toml:"deny_types"`
	// Override is "refuse" where nobody may let a medium through that is not cleared; empty for what the policy says.
	Override string `toml:"override"`
	// Severity is the least that a finding does. A key for all findings of a check leaves the more severe ones alone.
	Severity map[string]string `toml:"severity"`
	Stances
}

// Tighten returns the policy with what t asks for. For every report, what Decide refuses under p it refuses under the result.
func (p Policy) Tighten(t Tightening) (Policy, error) {
	out := p
	if t.Hours != nil {
		life, err := hours(*t.Hours)
		if err != nil {
			return Policy{}, err
		}
		if life > p.Life {
			return Policy{}, fmt.Errorf("token_hours = %d: longer than the %d of the policy", *t.Hours, p.Life/time.Hour)
		}
		out.Life = life
	}
	if err := checkTypes(t.Allow, t.Deny); err != nil {
		return Policy{}, err
	}
	if t.Allow != nil {
		if len(t.Allow) == 0 {
			return Policy{}, errors.New("allow_types: nothing is allowed; leave it out to keep what the policy allows")
		}
		for _, pattern := range t.Allow {
			if !within(pattern, p.Allow) {
				return Policy{}, fmt.Errorf("allow_types: the policy does not allow %q", pattern)
			}
		}
		out.Allow = slices.Clone(t.Allow)
	}
	out.Deny = slices.Concat(p.Deny, t.Deny)
	switch {
	case t.Override == Refuse.String():
		out.Override = false
	case t.Override == Allow.String() && !p.Override:
		return Policy{}, fmt.Errorf("override = %q: the policy is stricter, it says %q", t.Override, Refuse)
	case t.Override != "" && t.Override != Allow.String():
		return Policy{}, fmt.Errorf("override = %q: want %q", t.Override, Refuse)
	}
	for s, word := range t.Stances.words() {
		if word == "" {
			continue
		}
		stance, err := parseStance(Setting(s), word)
		if err != nil {
			return Policy{}, err
		}
		if was := p.Stance(Setting(s)); stance > was {
			return Policy{}, fmt.Errorf("%s = %q: the policy is stricter, it says %q", Setting(s), stance, was)
		}
		out.stances[s] = stance
	}
	return out, out.raise(p, t.Severity)
}

// raise sets floors.
func (p *Policy) raise(before Policy, severity map[string]string) error {
	if len(severity) > maxSeverities {
		return fmt.Errorf("severity: more than %d findings", maxSeverities)
	}
	p.floor = maps.Clone(before.floor)
	if p.floor == nil {
		p.floor = map[string]report.Severity{}
	}
	for _, key := range slices.Sorted(maps.Keys(severity)) {
		proposed, all, known, err := findingOf(key)
		if err != nil {
			return err
		}
		s, err := report.ParseSeverity(severity[key])
		if err != nil {
			return fmt.Errorf("severity of %q: %w", key, err)
		}
		was := report.Inform
		if check, rule, _ := strings.Cut(key, "/"); known {
			was = before.Severity(findingNamed(check, rule, proposed))
		} else if own, ok := before.severity[key]; ok {
			was = own
		}
		if floor, ok := before.floor[key]; ok {
			was = min(was, floor)
		}
		if s > was {
			return fmt.Errorf("severity of %q = %q: the policy is stricter, it says %q", key, s, was)
		}
		if all && s == report.Inform {
			return fmt.Errorf("severity of %q = %q: that asks for nothing", key, s)
		}
		p.floor[key] = s
	}
	return nil
}

func findingNamed(check, rule string, severity report.Severity) report.Finding {
	for c := range words {
		if c.String() == check {
			return report.Finding{Check: c, Rule: rule, Severity: severity}
		}
	}
	return report.Finding{}
}

// within reports whether every type that a pattern matches is matched by one of the allowed ones. A star of the pattern can
// be anything, so it stands as a byte that no type has, and only a star of the other side takes that.
func within(pattern string, allowed []string) bool {
	sample := strings.ReplaceAll(pattern, "*", "\x00")
	return slices.ContainsFunc(allowed, func(a string) bool {
		if a == "*" {
			return true
		}
		ok, err := path.Match(a, sample)
		return err == nil && ok && pattern != "*"
	})
}

// ClassError says which class of a station cannot be had, and why.
type ClassError struct {
	Class string
	Err   error
}

func (e *ClassError) Error() string { return fmt.Sprintf("class %q: %v", e.Class, e.Err) }
func (e *ClassError) Unwrap() error { return e.Err }

// Tighten returns the pack with what a station asks for: of each class, and for how many hours a clearance of any class
// holds at most (0 for as long as its policy says). A name that the pack does not have is a class of the site: it needs a
// base, and is the base's policy as this station tightened it, tightened again. The digest InForce and the name say that a
// station's own policy is in force.
func (p Pack) Tighten(classes map[string]Tightening, maxHours int) (Pack, error) {
	if len(classes) == 0 && maxHours == 0 {
		return p, nil
	}
	policies := maps.Clone(p.Policies)
	names := slices.Sorted(maps.Keys(classes))
	for _, ofPack := range []bool{true, false} { // the pack's first: the site's begin with them
		for _, name := range names {
			if _, known := p.Policies[name]; known != ofPack {
				continue
			}
			policy, err := p.begin(policies, name, classes[name].Base)
			if err == nil {
				policy, err = policy.Tighten(classes[name])
			}
			if err != nil {
				return Pack{}, &ClassError{name, err}
			}
			policies[name] = policy
		}
	}
	if maxHours != 0 {
		most, err := hours(int64(maxHours))
		if err != nil {
			return Pack{}, errors.New("max_hours: want 1 to 72")
		}
		for name, policy := range policies {
			policy.Life = min(policy.Life, most)
			policies[name] = policy
		}
	}
	text, err := json.Marshal(struct { // maps are written in the order of their keys
		Classes  map[string]Tightening
		MaxHours int
	}{classes, maxHours})
	if err != nil {
		return Pack{}, fmt.Errorf("station's policy: %w", err)
	}
	sum, before := newPackDigest(), p.InForce()
	sum.add("pack", before[:])
	sum.add("station", text)
	p.Policies, p.Name, p.Added = policies, p.Name+"+station", sum.sum()
	return p, nil
}

// begin is the policy that a station's class starts from: the pack's own, or for a class of the site its base as this station
// has tightened it.
func (p Pack) begin(tightened map[string]Policy, class, base string) (Policy, error) {
	policy, known := p.Policies[class]
	_, baseKnown := p.Policies[base]
	switch {
	case known && base != "":
		return Policy{}, errors.New("the rule pack has it, so it can have no base")
	case known:
		return policy, nil
	case !validClass(class):
		return Policy{}, errors.New("its name: want 1 to 32 of a-z, 0-9 and -")
	case base == "":
		return Policy{}, errors.New("the rule pack does not have it, so it needs a base")
	case !baseKnown:
		return Policy{}, fmt.Errorf("the rule pack has no class %q to begin with", base)
	}
	policy = tightened[base]
	policy.Class = class
	return policy, nil
}
