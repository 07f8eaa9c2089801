package staff

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var testKey = Key{1, 2, 3}

func TestAKeyIsItsOneLine(t *testing.T) {
	k, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseKey(k.Text()); err != nil || got != k || len(k.ID()) != 16 {
		t.Errorf("%v %v", got, err)
	}
	zero := Key{}
	for name, text := range map[string][]byte{"nothing": nil, "zeros": zero.Text(), "cut": k.Text()[:40], "two lines": append(k.Text(), "\n\n"...), "another file": []byte("version = 1\n")} {
		if _, err := ParseKey(text); err == nil || strings.Contains(err.Error(), keyMagic) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if zero.ID() != "" || testKey.ID() == k.ID() {
		t.Error("ids")
	}
}

func TestBadgesAreKeyedDigests(t *testing.T) {
	other := Key{9}
	a, err := testKey.Badge("04A2B1C3")
	if err != nil || len(a) != 32 || strings.Contains(a, "04A2") {
		t.Fatal(a, err)
	}
	if b, _ := other.Badge("04A2B1C3"); a == b {
		t.Error("the key plays no part")
	}
	for _, says := range []string{"", strings.Repeat("x", maxBadge+1)} {
		if _, err := testKey.Badge(says); err == nil {
			t.Errorf("a badge of %d bytes", len(says))
		}
	}
}

func TestPINsThatAreTriedFirstAreRefused(t *testing.T) {
	p := Person{ID: "p-1", Number: "4711"}
	for _, pin := range []string{"", "12345", "1234567890123", "12345a", "１２３４５６", "111111", "123456", "987654", "345678", "994711", "471108"} {
		if text, err := testKey.PIN(p, pin); err == nil || text != "" {
			t.Errorf("%q is taken", pin)
		}
	}
	for _, pin := range []string{"482915", "112233", "135791"} {
		if _, err := testKey.PIN(p, pin); err != nil {
			t.Errorf("%q: %v", pin, err)
		}
	}
}

func TestAPINIsOnePersonsUnderOneKey(t *testing.T) {
	p := Person{ID: "p-1"}
	var err error
	if p.PIN, err = testKey.PIN(p, "482915"); err != nil {
		t.Fatal(err)
	}
	other := p
	other.ID = "p-2"
	for name, row := range map[string]struct {
		key    Key
		person Person
		pin    string
		good   bool
	}{
		"right": {testKey, p, "482915", true}, "wrong": {testKey, p, "482916", false}, "empty": {testKey, p, "", false},
		"another person with the same digest": {testKey, other, "482915", false}, "another key": {Key{9}, p, "482915", false}, "no key": {Key{}, p, "482915", false},
		"nobody": {testKey, Person{}, "482915", false}, "a person without a PIN": {testKey, Person{ID: "p-1"}, "482915", false},
	} {
		if got := row.key.verify(row.person, row.pin); got != row.good {
			t.Errorf("%s: %v", name, got)
		}
	}
	again, err := testKey.PIN(p, "482915")
	if err != nil || again == p.PIN {
		t.Error("two digests of one PIN are the same")
	}
}

// TestT18_NobodyAndAWrongPINTakeTheSameTime: who asks the clock learns nothing of who there is.
func TestT18_NobodyAndAWrongPINTakeTheSameTime(t *testing.T) {
	p := Person{ID: "p-1"}
	var err error
	if p.PIN, err = testKey.PIN(p, "482915"); err != nil {
		t.Fatal(err)
	}
	// The processor's time: what else runs on the machine does not count.
	used := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	best := map[string]time.Duration{}
	for range 4 {
		for name, who := range map[string]Person{"nobody": {}, "somebody": p} {
			begin := used()
			testKey.verify(who, "111111")
			if took := used() - begin; best[name] == 0 || took < best[name] {
				best[name] = took
			}
		}
	}
	a, b := best["nobody"], best["somebody"]
	if a > 2*b || b > 2*a {
		t.Errorf("nobody %v, somebody %v", a, b)
	}
	t.Logf("one PIN takes %v (%d passes over %d MiB)", b, argonTime, argonMemory>>10)
}

func BenchmarkPIN(b *testing.B) {
	salt := bytes.Repeat([]byte{1}, saltBytes)
	for b.Loop() {
		testKey.slow("p-1", "482915", salt)
	}
}

func FuzzPIN(f *testing.F) {
	f.Add("1:" + strings.Repeat("ab", saltBytes) + ":" + strings.Repeat("cd", pinBytes))
	f.Fuzz(func(t *testing.T, text string) {
		salt, digest, err := parsePIN(text)
		if err == nil && fmt.Sprintf("1:%x:%x", salt, digest) != text {
			t.Errorf("%q has a second spelling", text)
		}
	})
}
