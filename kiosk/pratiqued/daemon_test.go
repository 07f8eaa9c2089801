package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pratique/kiosk"
	"pratique/kiosk/audit"
	"pratique/kiosk/clearance"
	"pratique/kiosk/localapi"
)

func TestAStationOnADesk(t *testing.T) {
	d := newDesk(t, `"general"`)
	d.start()
	c := d.client()
	defer c.Close()
	st, err := c.Status(t.Context())
	if err != nil || !st.Ready || !st.Demo || len(st.Problems) != 0 || len(st.Ports) != 4 {
		t.Fatalf("%+v %v", st, err)
	}
	begin := time.Now()
	d.plug("clean", "TESTPATIENT.img")
	d.plug("infected", "b.img")
	good := d.until("cleared", in("", localapi.Waiting))
	t.Logf("from the copy to the verdict: %v, of which the file's size has to hold for 1 s", time.Since(begin).Round(10*time.Millisecond))
	bad := d.until("not cleared", in("", localapi.Decided))
	if good.Verdict != "cleared" || bad.Verdict != "not cleared" || good.ID == bad.ID {
		t.Errorf("%+v, %+v", good, bad)
	}
	var e *localapi.Error
	if _, err := c.Issue(t.Context(), good.ID, "imaging"); !errors.As(err, &e) || e.Code != localapi.CodeDenied {
		t.Errorf("a class that the roster does not give: %v", err)
	}
	a, err := c.Issue(t.Context(), good.ID, "general")
	if err != nil || a.Clearance == nil {
		t.Fatalf("%+v %v", a, err)
	}
	if a, err := c.Issue(t.Context(), bad.ID, "general"); err != nil || a.Clearance != nil || a.Verdict != "not cleared" {
		t.Errorf("%+v %v", a, err)
	}

	// What is replaced or changed is another medium.
	d.plug("infected", "TESTPATIENT.img")
	other := d.until("scanned again", func(p localapi.Port) bool { return p.State == localapi.Decided && p.Session != bad.Session })
	if other.Verdict != "not cleared" || other.Clearance != nil {
		t.Errorf("%+v", other)
	}
	d.unplug("b.img")
	d.until("idle", in(bad.ID, localapi.Idle))

	// The roster is read again. One that cannot be read is nobody.
	d.write("roster.toml", "person = 3")
	if _, err := c.Issue(t.Context(), other.ID, "general"); !errors.As(err, &e) || e.Code != localapi.CodeDenied {
		t.Errorf("with a broken roster: %v", err)
	}
	if list, err := c.Sessions(t.Context(), 10); err != nil || len(list) != 3 {
		t.Errorf("%+v %v", list, err)
	}

	if err := d.kill(syscall.SIGTERM); err != nil {
		t.Errorf("ended: %v", err)
	}
	if text := d.stderr.String(); strings.Contains(text, "TESTPATIENT") || strings.Contains(text, ".img") {
		t.Errorf("the journal holds a name:\n%s", text)
	}
	account(t, d.state)
}

// What is no image that somebody finished writing is never plugged in.
func TestT18_OnlyFinishedImagesArePluggedIn(t *testing.T) {
	d := newDesk(t, `"general"`)
	d.start()
	writing, err := os.Create(filepath.Join(d.folder, "half.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer writing.Close()
	outside := filepath.Join(d.dir, "outside.img")
	err = errors.Join(writing.Truncate(1<<20), os.Mkdir(filepath.Join(d.folder, "folder"), 0o700), syscall.Mkfifo(filepath.Join(d.folder, "fifo"), 0o600),
		os.WriteFile(outside, make([]byte, 1<<20), 0o600), os.Symlink(outside, filepath.Join(d.folder, "link.img")), os.WriteFile(filepath.Join(d.folder, ".hidden"), make([]byte, 1<<20), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second)
	c := d.client()
	defer c.Close()
	st, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range st.Ports {
		if p.State != localapi.Idle {
			t.Errorf("%+v", p)
		}
	}
	writing.Close()
	d.until("plugged in once it is written", func(p localapi.Port) bool { return p.Session != "" })
}

// A configuration that asks for what cannot be had, and one that is wrong, do not start a station that does less.
func TestAWrongConfigurationStartsNothing(t *testing.T) {
	for name, text := range map[string]string{
		"an unknown key":  "[scan]\nturbo = true\n",
		"not TOML":        "[[[",
		"usbgate missing": "[scan]\nrequire_namespaces = false\n[[port]]\npath = \"1-2\"\nname = \"left\"\n",
	} {
		d := newDesk(t, "")
		d.write("station.toml", text)
		if code := start(t.Context(), []string{"--config", d.config, "--state", d.state, "--workers", built.bin}, &d.stderr); code != 1 {
			t.Errorf("%s: exit code %d: %s", name, code, d.stderr.String())
		}
	}
	var d desk
	if code := start(t.Context(), []string{"--turbo"}, &d.stderr); code != 2 {
		t.Errorf("an unknown flag: exit code %d", code)
	}
}

// account holds the log against its tree and against every token, and wants each session to have an end: a verdict, or
// that it was aborted, and a begun clearance settled.
func account(t *testing.T, state string) (sessions, tokens int) {
	t.Helper()
	s, err := kiosk.OpenState(context.Background(), state)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	res, err := kiosk.VerifyLog(context.Background(), state) // every token's entry too
	if err != nil || !res.Sound {
		t.Fatalf("the log is not sound: %v %v", res.Bad, err)
	}
	ended, issuing := map[audit.ID]bool{}, map[audit.ID]bool{}
	issued := map[string]bool{}
	err = s.Log(context.Background(), func(e audit.Entry) error {
		switch e.Kind {
		case audit.KindAttached:
			ended[e.Session] = false
			sessions++
		case audit.KindDecided, audit.KindAborted, audit.KindRemoved, audit.KindFailed:
			ended[e.Session] = true
		case audit.KindIssuing:
			issuing[e.Session] = true
		case audit.KindAbandoned:
			delete(issuing, e.Session)
		case audit.KindIssued:
			delete(issuing, e.Session)
			issued[e.Session.String()] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for id, ok := range ended {
		if !ok {
			t.Errorf("session %v has no end", id)
		}
	}
	for id := range issuing {
		t.Errorf("the clearance of session %v was begun and not settled", id)
	}
	folders, err := os.ReadDir(filepath.Join(state, "clearances"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		token, err := os.ReadFile(filepath.Join(state, "clearances", f.Name(), "token.cose"))
		if err != nil {
			t.Errorf("a clearance without a token: %v", err)
			continue
		}
		if _, err := clearance.ParseClaims(token); err != nil {
			t.Errorf("half a token: %v", err)
		}
		if !issued[f.Name()] {
			t.Errorf("the token of session %s has no entry", f.Name())
		}
		delete(issued, f.Name())
		tokens++
	}
	for id := range issued {
		t.Errorf("the token of session %s is gone", id)
	}
	return sessions, tokens
}

// TestT23_KilledSessions kills pratiqued, a scanworker or a yaraworker at a random moment while two media are screened and
// a person asks for a clearance: no token without its entry, no half token, no damaged log, every session accounted for.
func TestT23_KilledSessions(t *testing.T) {
	const desks = 6 // most of the time they wait for files to settle
	count := *kills
	if testing.Short() {
		count = min(count, 12)
	}
	var mu sync.Mutex
	done, sessions, tokens := map[string]int{}, 0, 0
	t.Run("desks", func(t *testing.T) {
		for n := range desks {
			t.Run(strconv.Itoa(n), func(t *testing.T) {
				t.Parallel()
				d := newDesk(t, `"general"`)
				d.plug("clean", "a.img")
				d.plug("clean", "b.img")
				random := rand.New(rand.NewPCG(uint64(n), 23))
				for i := range (count + desks - 1 - n) / desks {
					what := killOnce(d, random, i+n)
					mu.Lock()
					done[what]++
					mu.Unlock()
				}
				d.kill(syscall.SIGKILL)
				s, k := account(t, d.state)
				mu.Lock()
				defer mu.Unlock()
				sessions, tokens = sessions+s, tokens+k
			})
		}
	})
	t.Logf("%d kills of pratiqued, %d of scanworker, %d of yaraworker: %d sessions, each with an end, %d tokens, each with its entry",
		done["pratiqued"], done["scanworker"], done["yaraworker"], sessions, tokens)
	if sessions == 0 || count >= 50 && tokens == 0 {
		t.Error("nothing was killed in the midst of anything")
	}
}

// killOnce lets media be plugged into a daemon, and kills something from just before they are until they are decided and
// issued. Two in three times that is the daemon.
func killOnce(d *desk, random *rand.Rand, i int) string {
	if d.cmd == nil {
		d.start()
	} else { // the daemon outlived the last kill: plug in anew
		d.plug("clean", "a.img")
	}
	begin := time.Now()
	ctx, cancel := context.WithCancel(d.t.Context())
	var people sync.WaitGroup
	defer people.Wait()
	defer cancel()
	for _, port := range []string{"folder-1", "folder-2"} {
		people.Go(func() { insist(ctx, d.socket(), port) })
	}
	// A file is plugged in after a second; the scan and the clearance take a tenth, or several where the machine is busy.
	time.Sleep(950*time.Millisecond + time.Duration(random.Int64N(int64(500*time.Millisecond))))
	what := []string{"pratiqued", "scanworker", "pratiqued", "yaraworker", "pratiqued", "pratiqued"}[i%6]
	for what != "pratiqued" && time.Since(begin) < 2*time.Second {
		if pids := d.children(what); len(pids) > 0 && syscall.Kill(pids[random.IntN(len(pids))], syscall.SIGKILL) == nil {
			return what
		}
		time.Sleep(time.Millisecond)
	}
	d.kill(syscall.SIGKILL)
	return "pratiqued"
}

// insist asks for a clearance until there is one, or nobody to ask.
func insist(ctx context.Context, socket, port string) {
	c, err := localapi.Dial(ctx, socket)
	if err != nil {
		return
	}
	defer c.Close()
	for ctx.Err() == nil {
		var said *localapi.Error
		a, err := c.Issue(ctx, port, "general")
		if err != nil && !errors.As(err, &said) || a.Clearance != nil {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(60 * time.Millisecond): // the daemon cuts off who asks more than 20 times a second
		}
	}
}
