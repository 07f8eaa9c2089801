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

// Compiled rules are a header of three numbers, big endian, and what libyara writes of both sets:
//
//	8 bytes   compiledMagic
//	8 bytes   length of the first set, for programs and for all content if there is no second
//	8 bytes   length of the second set, for content that is no program; 0 if there is none
//	          the first set, the second set
const (
	compiledMagic = "yarc-v1\n"
	headerBytes   = 24
)

// go-yara keeps nothing but libyara's pointer, so that load can set it. This does not compile if that changes.
var _ [unsafe.Sizeof(uintptr(0))]byte = [unsafe.Sizeof(libyara.Rules{})]byte{}

// Load takes compiled rules as Save wrote them. They must come from this machine and this libyara.
func Load(compiled []byte) (*Rules, error) {
	if len(compiled) < headerBytes || string(compiled[:8]) != compiledMagic {
		return nil, errors.New("yara: these are not compiled rules")
	}
	body := compiled[headerBytes:]
	first, second := binary.BigEndian.Uint64(compiled[8:]), binary.BigEndian.Uint64(compiled[16:])
	if first > uint64(len(body)) || second != uint64(len(body))-first {
		return nil, errors.New("yara: the compiled rules are not as long as they say")
	}
	r := &Rules{}
	var err error
	if r.all, err = loadSet(body[:first]); err != nil {
		return nil, err
	}
	if r.count = len(r.all.GetRules()); r.count == 0 {
		return nil, errors.New("yara: the compiled rules hold no rule")
	}
	if second > 0 {
		if r.plain, err = loadSet(body[first:]); err != nil {
			return nil, err
		}
	}
	return r, nil
}

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
	var first, second bytes.Buffer
	err := r.all.Write(&first)
	if err == nil && r.plain != nil {
		err = r.plain.Write(&second)
	}
	if err != nil {
		return fmt.Errorf("yara: save compiled rules: %w", err)
	}
	header := []byte(compiledMagic)
	header = binary.BigEndian.AppendUint64(header, uint64(first.Len()))
	header = binary.BigEndian.AppendUint64(header, uint64(second.Len()))
	for _, part := range [][]byte{header, first.Bytes(), second.Bytes()} {
		if _, err := w.Write(part); err != nil {
			return fmt.Errorf("yara: save compiled rules: %w", err)
		}
	}
	return nil
}
