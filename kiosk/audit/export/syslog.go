package export

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// syslog is RFC 5424 (https://www.rfc-editor.org/rfc/rfc5424), a message in each line:
//
//	<PRI>1 TIME HOST pratique - KIND [meta sequenceId="N"][origin software="pratique"][timeQuality tzKnown="1" isSynced="0"] CEF
//
// The facility is 13, log audit. HOST is the log's name as far as it is printable ASCII; KIND the kind of entry, "item" or
// "checkpoint"; sequenceId the entry's index and one (section 7.3.1 counts from one, up to 2147483647). The clock of a station
// without a network is not known to be right, so isSynced is 0. All structured data are those that IANA registers.
//
// The message is ArcSight's Common Event Format, revision 0, which every collector of events reads: a header of seven fields
// cut by '|', in which '\' and '|' are escaped, then key=value, in which '\', '=' and line ends are. It is ASCII, so no BOM
// comes before it (section 6.4). cs1 to cs6 and cn1, cn2 have their labels beside them.
type syslog struct {
	x *Export
	w *bufio.Writer
}

func newSyslog(x *Export, w *bufio.Writer) form { return &syslog{x, w} }

// Severities of RFC 5424 section 6.2.1, with CEF's for the same: 0 to 10.
const (
	syslogAudit   = 13 // facility
	syslogError   = 3
	syslogWarning = 4
	syslogNotice  = 5
	syslogInfo    = 6
)

var cefSeverity = map[int]int{syslogError: 8, syslogWarning: 6, syslogNotice: 3, syslogInfo: 1}

func (s *syslog) begin(context.Context) error { return nil }

func (s *syslog) entry(r *Record) error { return s.write(syslogEntry(s.x.Origin, r)) }

func (s *syslog) item(r *Record, it *Item) error { return s.write(syslogItem(s.x.Origin, r, it)) }

func (s *syslog) end() error {
	return s.write(syslogCheckpoint(s.x.Origin, s.x.From, s.x.To, s.x.Last, s.x.Checkpoint))
}

func (s *syslog) write(message string) error {
	s.w.WriteString(message)
	return s.w.WriteByte('\n')
}

// syslogEntry is an entry as one message.
func syslogEntry(origin string, r *Record) string {
	severity := syslogInfo
	switch e := eventOf(r); {
	case e.outcome == serious:
		severity = syslogError
	case e.outcome == minor:
		severity = syslogWarning
	case !slices.Contains([]string{"attached", "decided", "issuing", "issued", "removed", "canary", "read"}, r.Kind):
		severity = syslogNotice // people did it, and not every day
	}
	ext := []detail{{"rt", fmt.Sprint(r.Time.UnixMilli())}, {"externalId", fmt.Sprint(r.Index)}, {"act", r.Verdict}, {"outcome", eventOf(r).outcome},
		{"reason", strings.Join(r.Codes, " ")}, {"suid", r.Person}, {"duid", r.Second}}
	ext = append(ext, labelled("cs", []detail{{"session", r.Session}, {"class", r.Class}, {"rules", r.Rules.String()}, {"port", r.Port}, {"what", r.What},
		{"digest", first(r.Digest, r.Content)}})...)
	if n := r.Counts; n != nil {
		ext = append(ext, labelled("cn", []detail{{"files", fmt.Sprint(n.Files)}, {"findings", fmt.Sprint(n.Findings)}})...)
	}
	return syslogLine(origin, syslogAudit, severity, r.Time, r.Kind, r.Index+1, cef(r.Kind, r.Text, cefSeverity[severity], ext))
}

func syslogItem(origin string, r *Record, it *Item) string {
	var found []string
	for _, f := range it.Findings {
		found = append(found, f.String())
	}
	severity := syslogNotice
	if r.Verdict != "cleared" {
		severity = syslogWarning
	}
	text := first(strings.Join(found, " "), "not scanned in full")
	ext := []detail{{"rt", fmt.Sprint(r.Time.UnixMilli())}, {"externalId", fmt.Sprintf("%d.%d", r.Index, it.Seq)}, {"fname", it.Name},
		{"fsize", fmt.Sprint(it.Size)}, {"fileHash", it.SHA256}, {"fileType", it.Type}, {"outcome", it.Outcome}}
	ext = append(ext, labelled("cs", []detail{{"session", r.Session}, {"class", r.Class}})...)
	return syslogLine(origin, syslogAudit, severity, r.Time, "item", r.Index+1, cef("item", text, cefSeverity[severity], ext))
}

// syslogCheckpoint is the message that ends a run of entries: a collector that keeps it is a witness of the log.
func syslogCheckpoint(origin string, from, to int64, at time.Time, signed string) string {
	note := base64.StdEncoding.EncodeToString([]byte(signed)) // its last line begins with a dash that is not ASCII
	ext := append([]detail{{"cnt", fmt.Sprint(to - from)}}, labelled("cs", []detail{{"checkpoint-base64", note}})...)
	text := fmt.Sprintf("checkpoint of %d entries", to)
	return syslogLine(origin, syslogAudit, syslogNotice, at, "checkpoint", to, cef("checkpoint", text, cefSeverity[syslogNotice], ext))
}

func syslogLine(origin string, facility, severity int, at time.Time, kind string, sequence int64, message string) string {
	if at.IsZero() {
		at = time.Unix(0, 0)
	}
	meta := ""
	if sequence > 0 && sequence <= math.MaxInt32 {
		meta = fmt.Sprintf(`[meta sequenceId="%d"]`, sequence)
	}
	return fmt.Sprintf(`<%d>1 %s %s pratique - %s %s[origin software="pratique"][timeQuality tzKnown="1" isSynced="0"] %s`, facility*8+severity,
		at.UTC().Format("2006-01-02T15:04:05.000000Z"), hostname(origin), kind, meta, message)
}

// hostname is the log's name as RFC 5424 lets a HOSTNAME be: printable ASCII without spaces, at most 255 of it.
func hostname(origin string) string {
	out := strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '?'
		}
		return r
	}, origin)
	return first(out[:min(len(out), 255)], "-")
}

// labelled numbers custom strings or numbers, each with its label. What is empty keeps its number, so that each name always
// has the same.
func labelled(prefix string, all []detail) []detail {
	var out []detail
	for i, d := range all {
		if d.value != "" {
			key := fmt.Sprintf("%s%d", prefix, i+1)
			out = append(out, detail{key + "Label", d.name}, detail{key, d.value})
		}
	}
	return out
}

// cef is one event. What is empty is left out.
func cef(kind, name string, severity int, ext []detail) string {
	header := strings.NewReplacer(`\`, `\\`, "|", `\|`, "\n", " ", "\r", " ")
	value := strings.NewReplacer(`\`, `\\`, "=", `\=`, "\n", `\n`, "\r", `\r`)
	var b strings.Builder
	fmt.Fprintf(&b, "CEF:0|Pratique|pratique|1|%s|%s|%d|", ascii(header.Replace(kind)), ascii(header.Replace(name)), severity)
	separator := ""
	for _, d := range ext {
		if d.value != "" {
			b.WriteString(separator + d.name + "=" + ascii(value.Replace(d.value)))
			separator = " "
		}
	}
	return b.String()
}

// ascii writes what is not printable ASCII as its number.
func ascii(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if r < ' ' || r > '~' {
			fmt.Fprintf(&b, "U+%04X", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
