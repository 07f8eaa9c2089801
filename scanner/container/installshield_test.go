package container

import (
	"bytes"
	"testing"

	"github.com/klauspost/compress/flate"
)

// shieldCabinet is a cabinet of InstallShield, for which Debian has no producer: a table with a file in each way in which one
// is stored, and their data behind it. At last there is one of another volume, if more is set.
func shieldCabinet(t testing.TB, major uint32, more bool) []byte {
	t.Helper()
	chunks := func(b []byte) (out []byte) {
		for len(b) > 0 {
			n := min(1000, len(b))
			var z bytes.Buffer
			w, _ := flate.NewWriter(&z, 9)
			if _, err := w.Write(b[:n]); err != nil || w.Close() != nil {
				t.Fatal(err)
			}
			out = append(le.AppendUint16(out, uint16(z.Len())), z.Bytes()...)
			b = b[n:]
		}
		return out
	}
	hide := func(b []byte) []byte {
		b = bytes.Clone(b)
		for i := range b {
			v := b[i] + byte(i%0x47)
			b[i] = (v<<2 | v>>6) ^ 0xD5
		}
		return b
	}
	content := payload(3 * kib)
	type file struct {
		name   string
		flags  uint16
		stored []byte
	}
	files := []file{{"plain.txt", 0, content}, {"packed.txt", 4, chunks(content)}, {"hidden.txt", 2, hide(content)}, {"both.txt", 6, hide(chunks(content))}}
	if more {
		files = append(files, file{"elsewhere.txt", shieldSplit, nil})
	}
	const at, list, names = 128, 256, 2048
	b := make([]byte, 4096)
	copy(b, shieldMagic)
	le.PutUint32(b[4:], 1<<24|major<<12)
	le.PutUint32(b[12:], at)
	le.PutUint32(b[16:], 4096-at)
	d := b[at:]
	le.PutUint32(d[12:], list-at)
	le.PutUint32(d[28:], 1)
	le.PutUint32(d[40:], uint32(len(files)))
	le.PutUint32(d[44:], 64)
	for i, f := range files {
		name := names + 32*i
		copy(b[name:], f.name)
		if major > 5 {
			e := b[list+64+i*shieldNew:]
			le.PutUint16(e, f.flags)
			le.PutUint64(e[2:], uint64(len(content)))
			le.PutUint64(e[10:], uint64(len(f.stored)))
			le.PutUint64(e[18:], uint64(len(b)))
			le.PutUint32(e[58:], uint32(name-list))
			le.PutUint16(e[85:], 1)
		} else {
			le.PutUint32(b[list+4*(1+i):], uint32(256+64*i))
			e := b[list+256+64*i:]
			le.PutUint32(e, uint32(name-list))
			le.PutUint16(e[8:], f.flags)
			le.PutUint32(e[10:], uint32(len(content)))
			le.PutUint32(e[14:], uint32(len(f.stored)))
			le.PutUint32(e[38:], uint32(len(b)))
		}
		b = append(b, f.stored...)
	}
	return b
}

func TestT07_CabinetsOfInstallShieldAreOpened(t *testing.T) {
	for _, major := range []uint32{5, 6} {
		k, res := takeBytes(t, shieldCabinet(t, major, false), "data1.cab")
		for _, name := range []string{"plain.txt", "packed.txt", "hidden.txt", "both.txt"} {
			if !bytes.Equal(k.content[name], payload(3*kib)) || !silent(k, res) {
				t.Errorf("version %d, %s: %d bytes, %v %+v %+v", major, name, len(k.content[name]), res.Outcome, res.Findings, k.items[name])
			}
		}
		if k, res := takeBytes(t, shieldCabinet(t, major, true), "data1.cab"); silent(k, res) {
			t.Errorf("version %d: silence about a file in another volume", major)
		}
		b := shieldCabinet(t, major, false)
		le.PutUint32(b[16:], 0)
		if k, res := takeBytes(t, b, "data2.cab"); silent(k, res) {
			t.Errorf("version %d: silence about a volume without a table", major)
		}
	}
}
