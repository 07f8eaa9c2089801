package clearance

import (
	"fmt"
	"slices"
	"time"
)

const (
	// MaxSkew is how far the station's clock may be ahead of the verifier's.
	MaxSkew = 5 * time.Minute
	// MaxTrustAge is how old a trust file may be before what it says about revocation counts as unknown.
	MaxTrustAge = 30 * 24 * time.Hour
)

// Reason is why a verification ended as it did. The zero value refuses.
type Reason uint8

// The reasons, in the order in which they are looked for.
const (
	NotVerified   Reason = iota // something was missing: no trust file, or the content was not compared
	Forged                      // structure, signature or manifest is not right
	Demonstration               // signed by a demonstration key
	UnknownIssuer               // the trust file does not know the station
	Revoked                     // the key, the clearance or the rules have been taken back
	OutOfTime                   // expired, not yet valid, or issued outside the key's life
	Overridden                  // an override token
	WrongClass                  // not for this equipment
	WrongMedium                 // not the medium that was cleared
	Altered                     // the content is not what was cleared
	Unfresh                     // all that could be checked is right, but not everything could be
	Valid
	reasonEnd
)

var reasonExits = [reasonEnd]int{1, 9, 8, 7, 6, 5, 11, 4, 10, 3, 12, 0}

// Exit is the exit code that stands for the reason. Only Valid has 0.
func (r Reason) Exit() int {
	if r < reasonEnd {
		return reasonExits[r]
	}
	return reasonExits[NotVerified]
}

var reasonWords = [reasonEnd]string{"not verified", "forged or malformed", "demonstration key", "unknown issuer", "revoked", "expired or not yet valid",
	"override", "wrong equipment class", "wrong medium", "altered", "valid, but not everything could be checked", "valid"}

// String returns the words for the reason.
func (r Reason) String() string {
	if r < reasonEnd {
		return reasonWords[r]
	}
	return reasonWords[NotVerified]
}

// Verification is what a verdict on a token is taken from.
type Verification struct {
	Token         []byte
	FromQR        bool   // the token came as digits, where it has no post-quantum signature
	Trust         *Trust // as ParseTrust returned it
	Class         string // the verifier's equipment class; empty if it does not say
	AllowDemo     bool
	AllowOverride bool
	Now           time.Time
	NotBefore     time.Time // the verifier knows that it is not earlier than this
	Manifest      *Manifest // as ReadManifest returned it, or nil
	Medium        *Medium   // what the verifier can tell of the medium, or nil; zero fields are unknown
	// Comparison is the answer of Compare. Without it the best reason is NotVerified, with Claims set: that is the moment
	// to read the medium, and then to ask again.
	Comparison *Comparison
}

// Result is the answer.
type Result struct {
	Reason Reason
	Text   string // one plain sentence
	// Claims is set once the signature is proved, whatever the reason.
	Claims *Claims
}

// Verify makes every check in one fixed order and returns the first that fails. It is pure: the same question has the same
// answer.
func Verify(v Verification) Result {
	if v.Trust == nil || v.Trust.payload == nil {
		return Result{Reason: NotVerified, Text: "There is no trust file to check it with."}
	}
	token, err := parseToken(v.Token)
	if err != nil {
		return Result{Reason: Forged, Text: "This is not a clearance that any station wrote, or it was changed."}
	}
	if (token.header.Demo || v.Trust.Demo) && !v.AllowDemo {
		return Result{Reason: Demonstration, Text: "It was signed by a demonstration key, which proves nothing."}
	}
	key, known := v.Trust.station(token.header.Kid)
	if !known || key.Issuer != token.claims.Issuer || token.header.Demo != v.Trust.Demo {
		return Result{Reason: UnknownIssuer, Text: "The trust file does not know the station that it claims to be from."}
	}
	if err := token.verify(key, !v.FromQR || !v.Trust.QRWithout); err != nil {
		return Result{Reason: Forged, Text: "A signature is wrong or missing."}
	}
	c := token.claims
	refuse := func(r Reason, text string, args ...any) Result { return Result{r, fmt.Sprintf(text, args...), &c} }

	if v.Manifest != nil {
		if content, sealed := v.Manifest.Content(); !sealed || v.Manifest.id != c.ID || content != c.Content {
			return refuse(Forged, "The manifest does not belong to this clearance, or it was changed.")
		}
	}
	if text := v.revoked(&c, key); text != "" {
		return refuse(Revoked, "%s", text)
	}
	if text := v.outOfTime(&c, key); text != "" {
		return refuse(OutOfTime, "%s", text)
	}
	if c.Override != nil && !v.AllowOverride {
		return refuse(Overridden, "Two persons let this medium through although it was not cleared by the scan (%s).", c.Override.Reason)
	}
	if v.Class != "" && !slices.Contains(c.Audience, v.Class) {
		return refuse(WrongClass, "It was not cleared for equipment of class %s.", v.Class)
	}
	if v.Medium != nil && !sameMedium(c.Medium, *v.Medium) {
		return refuse(WrongMedium, "This is not the medium that was cleared.")
	}
	switch {
	case v.Comparison == nil:
		return refuse(NotVerified, "The content was not compared.")
	case !v.Comparison.Equal:
		return refuse(Altered, "The content is not what was cleared.")
	case v.Comparison.StreamsUnchecked > 0:
		return refuse(Unfresh, "The files are what was cleared; %d alternate data streams cannot be seen from here.", v.Comparison.StreamsUnchecked)
	case v.now().Sub(v.Trust.Issued) > MaxTrustAge:
		return refuse(Unfresh, "The content is what was cleared, but the trust file is older than %d days: the clearance may have been taken back since.", MaxTrustAge/(24*time.Hour))
	}
	if c.Override != nil {
		return refuse(Valid, "valid until %s by OVERRIDE: the scan did not clear it, two persons let it through (%s)", c.Expires.Format(time.RFC3339), c.Override.Reason)
	}
	return refuse(Valid, "valid until %s", c.Expires.Format(time.RFC3339))
}

// now is the time, as late as the verifier knows it to be: a clock that was set back does not make an old token good.
func (v *Verification) now() time.Time {
	now := v.Now
	for _, floor := range []time.Time{v.NotBefore, v.Trust.Issued} {
		if floor.After(now) {
			now = floor
		}
	}
	return now
}

// revoked says why a clearance has been taken back, or nothing.
func (v *Verification) revoked(c *Claims, key StationKey) string {
	switch {
	case key.RevokedFromLog != nil && *c.LogIndex >= *key.RevokedFromLog:
		return "The station's key has been taken back."
	case slices.Contains(v.Trust.Revoked, c.ID):
		return "This clearance has been taken back."
	case c.Rules.Version < v.Trust.MinRules[c.Rules.Name]:
		return "The rules that it was scanned with are no longer good enough; it must be scanned again."
	}
	return ""
}

func (v *Verification) outOfTime(c *Claims, key StationKey) string {
	now := v.now()
	switch {
	case !now.Before(c.Expires):
		return fmt.Sprintf("It expired at %s.", c.Expires.Format(time.RFC3339))
	case c.IssuedAt.After(now.Add(MaxSkew)):
		return fmt.Sprintf("It is not valid before %s; is this clock right?", c.IssuedAt.Format(time.RFC3339))
	case c.IssuedAt.Before(key.NotBefore) || c.IssuedAt.After(key.NotAfter):
		return "The station's key was not valid when it was issued."
	}
	return ""
}

// sameMedium compares what both sides know.
func sameMedium(cleared, seen Medium) bool {
	return (seen.Sectors == 0 || cleared.Sectors == seen.Sectors) &&
		(cleared.VID == 0 && cleared.PID == 0 || seen.VID == 0 && seen.PID == 0 || cleared.VID == seen.VID && cleared.PID == seen.PID) &&
		(cleared.Serial == [16]byte{} || seen.Serial == [16]byte{} || cleared.Serial == seen.Serial)
}
