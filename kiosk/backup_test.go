package kiosk

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pratique/kiosk/audit"
	"pratique/kiosk/clearance"
	"pratique/scanner/report"
)

// enter writes a session as a screening would, cleared or not, with items that are not clean.
func enter(t testing.TB, s *State, cleared bool) audit.ID {
	t.Helper()
	m := &Medium{Kind: "usb", VID: 1, PID: 2, Serial: "SN-4711"}
	se, err := s.attach(t.Context(), m, tools{}, Screening{Pack: pack(t), Class: "general"}, "")
	if err != nil {
		t.Fatal(err)
	}
	se.items = s.log.NewItems(se.id, s.names)
	se.manifest = clearance.NewSpooledManifest(se.id, se.spool)
	outcome := report.Clean
	if !cleared {
		outcome = report.Malformed
	}
	it := report.Item{Kind: report.File, Path: "Doe^Jane.dcm", Size: 3, Outcome: outcome, Type: "application/dicom"}
	if err := se.items.Add(t.Context(), it); err != nil {
		t.Fatal(err)
	}
	if se.itemsDigest, se.rows, err = se.items.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := audit.Decided{Verdict: audit.NotCleared, Class: "general", Reasons: []audit.Word{"malformed"}, Items: se.rows, ItemsDigest: se.itemsDigest}
	if cleared {
		se.record(&it)
		if err := se.manifest.AddVolume(0); err != nil {
			t.Fatal(err)
		}
		if se.content, err = se.manifest.Seal(); err != nil {
			t.Fatal(err)
		}
		d.Verdict, d.Reasons, d.Content, d.Rules = audit.Cleared, nil, se.content.Root, auditRules(pack(t))
	}
	if err := se.append(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if cleared {
		if _, err := se.issue(t.Context(), "general", "person:p-17"); err != nil {
			t.Fatal(err)
		}
	}
	if err := se.append(t.Context(), audit.Removed{}); err != nil {
		t.Fatal(err)
	}
	se.end(true)
	se.spool.Close()
	return se.id
}

func sound(t testing.TB, dir string) audit.Result {
	t.Helper()
	res, err := VerifyLog(t.Context(), dir)
	if err != nil || !res.Sound {
		t.Fatalf("%+v %v %v", res, res.Bad, err)
	}
	return res
}

func disclosed(t testing.TB, s *State, id audit.ID) *audit.Disclosure {
	t.Helper()
	what := Subject{Session: id.String()}
	if d, err := s.Disclose(t.Context(), what, "test", Asker{"uid:1", true}); err != nil || d != nil {
		t.Fatalf("%+v %v", d, err)
	}
	d, err := s.Disclose(t.Context(), what, "test", Asker{"uid:2", false})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestT21_NamesAreShownToTwoPersonsOfWhomOneIsAnAuditor(t *testing.T) {
	s := openState(t, t.TempDir())
	at := time.Now()
	s.now = func() time.Time { return at }
	id, other := enter(t, s, false), enter(t, s, true)
	what := Subject{Session: id.String()}
	refused := func(name string, what Subject, who Asker) {
		t.Helper()
		if d, err := s.Disclose(t.Context(), what, "test", who); d != nil || err != nil && !errors.Is(err, ErrDisclosure) {
			t.Fatalf("%s: %+v %v", name, d, err)
		}
	}
	refused("nobody", what, Asker{"", true})
	refused("the first", what, Asker{"uid:1", true})
	refused("the same person", what, Asker{"uid:1", true})
	refused("another person, for another session", Subject{Session: other.String()}, Asker{"uid:2", true})
	refused("the first again, who has lost their turn", what, Asker{"uid:1", false})
	at = at.Add(disclosureTime + time.Minute)
	refused("the second, too late", what, Asker{"uid:2", false})
	refused("two who are no auditors", what, Asker{"uid:3", false})
	d, err := s.Disclose(t.Context(), what, "test", Asker{"uid:4", true})
	if err != nil || len(d.Items) != 1 || d.Items[0].Item.Path != "Doe^Jane.dcm" || d.Entries[0].Serial != "SN-4711" {
		t.Fatalf("%+v %v", d, err)
	}
	refused("once more, by one of them", what, Asker{"uid:4", true})
	d = disclosed(t, s, other)
	if len(d.Items) != 0 || len(d.Entries) != 2 || d.Entries[1].Person != "person:p-17" {
		t.Errorf("%+v", d)
	}
	var asked, shown int
	err = s.Log(t.Context(), func(e audit.Entry) error {
		switch d := e.Data.(type) {
		case audit.Administered:
			if d.What == "disclosure-asked" {
				asked++
			}
		case audit.Disclosed:
			shown++
		}
		return nil
	})
	if err != nil || asked < 5 || shown != 2 {
		t.Errorf("%d asked, %d shown: %v", asked, shown, err)
	}
	if _, err := s.Erase(t.Context(), id.String(), audit.Erasure{}, "uid:1"); err != nil {
		t.Fatal(err)
	}
	for _, erased := range []bool{false, true} {
		c, err := s.Clearance(other.String())
		if err != nil || (c.ManifestFile == "") != erased {
			t.Fatalf("the other session's manifest: %+v %v", c, err)
		}
		out := t.TempDir()
		if err := s.Save(t.Context(), c, out); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(filepath.Join(out, manifestName)); (err != nil) != erased {
			t.Error(err)
		}
		if !erased {
			if _, err := s.Erase(t.Context(), other.String(), audit.Erasure{}, "uid:1"); err != nil {
				t.Fatal(err)
			}
		}
	}
	refused("what was erased", what, Asker{"uid:1", true})
	refused("what was erased", what, Asker{"uid:2", true})
	sound(t, s.dir)
}

func TestABackupIsMadeWhileTheStationWorksAndRestored(t *testing.T) {
	for name, damage := range map[string]func(dir string){
		"lost":    func(dir string) { os.Remove(filepath.Join(dir, audit.FileName)) },
		"garbage": func(dir string) { os.WriteFile(filepath.Join(dir, audit.FileName), []byte("garbage"), 0o600) },
		"cut":     func(dir string) { os.Truncate(filepath.Join(dir, audit.FileName), 9000) },
		"all lost": func(dir string) {
			os.Remove(filepath.Join(dir, audit.FileName))
			os.Remove(filepath.Join(dir, audit.NamesFile))
		},
	} {
		dir, backup := t.TempDir(), filepath.Join(t.TempDir(), "backup")
		s := openState(t, dir)
		before, cleared := enter(t, s, false), enter(t, s, true)
		done := make(chan struct{})
		go func() { // the station works meanwhile
			defer close(done)
			for range 20 {
				s.log.Append(context.Background(), audit.Event{Data: audit.Read{}})
			}
		}()
		head, err := s.Backup(t.Context(), backup, "uid:1")
		<-done
		if err != nil || head.Size < 8 {
			t.Fatalf("%s: %+v %v", name, head, err)
		}
		if _, err := s.Backup(t.Context(), backup, "uid:1"); !errors.Is(err, ErrOut) {
			t.Errorf("%s: over another backup: %v", name, err)
		}
		if res := sound(t, backup); res.Entries != head.Size {
			t.Errorf("%s: %d entries in the backup of %d", name, res.Entries, head.Size)
		}
		late := enter(t, s, true)
		// What works is not replaced by what knows less.
		if _, err := RestoreLog(t.Context(), dir, backup, "uid:1"); !errors.Is(err, ErrState) {
			t.Fatalf("%s: a sound log was replaced: %v", name, err)
		}
		s.Close()
		for _, suffix := range []string{"-wal", "-shm"} {
			os.Remove(filepath.Join(dir, audit.FileName+suffix))
		}
		damage(dir)
		if s, err := OpenState(t.Context(), dir); err == nil {
			s.Close()
			t.Fatalf("%s: the station starts without its log", name)
		}
		if _, err := RestoreLog(t.Context(), dir, filepath.Join(t.TempDir(), "none"), "uid:1"); err == nil {
			t.Errorf("%s: restored from nothing", name)
		}
		res, err := RestoreLog(t.Context(), dir, backup, "uid:1")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if res.Head != head || len(res.Recalled) != 1 || res.Recalled[0] != clearance.Code(late) {
			t.Errorf("%s: %+v", name, res)
		}
		sound(t, dir)
		s = openState(t, dir)
		if d := disclosed(t, s, before); len(d.Items) != 1 || d.Items[0].Item.Path != "Doe^Jane.dcm" {
			t.Errorf("%s: %+v", name, d)
		}
		if _, err := s.Clearance(clearance.Code(cleared)); err != nil {
			t.Errorf("%s: a clearance that the backup knows: %v", name, err)
		}
		if _, err := s.Clearance(clearance.Code(late)); !errors.Is(err, ErrNoClearance) {
			t.Errorf("%s: a clearance that nothing vouches for: %v", name, err)
		}
		if revoked, err := s.revoked(t.Context()); err != nil || len(revoked) != 1 || revoked[0] != late {
			t.Errorf("%s: revoked %x, %v", name, revoked, err)
		}
		enter(t, s, true)
		sound(t, dir)
		found, err := s.log.Search(t.Context(), audit.Query{Operator: s.Pseudonym("uid:1"), Kinds: []audit.Kind{audit.KindAdministered}, Until: time.Now().Add(time.Hour)})
		if err != nil || len(found) == 0 || found[len(found)-1].Entries[0].Data.(audit.Administered).What != "log-restored" {
			t.Errorf("%s: the log does not say that it was restored: %+v %v", name, found, err)
		}
	}
}

func TestALogThatIsLostForGoodBeginsAnewAndSaysSo(t *testing.T) {
	dir := t.TempDir()
	s := openState(t, dir)
	id := enter(t, s, true)
	s.Close()
	if _, err := RestoreLog(t.Context(), dir, "", "uid:1"); !errors.Is(err, ErrState) {
		t.Fatalf("a sound log was thrown away: %v", err)
	}
	os.Remove(filepath.Join(dir, audit.FileName))
	if _, err := OpenState(t.Context(), dir); !errors.Is(err, ErrLogGone) {
		t.Fatal(err)
	}
	res, err := RestoreLog(t.Context(), dir, "", "uid:1")
	if err != nil || len(res.Recalled) != 1 || res.Recalled[0] != clearance.Code(id) {
		t.Fatalf("%+v %v", res, err)
	}
	s = openState(t, dir)
	var first audit.Entry
	if err := s.Log(t.Context(), func(e audit.Entry) error {
		if e.Index == 0 {
			first = e
		}
		return nil
	}); err != nil || first.Data.(audit.Administered).What != "log-begun-anew" {
		t.Errorf("%+v %v", first, err)
	}
	sound(t, dir)
	os.Remove(filepath.Join(dir, "key", "log"))
	if _, err := RestoreLog(t.Context(), dir, "", "uid:1"); !errors.Is(err, ErrState) {
		t.Errorf("without the log's key: %v", err)
	}
}

func TestABackupOfAnotherStationOrOneThatWasChangedIsRefused(t *testing.T) {
	dir, mine, theirs := t.TempDir(), filepath.Join(t.TempDir(), "mine"), filepath.Join(t.TempDir(), "theirs")
	s := openState(t, dir)
	enter(t, s, false)
	if _, err := s.Backup(t.Context(), mine, "uid:1"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	other := openState(t, t.TempDir())
	if _, err := other.Backup(t.Context(), theirs, "uid:1"); err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(dir, audit.FileName))
	if _, err := RestoreLog(t.Context(), dir, theirs, "uid:1"); !errors.Is(err, ErrBrokenLog) {
		t.Errorf("another station's: %v", err)
	}
	data, err := os.ReadFile(filepath.Join(mine, audit.FileName))
	if err != nil {
		t.Fatal(err)
	}
	i := strings.Index(string(data), "decided")
	data[i] ^= 1
	if err := os.WriteFile(filepath.Join(mine, audit.FileName), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := RestoreLog(t.Context(), dir, mine, "uid:1"); err == nil {
		t.Error("a changed backup was restored")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "lost")); len(left) > 0 {
		t.Error("something was set aside for nothing")
	}
}

func TestT23_BackupAndRestoreThatStopAtAnyStepLeaveNothingHalf(t *testing.T) {
	stop := errors.New("the power is gone")
	at := func(step string) func(string) error {
		return func(s string) error {
			if s == step {
				return stop
			}
			return nil
		}
	}
	dir, parent := t.TempDir(), t.TempDir()
	s := openState(t, dir)
	enter(t, s, true)
	for _, step := range []string{"log copied", "backup made", "backup entered"} {
		s.fault = at(step)
		if _, err := s.Backup(t.Context(), filepath.Join(parent, "backup"), "uid:1"); !errors.Is(err, stop) {
			t.Fatalf("%s: %v", step, err)
		}
		if _, err := os.Lstat(filepath.Join(parent, "backup")); err == nil {
			t.Errorf("%s: half a backup is there", step)
		}
	}
	s.fault = nil
	backup := filepath.Join(parent, "backup")
	if _, err := s.Backup(t.Context(), backup, "uid:1"); err != nil {
		t.Fatal(err)
	}
	late := enter(t, s, true)
	s.Close()
	for _, step := range []string{"new log", "aside", "names", "restored"} {
		state := filepath.Join(t.TempDir(), "state")
		if err := os.CopyFS(state, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"key", "key/months", "sessions", "clearances"} {
			os.Chmod(filepath.Join(state, name), 0o700)
		}
		secrets, _ := filepath.Glob(filepath.Join(state, "key", "*"))
		months, _ := filepath.Glob(filepath.Join(state, "key", "months", "*"))
		for _, name := range append(secrets, months...) {
			if info, err := os.Stat(name); err == nil && !info.IsDir() {
				os.Chmod(name, 0o600)
			}
		}
		os.WriteFile(filepath.Join(state, audit.FileName), []byte("garbage"), 0o600)
		if _, err := restoreLog(t.Context(), state, backup, "uid:1", at(step)); !errors.Is(err, stop) {
			t.Fatalf("%s: %v", step, err)
		}
		again, err := OpenState(t.Context(), state)
		if (err == nil) != (step == "restored") {
			t.Fatalf("%s: the station starts: %v", step, err)
		}
		if err == nil {
			again.Close()
		} else if _, err := RestoreLog(t.Context(), state, backup, "uid:1"); err != nil {
			t.Fatalf("%s: the same call again: %v", step, err)
		}
		sound(t, state)
		s := openState(t, state)
		if revoked, err := s.revoked(t.Context()); err != nil || len(revoked) != 1 || revoked[0] != late {
			t.Errorf("%s: revoked %x, %v", step, revoked, err)
		}
	}
}
