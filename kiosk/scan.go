package kiosk

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"pratique/kiosk/clearance"
	"pratique/kiosk/worker"
	"pratique/scanner/report"
)

// scan reads the medium, all of its units in turn, and gathers what the log and the manifest need. It does not know what
// class the medium is for. If ctx ends, the scan stops, and the report says that it is not complete.
func (se *session) scan(ctx context.Context) error {
	se.manifest = clearance.NewSpooledManifest(se.id, se.spool)
	se.items = se.state.log.NewItems(se.id, se.state.names)
	if err := se.readUnits(ctx); err != nil {
		return err
	}
	defer se.beat()()
	// An interrupted scan is recorded as far as it came.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	var err error
	if se.itemsDigest, se.rows, err = se.items.Close(ctx); err != nil {
		return logError(err)
	}
	return nil
}

func (se *session) readUnits(ctx context.Context) error {
	if err := se.medium.Refused; err != nil {
		why := report.Shortfall{Code: string(Unreadable), Text: fmt.Sprintf("The medium could not be opened: %v.", unwrapErrno(err))}
		var device *worker.DeviceError
		if errors.As(err, &device) {
			why = report.Shortfall{Code: device.Code, Text: device.Text}
		}
		se.report = report.Report{Bytes: -1, Shortfalls: []report.Shortfall{why}}
		return nil
	}
	var units []report.Report
	for i := range se.medium.Units {
		u := &se.medium.Units[i]
		if u.Unread != nil {
			units = append(units, report.Report{Bytes: -1, Shortfalls: []report.Shortfall{*u.Unread}})
			continue
		}
		if u.File == nil || u.Bytes == 0 { // there is nothing in it to read
			continue
		}
		rep, err := se.readUnit(ctx, u, report.Merge(units...))
		if err != nil {
			return err
		}
		units = append(units, rep)
	}
	if len(units) == 0 {
		se.report = report.Report{} // of no bytes: there is nothing to read
		return nil
	}
	se.report = report.Merge(units...)
	se.report.Deep = se.want.Deep
	if err := se.finish(ctx); err != nil {
		return err
	}
	defer se.beat()()
	se.content = se.seal(&se.report)
	return nil
}

// finish asks the source whether what was read last is what was read first. What is not so says why a scan that came to its
// end is not complete, and why one that did not: that a stick was pulled says more than the places that could not be read.
func (se *session) finish(ctx context.Context) error {
	if se.medium.Finish == nil || ctx.Err() != nil { // a scan that was called off has said so
		return nil
	}
	err := se.medium.Finish(ctx)
	var device *worker.DeviceError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &device):
		se.report.Shortfalls = append(se.report.Shortfalls, report.Shortfall{Code: device.Code, Text: device.Text})
	case ctx.Err() != nil:
		se.report.Shortfalls = append(se.report.Shortfalls, report.Shortfall{Code: worker.CodeInterrupted, Text: "The scan was stopped before its end."})
	default:
		return workerError(err)
	}
	se.report.Complete = false
	return nil
}

// readUnit scans one unit. before is the report of those before it: volumes are numbered on from its volumes, and
// progress is counted on from what it read.
func (se *session) readUnit(ctx context.Context, u *Unit, before report.Report) (report.Report, error) {
	recording := context.WithoutCancel(ctx)
	base := len(before.Volumes)
	sink := worker.Sink{
		Item: func(it report.Item) error {
			if it.Volume >= 0 {
				it.Volume += base
			}
			if se.want.Item != nil {
				se.want.Item(&it)
			}
			se.record(&it)
			return se.items.Add(recording, it)
		},
		Progress: func(p report.Progress) {
			se.progress(report.Progress{Read: before.BytesRead + p.Read, Total: before.BytesRead + p.Total, Files: before.Tally.Files + p.Files})
		},
	}
	cfg := se.tools.config(se.want)
	cfg.Seed = sha256.Sum256(append([]byte("second reading\x00"), se.id[:]...)) // the medium learns nothing of the session
	rep, err := worker.Scan(ctx, u.File, u.Bytes, u.Sector, cfg, sink)
	if err != nil {
		return report.Report{}, workerError(err)
	}
	return rep, nil
}

// record puts an item into the manifest. Only what was seen in full belongs there; the rest bars a clearance anyway. A
// medium with more than a manifest holds is a fact about the medium and no fault of the kiosk: the scan goes on to its
// end, and seal says that it cannot be cleared.
func (se *session) record(it *report.Item) {
	switch it.Kind {
	case report.File, report.Stream, report.Directory:
		if !it.Outcome.Seen() || se.unlisted != nil {
			return
		}
		if err := se.manifest.Add(it.Volume, it.Kind, it.Path, it.Size, it.SHA256); err != nil {
			se.unlisted, se.manifest = err, nil
		}
	}
}

// seal ends the manifest. Where there is none, the report is not complete.
func (se *session) seal(rep *report.Report) clearance.Content {
	err := se.unlisted
	for i := range rep.Volumes {
		if v := &rep.Volumes[i]; v.Outcome == report.Clean && err == nil {
			err = se.manifest.AddVolume(v.ID)
		}
	}
	var content clearance.Content
	if err == nil {
		content, err = se.manifest.Seal()
	}
	if err == nil {
		return content
	}
	code := Incomplete
	if errors.Is(err, clearance.ErrTooMany) {
		code = TooLarge
	}
	rep.Complete = false
	rep.Shortfalls = append(rep.Shortfalls, report.Shortfall{Code: string(code), Text: fmt.Sprintf("The list of what is on the medium could not be made: %v.", err)})
	return clearance.Content{}
}

func unwrapErrno(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// localUser names the local user who runs the program.
func localUser() string { return "uid:" + strconv.Itoa(os.Getuid()) }
