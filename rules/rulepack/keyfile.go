package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/crypto/scrypt"

	"pratique/rules/pack"
)

// A key is two text files. The public one goes to whoever makes the repository:
//
//	pratique rule key v1 public
//	name Dora Smith
//	public HEX          Ed25519, 32 bytes
//
// The private one stays with its owner, and is of no use without the passphrase:
//
//	pratique rule key v1 private
//	name Dora Smith
//	public HEX
//	salt HEX            16 bytes
//	sealed HEX          AES-256-GCM of the 32 bytes of seed, under scrypt(passphrase, salt); the lines above are
//	                    authenticated with it. The nonce is zero: a salt, and so a key, is used once.
const (
	publicHead  = "pratique rule key v1 public"
	privateHead = "pratique rule key v1 private"
	maxKeyFile  = 4 << 10 // a real one has 400 bytes
)

// scryptN costs 128 MB and some half a second for each guess. It is fixed by the version in the first line: a number in the
// file could ask for all memory.
const (
	scryptN = 1 << 17
	scryptR = 8
	scryptP = 1
)

// minPassphrase keeps a stolen file from being opened by trying short words.
const minPassphrase = 12

var (
	errPassphrase = errors.New("the passphrase does not open this key, or the file was changed")
	errKeyFile    = errors.New("not a key file that rulepack wrote")
)

// fileKey is a private key out of a file. It is a pack.Signer.
type fileKey struct {
	pack.Key
	private ed25519.PrivateKey
}

// Sign signs with Ed25519.
func (k *fileKey) Sign(message []byte) ([]byte, error) { return ed25519.Sign(k.private, message), nil }

// newKey makes a key and its two files.
func newKey(name string, passphrase []byte) (public, private []byte, err error) {
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, nil, err
	}
	salt := make([]byte, 16)
	if _, err := rand.Read(salt); err != nil {
		return nil, nil, err
	}
	public = publicFile(pack.Key{Name: name, Public: pub})
	head := fmt.Sprintf("%s\nname %s\npublic %x\nsalt %x\n", privateHead, name, pub, salt)
	gcm, err := sealer(passphrase, salt)
	if err != nil {
		return nil, nil, err
	}
	sealed := gcm.Seal(nil, make([]byte, gcm.NonceSize()), key.Seed(), []byte(head))
	private = fmt.Appendf(nil, "%ssealed %x\n", head, sealed)
	if _, err := parsePublic(public); err != nil {
		return nil, nil, fmt.Errorf("the name %q cannot be written into a key: %w", name, err)
	}
	return public, private, nil
}

// publicFile is the file that goes to whoever makes the repository.
func publicFile(k pack.Key) []byte {
	return fmt.Appendf(nil, "%s\nname %s\npublic %x\n", publicHead, k.Name, k.Public)
}

func sealer(passphrase, salt []byte) (cipher.AEAD, error) {
	key, err := scrypt.Key(passphrase, salt, scryptN, scryptR, scryptP, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// fields reads the lines of a key file: a first line, and then these words in this order, each with a value.
func fields(data []byte, head string, words ...string) ([]string, error) {
	text, ok := strings.CutSuffix(string(data), "\n")
	lines := strings.Split(text, "\n")
	if !ok || len(data) > maxKeyFile || lines[0] != head || len(lines) != len(words)+1 {
		return nil, errKeyFile
	}
	var values []string
	for i, word := range words {
		value, ok := strings.CutPrefix(lines[i+1], word+" ")
		if !ok || value == "" || strings.TrimSpace(value) != value {
			return nil, errKeyFile
		}
		values = append(values, value)
	}
	return values, nil
}

// unhex takes small letters only, so that a file has one spelling.
func unhex(text string, size int) ([]byte, error) {
	data, err := hex.DecodeString(text)
	if err != nil || len(data) != size || hex.EncodeToString(data) != text {
		return nil, errKeyFile
	}
	return data, nil
}

func parsePublic(data []byte) (pack.Key, error) {
	v, err := fields(data, publicHead, "name", "public")
	if err != nil {
		return pack.Key{}, err
	}
	return keyOf(v[0], v[1])
}

func keyOf(name, public string) (pack.Key, error) {
	pub, err := unhex(public, ed25519.PublicKeySize)
	if err != nil {
		return pack.Key{}, err
	}
	key := pack.Key{Name: name, Public: pub}
	return key, key.Check()
}

// parsePrivate opens a private key. Its errors never quote the file.
func parsePrivate(data, passphrase []byte) (*fileKey, error) {
	v, err := fields(data, privateHead, "name", "public", "salt", "sealed")
	if err != nil {
		return nil, err
	}
	key, err := keyOf(v[0], v[1])
	if err != nil {
		return nil, err
	}
	salt, err := unhex(v[2], 16)
	if err != nil {
		return nil, err
	}
	sealed, err := unhex(v[3], ed25519.SeedSize+16)
	if err != nil {
		return nil, err
	}
	gcm, err := sealer(passphrase, salt)
	if err != nil {
		return nil, err
	}
	head := data[:bytes.LastIndex(data, []byte("sealed "))]
	seed, err := gcm.Open(nil, make([]byte, gcm.NonceSize()), sealed, head)
	if err != nil {
		return nil, errPassphrase
	}
	private := ed25519.NewKeyFromSeed(seed)
	if !key.Public.Equal(private.Public()) {
		return nil, errKeyFile
	}
	return &fileKey{key, private}, nil
}

// readSmall reads a file that a person was given.
func readSmall(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return data, err
}
