package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"pratique/kiosk"
	"pratique/kiosk/audit"
	"pratique/kiosk/keys"
)

// countedBox is the station's key if it has a counter, else nil. It reads the file itself, since evidence is not opened.
func countedBox(dir string) (*keys.Box, error) {
	data, err := os.ReadFile(filepath.Join(dir, string(kiosk.EnrolledKey)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	box, err := keys.Parse(data)
	if err != nil || !box.HasCounter() {
		return nil, err
	}
	return box, nil
}

// heldAgainstCounter compares a sound log with the counter of the TPM that the station's key is in, and says what it found. A
// machine whose TPM does not have it, as an auditor's, compares nothing and says so.
func heldAgainstCounter(dir, device string, res *audit.Result) (string, error) {
	box, err := countedBox(dir)
	if err != nil {
		return "", err
	}
	var now keys.Reading
	if box != nil {
		if now, err = keys.ReadCounter(box, keys.Access{Device: device}); err != nil {
			return fmt.Sprintf("the station's counter cannot be read here, so nothing was held against it: %v", err), nil
		}
	} else if res.Steps == 0 {
		return "", nil
	}
	if err := kiosk.CompareCount(*res, kiosk.Counted(now)); err != nil {
		res.Sound, res.Bad = false, &audit.Broken{Index: res.Entries, What: err.Error()}
		return "", nil
	}
	if box == nil {
		return "", nil
	}
	return fmt.Sprintf("it agrees with the station's counter at %d", now.Value), nil
}

// acceptCounter enters that the log is the right one where the counter is now.
func acceptCounter(ctx context.Context, dir, device string) (now keys.Reading, err error) {
	box, err := countedBox(dir)
	if err != nil {
		return now, err
	}
	if box != nil {
		if now, err = keys.ReadCounter(box, keys.Access{Device: device}); err != nil {
			return now, err
		}
	}
	st, err := kiosk.OpenState(ctx, dir)
	if err != nil {
		return now, err
	}
	return now, errors.Join(st.AcceptCount(ctx, kiosk.Counted(now), me()), st.Close())
}

// counterCheck is doctor's line on the counter.
func counterCheck(dir string, res audit.Result) check {
	c := check{"counter", stateOK, "", ""}
	box, err := countedBox(dir)
	switch {
	case err != nil:
		c.State, c.Text = stateMissing, err.Error()
	case !res.Sound:
		c.State, c.Text = stateMissing, "the log is not sound, so nothing was held against the counter"
	case box == nil && res.Steps == 0:
		c.State, c.Text = stateMissing, "the station's key has no counter in a TPM: a log that is put back as a whole shows by tokens and witnesses only"
		c.Hint = "pratique keys new --in tpm makes one with the next key"
	default:
		text, err := heldAgainstCounter(dir, "", &res)
		switch {
		case err != nil:
			c.State, c.Text = stateMissing, err.Error()
		case !res.Sound:
			c.State, c.Text, c.Hint = stateMissing, res.Bad.What, "no clearance is issued: keep the folder for the auditor, then pratique audit restore"
		case box != nil && res.CounterID == (audit.Digest{}):
			c.Text = text + ", and no daemon has counted yet"
		default:
			c.Text = text
		}
	}
	return c
}
