// Command kioskui is the kiosk's screen.
//
//	kioskui [--socket PATH] [--window 1280x800] [--language en] [--theme light] [--sound tones] [--idle 60s]
//	        [--printer DEVICE] [--paper 80] [--receipts DIR]
//
// It shows what pratiqued says over the local socket, and passes on what people touch. It holds nothing that it could lose: it may be
// killed and started at any moment, and shows the truth again. While nobody answers on the socket it says so, and asks again every
// second.
//
// Without --window it takes the whole screen, without a title, a menu, a dialog or a second window, and no key or touch ends it: that
// is how a kiosk's session starts it (packaging/kiosk). With --window it is an ordinary window on somebody's desk.
//
// It trusts the daemon for every fact (package ui), and the person who starts it for the flags. It opens the socket, the display, the
// printer's device or the folder of receipts that it was told, and nothing else; it starts nothing but the programs that play a tone
// and speak (package ui/sound).
//
// Exit codes: 0 after a signal, or when its window was closed; 1 there is no display; 2 usage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"pratique/kiosk/localapi"
	"pratique/ui"
)

// options are the flags.
type options struct {
	socket   string
	window   string // empty for the whole screen
	width    float32
	height   float32
	look     ui.Look // that each person finds
	idle     time.Duration
	printer  string
	paper    int
	receipts string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	code := start(ctx, os.Args[1:], os.Stderr)
	stop()
	os.Exit(code)
}

func start(ctx context.Context, args []string, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "kioskui: error: %v\n", err)
		return 2
	}
	if err := display(os.Getenv("DISPLAY")); err != nil {
		fmt.Fprintf(stderr, "kioskui: error: there is no display to open a window on: %v\n", err)
		fmt.Fprintln(stderr, "kioskui: hint: on a machine without one, run it in a virtual display: xvfb-run -s '-screen 0 1280x800x24' kioskui --window 1280x800")
		return 1
	}
	run(ctx, o, stderr)
	return 0
}

// display looks whether somebody answers on an X display of this machine: the toolkit panics if nobody does.
func display(name string) error {
	if name == "" {
		return errors.New("DISPLAY is not set")
	}
	host, number, found := strings.Cut(name, ":")
	if number, _, _ = strings.Cut(number, "."); !found || host != "" {
		return nil // another machine's, or a name that the toolkit may know
	}
	conn, err := net.DialTimeout("unix", "/tmp/.X11-unix/X"+number, time.Second)
	if err != nil {
		if conn, err = net.DialTimeout("unix", "@/tmp/.X11-unix/X"+number, time.Second); err != nil {
			return fmt.Errorf("nobody answers on %q", name)
		}
	}
	return conn.Close()
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	var language, theme, sound string
	set := flag.NewFlagSet("kioskui", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.StringVar(&o.socket, "socket", localapi.ServiceSocket, "`PATH` of the daemon's socket")
	set.StringVar(&o.window, "window", "", "an ordinary window of `WIDTHxHEIGHT` instead of the whole screen")
	set.StringVar(&language, "language", "en", "`CODE` of the language that people find: en, de, fr, es, it")
	set.StringVar(&theme, "theme", "light", "`NAME` of the colours that people find: light, dark, contrast")
	set.StringVar(&sound, "sound", "tones", "`WHAT` is heard: tones, speech (and tones), silent")
	set.DurationVar(&o.idle, "idle", time.Minute, "`TIME` without a touch after which the screen is as people find it; 15s to 10m")
	set.StringVar(&o.printer, "printer", "", "`DEVICE` of a receipt printer that takes ESC/POS")
	set.IntVar(&o.paper, "paper", 80, "`MM` that its paper is wide: 58 or 80")
	set.StringVar(&o.receipts, "receipts", "", "`DIR` that receipts are saved in as PDF")
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			set.SetOutput(stderr)
			fmt.Fprintln(stderr, "usage: kioskui [flags]")
			set.PrintDefaults()
			fmt.Fprintln(stderr, "Example: kioskui --socket ./state/station.sock --window 1280x800")
		}
		return o, err
	}
	if set.NArg() > 0 {
		return o, fmt.Errorf("an argument that is no flag: %q", set.Arg(0))
	}
	lang, ok := ui.ParseLanguage(language)
	if !ok {
		return o, fmt.Errorf("there is no language %q", language)
	}
	o.look.Language = lang
	themes := map[string]ui.Theme{"light": ui.Light, "dark": ui.Dark, "contrast": ui.Contrast}
	sounds := map[string]ui.Loudness{"tones": ui.Tones, "speech": ui.Spoken, "silent": ui.Silent}
	if o.look.Theme, ok = themes[theme]; !ok {
		return o, fmt.Errorf("there is no theme %q", theme)
	}
	if o.look.Loud, ok = sounds[sound]; !ok {
		return o, fmt.Errorf("there is no sound %q", sound)
	}
	if o.window != "" {
		if n, err := fmt.Sscanf(o.window, "%gx%g", &o.width, &o.height); n != 2 || err != nil || !(o.width >= 320 && o.width <= 8000 && o.height >= 240 && o.height <= 8000) {
			return o, fmt.Errorf("--window %q: want 1280x800 or the like", o.window)
		}
	}
	switch {
	case o.idle < 15*time.Second || o.idle > 10*time.Minute:
		return o, fmt.Errorf("--idle %v: want 15s to 10m", o.idle)
	case o.paper != 58 && o.paper != 80:
		return o, fmt.Errorf("--paper %d: want 58 or 80", o.paper)
	}
	o.look.Printer = o.printer != "" || o.receipts != ""
	return o, nil
}
