package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"pratique/kiosk"
	"pratique/kiosk/audit"
	"pratique/kiosk/clearance"
	"pratique/kiosk/keys"
	"pratique/kiosk/localapi"
)

// siteKey is the key that the site enrolled, as this process has it open. The zero value is none.
type siteKey struct {
	stamp  string // of what it was opened from
	usable bool
	close  func() // nil if nothing is open
}

// openKey opens the key that the site enrolled, if there is one. A key that cannot be opened does not keep the station from
// screening: it issues nothing, and says so. Only where nothing was ever enrolled the demonstration key signs.
func (d *daemon) openKey(ctx context.Context) error {
	enrolled, err := d.state.Enrolled()
	if err != nil || !enrolled {
		return err
	}
	return d.takeKey(ctx, func(f func()) { f() })
}

// rekey takes over a key that was enrolled or rotated while the station runs. Once a station is enrolled, its demonstration key
// signs nothing more.
func (d *daemon) rekey(ctx context.Context) {
	enrolled, err := d.state.Enrolled()
	if err != nil || !enrolled || d.keyStamp() == d.key.stamp {
		return
	}
	if err := d.takeKey(ctx, d.station.Pause); err != nil {
		d.log.Error("the station's key cannot be taken over", "error", err)
	}
}

// keyStamp is another text whenever the key should be opened anew: if it can be used, when it was made or rotated; if not, also
// when the trust file was changed. No oftener, since a device counts what it is opened with in vain.
func (d *daemon) keyStamp() string {
	key, trust := d.state.KeyStamp()
	if d.key.usable {
		return key
	}
	return key + trust
}

// takeKey opens the key, and lets it sign in the place of what signed before. pause keeps others from issuing meanwhile.
func (d *daemon) takeKey(ctx context.Context, pause func(func())) (err error) {
	before, trust := d.state.KeyStamp() // what changes from here on is seen the next time
	name, k, counter, closeKey := d.enrolledKey(ctx)
	pause(func() {
		if err = d.state.UseSite(name, k); err == nil && k != nil {
			d.countFirst(ctx, counter)
		}
	})
	d.closeKey()
	d.key = siteKey{stamp: before, usable: k != nil && err == nil, close: closeKey}
	if !d.key.usable {
		d.key.stamp += trust
	}
	return err
}

// closeKey gives back what is open.
func (d *daemon) closeKey() {
	if d.key.close != nil {
		d.key.close()
		d.key.close = nil
	}
}

// enrolledKey opens the key and holds the trust file against the log. Without a key the station issues nothing.
func (d *daemon) enrolledKey(ctx context.Context) (name string, k *clearance.Keys, counter kiosk.Counter, closeKey func()) {
	o, name, err := d.tryKey(ctx)
	if err == nil {
		if k, err = o.Keys(); err == nil {
			err = d.state.CheckTrust(ctx)
		}
		if err == nil {
			if c := o.Counter(); c != nil { // a nil pointer in an interface would not be none
				counter = c
			}
			return name, k, counter, func() { o.Close() }
		}
		o.Close()
	}
	d.log.Error("the station's key cannot be used", "error", err)
	return name, nil, nil, func() {}
}

func (d *daemon) tryKey(ctx context.Context) (o *keys.Opened, name string, err error) {
	data, err := d.state.KeyBox(kiosk.EnrolledKey)
	if err != nil {
		return nil, "", err
	}
	if data == nil {
		return nil, "", fmt.Errorf("%w: there is a trust file and no key", kiosk.ErrNotEnrolled)
	}
	box, err := keys.Parse(data)
	if err != nil {
		return nil, "", err
	}
	secret, err := d.keySecret()
	if err != nil {
		return nil, box.Name, err
	}
	if !box.NeedsSecret() {
		secret = nil
	}
	o, err = keys.Open(ctx, box, keys.Access{Device: d.options.tpm, Helper: filepath.Join(d.options.workers, "keyhelper")}, secret)
	if err == nil {
		d.log.Info("the station's key is open", "place", string(box.Place), "name", box.Name)
	}
	return o, box.Name, err
}

// keySecret reads the secret that was handed over. One line end behind it is the editor's.
func (d *daemon) keySecret() ([]byte, error) {
	if d.options.secret == "" {
		return nil, nil
	}
	f, err := os.Open(d.options.secret)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 2<<10)) // what is longer than a secret may be is refused where it is used
	return bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r")), err
}

// countFirst holds the log against the counter of the key that signs from now on. What is wrong keeps the station from issuing.
func (d *daemon) countFirst(ctx context.Context, counter kiosk.Counter) {
	if err := d.state.UseCounter(ctx, counter); err != nil {
		d.log.Error("the log does not agree with the station's counter", "error", err)
	}
}

// recount looks at the counter as often as at everything else. It is logged when it changes only.
func (d *daemon) recount(ctx context.Context) {
	before := d.state.MayIssue()
	if err := d.state.Recount(ctx); err != nil && !errors.Is(before, kiosk.ErrCounter) {
		d.log.Error("the log does not agree with the station's counter", "error", err)
	}
}

// countTimeLeft is how long the end of a daemon may wait for its TPM.
const countTimeLeft = 5 * time.Second

// countLast covers what was issued since the counter was moved last.
func (d *daemon) countLast() {
	ctx, cancel := context.WithTimeout(context.Background(), countTimeLeft)
	defer cancel()
	if err := d.state.LastCount(ctx); err != nil {
		d.log.Error("the station's counter could not be moved", "error", err)
	}
}

// keyWarning is how long before its end a key should be followed by another: a month to make, enrol and distribute it.
const keyWarning = 30 * 24 * time.Hour

// keyAilment says why the station's key may not sign at present.
func (d *daemon) keyAilment() ailment {
	err := d.state.MayIssue()
	key := d.state.Key()
	switch {
	case errors.Is(err, kiosk.ErrCounter):
		return ailment{"The log does not agree with the station's counter, so no clearance is issued: pratique audit verify says more.", true}
	case errors.Is(err, kiosk.ErrIncident):
		return ailment{"An incident is under way: no clearance is issued until two people end it.", true}
	case errors.Is(err, kiosk.ErrNotEnrolled):
		return ailment{"The station's key cannot be used or is not trusted, so no clearance is issued: pratique keys show says more.", true}
	case err != nil:
		return ailment{"Whether the station may issue clearances cannot be found out.", true}
	case !key.Demo && time.Until(key.NotAfter) < keyWarning:
		return ailment{"The station's key ends within a month: make the next one.", false}
	}
	return ailment{}
}

// trustAilment says that the trust file is old. It stops nothing here: devices judge by their own.
func (d *daemon) trustAilment() ailment {
	age, err := d.state.TrustAge()
	switch {
	case err != nil:
		return ailment{"The trust file cannot be used.", true}
	case age > clearance.MaxTrustAge:
		return ailment{"The trust file is older than 30 days: ask the root holders for a new one.", false}
	}
	return ailment{}
}

// beginIncident stops the station on the word of one person: to stop is always safe. What the log takes as a word, it takes as
// the reason.
func (d *daemon) beginIncident(ctx context.Context, peer localapi.Peer, reason string, since time.Time) error {
	in, err := d.state.BeginIncident(ctx, audit.Word(reason), since, fmt.Sprintf("uid:%d", peer.UID))
	if errors.Is(err, kiosk.ErrIncident) {
		return &localapi.Error{Code: localapi.CodeBusy, Text: "An incident is under way already."}
	}
	if in != nil {
		d.checkup(ctx)
	}
	return err
}

// endIncident passes on that a person asks for the end of an incident. Who it is, the kernel says.
func (d *daemon) endIncident(ctx context.Context, peer localapi.Peer) (bool, error) {
	over, err := d.state.EndIncident(ctx, fmt.Sprintf("uid:%d", peer.UID))
	if err == nil {
		d.checkup(ctx)
	}
	return over, err
}
