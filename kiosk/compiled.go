package kiosk

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
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
	"time"

	"golang.org/x/sys/unix"

	"pratique/kiosk/worker"
)

// Compiled rules are kept in the state's rules folder, so that only the first screening after a change waits for libyara's
// compiler. A file is named after what it was made of, and holds
//
//	32 bytes   HMAC-SHA256 with key/rules over compiledDomain, the 32 bytes of its name, and the rest
//	           the compiled rules, as yaraworker wrote them
//
// Compiled rules are code for libyara, which does not check what it loads. So what is in the folder counts only with that
// proof, which is made over the very memory that yaraworker is given, sealed before. Whoever can write the folder can make the
// station compile again and nothing else. Whoever can read key/rules can have any code run in yaraworker's jail: that is the
// station's own user, who could as well replace the programs or, on a plain user's machine, this whole state. Without a
// valid file the rules are compiled as if there were no folder, and a folder that cannot be written costs time only.
const (
	compiledSuffix = ".yarc"
	compiledDomain = "pratique compiled rules v1\x00"
	// maxCompiledFiles is how many are kept: the pack in force, the one before, and those with rules that somebody adds.
	maxCompiledFiles = 4
	keyRules         = 32 // bytes
	// A writer that died leaves a file without a name of ours. None that lives takes so long.
	compiledLitter = time.Hour
)

// compiled returns the compiled rules as a sealed memfd, from the folder if they are there.
func (s *State) compiled(ctx context.Context, cfg worker.Config, sources []worker.Source) (*os.File, error) {
	compiler, err := worker.Compiler(ctx, cfg)
	if err != nil { // then nobody knows for whom kept rules would be
		rules, _, err := worker.Compile(ctx, cfg, sources)
		return rules, err
	}
	id := rulesID(compiler, sources)
	key, err := s.rulesKey()
	if err != nil {
		return nil, err
	}
	name := s.compiledName(id)
	if rules, err := openCompiled(name, key, id); err == nil {
		now := s.now()
		os.Chtimes(name, now, now) // what is in use is swept last
		return rules, nil
	}
	rules, info, err := worker.Compile(ctx, cfg, sources)
	if err != nil {
		return nil, err
	}
	if keepCompiled(name, key, id, rules, info.Bytes) == nil {
		s.sweepCompiled()
	}
	return rules, nil
}

func (s *State) compiledName(id [32]byte) string {
	return s.path("rules", hex.EncodeToString(id[:])+compiledSuffix)
}

// rulesID is the digest of everything that compiled rules depend on: the compiler, and each source with its name.
func rulesID(compiler [32]byte, sources []worker.Source) [32]byte {
	h := sha256.New()
	h.Write(compiler[:])
	for _, src := range sources {
		for _, part := range [][]byte{[]byte(src.Name), src.Text} {
			var n [8]byte
			binary.BigEndian.PutUint64(n[:], uint64(len(part)))
			h.Write(n[:])
			h.Write(part)
		}
	}
	return [32]byte(h.Sum(nil))
}

// rulesKey is made when it is first needed. Two programs that make it at once are in each other's way for one screening: the
// one whose key was replaced finds no file that it vouches for.
func (s *State) rulesKey() ([]byte, error) {
	key, err := s.secret("key/rules", func() ([]byte, error) {
		key := make([]byte, keyRules)
		_, err := rand.Read(key)
		return key, err
	})
	if err == nil && len(key) != keyRules {
		return nil, fmt.Errorf("%w: key/rules has %d bytes", ErrState, len(key))
	}
	return key, err
}

// errNotOurs says that a file does not hold what this station wrote into it.
var errNotOurs = errors.New("compiled rules that this station does not vouch for")

// openCompiled brings a file into sealed memory and checks what is there. A file without proof is deleted.
func openCompiled(name string, key []byte, id [32]byte) (_ *os.File, err error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	defer func() {
		if err != nil {
			os.Remove(name)
		}
	}()
	var proof [sha256.Size]byte
	if _, err := io.ReadFull(f, proof[:]); err != nil {
		return nil, err
	}
	rules, err := worker.SealCompiled(f)
	if err != nil {
		return nil, err
	}
	got, err := vouch(key, id, rules)
	if err == nil && !hmac.Equal(got, proof[:]) {
		err = errNotOurs
	}
	if err != nil {
		rules.Close()
		return nil, err
	}
	return rules, nil
}

// vouch is the proof for the compiled rules in a memfd, whatever its offset.
func vouch(key []byte, id [32]byte, rules *os.File) ([]byte, error) {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(compiledDomain))
	mac.Write(id[:])
	_, err := io.Copy(mac, io.NewSectionReader(rules, 0, worker.MaxCompiled))
	return mac.Sum(nil), err
}

// keepCompiled writes a file. A crash leaves it whole or not at all.
func keepCompiled(name string, key []byte, id [32]byte, rules *os.File, size int64) error {
	if size > worker.MaxCompiled {
		return errNotOurs
	}
	proof, err := vouch(key, id, rules)
	if err != nil {
		return err
	}
	b := bytes.NewBuffer(proof)
	if _, err := io.Copy(b, io.NewSectionReader(rules, 0, size)); err != nil {
		return err
	}
	return writeFile(name, b.Bytes(), 0o600)
}

// mostFiles is how many of each kind are kept.
var mostFiles = map[string]int{compiledSuffix: maxCompiledFiles, listSuffix: maxListFiles}

// sweepCompiled deletes what is too much in the folder, the longest unused first. It reports nothing: the next one tries again.
func (s *State) sweepCompiled() {
	entries, err := os.ReadDir(s.path("rules"))
	if err != nil {
		return
	}
	type kept struct {
		name string
		used time.Time
	}
	files := map[string][]kept{}
	for _, e := range entries {
		info, err := e.Info()
		switch {
		case err != nil || !info.Mode().IsRegular():
		case mostFiles[filepath.Ext(e.Name())] > 0:
			kind := filepath.Ext(e.Name())
			files[kind] = append(files[kind], kept{e.Name(), info.ModTime()})
		case s.now().Sub(info.ModTime()) > compiledLitter && strings.HasPrefix(e.Name(), ".new-"):
			os.Remove(s.path("rules", e.Name()))
		}
	}
	for kind, list := range files {
		slices.SortFunc(list, func(a, b kept) int { return cmp.Or(b.used.Compare(a.used), strings.Compare(a.name, b.name)) })
		for _, f := range list[min(len(list), mostFiles[kind]):] {
			os.Remove(s.path("rules", f.name))
		}
	}
}
