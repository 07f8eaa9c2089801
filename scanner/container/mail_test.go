package container

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// wrapped is text in lines of 76 letters.
func wrapped(s string) string {
	var b strings.Builder
	for len(s) > 76 {
		b.WriteString(s[:76] + "\r\n")
		s = s[76:]
	}
	return b.String() + s + "\r\n"
}

func uuencoded(name string, b []byte) string {
	var out strings.Builder
	fmt.Fprintf(&out, "begin 644 %s\n", name)
	for len(b) > 0 {
		row := b[:min(45, len(b))]
		b = b[len(row):]
		out.WriteByte(byte(' ' + len(row)))
		for i := 0; i < len(row); i += 3 {
			var v uint32
			for j := range 3 {
				v <<= 8
				if i+j < len(row) {
					v |= uint32(row[i+j])
				}
			}
			for j := range 4 {
				c := byte(v>>(18-6*j)) & 0x3F
				if c == 0 {
					c = '`' - ' '
				}
				out.WriteByte(' ' + c)
			}
		}
		out.WriteByte('\n')
	}
	return out.String() + "`\nend\n"
}

func yencoded(name string, b []byte) string {
	out := []byte(fmt.Sprintf("=ybegin line=128 size=%d name=%s\r\n", len(b), name))
	for i, c := range b {
		if c += 42; c == 0 || c == '\r' || c == '\n' || c == '=' {
			out = append(out, '=', c+64)
		} else {
			out = append(out, c)
		}
		if i%128 == 127 {
			out = append(out, "\r\n"...)
		}
	}
	return string(out) + "\r\n=yend size=0\r\n"
}

// binhexed is a file for Macintosh, with a run in its second fork.
func binhexed(name string, b []byte) string {
	raw := append([]byte{byte(len(name))}, name+"\x00TEXTttxt\x00\x00"...)
	raw = be.AppendUint32(raw, uint32(len(b)))
	raw = be.AppendUint32(raw, 100)
	raw = append(raw, 0, 0)
	raw = append(append(raw, b...), 0, 0)
	raw = append(raw, 'r', 0x90, 100, 0, 0)
	out := "(This file must be converted with BinHex 4.0)\r\n\r\n:"
	for i := 0; i < len(raw); i += 3 {
		var v uint32
		for j := range 3 {
			v <<= 8
			if i+j < len(raw) {
				v |= uint32(raw[i+j])
			}
		}
		for j := range 4 {
			out += string(binhexLetters[v>>(18-6*j)&0x3F])
		}
		if i%48 == 45 {
			out += "\r\n"
		}
	}
	return out + ":\r\n"
}

// quotedPrintable writes every byte that is no plain letter as a code, in soft lines.
func quotedPrintable(b []byte) string {
	var out strings.Builder
	for i, c := range b {
		if c < ' ' || c > '~' || c == '=' || i%7 == 0 {
			fmt.Fprintf(&out, "=%02X", c)
		} else {
			out.WriteByte(c)
		}
		if i%20 == 19 {
			out.WriteString("= \r\n")
		}
	}
	return out.String()
}

const mailHeaders = "Return-Path: <a@x.example>\r\nFrom: a@x.example\r\nSubject: a letter\r\n with two lines\r\nMIME-Version: 1.0\r\n"

func attached(encoding, body string) string {
	return mailHeaders + "Content-Type: multipart/mixed;\r\n boundary=\"=_b\"\r\n\r\nNo MIME here.\r\n--=_b\r\nContent-Type: text/plain\r\n\r\nHello\r\n--=_b\r\n" +
		"Content-Type: application/octet-stream; name=\"letter.txt\"\r\nContent-Transfer-Encoding: " + encoding + "\r\nContent-Disposition: attachment; filename=\"letter.txt\"\r\n\r\n" +
		body + "\r\n--=_b--\r\n"
}

// mails are mails and texts that hold a payload.
func mails() map[string][]byte {
	want := payload(3 * kib)
	in64 := wrapped(base64.StdEncoding.EncodeToString(want))
	inner := attached("base64", in64)
	odd := strings.ReplaceAll(strings.ReplaceAll(in64, "A", "A!"), "\r\n", "\n \n")
	return map[string][]byte{
		"base64.eml":    []byte(inner),
		"garbage.eml":   []byte(attached("BASE64 ", odd)),
		"quoted.eml":    []byte(attached("quoted-printable", quotedPrintable(want))),
		"uu.eml":        []byte(attached("x-uuencode", uuencoded("letter.txt", want))),
		"plain.eml":     []byte(attached("8bit", string(want))),
		"unclosed.eml":  []byte(strings.TrimSuffix(inner, "--=_b--\r\n")),
		"forwarded.eml": []byte(mailHeaders + "Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: message/rfc822\n\n" + inner + "\n--o--\n"),
		"nested.eml": []byte(mailHeaders + "Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/alternative; boundary=i\n\n--i\n\ntext\n--i\n" +
			"Content-Transfer-Encoding: base64\nContent-Disposition: attachment; filename*=utf-8''letter.txt\n\n" + in64 + "\n--i--\n--o--\n"),
		"two.mbox":      []byte("From a@x.example Sat Jan  1 00:00:00 2022\r\n" + mailHeaders + "\r\nHello\r\n\r\nFrom a@x.example Sat Jan  1 00:00:00 2022\r\n" + inner),
		"inline.eml":    []byte(mailHeaders + "\r\nHello\r\n" + uuencoded("letter.txt", want)),
		"letter.uue":    []byte("a text before\n" + uuencoded("letter.txt", want)),
		"letter.ync":    []byte(yencoded("letter.txt", want)),
		"letter.hqx":    []byte(binhexed("letter.txt", want)),
		"wholebody.eml": []byte(mailHeaders + "Content-Type: text/plain; name=letter.txt\r\nContent-Transfer-Encoding: base64\r\n\r\n" + in64),
	}
}

func TestT07_WhatMailsCarryComesOut(t *testing.T) {
	want := payload(3 * kib)
	for name, b := range mails() {
		for _, inline := range []int64{mib, 64 * kib} {
			k, res := take(t, New(inline), whole(b), name)
			found := false
			for path, data := range k.content {
				found = found || strings.HasSuffix(path, "letter.txt") && bytes.HasPrefix(data, want) && len(data) <= len(want)+8
			}
			if !found || !silent(k, res) {
				t.Errorf("%s: letter.txt is not among %q, %v %+v", name, k.order, res.Outcome, res.Findings)
			}
		}
	}
}

func TestTextsThatAreNoMailStayTexts(t *testing.T) {
	for _, text := range []string{"From: nobody\n\nSubject: none\n", "Dear all:\nTo: you\nSubject: this\n", "begin 644 of the story\nwas long ago\n", "key: value\nfrom: a\n", "begin 5 tests\n"} {
		if New(mib).Packed(whole([]byte(text))) {
			t.Errorf("%q is taken for a container", text)
		}
	}
}
