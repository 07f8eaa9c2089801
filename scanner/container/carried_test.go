package container

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/url"
	"slices"
	"testing"
)

// tnef is a message of Outlook with an attachment, whose long name is a property.
func tnef(name string, data []byte) []byte {
	attribute := func(level byte, id uint32, b []byte) []byte {
		out := binary.LittleEndian.AppendUint32([]byte{level}, id)
		out = binary.LittleEndian.AppendUint32(out, uint32(len(b)))
		return append(append(out, b...), 0, 0)
	}
	props := []byte{2, 0, 0, 0, 3, 0, 5, 0x37, 1, 0, 0, 0, 0x1E, 0, 7, 0x37, 1, 0, 0, 0}
	props = binary.LittleEndian.AppendUint32(props, uint32(len(name)+1))
	props = append(append(props, name...), 0, 0, 0, 0)
	return slices.Concat([]byte("\x78\x9F\x3E\x22\x01\x00"), attribute(1, 0x00089006, []byte{0, 0, 1, 0}), attribute(2, tnefRender, make([]byte, 14)),
		attribute(2, tnefTitle, []byte("LETTER~1.TXT\x00")), attribute(2, tnefData, data), attribute(2, tnefProps, props),
		attribute(2, tnefRender, make([]byte, 14)), attribute(2, tnefTitle, []byte("second.txt\x00")), attribute(2, tnefData, data))
}

// study is a DICOM object with a document, behind a sequence whose ends are marked.
func study(explicit bool, data []byte) []byte {
	b := append(make([]byte, 128), "DICM\x02\x00\x00\x00UL\x04\x00\x00\x00\x00\x00"...)
	if explicit {
		b = append(b, "\x08\x00\x16\x00UI\x02\x001\x00\x08\x00\x40\x11SQ\x00\x00\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF\x42\x00\x11\x00LO\x02\x00xx\xFE\xFF\x0D\xE0\x00\x00\x00\x00\xFE\xFF\xDD\xE0\x00\x00\x00\x00\x42\x00\x11\x00OB\x00\x00"...)
	} else {
		b = append(b, "\x08\x00\x16\x00\x02\x00\x00\x001\x00\x42\x00\x11\x00"...)
	}
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(data))), data...)
}

// carriers are files that carry a payload in a form of their own.
func carriers() map[string][]byte {
	want := payload(6 * kib)
	in64 := base64.StdEncoding.EncodeToString(want)
	return map[string][]byte{
		"winmail.dat":   tnef("letter.txt", want),
		"explicit.dcm":  study(true, want),
		"implicit.dcm":  study(false, want),
		"address.html":  fmt.Appendf(nil, `<html><a download="letter.txt" href="data:application/octet-stream;base64,%s">x</a>`, in64),
		"escaped.html":  fmt.Appendf(nil, `<html><a href="data:;base64,%s">x</a>`, url.QueryEscape(in64)),
		"wrapped.svg":   fmt.Appendf(nil, `<svg><image href="data:image/png;base64,%s"/></svg>`, wrapped(in64)),
		"smuggled.html": fmt.Appendf(nil, `<html><script>var a = "%s"; new Blob([atob(a)])</script>`, in64),
	}
}

func TestT07_WhatOtherFormsCarryComesOut(t *testing.T) {
	want := payload(6 * kib)
	for name, b := range carriers() {
		k, res := takeBytes(t, b, name)
		if holds(k, want) == "" || !silent(k, res) {
			t.Errorf("%s: the payload is not among %q, %v %+v", name, k.order, res.Outcome, res.Findings)
		}
	}
	if k, _ := takeBytes(t, carriers()["winmail.dat"], "winmail.dat"); !bytes.Equal(k.content["letter.txt"], want) || !bytes.Equal(k.content["second.txt"], want) {
		t.Errorf("attachments of Outlook: %q", k.order)
	}
}

// A study has thousands of images, and none of them is a container.
func TestImagesOfAStudyAreNoContainers(t *testing.T) {
	image := study(true, nil)
	image = append(image[:len(image)-12], "\xE0\x7F\x10\x00OW\x00\x00\x10\x00\x00\x00"...)
	image = append(image, make([]byte, 16)...)
	if New(mib).Packed(whole(image)) {
		t.Error("an image is taken for a container")
	}
}

// The words with which the ring begins are a part of the format.
func TestTheTextOfAMessageIsUnpacked(t *testing.T) {
	if len(lzfuWords) != 207 {
		t.Errorf("%d words", len(lzfuWords))
	}
	// The example of [MS-OXRTFCP] 4.1.1.
	packed := []byte("\x2d\x00\x00\x00\x2b\x00\x00\x00\x4c\x5a\x46\x75\xf1\xc5\xc7\xa7\x03\x00\x0a\x00\x72\x63\x70\x67\x31\x32\x35\x42\x32\x0a\xf3\x20\x68\x65\x6c\x09\x00\x20\x62\x77\x05\xb0\x6c\x64\x7d\x0a\x80\x0f\xa0")
	r, err := newLZFu(bytes.NewReader(packed))
	var b bytes.Buffer
	if err == nil {
		_, err = b.ReadFrom(r)
	}
	if want := "{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"; err != nil || b.String() != want {
		t.Errorf("%q, %v", b.String(), err)
	}
}
