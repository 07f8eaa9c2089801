package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// stateDir is where programs in the guest keep what they keep. It is gone with the machine unless a disk is mounted there.
const stateDir = "/var/lib/pratique"

// screened is what `pratique screen --json` says, as far as the tests look at it.
type screened struct {
	Verdict string `json:"verdict"`
	Reasons []struct {
		Code string `json:"code"`
	} `json:"reasons"`
	Counts struct {
		Files uint64 `json:"files"`
		Bytes uint64 `json:"bytes"`
	} `json:"counts"`
	Clearance *struct {
		ID string `json:"id"`
	} `json:"clearance"`
}

func (s screened) codes() string {
	var codes []string
	for _, r := range s.Reasons {
		codes = append(codes, r.Code)
	}
	return strings.Join(codes, ", ")
}

// screen starts `pratique screen` in the guest.
func (r *Rig) screen(ctx context.Context, target string) (*Process, error) {
	return r.Guest.Start(ctx, nil, Programs+"/pratique", "screen", "--json", "--state", stateDir, target)
}

// screenResult waits for its end. An exit code that does not fit the verdict is an error.
func screenResult(ctx context.Context, p *Process) (screened, error) {
	end, err := p.Wait(ctx)
	if err != nil {
		return screened{}, err
	}
	var s screened
	if err := json.Unmarshal([]byte(end.Stdout), &s); err != nil {
		return screened{}, fmt.Errorf("screen ends with %d: %s%s", end.Code, end.Stdout, end.Stderr)
	}
	if want, ok := map[string]int{"cleared": 0, "not cleared": 3, "could not check": 4}[s.Verdict]; !ok || want != end.Code {
		return screened{}, fmt.Errorf("screen says %q and ends with %d", s.Verdict, end.Code)
	}
	return s, nil
}

// Screen screens a block device of the guest's kernel, which a station does only with card readers and optical drives, and
// holds the verdict and the log to what they must be.
func Screen(device, verdict string) Step {
	return Step{"screen " + device, func(ctx context.Context, r *Rig) error {
		begin := time.Now()
		p, err := r.screen(ctx, device)
		if err != nil {
			return err
		}
		s, err := screenResult(ctx, p)
		if err != nil {
			return err
		}
		r.Note("%s: %s (%s), %d files, %.1f s", device, s.Verdict, s.codes(), s.Counts.Files, time.Since(begin).Seconds())
		if s.Verdict != verdict || (s.Clearance != nil) != (verdict == "cleared") {
			return fmt.Errorf("%s and not %s, clearance %v", s.Verdict, verdict, s.Clearance != nil)
		}
		return r.logIsSound(ctx)
	}}
}

// ScreenAndPull pulls the stick as soon as it has been sent a number of reads.
func ScreenAndPull(device string, pull func(ctx context.Context, r *Rig) error) Step {
	return Step{"pull " + device + " while it is read", func(ctx context.Context, r *Rig) error {
		p, err := r.screen(ctx, device)
		if err != nil {
			return err
		}
		if err := pull(ctx, r); err != nil {
			return err
		}
		s, err := screenResult(ctx, p)
		if err != nil {
			return err
		}
		r.Note("%s: %s (%s), %d files", device, s.Verdict, s.codes(), s.Counts.Files)
		if s.Verdict != "could not check" || s.Clearance != nil {
			return fmt.Errorf("%s, clearance %v", s.Verdict, s.Clearance != nil)
		}
		return r.logIsSound(ctx)
	}}
}

// logIsSound has the guest's own program prove it.
func (r *Rig) logIsSound(ctx context.Context) error {
	end, err := r.Guest.Run(ctx, nil, Programs+"/pratique", "audit", "verify", "--state", stateDir)
	if err == nil && end.Code != 0 {
		err = fmt.Errorf("audit verify ends with %d: %s%s", end.Code, end.Stdout, end.Stderr)
	}
	return err
}
