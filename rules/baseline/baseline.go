// Package baseline is the rule pack that ships inside the program: what a station looks for before its security team
// installs a pack of its own. Its sources are the files beside this one.
package baseline

import (
	"embed"

	"pratique/rules"
)

//go:embed pack.toml hashes.txt yara policy
var files embed.FS

// Pack returns the baseline pack. An error means that the program was built from damaged sources.
func Pack() (rules.Pack, error) { return rules.LoadFS(files) }
