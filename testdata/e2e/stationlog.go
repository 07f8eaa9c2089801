package e2e

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"pratique/kiosk/clearance"
	"pratique/testdata/e2e/wire"
)

// NoClearance holds that the station has signed nothing, and that its log is sound and says these words.
func NoClearance(words ...string) Step {
	return Step{"no clearance", func(ctx context.Context, r *Rig) error {
		if ids, err := r.Guest.ReadDir(ctx, stateDir+"/clearances"); err == nil && len(ids) > 0 {
			return fmt.Errorf("clearances %q", ids)
		}
		return r.stationLog(ctx, words...)
	}}
}

// Logged holds that the log is sound and says these words.
func Logged(words ...string) Step {
	return Step{"the log", func(ctx context.Context, r *Rig) error { return r.stationLog(ctx, words...) }}
}

func (r *Rig) stationLog(ctx context.Context, words ...string) error {
	for _, verb := range []string{"list", "verify"} {
		end, err := r.Guest.Run(ctx, stationUser, Programs+"/pratique", "audit", verb, "--state", stateDir)
		if err != nil || end.Code != 0 {
			return fmt.Errorf("audit %s: %v, %+v", verb, err, end)
		}
		for _, word := range words {
			if verb == "list" && !strings.Contains(end.Stdout, word) {
				return fmt.Errorf("the log does not say %q:\n%s", word, end.Stdout)
			}
		}
	}
	return nil
}

// logLine is a line of the log: what it is, and whose session.
var logLine = regexp.MustCompile(`(?m)^ *[0-9]+ +[0-9]\S+ +([a-z]+) +session ([0-9a-f]{8})`)

// sums are what a log and the tokens beside it add up to.
type sums struct{ sessions, tokens int }

// account holds that every session that began has an end, that every clearance that was begun is settled, and that there is a
// token for each that was issued and for no other. The state is user's.
func (r *Rig) account(ctx context.Context, user *wire.User) (sum sums, err error) {
	list, err := r.Guest.Run(ctx, user, Programs+"/pratique", "audit", "list", "--state", stateDir)
	if err != nil || list.Code != 0 {
		return sum, fmt.Errorf("audit list: %v, %+v", err, list)
	}
	open, issuing, issued := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, e := range logLine.FindAllStringSubmatch(list.Stdout, -1) {
		switch kind, session := e[1], e[2]; kind {
		case "attached":
			open[session] = true
			sum.sessions++
		case "decided", "aborted", "removed", "failed":
			delete(open, session)
		case "issuing":
			issuing[session] = true
		case "abandoned":
			delete(issuing, session)
		case "issued":
			delete(issuing, session)
			issued[session] = true
		}
	}
	if len(open)+len(issuing) > 0 {
		return sum, fmt.Errorf("sessions %v have no end, and the clearances of %v were begun and not settled:\n%s", open, issuing, list.Stdout)
	}
	ids, err := r.Guest.ReadDir(ctx, stateDir+"/clearances")
	if err != nil {
		return sum, err
	}
	for _, id := range ids {
		files, err := r.Guest.ReadDir(ctx, path.Join(stateDir, "clearances", id))
		if err != nil {
			return sum, err
		}
		if !slices.Contains(files, "token.cose") || !issued[id[:8]] {
			return sum, fmt.Errorf("clearance %s: files %q, and in the log %v", id, files, issued[id[:8]])
		}
		token, err := r.Guest.ReadFile(ctx, path.Join(stateDir, "clearances", id, "token.cose"))
		if err == nil {
			_, err = clearance.ParseClaims(token)
		}
		if err != nil {
			return sum, fmt.Errorf("token %s: %w", id, err)
		}
		delete(issued, id[:8])
		sum.tokens++
	}
	if len(issued) > 0 {
		return sum, fmt.Errorf("the tokens of sessions %v are gone", issued)
	}
	return sum, r.logIsSound(ctx)
}

// Accounted ends the station as its service manager does, and holds what it leaves behind: a sound log in which every session
// has an end, and no device that lives or that anybody but root may open.
func Accounted() Step {
	return Step{"accounts", func(ctx context.Context, r *Rig) error {
		if err := r.Guest.Kill(ctx, r.Station.daemon.PID, 15); err != nil {
			return err
		}
		end, err := r.Station.daemon.Wait(ctx)
		if err != nil || end.Code != 0 {
			return fmt.Errorf("the daemon ends with %d, %v: %s", end.Code, err, r.journal())
		}
		if r.Station.sums, err = r.account(ctx, stationUser); err != nil {
			return err
		}
		// usbgate takes back what it gave once its socket has ended.
		var living string
		err = r.until(ctx, "end of usbgate", func(b *wire.Bus) bool {
			living = alive(b)
			return living == ""
		})
		if err != nil {
			return fmt.Errorf("%w: %s", err, living)
		}
		return nil
	}}
}

// alive names a device that lives or whose node is not root's.
func alive(b *wire.Bus) string {
	for _, d := range b.Devices {
		switch {
		case d.Authorized:
			return d.Path + " is authorised"
		case d.Owner > 0:
			return fmt.Sprintf("the node of %s belongs to user %d", d.Path, d.Owner)
		}
	}
	return ""
}
