//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"pratique/testdata/e2e/wire"
)

// rates are what the kernel and usbreader read of the same stick, in MB/s, and the most memory that usbreader had, in MB.
type rates struct{ direct, cached, reader, memory float64 }

// TestThroughputOfTheReader reads one stick of QEMU's in one guest, through the kernel's block device and through usbreader and its
// channel. The goal is half of the kernel's rate, and 64 MB of memory. It is held for a stick of 35 MB/s, as USB 2 has them. One of
// 100 MB/s and one without a limit are printed, because there the emulated processor is what is measured: QEMU writes what
// the kernel reads with O_DIRECT into the program's memory while the guest does nothing, which no stick does, and every byte that
// usbreader reads is copied four times by the guest: from the kernel to libusb's buffer, from there to gousb's caller, and into the
// channel's socket and out of it.
func TestThroughputOfTheReader(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), caseTime, fmt.Errorf("it takes longer than %v", caseTime))
	defer cancel()
	for _, limit := range []int64{35e6, 100e6, 0} {
		r := throughput(ctx, t, limit)
		name := "a stick without a limit, where four copies of each byte by an emulated processor are measured"
		if limit > 0 {
			name = fmt.Sprintf("a stick of %d MB/s", limit/1e6)
		}
		t.Logf("%s: usbreader %.1f MB/s; the kernel's block device %.1f MB/s without a copy (%.2f), %.1f MB/s with one (%.2f); usbreader had at most %.1f MB",
			name, r.reader, r.direct, r.reader/r.direct, r.cached, r.reader/r.cached, r.memory)
		if limit == 35e6 && r.reader/r.direct < 0.5 || r.memory > 64 {
			t.Error("less than half of the kernel's rate, or more than 64 MB")
		}
	}
}

func throughput(ctx context.Context, t *testing.T, limit int64) (got rates) {
	t.Helper()
	const bytes = 64 << 20
	m, err := setup.Restore(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	r := &Rig{Machine: m, dir: m.dir, hashes: map[string]string{}}
	path := filepath.Join(m.dir, "large.img")
	content := make([]byte, bytes)
	rand.NewChaCha8([32]byte{1}).Read(content)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Plug(ctx, Thing{Drives: []Drive{{File: path, Rate: limit}}}); err != nil {
		t.Fatal(err)
	}
	if err := DisksAppear(1).Do(ctx, r); err != nil {
		t.Fatal(err)
	}
	speed := func(args ...string) (a, b float64) {
		t.Helper()
		end, err := m.Guest.Run(ctx, nil, append([]string{Programs + "/usbspeed", "-bytes", fmt.Sprint(bytes)}, args...)...)
		if n, _ := fmt.Sscan(end.Stdout, &a, &b); err != nil || end.Code != 0 || n != 2 {
			t.Fatalf("%v, %+v\n%s", err, end, m.Console())
		}
		return a, b
	}
	got.direct, got.cached = speed("/dev/sda")
	if err := m.Guest.WriteFile(ctx, "/sys/bus/usb/drivers/usb-storage/unbind", []byte("2-1:1.0"), 0o200, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.until(ctx, "end of the disk", func(b *wire.Bus) bool { return len(b.Disks) == 0 }); err != nil {
		t.Fatal(err)
	}
	var kib float64
	got.reader, kib = speed("-dir", Programs, "2-1")
	got.memory = kib / 1024
	return got
}
