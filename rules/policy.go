package rules

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"pratique/scanner/report"
)

// Policy says what a medium for one equipment class may hold. The zero value allows no type and so clears nothing but
// an empty medium.
type Policy struct {
	Class string
	// Allow lists the media types that files and streams may have, such as "application/dicom" or "image/*"; "*" is all.
	Allow []string
	// Deny takes away from Allow.
	Deny []string
	// Life is how long a clearance holds; at most 72 hours, which every verifier enforces too.
	Life time.Duration
	// severity overrides what a check proposes: keys are CHECK/RULE or CHECK/*, such as "volume/fat-lost-chain".
	severity map[string]report.Severity
}

// Verifiers refuse tokens that live longer than maxLife, whatever a policy says.
const (
	defaultLife = 8 * time.Hour
	maxLife     = 72 * time.Hour
)

// ParsePolicy decodes one policy file.
//
//	class = "imaging"
//	token_hours = 8                                # 1 to 72, default 8
//	allow_types = ["application/dicom", "image/*"]
//	deny_types = []
//	[severity]
//	"volume/fat-lost-chain" = "warn"
func ParsePolicy(text []byte) (Policy, error) {
	var file struct {
		Class    string            `toml:"class"`
		Hours    *int64            `toml:"token_hours"`
		Allow    []string          `toml:"allow_types"`
		Deny     []string          `toml:"deny_types"`
		Severity map[string]string `toml:"severity"`
	}
	if err := decodeStrict(text, &file); err != nil {
		return Policy{}, err
	}
	p := Policy{Class: file.Class, Allow: file.Allow, Deny: file.Deny, Life: defaultLife, severity: map[string]report.Severity{}}
	if !validClass(p.Class) {
		return Policy{}, fmt.Errorf("class %q: want 1 to 32 of a-z, 0-9 and -", p.Class)
	}
	if file.Hours != nil {
		// Held against the bound as a number of hours: a product of hours and nanoseconds would wrap around.
		if *file.Hours < 1 || *file.Hours > int64(maxLife/time.Hour) {
			return Policy{}, errors.New("token_hours: want 1 to 72")
		}
		p.Life = time.Duration(*file.Hours) * time.Hour
	}
	if len(p.Allow) == 0 {
		return Policy{}, errors.New("allow_types: nothing is allowed; write [\"*\"] for everything")
	}
	for _, pattern := range slices.Concat(p.Allow, p.Deny) {
		if pattern != "*" && !strings.Contains(pattern, "/") {
			return Policy{}, fmt.Errorf("type %q: want KIND/NAME, KIND/* or *", pattern)
		}
		if _, err := path.Match(pattern, ""); err != nil {
			return Policy{}, fmt.Errorf("type %q: %w", pattern, err)
		}
	}
	for key, word := range file.Severity {
		s, err := report.ParseSeverity(word)
		if err != nil {
			return Policy{}, fmt.Errorf("severity of %q: %w", key, err)
		}
		if !strings.Contains(key, "/") {
			return Policy{}, fmt.Errorf("severity key %q: want CHECK/RULE", key)
		}
		p.severity[key] = s
	}
	return p, nil
}

func validClass(class string) bool {
	return len(class) >= 1 && len(class) <= 32 && strings.Trim(class, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// Severity is what a finding does under this policy: the override for its rule, else that for its check, else what the
// check itself proposed.
func (p Policy) Severity(f report.Finding) report.Severity {
	for _, key := range []string{f.Check.String() + "/" + f.Rule, f.Check.String() + "/*"} {
		if s, ok := p.severity[key]; ok {
			return s
		}
	}
	return f.Severity
}

// Allows reports whether files of a media type may be on the medium. Parameters ("; charset=utf-8") do not count. A type
// that nobody found out is not allowed unless everything is.
func (p Policy) Allows(mediaType string) bool {
	mediaType, _, _ = strings.Cut(mediaType, ";")
	mediaType = strings.TrimSpace(mediaType)
	return matchAny(p.Allow, mediaType) && !matchAny(p.Deny, mediaType)
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
