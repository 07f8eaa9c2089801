package export

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Whatever the length of a period, its bars fit on a page, cover all of it and are in order; what lies outside of it, since a clock
// jumped, is counted at an end.
func TestBarsCoverThePeriod(t *testing.T) {
	begin := time.Date(2026, 2, 27, 22, 30, 0, 0, time.UTC)
	for length, want := range map[time.Duration]string{0: "hour", 40 * time.Hour: "hour", 50 * 24 * time.Hour: "day", 300 * 24 * time.Hour: "week",
		3 * 365 * 24 * time.Hour: "month", 50 * 365 * 24 * time.Hour: "year", 290 * 365 * 24 * time.Hour: "year"} {
		s := newStats(begin, begin.Add(length))
		if s.unit.name != want || len(s.buckets) == 0 || len(s.buckets) > maxBuckets || s.buckets[0].start.After(begin) {
			t.Errorf("%v: %d bars by %s from %v", length, len(s.buckets), s.unit.name, s.buckets[0].start)
		}
		for i := range s.buckets[1:] {
			if !s.buckets[i+1].start.After(s.buckets[i].start) {
				t.Errorf("%v: bar %d begins at %v", length, i+1, s.buckets[i+1].start)
			}
		}
		last := &s.buckets[len(s.buckets)-1]
		if s.bucket(begin.AddDate(-9, 0, 0)) != &s.buckets[0] || s.bucket(begin.Add(length).AddDate(9, 0, 0)) != last || s.bucket(begin) != &s.buckets[0] {
			t.Errorf("%v: a time is counted in the wrong bar", length)
		}
	}
	if monday := newStats(begin, begin.AddDate(1, 0, 0)).buckets[0].start; monday.Weekday() != time.Monday || monday.Hour() != 0 {
		t.Errorf("weeks begin on %v", monday)
	}
}

// What the report counts by words is bounded, however many words there are, and nothing is lost in the sum.
func TestWordsAreCountedWithinABound(t *testing.T) {
	var c counted
	for i := range 3 * maxWords {
		c.add(fmt.Sprintf("rule_%05d", i%(maxWords+500)))
	}
	top, others := c.most(3)
	sum := others
	for _, o := range top {
		sum += o.count
	}
	if len(c) > maxWords+1 || sum != 3*maxWords || top[0].word != "other" {
		t.Errorf("%d words, %d in all, %+v", len(c), sum, top)
	}
	var l latest
	for i := range int64(3 * maxLatest) {
		l.add(&Record{Index: i, Session: strings.Repeat("ab", 16)})
	}
	if len(l.rows) != maxLatest || l.total != 3*maxLatest || l.rows[maxLatest-1][1] != itoa(3*maxLatest-1) || l.rows[0][2] != "abababab" {
		t.Errorf("%d of %d rows, last %v", len(l.rows), l.total, l.rows[len(l.rows)-1])
	}
	for top, want := range map[uint64][2]uint64{0: {1, 1}, 1: {1, 1}, 5: {1, 5}, 6: {2, 3}, 11: {5, 3}, 99: {20, 5}, 1<<64 - 1: {5e17, 3}} {
		if step, ticks := scale(top); step != want[0] || uint64(ticks) != want[1] {
			t.Errorf("an axis up to %d has %d steps of %d", top, ticks, step)
		}
	}
}
