package pdf

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/md5"
	"crypto/rc4"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"io"
)

// Key opens an encrypted file that has no password for reading, as every reader does without asking (7.6, and ISO 32000-2
// 7.6.4 for revision 6). The algorithms are as weak as the standard has them; nothing here rests on their strength.
type Key struct {
	key              []byte
	streams, strings method
}

// method is how streams or texts are encrypted.
type method uint8

const (
	plain method = iota
	rc4Each
	aesEach
	aesAll // with the file's key itself
)

// padding takes the place of a missing password (algorithm 2).
const padding = "\x28\xBF\x4E\x5E\x4E\x75\x8A\x41\x64\x00\x4E\x56\xFF\xFA\x01\x08\x2E\x2E\x00\xB6\xD0\x68\x3E\x80\x2F\x0C\xA9\xFE\x64\x53\x69\x7A"

// NewKey reads the dictionary of the encryption, whose texts are not encrypted. id is the first part of the file's identifier.
func NewKey(d Dict, id Text, resolve func(any) any) (*Key, error) {
	number := func(d Dict, key Name, other int64) int64 {
		if n, ok := resolve(d[key]).(int64); ok {
			return n
		}
		return other
	}
	text := func(key Name) Text { t, _ := resolve(d[key]).(Text); return t }
	if name, _ := resolve(d["Filter"]).(Name); name != "Standard" {
		return nil, ErrEncrypted // a certificate's, or somebody's own
	}
	version, revision, bytesOfKey := number(d, "V", 0), number(d, "R", 0), number(d, "Length", 40)/8
	k := &Key{streams: rc4Each, strings: rc4Each}
	switch version {
	case 1:
		bytesOfKey = 5
	case 2, 3:
	case 4, 5:
		filters, _ := resolve(d["CF"]).(Dict)
		of := func(key Name) method {
			name, _ := resolve(d[key]).(Name)
			f, _ := resolve(filters[name]).(Dict)
			if name == "" || name == "Identity" || f == nil {
				return plain
			}
			switch m, _ := resolve(f["CFM"]).(Name); m {
			case "V2":
				return rc4Each
			case "AESV2":
				return aesEach
			case "AESV3":
				return aesAll
			}
			return plain
		}
		k.streams, k.strings, bytesOfKey = of("StmF"), of("StrF"), 16
	default:
		return nil, ErrEncrypted
	}
	if bytesOfKey < 5 || bytesOfKey > 16 {
		bytesOfKey = 5
	}
	owner, user := text("O"), text("U")
	if version == 5 {
		return k, k.modern(user, text("UE"), revision)
	}
	if len(owner) < 32 || len(user) < 16 {
		return nil, ErrEncrypted
	}
	h := md5.New()
	io.WriteString(h, padding)
	h.Write(owner[:32])
	binary.Write(h, binary.LittleEndian, uint32(number(d, "P", 0)))
	h.Write(id)
	if meta, ok := resolve(d["EncryptMetadata"]).(bool); ok && !meta && revision >= 4 {
		h.Write([]byte{0xFF, 0xFF, 0xFF, 0xFF})
	}
	sum := h.Sum(nil)
	if revision >= 3 {
		for range 50 {
			s := md5.Sum(sum[:bytesOfKey])
			sum = s[:]
		}
	}
	k.key = sum[:bytesOfKey]
	if !k.opens(user, id, revision) {
		return nil, ErrEncrypted
	}
	return k, nil
}

// opens compares what the key makes with what the file keeps of it (algorithms 4 and 5).
func (k *Key) opens(user, id Text, revision int64) bool {
	if revision < 3 {
		out := []byte(padding)
		each(k.key, out)
		return bytes.Equal(out, user[:min(len(user), 32)])
	}
	sum := md5.Sum(append([]byte(padding), id...))
	out := sum[:]
	for i := range 20 {
		key := bytes.Clone(k.key)
		for j := range key {
			key[j] ^= byte(i)
		}
		each(key, out)
	}
	return bytes.Equal(out, user[:16])
}

func each(key, b []byte) {
	if c, err := rc4.NewCipher(key); err == nil {
		c.XORKeyStream(b, b)
	}
}

// modern opens revisions 5 and 6: hashes of the password with a salt say whether it is the one, and open the file's key.
func (k *Key) modern(user, packed Text, revision int64) error {
	if len(user) < 48 || len(packed) < 32 {
		return ErrEncrypted
	}
	hash := func(salt []byte) []byte {
		sum := sha256.Sum256(salt)
		if revision < 6 {
			return sum[:]
		}
		return harder(sum[:])
	}
	if !bytes.Equal(hash(user[32:40]), user[:32]) {
		return ErrEncrypted
	}
	block, err := aes.NewCipher(hash(user[40:48]))
	if err != nil {
		return ErrEncrypted
	}
	k.key = make([]byte, 32)
	cipher.NewCBCDecrypter(block, make([]byte, aes.BlockSize)).CryptBlocks(k.key, packed[:32])
	return nil
}

// harder is algorithm 2.B for a password of no bytes.
func harder(sum []byte) []byte {
	for i := 0; ; i++ {
		text := bytes.Repeat(sum, 64)
		block, err := aes.NewCipher(sum[:16])
		if err != nil {
			return nil
		}
		cipher.NewCBCEncrypter(block, sum[16:32]).CryptBlocks(text, text)
		rest := 0
		for _, c := range text[:16] {
			rest += int(c)
		}
		switch rest % 3 {
		case 0:
			s := sha256.Sum256(text)
			sum = s[:]
		case 1:
			s := sha512.Sum384(text)
			sum = s[:]
		default:
			s := sha512.Sum512(text)
			sum = s[:]
		}
		if i >= 63 && int(text[len(text)-1]) <= i-31 {
			return sum[:32]
		}
	}
}

// of is the key of one object (algorithm 1).
func (k *Key) of(m method, number, generation int64) []byte {
	if m == aesAll {
		return k.key
	}
	b := append(bytes.Clone(k.key), byte(number), byte(number>>8), byte(number>>16), byte(generation), byte(generation>>8))
	if m == aesEach {
		b = append(b, "sAlT"...)
	}
	sum := md5.Sum(b)
	return sum[:min(len(k.key)+5, 16)]
}

// Stream decrypts the bytes of a stream.
func (k *Key) Stream(r io.Reader, number, generation int64) (io.Reader, error) {
	return k.reader(k.streams, r, number, generation)
}

// Text decrypts a text. One that is too short to be encrypted stays as it is.
func (k *Key) Text(t Text, number, generation int64) Text {
	r, err := k.reader(k.strings, bytes.NewReader(t), number, generation)
	if err != nil {
		return t
	}
	out, err := io.ReadAll(r)
	if err != nil {
		return t
	}
	return out
}

func (k *Key) reader(m method, r io.Reader, number, generation int64) (io.Reader, error) {
	key := k.of(m, number, generation)
	switch m {
	case plain:
		return r, nil
	case rc4Each:
		c, err := rc4.NewCipher(key)
		if err != nil {
			return nil, ErrEncrypted
		}
		return &cipher.StreamReader{S: c, R: r}, nil
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, ErrEncrypted
	}
	src := bufio.NewReaderSize(r, 16<<10)
	first := make([]byte, aes.BlockSize)
	if _, err := io.ReadFull(src, first); err != nil {
		return bytes.NewReader(nil), nil // nothing is in it
	}
	return &blocks{src: src, mode: cipher.NewCBCDecrypter(block, first)}, nil
}

// blocks decrypts in blocks, of which the last says how many of its bytes are padding.
type blocks struct {
	src  *bufio.Reader
	mode cipher.BlockMode
	buf  [aes.BlockSize]byte
	out  []byte
	err  error
}

func (b *blocks) Read(p []byte) (int, error) {
	for len(b.out) == 0 {
		if b.err != nil {
			return 0, b.err
		}
		if _, err := io.ReadFull(b.src, b.buf[:]); err != nil {
			if err == io.ErrUnexpectedEOF {
				err = io.EOF // a part of a block says nothing
			}
			b.err = err
			return 0, b.err
		}
		b.mode.CryptBlocks(b.buf[:], b.buf[:])
		b.out = b.buf[:]
		if _, err := b.src.Peek(1); err == io.EOF {
			if n := int(b.buf[aes.BlockSize-1]); n >= 1 && n <= aes.BlockSize {
				b.out = b.buf[:aes.BlockSize-n]
			}
			b.err = io.EOF
		}
	}
	n := copy(p, b.out)
	b.out = b.out[n:]
	return n, nil
}
