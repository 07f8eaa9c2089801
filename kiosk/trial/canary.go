package trial

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"pratique/scanner/report"
)

// eicar is the EICAR test file (https://www.eicar.org/download-anti-malware-testfile/). It is put together when it is
// needed, so that no other scanner takes this program for it.
func eicar() []byte {
	return []byte("X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + "EICAR-STANDARD-" + "ANTIVIRUS-TEST-FILE!" + "$H+H*")
}

// hashCanary is known by its hash and by nothing else.
const hashCanary = "This file is harmless. A station finds it by its hash, to try its own hash lists.\r\n"

// CanaryHash is the SHA-256 of the canary for hash lists, in hex.
func CanaryHash() string { return fmt.Sprintf("%x", sha256.Sum256([]byte(hashCanary))) }

// canary is one way through the scanner.
type canary struct {
	way     string
	path    string
	member  string // in which it is packed
	text    string // for a sentence
	content []byte
	check   report.Check
	kind    string // media type that the scanner must see, so that it is the way it says
}

// canaries are all ways. The content of the archive is compressed, so that nobody sees it who does not unpack it.
func canaries() []canary {
	return []canary{
		{"plain", "EICAR.COM", "", "as a plain file", eicar(), report.CheckYARA, ""},
		{"container", "EICAR.ZIP", packedName, "packed in a ZIP archive", zipped(packedName, eicar()), report.CheckYARA, ""},
		{"dicom", "EICAR.DCM", "", "inside a DICOM file", dicom(eicar()), report.CheckYARA, "application/dicom"},
		{"hash", "HASH.TXT", "", "for the hash list", []byte(hashCanary), report.CheckBlocklist, ""},
		{"structure", "AUTORUN.INF", "", "for the checks of structure", []byte("[autorun]\r\nopen=start.exe\r\n"), report.CheckStructure, ""},
	}
}

// found reports whether the scanner blocks the canary, on the way that it is for.
func (c canary) found(it report.Item) bool {
	return it.Outcome.Seen() && (c.kind == "" || it.Type == c.kind) &&
		slices.ContainsFunc(it.Findings, func(f report.Finding) bool { return f.Check == c.check && f.Severity == report.Block })
}

// packedName is the canary in the archive.
const packedName = "EICAR.COM"

// zipped compresses one file into an archive. Behind what is to be found stand zeros, which make it shrink.
func zipped(name string, content []byte) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	// Neither can fail on a buffer.
	if f, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate}); err == nil {
		_, _ = f.Write(append(slices.Clone(content), make([]byte, 1<<10)...))
	}
	_ = w.Close()
	return b.Bytes()
}

// dicom puts content into a private element of a small file (PS3.10 section 7, PS3.5 section 7.1.2: explicit VR, least
// significant byte first; PS3.5 section 7.8: private elements).
func dicom(content []byte) []byte {
	element := func(group, number uint16, vr string, value []byte) []byte {
		pad := byte(' ')
		if vr == "UI" || vr == "OB" {
			pad = 0
		}
		if len(value)%2 == 1 {
			value = append(slices.Clone(value), pad)
		}
		b := binary.LittleEndian.AppendUint16(nil, group)
		b = binary.LittleEndian.AppendUint16(b, number)
		b = append(b, vr...)
		if vr == "OB" {
			b = binary.LittleEndian.AppendUint32(append(b, 0, 0), uint32(len(value)))
		} else {
			b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
		}
		return append(b, value...)
	}
	const secondary, explicit, uid = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.1.2.1", "2.25.1"
	meta := slices.Concat(
		element(2, 1, "OB", []byte{0, 1}), element(2, 2, "UI", []byte(secondary)), element(2, 3, "UI", []byte(uid)),
		element(2, 0x10, "UI", []byte(explicit)), element(2, 0x12, "UI", []byte("2.25.2")))
	return slices.Concat(make([]byte, 128), []byte("DICM"),
		element(2, 0, "UL", binary.LittleEndian.AppendUint32(nil, uint32(len(meta)))), meta,
		element(8, 0x16, "UI", []byte(secondary)), element(8, 0x18, "UI", []byte(uid)),
		element(9, 0x10, "LO", []byte("PRATIQUE CANARY")), element(9, 0x1001, "OB", content))
}
