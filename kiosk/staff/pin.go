package staff

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// What argon2id is given. RFC 9106 section 4 asks for three passes over 64 MiB where memory is not short: that is what one PIN
// takes on a station for 0.2 to 0.4 seconds, and it looks at one at a time. One lane, because a station has other work to do.
const (
	argonTime   = 3
	argonMemory = 64 << 10 // KiB
	argonLanes  = 1
	saltBytes   = 16
	pinBytes    = 32
	badgeBytes  = 16
	pinWay      = "1" // names all of the above in a roster
)

// MinPIN and MaxPIN bound a PIN, in digits.
const (
	MinPIN = 6
	MaxPIN = 12
)

// maxBadge bounds what a badge says. Card numbers have up to 20 digits, texts on cards some more.
const maxBadge = 128

// Key is the staff key of a site. The zero Key is none.
type Key [32]byte

// NewKey makes a key.
func NewKey() (k Key, err error) {
	_, err = rand.Read(k[:])
	return k, err
}

// keyMagic opens the file of a key, which has one line.
const keyMagic = "pratique-staff-key-"

// ParseKey reads what Text wrote. Its error does not quote it.
func ParseKey(text []byte) (k Key, err error) {
	digits, found := strings.CutPrefix(strings.TrimSuffix(string(text), "\n"), keyMagic)
	data, err := hex.DecodeString(digits)
	if !found || err != nil || len(data) != len(k) || Key(data) == (Key{}) {
		return Key{}, errors.New("this is no staff key")
	}
	return Key(data), nil
}

// Text is the content of the key's file.
func (k Key) Text() []byte { return []byte(keyMagic + hex.EncodeToString(k[:]) + "\n") }

// ID names the key and says nothing of it.
func (k Key) ID() string {
	if k == (Key{}) {
		return ""
	}
	sum := sha256.Sum256(append([]byte("pratique staff key v1\x00"), k[:]...))
	return hex.EncodeToString(sum[:8])
}

func (k Key) mac(parts ...string) []byte {
	mac := hmac.New(sha256.New, k[:])
	mac.Write([]byte(strings.Join(parts, "\x00")))
	return mac.Sum(nil)
}

// Badge is what a roster holds of a badge.
func (k Key) Badge(says string) (string, error) {
	if says == "" || len(says) > maxBadge {
		return "", fmt.Errorf("a badge says 1 to %d bytes", maxBadge)
	}
	return hex.EncodeToString(k.mac("badge", says)[:badgeBytes]), nil
}

// PIN is what a roster holds of a person's PIN. One that others would try first is refused.
func (k Key) PIN(person Person, pin string) (string, error) {
	if err := checkPIN(person, pin); err != nil {
		return "", err
	}
	salt := make([]byte, saltBytes)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	return strings.Join([]string{pinWay, hex.EncodeToString(salt), hex.EncodeToString(k.slow(person.ID, pin, salt))}, ":"), nil
}

// slow is the digest of a PIN. It takes a while, on purpose.
func (k Key) slow(id, pin string, salt []byte) []byte {
	return argon2.IDKey(k.mac("pin", id, pin), salt, argonTime, argonMemory, argonLanes, pinBytes)
}

// verify reports whether a PIN is the person's. It takes the same time for every person and every PIN, also for nobody.
func (k Key) verify(p Person, pin string) bool {
	salt, want, err := parsePIN(p.PIN)
	if err != nil { // nobody, or a person without a PIN
		salt, want = make([]byte, saltBytes), make([]byte, pinBytes)
	}
	same := subtle.ConstantTimeCompare(k.slow(p.ID, pin, salt), want) == 1
	return same && err == nil && k != Key{}
}

func parsePIN(text string) (salt, digest []byte, err error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 || parts[0] != pinWay || !isHex(parts[1], saltBytes) || !isHex(parts[2], pinBytes) {
		return nil, nil, errors.New("pin: pratique staff pin did not make it")
	}
	salt, _ = hex.DecodeString(parts[1]) // isHex has seen both
	digest, _ = hex.DecodeString(parts[2])
	return salt, digest, nil
}

// checkPIN refuses what is tried first: one digit over and over, digits in a row, and the person's own number.
func checkPIN(p Person, pin string) error {
	if len(pin) < MinPIN || len(pin) > MaxPIN || !isDigits(pin) {
		return fmt.Errorf("a PIN has %d to %d digits", MinPIN, MaxPIN)
	}
	for _, step := range []byte{0, 1, 255} { // 255 is one down
		row := true
		for i := 1; i < len(pin); i++ {
			row = row && pin[i]-pin[i-1] == step
		}
		if row {
			return errors.New("this PIN is too easy to guess: its digits are in a row")
		}
	}
	if p.Number != "" && (strings.Contains(pin, p.Number) || strings.Contains(p.Number, pin)) {
		return errors.New("this PIN is too easy to guess: the person's number is in it")
	}
	return nil
}
