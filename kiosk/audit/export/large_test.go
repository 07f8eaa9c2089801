package export

import (
	"bytes"
	"flag"
	"io"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"pratique/kiosk/audit"
	"pratique/scanner/report"
)

var manyItems = flag.Int("export-items", 20_000, "items of the medium that is exported; the nightly run takes a million")

// maxExportHeap is what an export may hold at a time, whatever the log is: a batch of items, and what a form counts.
const maxExportHeap = 24 << 20

// A medium with very many items is exported in every form, and memory is that of a small one.
func TestT24_ExportsOfManyItemsTakeLittleMemory(t *testing.T) {
	r := newRig(t)
	id := r.id()
	r.add(id, audit.Attached{Source: audit.USB, Bytes: 64 << 30, SectorSize: 512, Port: "left"})
	rows := r.log.NewItems(id, bytes.Repeat([]byte{7}, 32))
	for i := range *manyItems {
		it := report.Item{Path: "DOE^JOHN", Member: itoa(int64(i)), Kind: report.File, Size: int64(i), SHA256: [32]byte{byte(i), byte(i >> 8), byte(i >> 16)},
			Type: "application/dicom", Outcome: report.Flagged, Findings: []report.Finding{{Check: report.CheckYARA, Rule: "Rule_" + itoa(int64(i%5000)), Offset: -1}}}
		if err := rows.Add(t.Context(), it); err != nil {
			t.Fatal(err)
		}
	}
	digest, n, err := rows.Close(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.add(id, audit.Decided{Verdict: audit.NotCleared, Class: "imaging", Reasons: []audit.Word{"yara-match"}, Rules: testPack,
		Counts: audit.Counts{Files: n, Findings: n}, Items: n, ItemsDigest: digest})
	defer debug.SetGCPercent(debug.SetGCPercent(20)) // what is held, not what waits to be collected
	for _, f := range Formats() {
		x := r.plan(Options{AllItems: forms[Format(f)].items&allItems != 0})
		runtime.GC()
		var before, now runtime.MemStats
		runtime.ReadMemStats(&before)
		stop, peak := make(chan struct{}), make(chan uint64)
		go func() {
			most := uint64(0)
			for tick := time.NewTicker(20 * time.Millisecond); ; {
				select {
				case <-tick.C:
					runtime.ReadMemStats(&now)
					most = max(most, now.HeapAlloc)
				case <-stop:
					peak <- most
					return
				}
			}
		}()
		begin := time.Now()
		sum, err := x.Write(t.Context(), Format(f), io.Discard)
		close(stop)
		held := int64(<-peak) - int64(before.HeapAlloc)
		if err != nil || sum.Items != n {
			t.Errorf("%s: %+v %v", f, sum, err)
		}
		if held > maxExportHeap {
			t.Errorf("%s: %d MB of heap", f, held>>20)
		}
		t.Logf("%s: %d items, %d MB, in %v (twice, for the digest), %d MB of heap", f, n, sum.Bytes/1e6, time.Since(begin).Round(time.Millisecond), max(held, 0)>>20)
	}
}
