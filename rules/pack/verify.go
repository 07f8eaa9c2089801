package pack

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"
)

// evidence is what vouches for a pack, byte for byte.
type evidence struct {
	roots                               [][]byte // consecutive, from the one that the station was enrolled with
	firstRoot                           int64    // version of roots[0]
	targets, rules, snapshot, timestamp []byte
}

// verdict is what evidence says once it is verified.
type verdict struct {
	evidence
	target
	signers   []string
	needed    int
	notAfter  time.Time // of rules.json, which is the pack's
	published time.Time
	expires   time.Time // the first of all dates
	root      int64
	floors    floors
}

// floors are times that are known to have passed.
type floors struct {
	seen time.Time // the newest issued time that was accepted, also on the publisher's word alone
	firm time.Time // the same on the word of the security team, two persons or more
}

// source reads a metadata file of a repository, of at most maxMetadata bytes. A file that is not there is fs.ErrNotExist.
type source func(name string) ([]byte, error)

// check is one verification. The library's set is what finally decides; the steps here look first, in order to refuse more
// and to say why.
type check struct {
	read source
	old  *evidence // what is in force; nil for the first pack
	now  time.Time // the latest time that is known to have passed
	// clock and before are what now is made of.
	clock  time.Time
	before floors
	set    *trustedmetadata.TrustedMetadata
	out    verdict
}

// verify verifies a repository in memory. old is what is in force, before what was known of time until then.
func verify(read source, trustedRoot []byte, old *evidence, before floors, now time.Time) (v *verdict, err error) {
	// A panic in the library is a repository that cannot be taken, not the end of the kiosk's daemon.
	defer func() {
		if r := recover(); r != nil {
			v, err = nil, refuse(Malformed, "the repository cannot be understood")
		}
	}()
	c := &check{read: read, old: old, clock: now, before: before, now: later(now, before.seen)}
	steps := []func() error{func() error { return c.start(trustedRoot) }, c.roots, c.timestamp, c.snapshot, c.targets, c.rules}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return &c.out, nil
}

// start begins with the newest root file that is trusted already.
func (c *check) start(trustedRoot []byte) error {
	if len(trustedRoot) == 0 {
		return ErrNoRoot
	}
	own, err := decode[metadata.RootType](metadata.ROOT, trustedRoot)
	if err != nil {
		return fmt.Errorf("the station's own root file: %v", err) // not wrapped: it is no refusal of the repository
	}
	c.out.roots, c.out.firstRoot = [][]byte{trustedRoot}, own.Signed.Version
	if c.old != nil {
		at := own.Signed.Version - c.old.firstRoot
		switch {
		case at < 0, at < int64(len(c.old.roots)) && !bytes.Equal(c.old.roots[at], trustedRoot):
			return fmt.Errorf("%w: what is installed was vouched for by another root file than this station's", ErrDamaged)
		case at < int64(len(c.old.roots)):
			c.out.roots = c.old.roots[at:]
		}
	}
	c.set, err = trustedmetadata.New(c.out.roots[len(c.out.roots)-1])
	if err != nil {
		return fmt.Errorf("the station's own root file: %w", err)
	}
	c.set.RefTime = c.now
	return nil
}

// roots follows each change of who may sign.
func (c *check) roots() error {
	for i, known := range c.out.roots {
		data, err := c.read(rootFile(c.out.firstRoot + int64(i)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil && !bytes.Equal(data, known) {
			return refuse(Changed, "%s: number %d is not the one that this station knows: the repository is another team's, "+
				"or was changed",
				roleNames[metadata.ROOT], c.out.firstRoot+int64(i))
		}
	}
	for {
		before := c.set.Root
		data, err := c.read(rootFile(before.Signed.Version + 1))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return err
		}
		if len(c.out.roots) == maxRoots {
			return refuse(TooLarge, "%s changed more than %d times since this station was enrolled; enrol it again",
				roleNames[metadata.ROOT], maxRoots)
		}
		root, err := decode[metadata.RootType](metadata.ROOT, data)
		if err != nil {
			return err
		}
		if root.Signed.Version != before.Signed.Version+1 {
			return refuse(Malformed, "%s has number %d and is stored as %d",
				roleNames[metadata.ROOT], root.Signed.Version, before.Signed.Version+1)
		}
		was, is := before.Signed.Roles[metadata.ROOT], root.Signed.Roles[metadata.ROOT]
		keys := maps.Clone(before.Signed.Keys)
		maps.Copy(keys, root.Signed.Keys) // an id is the digest of its key
		if _, err := signers(metadata.ROOT, root, keys, was.KeyIDs, is.KeyIDs); err != nil {
			return err
		}
		if err := enough(metadata.ROOT, root, was.KeyIDs, was.Threshold); err != nil {
			return err
		}
		if err := enough(metadata.ROOT, root, is.KeyIDs, is.Threshold); err != nil {
			return err
		}
		if _, err := c.set.UpdateRoot(data); err != nil {
			return fromLibrary(metadata.ROOT, err)
		}
		c.out.roots = append(c.out.roots[:len(c.out.roots):len(c.out.roots)], data)
	}
	c.out.root, c.out.expires = c.set.Root.Signed.Version, c.set.Root.Signed.Expires
	return nil
}

// timestamp takes the publisher's date, against the one in force.
func (c *check) timestamp() error {
	if c.old != nil {
		_, err := c.set.UpdateTimestamp(c.old.timestamp)
		switch {
		case err == nil, errors.Is(err, &metadata.ErrExpiredMetadata{}):
		case c.rootsMoved() && errors.Is(err, &metadata.ErrUnsignedMetadata{}):
			// The root keys took the publisher's key away: what it said last is void, or a thief could have locked every
			// kiosk out with a high number (section 5.3.11 of the specification), or with a time far ahead. The pack's
			// version still only grows.
			c.old, c.before.seen = &evidence{}, c.before.firm
			c.now = later(c.clock, c.before.firm)
			c.set.RefTime = c.now
		default:
			return fmt.Errorf("%w: %v", ErrDamaged, err)
		}
	}
	data, err := c.must("timestamp.json", metadata.TIMESTAMP)
	if err != nil {
		return err
	}
	m, err := decode[metadata.TimestampType](metadata.TIMESTAMP, data)
	if err != nil {
		return err
	}
	role := c.set.Root.Signed.Roles[metadata.TIMESTAMP]
	if _, err := signedBy(metadata.TIMESTAMP, m, c.set.Root.Signed.Keys, role.KeyIDs, role.Threshold); err != nil {
		return err
	}
	if before := c.set.Timestamp; before != nil {
		now, was := m.Signed.Version, before.Signed.Version
		switch {
		case now == was && bytes.Equal(data, c.old.timestamp):
			return refuse(NothingNew, "this is what is in force already")
		case now == was:
			return refuse(TwoVersions, "%s: there are two with the number %d", roleNames[metadata.TIMESTAMP], now)
		case now < was, m.Signed.Meta["snapshot.json"].Version < before.Signed.Meta["snapshot.json"].Version:
			return refuse(Older, "it is older than what this station has seen (its date has the number %d, the station knows %d); "+
				"whoever wants an older pack back publishes it with a new, higher version", now, was)
		}
	}
	if c.out.published, err = issued(m.Signed.UnrecognizedFields); err != nil {
		return refuse(Malformed, "%s: %v", roleNames[metadata.TIMESTAMP], err)
	}
	if m.Signed.Expires.Sub(c.out.published) > MaxPublishedLife {
		return refuse(Malformed, "%s would be good for more than %d days", roleNames[metadata.TIMESTAMP], int(MaxPublishedLife.Hours()/24))
	}
	c.now = later(c.now, c.out.published)
	c.set.RefTime = c.now
	if err := c.inDate(metadata.ROOT, c.set.Root.Signed.Expires); err != nil {
		return err
	}
	if err := c.inDate(metadata.TIMESTAMP, m.Signed.Expires); err != nil {
		return err
	}
	if _, err := c.set.UpdateTimestamp(data); err != nil {
		return fromLibrary(metadata.TIMESTAMP, err)
	}
	c.out.evidence.timestamp = data
	return nil
}

// rootsMoved reports whether there is a newer root file than when the pack in force was taken.
func (c *check) rootsMoved() bool {
	return c.out.firstRoot+int64(len(c.out.roots)) > c.old.firstRoot+int64(len(c.old.roots))
}

// snapshot takes the table of what belongs together, against the one in force.
func (c *check) snapshot() error {
	if c.old != nil && c.old.snapshot != nil {
		_, err := c.set.UpdateSnapshot(c.old.snapshot, true)
		switch {
		case err == nil, errors.Is(err, &metadata.ErrExpiredMetadata{}), errors.Is(err, &metadata.ErrBadVersionNumber{}):
		case c.rootsMoved() && errors.Is(err, &metadata.ErrUnsignedMetadata{}):
		default:
			return fmt.Errorf("%w: %v", ErrDamaged, err)
		}
	}
	listed := c.set.Timestamp.Signed.Meta["snapshot.json"]
	data, err := c.listed(metadata.SNAPSHOT, listed)
	if err != nil {
		return err
	}
	m, err := decode[metadata.SnapshotType](metadata.SNAPSHOT, data)
	if err != nil {
		return err
	}
	role := c.set.Root.Signed.Roles[metadata.SNAPSHOT]
	if _, err := signedBy(metadata.SNAPSHOT, m, c.set.Root.Signed.Keys, role.KeyIDs, role.Threshold); err != nil {
		return err
	}
	if before := c.set.Snapshot; before != nil {
		for name, was := range before.Signed.Meta {
			if now := m.Signed.Meta[name]; now == nil || now.Version < was.Version {
				return refuse(Older, "%s mixes old and new: %s is older than what this station has seen", roleNames[metadata.SNAPSHOT], name)
			}
		}
	}
	if err := c.inDate(metadata.SNAPSHOT, m.Signed.Expires); err != nil {
		return err
	}
	if _, err := c.set.UpdateSnapshot(data, false); err != nil {
		return fromLibrary(metadata.SNAPSHOT, err)
	}
	c.out.evidence.snapshot = data
	return nil
}

// targets takes the list of who may sign rules.
func (c *check) targets() error {
	data, err := c.listed(metadata.TARGETS, c.set.Snapshot.Signed.Meta["targets.json"])
	if err != nil {
		return err
	}
	m, err := decode[metadata.TargetsType](metadata.TARGETS, data)
	if err != nil {
		return err
	}
	role := c.set.Root.Signed.Roles[metadata.TARGETS]
	if _, err := signedBy(metadata.TARGETS, m, c.set.Root.Signed.Keys, role.KeyIDs, role.Threshold); err != nil {
		return err
	}
	if _, err := delegation(m); err != nil {
		return err
	}
	// They are changed together, so that a new root file takes back what the root keys said before of who may sign.
	if root := c.set.Root.Signed.Version; m.Signed.Version != root {
		return refuse(Malformed, "%s has number %d and does not belong to %s, number %d",
			roleNames[metadata.TARGETS], m.Signed.Version, roleNames[metadata.ROOT], root)
	}
	if err := c.inDate(metadata.TARGETS, m.Signed.Expires); err != nil {
		return err
	}
	if _, err := c.set.UpdateTargets(data); err != nil {
		return fromLibrary(metadata.TARGETS, err)
	}
	c.out.evidence.targets = data
	return nil
}

// rules takes the signatures of the pack.
func (c *check) rules() error {
	team := c.set.Targets[metadata.TARGETS]
	role, err := delegation(team)
	if err != nil {
		return err
	}
	data, err := c.listed(rulesRole, c.set.Snapshot.Signed.Meta["rules.json"])
	if err != nil {
		return err
	}
	m, err := decode[metadata.TargetsType](rulesRole, data)
	if err != nil {
		return err
	}
	if c.out.signers, err = signedBy(rulesRole, m, team.Signed.Delegations.Keys, role.KeyIDs, role.Threshold); err != nil {
		return err
	}
	if c.out.target, err = onlyTarget(m); err != nil {
		return err
	}
	if c.out.target.issued.After(c.out.published) {
		return refuse(Malformed, "%s is older than the pack that it leads to", roleNames[metadata.TIMESTAMP])
	}
	if err := c.inDate(rulesRole, m.Signed.Expires); err != nil {
		return err
	}
	if _, err := c.set.UpdateDelegatedTargets(data, rulesRole, metadata.TARGETS); err != nil {
		return fromLibrary(rulesRole, err)
	}
	c.out.evidence.rules, c.out.needed, c.out.notAfter = data, role.Threshold, m.Signed.Expires
	c.out.floors = floors{later(c.before.seen, c.out.published), later(c.before.firm, c.out.target.issued)}
	return nil
}

// must reads a file without which there is no repository.
func (c *check) must(name, role string) ([]byte, error) {
	data, err := c.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, refuse(NoRepository, "%s is missing (metadata/%s)", roleNames[role], name)
	}
	return data, err
}

// listed reads a file that another one names with version, length and digest.
func (c *check) listed(role string, m *metadata.MetaFiles) ([]byte, error) {
	data, err := c.must(fmt.Sprintf("%d.%s.json", m.Version, role), role)
	if err != nil {
		return nil, err
	}
	if err := m.VerifyLengthHashes(data); err != nil {
		return nil, refuse(Changed, "%s is not the file that belongs here: it was changed or comes from another publication", roleNames[role])
	}
	return data, nil
}

// inDate refuses what has run out, and keeps the first date at which any part does.
func (c *check) inDate(role string, expires time.Time) error {
	if c.now.After(expires) {
		return refuse(Expired, "%s ran out on %s; the security team publishes anew", roleNames[role], day(expires))
	}
	if expires.Before(c.out.expires) {
		c.out.expires = expires
	}
	return nil
}

// fromLibrary says what TUF's library refused although the checks here did not.
func fromLibrary(role string, err error) error {
	for _, c := range []struct {
		is     error
		reason Reason
	}{
		{&metadata.ErrExpiredMetadata{}, Expired}, {&metadata.ErrBadVersionNumber{}, Older},
		{&metadata.ErrUnsignedMetadata{}, NotSigned}, {&metadata.ErrLengthOrHashMismatch{}, Changed},
	} {
		if errors.Is(err, c.is) {
			return refuse(c.reason, "%s: %v", roleNames[role], err)
		}
	}
	return refuse(Malformed, "%s: %v", roleNames[role], err)
}

func rootFile(version int64) string { return fmt.Sprintf("%d.root.json", version) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
