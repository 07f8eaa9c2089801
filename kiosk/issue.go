package kiosk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pratique/kiosk/audit"
	"pratique/kiosk/clearance"
)

// Clearance is an issued clearance as people and programs see it.
type Clearance struct {
	ID           [16]byte
	Code         string // eight characters, to look it up by; it proves nothing
	TokenFile    string
	ManifestFile string // empty if it was erased; devices do without it. In the state it is sealed, Save writes it out
	QR           string // digits
	Expires      time.Time
	LogIndex     uint64
	LogHead      string // size and root of the log when it was issued; empty where it was loaded later
	Claims       clearance.Claims
}

// The names of the two files of a clearance.
const (
	tokenName    = "token.cose"
	manifestName = "manifest"
)

// overruling is a verdict that two people overrule.
type overruling struct {
	verdict Verdict
	reason  string
	second  string // who confirmed it
}

// issue signs the clearance of a session that was cleared for the class. person names who asked for it.
func (se *session) issue(gone context.Context, class, person string) (*Clearance, error) {
	return se.issueAs(gone, class, person, nil)
}

// issueAs signs the clearance of a session, or an override of its verdict. What a crash leaves after each step:
//
//	manifest written   a folder without a token; removed at the next start
//	issuing            a log entry without a token; abandoned at the next start
//	token written      a whole clearance; the next start notes it as issued
//
// gone ends when the medium is pulled. Until the token is about to be written there is none then (isGone), and what was begun is
// abandoned; the log and the files take their time whether or not gone has ended.
func (se *session) issueAs(gone context.Context, class, person string, over *overruling) (*Clearance, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(gone), afterwards)
	defer cancel()
	s, content := se.state, se.content
	if content == (clearance.Content{}) {
		return nil, fmt.Errorf("%w: there is no manifest to issue on", ErrState)
	}
	signer, version, err := s.signer()
	if err != nil {
		return nil, err
	}
	if err := s.countIssue(ctx); err != nil {
		return nil, err
	}
	dir := s.path("clearances", hex.EncodeToString(se.id[:]))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	if err := s.step("folder"); err != nil {
		return nil, err
	}
	if err := s.keepManifest(ctx, se.id, dir, se.manifest, se.want.LayOut && s.Key().Demo); err != nil {
		return nil, err
	}
	if err := s.step("manifest"); err != nil {
		return nil, err
	}
	claims := se.claims(content, class, person)
	if over != nil {
		claims.Overrule(tokenVerdicts[over.verdict], clearance.Override{Reason: over.reason, Second: s.pseudonym(over.second)})
	}
	claims.Issuer, claims.PQKeyID, claims.TrustVersion = signer.Issuer(), signer.PQKeyID(), version
	leaf, err := clearance.Leaf(claims)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	if se.isGone(gone) {
		return nil, errors.Join(ErrRemoved, os.RemoveAll(dir))
	}
	if err := se.stillExcepted(ctx, class); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	index, err := s.log.AppendLeaf(ctx, audit.KindIssuing, se.id, claims.IssuedAt, leaf)
	if err != nil {
		return nil, logError(err)
	}
	se.unsettled = true
	place := uint64(index)
	claims.LogIndex = &place
	token, err := clearance.Sign(claims, signer)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	// Asked again at the last moment: an incident, or a trust file that takes this key back, may have come meanwhile.
	if err := s.MayIssue(); err != nil {
		return nil, err
	}
	if err := s.step("issuing"); err != nil {
		return nil, err
	}
	if se.isGone(gone) {
		if err := se.append(ctx, audit.Abandoned{Issuing: index}); err != nil {
			return nil, err
		}
		se.unsettled = false
		return nil, errors.Join(ErrRemoved, os.RemoveAll(dir))
	}
	if err := writeFile(filepath.Join(dir, tokenName), token, 0o600); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	if err := s.step("token"); err != nil {
		return nil, err
	}
	if err := se.appendNamed(ctx, audit.Issued{Issuing: index, Token: sha256.Sum256(token)}, audit.Named{Person: person}); err != nil {
		// The person is told that the kiosk failed, so there must be no clearance; the next start abandons the entry.
		os.Remove(filepath.Join(dir, tokenName))
		return nil, err
	}
	se.unsettled = false
	if err := s.step("issued"); err != nil {
		return nil, err
	}
	c, err := s.load(dir)
	if err != nil {
		return nil, err
	}
	if head, err := s.log.Head(ctx); err == nil { // the clearance is out: what a slip says besides stops nothing any more
		c.LogHead = fmt.Sprintf("%d %x", head.Size, head.Root[:headBytes])
	}
	return c, nil
}

// headBytes of the log's root are on a receipt: enough that nobody makes another log that has the same ones (2^128 tries).
const headBytes = 16

// tokenVerdicts are the verdicts that an override can have. One that is not here has a number that no token may carry.
var tokenVerdicts = map[Verdict]clearance.Verdict{NotCleared: clearance.NotCleared, CouldNotCheck: clearance.CouldNotCheck}

// isGone reports whether the medium is not there any more, or was not left alone since it was read. Who sees media may be a
// moment behind, so the source is asked too.
func (se *session) isGone(gone context.Context) bool {
	return gone.Err() != nil || se.medium.Untouched != nil && !se.medium.Untouched()
}

// claims is the statement, less who signs it.
func (se *session) claims(content clearance.Content, class, person string) clearance.Claims {
	m, policy := se.medium, se.want.Pack.Policies[class]
	now := se.state.now().UTC().Truncate(time.Second)
	inForce := se.want.Pack.InForce()
	c := clearance.Claims{
		Audience: []string{policy.Class},
		IssuedAt: now,
		Expires:  now.Add(policy.Life),
		ID:       se.id,
		Verdict:  clearance.Cleared,
		Medium:   clearance.Medium{VID: m.VID, PID: m.PID, Sectors: uint64(m.size()) / 512},
		Content:  content,
		Rules:    clearance.Rules{Name: se.want.Pack.Name, Version: se.want.Pack.Version, Digest: [8]byte(inForce[:8])},
		Canary:   se.want.Canary.Word(),
		Coverage: clearance.Used,
		Source:   clearance.Source(m.Kind),
		Operator: se.state.pseudonym(person),
	}
	if se.want.Deep {
		c.Coverage = clearance.Deep
	}
	for _, x := range se.decisions[class].Excepted {
		c.Excepted += x.Findings
	}
	if m.Serial != "" {
		c.Medium.Serial = clearance.SerialDigest(se.id, m.Serial)
	}
	return c
}

// ErrNoClearance says that the state holds no clearance by that name.
var ErrNoClearance = errors.New("there is no such clearance")

// Clearance finds a clearance by its id in hex, by a part of it that fits only one, or by its short code.
func (s *State) Clearance(name string) (*Clearance, error) {
	entries, err := os.ReadDir(s.path("clearances"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	want := strings.ToLower(strings.NewReplacer("-", "", " ", "").Replace(name))
	var found []string
	for _, e := range entries {
		id, err := hex.DecodeString(e.Name())
		if err != nil || len(id) != 16 || want == "" {
			continue
		}
		if strings.HasPrefix(e.Name(), want) || sameCode(clearance.Code([16]byte(id)), want) {
			found = append(found, e.Name())
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("%w: %q", ErrNoClearance, name)
	case 1:
		c, err := s.load(s.path("clearances", found[0]))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: %q", ErrNoClearance, name)
		}
		return c, err
	}
	return nil, fmt.Errorf("%w: %q fits %d of them", ErrNoClearance, name, len(found))
}

func sameCode(code, want string) bool {
	return strings.ToLower(strings.ReplaceAll(code, "-", "")) == want
}

// maxToken bounds what is read back as a token; a real one has about 3,700 bytes.
const maxToken = 16 << 10

// load reads a clearance's folder.
func (s *State) load(dir string) (*Clearance, error) {
	token, err := os.ReadFile(filepath.Join(dir, tokenName))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	if len(token) > maxToken {
		return nil, fmt.Errorf("%w: %s is no token", ErrState, tokenName)
	}
	claims, err := clearance.ParseClaims(token)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	qr, err := clearance.QR(token)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	c := &Clearance{ID: claims.ID, Code: clearance.Code(claims.ID), QR: qr, Expires: claims.Expires, Claims: claims,
		TokenFile: filepath.Join(dir, tokenName), ManifestFile: filepath.Join(dir, manifestName)}
	if claims.LogIndex != nil {
		c.LogIndex = *claims.LogIndex
	}
	if _, err := os.Lstat(c.ManifestFile); errors.Is(err, fs.ErrNotExist) {
		c.ManifestFile = ""
	}
	return c, nil
}

// checkOut prepares the folder that token and manifest are to go to before anything is screened, so that no clearance is
// issued that cannot be handed over, and refuses one where a file of that name is the medium itself: it would be replaced.
func checkOut(dir string, m *Medium) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("%w: %w", ErrOut, err)
	}
	for _, name := range []string{tokenName, manifestName} {
		there, err := os.Stat(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return fmt.Errorf("%w: %w", ErrOut, err)
		case there.IsDir():
			return fmt.Errorf("%w: %s in it is a folder", ErrOut, name)
		}
		for _, u := range m.Units {
			if u.File == nil {
				continue
			}
			if medium, err := u.File.Stat(); err != nil || os.SameFile(there, medium) {
				return fmt.Errorf("%w: %s in it is the medium itself", ErrOut, name)
			}
		}
	}
	probe, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrOut, err)
	}
	probe.Close()
	os.Remove(probe.Name())
	return nil
}

// trustAge is how old the demonstration's trust file may grow before it is issued anew; verifiers complain after 30 days.
const trustAge = 24 * time.Hour

// publishTrust keeps demo.trust whole, recent, naming the station's present key and what was recalled. now says that
// something was recalled that it cannot name yet. An enrolled station has no trust file of its own: its site's root
// holders sign one, with what "pratique rules recall --out" lists (revoke.go).
func (s *State) publishTrust(ctx context.Context, now bool) error {
	if !s.station.Demo() {
		return nil
	}
	version := uint64(1)
	data, err := os.ReadFile(s.path("demo.trust"))
	if err == nil {
		if t, err := clearance.ParseTrust(data); err == nil {
			version = t.Version + 1
			mine := s.station.Public()
			known := slices.ContainsFunc(t.Stations, func(k clearance.StationKey) bool { return k.KeyID() == mine.KeyID() })
			if age := s.now().Sub(t.Issued); !now && known && age >= 0 && age < trustAge {
				return nil
			}
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	revoked, err := s.revoked(ctx)
	if err != nil {
		return err
	}
	if data, err = clearance.DemoTrust(s.station, version, s.now(), revoked...); err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	return s.write("demo.trust", data, 0o644)
}
