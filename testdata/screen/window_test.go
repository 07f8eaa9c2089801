//go:build screen

package screen

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pratique/kiosk/localapi"
	"pratique/ui"
)

// sticks are the sample media of the demonstration.
func sticks(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("go", "run", "pratique/testdata/mksticks", "-out", dir).CombinedOutput(); err != nil {
		t.Fatalf("mksticks: %v: %s", err, out)
	}
	return dir
}

func plug(t *testing.T, from, folder, name string) {
	t.Helper()
	if out, err := exec.Command("cp", "--sparse=always", filepath.Join(from, name), folder).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
}

func pull(t *testing.T, r *rig, folder, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(folder, name)); err != nil {
		t.Fatal(err)
	}
	r.until("the port is empty", 20*time.Second, func() bool { return r.state().Ports[0].State == localapi.Idle })
	r.look = ui.Look{}
	time.Sleep(500 * time.Millisecond)
}

func (r *rig) reaches(states ...string) {
	r.t.Helper()
	r.until(fmt.Sprintf("the port is %v", states), 60*time.Second, func() bool {
		at := r.state().Ports[0].State
		for _, s := range states {
			if at == s {
				return true
			}
		}
		return false
	})
	time.Sleep(700 * time.Millisecond) // the window draws what this asked for itself
}

// From the stick to the QR code in the real window, with real input; what stands on the glass is what a device takes.
func TestFromTheStickToTheCodeInTheRealWindow(t *testing.T) {
	media := sticks(t)
	folder, state, socket := daemon(t)
	receipts := t.TempDir()
	r := newRig(t, socket, "--receipts", receipts)
	time.Sleep(time.Second)
	r.picture("waiting")

	plug(t, media, folder, "clean.img")
	r.reaches(localapi.Waiting)
	r.picture("ready")
	began := time.Now()
	r.touch(ui.Action{Kind: ui.ActClass, Arg: "general"})
	r.reaches(localapi.Issued)
	t.Logf("bench ui/touch-to-clearance-ms %d", time.Since(began).Milliseconds())
	shot := r.picture("cleared")
	digits, err := exec.Command("zbarimg", "-q", "--raw", "-Sdisable", "-Sqrcode.enable", shot).Output()
	if err != nil {
		t.Fatalf("no code can be read from the screen: %v", err)
	}
	check := func(digits string) {
		t.Helper()
		out, err := exec.Command(filepath.Join(*bin, "clearcheck"), "--demo", "--trust", filepath.Join(state, "demo.trust"), "--for", "general", "--qr", digits, filepath.Join(folder, "clean.img")).CombinedOutput()
		if err != nil {
			t.Errorf("the code is not taken: %v: %s", err, out)
		}
	}
	check(strings.TrimSpace(string(digits)))

	// The screen may be killed at any moment: the next one shows the same answer.
	if err := r.ui.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = r.ui.Wait()
	r.until("the window is gone", 5*time.Second, func() bool { return len(r.windows()) == 0 })
	r.open("--receipts", receipts)
	time.Sleep(time.Second)
	if again, err := exec.Command("zbarimg", "-q", "--raw", "-Sdisable", "-Sqrcode.enable", r.picture("cleared")).Output(); err != nil || string(again) != string(digits) {
		t.Errorf("after a restart the screen shows another code: %v", err)
	}

	r.look.Printer = true
	r.touch(ui.Action{Kind: ui.ActPrint})
	var files []string
	r.until("a receipt is there", 10*time.Second, func() bool {
		files, _ = filepath.Glob(filepath.Join(receipts, "receipt-*.pdf"))
		return len(files) == 1
	})
	if out, err := exec.Command("pdftoppm", "-png", "-r", "203", "-singlefile", files[0], filepath.Join(r.dir, "slip")).CombinedOutput(); err != nil {
		t.Fatalf("pdftoppm: %v: %s", err, out)
	}
	slip, err := exec.Command("zbarimg", "-q", "--raw", "-Sdisable", "-Sqrcode.enable", filepath.Join(r.dir, "slip.png")).Output()
	if err != nil {
		t.Fatal(err)
	}
	check(strings.TrimSpace(string(slip)))
	pull(t, r, folder, "clean.img")

	plug(t, media, folder, "infected.img")
	r.reaches(localapi.Decided, localapi.Waiting)
	r.picture("not-cleared")
	pull(t, r, folder, "infected.img")
	plug(t, media, folder, "locked.img")
	r.reaches(localapi.Decided, localapi.Waiting)
	r.picture("could-not-check")
	pull(t, r, folder, "locked.img")

	r.touch(ui.Action{Kind: ui.ActLanguage, Arg: "de"})
	time.Sleep(500 * time.Millisecond)
	r.picture("german")
}

// A daemon that goes away, and one that comes back: the screen says the first within a second or two, and follows the second.
func TestTheScreenFollowsTheDaemon(t *testing.T) {
	f := newFake(t)
	r := newRig(t, f.socket)
	colour := func() string {
		out, err := r.command("convert", r.picture("tone"), "-crop", "1x1+1200+100", "-depth", "8", "txt:-").Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	time.Sleep(time.Second)
	calm := colour()
	f.stop()
	r.until("the screen says that the station is gone", 5*time.Second, func() bool { return colour() != calm })
	f.start()
	r.until("the screen shows the station again", 5*time.Second, func() bool { return colour() == calm })
	if err := r.ui.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := r.ui.Wait(); err != nil {
		t.Errorf("SIGTERM ends the screen with %v", err)
	}
}
