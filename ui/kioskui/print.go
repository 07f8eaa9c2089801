package main

import (
	"os"
	"path/filepath"
	"syscall"
	"time"

	"fyne.io/fyne/v2"

	"pratique/ui"
	"pratique/ui/receipt"
)

// printTime is how long a printer may take: one without paper takes for ever.
const printTime = 20 * time.Second

// print prints the receipt of the clearance on the page, or saves it, or both.
func (w *window) print() {
	slip, ok := ui.SlipOf(w.state, w.look, time.Now())
	if !ok || w.printing {
		return
	}
	w.printing = true
	device, folder, paper := w.printer, w.receipts, receipt.Paper(w.paper)
	go func() {
		var failed error
		if device != "" {
			if data, err := receipt.ESCPOS(slip, paper); err != nil {
				failed = err
			} else {
				failed = send(device, data)
			}
		}
		if folder != "" && failed == nil {
			if data, err := receipt.PDF(slip, paper); err != nil {
				failed = err
			} else {
				failed = save(folder, data)
			}
		}
		fyne.Do(func() {
			w.printing = false
			w.look.Told, w.look.Error = ui.Printed, nil
			if failed != nil {
				w.complain("the receipt", failed)
				w.look.Told = ui.NotPrinted
			}
			w.show()
		})
	}()
}

// send writes to a printer's device. It must be there: a plain file is taken for a test's, but none is made.
func send(device string, data []byte) error {
	f, err := os.OpenFile(device, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_ = f.SetWriteDeadline(time.Now().Add(printTime)) // a device that knows no deadlines does not wait either
	_, err = f.Write(data)
	return err
}

// save puts a receipt into a folder under a name of its own, whole or not at all.
func save(folder string, data []byte) error {
	f, err := os.CreateTemp(folder, ".receipt-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // unless it got its name
	_, err = f.Write(data)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(folder, "receipt-"+time.Now().UTC().Format("20060102T150405.000Z")+".pdf"))
}
