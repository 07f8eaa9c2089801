package pack

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"pratique/rules"
)

// today is when the tests play.
var today = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

const daysOf = 24 * time.Hour

// person holds a key.
type person struct {
	Key
	private ed25519.PrivateKey
}

func newPerson(name string) person {
	seed := sha256.Sum256([]byte("key of " + name)) // the same in each run, so that a failure can be looked at again
	private := ed25519.NewKeyFromSeed(seed[:])
	return person{Key{name, private.Public().(ed25519.PublicKey)}, private}
}

func (p person) Sign(message []byte) ([]byte, error) { return ed25519.Sign(p.private, message), nil }

func keysOf(people ...person) []Key {
	var keys []Key
	for _, p := range people {
		keys = append(keys, p.Key)
	}
	return keys
}

var (
	anna, bert, cora = newPerson("anna"), newPerson("bert"), newPerson("cora") // root, two of three
	dora, emil, fran = newPerson("dora"), newPerson("emil"), newPerson("fran") // rules, two of three
	gina             = newPerson("gina")                                       // publishes
	thief            = newPerson("thief")
)

func team() Team {
	return Team{Root: keysOf(anna, bert, cora), RootNeeds: 2, Rules: keysOf(dora, emil, fran), RulesNeeds: 2, Publisher: keysOf(gina)}
}

// rig is a repository and the people who fill it.
type rig struct {
	t         testing.TB
	dir       string // the repository
	now       time.Time
	signers   []person
	publisher person

	kiosks   *Store // made once, before an attack
	oldStick string // of version 1
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), now: today, signers: []person{dora, emil}, publisher: gina}
	must(t, Draft(r.dir, team(), r.now))
	r.signDrafts(anna, bert)
	return r
}

func (r *rig) signDrafts(people ...person) {
	r.t.Helper()
	for _, p := range people {
		_, err := SignDrafts(r.dir, p.Key, p)
		must(r.t, err)
	}
}

// sources is a pack's folder.
func sources(version uint64) fstest.MapFS {
	m := rules.Manifest{Name: "core", Version: version, Author: "security team", Product: Product, MinVersion: "0.1.0",
		NotAfter: today.Add(80 * daysOf), Severities: []string{"warn", "block"}, Changes: []string{fmt.Sprintf("change %d", version)}}
	return fstest.MapFS{
		"pack.toml":           {Data: m.Encode()},
		"yara/a.yar":          {Data: []byte("rule a { strings: $a = \"harmless\" condition: $a }\n")},
		"yara/more/b.yar":     {Data: []byte("rule b { condition: false }\n")},
		"hashes.txt":          {Data: bytes.Repeat([]byte("a"), 64)},
		"policy/general.toml": {Data: []byte("class = \"general\"\nallow_types = [\"*\"]\n")},
		"clean/b.txt":         {Data: []byte("clean")},
		"clean/more/c.bin":    {Data: []byte{0, 1, 2}},
	}
}

// withManifest changes the manifest of a source.
func withManifest(src fstest.MapFS, change func(*rules.Manifest)) fstest.MapFS {
	m, err := rules.ParseManifest(src["pack.toml"].Data)
	if err != nil {
		panic(err)
	}
	change(&m)
	src = maps.Clone(src)
	src["pack.toml"] = &fstest.MapFile{Data: m.Encode()}
	return src
}

// build writes a pack file.
func build(t testing.TB, src fs.FS) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "core.pack")
	f, err := os.Create(name)
	must(t, err)
	defer f.Close()
	_, err = WriteArchive(t.Context(), f, src, nil)
	must(t, err)
	return name
}

// publish builds, signs and publishes a version.
func (r *rig) publish(version uint64) {
	r.t.Helper()
	r.publishSource(sources(version))
}

func (r *rig) publishSource(src fs.FS) {
	r.t.Helper()
	must(r.t, r.tryPublish(src))
}

func (r *rig) tryPublish(src fs.FS) error {
	r.t.Helper()
	file := build(r.t, src)
	s, err := ReadSigned(r.t.Context(), file)
	must(r.t, err)
	for _, p := range r.signers {
		if err := s.Sign(p.Key, p, r.now); err != nil {
			return err
		}
	}
	_, err = Publish(r.t.Context(), r.dir, Publication{Pack: file, Signed: s, Key: r.publisher.Key, Signer: r.publisher, Now: r.now, GoodFor: 30 * daysOf})
	return err
}

// again publishes what is there with new dates.
func (r *rig) again() {
	r.t.Helper()
	_, err := Publish(r.t.Context(), r.dir, Publication{Key: r.publisher.Key, Signer: r.publisher, Now: r.now, GoodFor: 30 * daysOf})
	must(r.t, err)
}

// stick is a copy of the repository as it is now.
func (r *rig) stick() string {
	r.t.Helper()
	dir := r.t.TempDir()
	must(r.t, os.CopyFS(dir, os.DirFS(r.dir)))
	return dir
}

func (r *rig) root() []byte {
	r.t.Helper()
	data, err := os.ReadFile(filepath.Join(r.dir, "metadata", "1.root.json"))
	must(r.t, err)
	return data
}

// kiosk is a store that was enrolled with the repository's first root file.
func (r *rig) kiosk() *Store {
	r.t.Helper()
	s, err := Open(r.t.TempDir(), r.root())
	must(r.t, err)
	return s
}

// store is the one kiosk that a test attacks.
func (r *rig) store() *Store {
	r.t.Helper()
	if r.kiosks == nil {
		r.kiosks = r.kiosk()
	}
	return r.kiosks
}

// copy is the same repository and kiosk once more, for one attack.
func (r *rig) copy(t testing.TB) *rig {
	t.Helper()
	c := *r
	c.t = t
	c.dir = t.TempDir()
	must(t, os.CopyFS(c.dir, os.DirFS(r.dir)))
	store := t.TempDir()
	must(t, os.CopyFS(store, os.DirFS(r.store().dir)))
	var err error
	c.kiosks, err = Open(store, r.root())
	must(t, err)
	return &c
}

// install takes a repository into a store.
func install(s *Store, repository string, now time.Time) error {
	st, err := s.Stage(context.Background(), repository, now)
	if err != nil {
		return err
	}
	defer st.Discard()
	return st.Commit()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantRefused fails unless err is a refusal for that reason that has these words.
func wantRefused(t testing.TB, err error, reason Reason, words string) {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) {
		t.Errorf("not refused: %v", err)
		return
	}
	if r.Reason != reason || !strings.Contains(r.Text, words) {
		t.Errorf("refused as %q with %q, want %q with %q", r.Reason, r.Text, reason, words)
	}
}

// wantInForce fails unless the store holds this version and nothing else.
func wantInForce(t testing.TB, s *Store, version uint64) {
	t.Helper()
	p, m, err := s.Current()
	if version == 0 {
		if !errors.Is(err, ErrNone) {
			t.Errorf("version %d, %v in force, want none", m.Version, err)
		}
		return
	}
	if err != nil {
		t.Errorf("in force: %v", err)
		return
	}
	if p.Version != version || m.Version != version || len(p.YARA) != 2 {
		t.Errorf("version %d (%d) with %d rule files in force, want version %d", p.Version, m.Version, len(p.YARA), version)
	}
}

// tree is every file of a folder, to see that nothing changed.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	must(t, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		files[strings.TrimPrefix(name, dir)] = string(data)
		return err
	}))
	return files
}

// crafted is a repository's metadata in the hands of somebody who holds keys.
type crafted struct {
	root      *metadata.Metadata[metadata.RootType]
	targets   *metadata.Metadata[metadata.TargetsType]
	rules     *metadata.Metadata[metadata.TargetsType]
	snapshot  *metadata.Metadata[metadata.SnapshotType]
	timestamp *metadata.Metadata[metadata.TimestampType]
	by        map[string][]person // who signs what anew
	oldStick  string
}

// craft changes a repository and signs it anew, with every digest right: what is wrong with it is what change did alone.
func (r *rig) craft(dir string, change func(c *crafted)) {
	r.t.Helper()
	c := &crafted{oldStick: r.oldStick, by: map[string][]person{"targets": {anna, bert}, "rules": {dora, emil}, "snapshot": {gina}, "timestamp": {gina}}}
	newest := func(pattern string) string {
		names, err := filepath.Glob(filepath.Join(dir, "metadata", pattern))
		must(r.t, err)
		if len(names) == 0 {
			r.t.Fatal("no ", pattern)
		}
		return names[len(names)-1]
	}
	var err error
	c.root, err = metadata.Root().FromFile(newest("*.root.json"))
	must(r.t, err)
	c.targets, err = metadata.Targets().FromFile(newest("*.targets.json"))
	must(r.t, err)
	c.rules, err = metadata.Targets().FromFile(newest("*.rules.json"))
	must(r.t, err)
	c.snapshot, err = metadata.Snapshot().FromFile(newest("*.snapshot.json"))
	must(r.t, err)
	c.timestamp, err = metadata.Timestamp().FromFile(newest("timestamp.json"))
	must(r.t, err)
	c.snapshot.Signed.Version++
	c.timestamp.Signed.Version++
	change(c)
	// What the change set to a wrong digest or name stays wrong: only what was right before is made right again.
	write := func(name string, data []byte) {
		must(r.t, os.WriteFile(filepath.Join(dir, "metadata", name), data, 0o644))
	}
	link := func(meta map[string]*metadata.MetaFiles, name string, data []byte, version int64) {
		if meta[name] != nil {
			sum := sha256.Sum256(data)
			meta[name].Version, meta[name].Length, meta[name].Hashes = version, int64(len(data)), metadata.Hashes{"sha256": sum[:]}
		}
	}
	data := resign(r.t, c.targets, c.by["targets"])
	write(fmt.Sprintf("%d.targets.json", c.targets.Signed.Version), data)
	link(c.snapshot.Signed.Meta, "targets.json", data, c.targets.Signed.Version)
	data = resign(r.t, c.rules, c.by["rules"])
	write(fmt.Sprintf("%d.rules.json", c.rules.Signed.Version), data)
	link(c.snapshot.Signed.Meta, "rules.json", data, c.rules.Signed.Version)
	data = resign(r.t, c.snapshot, c.by["snapshot"])
	write(fmt.Sprintf("%d.snapshot.json", c.snapshot.Signed.Version), data)
	link(c.timestamp.Signed.Meta, "snapshot.json", data, c.snapshot.Signed.Version)
	write("timestamp.json", resign(r.t, c.timestamp, c.by["timestamp"]))
}

func resign[T metadata.Roles](t testing.TB, m *metadata.Metadata[T], people []person) []byte {
	t.Helper()
	m.ClearSignatures()
	for _, p := range people {
		must(t, addSignature(m, p.Key, p))
	}
	data, err := encode(m)
	must(t, err)
	return data
}

func rawText(text string) *json.RawMessage {
	data := json.RawMessage(text)
	return &data
}

func raw(v any) *json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return (*json.RawMessage)(&data)
}

var every = flag.Bool("every", false, "change every byte of a repository instead of a sample")
