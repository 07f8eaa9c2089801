package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"pratique/kiosk/audit/export"
	"pratique/kiosk/localapi"
)

// export passes on that an auditor takes entries out of the log. Who it is, the kernel says. One at a time: each reads the log
// twice, on a station that has media to screen.
func (d *daemon) export(ctx context.Context, peer localapi.Peer, what localapi.Export, to io.Writer) (localapi.Exported, error) {
	if !d.exporting.TryLock() {
		return localapi.Exported{}, &localapi.Error{Code: localapi.CodeBusy, Text: "An export is under way."}
	}
	defer d.exporting.Unlock()
	opts := export.Options{After: what.After, AllItems: what.Items}
	opts.Since, opts.Until = what.Period()
	out := bufio.NewWriterSize(to, 64<<10)
	who := fmt.Sprintf("uid:%d", peer.UID)
	x, sum, err := d.state.Export(ctx, export.Format(what.Form), opts, who, out)
	if err == nil {
		err = out.Flush()
	}
	switch {
	case errors.Is(err, export.ErrFormat), errors.Is(err, export.ErrItems), errors.Is(err, export.ErrBoth), errors.Is(err, export.ErrCheckpoint):
		return localapi.Exported{}, &localapi.Error{Code: localapi.CodeExport, Text: sentence(err.Error()) + "."}
	case errors.Is(err, export.ErrRewritten):
		return localapi.Exported{}, &localapi.Error{Code: localapi.CodeHistory, Text: sentence(err.Error()) + "."}
	case err != nil:
		return localapi.Exported{}, err
	}
	d.log.Info("the log was exported", "by", who, "form", what.Form, "from", x.From, "to", x.To)
	return localapi.Exported{From: x.From, To: x.To, Items: sum.Items, Bytes: sum.Bytes, SHA256: sum.SHA256.String(), Checkpoint: x.Checkpoint}, nil
}
