package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"pratique/kiosk/localapi"
	"pratique/rules/pack"
	"pratique/testdata/packs"
	"pratique/testdata/stick"
)

// untilState watches until the station satisfies f.
func (d *desk) untilState(what string, f func(*localapi.State) bool) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 60*time.Second)
	defer cancel()
	c := d.client()
	defer c.Close()
	found := errors.New("found")
	var last *localapi.State
	err := c.Watch(ctx, func(st *localapi.State) error {
		if last = st; f(st) {
			return found
		}
		return nil
	})
	if !errors.Is(err, found) {
		d.t.Fatalf("never %s: %v %+v\n%s", what, err, last, d.stderr.String())
	}
}

func problem(code string) func(*localapi.State) bool {
	return func(st *localapi.State) bool {
		for _, p := range st.Problems {
			if p.Code == code {
				return true
			}
		}
		return false
	}
}

func version(n uint64) func(*localapi.State) bool {
	return func(st *localapi.State) bool { return st.Rules.Version == n && st.Rules.Name == "core" }
}

// team makes a security team that has published one pack, and a configuration that knows it; watch may be empty.
func (d *desk) team(watch string) *packs.Repository {
	d.t.Helper()
	repo, err := packs.New(filepath.Join(d.dir, "repo"), time.Now().Add(-time.Hour))
	if err == nil {
		err = repo.Publish(packs.Source(1, time.Now().Add(90*24*time.Hour), nil))
	}
	if err != nil {
		d.t.Fatal(err)
	}
	text, err := os.ReadFile(d.config)
	if err != nil {
		d.t.Fatal(err)
	}
	if watch != "" {
		watch = fmt.Sprintf("watch = %q\n", watch)
	}
	d.write("station.toml", fmt.Sprintf("%s[rules]\nroot = %q\n%s", text, repo.Root(), watch))
	return repo
}

func TestT29_PacksComeThroughTheWatchedFolderOrByPathAndNothingElseDoes(t *testing.T) {
	d := newDesk(t, `"general"`)
	watch := filepath.Join(d.dir, "rules")
	if err := os.Mkdir(watch, 0o700); err != nil {
		t.Fatal(err)
	}
	repo := d.team(watch)
	publish := func(version uint64, more map[string]string) {
		t.Helper()
		if err := repo.Publish(packs.Source(version, time.Now().Add(90*24*time.Hour), more)); err != nil {
			t.Fatal(err)
		}
	}
	d.start()
	deliver := func(from string) {
		t.Helper()
		stage := filepath.Join(d.dir, fmt.Sprint("stage-", time.Now().UnixNano()))
		if err := os.CopyFS(stage, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.RemoveAll(watch), os.Rename(stage, watch)); err != nil {
			t.Fatal(err)
		}
	}
	deliver(repo.Dir)
	d.untilState("version 1", version(1))

	// A pack that is bad in itself is refused and said, and the one before stays.
	publish(2, map[string]string{"yara/all.yar": "rule everything { condition: true }\n"})
	deliver(repo.Dir)
	d.untilState("a pack refused", problem("pack-folder"))
	d.untilState("version 1 still", version(1))

	// By path, over the socket. Nothing of another team's.
	c := d.client()
	defer c.Close()
	publish(3, nil)
	old := filepath.Join(d.dir, "old")
	if err := os.CopyFS(old, os.DirFS(repo.Dir)); err != nil {
		t.Fatal(err)
	}
	if done, err := c.Install(t.Context(), repo.Dir); err != nil || done.Version != 3 {
		t.Fatalf("%+v %v", done, err)
	}
	d.untilState("version 3", version(3))
	publish(4, nil)
	if _, err := c.Install(t.Context(), repo.Dir); err != nil {
		t.Fatal(err)
	}
	strangers, err := packs.NewFor(filepath.Join(d.dir, "strangers"), time.Now().Add(-time.Hour), "mallory", "trudy", "eve")
	if err == nil {
		err = strangers.Publish(packs.Source(9, time.Now().Add(90*24*time.Hour), nil))
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{old, strangers.Dir, t.TempDir(), "/dev/null", filepath.Join(d.dir, "nowhere")} {
		var e *localapi.Error
		if _, err := c.Install(t.Context(), folder); !errors.As(err, &e) || e.Code != localapi.CodePack {
			t.Errorf("%s: %v", filepath.Base(folder), err)
		}
	}
	d.untilState("version 4 still", version(4))

	// What is in force survives a kill, and media are screened with it.
	d.kill(syscall.SIGKILL)
	d.start()
	d.untilState("version 4 again", version(4))
	d.plug("clean", "a.img")
	port := d.until("cleared", in("", localapi.Waiting))
	c2 := d.client()
	defer c2.Close()
	if a, err := c2.Issue(t.Context(), port.ID, "general"); err != nil || a.Clearance == nil {
		t.Fatalf("%+v %v", a, err)
	}
	if err := d.kill(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	account(t, d.state)
}

// A pack on a stick: the stick is screened, the pack is tried, and nothing is cleared by it.
func TestT29_PacksComeFromAStickInAPortOrFromItsImage(t *testing.T) {
	d := newDesk(t, `"general"`)
	repo := d.team("")
	image := func(name string) string {
		t.Helper()
		dir := t.TempDir()
		if err := pack.Carry(t.Context(), repo.Dir, dir, time.Now()); err != nil {
			t.Fatal(err)
		}
		files, err := stick.FilesOf(os.DirFS(dir), "")
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(built.sticks, name+".img"))
		if err == nil {
			err = f.Truncate(16 << 20)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := stick.WriteFAT(f, stick.FAT{Bits: 16, Bytes: 16 << 20}, files); err != nil {
			t.Fatal(err)
		}
		return f.Name()
	}
	first := image("pack-1")
	if err := repo.Publish(packs.Source(2, time.Now().Add(90*24*time.Hour), nil)); err != nil {
		t.Fatal(err)
	}
	image("pack-2")
	d.start()
	c := d.client()
	defer c.Close()
	if done, err := c.Install(t.Context(), first); err != nil || done.Version != 1 {
		t.Fatalf("an image: %+v %v", done, err)
	}
	d.plug("pack-2", "a.img")
	port := d.until("seen", func(p localapi.Port) bool { return p.Medium != nil })
	if done, err := c.InstallFrom(t.Context(), port.ID); err != nil || done.Version != 2 {
		t.Fatalf("a port: %+v %v", done, err)
	}
	d.untilState("version 2", version(2))
	if p := d.until("over", in("", localapi.Removed)); p.Pack == nil || p.Pack.Version != 2 || p.Clearance != nil {
		t.Errorf("%+v", p)
	}
	for name, port := range map[string]string{localapi.CodePort: "nowhere", localapi.CodeNoMedium: port.ID} {
		var e *localapi.Error
		if _, err := c.InstallFrom(t.Context(), port); !errors.As(err, &e) || e.Code != name {
			t.Errorf("%s: %v", port, err)
		}
	}
	if err := d.kill(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	account(t, d.state)
}
