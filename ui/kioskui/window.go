package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/app"

	"pratique/kiosk/localapi"
	"pratique/ui"
	"pratique/ui/draw"
	"pratique/ui/sound"
)

// window is the one that there is. Everything in it belongs to the toolkit's own goroutine: others come in through fyne.Do.
type window struct {
	options
	stderr   io.Writer
	station  *station
	surface  *draw.Surface
	player   *sound.Player
	state    *localapi.State
	look     ui.Look
	page     ui.Page
	touch    time.Time // the last one
	stayed   time.Time // when the daemon was told so
	printing bool
}

// stayEvery is how often the daemon is told that somebody is still there, at most.
const stayEvery = 5 * time.Second

// run opens the window and returns when it is closed or ctx ends.
func run(ctx context.Context, o options, stderr io.Writer) {
	// What the environment says must not change what people see: the size of things is a setting of the page.
	for _, name := range []string{"FYNE_FONT", "FYNE_FONT_MONOSPACE", "FYNE_FONT_SYMBOL", "FYNE_THEME"} {
		os.Unsetenv(name)
	}
	os.Setenv("FYNE_SCALE", "1")
	os.Setenv("LC_ALL", "en_US.UTF-8") // or the toolkit complains of C; pages have languages of their own
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	a := app.New()
	w := &window{options: o, stderr: stderr, player: sound.NewPlayer(), touch: time.Now()}
	defer w.player.Close()
	w.options.look.Voice = w.player.Voice()
	w.look = w.options.look
	w.station = newStation(o.socket, func(st *localapi.State) { fyne.Do(func() { w.arrived(st) }) })
	w.surface = draw.NewSurface(w.touched)

	win := a.NewWindow("Pratique")
	win.SetMaster()
	win.SetPadded(false)
	win.SetContent(w.surface)
	win.Canvas().SetOnTypedRune(func(r rune) { w.surface.Typed(r) })
	win.Canvas().SetOnTypedKey(func(k *fyne.KeyEvent) { w.surface.Key(k.Name, nil) })
	if o.window == "" {
		win.SetFullScreen(true)
		win.SetCloseIntercept(func() {}) // nobody closes a kiosk's screen
	} else {
		win.Resize(fyne.NewSize(o.width, o.height))
	}
	w.show()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.station.watch(ctx)
	}()
	go w.tick(ctx)
	context.AfterFunc(ctx, func() { fyne.Do(a.Quit) })
	win.ShowAndRun()
	stop()
	<-done
}

// tick looks at the clock once a second: a person who waits for something sees it coming, and what somebody left open is closed.
func (w *window) tick(ctx context.Context) {
	each := time.NewTicker(time.Second)
	defer each.Stop()
	for {
		select {
		case <-each.C:
			fyne.Do(func() {
				if time.Since(w.touch) > w.idle {
					w.rest()
				}
				w.show()
			})
		case <-ctx.Done():
			return
		}
	}
}

// rest makes the screen as people find it. A person who is signed in is signed out by the daemon, and nobody's answer disappears.
func (w *window) rest() {
	home := w.page.Name == "waiting" || w.page.Name == "not-ready"
	if w.state != nil && w.state.Staff != nil && w.state.Staff.Name != "" || w.look.Place == ui.Here && !home {
		return
	}
	old := w.look
	w.look = w.options.look
	w.look.Port, w.look.Class, w.look.Turn = old.Port, old.Class, old.Turn
	if !home { // the page is closed, and what comes stays in the language that somebody reads
		w.look.Language, w.look.Theme, w.look.Percent, w.look.Loud = old.Language, old.Theme, old.Percent, old.Loud
	}
}

// arrived takes a new state; nil says that the daemon is gone.
func (w *window) arrived(st *localapi.State) {
	w.look = w.look.Follow(w.state, st)
	w.state = st
	w.show()
}

// show shows the page that belongs to all that is known, and makes an answer heard once.
func (w *window) show() {
	before := w.page
	w.page = ui.Screen(w.state, w.look, time.Now())
	w.surface.Display(w.page, w.look)
	if w.page.Name != before.Name && w.page.Tone != before.Tone && w.page.Tone != ui.Calm && w.look.Loud != ui.Silent {
		said := ""
		if w.look.Loud == ui.Spoken {
			said = w.page.Speech
		}
		w.player.Play(w.page.Tone, said, w.look.Language)
	}
}

// touched is what a touch or a key does.
func (w *window) touched(a ui.Action) {
	w.touch = time.Now()
	look, effect := w.look.Do(a, w.state, w.touch)
	w.look = look
	w.show()
	switch {
	case effect.Speak:
		w.player.Play(ui.Calm, w.page.Speech, w.look.Language)
	case effect.Print:
		w.print()
	case effect.Verb != "":
		w.stayed = w.touch
		w.station.ask(effect, func(history []localapi.Session, err *localapi.Error) {
			fyne.Do(func() {
				w.look = w.look.Answered(effect, err)
				if effect.Verb == localapi.VerbSessions {
					w.look.History = history
				}
				w.show()
			})
		})
	case w.state != nil && w.state.Staff != nil && w.state.Staff.Until != "" && w.touch.Sub(w.stayed) > stayEvery:
		w.stayed = w.touch
		w.station.ask(ui.Effect{Verb: localapi.VerbStay}, func([]localapi.Session, *localapi.Error) {})
	}
}

// complain says on standard error what a person at the screen cannot mend.
func (w *window) complain(what string, err error) {
	fmt.Fprintf(w.stderr, "kioskui: error: %s: %v\n", what, err)
}
