package rules

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"pratique/scanner/report"
)

// Policy says what a medium for one equipment class may hold. The zero value refuses every setting, allows no type and so
// clears nothing but an empty medium.
type Policy struct {
	Class string
	// Allow lists the media types that files and streams may have, such as "application/dicom" or "image/*"; "*" is all.
	// It is not asked about types that a setting decides.
	Allow []string
	// Deny takes away from Allow and from what settings let pass.
	Deny []string
	// Life is how long a clearance holds; at most 72 hours, which every verifier enforces too.
	Life time.Duration
	// Override lets two people clear a medium for this class although it was refused, for a few hours.
	Override bool

	stances [settingEnd]Stance
	// severity overrides what a check proposes: keys are CHECK/RULE or CHECK/*, such as "volume/lost-clusters".
	severity map[string]report.Severity
	// floor is what a station raised, with the same keys: nothing else in the policy makes less of it.
	floor map[string]report.Severity
}

// Verifiers refuse tokens that live longer than maxLife, whatever a policy says.
const (
	defaultLife = 8 * time.Hour
	maxLife     = 72 * time.Hour
)

// Limits on what a policy lists. There are some 200 media types that the scanner tells apart, and 150 findings.
const (
	maxPatterns   = 256
	maxSeverities = 1_000 // YARA rules can be named too
)

// ParsePolicy decodes one policy file.
//
//	class = "imaging"
//	token_hours = 8                                # 1 to 72, default 8
//	allow_types = ["application/dicom", "image/*"]
//	deny_types = []
//	executables = "refuse"                         # as scripts, macros, disk_images, shortcuts, viewers, autorun:
//	                                               # "refuse", "warn" or "allow"
//	archives = "refuse"                            # or "allow"
//	encrypted = "refuse"                           # or "could not check"; encrypted content is never cleared
//	override = "allow"                             # two people may let a medium through that is not cleared; or "refuse"
//	[severity]
//	"volume/lost-clusters" = "warn"                # or "inform" or "block"
//
// A setting that is left out refuses. In a pack with a settings.toml, which may hold the settings and [severity] but
// nothing else, what is left out here is what that file says, and refuses if that is silent, too.
func ParsePolicy(text []byte) (Policy, error) { return parsePolicy(text, structural{}) }

// structural is what a settings.toml holds, and a part of each policy.
type structural struct {
	Severity map[string]string `toml:"severity"`
	Stances
}

// parseSettings decodes a settings.toml.
func parseSettings(text []byte) (structural, error) {
	var file structural
	if err := decodeStrict(text, &file); err != nil {
		return structural{}, err
	}
	p := Policy{severity: map[string]report.Severity{}}
	return file, p.apply(file)
}

func parsePolicy(text []byte, defaults structural) (Policy, error) {
	var file struct {
		Class    string   `toml:"class"`
		Hours    *int64   `toml:"token_hours"`
		Allow    []string `toml:"allow_types"`
		Deny     []string `toml:"deny_types"`
		Override string   `toml:"override"`
		structural
	}
	if err := decodeStrict(text, &file); err != nil {
		return Policy{}, err
	}
	p := Policy{Class: file.Class, Allow: file.Allow, Deny: file.Deny, Life: defaultLife, severity: map[string]report.Severity{}}
	if !validClass(p.Class) {
		return Policy{}, fmt.Errorf("class %q: want 1 to 32 of a-z, 0-9 and -", p.Class)
	}
	if file.Hours != nil {
		life, err := hours(*file.Hours)
		if err != nil {
			return Policy{}, err
		}
		p.Life = life
	}
	switch file.Override {
	case "", Refuse.String():
	case Allow.String():
		p.Override = true
	default:
		return Policy{}, fmt.Errorf("override = %q: want %q or %q", file.Override, Allow, Refuse)
	}
	if len(p.Allow) == 0 {
		return Policy{}, errors.New("allow_types: nothing is allowed; write [\"*\"] for everything")
	}
	if err := checkTypes(p.Allow, p.Deny); err != nil {
		return Policy{}, err
	}
	if err := p.apply(defaults); err != nil {
		return Policy{}, err
	}
	for key := range file.Severity {
		// What a class says of a whole check, it says of each of its findings: no default for one of them comes before it.
		if check, ok := strings.CutSuffix(key, "*"); ok {
			maps.DeleteFunc(p.severity, func(k string, _ report.Severity) bool { return strings.HasPrefix(k, check) })
		}
	}
	if err := p.apply(file.structural); err != nil {
		return Policy{}, err
	}
	return p, nil
}

// apply takes over what is said, and leaves the rest.
func (p *Policy) apply(file structural) error {
	for s, word := range file.Stances.words() {
		if word == "" {
			continue
		}
		stance, err := parseStance(Setting(s), word)
		if err != nil {
			return err
		}
		p.stances[s] = stance
	}
	if len(file.Severity) > maxSeverities {
		return fmt.Errorf("severity: more than %d findings", maxSeverities)
	}
	for _, key := range slices.Sorted(maps.Keys(file.Severity)) {
		proposed, _, known, err := findingOf(key)
		if err != nil {
			return err
		}
		s, err := report.ParseSeverity(file.Severity[key])
		if err != nil {
			return fmt.Errorf("severity of %q: %w", key, err)
		}
		if setting := settingOfRule(key); setting != NoSetting {
			return fmt.Errorf("severity of %q: the setting %q decides it", key, setting)
		}
		if unlowered[key] && known && s > proposed {
			return fmt.Errorf("severity of %q: it says that nobody could look, and stays %q", key, proposed)
		}
		p.severity[key] = s
	}
	return nil
}

// hours holds a number against the bound before it becomes a duration: a product of hours and nanoseconds would wrap around.
func hours(n int64) (time.Duration, error) {
	if n < 1 || n > int64(maxLife/time.Hour) {
		return 0, errors.New("token_hours: want 1 to 72")
	}
	return time.Duration(n) * time.Hour, nil
}

func validClass(class string) bool {
	return len(class) >= 1 && len(class) <= 32 && strings.Trim(class, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// checkTypes refuses patterns that can match no type, and types that are allowed in vain because a setting decides them.
func checkTypes(allow, deny []string) error {
	for i, list := range [][]string{allow, deny} {
		key := [2]string{"allow_types", "deny_types"}[i]
		if len(list) > maxPatterns {
			return fmt.Errorf("%s: more than %d types", key, maxPatterns)
		}
		for j, pattern := range list {
			kind, name, ok := strings.Cut(pattern, "/")
			switch {
			case pattern == "*":
			case !ok || kind == "" || name == "" || strings.Trim(kind+name, "abcdefghijklmnopqrstuvwxyz0123456789.+-_*") != "":
				return fmt.Errorf("%s: type %q: want KIND/NAME, KIND/* or *, in small letters", key, pattern)
			case slices.Contains(list[:j], pattern):
				return fmt.Errorf("%s: %q stands there twice", key, pattern)
			case i == 0 && SettingOfType(pattern) != NoSetting:
				return fmt.Errorf("%s: the setting %q decides about %q", key, SettingOfType(pattern), pattern)
			}
		}
	}
	return nil
}

// Stance is what the policy says to a setting.
func (p Policy) Stance(s Setting) Stance {
	if s > NoSetting && s < settingEnd && slices.Contains(settings[s].stances, p.stances[s]) {
		return p.stances[s]
	}
	return Refuse
}

// Severity is what a finding does under this policy: what a setting says of it, else the override for its rule, else that for
// its check, else what the check itself proposed; never less than what the station asks for.
func (p Policy) Severity(f report.Finding) report.Severity {
	key, all := keyOf(f), f.Check.String()+"/*"
	s := p.agreed(f, key, all)
	for _, k := range []string{key, all} {
		if floor, ok := p.floor[k]; ok {
			s = min(s, floor)
		}
	}
	if s > report.Inform {
		return report.Block // no severity at all
	}
	return s
}

// agreed is the severity under the pack's policy alone.
func (p Policy) agreed(f report.Finding, key, all string) report.Severity {
	if setting := settingOfRule(key); setting != NoSetting {
		if s, ok := severities[p.Stance(setting)]; ok {
			return s
		}
		return f.Severity
	}
	for _, k := range []string{key, all} {
		if s, ok := p.severity[k]; ok {
			if unlowered[key] {
				return min(s, f.Severity)
			}
			return s
		}
	}
	return f.Severity
}

// Allows reports whether files of a media type may be on the medium. Parameters ("; charset=utf-8") do not count. A type
// that nobody found out, or that a report had no room for, is not allowed unless everything is.
func (p Policy) Allows(mediaType string) bool {
	mediaType = bare(mediaType)
	if !strings.Contains(mediaType, "/") {
		return p.allowsEverything()
	}
	if matchAny(p.Deny, mediaType) {
		return false
	}
	if mediaType == report.PartType {
		return true
	}
	if s := SettingOfType(mediaType); s != NoSetting {
		return p.Stance(s) != Refuse
	}
	return matchAny(p.Allow, mediaType)
}

// SameTypes reports whether two policies plainly take the same types: what the one took, the other takes.
func (p Policy) SameTypes(o Policy) bool {
	return slices.Equal(p.Allow, o.Allow) && slices.Equal(p.Deny, o.Deny) && p.stances == o.stances
}

func (p Policy) allowsEverything() bool {
	for s := range settings {
		if len(settings[s].types) > 0 && p.Stance(Setting(s)) == Refuse {
			return false
		}
	}
	return slices.Contains(p.Allow, "*") && len(p.Deny) == 0
}

func matchAny(patterns []string, mediaType string) bool {
	for _, pattern := range patterns {
		if pattern == "*" {
			return true
		}
		if ok, err := path.Match(pattern, mediaType); err == nil && ok {
			return true
		}
	}
	return false
}
