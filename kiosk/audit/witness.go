package audit

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A witness is an auditor with a key of their own, on a machine of their own. It remembers the last checkpoint of a log that
// it saw, and signs a later one only if that continues it: then the station cannot show another history to anybody who asks
// for the witness's signature. Its signature is a cosignature/v1 of C2SP (https://c2sp.org/tlog-cosignature), what it is asked
// with is the body of an add-checkpoint request (https://c2sp.org/tlog-witness): a line "old N", the hashes of a consistency
// proof in base64, an empty line, the checkpoint.

// cosignatureType is the signature type of cosignature/v1 in key ids and key texts.
const cosignatureType = 0x04

// maxProof bounds the hashes of a consistency proof (https://c2sp.org/tlog-witness: at most 63).
const maxProof = 63

// GenerateWitness makes a witness's key, in the text forms of package note.
func GenerateWitness(name string) (private, public string, err error) {
	if !validOrigin(name) {
		return "", "", fmt.Errorf("%q cannot be a witness's name", name)
	}
	key, seed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", err
	}
	public = witnessText(name, key)
	return fmt.Sprintf("PRIVATE+KEY+%s+%08x+", name, witnessHash(name, key)) +
		base64.StdEncoding.EncodeToString(append([]byte{cosignatureType}, seed.Seed()...)), public, nil
}

func witnessText(name string, key ed25519.PublicKey) string {
	return fmt.Sprintf("%s+%08x+%s", name, witnessHash(name, key), base64.StdEncoding.EncodeToString(append([]byte{cosignatureType}, key...)))
}

func witnessHash(name string, key ed25519.PublicKey) uint32 {
	h := sha256.New()
	h.Write([]byte(name + "\n"))
	h.Write([]byte{cosignatureType})
	h.Write(key)
	return binary.BigEndian.Uint32(h.Sum(nil))
}

// Witness checks cosignatures of one key. It is a note.Verifier.
type Witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

// ParseWitness reads the public key of a witness.
func ParseWitness(text string) (*Witness, error) {
	name, rest, _ := strings.Cut(text, "+")
	hash, data, _ := strings.Cut(rest, "+")
	key, err := base64.StdEncoding.Strict().DecodeString(data)
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != cosignatureType || !validOrigin(name) {
		return nil, errors.New("it is no key of a witness")
	}
	w := &Witness{name, witnessHash(name, key[1:]), key[1:]}
	if hash != fmt.Sprintf("%08x", w.hash) {
		return nil, errors.New("it is no key of a witness: its hash is wrong")
	}
	return w, nil
}

// Name returns the witness's name.
func (w *Witness) Name() string { return w.name }

// KeyHash returns the key's id.
func (w *Witness) KeyHash() uint32 { return w.hash }

// Verify reports whether sig is a cosignature of a checkpoint's text.
func (w *Witness) Verify(text, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	at := binary.BigEndian.Uint64(sig)
	return at <= math.MaxInt64 && ed25519.Verify(w.key, cosigned(at, text), sig[8:])
}

// cosigned is what a cosignature signs.
func cosigned(at uint64, text []byte) []byte {
	return append([]byte("cosignature/v1\ntime "+strconv.FormatUint(at, 10)+"\n"), text...)
}

// cosigner signs as a witness. It is a note.Signer.
type cosigner struct {
	*Witness
	private ed25519.PrivateKey
	at      time.Time
}

func (c cosigner) Sign(text []byte) ([]byte, error) {
	at := c.at.Unix()
	if at <= 0 {
		return nil, errors.New("a clock before 1970")
	}
	return append(binary.BigEndian.AppendUint64(nil, uint64(at)), ed25519.Sign(c.private, cosigned(uint64(at), text))...), nil
}

// parseCosigner reads a private key.
func parseCosigner(private string, at time.Time) (cosigner, error) {
	bad := errors.New("the witness's key is malformed")
	fields := strings.SplitN(strings.TrimSpace(private), "+", 5)
	if len(fields) != 5 || fields[0] != "PRIVATE" || fields[1] != "KEY" || !validOrigin(fields[2]) {
		return cosigner{}, bad
	}
	seed, err := base64.StdEncoding.Strict().DecodeString(fields[4])
	if err != nil || len(seed) != 1+ed25519.SeedSize || seed[0] != cosignatureType {
		return cosigner{}, bad
	}
	key := ed25519.NewKeyFromSeed(seed[1:])
	public := key.Public().(ed25519.PublicKey)
	w := &Witness{fields[2], witnessHash(fields[2], public), public}
	if fields[3] != fmt.Sprintf("%08x", w.hash) {
		return cosigner{}, bad
	}
	return cosigner{w, key, at}, nil
}

// WitnessRequest returns what a witness is asked with: the log's checkpoint as it is now, and the proof that it continues the
// one of old entries, which is the last that the witness saw; 0 if it saw none.
func (r *Reader) WitnessRequest(ctx context.Context, old int64) (string, error) {
	var out strings.Builder
	err := r.snapshot(ctx, func(q querier) error {
		head, signed, err := r.tail(ctx, q)
		switch {
		case err != nil:
			return err
		case old < 0 || old > head.Size:
			return fmt.Errorf("the witness saw %d entries, and the log has %d", old, head.Size)
		}
		var proof tlog.TreeProof
		if old > 0 && old < head.Size {
			if proof, err = tlog.ProveTree(head.Size, old, storedHashes(ctx, q)); err != nil {
				return err
			}
		}
		fmt.Fprintf(&out, "old %d\n", old)
		for _, h := range proof {
			out.WriteString(base64.StdEncoding.EncodeToString(h[:]) + "\n")
		}
		out.WriteString("\n" + signed)
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("ask a witness: %w", err)
	}
	return out.String(), nil
}

// Cosign is the witness's side. seen is the last checkpoint that it cosigned of this log, empty if there is none; the result
// is the new checkpoint with its signature added, which the witness keeps as the next seen and hands back. It signs only what
// continues seen: a *Broken says that the log does not.
func Cosign(request, seen, private, origin string, keys note.Verifiers, now time.Time) (string, error) {
	signer, err := parseCosigner(private, now)
	if err != nil {
		return "", err
	}
	old, proof, signed, err := parseRequest(request)
	if err != nil {
		return "", err
	}
	head, err := ParseCheckpoint(signed, origin, keys)
	if err != nil {
		return "", &Broken{-1, "the checkpoint: " + err.Error()}
	}
	var before Head
	if seen != "" {
		if before, err = ParseCheckpoint(seen, origin, keys); err != nil {
			return "", fmt.Errorf("the checkpoint that was cosigned last: %w", err)
		}
		// Kept where others may write, it could be an older one, but not one that was never cosigned.
		if err := signer.signed(seen); err != nil {
			return "", fmt.Errorf("the checkpoint that was cosigned last: %w", err)
		}
	}
	switch {
	case head.Size < before.Size:
		return "", &Broken{head.Size, fmt.Sprintf("it is missing: %d entries were cosigned before", before.Size)}
	case head.Size == before.Size && seen != "" && head.Root != before.Root:
		return "", &Broken{head.Size - 1, "history was rewritten: another root was cosigned for as many entries"}
	case old != before.Size && !(head.Size == before.Size):
		return "", fmt.Errorf("the proof begins at %d entries, and %d were cosigned last: ask for one from there", old, before.Size)
	}
	if before.Size > 0 && head.Size > before.Size && tlog.CheckTree(proof, head.Size, head.Root, before.Size, before.Root) != nil {
		return "", &Broken{before.Size - 1, fmt.Sprintf("history was rewritten: the log does not continue the %d entries that were cosigned before", before.Size)}
	}
	n, err := note.Open([]byte(signed), keys)
	if err != nil {
		return "", err
	}
	n.UnverifiedSigs = nil // what others have signed is theirs to hand over
	out, err := note.Sign(n, signer)
	return string(out), err
}

// signed checks that a checkpoint has this witness's signature.
func (w *Witness) signed(checkpoint string) error {
	_, err := note.Open([]byte(checkpoint), note.VerifierList(w))
	if err != nil {
		return fmt.Errorf("it has no signature of the witness %s that holds", w.name)
	}
	return nil
}

func parseRequest(text string) (old int64, proof tlog.TreeProof, signed string, err error) {
	bad := func(what string) (int64, tlog.TreeProof, string, error) {
		return 0, nil, "", fmt.Errorf("it is no request to a witness: %s", what)
	}
	if len(text) > maxNote+64*maxProof {
		return bad("it is too long")
	}
	head, signed, found := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	number, isOld := strings.CutPrefix(lines[0], "old ")
	old, err = strconv.ParseInt(number, 10, 64)
	if !found || !isOld || err != nil || old < 0 || strconv.FormatInt(old, 10) != number || len(lines) > 1+maxProof {
		return bad("its first line is not \"old\" and a number")
	}
	for _, line := range lines[1:] {
		h, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(h) != tlog.HashSize {
			return bad("a hash is malformed")
		}
		proof = append(proof, tlog.Hash(h))
	}
	return old, proof, signed, nil
}

// Cosignature is a witness's signature of a tree head that the log has.
type Cosignature struct {
	Head
	Witness string    `json:"witness"`
	At      time.Time `json:"at"`
	Note    string    `json:"-"` // the checkpoint, with the station's signature and the witness's
}

// ParseCosigned checks a checkpoint that a witness has cosigned.
func ParseCosigned(signed, origin string, keys note.Verifiers, witness *Witness) (Cosignature, error) {
	head, err := ParseCheckpoint(signed, origin, keys)
	if err != nil {
		return Cosignature{}, err
	}
	n, err := note.Open([]byte(signed), note.VerifierList(witness))
	if err != nil {
		return Cosignature{}, fmt.Errorf("it has no signature of the witness %s that holds", witness.name)
	}
	sig, err := base64.StdEncoding.Strict().DecodeString(n.Sigs[0].Base64)
	if err != nil || len(sig) < 12 {
		return Cosignature{}, errors.New("the witness's signature is malformed")
	}
	at := binary.BigEndian.Uint64(sig[4:]) // behind the key's id
	return Cosignature{head, witness.name, time.Unix(int64(at), 0).UTC(), signed}, nil
}

// AddCosignature stores a checkpoint that a witness has signed, once it is known to be one of this log. The caller tells the
// log.
func (l *Log) AddCosignature(ctx context.Context, signed string, witnesses []*Witness) (Cosignature, error) {
	w, err := knownWitness(signed, witnesses)
	if err != nil {
		return Cosignature{}, fmt.Errorf("the cosigned checkpoint: %w", err)
	}
	c, err := ParseCosigned(signed, l.origin, l.keys, w)
	if err != nil {
		return Cosignature{}, fmt.Errorf("the cosigned checkpoint: %w", err)
	}
	span, err := l.Span(ctx, 0, max(c.Size, 1))
	if err != nil {
		return Cosignature{}, fmt.Errorf("the cosigned checkpoint: %w", err)
	}
	if h, err := ParseCheckpoint(span.Checkpoint, l.origin, l.keys); err != nil || h != c.Head {
		return Cosignature{}, fmt.Errorf("the cosigned checkpoint: %w", &Broken{c.Size - 1, "the witness saw another history of this log"})
	}
	tx, err := l.w.BeginTx(ctx, nil)
	if err != nil {
		return Cosignature{}, classify(err)
	}
	defer tx.Rollback()
	_, err = tx.ExecContext(ctx, "INSERT INTO cosignature(size, witness, note) VALUES(?, ?, ?) ON CONFLICT DO NOTHING", c.Size, c.Witness, signed)
	if err != nil {
		return Cosignature{}, classify(err)
	}
	return c, classify(tx.Commit())
}

// maxCosignatures bounds what is read of them: one a day for a century.
const maxCosignatures = 40_000

// Cosigned returns the checkpoints that witnesses have signed, oldest first. Their signatures are checked where they are used.
func (r *Reader) Cosigned(ctx context.Context) (notes []string, err error) {
	rows, err := r.db.QueryContext(ctx, "SELECT note FROM cosignature ORDER BY size, witness LIMIT ?", maxCosignatures)
	if err != nil {
		return nil, fmt.Errorf("cosigned checkpoints: %w", classify(err))
	}
	defer rows.Close()
	for rows.Next() {
		var signed string
		if err := rows.Scan(&signed); err != nil {
			return nil, fmt.Errorf("cosigned checkpoints: %w", classify(err))
		}
		notes = append(notes, signed)
	}
	return notes, classify(rows.Err())
}

// loadCosigned makes the stored checkpoints of witnesses heads that the entries are held against, and checks the signatures of
// those witnesses that the reader trusts.
func (v *verifier) loadCosigned(ctx context.Context, trusted []*Witness) error {
	if v.version < 2 {
		return nil
	}
	rows, err := v.q.QueryContext(ctx, "SELECT size, witness, note FROM cosignature ORDER BY size, witness LIMIT ?", maxCosignatures)
	if err != nil {
		return classify(err)
	}
	defer rows.Close()
	for rows.Next() {
		var size int64
		var name, signed string
		if err := rows.Scan(&size, &name, &signed); err != nil {
			return classify(err)
		}
		h, err := ParseCheckpoint(signed, v.r.origin, v.r.keys)
		if err == nil && h.Size != size {
			err = fmt.Errorf("it says %d", h.Size)
		}
		if err != nil {
			return &Broken{size - 1, fmt.Sprintf("the cosigned checkpoint of %d entries: %v", size, err)}
		}
		v.heads = append(v.heads, h)
		for _, w := range trusted {
			if w.name != name {
				continue
			}
			if err := w.signed(signed); err != nil {
				return &Broken{size - 1, fmt.Sprintf("the cosigned checkpoint of %d entries: %v", size, err)}
			}
			v.res.Cosigned++
			v.res.CosignedTo = max(v.res.CosignedTo, size)
		}
	}
	return classify(rows.Err())
}

// knownWitness returns the witness whose signature a checkpoint bears.
func knownWitness(signed string, witnesses []*Witness) (*Witness, error) {
	i := slices.IndexFunc(witnesses, func(w *Witness) bool { return w.signed(signed) == nil })
	if i < 0 {
		return nil, errors.New("no witness that is trusted has signed it")
	}
	return witnesses[i], nil
}
