package bot

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/gousb"

	"pratique/kiosk/usb/lun"
)

// The tests of this file run real gousb and libusb on devices that umockdev shows them: descriptors in a tree of sysfs that is
// not there, and recorded answers of a node that is none.

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "open" {
		os.Exit(openMocked(os.Args[2]))
	}
	os.Exit(m.Run())
}

const vendor, product = 0x0781, 0x5567

// openMocked opens a device and prints what it learns, then some of its bytes.
func openMocked(address string) int {
	n, err := strconv.Atoi(address)
	if err != nil {
		return 2
	}
	a := Address{Bus: 1, Number: n, Vendor: vendor, Product: product, Configuration: 1}
	if n == wrongProduct {
		a.Product++
	}
	d, err := Open(context.Background(), a)
	for _, known := range []error{ErrAccess, ErrGone, ErrRefused, ErrProtocol, ErrSilent} {
		if errors.Is(err, known) {
			fmt.Println(known)
			return 0
		}
	}
	if err != nil {
		fmt.Println("an error of no kind:", err)
		return 0
	}
	for _, u := range d.Units {
		fmt.Printf("%+v\n", u.Info)
	}
	p := make([]byte, 1024)
	k, err := d.Units[0].ReadAt(p, 3*512)
	fmt.Printf("%d %v %q %q\n", k, err, p[:16], p[512:528])
	return 0
}

// mocked is a device in umockdev's language.
func mocked(address int, descriptors []byte) string {
	return fmt.Sprintf(`P: /devices/pci0000:00/0000:00:14.0/usb1/1-%[1]d
N: bus/usb/001/%03[1]d
E: SUBSYSTEM=usb
E: DEVTYPE=usb_device
E: DEVNAME=/dev/bus/usb/001/%03[1]d
E: BUSNUM=001
E: DEVNUM=%03[1]d
E: MAJOR=189
E: MINOR=%[2]d
A: busnum=1\n
A: devnum=%[1]d\n
A: speed=480\n
A: bConfigurationValue=1\n
H: descriptors=%[3]x

`, address, address-1, descriptors)
}

func deviceDescriptor(configs byte) []byte {
	return []byte{18, 1, 0, 2, 0, 0, 0, 64, vendor & 0xFF, vendor >> 8, product & 0xFF, product >> 8, 0, 1, 1, 2, 3, configs}
}

// configuration is a configuration descriptor with what belongs to it; number is that of interfaces that it claims.
func configuration(number byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	n := 9 + len(body)
	return append([]byte{9, 2, byte(n), byte(n >> 8), number, 1, 0, 0x80, 50}, body...)
}

func interfaceDescriptor(number, alternate byte, class [3]byte, endpoints ...[]byte) []byte {
	return append([]byte{9, 4, number, alternate, byte(len(endpoints)), class[0], class[1], class[2], 0}, bytes.Join(endpoints, nil)...)
}

var (
	bulkOnly = [3]byte{8, 6, 0x50}
	attached = [3]byte{8, 6, 0x62} // UAS
	keyboard = [3]byte{3, 1, 1}

	bulkIn      = []byte{7, 5, 0x81, 2, 0, 2, 0}
	bulkOut     = []byte{7, 5, 0x02, 2, 0, 2, 0}
	bulkIn2     = []byte{7, 5, 0x83, 2, 0, 2, 0}
	interruptIn = []byte{7, 5, 0x83, 3, 8, 0, 10}
	goodStorage = interfaceDescriptor(0, 0, bulkOnly, bulkIn, bulkOut)
)

const wrongProduct = 20

// mockedDevices are by address; each is alone on its bus when it is opened, as a panic in gousb is everybody's.
var mockedDevices = []struct {
	name    string
	address int
	bytes   []byte
	want    error // nil is the honest one
}{
	{"honest", 2, append(deviceDescriptor(1), configuration(1, goodStorage)...), nil},
	{"not there", 3, nil, ErrGone},
	{"another product", wrongProduct, append(deviceDescriptor(1), configuration(1, goodStorage)...), ErrRefused},
	{"keyboard beside it", 4, append(deviceDescriptor(1), configuration(2, goodStorage, interfaceDescriptor(1, 0, keyboard, interruptIn))...), ErrRefused},
	{"keyboard before it", 5, append(deviceDescriptor(1), configuration(2, interfaceDescriptor(0, 0, keyboard, interruptIn), interfaceDescriptor(1, 0, bulkOnly, bulkIn, bulkOut))...), ErrRefused},
	{"keyboard as a setting", 6, append(deviceDescriptor(1), configuration(1, goodStorage, interfaceDescriptor(0, 1, keyboard, interruptIn))...), ErrRefused},
	{"interface number 5", 7, append(deviceDescriptor(1), configuration(1, interfaceDescriptor(5, 0, bulkOnly, bulkIn, bulkOut))...), ErrRefused},
	{"interfaces 0, 1, 0", 8, append(deviceDescriptor(1), configuration(3, goodStorage, interfaceDescriptor(1, 0, bulkOnly, bulkIn, bulkOut), goodStorage)...), ErrRefused},
	{"cut short", 9, append(deviceDescriptor(1), configuration(1, goodStorage)[:14]...), ErrRefused},
	{"descriptor of no length", 10, append(deviceDescriptor(1), configuration(1, []byte{0, 4, 0, 0, 2, 8, 6, 0x50, 0})...), ErrRefused},
	{"255 configurations", 11, append(deviceDescriptor(255), configuration(1, goodStorage)...), ErrGone}, // libusb shows no such device
	{"no configuration", 12, deviceDescriptor(0), ErrRefused},
	{"no interface", 13, append(deviceDescriptor(1), configuration(0)...), ErrRefused},
	{"UAS alone", 14, append(deviceDescriptor(1), configuration(1, interfaceDescriptor(0, 0, attached, bulkIn, bulkOut))...), ErrRefused},
	{"no way in", 15, append(deviceDescriptor(1), configuration(1, interfaceDescriptor(0, 0, bulkOnly, bulkOut))...), ErrRefused},
	{"two ways in", 16, append(deviceDescriptor(1), configuration(1, interfaceDescriptor(0, 0, bulkOnly, bulkIn, bulkIn2, bulkOut))...), ErrRefused},
	{"interrupt", 17, append(deviceDescriptor(1), configuration(1, interfaceDescriptor(0, 0, bulkOnly, bulkIn, bulkOut, interruptIn))...), ErrRefused},
	{"another configuration is active", 18, append(deviceDescriptor(1), func() []byte { c := configuration(1, goodStorage); c[5] = 2; return c }()...), ErrRefused},
	{"no descriptors", 19, []byte{}, ErrGone},
}

// recorder writes what an honest stick answers, in umockdev's language, by talking to the one in software.
type recorder struct {
	stick *stick
	lines bytes.Buffer
}

func (r *recorder) urb(kind, endpoint int, data []byte, transferred int) {
	fmt.Fprintf(&r.lines, "USBDEVFS_REAPURBNDELAY 0 %d %d 0 0 %d %d 0 %s\n", kind, endpoint, len(data), transferred, strings.ToUpper(hex.EncodeToString(data)))
}

func (r *recorder) link() link {
	const bulk, control = 3, 2
	return link{
		out: func(ctx context.Context, w *[wrapperBytes]byte) error {
			r.urb(bulk, 2, w[:], len(w))
			return r.stick.out(ctx, w)
		},
		in: func(ctx context.Context, p []byte) (int, error) {
			n, err := r.stick.in(ctx, p)
			r.urb(bulk, 0x81, p[:n], n)
			return n, err
		},
		control: func(q request) (byte, error) {
			answer, err := r.stick.control(q)
			r.urb(control, 0, []byte{0xA1, 0xFE, 0, 0, 0, 0, 1, 0, answer}, 1) // GET MAX LUN is all that an honest stick hears
			return answer, err
		},
	}
}

func TestT01_RealGousbOpensAnHonestStickAndNothingElse(t *testing.T) {
	if _, err := exec.LookPath("umockdev-run"); err != nil {
		t.Fatal("umockdev is not installed: make apt-test")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	disc := disk512(2048)
	copy(disc.content[3*512:], "SECTOR THREE....")
	copy(disc.content[4*512:], "SECTOR FOUR.....")
	rec := &recorder{stick: newStick(disc)}
	d := &Device{link: rec.link()}
	if err := d.probe(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Units[0].ReadAt(make([]byte, 1024), 3*512); err != nil {
		t.Fatal(err)
	}
	hub := append([]byte{18, 1, 0, 2, 9, 0, 0, 64, 0x6B, 0x1D, 2, 0, 0, 1, 0, 0, 0, 1}, configuration(1, interfaceDescriptor(0, 0, [3]byte{9, 0, 0}, []byte{7, 5, 0x81, 3, 4, 0, 12}))...)
	for _, tt := range mockedDevices {
		t.Run(tt.name, func(t *testing.T) {
			tree := mocked(1, hub)
			if tt.bytes != nil {
				tree += mocked(tt.address, tt.bytes)
			}
			args := []string{"-d", write("devices", tree)}
			if tt.bytes != nil {
				node := fmt.Sprintf("/dev/bus/usb/001/%03d", tt.address)
				args = append(args, "-i", node+"="+write("answers", "@DEV "+node+"\n"+rec.lines.String()))
			}
			cmd := exec.Command("umockdev-run", append(args, "--", self, "open", strconv.Itoa(tt.address))...)
			var words bytes.Buffer
			cmd.Stderr = &words
			out, err := cmd.Output()
			want := fmt.Sprintf("%+v\n1024 <nil> \"SECTOR THREE....\" \"SECTOR FOUR.....\"\n", lun.Unit{Trouble: good, Bytes: 1 << 20, SectorSize: 512, Removable: true, Vendor: "ACME", Product: "Flash Disk", Revision: "1.00"})
			if tt.want != nil {
				want = tt.want.Error() + "\n"
			}
			if err != nil || string(out) != want {
				t.Errorf("%v, %s, want %s\n%s", err, out, want, &words)
			}
		})
	}
}

// What gousb says of a transfer, as it is and within text, is told apart.
func TestTransfersAreSorted(t *testing.T) {
	live, cancel := context.WithCancel(context.Background())
	defer cancel()
	over, end := context.WithCancel(context.Background())
	end()
	for _, tt := range []struct {
		ctx  context.Context
		err  error
		want error
	}{
		{live, nil, nil}, {live, gousb.ErrorNoDevice, errGone}, {live, gousb.TransferNoDevice, errGone}, {live, gousb.ErrorPipe, errStall},
		{live, gousb.TransferStall, errStall}, {live, gousb.ErrorTimeout, errSilent}, {live, gousb.TransferTimedOut, errSilent},
		{over, gousb.TransferCancelled, errSilent}, {live, gousb.TransferCancelled, errLink}, {live, gousb.TransferOverflow, errLink},
		{live, gousb.TransferError, errLink}, {live, gousb.ErrorIO, errLink}, {live, fmt.Errorf("x: %w", gousb.ErrorNoDevice), errGone}, {live, errors.New("x"), errLink},
	} {
		if got := transferred(tt.ctx, tt.err); !errors.Is(got, tt.want) {
			t.Errorf("%v is %v, want %v", tt.err, got, tt.want)
		}
	}
}
