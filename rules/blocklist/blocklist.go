// Package blocklist holds the hashes of files that no medium may carry: Compile turns text into one sorted file, and a List
// answers from that file, mapped into memory, whether a hash is in it.
//
// # Text
//
// One hash a line in hex, 32 digits for MD5, 40 for SHA-1, 64 for SHA-256, upper or lower case. A line may be empty, may
// be a comment that begins with '#', and may end with one; LF or CR LF ends it. Any other line is an error with its number:
// a list of which a part was quietly dropped looks like protection and is none. The hash of the empty file is an error too.
// Feeds carry it by mistake, and it would block every stick with an empty file on it.
//
// # Compiled file
//
// All numbers are big-endian.
//
//	16 bytes  magic "pratique hashes\n"
//	 4 bytes  version, 1
//	 4 bytes  number of sections, 0 to 3, in the order MD5, SHA-1, SHA-256, each at most once
//	12 bytes  for each section: algorithm (4 bytes: 1, 2, 3) and number of hashes (8 bytes, more than 0)
//	          for each section: 2^b + 1 numbers of 4 bytes; number i is how many hashes have a value below i in their
//	          first b bits, where b follows from the number of hashes; then the hashes, ascending, none twice
//	32 bytes  SHA-256 of everything before
//
// A compiled list of one hash, whose section has b = 0:
//
//	"pratique hashes\n" 00000001 00000001 00000003 0000000000000001 00000000 00000001 <32 bytes> <32 bytes>
//
// # Trust
//
// The text comes from a signed rule pack or from the person at the terminal. The compiled file is made on the station. The
// SHA-256 at its end finds damage, not an attacker. Open checks it, every number and the order, so that no content makes a
// look-up leave the file or answer differently twice.
package blocklist

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// Algorithm is a hash function that a list may hold. The zero value is none.
type Algorithm uint32

// The algorithms, weakest first.
const (
	NoAlgorithm Algorithm = iota
	MD5
	SHA1
	SHA256
	algorithmEnd
)

var algorithmSizes = [algorithmEnd]int{MD5: 16, SHA1: 20, SHA256: 32}
var algorithmWords = [algorithmEnd]string{"unknown", "MD5", "SHA-1", "SHA-256"}

// Size is the length of a hash in bytes, 0 for an unknown algorithm.
func (a Algorithm) Size() int {
	if a < algorithmEnd {
		return algorithmSizes[a]
	}
	return 0
}

// String returns the name that people use.
func (a Algorithm) String() string {
	if a < algorithmEnd {
		return algorithmWords[a]
	}
	return algorithmWords[NoAlgorithm]
}

const (
	magic       = "pratique hashes\n"
	version     = 1
	headBytes   = len(magic) + 8
	sectionHead = 12

	// maxHashes bounds one section: five times the largest list foreseen, and its numbers fit into 4 bytes.
	maxHashes = 50_000_000
	// maxFanBits bounds the table in front of the hashes: 4 MiB, with which ten million hashes need four comparisons.
	maxFanBits = 20
)

// ErrDamaged says that a compiled list is not one that Compile wrote.
var ErrDamaged = errors.New("the compiled blocklist is damaged")

// fanBits is b of the format: about eight hashes share one number of the table.
func fanBits(count int) int { return min(max(bits.Len(uint(count))-3, 0), maxFanBits) }

// fanIndex is the value of the first b bits of a hash.
func fanIndex(sum []byte, b int) int { return int(uint64(binary.BigEndian.Uint32(sum)) >> (32 - b)) }

// List answers from a compiled file. The zero value holds nothing. A List is safe for concurrent use.
type List struct{ sections [algorithmEnd]section }

type section struct {
	count int
	bits  int
	fan   []byte
	sums  []byte
}

// Open checks a compiled list and returns it. The List keeps data, which must not change: it is usually mapped memory. A
// list of ten million hashes takes about a third of a second.
func Open(data []byte) (*List, error) {
	if len(data) < headBytes+sha256.Size || string(data[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: it does not begin as one", ErrDamaged)
	}
	if v := binary.BigEndian.Uint32(data[len(magic):]); v != version {
		return nil, fmt.Errorf("%w: version %d is not %d", ErrDamaged, v, version)
	}
	body, end := data[:len(data)-sha256.Size], data[len(data)-sha256.Size:]
	n := binary.BigEndian.Uint32(data[len(magic)+4:])
	if n >= uint32(algorithmEnd) || len(body) < headBytes+int(n)*sectionHead {
		return nil, fmt.Errorf("%w: %d sections", ErrDamaged, n)
	}
	list, rest, last := &List{}, body[headBytes+int(n)*sectionHead:], NoAlgorithm
	for i := range int(n) {
		head := body[headBytes+i*sectionHead:]
		alg, count := Algorithm(binary.BigEndian.Uint32(head)), binary.BigEndian.Uint64(head[4:])
		if alg <= last || alg >= algorithmEnd || count == 0 || count > maxHashes {
			return nil, fmt.Errorf("%w: section %d with %d hashes", ErrDamaged, alg, count)
		}
		s := section{count: int(count), bits: fanBits(int(count))}
		fan, sums := 4*(1<<s.bits+1), s.count*alg.Size() // both far below the limit of an int
		if len(rest) < fan+sums {
			return nil, fmt.Errorf("%w: it ends within the %v hashes", ErrDamaged, alg)
		}
		s.fan, s.sums, rest = rest[:fan:fan], rest[fan:fan+sums:fan+sums], rest[fan+sums:]
		list.sections[alg], last = s, alg
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("%w: %d bytes after its end", ErrDamaged, len(rest))
	}
	if got := sha256.Sum256(body); !bytes.Equal(got[:], end) {
		return nil, fmt.Errorf("%w: its own hash differs", ErrDamaged)
	}
	for alg := MD5; alg < algorithmEnd; alg++ {
		if err := list.sections[alg].check(alg.Size()); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// check walks a section once: hashes ascend, and each lies in the part of the table that its first bits name. Together
// with the last number this makes the table monotonic.
func (s *section) check(size int) error {
	if s.count == 0 {
		return nil
	}
	at := 0
	for i := range 1<<s.bits + 1 {
		until := int(binary.BigEndian.Uint32(s.fan[4*i:]))
		if until < at || until > s.count {
			return fmt.Errorf("%w: its table does not ascend", ErrDamaged)
		}
		for ; at < until; at++ {
			sum := s.sums[at*size : (at+1)*size]
			if fanIndex(sum, s.bits) != i-1 || at > 0 && bytes.Compare(s.sums[(at-1)*size:at*size], sum) >= 0 {
				return fmt.Errorf("%w: its hashes are not in order", ErrDamaged)
			}
		}
	}
	if at != s.count {
		return fmt.Errorf("%w: its table does not reach the last hash", ErrDamaged)
	}
	return nil
}

// Has reports whether the list holds the hash. A hash of the wrong length or an unknown algorithm is in no list.
func (l *List) Has(alg Algorithm, sum []byte) bool {
	size := alg.Size()
	if size == 0 || len(sum) != size || l.sections[alg].count == 0 {
		return false
	}
	s := &l.sections[alg]
	i := 4 * fanIndex(sum, s.bits)
	low, high := int(binary.BigEndian.Uint32(s.fan[i:])), int(binary.BigEndian.Uint32(s.fan[i+4:]))
	for low < high {
		middle := int(uint(low+high) / 2)
		switch bytes.Compare(s.sums[middle*size:(middle+1)*size], sum) {
		case 0:
			return true
		case -1:
			low = middle + 1
		default:
			high = middle
		}
	}
	return false
}

// Count returns how many hashes of one algorithm the list holds.
func (l *List) Count(alg Algorithm) int {
	if alg < algorithmEnd {
		return l.sections[alg].count
	}
	return 0
}
