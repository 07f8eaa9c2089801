// Package packs makes signed rule packs for tests: a security team with keys that are the same in each run, and the
// repositories that it publishes.
package packs

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"testing/fstest"
	"time"

	"pratique/rules"
	"pratique/rules/pack"
)

// Person holds a key.
type Person struct {
	pack.Key
	private ed25519.PrivateKey
}

// NewPerson makes a person's key from the name.
func NewPerson(name string) Person {
	seed := sha256.Sum256([]byte("key of " + name))
	private := ed25519.NewKeyFromSeed(seed[:])
	return Person{pack.Key{Name: name, Public: private.Public().(ed25519.PublicKey)}, private}
}

// Sign makes a Person a pack.Signer.
func (p Person) Sign(message []byte) ([]byte, error) { return ed25519.Sign(p.private, message), nil }

// Repository is a repository and how it is filled.
type Repository struct {
	Dir     string
	Now     time.Time
	Signers []Person // of packs

	publisher Person
}

// New begins a repository of the team that every station of a test knows.
func New(dir string, now time.Time) (*Repository, error) {
	return NewFor(dir, now, "anna", "bert", "gina")
}

// Open returns the repository that New made.
func Open(dir string, now time.Time) *Repository { return of(dir, now, "anna", "bert", "gina") }

func of(dir string, now time.Time, first, second, publisher string) *Repository {
	return &Repository{dir, now, []Person{NewPerson(first), NewPerson(second)}, NewPerson(publisher)}
}

// NewFor drafts and signs who may publish in dir: two who sign everything, and one who says what is newest.
func NewFor(dir string, now time.Time, first, second, publisher string) (*Repository, error) {
	r := of(dir, now, first, second, publisher)
	team := []pack.Key{r.Signers[0].Key, r.Signers[1].Key}
	err := pack.Draft(dir, pack.Team{Root: team, RootNeeds: 2, Rules: team, RulesNeeds: 2, Publisher: []pack.Key{r.publisher.Key}}, now)
	for _, p := range r.Signers {
		if err == nil {
			_, err = pack.SignDrafts(dir, p.Key, p)
		}
	}
	return r, err
}

// Publish builds, signs and publishes a pack's folder.
func (r *Repository) Publish(src fs.FS) error {
	ctx := context.Background()
	f, err := os.CreateTemp("", "*.pack")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := pack.WriteArchive(ctx, f, src, nil); err != nil {
		return err
	}
	signed, err := pack.ReadSigned(ctx, f.Name())
	if err != nil {
		return err
	}
	for _, p := range r.Signers {
		if err := signed.Sign(p.Key, p, r.Now); err != nil {
			return err
		}
	}
	return settled(pack.Publish(ctx, r.Dir, pack.Publication{Pack: f.Name(), Signed: signed, Key: r.publisher.Key, Signer: r.publisher, Now: r.Now, GoodFor: 80 * 24 * time.Hour}))
}

// Again publishes what is there with new dates.
func (r *Repository) Again() error {
	return settled(pack.Publish(context.Background(), r.Dir, pack.Publication{Key: r.publisher.Key, Signer: r.publisher, Now: r.Now, GoodFor: 80 * 24 * time.Hour}))
}

// settled takes a draft that waits for signatures for an error: a test signs what it drafts.
func settled(waiting, err error) error { return errors.Join(waiting, err) }

// Root is the file that stations are enrolled with.
func (r *Repository) Root() string { return filepath.Join(r.Dir, "metadata", "1.root.json") }

// Source is the folder of a small pack that passes every gate. Files in more are added; one without data is taken out.
func Source(version uint64, notAfter time.Time, more map[string]string) fstest.MapFS {
	m := rules.Manifest{Name: "core", Version: version, Author: "security team", Product: pack.Product, MinVersion: "0.1.0",
		NotAfter: notAfter.UTC().Truncate(time.Second), Severities: []string{"block"}, Changes: []string{fmt.Sprintf("change %d", version)}}
	src := fstest.MapFS{
		"pack.toml":           {Data: m.Encode()},
		"yara/test.yar":       {Data: []byte("rule EICAR_Test_File { strings: $a = \"EICAR-STANDARD-\" condition: $a }\n")},
		"policy/general.toml": {Data: []byte("class = \"general\"\nallow_types = [\"*\"]\nexecutables = \"allow\"\nscripts = \"warn\"\nmacros = \"warn\"\narchives = \"allow\"\n")},
		"policy/imaging.toml": {Data: []byte("class = \"imaging\"\nallow_types = [\"application/dicom\", \"image/*\"]\n")},
	}
	added := fstest.MapFS{}
	for name, text := range more {
		added[name] = &fstest.MapFile{Data: []byte(text)}
	}
	maps.Copy(src, added)
	maps.DeleteFunc(src, func(_ string, f *fstest.MapFile) bool { return len(f.Data) == 0 })
	return src
}
