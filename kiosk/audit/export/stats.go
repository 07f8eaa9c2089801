package export

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// stats is what the report counts. It grows with the days of the period and with the different words in it, each bounded, and
// not with the log.
type stats struct {
	unit    unit
	buckets []bucket

	sessions, issued, overrides, denied, recalled, refused, aborted, failed uint64
	verdicts                                                                [3]uint64
	files, bytes                                                            uint64
	behind                                                                  uint64 // entries made while the clock was behind
	findings, reasons, ports                                                counted
	classes                                                                 map[string]*[3]uint64
	packs                                                                   []packChange
	trouble, acts                                                           latest
}

// The verdicts, in the order of the charts.
const (
	cleared = iota
	notCleared
	couldNotCheck
)

var verdictNames = [3]string{"cleared", "not cleared", "could not check"}

func verdictOf(word string) int {
	if i := slices.Index(verdictNames[:], word); i >= 0 {
		return i
	}
	return couldNotCheck
}

// bucket is one bar of the chart over time.
type bucket struct {
	start    time.Time
	sessions uint64
	verdicts [3]uint64
}

// packChange is a rule pack that was put in force.
type packChange struct {
	at   time.Time
	name string
}

// Limits on what the report keeps.
const (
	maxBuckets = 62   // bars on a page that can still be told apart: two months of days
	maxWords   = 2000 // different rules, reasons, ports or classes; more are counted as "other"
	maxLatest  = 120  // lines of a table: three pages
	maxPacks   = 2000
)

// unit is the length of a bucket.
type unit struct {
	name   string
	begin  func(time.Time) time.Time // of the bucket that a time is in
	next   func(time.Time) time.Time
	layout string
}

func day(t time.Time) time.Time { return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC) }

var units = []unit{
	{"hour", func(t time.Time) time.Time { return t.Truncate(time.Hour) }, func(t time.Time) time.Time { return t.Add(time.Hour) }, "15:04"},
	{"day", day, func(t time.Time) time.Time { return t.AddDate(0, 0, 1) }, "2 Jan"},
	{"week", func(t time.Time) time.Time { return day(t).AddDate(0, 0, -(int(t.Weekday())+6)%7) },
		func(t time.Time) time.Time { return t.AddDate(0, 0, 7) }, "2 Jan"},
	{"month", func(t time.Time) time.Time { return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC) },
		func(t time.Time) time.Time { return t.AddDate(0, 1, 0) }, "Jan 06"},
	{"year", func(t time.Time) time.Time { return time.Date(t.Year(), 1, 1, 0, 0, 0, 0, time.UTC) },
		func(t time.Time) time.Time { return t.AddDate(1, 0, 0) }, "2006"},
}

// newStats lays out the bars over a period.
func newStats(from, to time.Time) *stats {
	s := &stats{classes: map[string]*[3]uint64{}}
	for _, u := range units {
		s.unit, s.buckets = u, nil
		for at := u.begin(from); !at.After(to) && len(s.buckets) <= maxBuckets; at = u.next(at) {
			s.buckets = append(s.buckets, bucket{start: at})
		}
		if len(s.buckets) <= maxBuckets {
			break
		}
	}
	s.buckets = s.buckets[:min(len(s.buckets), maxBuckets)]
	return s
}

// bucket returns the bar that a time belongs to. One that lies outside, since the clock jumped, counts at the nearest end.
func (s *stats) bucket(at time.Time) *bucket {
	if len(s.buckets) == 0 {
		return &bucket{}
	}
	i, found := slices.BinarySearchFunc(s.buckets, at, func(b bucket, t time.Time) int { return b.start.Compare(t) })
	if !found {
		i--
	}
	return &s.buckets[max(i, 0)]
}

func (s *stats) entry(r *Record) {
	if r.Behind > 0 {
		s.behind++
	}
	switch r.Kind {
	case "attached":
		s.sessions++
		s.bucket(r.Time).sessions++
		s.ports.add(first(r.Port, "command line"))
	case "decided":
		v := verdictOf(r.Verdict)
		s.verdicts[v]++
		s.bucket(r.Time).verdicts[v]++
		s.class(r.Class)[v]++
		for _, code := range r.Codes {
			s.reasons.add(code)
		}
		if r.Counts != nil && r.First {
			s.files += r.Counts.Files
			s.bytes += r.Counts.Bytes
		}
		if v != cleared {
			s.trouble.add(r)
		}
	case "issued":
		s.issued++
	case "denied":
		s.denied++
		s.trouble.add(r)
	case "recalled":
		s.recalled++
		s.trouble.add(r)
	case "refused":
		s.refused++
		s.trouble.add(r)
	case "aborted":
		s.aborted++
		s.trouble.add(r)
	case "failed":
		s.failed++
		s.trouble.add(r)
	case "override":
		s.trouble.add(r)
	case "issuing":
		if len(r.Codes) > 0 { // two people let through what was not cleared
			s.overrides++
			s.trouble.add(r)
		}
	case "abandoned", "removed":
	case "canary":
		if len(r.failed) > 0 {
			s.trouble.add(r)
		}
	case "pack":
		if len(r.Codes) == 0 && len(s.packs) < maxPacks {
			s.packs = append(s.packs, packChange{r.Time, r.Rules.String()})
		}
		s.acts.add(r)
	default:
		s.acts.add(r)
	}
}

func (s *stats) item(it *Item) {
	for _, f := range it.Findings {
		s.findings.add(f.String())
	}
	if len(it.Findings) == 0 {
		s.findings.add("not scanned in full: " + it.Outcome)
	}
}

func (s *stats) class(name string) *[3]uint64 {
	if s.classes[name] == nil {
		if len(s.classes) >= maxWords {
			name = "other"
		}
		if s.classes[name] == nil {
			s.classes[name] = new([3]uint64)
		}
	}
	return s.classes[name]
}

// classNames lists the classes, those with the most verdicts first.
func (s *stats) classNames() []string {
	names := slices.Sorted(maps.Keys(s.classes))
	slices.SortStableFunc(names, func(a, b string) int {
		sum := func(name string) uint64 { n := s.classes[name]; return n[0] + n[1] + n[2] }
		return cmp.Compare(sum(b), sum(a))
	})
	return names
}

// counted counts words.
type counted map[string]uint64

func (c *counted) add(word string) {
	if *c == nil {
		*c = counted{}
	}
	if (*c)[word] == 0 && len(*c) >= maxWords {
		word = "other"
	}
	(*c)[word]++
}

// one is a word with its count.
type one struct {
	word  string
	count uint64
}

// most returns the n words that were counted most often, and the sum of the others.
func (c counted) most(n int) (top []one, others uint64) {
	for _, word := range slices.Sorted(maps.Keys(c)) {
		top = append(top, one{word, c[word]})
	}
	slices.SortStableFunc(top, func(a, b one) int { return cmp.Compare(b.count, a.count) })
	for _, o := range top[min(n, len(top)):] {
		others += o.count
	}
	return top[:min(n, len(top))], others
}

// latest keeps the last lines of a table, and how many there were.
type latest struct {
	rows  [][]string
	total uint64
}

func (l *latest) add(r *Record) {
	l.total++
	if len(l.rows) == maxLatest {
		copy(l.rows, l.rows[1:])
		l.rows = l.rows[:maxLatest-1]
	}
	l.rows = append(l.rows, []string{r.Time.Format("2006-01-02 15:04:05"), itoa(r.Index), short(r.Session), r.Text,
		strings.TrimSpace(short(r.Person) + " " + short(r.Second))})
}

// short is what a table has of a session or a pseudonym: enough to find it in another form.
func short(digits string) string { return digits[:min(8, len(digits))] }
