package ntfs

import "pratique/scanner/volume"

// LZNT1 as [MS-XCA] 2.5 describes it: chunks of 4096 bytes, each either as it is or as tokens, where a token is a byte or a
// distance and a length whose shares of 16 bits depend on how much of the chunk is known already.
// https://learn.microsoft.com/openspecs/windows_protocols/ms-xca/

// lzntChunk is what one chunk becomes.
const lzntChunk = 4096

var errPacked = volume.Malformed("its compressed content contradicts itself.")

// unpackLZNT1 decodes packed into plain and fills the rest of plain with zeros. Decoding ends where plain is full or packed
// is not continued.
func unpackLZNT1(plain, packed []byte) error {
	for len(plain) > 0 {
		if len(packed) < 2 {
			break
		}
		head := le.Uint16(packed)
		if head == 0 {
			break
		}
		n := int(head&0x0FFF) + 1
		if head>>12&7 != 3 || n > len(packed)-2 {
			return errPacked
		}
		body, out := packed[2:2+n], plain[:min(lzntChunk, len(plain))]
		packed, plain = packed[2+n:], plain[len(out):]
		if head&0x8000 == 0 {
			if n != lzntChunk {
				return errPacked
			}
			copy(out, body)
			continue
		}
		got, err := unpackChunk(out, body)
		if err != nil {
			return err
		}
		clear(out[got:])
	}
	clear(plain)
	return nil
}

// unpackChunk decodes the tokens of one chunk and returns how many bytes they gave. What is more than out has room for is
// an error, because a system that has the room would see it.
func unpackChunk(out, body []byte) (int, error) {
	at := 0
	for len(body) > 0 {
		flags := body[0]
		body = body[1:]
		for bit := 0; bit < 8 && len(body) > 0; bit++ {
			if flags>>bit&1 == 0 {
				if at >= len(out) {
					return at, errPacked
				}
				out[at] = body[0]
				at, body = at+1, body[1:]
				continue
			}
			if len(body) < 2 || at == 0 {
				return at, errPacked
			}
			// The distance has as many bits as are needed to reach the chunk's beginning, and at least four.
			split := 12
			for reach := at - 1; reach >= 16; reach >>= 1 {
				split--
			}
			token := int(le.Uint16(body))
			body = body[2:]
			back, n := token>>split+1, token&(1<<split-1)+3
			if back > at || n > len(out)-at {
				return at, errPacked
			}
			for ; n > 0; n-- { // byte by byte: what is copied may be what was just written
				out[at] = out[at-back]
				at++
			}
		}
	}
	return at, nil
}
