package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// A block log is what QEMU's blklogwrites wrote down about a disk: every write and flush in order, in the format of the
// kernel's dm-log-writes (https://docs.kernel.org/admin-guide/device-mapper/log-writes.html). All numbers are little-endian.
//
//	sector 0   magic 0x6A736677736872, version 1, number of entries (8 bytes each), bytes of a sector (4)
//	then each  sector, number of sectors, flags, bytes of a mark (8 each), padded to a sector; then its data: of a mark those
//	           bytes, of a discard none, else the sectors
//
// A disk that loses its power keeps what was written before the last flush that it answered, and any part of what came after.
// Replaying the log up to each flush gives every state that the disk has promised; a station must stand up from each.
type BlockLog struct {
	file    *os.File
	sector  int64
	entries []logEntry
}

// logEntry is one entry. Of a write, data is where its bytes are in the log.
type logEntry struct {
	at, bytes int64
	flags     uint64
	data      int64
}

// The flags of an entry.
const (
	logFlush   = 1 << 0 // what was written before is on the disk
	logFUA     = 1 << 1 // this write is on the disk
	logDiscard = 1 << 2 // zeros from here on; no data follows
	logMark    = 1 << 3
)

const (
	logMagic      = 0x6A736677736872
	logEntryBytes = 32
	maxLogEntries = 1 << 20 // the log of a minute has some thousands
	maxLogWrite   = 64 << 20
	maxLogDisk    = 1 << 30 // no disk of a test is larger
)

// ReadBlockLog reads the entries of a log. It trusts nothing in it but that it fits into memory: a log that is not what it
// says is an error.
func ReadBlockLog(path string) (*BlockLog, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	l := &BlockLog{file: f}
	if err := l.read(); err != nil {
		f.Close()
		return nil, fmt.Errorf("block log: %w", err)
	}
	return l, nil
}

// Close closes the log.
func (l *BlockLog) Close() error { return l.file.Close() }

func (l *BlockLog) read() error {
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	head := make([]byte, 28)
	if _, err := l.file.ReadAt(head, 0); err != nil {
		return err
	}
	magic, version, count := binary.LittleEndian.Uint64(head), binary.LittleEndian.Uint64(head[8:]), binary.LittleEndian.Uint64(head[16:])
	l.sector = int64(binary.LittleEndian.Uint32(head[24:]))
	switch {
	case magic != logMagic || version != 1:
		return fmt.Errorf("magic %#x, version %d", magic, version)
	case l.sector < 512 || l.sector > 4096 || l.sector&(l.sector-1) != 0:
		return fmt.Errorf("sectors of %d bytes", l.sector)
	case count > maxLogEntries:
		return fmt.Errorf("%d entries", count)
	}
	at := l.sector
	for i := range count {
		b := make([]byte, logEntryBytes)
		if _, err := l.file.ReadAt(b, at); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		first, sectors, length := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[24:])
		if first > maxLogDisk/512 || sectors > maxLogDisk/512 || length > maxLogWrite {
			return fmt.Errorf("entry %d: sector %d, %d sectors, %d bytes", i, first, sectors, length)
		}
		e := logEntry{at: int64(first) * l.sector, bytes: int64(sectors) * l.sector, flags: binary.LittleEndian.Uint64(b[16:])}
		at += l.sector
		if e.flags&logDiscard == 0 {
			e.data = at
			size := e.bytes
			if e.flags&logMark != 0 {
				size = int64(length)
			}
			at += (size + l.sector - 1) / l.sector * l.sector
		}
		if at > info.Size()+l.sector {
			return fmt.Errorf("entry %d ends behind the log", i)
		}
		l.entries = append(l.entries, e)
	}
	return nil
}

// Flushes returns the numbers of entries after which the disk had promised everything before.
func (l *BlockLog) Flushes() []int {
	var at []int
	for i, e := range l.entries {
		if e.flags&(logFlush|logFUA) != 0 {
			at = append(at, i+1)
		}
	}
	return at
}

// Entries returns the number of entries.
func (l *BlockLog) Entries() int { return len(l.entries) }

// Replay makes to a copy of the disk as it was before (from), with the first n entries of the log written to it. What the disk
// has not promised by then, the writes up to the next flush, is there or not as kept says of each; nil keeps none of it.
func (l *BlockLog) Replay(from, to string, n int, kept func() bool) error {
	if n > len(l.entries) {
		return errors.New("block log: there are not so many entries")
	}
	if err := copyFile(from, to); err != nil {
		return err
	}
	disk, err := os.OpenFile(to, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer disk.Close()
	for i, e := range l.entries {
		if i >= n && (kept == nil || e.flags&(logFlush|logFUA) != 0) {
			break
		}
		if e.flags&logMark != 0 || e.bytes == 0 || i >= n && !kept() {
			continue
		}
		var data io.Reader = io.NewSectionReader(l.file, e.data, e.bytes)
		if e.flags&logDiscard != 0 {
			data = io.LimitReader(zeros{}, e.bytes)
		}
		if _, err := io.CopyN(io.NewOffsetWriter(disk, e.at), data, e.bytes); err != nil {
			return err
		}
	}
	return disk.Close()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Close()
}
