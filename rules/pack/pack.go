// Package pack carries a rule pack from the security team to a kiosk: it builds the pack file, signs it, publishes it as a
// TUF repository in a plain folder, and on the kiosk verifies it and puts it in force. It opens no connection: a repository
// is a folder on a stick or a share.
//
// # What it trusts
//
// A kiosk trusts the root file that it was enrolled with, and its own state folder. Everything in a repository is taken to
// be chosen by an enemy: who holds an old stick, can write to the watched folder, can set the clock, has stolen one
// person's key or the publisher's, or pulls the plug. Two persons who work together can publish what they like; that is
// what the threshold means. What a pack does to scanning (does it compile, does it find, does it spare clean files) is not
// judged here: Stage says who signed it and that it is newer, and the caller's gates come between Stage and Commit.
//
// # Pack file
//
// One POSIX tar file (USTAR), so that anybody can look into it, with one spelling for each content: regular files only,
// mode 0644, owner 0 without a name, time 0, no padding beyond the two zero blocks at the end. pack.toml comes first, the
// others follow in byte order of their names. A name has at most 100 of A-Z a-z 0-9 . _ - and /, no part of it starts with
// a dot, and no two names differ only in the case of their letters. What may stand in a pack:
//
//	pack.toml           name, version, author, product, min_version, not_after, severities, changes (rules.Manifest)
//	yara/**.yar         rules
//	hashes.txt          hash list
//	hashes/*.txt        more of them
//	settings.toml       structural settings for all classes
//	policy/CLASS.toml   equipment policies
//	samples/*.toml      what must be found
//	clean/**            what must not be found
//	README.md           for people
//
// Any other name is refused, since nothing would ever look at that file. The same folder gives the same bytes.
//
// # Repository
//
// A TUF 1.0 repository (https://theupdateframework.github.io/specification/latest/) with consistent snapshots:
//
//	metadata/N.root.json       who may sign what; signed by the root keys, and by those of N-1
//	metadata/N.targets.json    delegates rules/* to the role "rules"; signed by the root keys; names no file itself
//	metadata/N.rules.json      names one pack; N is the pack's version; signed by the security team
//	metadata/N.snapshot.json   which of these belong together; signed by the publisher's key
//	metadata/timestamp.json    the newest snapshot; signed by the publisher's key
//	targets/rules/SHA256.NAME-VERSION.pack
//	draft/                     root.json and targets.json that wait for signatures; a kiosk does not look there
//
// Narrower than TUF, because the fewer ways there are to say a thing, the fewer there are to trick a kiosk with it:
//
//   - keys are Ed25519 (RFC 8032) and carry the holder's name; root, targets and rules need two persons or more
//   - a file has one spelling, the encoding of its content; so a changed byte anywhere is a changed file
//   - every signature in a file is by a key that may sign it, and holds
//   - metadata that names other metadata states its length and SHA-256; so does the target
//   - targets.json has the number of the root file that it belongs to: who changes one changes both
//   - "targets" delegates "rules" with the paths ["rules/*"], and at most "trust" with ["trust/*"], which is kept for trust
//     files; "rules" delegates nothing and names exactly one file
//   - rules.json and timestamp.json carry "issued", a signed time. A timestamp is not older than the rules that it leads to,
//     and is good for at most 90 days from then
//
// A signature file, which travels beside a pack from person to person, is rules.json with the signatures so far. Here one
// with both, on several lines, which a real one does not have; sums and signatures are cut:
//
//	{"signatures":[{"keyid":"0d1f…","sig":"94ab…"},{"keyid":"77e2…","sig":"c01d…"}],
//	 "signed":{"_type":"targets","expires":"2027-02-10T08:00:00Z","issued":"2026-11-22T08:00:00Z","spec_version":"1.0.31",
//	  "targets":{"rules/core-7.pack":{"custom":{"min_version":"0.1.0","name":"core","product":"pratique","version":7},
//	   "hashes":{"sha256":"5b0e…"},"length":11264}},"version":7}}
//
// And its pack.toml:
//
//	name = "core"
//	version = 7
//	author = "Security team"
//	product = "pratique"
//	min_version = "0.1.0"
//	not_after = 2027-02-10T08:00:00Z
//	severities = ["warn", "block"]
//	changes = ["Finds the worm of last week."]
//
// # What holds an attacker
//
// A kiosk judges expiry at the latest of its clock, the newest issued time that it ever accepted and the one in hand. So a
// clock that is set back revives nothing, and a dead clock does not lock new packs out. A thief of the publisher's key can
// set that time forward, but only as far as the pack that two persons signed is good for, because the whole repository must
// be in date at that time; and once the root keys have given the publisher's role to another key, all that the old one said
// is void, its time and its numbers. The version of a pack only grows: whoever wants an older pack back builds it with a
// new, higher version. Two packs with one version are refused.
//
// What it cannot hold: a kiosk that never took anything has no memory, so it takes any publication that is in date; and
// whoever keeps newer sticks away from a kiosk is seen by the age of its pack alone (Meta.AgeFrom).
//
// # Store
//
// A Store is a folder in the kiosk's state:
//
//	lock            held from Stage to Commit or Discard
//	current         one line, the name of the generation in force
//	gen-NUMBER/     N.root.json ..., targets.json, rules.json, snapshot.json, timestamp.json, pack, record.json
//	staging-*/      a generation in the making
//
// Stage verifies into a new folder and changes nothing else; so a repository that is good in half leaves no trace. Commit
// renames that folder and then replaces current: one step, before which the old pack is in force and after which the new
// one is. Open removes what a crash left. The metadata and the pack's digest are verified again whenever the pack is read.
package pack

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Program is the version of the program that a pack's min_version is held against.
const Program = "0.1.0"

// Product is what a pack's manifest names as product.
const Product = "pratique"

// Limits on a repository. A real root file has 3 KB; a timestamp 600 bytes.
const (
	maxMetadata = 64 << 10
	// A year's rotation for a lifetime of the station. Each costs two signature checks.
	maxRoots = 64
	// Ten million hashes are 650 MB of text.
	maxPack = 1 << 30
	// A source tree of 3,000 rules with a sample for each is 10,000 files.
	maxFiles = 20_000
	// A hospital's security team; keeps a file with thousands of signatures from costing thousands of checks.
	maxSigners = 32
	// Text that people typed: names of persons, an author, a note on a change.
	maxName    = 64
	maxNote    = 1_000
	maxChanges = 200
	// A pack is to be replaced every few days; who signs one for ever could never take it back from a kiosk that is offline.
	maxPackLife = 400 * 24 * time.Hour
	// Entries of the store's history: a pack each day for three years.
	maxHistory = 1_000
	// Of so many of them the notes on changes are kept, so that a record stays readable in one go.
	maxNotes = 20
	// Longer messages than this are made by an enemy.
	maxWords = 600
)

// Meta is what is known of a pack beside its content.
type Meta struct {
	Name       string    `json:"name"`
	Version    uint64    `json:"version"`
	Author     string    `json:"author"`
	MinVersion string    `json:"min_version"` // of the program
	Severities []string  `json:"severities"`
	Changes    []string  `json:"changes"`
	NotAfter   time.Time `json:"not_after"` // of the pack itself
	SHA256     string    `json:"sha256"`    // of the pack file, in hex
	Size       int64     `json:"size"`
	Issued     time.Time `json:"issued"`            // when the first person signed it
	Published  time.Time `json:"published"`         // when the publisher last said that it is the newest
	Expires    time.Time `json:"expires"`           // when the first part of what vouches for it runs out
	Signers    []string  `json:"signers"`           // names of the keys that signed the pack
	Needed     int       `json:"needed"`            // how many of them it takes
	Root       int64     `json:"root"`              // version of the root file
	Samples    []string  `json:"samples,omitempty"` // names of the files below samples/ and clean/; not kept in the history
	Clean      []string  `json:"clean,omitempty"`
	Installed  time.Time `json:"installed"` // by the kiosk's clock when it was staged
}

// AgeFrom is when the pack's age counts from: when the publisher last said that it is the newest, but not from later than the
// kiosk took it. A stolen publisher's key could otherwise make a pack that never ages.
func (m Meta) AgeFrom() time.Time {
	if m.Installed.Before(m.Published) {
		return m.Installed
	}
	return m.Published
}

// Reason is why a repository is refused.
type Reason string

// The reasons. The list is closed.
const (
	NoRepository Reason = "no-repository" // no repository there, or a part of it is missing
	Malformed    Reason = "malformed"
	NotSigned    Reason = "not-signed" // too few signatures, or one that does not count or does not hold
	Changed      Reason = "changed"    // a file is not the one that was signed
	TooLarge     Reason = "too-large"
	Expired      Reason = "expired"
	Older        Reason = "older"
	TwoVersions  Reason = "two-versions" // two contents under one number
	WrongProduct Reason = "wrong-product"
	NewerProgram Reason = "newer-program" // the pack needs a newer program
	NothingNew   Reason = "nothing-new"   // what is there is in force already
)

// Refusal says in words why a repository is not taken. It is what was learned of a repository; any other error is the
// kiosk's own failure. Either way nothing has changed.
type Refusal struct {
	Reason Reason
	Text   string
}

func (r *Refusal) Error() string { return "rule pack refused: " + r.Text }

// refuse makes a Refusal whose words can be shown: what they quote of an unsigned file cannot move a cursor or turn a line.
func refuse(reason Reason, format string, args ...any) error {
	text := []rune(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, fmt.Sprintf(format, args...)))
	return &Refusal{reason, string(text[:min(len(text), maxWords)])}
}

// Errors that callers branch on.
var (
	ErrNone    = errors.New("no rule pack is installed")
	ErrNoRoot  = errors.New("this station knows no root file: it is not enrolled with a security team")
	ErrBusy    = errors.New("another import of a rule pack is under way")
	ErrDamaged = errors.New("the store of rule packs is damaged")
)
