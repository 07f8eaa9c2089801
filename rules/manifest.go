package rules

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Manifest is what a pack says of itself in pack.toml. A pack that is loaded from a folder needs a name and a version; the
// rest is asked for when it is built and signed (package rules/pack).
type Manifest struct {
	Name       string    `toml:"name"`
	Version    uint64    `toml:"version"`
	Author     string    `toml:"author"`
	Product    string    `toml:"product"`     // "pratique"
	MinVersion string    `toml:"min_version"` // of the program, such as "0.1.0"
	NotAfter   time.Time `toml:"not_after"`   // no kiosk takes the pack after that
	Severities []string  `toml:"severities"`  // the classes that its rules use: inform, warn, block
	Changes    []string  `toml:"changes"`     // since the version before, one sentence each
}

// ParseManifest decodes pack.toml. An unknown key is an error.
func ParseManifest(text []byte) (Manifest, error) {
	var m Manifest
	if err := decodeStrict(text, &m); err != nil {
		return Manifest{}, fmt.Errorf("pack.toml: %w", err)
	}
	if m.Name == "" || m.Version == 0 {
		return Manifest{}, errors.New("pack.toml has no name or no version")
	}
	return m, nil
}

// Encode writes the manifest as pack.toml. The same manifest gives the same bytes.
func (m Manifest) Encode() []byte {
	var b bytes.Buffer
	text := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s = %s\n", key, tomlString(value))
		}
	}
	list := func(key string, values []string) {
		if len(values) == 0 {
			return
		}
		fmt.Fprintf(&b, "%s = [", key)
		for i, v := range values {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(tomlString(v))
		}
		b.WriteString("]\n")
	}
	text("name", m.Name)
	fmt.Fprintf(&b, "version = %d\n", m.Version)
	text("author", m.Author)
	text("product", m.Product)
	text("min_version", m.MinVersion)
	if !m.NotAfter.IsZero() {
		fmt.Fprintf(&b, "not_after = %s\n", m.NotAfter.UTC().Format(time.RFC3339))
	}
	list("severities", m.Severities)
	list("changes", m.Changes)
	return b.Bytes()
}

// tomlString quotes a basic string of TOML.
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, "\\u%04X", r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
