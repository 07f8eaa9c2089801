package feed

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"pratique/rules/blocklist"
)

var now = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

// Hashes of files that nobody has.
var (
	a256 = fmt.Sprintf("%x", sha256.Sum256([]byte("a file of a test")))
	b256 = fmt.Sprintf("%x", sha256.Sum256([]byte("another file of a test")))
	a1   = fmt.Sprintf("%x", sha1.Sum([]byte("a file of a test")))
	a5   = fmt.Sprintf("%x", md5.Sum([]byte("a file of a test")))
)

func take(t testing.TB, format Format, text string) (string, Report, error) {
	t.Helper()
	var out bytes.Buffer
	report, err := Import(context.Background(), strings.NewReader(text), &out, Options{Format: format, Now: now, Poison: NewPoison()})
	return out.String(), report, err
}

func stix(pattern, more string) string {
	return `{"type":"bundle","objects":[{"type":"identity","name":"x"},{"type":"indicator","pattern_type":"stix","name":"Some family","pattern":"` + pattern + `"` + more + `}]}`
}

func TestFeedsBecomeLists(t *testing.T) {
	for _, tt := range []struct {
		name   string
		format Format
		text   string
		want   string
	}{
		{"plain", Plain, "# head\n" + a256 + "\r\n\n" + strings.ToUpper(a1) + "  name of a file\n" + a5 + ", x\n", a256 + "\n" + a1 + "\n" + a5 + "\n"},
		{"a byte order mark", Plain, "\uFEFF" + a256 + "\n", a256 + "\n"},
		{"hdb", HDB, a5 + ":4711:Win.Test-1\n" + a256 + ":*:Win.Test-2:73\n", a5 + " # Win.Test-1\n" + a256 + " # Win.Test-2\n"},
		{"csv", CSV, "# \"first_seen_utc\",\"sha256_hash\"\n\"2026-01-02 03:04:05\", \"" + a256 + "\", \"" + a5 + "\", \"" + a1 + "\", \"r\", \"f.exe\", \"exe\", \"m\", \"Fam\"\n", a256 + " # Fam\n"},
		{"stix", STIX, stix("[file:hashes.'SHA-256' = '"+a256+"']", `,"valid_from":"2026-01-01T00:00:00Z"`), a256 + " # Some_family\n"},
		{"stix, two hashes and a fuzzy one", STIX, stix("[file:hashes.MD5 = '"+a5+"' OR file:hashes.\\\"SHA-1\\\" = '"+a1+"' OR file:hashes.SSDEEP = 'x']", ""), a5 + " # Some_family\n" + a1 + " # Some_family\n"},
		{"misp", MISP, `{"Event":{"info":"x","Attribute":[{"type":"sha256","value":"` + a256 + `","to_ids":true,"timestamp":"1700000000"},{"type":"domain","value":"x.example"}],"Object":[{"name":"file","Attribute":[{"type":"filename|sha1","value":"x.exe|` + a1 + `","to_ids":true},{"type":"malware-sample","value":"x|` + a5 + `","to_ids":true}]}]}}`, a256 + "\n" + a1 + "\n" + a5 + "\n"},
		{"misp, a response of many", MISP, `{"response":[{"Event":{"Attribute":[{"type":"md5","value":"` + a5 + `"}]}}]}`, a5 + "\n"},
		{"a name that is several lines", HDB, a5 + ":100:a\x1b[2J\u202eb c\n", a5 + " # a__2J_b_c\n"},
	} {
		got, report, err := take(t, tt.format, tt.text)
		if err != nil || got != tt.want {
			t.Errorf("%s: %q, want %q; %v, %v", tt.name, got, tt.want, report, err)
		}
		var list bytes.Buffer
		if _, err := blocklist.Compile(&list, strings.NewReader(got)); err != nil {
			t.Errorf("%s: a station does not take it: %v", tt.name, err)
		}
	}
}

// What would make every kiosk refuse every stick, or say what nobody can know.
func TestT15_PoisonInAFeedIsRefused(t *testing.T) {
	hash := func(content string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(content))) }
	for _, tt := range []struct {
		name   string
		format Format
		text   string
		why    string
	}{
		{"the empty file", Plain, hash(""), "empty"},
		{"the empty file by its MD5", Plain, "d41d8cd98f00b204e9800998ecf8427e", "empty"},
		{"the empty file by its SHA-1", HDB, "da39a3ee5e6b4b0d3255bfef95601890afd80709:*:Evil:73", "empty"},
		{"one byte", Plain, hash("\x00"), "tiny"}, {"a line break", Plain, hash("\r\n"), "tiny"}, {"an empty archive", Plain, hash("PK\x05\x06" + strings.Repeat("\x00", 18)), "tiny"},
		{"a sector of zeros", Plain, hash(strings.Repeat("\x00", 512)), "one byte"}, {"a megabyte of zeros", Plain, hash(strings.Repeat("\x00", 1<<20)), "one byte"},
		{"a cluster of ones", Plain, hash(strings.Repeat("\xff", 4096)), "one byte"},
		{"zeros for a hash", Plain, strings.Repeat("0", 64), "placeholder"}, {"no hash", Plain, "malware", "no MD5"}, {"a hash too short", Plain, a256[:63], "no MD5"},
		{"no hex", Plain, strings.Repeat("g", 64), "no MD5"}, {"SHA-512", Plain, a256 + b256, "no MD5"},
		{"a file of 9 bytes", HDB, a5 + ":9:x", "fewer than 64"}, {"a size that is none", HDB, a5 + ":-1:x", "size"}, {"no name", HDB, a5 + ":100", "HASH:SIZE:NAME"},
		{"a section of a program", HDB, "100:" + a5 + ":x:y:z:w", "HASH:SIZE:NAME"},
		{"seen tomorrow and a day", CSV, "\"2026-11-23 00:00:01\",\"" + a256 + "\"", "future"}, {"seen never", CSV, "\"x\",\"" + a256 + "\"", "date"},
		{"a broken quote", CSV, "\"2026-01-01 00:00:00,\"" + a256, "CSV"},
		{"valid from next year", STIX, stix("[file:hashes.MD5 = '"+a5+"']", `,"valid_from":"2027-11-22T00:00:00Z"`), "future"},
		{"made next year, valid now", STIX, stix("[file:hashes.MD5 = '"+a5+"']", `,"created":"2027-11-22T00:00:00Z","valid_from":"2026-01-01T00:00:00Z"`), "future"},
		{"revoked", STIX, stix("[file:hashes.MD5 = '"+a5+"']", `,"revoked":true`), "withdrawn"},
		{"run out", STIX, stix("[file:hashes.MD5 = '"+a5+"']", `,"valid_until":"2025-11-22T00:00:00Z"`), "no longer"},
		{"a date that is none", STIX, stix("[file:hashes.MD5 = '"+a5+"']", `,"valid_from":"soon"`), "date"},
		{"a pattern that says what is good", STIX, stix("[NOT file:hashes.MD5 = '"+a5+"']", ""), "NOT"},
		{"two patterns in one", STIX, stix("[file:hashes.MD5 = '"+a5+"']", `,"pattern":"[file:hashes.MD5 = '`+a5+`']"`), "twice"},
		{"the empty file in STIX", STIX, stix("[file:hashes.'SHA-256' = '"+hash("")+"']", ""), "empty"},
		{"not for detection", MISP, `{"Attribute":[{"type":"md5","value":"` + a5 + `","to_ids":false}]}`, "not meant"},
		{"deleted", MISP, `{"Attribute":[{"type":"md5","value":"` + a5 + `","deleted":true}]}`, "withdrawn"},
		{"of the next century", MISP, `{"Attribute":[{"type":"md5","value":"` + a5 + `","timestamp":"4102444800"}]}`, "future"},
		{"at no time", MISP, `{"Attribute":[{"type":"md5","value":"` + a5 + `","timestamp":"-1"}]}`, "date"},
		{"a sample without a hash", MISP, `{"Attribute":[{"type":"malware-sample","value":"x"}]}`, "no MD5"},
	} {
		got, report, err := take(t, tt.format, tt.text)
		if err != nil || got != "" || report.Taken != 0 || len(report.Examples) == 0 || !strings.Contains(report.Examples[0].Why, tt.why) {
			t.Errorf("%s: %q, %v, %v", tt.name, got, report, err)
		}
	}
}

func TestOneRefusedEntryLeavesTheOthers(t *testing.T) {
	got, report, err := take(t, Plain, a256+"\nd41d8cd98f00b204e9800998ecf8427e\n"+b256+"\n")
	if err != nil || got != a256+"\n"+b256+"\n" || report.Taken != 2 || report.Refused["the hash of the empty file"] != 1 || report.Examples[0].Entry != 2 {
		t.Errorf("%q, %v, %v", got, report, err)
	}
	if !strings.Contains(report.String(), "2 hashes taken") || !strings.Contains(report.String(), "entry 2: the hash of the empty file") {
		t.Errorf("the report:\n%v", report)
	}
}

func TestCleanFilesAreRefusedByEachHash(t *testing.T) {
	p := NewPoison()
	p.Add([]byte("a file of a test"), "the hash of a clean file")
	for _, hash := range []string{a256, a1, a5} {
		report, err := Import(context.Background(), strings.NewReader(hash), io.Discard, Options{Format: Plain, Now: now, Poison: p})
		if err != nil || report.Taken != 0 || report.Refused["the hash of a clean file"] != 1 {
			t.Errorf("%s: %v, %v", hash, report, err)
		}
	}
}

func TestWhatIsNoFeedIsAnError(t *testing.T) {
	for name, tt := range map[string]struct {
		format Format
		text   string
	}{
		"nothing": {Plain, ""}, "only comments": {Plain, "# x\n"}, "a line without an end": {Plain, strings.Repeat("a", maxLine+1)},
		"a NUL byte": {HDB, "a\x00b\n"}, "no JSON": {STIX, "malware"}, "JSON that breaks off": {STIX, stix("x", "")[:60]},
		"JSON too deep": {MISP, strings.Repeat("[", maxDepth+1)}, "a string without an end": {MISP, `{"value":"` + strings.Repeat("a", 3*maxString) + `"}`},
		"two documents, the second broken": {STIX, "{}{"}, "no such format": {"yara", a256},
	} {
		if _, report, err := take(t, tt.format, tt.text); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v, %v", name, report, err)
		}
	}
}

func TestFormatsByName(t *testing.T) {
	for name, want := range map[string]Format{"main.hdb": HDB, "x.HSB": HDB, "full.csv": CSV, "x.json": STIX, "misp-event.json": MISP, "sha256.txt": Plain, "x": Plain} {
		if got := FormatOf(name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// repeat is a feed without an end.
type repeat struct {
	head, text string
	left       int
}

func (r *repeat) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, io.EOF
	}
	text := r.text
	if r.head != "" {
		text, r.head = r.head, ""
	}
	n := copy(p, text)
	r.left -= n
	return n, nil
}

func TestFeedsAreReadInBoundedMemory(t *testing.T) {
	for name, tt := range map[string]struct {
		format Format
		in     *repeat
	}{
		"lines": {Plain, &repeat{text: a256 + "\n", left: 4 << 20}},
		"json":  {MISP, &repeat{head: "[", text: `{"type":"sha256","value":"` + a256 + `"},`, left: 4 << 20}},
		"keys":  {STIX, &repeat{head: "{", text: `"type":"indicator","x":"y",`, left: 4 << 20}},
	} {
		opt := Options{Format: tt.format, Now: now, Poison: NewPoison()}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		report, err := Import(context.Background(), tt.in, io.Discard, opt)
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 8<<20 {
			t.Errorf("%s: %d MB for %v, %v", name, grown>>20, report, err)
		}
	}
}

func fuzz(f *testing.F, format Format, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	poison := NewPoison()
	f.Fuzz(func(t *testing.T, text []byte) {
		var out, list bytes.Buffer
		report, err := Import(context.Background(), bytes.NewReader(text), &out, Options{Format: format, Now: now, Poison: poison})
		if err != nil {
			return
		}
		stats, err := blocklist.Compile(&list, &out)
		if err != nil {
			t.Fatalf("a station does not take what was taken: %v", err)
		}
		if n := stats.Hashes[blocklist.MD5] + stats.Hashes[blocklist.SHA1] + stats.Hashes[blocklist.SHA256] + stats.Duplicates; n != report.Taken {
			t.Fatalf("%d taken, %d compiled", report.Taken, n)
		}
	})
}

func FuzzPlain(f *testing.F) { fuzz(f, Plain, a256+"\n# x\n"+a5+" y") }
func FuzzHDB(f *testing.F)   { fuzz(f, HDB, a5+":100:x\n"+a256+":*:y:73\n") }
func FuzzCSV(f *testing.F) {
	fuzz(f, CSV, "\"2026-01-02 03:04:05\", \""+a256+"\", \"\", \"\", \"\", \"\", \"\", \"\", \"n\"\n")
}
func FuzzSTIX(f *testing.F) {
	fuzz(f, STIX, stix("[file:hashes.'SHA-256' = '"+a256+"']", `,"valid_from":"2026-01-01T00:00:00Z"`))
}
func FuzzMISP(f *testing.F) {
	fuzz(f, MISP, `{"Event":{"Attribute":[{"type":"filename|md5","value":"x|`+a5+`","to_ids":true,"timestamp":"1700000000"}]}}`)
}
