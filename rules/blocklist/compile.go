package blocklist

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
)

const (
	// maxLine bounds a line of text: 64 digits and a comment.
	maxLine = 1024
	// chunkBytes is how much memory is taken at a time for the hashes of one first byte. 256 of them for each algorithm
	// are 16 MiB at worst, and no list that grows by copying ever holds its hashes twice.
	chunkBytes = 64 << 10
)

// Stats says what Compile wrote.
type Stats struct {
	Hashes     [algorithmEnd]int // distinct hashes, by Algorithm
	Duplicates int               // lines that said what another had said
}

// LineError says which line of a text is no hash.
type LineError struct {
	Text    int // index of the text among Compile's
	Line    int // from 1
	Problem string
}

// Error names the line and never quotes it.
func (e *LineError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Problem) }

// Compile reads lists of hashes and writes them as one compiled file. Nothing is written before all texts were read and
// found good. Memory is about the size of the compiled file: 340 MB for ten million SHA-256.
func Compile(w io.Writer, texts ...io.Reader) (Stats, error) {
	var stats Stats
	var sets [algorithmEnd]set
	for alg := MD5; alg < algorithmEnd; alg++ {
		sets[alg].size = alg.Size()
	}
	for i, text := range texts {
		if err := parse(text, &sets); err != nil {
			if line, ok := errors.AsType[*LineError](err); ok {
				line.Text = i
			}
			return Stats{}, err
		}
	}
	for alg := MD5; alg < algorithmEnd; alg++ {
		stats.Duplicates += sets[alg].sort()
		stats.Hashes[alg] = sets[alg].count
	}
	sum := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(w, sum), 256<<10)
	write(out, &sets)
	if err := out.Flush(); err != nil {
		return Stats{}, fmt.Errorf("write the compiled blocklist: %w", err)
	}
	if _, err := w.Write(sum.Sum(nil)); err != nil {
		return Stats{}, fmt.Errorf("write the compiled blocklist: %w", err)
	}
	return stats, nil
}

// parse adds every hash of a text to its set.
func parse(text io.Reader, sets *[algorithmEnd]set) error {
	in := bufio.NewReaderSize(text, maxLine)
	for number := 1; ; number++ {
		line, err := in.ReadSlice('\n')
		switch {
		case err == bufio.ErrBufferFull:
			return &LineError{Line: number, Problem: fmt.Sprintf("longer than %d bytes", maxLine)}
		case err == io.EOF && len(line) == 0:
			return nil
		case err != nil && err != io.EOF:
			return fmt.Errorf("read the blocklist: %w", err)
		}
		if problem := parseLine(line, sets); problem != "" {
			return &LineError{Line: number, Problem: problem}
		}
	}
}

// parseLine returns what is wrong with a line, or nothing.
func parseLine(line []byte, sets *[algorithmEnd]set) string {
	line, _, _ = bytes.Cut(line, []byte("#"))
	line = bytes.Trim(line, " \t\r\n")
	if len(line) == 0 {
		return ""
	}
	var buf [sha256.Size]byte
	for alg := MD5; alg < algorithmEnd; alg++ {
		if len(line) != 2*alg.Size() {
			continue
		}
		sum := buf[:alg.Size()]
		if _, err := hex.Decode(sum, line); err != nil {
			return "not a hash in hex"
		}
		if bytes.Equal(sum, emptySums[alg]) {
			return fmt.Sprintf("the %v of the empty file, which would block every empty file", alg)
		}
		if sets[alg].count >= maxHashes {
			return fmt.Sprintf("more than %d hashes", maxHashes)
		}
		sets[alg].add(sum)
		return ""
	}
	return "neither an MD5, a SHA-1 nor a SHA-256 in hex"
}

// emptySums are the hashes of nothing.
var emptySums = [algorithmEnd][]byte{MD5: md5.New().Sum(nil), SHA1: sha1.New().Sum(nil), SHA256: sha256.New().Sum(nil)}

// set gathers the hashes of one algorithm by their first byte, in chunks, and sorts them there.
type set struct {
	size    int
	count   int
	buckets [256][][]byte
}

func (s *set) add(sum []byte) {
	bucket := &s.buckets[sum[0]]
	last := len(*bucket) - 1
	if last < 0 || len((*bucket)[last])+s.size > chunkBytes {
		*bucket = append(*bucket, make([]byte, 0, chunkBytes))
		last++
	}
	(*bucket)[last] = append((*bucket)[last], sum...)
	s.count++
}

// sort orders each bucket, drops what is there twice, and returns how many that were.
func (s *set) sort() (duplicates int) {
	var all [][sha256.Size]byte // one bucket at a time: a 256th of a list of hashes
	for i := range s.buckets {
		all = all[:0]
		for _, chunk := range s.buckets[i] {
			for sum := range slices.Chunk(chunk, s.size) {
				var padded [sha256.Size]byte
				copy(padded[:], sum)
				all = append(all, padded)
			}
		}
		slices.SortFunc(all, func(a, b [sha256.Size]byte) int { return bytes.Compare(a[:], b[:]) })
		distinct := slices.Compact(all)
		duplicates += len(all) - len(distinct)
		s.count -= len(all) - len(distinct)
		// The distinct hashes go back into the chunks that they came from: there are never more of them than there were.
		perChunk, chunks := chunkBytes/s.size, s.buckets[i][:0]
		for part := range slices.Chunk(distinct, perChunk) {
			chunk := s.buckets[i][len(chunks)][:0]
			for j := range part {
				chunk = append(chunk, part[j][:s.size]...)
			}
			chunks = append(chunks, chunk)
		}
		s.buckets[i] = chunks
	}
	return duplicates
}

// each calls f with every hash in order.
func (s *set) each(f func(sum []byte)) {
	for _, bucket := range s.buckets {
		for _, chunk := range bucket {
			for sum := range slices.Chunk(chunk, s.size) {
				f(sum)
			}
		}
	}
}

// write puts out everything but the hash at the end. A bufio.Writer keeps its first error for Flush.
func write(out *bufio.Writer, sets *[algorithmEnd]set) {
	var sections uint32
	for i := range sets {
		if sets[i].count > 0 {
			sections++
		}
	}
	out.WriteString(magic)
	out.Write(binary.BigEndian.AppendUint32(nil, version))
	out.Write(binary.BigEndian.AppendUint32(nil, sections))
	for alg := range sets {
		if n := sets[alg].count; n > 0 {
			out.Write(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, uint32(alg)), uint64(n)))
		}
	}
	for i := range sets {
		s := &sets[i]
		if s.count == 0 {
			continue
		}
		b := fanBits(s.count)
		fan := make([]uint32, 1<<b+1)
		s.each(func(sum []byte) { fan[fanIndex(sum, b)+1]++ })
		for j := range len(fan) - 1 {
			fan[j+1] += fan[j]
		}
		for _, n := range fan {
			out.Write(binary.BigEndian.AppendUint32(nil, n))
		}
		s.each(func(sum []byte) { out.Write(sum) })
	}
}
