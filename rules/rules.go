// Package rules says what a rule pack holds: YARA rules, a blocklist of hashes, and for each equipment class a policy on
// findings and file types. It is pure Go and matches nothing itself: libyara is behind rules/yara, lists behind
// rules/blocklist.
//
// A pack is a folder, which its authors keep in git:
//
//	pack.toml             name and version, and what a pack needs to be signed (Manifest)
//	yara/**.yar, .yara    rules; a rule's meta "severity" (inform, warn, block) decides what a match does, absent means block
//	hashes.txt            SHA-256, SHA-1 or MD5 in hex, one a line, '#' comments
//	hashes/*.txt          more such lists, one for each feed
//	settings.toml         structural settings that hold for every class whose policy does not say otherwise (ParsePolicy)
//	policy/CLASS.toml     what a medium for that equipment class may hold
//	samples/*.toml        how to make what the rules must match, and near misses that none may match (ParseSamples)
//	clean/**              files that no rule may match and whose hashes no list may hold
//
// Only pack.toml and one policy must be there. Other files, such as a README, are not part of the pack and not of its
// digest.
//
// The package trusts the pack's author, and nobody else: decoding is strict, an unknown key is an error, and a class
// without a policy cannot be screened for. A site adds rules and hashes to a pack with With and makes its policies stricter
// with Tighten; it can take nothing away that refuses. What a policy can say is in ParsePolicy, what its settings decide in
// the table of Setting.
package rules

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// Limits on a pack. Public rule sets of 3,000 rules are 6 MB of source; ten million hashes are 650 MB of text.
const (
	maxSourceBytes = 64 << 20
	maxSources     = 20_000
	maxListBytes   = 2 << 30
	maxLists       = 1_000    // feeds
	maxTextBytes   = 1 << 20  // of one file of settings; the samples of 1,000 rules are half of it
	maxSampleFiles = 1_000    // files of recipes
	maxCleanBytes  = 64 << 20 // of all files that travel with a pack; larger collections stay with the authors
	maxCleanFiles  = 5_000
)

// Source is one file of YARA rules.
type Source struct {
	Name string // path below the pack's yara folder; the namespace of its rules
	Text []byte
}

// Pack is a rule pack in memory.
type Pack struct {
	Name     string
	Version  uint64
	Digest   [32]byte // over every file of the pack
	Added    [32]byte // over what With and Tighten added; zero if nothing was
	YARA     []Source
	Lists    [][]byte // hash lists as text
	Policies map[string]Policy
	Samples  []Sample // what the rules must match
	Clean    []File   // what they must not
}

// File is content with a name.
type File struct {
	Name    string // path below the pack's clean folder
	Content []byte
}

// LoadFS reads a pack from a folder.
func LoadFS(fsys fs.FS) (Pack, error) {
	text, err := fs.ReadFile(fsys, "pack.toml")
	if err != nil {
		return Pack{}, fmt.Errorf("rule pack: %w", err)
	}
	head, err := ParseManifest(text)
	if err != nil {
		return Pack{}, fmt.Errorf("rule pack: %w", err)
	}
	pack := Pack{Name: head.Name, Version: head.Version, Policies: map[string]Policy{}}
	sum := newPackDigest()
	sum.add("pack.toml", text)

	if pack.YARA, err = loadYARA(fsys, "yara", sum); err != nil {
		return Pack{}, err
	}
	if err := pack.loadLists(fsys, sum); err != nil {
		return Pack{}, fmt.Errorf("rule pack: %w", err)
	}
	if err := pack.loadPolicies(fsys, sum); err != nil {
		return Pack{}, fmt.Errorf("rule pack: %w", err)
	}
	if len(pack.Policies) == 0 {
		return Pack{}, errors.New("rule pack: no equipment class has a policy")
	}
	if err := pack.loadSamples(fsys, sum); err != nil {
		return Pack{}, fmt.Errorf("rule pack: %w", err)
	}
	pack.Digest = sum.sum()
	return pack, nil
}

// With returns the pack with a folder of YARA files and a hash list added; either may be nil. The name and
// the digest InForce say that something was.
func (p Pack) With(yara fs.FS, list io.Reader) (Pack, error) {
	if yara == nil && list == nil {
		return p, nil
	}
	sum, before := newPackDigest(), p.InForce()
	sum.add("pack", before[:])
	if yara != nil {
		added, err := loadYARA(yara, ".", sum)
		if err != nil {
			return Pack{}, err
		}
		if len(added) == 0 {
			return Pack{}, errors.New("the rules folder holds no .yar or .yara file")
		}
		p.YARA = append(slices.Clone(p.YARA), added...)
	}
	if list != nil {
		text, err := io.ReadAll(io.LimitReader(list, maxListBytes+1))
		if err != nil {
			return Pack{}, fmt.Errorf("blocklist: %w", err)
		}
		if len(text) > maxListBytes {
			return Pack{}, fmt.Errorf("blocklist: longer than %d bytes", int64(maxListBytes))
		}
		p.Lists = append(slices.Clone(p.Lists), text)
		sum.add("hashes.txt", text)
	}
	p.Name += "+local"
	p.Added = sum.sum()
	return p, nil
}

// InForce is the digest of everything that is looked for: the pack, and what was added to it.
func (p Pack) InForce() [32]byte {
	if p.Added == ([32]byte{}) {
		return p.Digest
	}
	return p.Added // it covers the pack's own digest
}

// loadYARA reads every .yar and .yara file below root, in the order of their names.
func loadYARA(fsys fs.FS, root string, sum *packDigest) ([]Source, error) {
	var out []Source
	total := 0
	err := fs.WalkDir(fsys, root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) && name == root && root != "." {
				return fs.SkipAll // a pack may have no rules of its own
			}
			return err
		}
		if ext := path.Ext(name); d.IsDir() || ext != ".yar" && ext != ".yara" {
			return nil
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is not a regular file", name)
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		if total += len(text); total > maxSourceBytes || len(out) == maxSources {
			return fmt.Errorf("more than %d files or %d bytes of rules", maxSources, maxSourceBytes)
		}
		out = append(out, Source{Name: name, Text: text})
		sum.add(name, text)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	return out, nil
}

// packDigest hashes names and contents with their lengths, so that no two sets of files give the same bytes.
type packDigest struct{ buf bytes.Buffer }

func newPackDigest() *packDigest {
	d := &packDigest{}
	d.buf.WriteString("pratique rule pack v1\x00")
	return d
}

func (d *packDigest) add(name string, text []byte) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(name)))
	d.buf.Write(n[:])
	d.buf.WriteString(name)
	sum := sha256.Sum256(text)
	d.buf.Write(sum[:])
}

func (d *packDigest) sum() [32]byte { return sha256.Sum256(d.buf.Bytes()) }

// decodeStrict decodes TOML and refuses keys that v does not have. The library also takes a key in capitals for the one in
// small letters, so that two lines could give one setting, and the order of a map would choose.
func decodeStrict(text []byte, v any) error {
	meta, err := toml.Decode(string(text), v)
	if err != nil {
		return err
	}
	for _, key := range meta.Keys() {
		for i, part := range key {
			if part != strings.ToLower(part) && !(i == 1 && key[0] == "severity") { // those are names of rules
				return fmt.Errorf("unknown key %q: keys are in small letters", key.String())
			}
		}
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return fmt.Errorf("unknown key %q", unknown[0].String())
	}
	return nil
}
