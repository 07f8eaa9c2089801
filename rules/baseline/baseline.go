// Package baseline is the rule pack that ships inside the program: what a station looks for before its security team
// installs a pack of its own. Its sources are the files beside this one.
package baseline

import (
	"embed"
	"io/fs"

	"pratique/rules"
)

//go:embed pack.toml hashes yara policy samples clean
var files embed.FS

// Files are the sources: what a new pack begins with.
func Files() fs.FS { return files }

// Pack returns the baseline pack. An error means that the program was built from damaged sources.
func Pack() (rules.Pack, error) { return rules.LoadFS(files) }
