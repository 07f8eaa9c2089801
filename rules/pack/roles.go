package pack

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// The roles beside those of TUF itself.
const (
	rulesRole = "rules" // delegated by "targets": the security team
	trustRole = "trust" // the same, for trust files; kept free
)

// roleNames are what people read in place of the roles' names.
var roleNames = map[string]string{
	metadata.ROOT:      "the list of who may sign (root)",
	metadata.TARGETS:   "the list of who may sign rules (targets)",
	rulesRole:          "the signatures of the pack (rules)",
	metadata.SNAPSHOT:  "the table of what belongs together (snapshot)",
	metadata.TIMESTAMP: "the publisher's date (timestamp)",
}

// minThreshold is how many persons it takes at least to change what kiosks look for. One alone may be bought or robbed.
const minThreshold = 2

// nameField and issuedField are what this format adds to TUF's, inside of what is signed.
const (
	nameField   = "name"   // of a key: who holds it
	issuedField = "issued" // of rules.json and timestamp.json
)

// decode reads one metadata file in its only spelling. What it returns has no null where TUF's library would follow a
// pointer, and no field that nobody looks at.
func decode[T metadata.Roles](role string, data []byte) (m *metadata.Metadata[T], err error) {
	// The library follows a null target. It is given signed files that this package has not looked at yet.
	defer func() {
		if r := recover(); r != nil {
			m, err = nil, refuse(Malformed, "%s cannot be read", roleNames[role])
		}
	}()
	m, err = (&metadata.Metadata[T]{}).FromBytes(data)
	if err != nil {
		return nil, refuse(Malformed, "%s cannot be read", roleNames[role])
	}
	again, err := encode(m)
	if err != nil || !bytes.Equal(again, data) || len(m.UnrecognizedFields) > 0 {
		return nil, refuse(Malformed, "%s was changed, or is not written in the one way that there is", roleNames[role])
	}
	if len(m.Signatures) > maxSigners {
		return nil, refuse(TooLarge, "%s has more than %d signatures", roleNames[role], maxSigners)
	}
	for _, s := range m.Signatures {
		if len(s.UnrecognizedFields) > 0 {
			return nil, refuse(Malformed, "%s has a signature with more than a signature", roleNames[role])
		}
	}
	if err := checkSigned(any(m)); err != nil {
		return nil, refuse(Malformed, "%s: %v", roleNames[role], err)
	}
	return m, nil
}

// encode is the one spelling of a metadata file.
func encode[T metadata.Roles](m *metadata.Metadata[T]) ([]byte, error) { return m.ToBytes(false) }

// checkSigned holds the signed part against what this format allows of TUF.
func checkSigned(m any) error {
	switch m := m.(type) {
	case *metadata.Metadata[metadata.RootType]:
		s := &m.Signed
		return errors.Join(checkHead(s.SpecVersion, s.Version, s.Expires, s.UnrecognizedFields), checkRoot(s))
	case *metadata.Metadata[metadata.TimestampType]:
		s := &m.Signed
		_, err := issued(s.UnrecognizedFields)
		return errors.Join(checkHead(s.SpecVersion, s.Version, s.Expires, nil), err, checkMeta(s.Meta, []string{"snapshot.json"}))
	case *metadata.Metadata[metadata.SnapshotType]:
		s := &m.Signed
		return errors.Join(checkHead(s.SpecVersion, s.Version, s.Expires, s.UnrecognizedFields),
			checkMeta(s.Meta, []string{"rules.json", "targets.json"}, "trust.json"))
	case *metadata.Metadata[metadata.TargetsType]:
		s := &m.Signed
		return checkHead(s.SpecVersion, s.Version, s.Expires, nil)
	}
	return errors.New("no known kind of file")
}

func checkHead(spec string, version int64, expires time.Time, more map[string]any) error {
	switch {
	case !strings.HasPrefix(spec, "1."):
		return fmt.Errorf("it is written after version %q of the specification", short(spec))
	case version < 1 || version > 1<<53:
		return errors.New("its version is no number from 1 on")
	case expires.IsZero() || expires.Nanosecond() != 0 || expires.Location() != time.UTC:
		return errors.New("its expiry is no time with whole seconds in UTC")
	case len(more) > 0:
		return errors.New("it has fields that nobody would look at")
	}
	return nil
}

func checkRoot(s *metadata.RootType) error {
	if !s.ConsistentSnapshot {
		return errors.New("it does not ask for consistent snapshots")
	}
	if len(s.Roles) != len(metadata.TOP_LEVEL_ROLE_NAMES) {
		return errors.New("it does not have exactly four roles")
	}
	for _, name := range metadata.TOP_LEVEL_ROLE_NAMES {
		role := s.Roles[name]
		if role == nil || len(role.UnrecognizedFields) > 0 {
			return fmt.Errorf("the role %q is missing", name)
		}
		least := 1 // the publisher is one machine; alone it can name no pack
		if name == metadata.ROOT || name == metadata.TARGETS {
			least = minThreshold
		}
		if err := checkRole(name, role.KeyIDs, role.Threshold, least, s.Keys); err != nil {
			return err
		}
	}
	return checkKeys(s.Keys)
}

// checkRole refuses a role that fewer persons could fill than it says.
func checkRole(name string, ids []string, threshold, least int, keys map[string]*metadata.Key) error {
	if threshold < least || threshold > len(ids) || len(ids) > maxSigners {
		return fmt.Errorf("the role %q is for %d of %d keys; it takes at least %d", name, threshold, len(ids), least)
	}
	seen := map[string]bool{}
	for _, id := range ids {
		key := keys[id]
		if key == nil {
			return fmt.Errorf("the role %q names a key that is not there", name)
		}
		if seen[key.Value.PublicKey] {
			return fmt.Errorf("the role %q names one key twice", name)
		}
		seen[key.Value.PublicKey] = true
	}
	return nil
}

func checkKeys(keys map[string]*metadata.Key) error {
	for id, key := range keys {
		if key == nil {
			return errors.New("a key is missing")
		}
		public, err := hex.DecodeString(key.Value.PublicKey)
		if err != nil || len(public) != ed25519.PublicKeySize || key.Type != metadata.KeyTypeEd25519 ||
			key.Scheme != metadata.KeySchemeEd25519 || len(key.Value.UnrecognizedFields) > 0 {
			return errors.New("a key is not an Ed25519 key")
		}
		if name, ok := key.UnrecognizedFields[nameField].(string); !ok || !isKeyName(name) || len(key.UnrecognizedFields) != 1 {
			return errors.New("a key does not say who holds it")
		}
		if want, err := key.ID(); err != nil || want != id {
			return errors.New("a key has the name of another")
		}
	}
	return nil
}

func isKeyName(s string) bool { return s != "" && isText(s, maxName) }

func checkMeta(meta map[string]*metadata.MetaFiles, must []string, may ...string) error {
	for name, m := range meta {
		if !slices.Contains(must, name) && !slices.Contains(may, name) {
			return errors.New("it names a file that has no place there")
		}
		if m == nil || len(m.UnrecognizedFields) > 0 || m.Version < 1 || m.Length < 1 || m.Length > maxMetadata || !isSHA256(m.Hashes) {
			return fmt.Errorf("it does not give version, length and SHA-256 of %s", name)
		}
	}
	for _, name := range must {
		if meta[name] == nil {
			return fmt.Errorf("it does not name %s", name)
		}
	}
	return nil
}

func isSHA256(h metadata.Hashes) bool { return len(h) == 1 && len(h["sha256"]) == 32 }

// issued reads the signed time that this format adds.
func issued(fields map[string]any) (time.Time, error) {
	text, ok := fields[issuedField].(string)
	t, err := time.Parse(time.RFC3339, text)
	if !ok || err != nil || len(fields) != 1 || t.UTC().Format(time.RFC3339) != text || t.Nanosecond() != 0 || t.Unix() <= 0 {
		return time.Time{}, errors.New("it does not say when it was issued")
	}
	return t.UTC(), nil
}

func issuedAt(t time.Time) map[string]any {
	return map[string]any{issuedField: t.UTC().Truncate(time.Second).Format(time.RFC3339)}
}

// delegation is what "targets" says about the role "rules".
func delegation(m *metadata.Metadata[metadata.TargetsType]) (*metadata.DelegatedRole, error) {
	bad := func(format string, args ...any) (*metadata.DelegatedRole, error) {
		return nil, refuse(Malformed, "%s: %s", roleNames[metadata.TARGETS], fmt.Sprintf(format, args...))
	}
	d := m.Signed.Delegations
	switch {
	case len(m.Signed.UnrecognizedFields) > 0 || len(m.Signed.Targets) > 0 || m.Signed.Targets == nil:
		return bad("it names files itself, or has fields that nobody would look at")
	case d == nil || d.SuccinctRoles != nil || len(d.UnrecognizedFields) > 0 || len(d.Roles) < 1 || len(d.Roles) > 2:
		return bad("it does not name the security team")
	}
	for i := range d.Roles {
		r, want := &d.Roles[i], [2]string{rulesRole, trustRole}[i]
		if r.Name != want || !slices.Equal(r.Paths, []string{want + "/*"}) || !r.Terminating || len(r.PathHashPrefixes) > 0 ||
			len(r.UnrecognizedFields) > 0 {
			return bad("it delegates something else than %s/* to %q", want, want)
		}
		if err := checkRole(r.Name, r.KeyIDs, r.Threshold, minThreshold, d.Keys); err != nil {
			return bad("%v", err)
		}
	}
	if err := checkKeys(d.Keys); err != nil {
		return bad("%v", err)
	}
	return &d.Roles[0], nil
}

// target is the one file that rules.json names.
type target struct {
	custom
	path   string // below targets/, without the digest
	size   int64
	sha256 [32]byte
	issued time.Time
}

// custom is what rules.json says of the pack, so that a kiosk need not open a file that is not for it.
type custom struct {
	MinVersion string `json:"min_version"`
	Name       string `json:"name"`
	Product    string `json:"product"`
	Version    uint64 `json:"version"`
}

func (c custom) path() string { return fmt.Sprintf("rules/%s-%d.pack", c.Name, c.Version) }

// onlyTarget reads what rules.json names.
func onlyTarget(m *metadata.Metadata[metadata.TargetsType]) (target, error) {
	bad := func(text string) (target, error) {
		return target{}, refuse(Malformed, "%s: %s", roleNames[rulesRole], text)
	}
	when, err := issued(m.Signed.UnrecognizedFields)
	switch {
	case err != nil:
		return bad(err.Error())
	case m.Signed.Delegations != nil:
		return bad("it hands its right to sign on to others")
	case len(m.Signed.Targets) != 1:
		return bad(fmt.Sprintf("it names %d packs, and a kiosk takes one", len(m.Signed.Targets)))
	}
	name := slices.Collect(maps.Keys(m.Signed.Targets))[0]
	file := m.Signed.Targets[name]
	if file == nil || len(file.UnrecognizedFields) > 0 || !isSHA256(file.Hashes) || file.Length < 1 || file.Custom == nil {
		return bad("it does not give length, SHA-256 and kind of the pack")
	}
	t := target{path: name, size: file.Length, sha256: [32]byte(file.Hashes["sha256"]), issued: when}
	if err := json.Unmarshal(*file.Custom, &t.custom); err != nil {
		return bad("it does not say which pack it is")
	}
	if again, err := json.Marshal(t.custom); err != nil || !bytes.Equal(again, *file.Custom) {
		return bad("it says more of the pack than anybody would look at")
	}
	if t.Product != Product {
		return target{}, refuse(WrongProduct, "the pack is for the product %q, not for %q", short(t.Product), Product)
	}
	if !isPackName(t.Name) || t.custom.path() != name || int64(t.Version) != m.Signed.Version {
		return bad("the names and numbers of the pack do not agree")
	}
	if t.size > maxPack {
		return target{}, refuse(TooLarge, "the pack has %d bytes, more than %d", t.size, int64(maxPack))
	}
	return t, checkLife(m.Signed.Expires, t.issued)
}

// signers returns who signed a file, in the order of the signatures. Every signature must be by one of the keys and hold.
func signers[T metadata.Roles](role string, m *metadata.Metadata[T], keys map[string]*metadata.Key,
	allowed ...[]string) ([]string, error) {
	var who []string
	for _, s := range m.Signatures {
		key := keys[s.KeyID]
		if key == nil || !slices.Contains(slices.Concat(allowed...), s.KeyID) {
			return nil, refuse(NotSigned, "%s: there is a signature by a key that may not sign this: it was revoked, or never allowed",
				roleNames[role])
		}
		name := keyName(key)
		alone := metadata.Root()
		alone.Signed.Keys[s.KeyID] = key
		alone.Signed.Roles[metadata.ROOT] = &metadata.Role{KeyIDs: []string{s.KeyID}, Threshold: 1}
		if err := alone.VerifyDelegate(metadata.ROOT, m); err != nil {
			return nil, refuse(Changed, "%s: the signature of %s does not hold: the file was changed after it was signed",
				roleNames[role], name)
		}
		who = append(who, name)
	}
	return who, nil
}

// enough refuses a file that too few of a role's keys have signed.
func enough[T metadata.Roles](role string, m *metadata.Metadata[T], ids []string, threshold int) error {
	n := 0
	for _, s := range m.Signatures { // the library refuses two by one key
		if slices.Contains(ids, s.KeyID) {
			n++
		}
	}
	if n < threshold {
		return refuse(NotSigned, "%s: signed by %d of the %d persons that it takes", roleNames[role], n, threshold)
	}
	return nil
}

// signedBy returns who signed a file of a role, if they are enough.
func signedBy[T metadata.Roles](role string, m *metadata.Metadata[T], keys map[string]*metadata.Key, ids []string,
	threshold int) ([]string, error) {
	who, err := signers(role, m, keys, ids)
	if err != nil {
		return nil, err
	}
	return who, enough(role, m, ids, threshold)
}

func keyName(key *metadata.Key) string {
	name, _ := key.UnrecognizedFields[nameField].(string)
	return name
}
