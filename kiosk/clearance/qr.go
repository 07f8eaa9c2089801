package clearance

import (
	"fmt"
	"strconv"
	"strings"

	qrcode "github.com/skip2/go-qrcode"
)

const (
	// qrMagic opens the digits, so that a scan of something else is told at once.
	qrMagic = "7781"
	// qrGroup bytes make 17 digits: 256^7 is a little less than 10^17.
	qrGroup = 7
	// maxQRVersion is the largest symbol that a 58 mm receipt can carry with modules that a ward's scanner reads.
	maxQRVersion = 20
	// maxDigits is what a version 20-M symbol holds in numeric mode (ISO/IEC 18004 table 7).
	maxDigits = 1600
)

// qrDigits is how many digits a group of so many bytes takes: enough for its largest value.
var qrDigits = [qrGroup + 1]int{0, 3, 5, 8, 10, 13, 15, 17}

// QR returns the digits of a token, less its post-quantum signature, for a QR code in numeric mode.
func QR(token []byte) (string, error) {
	short, err := withoutPQ(token)
	if err != nil {
		return "", err
	}
	digits := qrMagic + toDigits(short)
	if len(digits) > maxDigits {
		return "", fmt.Errorf("clearance: %d digits do not fit into a QR code of version %d", len(digits), maxQRVersion)
	}
	return digits, nil
}

func toDigits(data []byte) string {
	var out strings.Builder
	for len(data) > 0 {
		n := min(qrGroup, len(data))
		var value uint64
		for _, b := range data[:n] {
			value = value<<8 | uint64(b)
		}
		fmt.Fprintf(&out, "%0*d", qrDigits[n], value)
		data = data[n:]
	}
	return out.String()
}

// ParseQR returns the token in its QR form. Spaces, hyphens and line ends may stand anywhere, since people type and print
// digits in groups and scanners end with a line; everything else must be exactly what QR returns.
func ParseQR(digits string) ([]byte, error) {
	if len(digits) > 2*maxDigits {
		return nil, fmt.Errorf("qr: %w: too long", ErrMalformed)
	}
	digits = strings.NewReplacer(" ", "", "-", "", "\r", "", "\n", "").Replace(digits)
	rest, found := strings.CutPrefix(digits, qrMagic)
	if !found || len(digits) > maxDigits {
		return nil, fmt.Errorf("qr: %w: not the digits of a clearance", ErrMalformed)
	}
	var token []byte
	for rest != "" {
		n := qrGroup
		if len(rest) < qrDigits[qrGroup] {
			n = tailBytes(len(rest))
		}
		if n == 0 {
			return nil, fmt.Errorf("qr: %w: length", ErrMalformed)
		}
		group := rest[:qrDigits[n]]
		// ParseUint takes digits only in base 10: no sign, no underscore, no other alphabet's digits.
		value, err := strconv.ParseUint(group, 10, 64)
		if err != nil || value>>(8*n) != 0 {
			return nil, fmt.Errorf("qr: %w: digits", ErrMalformed)
		}
		for i := n - 1; i >= 0; i-- {
			token = append(token, byte(value>>(8*i)))
		}
		rest = rest[qrDigits[n]:]
	}
	p, err := parseToken(token)
	if err != nil {
		return nil, err
	}
	if p.envelope.Unprotected.PQ != nil {
		return nil, fmt.Errorf("qr: %w: a post-quantum signature", ErrMalformed)
	}
	return token, nil
}

// tailBytes is how many bytes the last digits stand for; 0 if no number of bytes has so many digits.
func tailBytes(digits int) int {
	for n, d := range qrDigits {
		if d == digits {
			return n
		}
	}
	return 0
}

// symbol makes the QR code of digits.
func symbol(digits string) (*qrcode.QRCode, error) {
	q, err := qrcode.New(digits, qrcode.Medium)
	if err != nil {
		return nil, fmt.Errorf("clearance: qr: %w", err)
	}
	if q.VersionNumber > maxQRVersion {
		return nil, fmt.Errorf("clearance: qr: version %d is too large for a receipt", q.VersionNumber)
	}
	return q, nil
}

// QRText draws the QR code for a terminal, two modules to a character. Both colours are set on every line, black on white
// and with the quiet zone, because most terminals are dark and many scanners do not read an inverted code.
func QRText(digits string) (string, error) {
	q, err := symbol(digits)
	if err != nil {
		return "", err
	}
	const (
		blackOnWhite = "\x1b[38;5;16;48;5;231m" // of the fixed part of the 256 colours, which no theme changes
		reset        = "\x1b[0m"
	)
	blocks := [4]string{" ", "▄", "▀", "█"} // by the upper and the lower module
	modules := q.Bitmap()
	var out strings.Builder
	for y := 0; y < len(modules); y += 2 {
		out.WriteString(blackOnWhite)
		for x := range modules[y] {
			i := 0
			if modules[y][x] {
				i = 2
			}
			if y+1 < len(modules) && modules[y+1][x] {
				i++
			}
			out.WriteString(blocks[i])
		}
		out.WriteString(reset + "\n")
	}
	return out.String(), nil
}

// Code is the short code of a clearance: the first 40 bits of its id in Crockford's base 32, which has no letter that
// looks like a digit. It finds a clearance in a list. It proves nothing.
func Code(id [16]byte) string {
	const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	var value uint64
	for _, b := range id[:5] {
		value = value<<8 | uint64(b)
	}
	var code [8]byte
	for i := len(code) - 1; i >= 0; i-- {
		code[i] = alphabet[value&31]
		value >>= 5
	}
	return string(code[:])
}
