package kiosk

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"pratique/kiosk/trial"
	"pratique/rules"
	"pratique/rules/blocklist"
)

// Hash lists are compiled once for each pack. A program keeps the compiled file of the pack in force open, so that a session of
// a running station finds it at hand; large ones are kept in the state's rules folder, so that the next program does too. A file
// there is named
//
//	ID-PROOF.list   SHA-256 of what it was compiled from; HMAC-SHA256 with key/rules over listDomain, the ID and the file
//
// and is a compiled list as package blocklist has it, from its first byte, so that it can be mapped. A list that lacks a hash
// looks as good as one that has it, so a file without that proof is deleted and made again, as compiled rules are. After the
// check the file can still be written by who may write the folder: the station's own user, who could replace the programs too.
// scanworker checks what it maps for itself, so that damage costs a session and never the process.
const (
	listSuffix = ".list"
	listDomain = "pratique compiled list v1\x00"
	// keepListFrom is the size of text from which a file is kept: compiling a megabyte takes some ten milliseconds.
	keepListFrom = 1 << 20
	// maxListFiles is how many are kept: the pack in force and the one before. Ten million hashes are 340 MB each.
	maxListFiles = 2
)

// heldLists are the compiled lists that were used last, the latest first. While a pack is tried, those of the pack in force stay.
type heldLists struct {
	mu   sync.Mutex
	held []heldList
}

type heldList struct {
	texts [][]byte // that it was compiled from: the very memory, which nobody changes
	file  *os.File
}

// maxHeld is how many a program keeps open: of the pack in force, and of one that is tried.
const maxHeld = 2

// list returns the compiled hash lists of a pack, open for reading. Who calls closes it. It is in the state's folder and not in
// memory, because of its size a scan touches little.
func (s *State) list(p rules.Pack) (*os.File, error) {
	if f, err := s.lists.get(p.Lists); f != nil || err != nil {
		return f, err
	}
	f, err := s.compiledList(p.Lists) // nobody waits for this who has one at hand
	if err != nil {
		return nil, err
	}
	return s.lists.put(p.Lists, f)
}

// get returns a descriptor of its own of what is held, nil if nothing is.
func (h *heldLists) get(texts [][]byte) (*os.File, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.held {
		if slices.EqualFunc(l.texts, texts, sameMemory) {
			return reopen(l.file)
		}
	}
	return nil, nil
}

// put holds a file, and returns another descriptor of it.
func (h *heldLists) put(texts [][]byte, f *os.File) (*os.File, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = slices.Insert(h.held, 0, heldList{slices.Clone(texts), f})
	for len(h.held) > maxHeld {
		h.held[maxHeld].file.Close() // who was given it has a descriptor of their own
		h.held = h.held[:maxHeld]
	}
	return reopen(f)
}

func (h *heldLists) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.held {
		l.file.Close()
	}
	h.held = nil
}

// sameMemory compares addresses: the hashes of a pack are read once, and comparing 650 MB of them takes as long as hashing them.
func sameMemory(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// reopen gives a descriptor of its own, for reading only.
func reopen(f *os.File) (*os.File, error) {
	list, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd())) // not by its name, which somebody may just have swept
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	return list, nil
}

// compiledList takes the list from the folder if it is there, else compiles it.
func (s *State) compiledList(texts [][]byte) (*os.File, error) {
	size := 0
	for _, text := range texts {
		size += len(text)
	}
	if size < keepListFrom {
		return s.compileList(texts, nil)
	}
	key, err := s.rulesKey()
	if err != nil {
		return nil, err
	}
	id := listID(texts)
	if f := s.keptList(key, id); f != nil {
		return f, nil
	}
	return s.compileList(texts, func(f *os.File) { // errors cost time only: the next program compiles once more
		if proof, err := vouchList(key, id, f); err == nil &&
			os.Rename(f.Name(), s.path("rules", hex.EncodeToString(id[:])+"-"+hex.EncodeToString(proof)+listSuffix)) == nil {
			s.sweepCompiled()
		}
	})
}

// listID is the digest of everything that a compiled list depends on.
func listID(texts [][]byte) [32]byte {
	h := sha256.New()
	h.Write([]byte(listDomain + trial.CanaryHash()))
	for _, text := range texts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(text))))
		h.Write(text)
	}
	return [32]byte(h.Sum(nil))
}

// keptList returns the file of the folder that this station vouches for, nil if there is none.
func (s *State) keptList(key []byte, id [32]byte) *os.File {
	names, _ := filepath.Glob(s.path("rules", hex.EncodeToString(id[:])+"-*"+listSuffix)) // the pattern is our own
	for _, name := range names {
		f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		proof, err := vouchList(key, id, f)
		said := strings.TrimSuffix(filepath.Base(name), listSuffix)[2*len(id)+1:]
		if err == nil && hmac.Equal([]byte(hex.EncodeToString(proof)), []byte(said)) {
			now := s.now()
			os.Chtimes(name, now, now) // what is in use is swept last
			return f
		}
		f.Close()
		os.Remove(name)
	}
	return nil
}

// maxListFile bounds what is read of a file that may not be ours: three times what the largest pack compiles to.
const maxListFile = 4 << 30

var errListFile = errors.New("no file of a compiled list's size")

func vouchList(key []byte, id [32]byte, f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxListFile {
		return nil, errListFile
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(listDomain))
	mac.Write(id[:])
	if _, err := io.CopyBuffer(mac, io.NewSectionReader(f, 0, info.Size()), make([]byte, 1<<20)); err != nil {
		return nil, err
	}
	return mac.Sum(nil), nil
}

// compileList compiles hash lists into a file of the rules folder, which lives as long as its descriptor unless keep names it.
func (s *State) compileList(texts [][]byte, keep func(*os.File)) (*os.File, error) {
	f, err := os.CreateTemp(s.path("rules"), ".new-*")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	defer f.Close()                                               // what is given away below is a descriptor of its own, for reading only
	defer os.Remove(f.Name())                                     // in vain once it is kept
	readers := []io.Reader{strings.NewReader(trial.CanaryHash())} // by which every list is tried
	for _, text := range texts {
		readers = append(readers, bytes.NewReader(text))
	}
	if _, err := blocklist.Compile(f, readers...); err != nil {
		var line *blocklist.LineError
		if errors.As(err, &line) {
			return nil, fmt.Errorf("%w: blocklist: %w", ErrRules, err)
		}
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	if keep != nil {
		keep(f)
	}
	return reopen(f)
}
