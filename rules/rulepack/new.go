package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pratique/rules/baseline"
)

// newFiles are the files of a new pack, with {name}, {author} and {until}. Beside them it has what the baseline has: an installed
// pack takes the baseline's place, a kiosk takes none that does not find its canaries, and a class without a policy cannot be
// screened for.
var newFiles = map[string]string{
	"pack.toml": `name = "{name}"
version = 1
author = "{author}"
product = "pratique"
min_version = "0.1.0"
not_after = {until}
severities = ["inform", "warn", "block"]
changes = ["The first version."]
`,
	"yara/first.yar": `rule First_Rule
{
    meta:
        description = "A file that holds the words of our first rule."
        author = "{author}"
        reference = "https://yara.readthedocs.io/en/v4.2.3/writingrules.html"
        severity = "warn"
    strings:
        $words = "the words of our first rule" ascii wide
    condition:
        uint32(0) != 0 and filesize < 1MB and $words
}
`,
	"samples/first.toml": `# Samples are made from these recipes, so that nothing here looks like malware to another scanner.

[[sample]]
name = "note.txt"
rules = ["First_Rule"]
parts = [{ text = "Here are the words| of our first rule.", drop = "|" }]

[[sample]]
name = "note.txt"
rules = []
why = "Nearly the same words."
parts = [{ text = "Here are the words of our second rule." }]
`,
	"clean/letter.txt": `Dear colleagues, this is an ordinary letter, which no rule may find anything in.
`,
	"README.md": `# {name}

Rules of this hospital. See the first lines of each file, and then:

    rulepack lint .
    rulepack test --clean FOLDER .
    rulepack bench .
`,
}

func (p *program) newPack(_ context.Context, args []string) (int, error) {
	set := p.flags("new", "DIR", "new ward-rules")
	author := set.String("author", "Security team", "`NAME` of who answers for the pack")
	if err := set.parse(args, 1, 1); err != nil {
		return 0, err
	}
	dir := set.args[0]
	name := filepath.Base(filepath.Clean(dir))
	if strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || len(name) > 64 {
		return 0, usagef("new: the folder gives the pack its name: at most 64 of a-z, 0-9 and -")
	}
	if *author == "" || len(*author) > 64 || strings.ContainsAny(*author, "\"\\\r\n\t\x00") {
		return 0, usagef("new: --author wants a name of at most 64 bytes, without quotes")
	}
	// A folder of its own: nothing that is there already is ever written over.
	if err := os.Mkdir(dir, 0o777); errors.Is(err, fs.ErrExist) {
		return 0, usagef("new: %s exists already", dir)
	} else if err != nil {
		return 0, err
	}
	until := time.Now().UTC().AddDate(1, 0, 0).Format(time.DateOnly) + "T00:00:00Z" // a year: a pack that nobody renews is nobody's
	for file, text := range newFiles {
		text = strings.NewReplacer("{name}", strings.ToLower(name), "{author}", *author, "{until}", until).Replace(text)
		if err := writeSource(filepath.Join(dir, filepath.FromSlash(file)), []byte(text)); err != nil {
			return 0, err
		}
	}
	err := fs.WalkDir(baseline.Files(), ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || file == "pack.toml" || file == "README.md" {
			return err
		}
		text, err := fs.ReadFile(baseline.Files(), file)
		if err != nil {
			return err
		}
		return writeSource(filepath.Join(dir, filepath.FromSlash(shipped(file))), text)
	})
	if err != nil {
		return 0, err
	}
	p.say("%s holds a pack that lints, tests and builds. Begin with yara/first.yar.", dir)
	return exitOK, nil
}

// shipped is where a file of the baseline goes: its rules and clean files into a folder of their own, so that a later baseline's
// can take their place.
func shipped(file string) string {
	for _, folder := range []string{"yara/", "clean/"} {
		if rest, ok := strings.CutPrefix(file, folder); ok {
			return folder + "baseline/" + rest
		}
	}
	return file
}

func writeSource(name string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return err
	}
	return writeNew(name, text, 0o666)
}
