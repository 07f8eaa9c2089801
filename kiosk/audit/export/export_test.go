package export

import (
	"bytes"
	"testing"
	"time"

	"pratique/kiosk/audit"
)

// The same period gives the same bytes in every form, now and after the log has grown, and Sum is what they are.
func TestTheSamePeriodGivesTheSameBytes(t *testing.T) {
	r := newRig(t)
	r.days(20)
	until := r.now.Add(time.Hour)
	before := map[Format][]byte{}
	for _, f := range Formats() {
		before[Format(f)] = r.write(r.plan(Options{Until: until}), Format(f))
	}
	r.now = until.Add(time.Minute)
	r.session(audit.NotCleared, "imaging", 12, testPack)
	for f, want := range before {
		x := r.plan(Options{Until: until})
		if got := r.write(x, f); !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, and later %d others", f, len(want), len(got))
		}
		sum, err := x.Sum(t.Context(), f)
		if err != nil || sum.Bytes != int64(len(want)) || sum.Entries != x.To-x.From || sum.SHA256 == (audit.Digest{}) {
			t.Errorf("%s: %+v %v", f, sum, err)
		}
		if whole := r.write(r.plan(Options{}), f); bytes.Equal(whole, want) {
			t.Errorf("%s: a longer period is the same", f)
		}
	}
}
