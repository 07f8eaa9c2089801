package yara

// load.c belongs to this file.

// #include "load.h"
import "C"

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unsafe"

	libyara "github.com/hillu/go-yara/v4"
)

// Compiled rules are a header of five numbers, big endian, and what libyara writes of each set:
//
//	8 bytes   compiledMagic
//	8 bytes   length of the first set, for programs and for all content that has no set of its own
//	8 bytes   length of the second set, for content that is no program; 0 if there is none
//	8 bytes   length of the third set, for content that begins with zeros; 0 if there is none
//	8 bytes   length of the fourth set, for large content that is no program; 0 if there is none
//	          the sets
const (
	compiledMagic = "yarc-v2\n"
	compiledSets  = 4
	headerBytes   = 8 + 8*compiledSets
)

// go-yara keeps nothing but libyara's pointer, so that load can set it. This does not compile if that changes.
var _ [unsafe.Sizeof(uintptr(0))]byte = [unsafe.Sizeof(libyara.Rules{})]byte{}

// Load takes compiled rules as Save wrote them. They must come from this machine and this libyara.
func Load(compiled []byte) (*Rules, error) {
	if len(compiled) < headerBytes || string(compiled[:8]) != compiledMagic {
		return nil, errors.New("yara: these are not compiled rules")
	}
	body := compiled[headerBytes:]
	r := &Rules{}
	for i, set := range []**libyara.Rules{&r.all, &r.plain, &r.zeros, &r.large} {
		n := binary.BigEndian.Uint64(compiled[8+8*i:])
		if n > uint64(len(body)) {
			return nil, errWrongLength
		}
		if n > 0 || i == 0 {
			var err error
			if *set, err = loadSet(body[:n]); err != nil {
				return nil, err
			}
		}
		body = body[n:]
	}
	if len(body) > 0 {
		return nil, errWrongLength
	}
	if r.count = len(r.all.GetRules()); r.count == 0 {
		return nil, errors.New("yara: the compiled rules hold no rule")
	}
	r.quicken()
	return r, nil
}

var errWrongLength = errors.New("yara: the compiled rules are not as long as they say")

func loadSet(set []byte) (*libyara.Rules, error) {
	if len(set) == 0 {
		return nil, errors.New("yara: a set of compiled rules is empty")
	}
	lib := &libyara.Rules{}
	if code := C.pratique_load_rules(unsafe.Pointer(&set[0]), C.size_t(len(set)), (**C.YR_RULES)(unsafe.Pointer(lib))); code != 0 {
		return nil, fmt.Errorf("yara: load compiled rules: %w", libyara.Error(code))
	}
	return lib, nil
}

// Save writes the compiled rules for Load.
func (r *Rules) Save(w io.Writer) error {
	header, parts := []byte(compiledMagic), [compiledSets]bytes.Buffer{}
	for i, set := range []*libyara.Rules{r.all, r.plain, r.zeros, r.large} {
		if set != nil {
			if err := set.Write(&parts[i]); err != nil {
				return fmt.Errorf("yara: save compiled rules: %w", err)
			}
		}
		header = binary.BigEndian.AppendUint64(header, uint64(parts[i].Len()))
	}
	for _, part := range [][]byte{header, parts[0].Bytes(), parts[1].Bytes(), parts[2].Bytes(), parts[3].Bytes()} {
		if _, err := w.Write(part); err != nil {
			return fmt.Errorf("yara: save compiled rules: %w", err)
		}
	}
	return nil
}
