package kiosk

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pratique/kiosk/audit"
	"pratique/kiosk/clearance"
	"pratique/rules"
	rulepack "pratique/rules/pack"
	"pratique/testdata/packs"
)

// team is a security team's repository, and a station that was enrolled with it.
type team struct {
	*packs.Repository
	t   testing.TB
	cfg PackConfig
	dir string // of the station's state
	s   *State
}

func newTeam(t testing.TB) *team {
	t.Helper()
	repo, err := packs.New(t.TempDir(), time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	x := &team{Repository: repo, t: t, dir: t.TempDir()}
	x.publish(1, nil) // the root file is there once something is published
	root, err := os.ReadFile(repo.Root())
	if err != nil {
		t.Fatal(err)
	}
	x.cfg = PackConfig{Root: root, Baseline: pack(t), Tighten: func(p rules.Pack) (rules.Pack, error) { return p, nil },
		Want: Screening{Workers: built.bin, Class: "general"}}
	x.s = openState(t, x.dir)
	return x
}

func (x *team) publish(version uint64, more map[string]string) {
	x.t.Helper()
	if err := x.Publish(packs.Source(version, time.Now().Add(100*24*time.Hour), more)); err != nil {
		x.t.Fatal(err)
	}
}

func (x *team) install() (InForce, []Recall) {
	x.t.Helper()
	in, recalls, err := x.s.Install(x.t.Context(), x.Dir, "path", x.cfg)
	if err != nil {
		x.t.Fatal(err)
	}
	return in, recalls
}

func (x *team) inForce() InForce {
	x.t.Helper()
	in, err := x.s.Packs(x.cfg)
	if err != nil {
		x.t.Fatal(err)
	}
	return in
}

// sound holds the log against its tree, and returns the kinds of its entries.
func (x *team) sound() (kinds []string) {
	x.t.Helper()
	res, err := VerifyLog(context.Background(), x.dir)
	if err != nil || !res.Sound {
		x.t.Fatalf("the log is not sound: %v %v", res.Bad, err)
	}
	err = x.s.Log(context.Background(), func(e audit.Entry) error {
		kinds = append(kinds, e.Kind.String())
		return nil
	})
	if err != nil {
		x.t.Fatal(err)
	}
	return kinds
}

func (x *team) clear(stick, class string) *Clearance {
	x.t.Helper()
	res, err := x.s.Screen(x.t.Context(), Screening{Target: filepath.Join(built.sticks, stick+".img"), Class: class,
		Pack: x.inForce().Pack, Workers: built.bin})
	if err != nil || res.Clearance == nil {
		x.t.Fatalf("%s was not cleared: %v %v", stick, res.Reasons, err)
	}
	return res.Clearance
}

// hashesOf are the SHA-256 of the files that a clearance cleared, in hex.
func hashesOf(t testing.TB, s *State, c *Clearance) (out []string) {
	t.Helper()
	err := s.log.ListItems(context.Background(), c.ID, func(it audit.Item) error {
		if it.Kind == "file" && it.Size > 0 && it.SHA256 != nil {
			out = append(out, it.SHA256.String())
		}
		return nil
	})
	if err != nil || len(out) == 0 {
		t.Fatalf("%d items: %v", len(out), err)
	}
	return out
}

func TestAPackIsInForceOnceItPassedEveryGate(t *testing.T) {
	x := newTeam(t)
	if in := x.inForce(); in.Meta != nil || in.Name != pack(t).Name {
		t.Fatalf("before: %+v", in.Name)
	}
	x.install()
	if in := x.inForce(); in.Meta == nil || in.Name != "core" || in.Version != 1 {
		t.Fatalf("after: %s %d", in.Name, in.Version)
	}
	x.publish(2, nil)
	x.install()
	history, err := x.s.PackHistory(x.cfg)
	if err != nil || len(history) != 2 || history[0].Version != 2 {
		t.Fatalf("%v %v", history, err)
	}
	if kinds := x.sound(); !slices.Equal(kinds, []string{"pack", "pack"}) {
		t.Fatal(kinds)
	}
}

const eicarRule = "rule EICAR_Test_File { strings: $a = \"EICAR-STANDARD-\" condition: $a }\n"

// slowRule asks for each byte of a file whether one of the next thousand is what no byte is.
const slowRule = eicarRule + "rule slow { condition: for all i in (0..filesize) : (for all j in (0..1000) : (uint8(i + j) != 256)) and filesize == 3 }\n"

func TestT15_ABadPackFailsAtItsGateAndTheOldOneStays(t *testing.T) {
	x := newTeam(t)
	x.install()
	version := uint64(1)
	for _, test := range []struct {
		name, gate, words string
		files             map[string]string
	}{
		{"that finds nothing", "canary", "was not found", map[string]string{"yara/test.yar": "rule nothing { strings: $a = \"no such words\" condition: $a }\n"}},
		{"without rules", "compile", "there is no rule in the rule set", map[string]string{"yara/test.yar": ""}},
		{"that finds only whole files", "canary", "inside a DICOM file", map[string]string{"yara/test.yar": "rule e { strings: $a = \"X5O!P%@AP\" condition: $a at 0 }\n"}},
		{"that only warns", "canary", "was not found", map[string]string{"yara/test.yar": "rule e { meta: severity = \"warn\" strings: $a = \"EICAR-STANDARD-\" condition: $a }\n"}},
		{"that matches everything", "goodware", "The rule everything matches", map[string]string{"yara/test.yar": eicarRule + "rule everything { condition: true }\n"}},
		{"that matches programs", "goodware", "PROGRAM.EXE", map[string]string{"yara/test.yar": eicarRule + "rule mz { condition: uint16(0) == 0x5A4D }\n"}},
		{"with the hash of a clean file", "goodware", "A hash list holds", map[string]string{"hashes.txt": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\n", "clean/foo.txt": "foo"}},
		{"with a clean file that it finds", "goodware", "ours.txt", map[string]string{"clean/ours.txt": "an EICAR-STANDARD- text"}},
		{"with a sample that it misses", "samples", "does not match the rule lost", map[string]string{
			"yara/more.yar": "rule lost { strings: $a = \"lost words\" condition: $a }\n", "samples/a.toml": "[[sample]]\nname = \"a.txt\"\nrules = [\"lost\"]\nparts = [{ text = \"x\" }]\n"}},
		{"with rules that do not compile", "compile", "yara/test.yar: error: syntax error", map[string]string{"yara/test.yar": "rule broken {\n"}},
		{"with a line that is no hash", "compile", "blocklist", map[string]string{"hashes.txt": "no hash\n"}},
		{"that runs for ever", "budget", "took too long", map[string]string{"yara/test.yar": slowRule}},
		{"without the station's class", "policy", "general", map[string]string{"policy/general.toml": ""}},
	} {
		t.Run(test.name, func(t *testing.T) {
			version++
			x.publish(version, test.files)
			_, _, err := x.s.Install(t.Context(), x.Dir, "path", x.cfg)
			var refused *PackRefused
			if !errors.As(err, &refused) || refused.Gate != test.gate || !strings.Contains(refused.Text, test.words) {
				t.Fatalf("a pack %s: %v", test.name, err)
			}
			if in := x.inForce(); in.Version != 1 {
				t.Fatalf("version %d is in force", in.Version)
			}
		})
	}
	version++
	x.publish(version, nil)
	if in, _ := x.install(); in.Version != version {
		t.Fatalf("the next good pack is not taken: %d", in.Version)
	}
	x.sound()
}

func TestT14_PacksThatAreOldOrForgedAreRefusedInWordsAndLogged(t *testing.T) {
	x := newTeam(t)
	old := t.TempDir()
	if err := os.CopyFS(old, os.DirFS(x.Dir)); err != nil {
		t.Fatal(err)
	}
	x.publish(2, nil)
	x.install()
	x.publish(3, nil)
	for _, test := range []struct {
		name, code, words string
		folder            string
	}{
		{"an older stick", "older", "older than what this station has seen", old},
		{"an empty folder", "no-repository", "(timestamp) is missing", t.TempDir()},
		{"another team's", "changed", "the repository is another team's", strangers(t)},
		{"a changed pack", "changed", "the pack is not the one that was signed", changed(t, x.Dir)},
	} {
		_, _, err := x.s.Install(t.Context(), test.folder, "path", x.cfg)
		var refused *PackRefused
		if !errors.As(err, &refused) || refused.Gate != gateSignature {
			t.Fatalf("%s: %v", test.name, err)
		}
		if refused.Code != test.code || !strings.Contains(refused.Text, test.words) {
			t.Errorf("%s is refused as %s: %s", test.name, refused.Code, refused.Text)
		}
		if in := x.inForce(); in.Version != 2 {
			t.Fatalf("%s: version %d is in force", test.name, in.Version)
		}
	}
	if n := strings.Count(strings.Join(x.sound(), " "), "pack"); n != 4 { // two were refused for the same reason within an hour
		t.Fatalf("%d entries about packs", n)
	}
}

// changed is a copy of a repository whose newest packs have one other byte.
func changed(t *testing.T, dir string) string {
	t.Helper()
	out := t.TempDir()
	if err := os.CopyFS(out, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(out, "targets", "rules", "*.pack"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 1
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// strangers is a repository of people who are not the team.
func strangers(t *testing.T) string {
	t.Helper()
	repo, err := packs.NewFor(t.TempDir(), time.Now().Add(-time.Hour), "mallory", "trudy", "eve")
	if err == nil {
		err = repo.Publish(packs.Source(9, time.Now().Add(100*24*time.Hour), nil))
	}
	if err != nil {
		t.Fatal(err)
	}
	return repo.Dir
}

func TestT14_ACrashAtEachStepLeavesTheOldPackOrTheNewOne(t *testing.T) {
	for step, version := range map[string]uint64{"gates": 1, "recall": 1, "pack": 2} {
		t.Run(step, func(t *testing.T) {
			x := newTeam(t)
			x.install()
			c := x.clear("clean", "general")
			x.publish(2, map[string]string{"hashes.txt": hashesOf(t, x.s, c)[0] + "\n"})
			gone := errors.New("the power is gone")
			x.s.fault = func(s string) error {
				if s == step {
					return gone
				}
				return nil
			}
			if _, _, err := x.s.Install(t.Context(), x.Dir, "path", x.cfg); !errors.Is(err, gone) {
				t.Fatal(err)
			}
			x.s.Close()
			x.s = openState(t, x.dir)
			in := x.inForce()
			if in.Version != version {
				t.Fatalf("version %d is in force", in.Version)
			}
			if _, err := x.s.Settle(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			if in.Version == 1 {
				x.install()
			}
			recalled, err := x.s.Recalled(t.Context())
			if err != nil || len(recalled) != 1 || recalled[0].ID != c.ID {
				t.Fatalf("%v %v", recalled, err)
			}
			if kinds := x.sound(); kinds[len(kinds)-1] != "pack" {
				t.Fatal(kinds)
			}
		})
	}
}

func TestRecallOfWhatANewListKnows(t *testing.T) {
	x := newTeam(t)
	x.install()
	c := x.clear("clean", "general")
	x.publish(2, map[string]string{"hashes.txt": strings.ToUpper(hashesOf(t, x.s, c)[0]) + "\n" + strings.Repeat("a", 64) + "\n"})
	_, recalls := x.install()
	if len(recalls) != 1 || recalls[0].ID != c.ID || recalls[0].Cause != causeHash || recalls[0].Items == 0 || recalls[0].Classes[0] != "general" {
		t.Fatalf("%+v", recalls)
	}
	data, err := os.ReadFile(filepath.Join(x.dir, "demo.trust"))
	if err != nil {
		t.Fatal(err)
	}
	trust, err := clearance.ParseTrust(data)
	if err != nil || !slices.Contains(trust.Revoked, c.ID) {
		t.Fatalf("the trust file does not name it: %v %v", trust, err)
	}
	x.publish(3, map[string]string{"hashes.txt": hashesOf(t, x.s, c)[0] + "\n"})
	if _, again := x.install(); len(again) != 0 {
		t.Fatalf("recalled again: %+v", again)
	}
	listed, err := x.s.Cleared(t.Context(), Window{Pack: "core", Version: 1})
	if err != nil || len(listed) != 1 || listed[0].Cause != causeHash {
		t.Fatalf("%+v %v", listed, err)
	}
	if listed, err := x.s.Cleared(t.Context(), Window{Since: time.Now().Add(time.Hour)}); err != nil || len(listed) != 0 {
		t.Fatalf("%+v %v", listed, err)
	}
	x.sound()
}

func TestRecallOfTypesThatAClassNoLongerTakes(t *testing.T) {
	x := newTeam(t)
	x.install()
	c := x.clear("clean", "general")
	x.publish(2, map[string]string{"policy/general.toml": "class = \"general\"\nallow_types = [\"image/*\"]\n"})
	_, recalls := x.install()
	if len(recalls) != 1 || recalls[0].ID != c.ID || recalls[0].Cause != causeType {
		t.Fatalf("%+v", recalls)
	}
	x.sound()
}

func TestT27_AgeOfAPackIsJudgedByWhatIsProved(t *testing.T) {
	const day = 24 * time.Hour
	published := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	meta := &rulepack.Meta{Published: published, Installed: published.Add(time.Hour)}
	for _, test := range []struct {
		name       string
		meta       *rulepack.Meta
		enrolled   bool
		now, floor time.Duration // since then
		code       string
		stops      bool
	}{
		{"fresh", meta, true, 6 * day, 6 * day, "", false},
		{"a week is not old", meta, true, 7 * day, 7 * day, "", false},
		{"older", meta, true, 8 * day, 8 * day, "pack-age", false},
		{"thirty days", meta, true, 30 * day, 30 * day, "pack-age", false},
		{"too old", meta, true, 31 * day, 31 * day, "pack-age", true},
		{"the clock is a year ahead", meta, true, 365 * day, day, "pack-age", true},
		{"the clock is set back to hide the age", meta, true, day, 31 * day, "clock", true},
		{"the clock is a minute behind", meta, true, day - time.Minute, day, "", false},
		{"the clock is a year behind", meta, true, -365 * day, day, "clock", true},
		{"no pack on an enrolled station", nil, true, 0, 0, "pack-none", true},
		{"a demonstration has no age", nil, false, 999 * day, 0, "", false},
		{"nor has its pack", meta, false, 999 * day, 0, "", false},
	} {
		f := JudgeAge(test.meta, test.enrolled, published.Add(test.now), published.Add(test.floor), WarnAge, StopAge)
		if f.Code != test.code || f.Stops != test.stops || (f.Code != "") != (f.Text != "") {
			t.Errorf("%s: %+v", test.name, f)
		}
	}
}

// enrol gives the station a key of its site's.
func (x *team) enrol() {
	x.t.Helper()
	if err := x.s.PutKey(x.t.Context(), EnrolledKey, []byte("a box that nobody opens here"), "uid:0"); err != nil {
		x.t.Fatal(err)
	}
}

func TestT27_AClockThatIsSetBackOrAheadStopsAnEnrolledStation(t *testing.T) {
	x := newTeam(t)
	x.install()
	x.enrol()
	at := time.Now()
	x.s.now = func() time.Time { return at }
	for _, test := range []struct {
		ahead time.Duration
		code  string
	}{{0, ""}, {40 * 24 * time.Hour, "pack-age"}, {-24 * time.Hour, "clock"}} {
		at = time.Now().Add(test.ahead)
		f, err := x.s.Freshness(t.Context(), x.inForce(), x.cfg, WarnAge, StopAge)
		if err != nil || f.Code != test.code || f.Stops != (test.code != "") {
			t.Fatalf("%v: %+v %v", test.ahead, f, err)
		}
	}
}

func TestAnInstalledPackIsFoundAgainByEachStart(t *testing.T) {
	x := newTeam(t)
	x.install()
	x.publish(2, nil)
	x.install()
	x.s.Close()
	x.s = openState(t, x.dir)
	in := x.inForce()
	if recalls, err := x.s.Settle(t.Context(), in); err != nil || len(recalls) != 0 || in.Version != 2 {
		t.Fatalf("%v %v", recalls, err)
	}
	if n := len(x.sound()); n != 2 {
		t.Fatalf("%d entries", n)
	}
	// A store that lost its word on what is in force must not look like a station that never had a pack.
	if err := os.Remove(filepath.Join(x.dir, "rules", "store", "current")); err != nil {
		t.Fatal(err)
	}
	if in, err := x.s.Packs(x.cfg); err == nil {
		t.Fatalf("%s %d is in force", in.Name, in.Version)
	}
}
