package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pratique/scanner/slot"
)

func TestCompileReturnsSealedRules(t *testing.T) {
	// More than one frame of text, and a warning.
	text := "rule a { condition: true }\n" + strings.Repeat("// comment\n", 2*slot.PartBytes/11) + "rule b { strings: $a = /.*x/ condition: $a }"
	f, info, err := Compile(context.Background(), Config{Dir: programs}, []Source{{Name: "a.yar", Text: []byte(text)}, {Name: "empty.yar"}, {Name: "c.yar", Text: []byte("rule c { condition: true }")}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info.Rules != 3 || len(info.Warnings) == 0 || info.Warnings[0].File != "a.yar" || info.Warnings[0].Line < 1000 {
		t.Errorf("%+v", info)
	}
	if seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0); err != nil || seals&sealAll != sealAll {
		t.Errorf("seals %#x, %v", seals, err)
	}
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("compiled rules can be changed")
	}
}

func TestCompileNamesEveryError(t *testing.T) {
	_, _, err := Compile(context.Background(), Config{Dir: programs}, []Source{
		{Name: "one.yar", Text: []byte("rule a {\n condition: nonsense }")}, {Name: "two.yar", Text: []byte("\nrule b { condition: }")},
	})
	var rejected *CompileError
	if !errors.As(err, &rejected) || len(rejected.Problems) < 2 || !strings.Contains(err.Error(), "one.yar:2: error: ") || !strings.Contains(err.Error(), "two.yar:2: error: ") {
		t.Error(err)
	}
	for name, sources := range map[string][]Source{
		"nothing":         nil,
		"no rule":         {{Name: "a", Text: []byte("// nothing")}},
		"NUL":             {{Name: "a", Text: []byte("rule a { condition: true }\x00")}},
		"too long":        {{Name: "a", Text: bytes.Repeat([]byte(" "), slot.MaxSourceBytes+1)}},
		"long name":       {{Name: strings.Repeat("x", slot.MaxSourceName+1), Text: []byte("rule a { condition: true }")}},
		"invalid":         {{Name: "a", Text: []byte("\xFF\xFE\xFD")}},
		"name in no text": {{Name: "\xFF\xFE", Text: []byte("rule a { condition: tru }")}},
		"many errors":     {{Name: "a", Text: []byte(strings.Repeat("rule a { condition: x }\n", 1000))}},
		"many files":      make([]Source, slot.MaxSources+1),
	} {
		f, _, err := Compile(context.Background(), Config{Dir: programs}, sources)
		if !errors.As(err, &rejected) || f != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCompileIsStopped(t *testing.T) {
	source := []Source{{Name: "a.yar", Text: []byte("rule a { condition: true }")}}
	begin := time.Now()
	f, _, err := Compile(context.Background(), Config{Dir: fake(t, "compile-hangs"), CompileTimeout: 300 * time.Millisecond}, source)
	if err == nil || f != nil || !strings.Contains(err.Error(), "300ms") || time.Since(begin) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(200*time.Millisecond, cancel)
	if f, _, err := Compile(ctx, Config{Dir: fake(t, "compile-hangs")}, source); !errors.Is(err, context.Canceled) || f != nil {
		t.Error(err)
	}
}

func TestT15_MisbehavingCompilerGivesNoRules(t *testing.T) {
	for _, how := range []string{"compile-exit-70", "compile-garbage", "compile-nothing", "compile-empty", "compile-exit-1", "compile-both", "compile-endless"} {
		f, _, err := Compile(context.Background(), Config{Dir: fake(t, how)}, []Source{{Name: "a.yar", Text: []byte("rule a { condition: true }")}})
		var rejected *CompileError
		if err == nil || f != nil || errors.As(err, &rejected) || errors.Is(err, ErrSandbox) != (how == "compile-exit-70") {
			t.Errorf("%s: %v, %v", how, f, err)
		}
	}
}

func TestT15_RulesThatCompileSlowlyAreBounded(t *testing.T) {
	var text strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&text, "rule r%d { strings: $a = \"string number %d\" $b = /regular[0-9]{1,%d}expression/ condition: any of them }\n", i, i, 2+i%50)
	}
	begin := time.Now()
	f, info, err := Compile(context.Background(), Config{Dir: programs, CompileTimeout: 30 * time.Second}, []Source{{Name: "a.yar", Text: []byte(text.String())}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	t.Logf("%d rules in %v, %d bytes", info.Rules, time.Since(begin), info.Bytes)
}
