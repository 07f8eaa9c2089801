package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

var writeVectors = flag.Bool("write-vectors", false, "write testdata/vectors/checkpoint.json anew")

// checkpointVectors are the leaves of a small log and what may be said about it.
type checkpointVectors struct {
	Comment string           `json:"comment"`
	Leaves  []string         `json:"leaves"` // hex
	Cases   []checkpointCase `json:"cases"`
}

type checkpointCase struct {
	Name string `json:"name"`
	Key  string `json:"key"` // of who is believed
	Text string `json:"text"`
	Exit int    `json:"exit"` // 0: these leaves and no others; 9: forged, malformed, or of another log
}

// vectorSigner is a log's key that is made of one byte.
func vectorSigner(t testing.TB, name string, b byte) (note.Signer, string) {
	t.Helper()
	seed := bytes.Repeat([]byte{b}, ed25519.SeedSize)
	public, err := note.NewEd25519VerifierKey(name, ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	hash := strings.Split(public, "+")[1]
	signer, err := note.NewSigner("PRIVATE+KEY+" + name + "+" + hash + "+" + base64.StdEncoding.EncodeToString(append([]byte{1}, seed...)))
	if err != nil {
		t.Fatal(err)
	}
	return signer, public
}

func makeCheckpointVectors(t testing.TB) *checkpointVectors {
	t.Helper()
	v := &checkpointVectors{Comment: "The leaves of a log and signed checkpoints of it; package kiosk/audit is the specification. " +
		"Made by go test ./kiosk/audit -run TestT16_CheckpointVectors -write-vectors. The keys are test keys, known to everybody."}
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for i, ev := range []Event{{ID{1}, Attached{Source: Image, Bytes: 4096, SectorSize: 512}}, {ID{1}, Aborted{"crashed"}}, {ID{}, Administered{"trust-installed", Pseudonym{1}, "", 7, Digest{2}}}} {
		leaf, err := encodeLeaf(ev, at.Add(time.Duration(i)*time.Second), 0)
		if err != nil {
			t.Fatal(err)
		}
		v.Leaves = append(v.Leaves, hex.EncodeToString(leaf))
	}
	root := v.root(t)
	mine, key := vectorSigner(t, "kiosk-1/log", 1)
	other, _ := vectorSigner(t, "kiosk-1/log", 2)
	witness, _ := vectorSigner(t, "witness", 3)
	text := func(origin string, size int, root tlog.Hash, more string) string {
		return fmt.Sprintf("%s\n%d\n%s\n%s", origin, size, base64.StdEncoding.EncodeToString(root[:]), more)
	}
	sign := func(text string, by ...note.Signer) string {
		out, err := note.Sign(&note.Note{Text: text}, by...)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	good := sign(text("kiosk-1/log", 3, root, ""), mine)
	for _, c := range []checkpointCase{
		{"good", key, good, 0},
		{"with a witness", key, sign(text("kiosk-1/log", 3, root, ""), mine, witness), 0},
		{"another root", key, sign(text("kiosk-1/log", 3, tlog.Hash{1}, ""), mine), 9},
		{"another size", key, sign(text("kiosk-1/log", 2, root, ""), mine), 9},
		{"another log", key, sign(text("kiosk-2/log", 3, root, ""), mine), 9},
		{"a line more", key, sign(text("kiosk-1/log", 3, root, "more\n"), mine), 9},
		{"a size with a zero in front", key, sign(strings.Replace(text("kiosk-1/log", 3, root, ""), "\n3\n", "\n03\n", 1), mine), 9},
		{"another key of that name", key, sign(text("kiosk-1/log", 3, root, ""), other), 9},
		{"the witness alone", key, sign(text("kiosk-1/log", 3, root, ""), witness), 9},
		{"changed after signing", key, strings.Replace(good, "\n3\n", "\n4\n", 1), 9},
		{"no signature", key, text("kiosk-1/log", 3, root, "") + "\n", 9},
		{"cut", key, good[:len(good)-2], 9},
		{"empty", key, "", 9},
	} {
		v.Cases = append(v.Cases, c)
	}
	return v
}

func (v *checkpointVectors) root(t testing.TB) tlog.Hash {
	t.Helper()
	var hashes []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) (out []tlog.Hash, err error) {
		for _, i := range indexes {
			out = append(out, hashes[i])
		}
		return out, nil
	})
	for i, leaf := range v.Leaves {
		data, err := hex.DecodeString(leaf)
		if err != nil {
			t.Fatal(err)
		}
		more, err := tlog.StoredHashes(int64(i), data, reader)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, more...)
	}
	root, err := tlog.TreeHash(int64(len(v.Leaves)), reader)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestT16_CheckpointVectors holds this package against the vectors; the second verifier, in Python, is run by package
// clearance's tests over the same file.
func TestT16_CheckpointVectors(t *testing.T) {
	path := filepath.Join("..", "..", "testdata", "vectors", "checkpoint.json")
	made, err := json.MarshalIndent(makeCheckpointVectors(t), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	made = append(made, '\n')
	if *writeVectors {
		if err := os.WriteFile(path, made, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data, made) {
		t.Error("the vectors are not what their program makes: the format changed, or the file did")
	}
	var v checkpointVectors
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	root := v.root(t)
	for _, c := range v.Cases {
		verifier, err := note.NewVerifier(c.Key)
		if err != nil {
			t.Fatal(err)
		}
		head, err := ParseCheckpoint(c.Text, "kiosk-1/log", note.VerifierList(verifier))
		exit := 9
		if err == nil && head.Size == int64(len(v.Leaves)) && head.Root == root {
			exit = 0
		}
		if exit != c.Exit {
			t.Errorf("%s: exit code %d, want %d: %v", c.Name, exit, c.Exit, err)
		}
	}
}
