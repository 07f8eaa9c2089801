package pack

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"pratique/rules"
)

// attack is what somebody puts before a kiosk that runs version 2 of a pack and has seen a republication of it.
type attack struct {
	name   string
	make   func(r *rig, old string) (repository string, now time.Time) // old is a stick of version 1
	reason Reason
	words  string
}

// damaged is a stick with version 3 that was changed by somebody without a key.
func damaged(change func(r *rig, dir string)) func(*rig, string) (string, time.Time) {
	return func(r *rig, _ string) (string, time.Time) {
		r.publish(3)
		dir := r.stick()
		change(r, dir)
		return dir, r.now
	}
}

// forged is a stick with version 3 whose metadata was changed and signed anew by people who hold keys.
func forged(change func(c *crafted)) func(*rig, string) (string, time.Time) {
	return damaged(func(r *rig, dir string) { r.craft(dir, change) })
}

// theFile is the one file that a pattern names.
func theFile(r *rig, dir, pattern string) string {
	names, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(pattern)))
	if err != nil || len(names) == 0 {
		r.t.Fatalf("%s: %v", pattern, err)
	}
	return names[len(names)-1]
}

func thePack(r *rig, dir string) string { return theFile(r, dir, "targets/rules/*core-3.pack") }

var attacks = []attack{
	{"older stick", func(r *rig, old string) (string, time.Time) { return old, r.now }, Older, "older than what this station has seen"},
	{"older stick, clock set back", func(r *rig, old string) (string, time.Time) { return old, r.now.Add(-900 * daysOf) }, Older, "older than what"},
	{"expired publication", func(r *rig, _ string) (string, time.Time) {
		r.publish(3)
		return r.dir, r.now.Add(31 * daysOf)
	}, Expired, "the publisher's date (timestamp) ran out on"},
	{"expired publication, clock set back", func(r *rig, _ string) (string, time.Time) {
		r.publish(3)
		stale := r.stick() // good for 30 days from here
		r.now = r.now.Add(40 * daysOf)
		r.publish(4)
		must(r.t, install(r.store(), r.dir, r.now)) // now the station has seen a later time
		return stale, today
	}, Older, "older than what this station has seen"},
	{"expired pack, republished", func(r *rig, _ string) (string, time.Time) {
		r.publish(3)
		r.craft(r.dir, func(c *crafted) {
			c.timestamp.Signed.Expires, c.snapshot.Signed.Expires = today.Add(85*daysOf), today.Add(85*daysOf)
		})
		return r.dir, today.Add(81 * daysOf)
	}, Expired, "the signatures of the pack (rules) ran out on"},
	{"expired list of signers", func(r *rig, _ string) (string, time.Time) {
		r.publish(3)
		return r.dir, today.Add(366 * daysOf)
	}, Expired, "the list of who may sign (root) ran out on"},
	{"publisher's thief sets the time far ahead", forged(func(c *crafted) {
		c.timestamp.Signed.UnrecognizedFields = issuedAt(today.Add(3000 * daysOf))
		c.timestamp.Signed.Expires, c.snapshot.Signed.Expires = today.Add(3050*daysOf), today.Add(3050*daysOf)
	}), Expired, "(root) ran out on"},
	{"publication that never goes stale", forged(func(c *crafted) {
		c.timestamp.Signed.Expires = today.Add(200 * daysOf)
	}), Malformed, "good for more than 90 days"},
	{"old list of signers under a new root", func(r *rig, _ string) (string, time.Time) {
		old, err := metadata.Targets().FromFile(filepath.Join(r.dir, "metadata/1.targets.json"))
		must(r.t, err)
		change := team()
		change.Rules = keysOf(dora, fran)
		must(r.t, Draft(r.dir, change, r.now))
		r.signDrafts(anna, bert)
		r.signers = []person{dora, fran}
		r.publish(3)
		r.craft(r.dir, func(c *crafted) {
			c.targets, c.by["rules"] = old, []person{dora, emil} // it let emil sign
		})
		return r.dir, r.now
	}, Malformed, "has number 1 and does not belong to"},
	{"timestamp from before its pack", forged(func(c *crafted) {
		c.timestamp.Signed.UnrecognizedFields = issuedAt(today.Add(-daysOf))
	}), Malformed, "older than the pack that it leads to"},
	{"two timestamps with one number", func(r *rig, _ string) (string, time.Time) {
		r.craft(r.dir, func(c *crafted) { c.timestamp.Signed.Version--; c.timestamp.Signed.Expires = today.Add(20 * daysOf) })
		return r.dir, r.now
	}, TwoVersions, "there are two with the number"},
	{"old timestamp before new files", damaged(func(r *rig, dir string) {
		copyFile(r, filepath.Join(r.oldStick, "metadata/timestamp.json"), filepath.Join(dir, "metadata/timestamp.json"))
	}), Older, "older than what this station has seen"},
	{"old pack under a new publication", forged(func(c *crafted) {
		old, err := metadata.Targets().FromFile(filepath.Join(c.oldStick, "metadata/1.rules.json"))
		if err != nil {
			panic(err)
		}
		c.rules = old
	}), Older, "mixes old and new: rules.json"},
	{"one signature of two", forged(func(c *crafted) { c.by["rules"] = []person{dora} }), NotSigned, "signed by 1 of the 2 persons"},
	{"no signature", forged(func(c *crafted) { c.by["rules"] = nil }), NotSigned, "signed by 0 of the 2 persons"},
	{"one signature, twice", damaged(func(r *rig, dir string) {
		r.craft(dir, func(c *crafted) {
			must(r.t, addSignature(c.rules, dora.Key, dora))
			c.by["rules"] = []person{dora}
		})
		twice(r, dir)
	}), Malformed, "cannot be read"},
	{"one stolen key and one that may not sign", forged(func(c *crafted) { c.by["rules"] = []person{dora, thief} }), NotSigned, "a key that may not sign this"},
	{"signed by the publisher's key", forged(func(c *crafted) { c.by["rules"] = []person{dora, gina} }), NotSigned, "a key that may not sign this"},
	{"publisher's date by a thief", forged(func(c *crafted) { c.by["timestamp"] = []person{thief} }), NotSigned, "a key that may not sign this"},
	{"table by a thief", forged(func(c *crafted) { c.by["snapshot"] = []person{thief} }), NotSigned, "a key that may not sign this"},
	{"one root person names the security team", forged(func(c *crafted) { c.by["targets"] = []person{anna} }), NotSigned, "signed by 1 of the 2"},
	{"revoked signer", func(r *rig, _ string) (string, time.Time) {
		change := team()
		change.Rules = keysOf(dora, fran)
		must(r.t, Draft(r.dir, change, r.now))
		r.signDrafts(anna, bert)
		r.signers = []person{dora, fran}
		r.publish(3)
		r.craft(r.dir, func(c *crafted) { c.by["rules"] = []person{dora, emil} })
		return r.dir, r.now
	}, NotSigned, "it was revoked, or never allowed"},
	{"new root by the thief of one root key", damaged(func(r *rig, dir string) {
		root, err := metadata.Root().FromFile(filepath.Join(dir, "metadata/1.root.json"))
		must(r.t, err)
		key, id, err := thief.tuf()
		must(r.t, err)
		root.Signed.Version++
		root.Signed.Keys[id] = key
		root.Signed.Roles[metadata.ROOT].KeyIDs = append(root.Signed.Roles[metadata.ROOT].KeyIDs, id)
		must(r.t, os.WriteFile(filepath.Join(dir, "metadata/2.root.json"), resign(r.t, root, []person{anna, thief}), 0o644))
	}), NotSigned, "(root): signed by 1 of the 2 persons"},
	{"new root that one person could change alone", damaged(func(r *rig, dir string) {
		root, err := metadata.Root().FromFile(filepath.Join(dir, "metadata/1.root.json"))
		must(r.t, err)
		root.Signed.Version++
		root.Signed.Roles[metadata.ROOT].Threshold = 1
		must(r.t, os.WriteFile(filepath.Join(dir, "metadata/2.root.json"), resign(r.t, root, []person{anna, bert}), 0o644))
	}), Malformed, "it takes at least 2"},
	{"root under another number", damaged(func(r *rig, dir string) {
		copyFile(r, filepath.Join(dir, "metadata/1.root.json"), filepath.Join(dir, "metadata/2.root.json"))
	}), Malformed, "has number 1 and is stored as 2"},
	{"swapped pack", damaged(func(r *rig, dir string) {
		name := thePack(r, dir)
		info, err := os.Stat(name)
		must(r.t, err)
		must(r.t, os.WriteFile(name, make([]byte, info.Size()), 0o644))
	}), Changed, "the pack is not the one that was signed"},
	{"endless pack", damaged(func(r *rig, dir string) { must(r.t, os.Truncate(thePack(r, dir), 1<<40)) }), Changed, "bytes, and"},
	{"endless metadata", damaged(func(r *rig, dir string) {
		must(r.t, os.Truncate(filepath.Join(dir, "metadata/timestamp.json"), 1<<40))
	}), TooLarge, "has more than 65536 bytes"},
	{"oversized table", damaged(func(r *rig, dir string) {
		must(r.t, os.Truncate(theFile(r, dir, "metadata/*.snapshot.json"), maxMetadata+1))
	}), TooLarge, "has more than 65536 bytes"},
	{"pack as a link to another file", damaged(func(r *rig, dir string) {
		name := thePack(r, dir)
		must(r.t, os.Rename(name, filepath.Join(dir, "elsewhere")))
		must(r.t, os.Symlink("../../elsewhere", name))
	}), Malformed, "is a link"},
	{"metadata as a link out of the stick", damaged(func(r *rig, dir string) { link(r, "/etc/passwd", filepath.Join(dir, "metadata/timestamp.json")) }), Malformed, "is a link"},
	{"metadata as a link to an endless device", damaged(func(r *rig, dir string) { link(r, "/dev/zero", filepath.Join(dir, "metadata/timestamp.json")) }), Malformed, "is a link"},
	{"metadata folder as a link", damaged(func(r *rig, dir string) {
		must(r.t, os.Rename(filepath.Join(dir, "metadata"), filepath.Join(dir, "other")))
		must(r.t, os.Symlink("other", filepath.Join(dir, "metadata")))
	}), Malformed, "is a link"},
	{"metadata as a FIFO that nobody writes to", damaged(func(r *rig, dir string) {
		must(r.t, os.Remove(filepath.Join(dir, "metadata/timestamp.json")))
		must(r.t, syscall.Mkfifo(filepath.Join(dir, "metadata/timestamp.json"), 0o644))
	}), Malformed, "another thing that has no place"},
	{"no repository", func(r *rig, _ string) (string, time.Time) { return r.t.TempDir(), r.now }, NoRepository, "(timestamp) is missing"},
	{"no folder", func(r *rig, _ string) (string, time.Time) { return filepath.Join(r.t.TempDir(), "x"), r.now }, NoRepository, "no folder"},
	{"half a stick: no pack", damaged(func(r *rig, dir string) { must(r.t, os.Remove(thePack(r, dir))) }), NoRepository, "the pack is missing"},
	{"half a stick: no rules", damaged(func(r *rig, dir string) { must(r.t, os.Remove(filepath.Join(dir, "metadata/3.rules.json"))) }), NoRepository, "(rules) is missing"},
	{"half-written pack", damaged(func(r *rig, dir string) { must(r.t, os.Truncate(thePack(r, dir), 700)) }), Changed, "the pack has 700 bytes"},
	{"table of another publication", damaged(func(r *rig, dir string) {
		names, err := filepath.Glob(filepath.Join(dir, "metadata/*.snapshot.json"))
		must(r.t, err)
		copyFile(r, names[0], names[len(names)-1])
	}), Changed, "comes from another publication"},

	{"wrong product", wrongPack(func(t *custom) { t.Product = "submarine" }), WrongProduct, `for the product "submarine"`},
	{"newer program needed", func(r *rig, _ string) (string, time.Time) {
		r.publishSource(withManifest(sources(3), func(m *rules.Manifest) { m.MinVersion = "7.0.0" }))
		return r.dir, r.now
	}, NewerProgram, "needs version 7.0.0 of the program"},
	{"another pack under the version in force", func(r *rig, _ string) (string, time.Time) {
		src := sources(2)
		src["yara/a.yar"].Data = []byte("rule a { condition: false }")
		r.publishSource(src)
		return r.dir, r.now
	}, TwoVersions, "two packs with the version 2"},
	{"manifest of another pack than was signed", func(r *rig, _ string) (string, time.Time) {
		r.publish(3)
		other := build(r.t, withManifest(sources(3), func(m *rules.Manifest) { m.Name = "other" }))
		swapPack(r, r.dir, other)
		return r.dir, r.now
	}, Malformed, "not for the pack that was signed"},
	{"another expiry in the pack than was signed", func(r *rig, _ string) (string, time.Time) {
		r.publish(3)
		other := build(r.t, withManifest(sources(3), func(m *rules.Manifest) { m.NotAfter = today.Add(300 * daysOf) }))
		swapPack(r, r.dir, other)
		return r.dir, r.now
	}, Malformed, "another not_after"},
	{"pack that does not load", func(r *rig, _ string) (string, time.Time) {
		src := sources(3)
		src["policy/general.toml"].Data = []byte("class = 7")
		r.publishSource(src)
		return r.dir, r.now
	}, Malformed, "policy/general.toml"},
	{"pack that is no pack", func(r *rig, _ string) (string, time.Time) {
		r.publish(3)
		name := filepath.Join(r.t.TempDir(), "zip")
		must(r.t, os.WriteFile(name, []byte(strings.Repeat("PK", 2000)), 0o644))
		swapPack(r, r.dir, name)
		return r.dir, r.now
	}, Malformed, "the pack file"},
	{"pack for longer than a year", func(r *rig, _ string) (string, time.Time) {
		r.publish(3)
		r.craft(r.dir, func(c *crafted) { c.rules.Signed.Expires = today.Add(3000 * daysOf) })
		return r.dir, r.now
	}, Malformed, "days from when it was signed"},

	{"two targets", forged(func(c *crafted) {
		for _, f := range c.rules.Signed.Targets {
			c.rules.Signed.Targets["rules/other-3.pack"] = f
			break
		}
	}), Malformed, "it names 2 packs"},
	{"no target", forged(func(c *crafted) { clear(c.rules.Signed.Targets) }), Malformed, "it names 0 packs"},
	{"target outside its folder", wrongTarget("rules/../../core-3.pack"), Malformed, "do not agree"},
	{"absolute target", wrongTarget("/etc/core-3.pack"), Malformed, "do not agree"},
	{"target of another role", wrongTarget("trust/core-3.pack"), Malformed, "do not agree"},
	{"target that says more", wrongPackText(`{"min_version":"0.1.0","more":1,"name":"core","product":"pratique","version":3}`), Malformed, "says more of the pack"},
	{"target that says a thing twice", wrongPackText(`{"min_version":"0.1.0","name":"core","name":"core","product":"pratique","version":3}`), Malformed, "says more of the pack"},
	{"target of a terabyte", forged(func(c *crafted) {
		for _, f := range c.rules.Signed.Targets {
			f.Length = 1 << 40
		}
	}), TooLarge, "more than"},
	{"target with SHA-512 only", forged(func(c *crafted) {
		for _, f := range c.rules.Signed.Targets {
			f.Hashes = metadata.Hashes{"sha512": make([]byte, 64)}
		}
	}), Malformed, "does not give length, SHA-256"},
	{"root team names a pack itself", forged(func(c *crafted) { c.targets.Signed.Targets = c.rules.Signed.Targets }), Malformed, "it names files itself"},
	{"a second role for the same files, asked first", forged(func(c *crafted) {
		d := c.targets.Signed.Delegations
		evil := d.Roles[0]
		evil.Name = "trust"
		d.Roles = append([]metadata.DelegatedRole{evil}, d.Roles...)
	}), Malformed, "it delegates something else"},
	{"a second role of the same name", forged(func(c *crafted) {
		d := c.targets.Signed.Delegations
		d.Roles = append(d.Roles, d.Roles[0])
	}), Malformed, "it delegates something else"},
	{"the trust role reaches for rules", forged(func(c *crafted) {
		d := c.targets.Signed.Delegations
		evil := d.Roles[0]
		evil.Name = "trust"
		d.Roles = append(d.Roles, evil)
	}), Malformed, "it delegates something else"},
	{"delegation for all files", forged(func(c *crafted) { c.targets.Signed.Delegations.Roles[0].Paths = []string{"*/*"} }), Malformed, "it delegates something else"},
	{"delegation by digests of paths", forged(func(c *crafted) {
		c.targets.Signed.Delegations.Roles[0].Paths, c.targets.Signed.Delegations.Roles[0].PathHashPrefixes = nil, []string{""}
	}), Malformed, "it delegates something else"},
	{"delegation in bins", forged(func(c *crafted) {
		c.targets.Signed.Delegations.Roles = nil
		c.targets.Signed.Delegations.SuccinctRoles = &metadata.SuccinctRoles{KeyIDs: []string{}, Threshold: 2, BitLength: 60, NamePrefix: "rules"}
	}), Malformed, "cannot be read"},
	{"no delegation", forged(func(c *crafted) { c.targets.Signed.Delegations = nil }), Malformed, "does not name the security team"},
	{"rules hand their right on", forged(func(c *crafted) {
		c.rules.Signed.Delegations = &metadata.Delegations{Keys: map[string]*metadata.Key{}, Roles: []metadata.DelegatedRole{{Name: "x"}}}
	}), Malformed, "hands its right to sign on"},
	{"security team of one", forged(func(c *crafted) { c.targets.Signed.Delegations.Roles[0].Threshold = 1 }), Malformed, "it takes at least 2"},
	{"security team of nobody", forged(func(c *crafted) { c.targets.Signed.Delegations.Roles[0].Threshold = 0 }), Malformed, "it takes at least 2"},
	{"one key counted twice under two names", forged(func(c *crafted) {
		d := c.targets.Signed.Delegations
		key, id, err := Key{"somebody else", dora.Public}.tuf()
		if err != nil {
			panic(err)
		}
		d.Keys[id] = key
		d.Roles[0].KeyIDs = append(d.Roles[0].KeyIDs, id)
	}), Malformed, "names one key twice"},
	{"a key under the name of another", forged(func(c *crafted) {
		d := c.targets.Signed.Delegations
		key, _, err := thief.tuf()
		if err != nil {
			panic(err)
		}
		d.Keys[d.Roles[0].KeyIDs[0]] = key
	}), Malformed, "a key has the name of another"},
	{"table that names more", forged(func(c *crafted) { c.snapshot.Signed.Meta["../x.json"] = c.snapshot.Signed.Meta["rules.json"] }), Malformed, "has no place there"},
	{"table without rules", forged(func(c *crafted) { delete(c.snapshot.Signed.Meta, "rules.json") }), Malformed, "does not name rules.json"},
	{"timestamp without a table", forged(func(c *crafted) { clear(c.timestamp.Signed.Meta) }), Malformed, "does not name snapshot.json"},
	{"timestamp with a table of null", forged(func(c *crafted) { c.timestamp.Signed.Meta["snapshot.json"] = nil }), Malformed, "does not give version"},
	{"timestamp of no time", forged(func(c *crafted) { c.timestamp.Signed.UnrecognizedFields = nil }), Malformed, "when it was issued"},
	{"field that nobody looks at", forged(func(c *crafted) { c.snapshot.Signed.UnrecognizedFields = map[string]any{"x": 1} }), Malformed, "nobody would look at"},
}

// Each is put before a kiosk that has a pack in force, and before one that has none and knows nothing but its root file.
func TestT14_ForgedOldAndBrokenPacksAreRefused(t *testing.T) {
	base := newRig(t)
	base.publish(1)
	base.oldStick = base.stick()
	base.publish(2)
	must(t, install(base.store(), base.dir, base.now))
	base.now = base.now.Add(time.Hour)
	base.again()
	must(t, install(base.store(), base.dir, base.now))
	good, later := base.nextGood()
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			r := base.copy(t)
			repository, now := a.make(r, r.oldStick)
			kiosks := []*Store{r.store()}
			if a.reason != Older && a.reason != TwoVersions { // without a memory, what is old and in date is new
				kiosks = append(kiosks, r.kiosk())
			}
			for i, s := range kiosks {
				want := uint64(0)
				if m, err := s.Meta(); err == nil { // of 2, or what an attack had it install meanwhile
					want = m.Version
				}
				if known := want > 0; known != (i == 0) {
					t.Fatalf("kiosk %d has version %d", i, want)
				}
				before := tree(t, s.dir)
				st, err := s.Stage(t.Context(), repository, now)
				if err == nil {
					st.Discard()
				}
				wantRefused(t, err, a.reason, a.words)
				if !maps.Equal(before, tree(t, s.dir)) {
					t.Error("the refused repository changed the store")
				}
				wantInForce(t, s, want)

				// Nor does it stand in the way of the next good pack.
				must(t, install(s, good, later))
				wantInForce(t, s, 9)
			}
		})
	}
}

// nextGood is a good publication of version 9, later than all that an attack had the kiosk install.
func (r *rig) nextGood() (repository string, now time.Time) {
	r.t.Helper()
	next := *r
	next.dir, next.now = r.stick(), r.now.Add(45*daysOf)
	for range 2 { // for their numbers
		next.again()
	}
	next.publish(9)
	return next.dir, next.now
}

func twice(r *rig, dir string) {
	name := filepath.Join(dir, "metadata/3.rules.json")
	m, err := metadata.Targets().FromFile(name)
	must(r.t, err)
	m.Signatures = append(m.Signatures, m.Signatures[0])
	data, err := encode(m)
	must(r.t, err)
	must(r.t, os.WriteFile(name, data, 0o644))
	relink(r, dir, data)
}

// relink makes table and timestamp agree with a rules.json that cannot be decoded.
func relink(r *rig, dir string, data []byte) {
	s, err := metadata.Snapshot().FromFile(theFile(r, dir, "metadata/*.snapshot.json"))
	must(r.t, err)
	sum := sha256.Sum256(data)
	s.Signed.Meta["rules.json"].Length, s.Signed.Meta["rules.json"].Hashes = int64(len(data)), metadata.Hashes{"sha256": sum[:]}
	out := resign(r.t, s, []person{gina})
	must(r.t, os.WriteFile(theFile(r, dir, "metadata/*.snapshot.json"), out, 0o644))
	ts, err := metadata.Timestamp().FromFile(filepath.Join(dir, "metadata/timestamp.json"))
	must(r.t, err)
	sum = sha256.Sum256(out)
	ts.Signed.Meta["snapshot.json"].Length, ts.Signed.Meta["snapshot.json"].Hashes = int64(len(out)), metadata.Hashes{"sha256": sum[:]}
	must(r.t, os.WriteFile(filepath.Join(dir, "metadata/timestamp.json"), resign(r.t, ts, []person{gina}), 0o644))
}

func link(r *rig, to, name string) {
	must(r.t, os.Remove(name))
	must(r.t, os.Symlink(to, name))
}

func copyFile(r *rig, from, to string) {
	data, err := os.ReadFile(from)
	must(r.t, err)
	must(r.t, os.WriteFile(to, data, 0o644))
}

// swapPack puts another file in the place of version 3, and signs for its length and digest but not for what it says.
func swapPack(r *rig, dir, file string) {
	r.t.Helper()
	data, err := os.ReadFile(file)
	must(r.t, err)
	sum := sha256.Sum256(data)
	must(r.t, os.WriteFile(filepath.Join(dir, "targets/rules", fmt.Sprintf("%x.core-3.pack", sum)), data, 0o644))
	r.craft(dir, func(c *crafted) {
		for _, f := range c.rules.Signed.Targets {
			f.Length, f.Hashes = int64(len(data)), metadata.Hashes{"sha256": sum[:]}
		}
	})
}

func wrongPack(change func(*custom)) func(*rig, string) (string, time.Time) {
	about := custom{MinVersion: "0.1.0", Name: "core", Product: Product, Version: 3}
	change(&about)
	return forged(func(c *crafted) {
		for _, f := range c.rules.Signed.Targets {
			f.Custom = raw(about)
		}
	})
}

func wrongPackText(text string) func(*rig, string) (string, time.Time) {
	return damaged(func(r *rig, dir string) {
		// The library sorts and tidies what it writes, so the text goes in by hand.
		r.craft(dir, func(c *crafted) {
			for _, f := range c.rules.Signed.Targets {
				f.Custom = rawText(text)
			}
		})
	})
}

func wrongTarget(name string) func(*rig, string) (string, time.Time) {
	return forged(func(c *crafted) {
		for old, f := range c.rules.Signed.Targets {
			delete(c.rules.Signed.Targets, old)
			c.rules.Signed.Targets[name] = f
			break
		}
	})
}

// An attack whose error is not a Refusal would look like a broken kiosk.
func TestRefusalsAreToldFromFailures(t *testing.T) {
	r := newRig(t)
	r.publish(1)
	s := r.kiosk()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Stage(ctx, r.dir, today)
	var refusal *Refusal
	if errors.As(err, &refusal) || !errors.Is(err, context.Canceled) {
		t.Errorf("a stopped import: %v", err)
	}
	must(t, os.Chmod(s.dir, 0o500))
	defer os.Chmod(s.dir, 0o700)
	if _, err = s.Stage(t.Context(), r.dir, today); errors.As(err, &refusal) && !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a store that cannot be written: %v", err)
	}
}
