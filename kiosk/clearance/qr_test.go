package clearance

import (
	"bytes"
	"math"
	"strings"
	"testing"
)

func TestDigitsComeBackAsBytes(t *testing.T) {
	r := newRig(t, false)
	digits, err := QR(r.token(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	want, err := ParseQR(digits)
	if err != nil {
		t.Fatal(err)
	}
	var grouped strings.Builder
	for i, c := range digits {
		if i > 0 && i%5 == 0 {
			grouped.WriteString([]string{" ", "-", "\r\n"}[i%3])
		}
		grouped.WriteRune(c)
	}
	if got, err := ParseQR(grouped.String() + "\n"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("digits in groups: %v", err)
	}
	again, err := QR(want)
	if err != nil || again != digits {
		t.Errorf("the QR form has other digits: %v", err)
	}
}

func TestT28_EveryChangedDigitIsRejected(t *testing.T) {
	r := newRig(t, false)
	digits, err := QR(r.token(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	try := func(what string, i int, changed string) {
		tried++
		token, err := ParseQR(changed)
		if err != nil {
			return
		}
		v := r.question(token)
		v.FromQR = true
		if got := Verify(v); got.Reason == Valid || got.Claims != nil {
			t.Fatalf("%s at %d: %v", what, i, got.Reason)
		}
	}
	for i := range digits {
		for d := byte('0'); d <= '9'; d++ {
			if d != digits[i] {
				try("digit", i, digits[:i]+string(d)+digits[i+1:])
			}
		}
		try("cut", i, digits[:i])
		try("digit left out", i, digits[:i]+digits[i+1:])
		try("digit twice", i, digits[:i]+digits[i:i+1]+digits[i:])
		if i > 0 && digits[i] != digits[i-1] {
			try("digits swapped", i, digits[:i-1]+digits[i:i+1]+digits[i-1:i]+digits[i+1:])
		}
	}
	t.Logf("%d changed codes rejected", tried)
	for _, bad := range []string{"", "7781", digits + "0", digits + "000", "7782" + digits[4:], strings.Replace(digits, digits[10:11], "٣", 1), digits[:20] + "_" + digits[20:],
		digits[:20] + "+" + digits[21:], qrMagic + "99999999999999999", qrMagic + "999", strings.Repeat("7781", 2000), strings.Repeat(" ", 5000) + digits} {
		if _, err := ParseQR(bad); err == nil {
			t.Errorf("%.30q was taken", bad)
		}
	}
	p, err := parseToken(r.token(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseQR(qrMagic + toDigits(p.raw)); err == nil {
		t.Error("digits with a post-quantum signature were taken")
	}
}

// TestTheLargestClaimsFitAReceipt takes the longest words that the format allows, which no site comes near.
func TestTheLargestClaimsFitAReceipt(t *testing.T) {
	keys, err := GenerateKeys(strings.Repeat("k", maxIssuer), true, exampleTime)
	if err != nil {
		t.Fatal(err)
	}
	index := uint64(math.MaxUint64)
	largest := func(classes int) Claims {
		c := exampleClaims(t)
		c.Issuer, c.PQKeyID, c.LogIndex, c.TrustVersion = keys.Issuer(), keys.PQKeyID(), &index, math.MaxUint64
		c.Operator = [8]byte{1}
		c.Overrule(CouldNotCheck, Override{strings.Repeat("r", maxReason), [8]byte{2}})
		c.Audience = nil
		for i := range classes {
			c.Audience = append(c.Audience, strings.Repeat(string(rune('a'+i)), maxClass))
		}
		c.Medium = Medium{math.MaxUint16, math.MaxUint16, [16]byte{1}, math.MaxUint64}
		c.Content = Content{[32]byte{1}, MaxVolumes, MaxLeaves, MaxLeaves, math.MaxInt64}
		c.Rules = Rules{strings.Repeat("r", maxPack), math.MaxUint64, [8]byte{1}}
		c.Canary, c.Source = strings.Repeat("c", maxCanary), FromImage
		return c
	}
	draw := func(c Claims) int {
		t.Helper()
		token, err := Sign(c, keys)
		if err != nil {
			t.Fatal(err)
		}
		digits, err := QR(token)
		if err != nil {
			return 0
		}
		q, err := symbol(digits)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d classes: %d bytes, %d digits, version %d-M", len(c.Audience), len(token), len(digits), q.VersionNumber)
		return q.VersionNumber
	}
	if v := draw(largest(4)); v == 0 || v > maxQRVersion {
		t.Errorf("the longest words for four classes make version %d", v)
	}
	typical := exampleClaims(t)
	typical.Issuer, typical.PQKeyID, typical.Audience = keys.Issuer(), keys.PQKeyID(), []string{"general", "imaging", "laboratory", "infusion"}
	typical.Medium, typical.Rules = Medium{0x0781, 0x5567, [16]byte{1}, 60062500}, Rules{"hospital-core", 412, [8]byte{1}}
	if v := draw(typical); v == 0 || v > 16 {
		t.Errorf("usual claims make version %d", v)
	}
	if _, err := symbol(strings.Repeat("9", maxDigits)); err != nil {
		t.Errorf("the limit on digits is above what version %d holds: %v", maxQRVersion, err)
	}
	if q, err := symbol(strings.Repeat("9", maxDigits+1)); err == nil {
		t.Errorf("one digit more makes version %d", q.VersionNumber)
	}
}

func TestTheQRCodeIsDrawn(t *testing.T) {
	r := newRig(t, false)
	digits, err := QR(r.token(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	q, err := symbol(digits)
	if err != nil {
		t.Fatal(err)
	}
	modules := q.Bitmap()
	side := len(modules)
	text, err := QRText(digits)
	if err != nil {
		t.Fatal(err)
	}
	// Read the text back: what is drawn must be the symbol, module by module, dark on light.
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) != (side+1)/2 {
		t.Fatalf("%d lines for %d modules", len(lines), side)
	}
	for y, line := range lines {
		line = strings.TrimSuffix(strings.TrimPrefix(line, "\x1b[38;5;16;48;5;231m"), "\x1b[0m")
		for x, c := range []rune(line) {
			upper, lower := c == '▀' || c == '█', c == '▄' || c == '█'
			if upper != modules[2*y][x] || 2*y+1 < side && lower != modules[2*y+1][x] {
				t.Fatalf("module %d,%d is drawn wrong", x, y)
			}
		}
	}
	if strings.Trim(strings.TrimPrefix(lines[0], "\x1b[38;5;16;48;5;231m"), " ") != "\x1b[0m" {
		t.Error("there is no quiet zone above the code")
	}
	if _, err := QRText(strings.Repeat("1", 5000)); err == nil {
		t.Error("a code that is too large was drawn")
	}
}

func TestTheShortCodeHasEightPlainCharacters(t *testing.T) {
	if got := Code([16]byte{}); got != "00000000" {
		t.Error(got)
	}
	if got := Code([16]byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0}); got != "ZZZZZZZZ" {
		t.Error(got)
	}
	if got := Code([16]byte{0x00, 0x44, 0x32, 0x14, 0xC7}); got != "01234567" {
		t.Error(got)
	}
}
