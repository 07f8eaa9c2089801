package worker

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pratique/kiosk/usb/lun"
	"pratique/scanner/blocks"
	"pratique/scanner/report"
	"pratique/scanner/sandbox"
)

func stickAt(dir string) ReaderConfig {
	return ReaderConfig{Dir: dir, Bus: 1, Address: 2, Configuration: 1, Vendor: 0x0781, Product: 0x5567, OpenTimeout: 5 * time.Second, Stderr: os.Stderr}
}

// image is a file behind a channel, as a device would be.
type image struct {
	*os.File
	size int64
}

func (i image) Size() int64     { return i.size }
func (i image) SectorSize() int { return 512 }

// served returns a channel to a medium, as a Unit has it.
func served(t *testing.T, m blocks.Medium) *os.File {
	t.Helper()
	client, server, err := blocks.Pair()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = blocks.Serve(context.Background(), server, m) // how it ended shows at the other end
		server.Close()
	}()
	t.Cleanup(func() { client.Close(); <-done })
	return client
}

// TestT04_ScanOverAChannelSaysWhatAScanOfTheFileSays: the same items, tally and layout, to the last digest.
func TestT04_ScanOverAChannelSaysWhatAScanOfTheFileSays(t *testing.T) {
	files := among(file{"needle.bin", append(make([]byte, 3<<20), "NEEDLE"...)})
	img := stick(t, files...)
	src, size := medium(t, img)
	cfg := Config{Dir: programs, Slots: 2, Rules: compiled(t, `rule needle { strings: $a = "NEEDLE" condition: $a }`), Stderr: os.Stderr, Seed: [32]byte{4}}
	var items [2][]string
	var reports [2]report.Report
	for i, from := range []*os.File{src, served(t, image{src, size})} {
		r, err := Scan(context.Background(), from, size, 512, cfg, Sink{Item: func(it report.Item) error {
			items[i] = append(items[i], fmt.Sprint(it))
			return nil
		}})
		if err != nil || !r.Complete {
			t.Fatalf("%v, %v", err, r.Shortfalls)
		}
		reports[i] = r
	}
	if !slices.Equal(items[0], items[1]) || len(items[0]) < len(files) {
		t.Errorf("%v\n%v", items[0], items[1])
	}
	for i := range reports {
		reports[i].Layers = nil
	}
	if a, b := fmt.Sprintf("%+v", reports[0]), fmt.Sprintf("%+v", reports[1]); a != b {
		t.Errorf("%s\n%s", a, b)
	}
}

// TestT02_ScanOfADeviceThatGoesAwayIsNotClean: what was not read is told, and nothing of it is clean.
func TestT02_ScanOfADeviceThatGoesAwayIsNotClean(t *testing.T) {
	img := stick(t, among(file{"a.bin", make([]byte, 12<<20)})...)
	src, size := medium(t, img)
	cfg := Config{Dir: programs, Slots: 1, Rules: compiled(t, `rule nothing { condition: false }`), Stderr: os.Stderr}
	for name, from := range map[string]*os.File{
		"pulled out":  served(t, ending{image{src, size}, blocks.Gone}),
		"changed":     served(t, ending{image{src, size}, blocks.Changed}),
		"hangs":       served(t, ending{image{src, size}, blocks.TimedOut}),
		"bad sectors": served(t, ending{image{src, size}, blocks.Unreadable}),
	} {
		unread := 0
		r, err := Scan(context.Background(), from, size, 512, cfg, Sink{Item: func(it report.Item) error {
			if it.Outcome == report.Unreadable {
				unread++
			}
			return nil
		}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if unread == 0 {
			t.Errorf("%s: %v", name, r.Tally)
		}
	}
}

// ending is a medium that fails when its content is reached, in the middle.
type ending struct {
	image
	status blocks.Status
}

func (e ending) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > 4<<20 && off < 8<<20 {
		return 0, &blocks.Error{Status: e.status}
	}
	return e.image.ReadAt(p, off)
}

// slowStick is a medium at the rate of a USB 2 stick.
type slowStick struct {
	image
	free time.Time // when it will have done what it was asked so far
}

const (
	stickRate    = 35_000_000 // bytes in a second
	stickLatency = time.Millisecond
)

func (s *slowStick) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.image.ReadAt(p, off)
	if now := time.Now(); s.free.Before(now) { // a stick that was late once is not late for ever
		s.free = now
	}
	s.free = s.free.Add(stickLatency + time.Duration(int64(len(p))*int64(time.Second)/stickRate))
	// Not time.Sleep: that may be late by as much as the stick needs for a request.
	rest := unix.NsecToTimespec(max(0, time.Until(s.free)).Nanoseconds())
	for unix.Nanosleep(&rest, &rest) == unix.EINTR {
	}
	return n, err
}

var slowFull = flag.Bool("slowstick", false, "hold the screening of a slow stick against the goal, on a machine that does nothing else")

// TestT24_SlowStickIsReadAtItsRate compares a screening with reading the same blocks in order, 1 MiB at a time.
func TestT24_SlowStickIsReadAtItsRate(t *testing.T) {
	limit, large, small, each := 2.0, 8<<20, 200, 20<<10 // a busy machine: only that nothing is read many times, or byte by byte
	if *slowFull {
		limit, large, small, each = 1.10, 150<<20, 400, 200<<10
	}
	content := func(n, seed int) []byte {
		b, x := make([]byte, n), uint64(seed)*2+1
		for i := range b {
			x = x*6364136223846793005 + 1442695040888963407
			b[i] = byte(x >> 56)
		}
		return b
	}
	files := []file{{"large.bin", content(large, 0)}}
	for i := range small {
		files = append(files, file{fmt.Sprintf("s%05d.bin", i), content(each, i)})
	}
	img := stick(t, files...)
	src, size := medium(t, img)
	used := int64(large+small*each) + 1<<20
	client, err := blocks.NewClient(served(t, &slowStick{image: image{src, size}}), size, 512)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for off, p := int64(0), make([]byte, 1<<20); off < used; off += int64(len(p)) {
		if _, err := client.ReadAt(p[:min(int64(len(p)), used-off)], off); err != nil {
			t.Fatal(err)
		}
	}
	inOrder := time.Since(start)
	start = time.Now()
	r, err := Scan(context.Background(), served(t, &slowStick{image: image{src, size}}), size, 512,
		Config{Dir: programs, Slots: 2, Rules: compiled(t, `rule nothing { strings: $a = "no such text" condition: $a }`), Stderr: os.Stderr},
		Sink{Item: func(report.Item) error { return nil }})
	if err != nil || !r.Complete || int(r.Tally.Files) != len(files) {
		t.Fatalf("%v, %+v, %d files", err, r.Shortfalls, r.Tally.Files)
	}
	took := time.Since(start)
	t.Logf("%d MB: in order %v, screened %v: %.3f", used/1_000_000, inOrder, took, took.Seconds()/inOrder.Seconds())
	// On a busy machine, and of little, what is on top counts: the second reading, one request for each block and each trial
	// of the capacity, and the start of the processes.
	top := time.Duration(r.Again.Bytes*int64(time.Second)/stickRate) + 3*time.Second
	if *slowFull {
		top = 0
	}
	if took > time.Duration(limit*float64(inOrder))+top {
		t.Errorf("screened in %v, where reading takes %v", took, inOrder)
	}
}

func TestReaderGivesTheUnitsOfADevice(t *testing.T) {
	r, err := StartReader(context.Background(), stickAt(fake(t, "serves")))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if len(r.Units) != 2 || r.Units[0].Bytes != 8<<20 || r.Units[0].SectorSize != 512 || r.Units[0].Blocks == nil || r.Units[1].Blocks != nil || r.Units[1].Trouble != lun.NoMedium {
		t.Fatalf("%+v", r.Units)
	}
	if !slices.Contains(r.Layers, "none") || r.Err() != nil {
		t.Error(r.Layers, r.Err())
	}
	cfg := Config{Dir: programs, Slots: 1, Rules: compiled(t, `rule nothing { condition: false }`), Stderr: os.Stderr}
	rep, err := Scan(context.Background(), r.Units[0].Blocks, r.Units[0].Bytes, r.Units[0].SectorSize, cfg, Sink{Item: func(report.Item) error { return nil }})
	if err != nil || !rep.Complete {
		t.Errorf("%v, %+v", err, rep.Shortfalls)
	}
	r.Units[0].Blocks.Close()
	select {
	case <-r.Done():
	case <-time.After(5 * time.Second):
		t.Error("it did not end when its channels did")
	}
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	r.Close()
	r.Close()
}

func TestT02_ReaderThatEndsIsAnOutcome(t *testing.T) {
	for how, want := range map[string]string{
		"exit-3": CodeGone, "exit-4": CodeRefused, "exit-5": CodeNoStorage, "exit-6": CodeSilent, "exit-8": CodeDeviceChanged, "exit-1": CodeReaderDied,
		"exit-99": CodeReaderDied, "silent": CodeSilent, "garbage": CodeReaderDied, "huge-message": CodeReaderDied,
		"half-message": CodeReaderDied, "no-units": CodeReaderDied, "many-units": CodeReaderDied, "odd-unit": CodeReaderDied, "odd-name": CodeReaderDied,
	} {
		cfg := stickAt(fake(t, how))
		if how == "silent" {
			cfg.OpenTimeout = 300 * time.Millisecond
		}
		r, err := StartReader(context.Background(), cfg)
		var device *DeviceError
		if r != nil || !errors.As(err, &device) || device.Code != want || device.Text == "" {
			t.Errorf("%s: %v, %v, want %s", how, r, err, want)
		}
	}
	for how, want := range map[string]error{"exit-2": ErrStart, "exit-7": ErrStart, "exit-0": ErrStart, fmt.Sprint("exit-", sandbox.ExitSandbox): ErrSandbox} {
		if r, err := StartReader(context.Background(), stickAt(fake(t, how))); r != nil || !errors.Is(err, want) {
			t.Errorf("%s: %v, %v, want %v", how, r, err, want)
		}
	}
	r, err := StartReader(context.Background(), stickAt(fake(t, "dies-later")))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	<-r.Done()
	var device *DeviceError
	if err := r.Err(); !errors.As(err, &device) || device.Code != CodeGone {
		t.Error(err)
	}
}

// TestT02_ReaderIsAskedAtTheEnd: a scan of the last byte says nothing about what the device did then.
func TestT02_ReaderIsAskedAtTheEnd(t *testing.T) {
	for how, want := range map[string]string{"serves": "", "serves-changed": CodeDeviceChanged, "gone": CodeGone} {
		r, err := StartReader(context.Background(), stickAt(fake(t, how)))
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := unix.Dup(int(r.Units[0].Blocks.Fd())) // a scanworker's end that is still open
		if err != nil {
			t.Fatal(err)
		}
		if how == "gone" { // it is when it is read
			if c, err := blocks.NewClient(r.Units[0].Blocks, 8<<20, 512); err != nil {
				t.Error(err)
			} else if _, err := c.ReadAt(make([]byte, 512), 7<<20); err == nil {
				t.Error("a device that is gone was read")
			}
		}
		err = r.Finish(t.Context())
		var device *DeviceError
		switch {
		case want == "":
			if err != nil {
				t.Errorf("%s: %v", how, err)
			}
		case !errors.As(err, &device) || device.Code != want:
			t.Errorf("%s: %v, want %s", how, err, want)
		}
		if again := r.Finish(t.Context()); fmt.Sprint(again) != fmt.Sprint(err) {
			t.Errorf("%s: asked again: %v", how, again)
		}
		unix.Close(theirs)
		r.Close()
	}
	r, err := StartReader(context.Background(), stickAt(fake(t, "serves-for-ever")))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	why := errors.New("why")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, why)
	defer cancel()
	if err := r.Finish(ctx); err != why {
		t.Errorf("%v", err)
	}
}

func TestReaderEndsWithItsContext(t *testing.T) {
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(context.Background())
	time.AfterFunc(100*time.Millisecond, func() { cancel(why) })
	if r, err := StartReader(ctx, stickAt(fake(t, "silent"))); r != nil || err != why {
		t.Error(r, err)
	}
	ctx, cancel = context.WithCancelCause(context.Background())
	r, err := StartReader(ctx, stickAt(fake(t, "serves")))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cancel(why)
	select {
	case <-r.Done():
	case <-time.After(5 * time.Second):
		t.Error("it lives on")
	}
}

func TestReaderRefusesToBegin(t *testing.T) {
	for name, change := range map[string]func(*ReaderConfig){
		"no folder": func(c *ReaderConfig) { c.Dir = "" }, "empty folder": func(c *ReaderConfig) { c.Dir = t.TempDir() },
		"bus 0": func(c *ReaderConfig) { c.Bus = 0 }, "address 0": func(c *ReaderConfig) { c.Address = 0 }, "address 128": func(c *ReaderConfig) { c.Address = 128 },
		"configuration 0": func(c *ReaderConfig) { c.Configuration = 0 }, "interface -1": func(c *ReaderConfig) { c.Interface = -1 },
		"no time": func(c *ReaderConfig) { c.OpenTimeout = -1 },
	} {
		cfg := stickAt(programs)
		change(&cfg)
		if r, err := StartReader(context.Background(), cfg); r != nil || err == nil {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
}

func TestReaderIsNeverRootWithRights(t *testing.T) {
	noSpaces.Store(false)
	for _, tt := range []struct {
		uid      int
		required bool
		want     []isolation
	}{
		{0, false, []isolation{{spaces: true}, {drop: true}}},
		{0, true, []isolation{{spaces: true}}},
		{1000, false, []isolation{{spaces: true}, {}}},
		{1000, true, []isolation{{spaces: true}}},
	} {
		if got := readerIsolations(tt.uid, tt.required); !slices.Equal(got, tt.want) {
			t.Errorf("%d, %v: %v, want %v", tt.uid, tt.required, got, tt.want)
		}
	}
}

// The real program, jailed as far as libusb is: there is no such device here, and it says so.
func TestRealReaderSaysThatADeviceIsNotThere(t *testing.T) {
	cfg := stickAt(programs)
	cfg.Bus, cfg.Address = 999, 127
	r, err := StartReader(context.Background(), cfg)
	var device *DeviceError
	if r != nil || !errors.As(err, &device) || device.Code != CodeGone {
		t.Errorf("%v, %v", r, err)
	}
	if _, err := os.Stat(filepath.Join(programs, usbReader)); err != nil {
		t.Error(err)
	}
}
