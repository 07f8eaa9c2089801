package split

import (
	"fmt"
	"testing"
)

func TestReadOutlinesAFile(t *testing.T) {
	o, ok := Read([]byte(`import "pe"
// rule none { condition: true }
private rule a : tag { condition: pe.is_pe }

global rule b
{
    meta:
        text = "with \"quotes\" and \x41"
        number = -3
        flag = true
    strings:
        $a = "x } condition: y" nocase
        $b = { 4D // }
          5A }
        $ = /z\/[^}]/i
    condition:
        a and any of ($*) or filesize < 3
}
`))
	if !ok || len(o.Rules) != 2 || fmt.Sprint(o.Imports) != "[pe]" {
		t.Fatalf("%+v, %v", o, ok)
	}
	a, b := o.Rules[0], o.Rules[1]
	if !a.Private || a.Global || a.Line != 3 || a.Condition != "pe.is_pe" || fmt.Sprint(a.Words) != "[pe is_pe]" || a.Text != "private rule a : tag { condition: pe.is_pe }" {
		t.Errorf("%+v", a)
	}
	if b.Private || !b.Global || b.Line != 5 || fmt.Sprint(b.Meta) != `[{text with "quotes" and A} {number } {flag }]` {
		t.Errorf("%+v", b)
	}
	if len(b.Strings) != 3 || b.Strings[0] != (String{"$a", 12, `"x } condition: y"`}) || b.Strings[1].Line != 13 || b.Strings[2] != (String{"$", 15, `/z\/[^}]/i`}) {
		t.Errorf("%+v", b.Strings)
	}
	if o, ok := Read([]byte("rule a { condition: true }\n\ninclude \"x\"\n")); ok || fmt.Sprint(o.Includes) != "[3]" {
		t.Errorf("an include: %+v, %v", o, ok)
	}
	for _, text := range []string{"rule", "rule a { condition: }", "rule a { meta: condition: true", "rule a { strings: $a = condition: $a } x", "\x00"} {
		if o, ok := Read([]byte(text)); ok {
			t.Errorf("%q: %+v", text, o)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("import \"pe\" private rule a : t { meta: a = -1 b = \"\\x4\" strings: $a = /x\\/y/i $b = { 4D } condition: a of them }"))
	f.Fuzz(func(t *testing.T, text []byte) {
		o, ok := Read(text)
		for _, r := range o.Rules {
			if !ok || r.Name == "" || r.Line < 1 {
				t.Errorf("%+v", r)
			}
		}
	})
}
