package p11

import (
	"errors"
	"strings"
	"testing"

	"pratique/scanner/frame"
)

func object(n int) []byte { return make([]byte, n) }

func TestARequestHasWhatItsVerbTakesAndNothingElse(t *testing.T) {
	good := []Request{
		{Verb: Open, Module: "/usr/lib/m.so", Token: "t", PIN: []byte("1")},
		{Verb: Make, Object: object(16)},
		{Verb: Make, Object: object(16), Seed: object(32)},
		{Verb: Find, Object: object(16)},
		{Verb: Sign, Object: object(16), Digest: object(32)},
		{Verb: MakeEd, Object: object(16)}, {Verb: FindEd, Object: object(16)},
		{Verb: SignEd, Object: object(16), Text: object(1)}, {Verb: SignEd, Object: object(16), Text: object(MaxText)},
	}
	for _, r := range good {
		if err := r.Check(); err != nil {
			t.Errorf("%+v: %v", r, err)
		}
	}
	for _, r := range []Request{
		{}, {Verb: "steal", Object: object(16)},
		{Verb: Open, Module: "m.so", Token: "t", PIN: []byte("1")},
		{Verb: Open, Module: "/m.so", Token: "t"},
		{Verb: Open, Module: "/m.so", Token: strings.Repeat("t", 33), PIN: []byte("1")},
		{Verb: Open, Module: "/" + strings.Repeat("m", 4096), Token: "t", PIN: []byte("1")},
		{Verb: Open, Module: "/m.so", Token: "t", PIN: []byte("1"), Object: object(16)},
		{Verb: Make, Object: object(15)}, {Verb: Make, Object: object(16), Seed: object(31)}, {Verb: Make, Object: object(16), Digest: object(32)},
		{Verb: Find}, {Verb: Find, Object: object(16), Seed: object(32)}, {Verb: Find, Object: object(16), PIN: []byte("1")},
		{Verb: Sign, Object: object(16)}, {Verb: Sign, Object: object(16), Digest: object(33)}, {Verb: Sign, Digest: object(32)},
		{Verb: MakeEd, Object: object(16), Seed: object(32)}, {Verb: MakeEd}, {Verb: FindEd, Object: object(16), Text: object(1)},
		{Verb: SignEd, Object: object(16)}, {Verb: SignEd, Object: object(16), Text: object(MaxText + 1)}, {Verb: SignEd, Text: object(1)},
		{Verb: SignEd, Object: object(16), Text: object(1), Digest: object(32)}, {Verb: Sign, Object: object(16), Digest: object(32), Text: object(1)},
	} {
		if r.Check() == nil {
			t.Errorf("%+v was taken", r)
		}
	}
}

func TestAReplyHasWhatWasAskedFor(t *testing.T) {
	for _, row := range []struct {
		verb  Verb
		reply Reply
		good  bool
	}{
		{Open, Reply{}, true}, {Open, Reply{Point: object(65)}, false},
		{Make, Reply{Point: object(65)}, true}, {Make, Reply{}, false}, {Make, Reply{Point: object(65), Seed: object(32)}, false},
		{Find, Reply{Point: object(65), Seed: object(32)}, true}, {Find, Reply{Point: object(65)}, true}, {Find, Reply{Point: object(65), Seed: object(33)}, false},
		{Sign, Reply{Signature: object(64)}, true}, {Sign, Reply{Signature: object(63)}, false}, {Sign, Reply{}, false},
		{MakeEd, Reply{Point: object(32)}, true}, {MakeEd, Reply{Point: object(65)}, false}, {FindEd, Reply{}, false}, {Make, Reply{Point: object(32)}, false},
		{FindEd, Reply{Point: object(32), Seed: object(32)}, false}, {SignEd, Reply{Signature: object(64)}, true}, {SignEd, Reply{Point: object(32)}, false},
		{Sign, Failure(errors.New("no")), true}, {Sign, Failure(errors.New(strings.Repeat("ä", 200))), true}, {Sign, Failure(errors.New("")), true},
		{Sign, Reply{Error: "no", Signature: object(64)}, false}, {Sign, Reply{Error: strings.Repeat("x", 300)}, false},
	} {
		if err := row.reply.Check(row.verb); (err == nil) != row.good {
			t.Errorf("%s %+v: %v", row.verb, row.reply, err)
		}
	}
}

// What either side takes from the other is within the sizes that the code behind it slices by.
func FuzzMessages(f *testing.F) {
	for _, v := range []any{Request{Verb: Sign, Object: object(16), Digest: object(32)}, Reply{Signature: object(64)}, Reply{Error: "no"}} {
		data, err := frame.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var q Request
		if frame.Unmarshal(data, &q) == nil && q.Check() == nil {
			if q.Verb == Sign && (len(q.Digest) != 32 || len(q.Object) != 16) || q.Verb == Open && (len(q.PIN) == 0 || q.Module[0] != '/') {
				t.Errorf("%+v", q)
			}
		}
		for verb, point := range map[Verb]int{Open: 0, Make: 65, Find: 65, Sign: 0, MakeEd: 32, FindEd: 32, SignEd: 0} {
			var r Reply
			if frame.Unmarshal(data, &r) == nil && r.Check(verb) == nil && r.Error == "" {
				if (verb == Sign || verb == SignEd) != (len(r.Signature) == 64) || len(r.Point) != point {
					t.Errorf("%s: %+v", verb, r)
				}
			}
		}
	})
}
