package kiosk

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"pratique/kiosk/audit"
	"pratique/kiosk/localapi"
	"pratique/rules"
	"pratique/rules/baseline"
	"pratique/testdata/stick"
)

// built is where the real workers and the sample sticks are.
var built struct{ bin, sticks string }

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "kiosk-test-")
	if err == nil {
		err = build(dir)
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

func build(dir string) error {
	built.bin, built.sticks = filepath.Join(dir, "bin"), dir
	if err := os.Chmod(dir, 0o755); err != nil { // a worker that root starts is another user
		return err
	}
	for _, name := range []string{"scanworker", "yaraworker"} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(built.bin, name), "pratique/scanner/"+name).CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
	}
	for _, s := range stick.Sticks() {
		if err := s.Create(filepath.Join(dir, s.Name+".img")); err != nil {
			return err
		}
	}
	return nil
}

func pack(t testing.TB) rules.Pack {
	t.Helper()
	p, err := baseline.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func openState(t testing.TB, dir string) *State {
	t.Helper()
	s, err := OpenState(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// desk is a station with real workers, a state of its own, and eyes.
type desk struct {
	*Station
	t     testing.TB
	dir   string
	mu    sync.Mutex
	last  localapi.State
	trail map[string][]string // the states that each port was seen in
	news  chan struct{}
}

func newDesk(t testing.TB, change func(*StationConfig)) *desk {
	t.Helper()
	d := &desk{t: t, dir: t.TempDir(), trail: map[string][]string{}, news: make(chan struct{}, 1)}
	cfg := StationConfig{State: openState(t, d.dir), Name: "test", Want: Screening{Pack: pack(t), Workers: built.bin, Class: "general"},
		Ports: []PortConfig{{"left", "left"}, {"right", "right"}}, Publish: d.see, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	st, err := NewStation(cfg)
	if err != nil {
		t.Fatal(err)
	}
	d.Station = st
	t.Cleanup(st.Stop)
	st.SetProblems(true, nil)
	return d
}

func (d *desk) see(s localapi.State) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = s
	for _, p := range s.Ports {
		if seen := d.trail[p.ID]; len(seen) == 0 || seen[len(seen)-1] != p.State {
			d.trail[p.ID] = append(seen, p.State)
		}
	}
	select {
	case d.news <- struct{}{}:
	default:
	}
}

func (d *desk) look(id string) localapi.Port {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.last.Ports {
		if p.ID == id {
			return p
		}
	}
	return localapi.Port{}
}

// until waits for a port to satisfy f.
func (d *desk) until(id, what string, f func(localapi.Port) bool) localapi.Port {
	d.t.Helper()
	for end := time.After(60 * time.Second); ; {
		if p := d.look(id); f(p) {
			return p
		}
		select {
		case <-d.news:
		case <-time.After(20 * time.Millisecond):
		case <-end:
			d.t.Fatalf("port %s never was %s: %+v", id, what, d.look(id))
		}
	}
}

func (d *desk) untilState(id string, states ...string) localapi.Port {
	d.t.Helper()
	return d.until(id, fmt.Sprint(states), func(p localapi.Port) bool {
		for _, s := range states {
			if p.State == s {
				return true
			}
		}
		return false
	})
}

// image is a source: a stick's image.
func image(name string) Plugged {
	return Plugged{Open: func(context.Context) (*Medium, error) { return OpenMedium(filepath.Join(built.sticks, name+".img")) }}
}

func (d *desk) plug(id string, m Plugged) {
	d.t.Helper()
	if err := d.Plug(id, m); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) unplug(id string) {
	d.t.Helper()
	if err := d.Unplug(id); err != nil {
		d.t.Fatal(err)
	}
}

// kinds lists the kinds of all entries of a log, in order, after holding it against its tree and its tokens.
func kinds(t testing.TB, dir string) (out []string, classes []string) {
	t.Helper()
	s, err := OpenState(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	res, err := VerifyLog(context.Background(), dir)
	if err != nil || !res.Sound {
		t.Fatalf("the log is not sound: %v %v", res.Bad, err)
	}
	err = s.Log(context.Background(), func(e audit.Entry) error {
		out = append(out, e.Kind.String())
		if d, ok := e.Data.(audit.Decided); ok {
			classes = append(classes, string(d.Class)+": "+d.Verdict.String())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out, classes
}

var anybody = Person{ID: "p-1", Classes: []string{"general", "imaging", "laboratory", "infusion"}}
