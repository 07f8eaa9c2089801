package main

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"io"
	"os"
)

// itemList keeps what is to be printed of every item until the verdict is known, which comes first. Ten million lines do
// not fit into memory, and they are names, which must never lie on the station's disk: so they lie in a file without a
// name, encrypted with a key that nobody but this process ever has.
type itemList struct {
	file  *os.File
	out   *bufio.Writer
	block cipher.Block
	count int
	err   error // the first
}

// newItemList makes the file in a folder whose files with this prefix the next start removes.
func newItemList(dir string) (*itemList, error) {
	f, err := os.CreateTemp(dir, ".new-items-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	key := make([]byte, 32)
	rand.Read(key) // never fails
	block, err := aes.NewCipher(key)
	if err != nil {
		f.Close()
		return nil, err
	}
	l := &itemList{file: f, block: block}
	l.out = bufio.NewWriterSize(cipher.StreamWriter{S: l.stream(), W: f}, 64<<10)
	return l, nil
}

// stream is the key stream from the beginning of the file. One key serves one file that is written once.
func (l *itemList) stream() cipher.Stream { return cipher.NewCTR(l.block, make([]byte, aes.BlockSize)) }

// add takes one item's words. between goes before all but the first.
func (l *itemList) add(between string, words []byte) {
	if l.err != nil {
		return
	}
	if l.count++; l.count > 1 {
		l.out.WriteString(between)
	}
	_, l.err = l.out.Write(words)
}

// printTo writes everything that was added.
func (l *itemList) printTo(w io.Writer) error {
	if l.err == nil {
		l.err = l.out.Flush()
	}
	if l.err != nil {
		return fmt.Errorf("keep the list of items: %w", l.err)
	}
	size, err := l.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return fmt.Errorf("keep the list of items: %w", err)
	}
	_, err = io.Copy(w, cipher.StreamReader{S: l.stream(), R: io.NewSectionReader(l.file, 0, size)})
	return err
}

func (l *itemList) close() { l.file.Close() }
