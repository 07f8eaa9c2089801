package kiosk

import (
	"context"
	"io"
	"slices"
	"time"

	"pratique/kiosk/audit"
	"pratique/kiosk/worker"
	"pratique/rules"
	"pratique/scanner/report"
)

// Jail is what holds the scan processes on this machine.
type Jail = worker.Jail

// CheckJail starts the scan processes of a folder and lets them attack their own jail. What they say about a jail that they
// could not build goes to words.
func CheckJail(ctx context.Context, workers string, words io.Writer) (Jail, error) {
	jail, err := worker.Check(ctx, worker.Config{Dir: workers, Stderr: words})
	if err != nil {
		return Jail{}, workerError(err)
	}
	return jail, nil
}

// CheckRules compiles a pack as a screening does, and says how many rules it has.
func CheckRules(ctx context.Context, workers string, pack rules.Pack) (int, error) {
	cfg, sources := compileOf(Screening{Workers: workers, Pack: pack})
	f, info, err := worker.Compile(ctx, cfg, sources)
	if err != nil {
		return 0, workerError(err)
	}
	return info.Rules, f.Close()
}

// LayersMissing names the layers of the jail that this machine did not grant to the processes that made a report.
func LayersMissing(rep *report.Report) []string {
	if len(rep.Layers) == 0 { // nothing was scanned
		return nil
	}
	return slices.DeleteFunc(worker.AllLayers(), func(layer string) bool { return slices.Contains(rep.Layers, layer) })
}

// Key is what a station signs clearances with.
type Key struct {
	Issuer   string
	Demo     bool // for demonstration only: devices refuse it
	NotAfter time.Time
}

// Key returns the station's key, less what is secret.
func (s *State) Key() Key {
	k := s.station
	if site := s.site.Load(); site != nil {
		if k = site.keys; k == nil {
			return Key{Issuer: site.name}
		}
	}
	return Key{k.Issuer(), k.Demo(), k.Public().NotAfter}
}

// LastEntry returns when the newest entry of the log was written, the zero time if there is none.
func (s *State) LastEntry(ctx context.Context) (last time.Time, err error) {
	err = s.Log(ctx, func(e audit.Entry) error {
		if e.Time.After(last) {
			last = e.Time
		}
		return nil
	})
	return last, err
}
