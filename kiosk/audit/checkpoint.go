package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// maxNote bounds a checkpoint: three lines and a few signatures, with room for post-quantum ones.
const maxNote = 16 << 10

// emptyRoot is the root of a tree without leaves (RFC 6962 section 2.1).
var emptyRoot = tlog.Hash(sha256.Sum256(nil))

// Head is a tree head: how many entries there are, and their root.
type Head struct {
	Size int64     `json:"size"`
	Root tlog.Hash `json:"root"`
}

// GenerateKey makes an Ed25519 key for a log's checkpoints, in the text forms of package note. The private form is a
// secret; the caller keeps it in a file that only its owner may read.
func GenerateKey(origin string) (private, public string, err error) {
	if !validOrigin(origin) {
		return "", "", fmt.Errorf("%q cannot be a log's name", origin)
	}
	return note.GenerateKey(rand.Reader, origin)
}

// ParseKey returns what signs with a private key, and the public key's text form, for note.NewVerifier.
func ParseKey(private string) (signer note.Signer, public string, err error) {
	signer, err = note.NewSigner(private)
	if err != nil {
		return nil, "", errors.New("the log's key is malformed")
	}
	// note.NewSigner has checked the form: PRIVATE+KEY+name+hash+base64(algorithm, seed), where base64 has '+' too.
	fields := strings.SplitN(private, "+", 5)
	secret, err := base64.StdEncoding.DecodeString(fields[len(fields)-1])
	if err != nil || len(secret) != 1+ed25519.SeedSize {
		return nil, "", errors.New("the log's key is malformed")
	}
	key := ed25519.NewKeyFromSeed(secret[1:]).Public().(ed25519.PublicKey)
	public, err = note.NewEd25519VerifierKey(signer.Name(), key)
	return signer, public, err
}

// validOrigin: what package note takes as a key's name.
func validOrigin(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsFunc(s, unicode.IsSpace) && !strings.Contains(s, "+") &&
		strings.ToValidUTF8(s, "") == s
}

// signHead writes and signs a checkpoint.
func signHead(opts Options, h Head) (string, error) {
	text := opts.Origin + "\n" + strconv.FormatInt(h.Size, 10) + "\n" + base64.StdEncoding.EncodeToString(h.Root[:]) + "\n"
	return signText(opts, text)
}

func signText(opts Options, text string) (string, error) {
	signed, err := note.Sign(&note.Note{Text: text}, opts.Signer)
	if err != nil {
		return "", fmt.Errorf("sign checkpoint: %w", err)
	}
	return string(signed), nil
}

// ParseCheckpoint checks a checkpoint's signature and returns the tree head that it signs.
func ParseCheckpoint(signed, origin string, keys note.Verifiers) (Head, error) {
	if len(signed) > maxNote {
		return Head{}, fmt.Errorf("checkpoint of %d bytes", len(signed))
	}
	n, err := note.Open([]byte(signed), keys)
	if err != nil {
		var unknown *note.UnverifiedNoteError
		if errors.As(err, &unknown) {
			return Head{}, errors.New("its signature is by no key that is trusted for this log")
		}
		return Head{}, errors.New("its signature does not hold")
	}
	for _, sig := range n.Sigs { // package note lets the spare bits of base64 vary
		if _, err := base64.StdEncoding.Strict().DecodeString(sig.Base64); err != nil {
			return Head{}, errors.New("its signature is malformed")
		}
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return Head{}, errors.New("it does not have three lines")
	}
	if lines[0] != origin {
		return Head{}, errors.New("it belongs to another log")
	}
	var h Head
	h.Size, err = strconv.ParseInt(lines[1], 10, 64)
	if err != nil || h.Size < 0 || strconv.FormatInt(h.Size, 10) != lines[1] {
		return Head{}, errors.New("its size is malformed")
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize || base64.StdEncoding.EncodeToString(root) != lines[2] {
		return Head{}, errors.New("its root is malformed")
	}
	copy(h.Root[:], root)
	return h, nil
}

// addCheckpoint signs a head and stores it. Other processes wait meanwhile: a signer that takes long, such as a security
// module, needs a checkpoint for several entries instead, and Verify to allow for it.
func addCheckpoint(ctx context.Context, tx *sql.Tx, opts Options, h Head) error {
	signed, err := signHead(opts, h)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO checkpoint(size, note) VALUES(?, ?)", h.Size, signed)
	return classify(err)
}

// Checkpoint returns the signed head of the log as it is now. Every Append has stored one, so this only reads.
func (r *Reader) Checkpoint(ctx context.Context) (string, error) {
	var signed string
	err := r.snapshot(ctx, func(q querier) error {
		_, s, err := r.tail(ctx, q)
		signed = s
		return err
	})
	return signed, err
}

// Head returns the tree head, after holding it against the last checkpoint.
func (r *Reader) Head(ctx context.Context) (Head, error) {
	var h Head
	err := r.snapshot(ctx, func(q querier) (err error) {
		h, _, err = r.tail(ctx, q)
		return err
	})
	return h, err
}

// Size returns the number of entries.
func (r *Reader) Size(ctx context.Context) (int64, error) {
	h, err := r.Head(ctx)
	return h.Size, err
}

// checkTail is Open's check.
func (r *Reader) checkTail(ctx context.Context) error {
	_, err := r.Head(ctx)
	return err
}

// tail reads the end of the log and holds it together: the last leaf is under the stored hashes, their root and size are
// those of the last checkpoint, and its signature is by a known key. It costs about twice log2(size) look-ups. Nothing
// is ever appended to a log that fails it, or else the signer would vouch for a history that somebody changed.
func (r *Reader) tail(ctx context.Context, q querier) (Head, string, error) {
	var h Head
	var hashes, signedSize int64
	var signed string
	row := q.QueryRowContext(ctx, "SELECT (SELECT coalesce(max(idx) + 1, 0) FROM entry), "+
		"(SELECT coalesce(max(idx) + 1, 0) FROM hash)")
	if err := row.Scan(&h.Size, &hashes); err != nil {
		return Head{}, "", classify(err)
	}
	row = q.QueryRowContext(ctx, "SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1")
	switch err := row.Scan(&signedSize, &signed); {
	case errors.Is(err, sql.ErrNoRows):
		return Head{}, "", &Broken{-1, "the log has no checkpoint"}
	case err != nil:
		return Head{}, "", classify(err)
	}
	head, err := ParseCheckpoint(signed, r.origin, r.keys)
	switch {
	case err != nil:
		return Head{}, "", &Broken{signedSize - 1, fmt.Sprintf("the checkpoint of %d entries: %v", signedSize, err)}
	case head.Size != signedSize:
		return Head{}, "", &Broken{signedSize - 1, fmt.Sprintf("the checkpoint of %d entries is filed under %d", head.Size, signedSize)}
	case h.Size < head.Size:
		return Head{}, "", &Broken{h.Size, fmt.Sprintf("it is missing: the checkpoint has %d entries", head.Size)}
	case h.Size > head.Size:
		return Head{}, "", &Broken{head.Size, "no checkpoint covers it"}
	case hashes != tlog.StoredHashCount(h.Size):
		what := fmt.Sprintf("the log has %d stored hashes where %d belong", hashes, tlog.StoredHashCount(h.Size))
		return Head{}, "", &Broken{h.Size - 1, what}
	}
	h.Root, err = tlog.TreeHash(h.Size, storedHashes(ctx, q))
	if err != nil {
		return Head{}, "", err
	}
	if h.Root != head.Root {
		return Head{}, "", &Broken{h.Size - 1, "the stored hashes do not match the last checkpoint"}
	}
	if h.Size > 0 {
		if err := checkLast(ctx, q, h.Size-1); err != nil {
			return Head{}, "", err
		}
	}
	return h, signed, nil
}

func checkLast(ctx context.Context, q querier, idx int64) error {
	var leaf, stored []byte
	row := q.QueryRowContext(ctx, "SELECT leaf, (SELECT hash FROM hash WHERE idx = ?2) FROM entry WHERE idx = ?1",
		idx, tlog.StoredHashIndex(0, idx))
	if err := row.Scan(&leaf, &stored); err != nil {
		return classify(err)
	}
	if want := tlog.RecordHash(leaf); !bytes.Equal(want[:], stored) {
		return &Broken{idx, "leaf does not match the tree"}
	}
	return nil
}

// storedHashes reads the table hash.
func storedHashes(ctx context.Context, q querier) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, idx := range indexes {
			var b []byte
			switch err := q.QueryRowContext(ctx, "SELECT hash FROM hash WHERE idx = ?", idx).Scan(&b); {
			case errors.Is(err, sql.ErrNoRows) || err == nil && len(b) != tlog.HashSize:
				_, n := tlog.SplitStoredHashIndex(idx)
				return nil, &Broken{n, fmt.Sprintf("stored hash %d is missing", idx)}
			case err != nil:
				return nil, classify(err)
			}
			copy(out[i][:], b)
		}
		return out, nil
	})
}
