package audit

import (
	"errors"
	"testing"
)

// Rows are read some at a time, from any place, and those that nobody would ask about are left out if nobody wants them.
func TestRowsAreReadFromAnyPlace(t *testing.T) {
	l, _ := newLog(t)
	id := sessionID(1)
	l.must(t, id, Attached{Source: Image, Bytes: 1, SectorSize: 512})
	items := l.NewItems(id, testKey)
	for i := range 25 { // every fifth has a finding
		if err := items.Add(t.Context(), testItem(i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := items.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var want []Item
	if err := l.ListItems(t.Context(), id, func(it Item) error { want = append(want, it); return nil }); err != nil {
		t.Fatal(err)
	}
	for _, odd := range []bool{false, true} {
		n := 0
		for from := int64(0); ; {
			rows, err := l.Rows(t.Context(), id, from, 4, odd)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rows {
				if got := want[r.Seq]; got.Name != r.Item.Name || got.Findings != r.Item.Findings || odd != (odd && got.Findings != "") {
					t.Errorf("row %d is %+v", r.Seq, r.Item)
				}
				n++
				from = r.Seq + 1
			}
			if len(rows) < 4 {
				break
			}
		}
		if all := map[bool]int{false: 25, true: 5}[odd]; n != all {
			t.Errorf("odd %v: %d rows, want %d", odd, n, all)
		}
	}
}

// A follower wants every entry of its span, and no other.
func TestAFollowerSeesWhatIsNotOfItsSpan(t *testing.T) {
	l, _ := newLog(t)
	for range 9 {
		l.must(t, ID{}, Read{0, 1})
	}
	span, err := l.Span(t.Context(), 2, 7)
	if err != nil {
		t.Fatal(err)
	}
	var all []Entry
	if err := l.List(t.Context(), ListOptions{}, func(e Entry) error { all = append(all, e); return nil }); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		entries []Entry
		sound   bool
	}{
		"whole":     {all[2:7], true},
		"cut":       {all[2:6], false},
		"longer":    {all[2:8], false},
		"earlier":   {all[1:7], false},
		"with gaps": {append(append([]Entry{}, all[2:4]...), all[5:7]...), false},
		"twice":     {append(append([]Entry{}, all[2:4]...), all[3:7]...), false},
	} {
		f, err := l.Follow(span)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range tt.entries {
			if err = f.Add(e); err != nil {
				break
			}
		}
		if err == nil {
			err = f.End()
		}
		if sound := err == nil; sound != tt.sound || !sound && !errors.Is(err, ErrBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	head, err := l.Accept(span.Before)
	if err != nil || head.Size != 2 || l.Origin() != testOrigin {
		t.Errorf("%+v %v", head, err)
	}
	if _, err := l.Accept("no note"); err == nil {
		t.Error("no note is accepted")
	}
}
