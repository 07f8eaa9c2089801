package kiosk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"pratique/kiosk/audit"
	"pratique/kiosk/worker"
	rulepack "pratique/rules/pack"
	"pratique/scanner/carry"
	"pratique/scanner/report"
)

// A rule pack may come on a medium. The medium is read as any other is: by a jailed scanworker, on a station through the
// same usbreader. What it carries off goes into a folder of the session, and from there the same way as every pack. The medium
// is not cleared by that: the session ends.

// Offer is a rule pack that somebody brought, not yet verified. The zero value is none.
type Offer struct {
	Folder  string // of the repository
	source  audit.Word
	medium  audit.ID     // the session of the medium that it came on; zero for none
	refused *PackRefused // why there is nothing to verify
}

// fromMedium is the word for the log.
const fromMedium = "medium"

// carry has the pack of a session's medium carried off into a folder, which done removes. What was learned of a medium that
// no pack could be had from is in the offer; an error is the kiosk's own, or ctx has ended, and leaves no folder.
//
// A crash leaves the folder, which the start that finds the session dead removes.
func (se *session) carry(ctx context.Context) (_ Offer, done func(), err error) {
	folder := se.state.carryFolder(se.id)
	done = func() { _ = os.RemoveAll(folder) } // what is left goes with the session's mark
	if err := os.Mkdir(folder, 0o700); err != nil {
		return Offer{}, nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	o := Offer{source: fromMedium, medium: se.id}
	o.Folder, err = se.carryUnits(ctx, folder)
	var device *worker.DeviceError
	var refusal *carry.Refusal
	switch {
	case errors.As(err, &refusal):
		o.refused = &PackRefused{gateMedium, refusal.Code, refusal.Text}
	case errors.As(err, &device):
		o.refused = &PackRefused{gateMedium, device.Code, device.Text}
	case err != nil:
		done()
		return Offer{}, nil, err
	}
	return o, done, nil
}

// carryFolder is where the pack of a session's medium lies while it is tried.
func (s *State) carryFolder(id [16]byte) string {
	return s.path("sessions", audit.ID(id).String()+".pack")
}

// carryUnits reads every unit of the medium into a folder of its own, and returns that of the one that has a pack. None may be
// left out, since another pack could be on it.
func (se *session) carryUnits(ctx context.Context, folder string) (found string, err error) {
	m := se.medium
	if err := m.Refused; err != nil {
		var device *worker.DeviceError
		if errors.As(err, &device) {
			return "", device
		}
		return "", &carry.Refusal{Code: string(Unreadable), Text: fmt.Sprintf("The medium could not be opened: %v.", unwrapErrno(err))}
	}
	for i := range m.Units {
		u := &m.Units[i]
		if u.Unread != nil {
			return "", &carry.Refusal{Code: u.Unread.Code, Text: u.Unread.Text}
		}
		if u.File == nil || u.Bytes == 0 { // there is nothing in it to read
			continue
		}
		part := filepath.Join(folder, fmt.Sprintf("unit-%d", i))
		err := se.carryUnit(ctx, u, part)
		var refusal *carry.Refusal
		switch {
		case errors.As(err, &refusal) && refusal.Code == string(carry.None):
		case err != nil:
			return "", err
		case found != "":
			return "", carry.Several.Refuse(rulepack.StickFolder)
		default:
			found = part
		}
	}
	if found == "" {
		return "", carry.None.Refuse(rulepack.StickFolder)
	}
	if m.Finish == nil {
		return found, nil
	}
	// Whether the device that was read last is the one that was read first.
	err = m.Finish(ctx)
	var device *worker.DeviceError
	switch {
	case err == nil:
		return found, nil
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case errors.As(err, &device):
		return "", device
	}
	return "", workerError(err)
}

// carryUnit reads one unit into a folder that it makes.
func (se *session) carryUnit(ctx context.Context, u *Unit, part string) error {
	if err := os.Mkdir(part, 0o700); err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	root, err := os.OpenRoot(part)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	defer root.Close()
	cfg := worker.Config{Dir: se.want.Workers, RequireNamespaces: se.want.RequireNamespaces}
	err = worker.Carry(ctx, u.File, u.Bytes, u.Sector, rulepack.StickFolder, cfg, root, func(pr carry.Progress) {
		se.progress(report.Progress{Read: pr.Read, Total: pr.Total})
	})
	var refusal *carry.Refusal
	var file *os.PathError
	switch {
	case err == nil, errors.As(err, &refusal), ctx.Err() != nil:
		return err
	case errors.As(err, &file):
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	return workerError(err)
}

// InstallPath puts the pack in force that lies below a path which a person named: a repository's folder, a folder with one in
// PRATIQUE-PACK, or a medium with one, as an image file or a block device.
func (s *State) InstallPath(ctx context.Context, path string, cfg PackConfig) (InForce, []Recall, error) {
	info, err := os.Stat(path)
	block := os.ModeDevice // without ModeCharDevice
	if err != nil || !info.Mode().IsRegular() && info.Mode().Type() != block {
		return s.Install(ctx, PackFolder(path), "path", cfg) // says what is wrong with it, if it is no folder
	}
	m, err := OpenMedium(path)
	if err != nil {
		return InForce{}, nil, err
	}
	se, err := s.attach(ctx, m, tools{}, cfg.Want, "")
	if err != nil {
		m.Close()
		return InForce{}, nil, err
	}
	o, done, err := se.carry(ctx)
	if err != nil {
		se.failed(ctx, err)
		se.release()
		return InForce{}, nil, err
	}
	in, recalls, err := s.InstallOffer(ctx, o, cfg)
	done()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	if closing := se.close(ending, true); closing != nil {
		se.failed(ending, closing)
		se.release()
		return InForce{}, nil, errors.Join(err, closing)
	}
	return in, recalls, err
}
