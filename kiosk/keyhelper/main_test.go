package main

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"pratique/rules/p11"
	"pratique/scanner/frame"
)

// messages is what a client sends.
func messages(t testing.TB, list ...any) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := frame.NewWriter(&b)
	for _, m := range list {
		if err := w.Write(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func TestRequestsThatBreakTheRulesEndTheHelper(t *testing.T) {
	object := make([]byte, 16)
	for name, in := range map[string]*bytes.Buffer{
		"a signature before a token is open": messages(t, p11.Request{Verb: p11.Sign, Object: object, Digest: make([]byte, 32)}),
		"an unknown verb":                    messages(t, p11.Request{Verb: "dump"}),
		"a digest of another size":           messages(t, p11.Request{Verb: p11.Sign, Object: object, Digest: make([]byte, 20)}),
		"an unknown field":                   messages(t, map[int]any{1: "open", 99: "x"}),
		"no message":                         bytes.NewBufferString("hello, helper"),
		"a cut message":                      bytes.NewBuffer(messages(t, p11.Request{Verb: p11.Find, Object: object}).Bytes()[:9]),
		"a huge message":                     bytes.NewBuffer([]byte{0x7F, 0xFF, 0xFF, 0xFF}),
	} {
		if err := serve(in, io.Discard); err == nil {
			t.Errorf("%s: it went on", name)
		}
	}
	if err := serve(bytes.NewReader(nil), io.Discard); err != nil {
		t.Errorf("an end without a word: %v", err)
	}
}

func TestATokenThatIsNotThereIsAReply(t *testing.T) {
	var out bytes.Buffer
	in := messages(t, p11.Request{Verb: p11.Open, Module: t.TempDir() + "/none.so", Token: "t", PIN: []byte("1")})
	if err := serve(in, &out); err != nil {
		t.Fatal(err)
	}
	var r p11.Reply
	if err := frame.NewReader(&out).Next(&r); err != nil || !strings.Contains(r.Error, "module") || r.Check(p11.Open) != nil {
		t.Errorf("%+v %v", r, err)
	}
}

func FuzzServe(f *testing.F) {
	f.Add(messages(f, p11.Request{Verb: p11.Find, Object: make([]byte, 16)}).Bytes())
	f.Add(messages(f, p11.Request{Verb: p11.Sign, Object: make([]byte, 16), Digest: make([]byte, 32)}).Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.Contains(data, []byte("open")) { // it would load what the input names
			return
		}
		_ = serve(bytes.NewReader(data), io.Discard)
	})
}
