// Package sound makes the kiosk heard: a short tone for each kind of answer, and the answer read aloud.
//
// Each tone tells itself apart by its melody, since colours and words are not for everybody: cleared goes up, not cleared goes down
// twice, could not check stays and asks, a failure of the kiosk knocks. The toolkit has no support for screen readers, so the kiosk
// speaks for itself.
//
// It trusts the programs that it runs, aplay or paplay and espeak-ng, which it looks for in fixed folders and starts without a shell
// and with an empty environment. What they are given is a tone that is made here, and text of package ui, on standard input. Without
// these programs nothing is heard and nothing fails. One thing is heard at a time, for maxLength at most.
package sound

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"pratique/ui"
)

const (
	rate      = 22050 // samples a second, of 16 bits
	loudness  = 0.45
	maxLength = 30 * time.Second // of one thing that is said
)

// note is a frequency in hertz, 0 for silence, and how long it is held.
type note struct {
	hertz float64
	held  time.Duration
}

// melodies are the tones, by the tone of the page. A page that is no answer has none.
var melodies = map[ui.Tone][]note{
	ui.Good:   {{660, 120 * time.Millisecond}, {880, 260 * time.Millisecond}},
	ui.Stop:   {{440, 220 * time.Millisecond}, {0, 60 * time.Millisecond}, {294, 220 * time.Millisecond}, {0, 60 * time.Millisecond}, {196, 420 * time.Millisecond}},
	ui.Unsure: {{523, 160 * time.Millisecond}, {0, 80 * time.Millisecond}, {523, 160 * time.Millisecond}, {0, 80 * time.Millisecond}, {587, 320 * time.Millisecond}},
	ui.Broken: {{147, 140 * time.Millisecond}, {0, 100 * time.Millisecond}, {147, 140 * time.Millisecond}, {0, 100 * time.Millisecond}, {147, 140 * time.Millisecond}},
	ui.Alarm:  {{880, 150 * time.Millisecond}, {587, 150 * time.Millisecond}, {880, 150 * time.Millisecond}, {587, 150 * time.Millisecond}, {880, 150 * time.Millisecond}},
}

// WAV is the tone of a kind of answer as a file; nil if there is none.
func WAV(t ui.Tone) []byte {
	notes := melodies[t]
	if len(notes) == 0 {
		return nil
	}
	var samples []int16
	for _, n := range notes {
		count := int(n.held.Seconds() * rate)
		for i := range count {
			at := float64(i) / rate
			// It swells and fades within 10 ms, so that it does not click.
			shape := min(1, at/0.01, (n.held.Seconds()-at)/0.01)
			samples = append(samples, int16(loudness*shape*32767*math.Sin(2*math.Pi*n.hertz*at)))
		}
	}
	var out bytes.Buffer
	size := uint32(2 * len(samples))
	out.WriteString("RIFF")
	binary.Write(&out, binary.LittleEndian, 36+size)
	out.WriteString("WAVEfmt ")
	for _, v := range []any{uint32(16), uint16(1), uint16(1), uint32(rate), uint32(2 * rate), uint16(2), uint16(16)} {
		binary.Write(&out, binary.LittleEndian, v)
	}
	out.WriteString("data")
	binary.Write(&out, binary.LittleEndian, size)
	binary.Write(&out, binary.LittleEndian, samples)
	return out.Bytes()
}

// Player makes things heard. The zero value is one of a machine without the programs: it is silent.
type Player struct {
	play  []string
	speak string
	mu    sync.Mutex
	stop  context.CancelFunc // what is heard now
	busy  sync.WaitGroup
}

// NewPlayer looks for the programs.
func NewPlayer() *Player {
	p := &Player{speak: program("espeak-ng")}
	if aplay := program("aplay"); aplay != "" {
		p.play = []string{aplay, "-q", "-"}
	} else if paplay := program("paplay"); paplay != "" {
		p.play = []string{paplay, "/dev/stdin"}
	}
	return p
}

// program is the path of a program of the system; nothing that a PATH or a person could put before it.
func program(name string) string {
	for _, dir := range []string{"/usr/bin", "/usr/local/bin"} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// Voice reports whether something can speak.
func (p *Player) Voice() bool { return p.speak != "" }

// Play plays the tone of an answer, and then says something if there is anything to say. What was heard before ends.
func (p *Player) Play(t ui.Tone, say string, lang ui.Language) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop != nil {
		p.stop()
	}
	ctx, stop := context.WithTimeout(context.Background(), maxLength)
	p.stop = stop
	p.busy.Go(func() {
		defer stop()
		if wav := WAV(t); wav != nil && len(p.play) > 0 {
			run(ctx, bytes.NewReader(wav), p.play...)
		}
		if say != "" && p.speak != "" && ctx.Err() == nil {
			run(ctx, strings.NewReader(say), p.speak, "-v", lang.Code(), "-s", "150", "--stdin")
		}
	})
}

// Close ends what is heard.
func (p *Player) Close() {
	p.mu.Lock()
	if p.stop != nil {
		p.stop()
	}
	p.mu.Unlock()
	p.busy.Wait()
}

// run runs a program. That it cannot be heard stops nothing: the screen says it too.
func run(ctx context.Context, in io.Reader, args ...string) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin, cmd.Env, cmd.WaitDelay = in, []string{"LANG=C.UTF-8"}, time.Second
	_ = cmd.Run()
}
