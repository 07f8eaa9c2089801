package sound

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pratique/ui"
)

func TestEachAnswerHasAToneOfItsOwn(t *testing.T) {
	seen := map[string]ui.Tone{}
	for _, tone := range []ui.Tone{ui.Good, ui.Stop, ui.Unsure, ui.Broken, ui.Alarm} {
		wav := WAV(tone)
		if len(wav) < 44 || string(wav[:4]) != "RIFF" || string(wav[8:16]) != "WAVEfmt " || int(binary.LittleEndian.Uint32(wav[4:]))+8 != len(wav) ||
			int(binary.LittleEndian.Uint32(wav[40:]))+44 != len(wav) {
			t.Errorf("tone %d is no WAV file", tone)
			continue
		}
		if length := time.Duration(len(wav)-44) * time.Second / (2 * rate); length < 300*time.Millisecond || length > 2*time.Second {
			t.Errorf("tone %d takes %v", tone, length)
		}
		if other, there := seen[string(wav)]; there {
			t.Errorf("the tones %d and %d are the same", tone, other)
		}
		seen[string(wav)] = tone
		if !bytes.Equal(wav, WAV(tone)) {
			t.Errorf("tone %d is another the second time", tone)
		}
		loudest := int16(0)
		for i := 44; i < len(wav); i += 2 {
			loudest = max(loudest, int16(binary.LittleEndian.Uint16(wav[i:])))
		}
		if loudest < 8000 || loudest > 20000 {
			t.Errorf("tone %d is as loud as %d", tone, loudest)
		}
	}
	if WAV(ui.Calm) != nil || WAV(ui.Tone(99)) != nil {
		t.Error("a page that is no answer has a tone")
	}
}

// What is played and said goes to the programs' standard input: no text becomes an argument.
func TestProgramsGetTheToneAndTheWords(t *testing.T) {
	dir := t.TempDir()
	record := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n/usr/bin/printf '%s|' \"$@\" > "+path+".args\nexec /bin/cat > "+path+".in\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	p := &Player{play: []string{record("play"), "-"}, speak: record("speak")}
	say := "-w /etc/passwd; $(reboot) Freigegeben."
	p.Play(ui.Good, say, ui.German)
	p.busy.Wait()
	for name, want := range map[string]string{"play.in": string(WAV(ui.Good)), "speak.in": say, "speak.args": "-v|de|-s|150|--stdin|"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %.80q %v", name, got, err)
		}
	}
	p.Close()
}

func TestWhatIsHeardEndsWithTheNext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "slow")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nexec /bin/sleep 60\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	p := &Player{play: []string{path}}
	began := time.Now()
	for range 5 {
		p.Play(ui.Good, "", ui.English)
	}
	p.Close()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	var silent Player
	silent.Play(ui.Stop, strings.Repeat("x", 100), ui.English)
	silent.Close()
	if silent.Voice() {
		t.Error("a machine without the programs speaks")
	}
}
