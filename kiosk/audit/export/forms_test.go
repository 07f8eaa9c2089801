package export

import (
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"pratique/kiosk/audit"
)

// busy is a log with every kind of entry, and an export of all of it.
func busy(t testing.TB) (*rig, *Export) {
	r := newRig(t)
	r.days(12)
	return r, r.plan(Options{})
}

// Every audit message fits the grammar of PS3.15 A.5.1, and a message that does not is seen by the same test.
func TestAuditMessagesFitTheGrammarOfDICOM(t *testing.T) {
	r, x := busy(t)
	text := r.write(x, ATNA)
	valid := func(text []byte) error {
		cmd := exec.Command("xmllint", "--noout", "--relaxng", filepath.Join("testdata", "dicom-audit-message.rng"), "-")
		cmd.Stdin = bytes.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out[:min(len(out), 500)])
		}
		return nil
	}
	if err := valid(text); err != nil {
		t.Error(err)
	}
	for _, change := range [][2]string{{`EventOutcomeIndicator="0"`, `EventOutcomeIndicator="1"`}, {` UserIsRequestor="true"`, ""},
		{"<ParticipantObjectName>Security Audit Log</ParticipantObjectName>", ""}, {`.000Z"`, `"`}, {`EventActionCode="E"`, `EventActionCode="X"`}} {
		bad := bytes.Replace(text, []byte(change[0]), []byte(change[1]), 1)
		if change[0] == `.000Z"` {
			bad = bytes.Replace(text, []byte(`T07:`), []byte(` 07:`), 1)
		}
		if bytes.Equal(bad, text) || valid(bad) == nil {
			t.Errorf("nobody minds %q in the place of %q", change[1], change[0])
		}
	}
	var doc struct {
		Messages []xmlMessage `xml:"AuditMessage"`
	}
	if err := xml.Unmarshal(text, &doc); err != nil || int64(len(doc.Messages)) != x.To-x.From+1 {
		t.Fatalf("%d messages for %d entries: %v", len(doc.Messages), x.To-x.From, err)
	}
	last := doc.Messages[len(doc.Messages)-1]
	for _, d := range last.Object.Details {
		if value, err := base64.StdEncoding.DecodeString(d.Value); d.Type == "checkpoint" && (err != nil || string(value) != x.Checkpoint) {
			t.Errorf("the checkpoint is %q", value)
		}
	}
	if last.Event.ID.Code != auditLogUsed.value || last.Object.Name != auditLogName {
		t.Errorf("the export is told as %+v", last)
	}
}

// Every resource is a valid AuditEvent of FHIR R4 by HL7's own schema, and one that lacks something is not.
func TestEventsAreValidFHIR(t *testing.T) {
	r, x := busy(t)
	file, err := os.Open(filepath.Join("testdata", "fhir-r4-auditevent.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	doc, err := jsonschema.UnmarshalJSON(file)
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	const url = "http://hl7.org/fhir/json-schema/4.0"
	if err := compiler.AddResource(url, doc); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile(url + "#/definitions/AuditEvent")
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	lines := bytes.Split(bytes.TrimSuffix(r.write(x, FHIR), []byte("\n")), []byte("\n"))
	for _, text := range lines {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(v); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		// What the schema cannot say: R4's AuditEvent wants requestor on each agent, of which one is it, and ids are unique.
		e := v.(map[string]any)
		asked := 0
		for _, a := range e["agent"].([]any) {
			is, there := a.(map[string]any)["requestor"].(bool)
			if !there {
				t.Errorf("an agent without requestor: %s", text)
			}
			if is {
				asked++
			}
		}
		if id := e["id"].(string); asked != 1 || ids[id] || len(id) > 64 {
			t.Errorf("%d requestors in %s", asked, id)
		} else {
			ids[id] = true
		}
		for _, missing := range []string{"agent", "source", "type", "resourceType"} {
			kept := e[missing]
			delete(e, missing)
			if schema.Validate(e) == nil {
				t.Errorf("nobody misses %s", missing)
			}
			e[missing] = kept
		}
		e["patient"] = "DOE^JOHN"
		if schema.Validate(e) == nil {
			t.Error("nobody minds a field that FHIR does not have")
		}
	}
	if int64(len(lines)) != x.To-x.From+1 {
		t.Errorf("%d lines for %d entries", len(lines), x.To-x.From)
	}
}

// ocsfRequired are the attributes that version 1.3.0 requires of each class and object used here
// (https://schema.ocsf.io/1.3.0/classes).
var ocsfRequired = map[float64][]string{
	0: nil, 1008: nil, 6007: {"scan"}, 2004: {"finding_info"}, 3004: {"entity"}, 6002: {"app"},
}

var ocsfObjects = map[string][]string{"metadata": {"product", "version"}, "scan": {"type_id"}, "finding_info": {"title", "uid"}, "app": {"vendor_name"}}

func TestEventsHaveWhatOCSFRequires(t *testing.T) {
	r, x := busy(t)
	classes := map[float64]int{}
	for text := range bytes.Lines(r.write(x, OCSF)) {
		var e map[string]any
		if err := json.Unmarshal(text, &e); err != nil {
			t.Fatal(err)
		}
		class, ok := e["class_uid"].(float64)
		required, known := ocsfRequired[class]
		if !ok || !known {
			t.Fatalf("class %v", e["class_uid"])
		}
		classes[class]++
		for _, name := range append([]string{"activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"}, required...) {
			if e[name] == nil {
				t.Errorf("class %v lacks %s", class, name)
			}
		}
		if e["type_uid"] != class*100+e["activity_id"].(float64) || e["category_uid"] != float64(int(class)/1000) {
			t.Errorf("class %v: type %v, category %v", class, e["type_uid"], e["category_uid"])
		}
		for name, fields := range ocsfObjects {
			object, there := e[name].(map[string]any)
			for _, field := range fields {
				if there && object[field] == nil {
					t.Errorf("class %v: %s lacks %s", class, name, field)
				}
			}
		}
		if entity, there := e["entity"].(map[string]any); there && entity["name"] == "" && entity["uid"] == "" { // at least one of them
			t.Errorf("an entity without a name: %s", text)
		}
		if at := time.UnixMilli(int64(e["time"].(float64))); at.Year() != 2026 {
			t.Errorf("a time in %d", at.Year())
		}
	}
	if len(classes) != len(ocsfRequired) || classes[0] != 1 { // only a failure outside of any session is of no class
		t.Errorf("events of classes %v", classes)
	}
}

// syslogForm is RFC 5424's ABNF (section 6) as far as these messages use it.
var syslogForm = regexp.MustCompile(`^<([0-9]{1,3})>1 ([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{1,6}Z) ([!-~]{1,255}) ([!-~]{1,48}) - ([!-~]{1,32}) ` +
	`((?:\[[!#-<>-\\^-~]{1,32}(?: [!#-<>-\\^-~]{1,32}="(?:[^"\\\]]|\\["\\\]])*")*\])+) ([ -~]*)$`)

// Every line is one message of RFC 5424 whose text is one event of CEF, whatever the log's name is.
func TestLinesAreMessagesOfRFC5424(t *testing.T) {
	r, x := busy(t)
	for i, text := range strings.Split(strings.TrimSuffix(string(r.write(x, Syslog)), "\n"), "\n") {
		m := syslogForm.FindStringSubmatch(text)
		if m == nil || len(text) > 2048 {
			t.Fatalf("line %d is no message: %s", i, text)
		}
		if !strings.HasPrefix(m[7], "CEF:0|Pratique|pratique|1|"+m[5]+"|") || len(cutCEF(m[7])) != 8 {
			t.Errorf("line %d is no CEF: %s", i, m[7])
		}
	}
	hostile := cef("a|b\\c", "x|y\nz=\u202e", 3, []detail{{"msg", "a=b\\c\r\nd|e"}, {"empty", ""}})
	if want := `CEF:0|Pratique|pratique|1|a\|b\\c|x\|y z=U+202E|3|msg=a\=b\\c\r\nd|e`; hostile != want {
		t.Errorf("%s\nwant %s", hostile, want)
	}
	if host := hostname("kiosk süd\x00" + strings.Repeat("x", 300)); len(host) != 255 || strings.ContainsAny(host, " \x00ü") {
		t.Errorf("host %q", host)
	}
	if hostname("") != "-" {
		t.Error("a log without a name")
	}
}

// cutCEF cuts an event at the bars that are not escaped; behind the seventh comes the extension.
func cutCEF(text string) (out []string) {
	begin := 0
	for i := 0; i < len(text) && len(out) < 7; i++ {
		switch text[i] {
		case '\\':
			i++
		case '|':
			out, begin = append(out, text[begin:i]), i+1
		}
	}
	return append(out, text[begin:])
}

// The messages that a repository of IHE takes are those of atna, each in one of RFC 5424.
func TestLinesForARepositoryAreMessagesToo(t *testing.T) {
	r, x := busy(t)
	messages := strings.Split(string(r.write(x, ATNA)), "\n")[2:]
	for i, text := range strings.Split(strings.TrimSuffix(string(r.write(x, ATNASyslog)), "\n"), "\n") {
		head, message, found := strings.Cut(text, " \uFEFF")
		m := syslogForm.FindStringSubmatch(head + " ")
		if !found || m == nil || m[5] != atnaID || m[1] != "85" && m[1] != "84" || message != messages[i] {
			t.Fatalf("line %d: %s", i, text)
		}
	}
}

// A spreadsheet finds no formula in any cell, and every reader of RFC 4180 the same cells.
func TestT09_TablesRunNothing(t *testing.T) {
	r := newRig(t)
	evil := audit.Rules{Name: "-cmd+calc", Version: 1, Digest: audit.Digest{1}}
	r.session(audit.NotCleared, "+imaging", 10, evil)
	r.session(audit.CouldNotCheck, "-2+3+cmd", 3, evil)
	x := r.plan(Options{AllItems: true})
	text := r.write(x, CSV)
	rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	items := 0
	for i, row := range rows {
		if len(row) != len(csvColumns) {
			t.Fatalf("line %d has %d cells", i, len(row))
		}
		for j, c := range row {
			if c != "" && strings.ContainsRune("=+-@\t\r\n", rune(c[0])) {
				t.Errorf("line %d, %s begins a formula: %q", i, csvColumns[j], c)
			}
			if strings.ContainsAny(c, "\";|\t\x00") && row[0] != "checkpoint" {
				t.Errorf("line %d, %s: %q", i, csvColumns[j], c)
			}
		}
		if row[0] == "item" {
			items++
		}
	}
	if items != 13 || rows[1][0] != "export" || rows[len(rows)-1][0] != "checkpoint" {
		t.Errorf("%d items, first %v", items, rows[1])
	}
	column := slices.Index(csvColumns, "text")
	if _, err := r.log.Accept(rows[len(rows)-1][column]); err != nil { // encoding/csv makes no line ends of its own
		t.Errorf("the checkpoint: %v", err)
	}
	if n, lines := bytes.Count(text, []byte("\r\n")), bytes.Count(text, []byte("\n")); n == 0 || lines-n != strings.Count(x.Checkpoint, "\n") {
		t.Errorf("%d lines end in CRLF, %d in LF alone", n, lines-n)
	}
	for in, want := range map[string]string{"": "", "12": "12", "-1": `"'-1"`, "=1+1": `"'=1+1"`, "@SUM": `"'@SUM"`, "\tx": "\"'\tx\"", "a\"b": `"a""b"`, "+": `"'+"`} {
		if got := cell(in); got != want {
			t.Errorf("cell(%q) is %s, want %s", in, got, want)
		}
	}
	if got := plain("a;b\"c\td\u202e\nü|='"); got != "aU+003BbU+0022cU+0009dU+202EU+000AU+00FCU+007C=U+0027" {
		t.Error(got)
	}
}

// The lines of JSON prove themselves on another machine, all items with them, and show what was changed.
func TestLinesProveThemselves(t *testing.T) {
	r := newRig(t)
	r.days(6)
	for _, all := range []bool{false, true} {
		x := r.plan(Options{AllItems: all})
		text := r.write(x, JSONL)
		res, err := audit.VerifyExport(bytes.NewReader(text), testOrigin, r.keys)
		if err != nil || !res.Sound || res.Entries != x.To || (res.Items > 0) != all {
			t.Fatalf("all items %v: %+v %v", all, res, err)
		}
		bad := bytes.Replace(text, []byte("infusion"), []byte("imagingX"), 1)
		if res, _ := audit.VerifyExport(bytes.NewReader(bad), testOrigin, r.keys); res.Sound {
			t.Error("a changed line is sound")
		}
	}
}

// An export that continues another proves that nothing happened in between; one of another history is refused.
func TestT16_ExportsContinueTheOneBefore(t *testing.T) {
	r := newRig(t)
	r.days(4)
	before := r.plan(Options{})
	r.session(audit.Cleared, "imaging", 3, testPack)
	x := r.plan(Options{After: before.Checkpoint})
	if x.From != before.To || x.Before != before.Checkpoint || !x.After || x.To <= x.From {
		t.Errorf("%+v", x.Span)
	}
	res, err := audit.VerifyExport(bytes.NewReader(r.write(x, JSONL)), testOrigin, r.keys, before.Checkpoint)
	if err != nil || !res.Sound || res.Witnesses != 1 {
		t.Errorf("%+v %v", res, err)
	}
	if again := r.plan(Options{After: x.Checkpoint}); again.From != again.To {
		t.Errorf("nothing happened, and %d entries are exported", again.To-again.From)
	}

	other := newRig(t) // the same key signed another history
	other.days(5)
	longer := other.plan(Options{})
	if _, err := Plan(t.Context(), r.log.Reader, Options{After: longer.Checkpoint}); err == nil {
		t.Error("a checkpoint of another history is continued")
	}
	short := newRig(t)
	short.session(audit.Cleared, "imaging", 3, testPack)
	if _, err := Plan(t.Context(), short.log.Reader, Options{After: longer.Checkpoint}); err == nil {
		t.Error("a checkpoint of a longer log is continued")
	}
	if _, err := Plan(t.Context(), r.log.Reader, Options{After: "no note"}); err == nil {
		t.Error("no note is continued")
	}
	if _, err := Plan(t.Context(), r.log.Reader, Options{After: before.Checkpoint, Since: r.now}); err == nil {
		t.Error("two beginnings")
	}
}

// A log that somebody changed leaves the station in no form.
func TestT16_AChangedLogIsNotPassedOn(t *testing.T) {
	for _, f := range Formats() {
		r := newRig(t)
		r.days(3)
		x := r.plan(Options{})
		other := newRig(t)
		other.session(audit.Cleared, "general", 3, testPack)
		other.days(4)
		x.log = other.log.Reader // another history, under the first one's checkpoint
		var out bytes.Buffer
		if _, err := x.Write(t.Context(), Format(f), &out); err == nil || out.Len() > 0 {
			t.Errorf("%s: %d bytes left: %v", f, out.Len(), err)
		}
	}
}

// An export of nothing is one of every form, too.
func TestAnEmptyLogIsExported(t *testing.T) {
	r := newRig(t)
	x := r.plan(Options{})
	for _, f := range Formats() {
		if out := r.write(x, Format(f)); len(out) == 0 {
			t.Errorf("%s: nothing", f)
		}
	}
	if _, err := x.Sum(t.Context(), "docx"); err == nil {
		t.Error("a form that does not exist")
	}
	all := r.plan(Options{AllItems: true})
	if _, err := all.Sum(t.Context(), PDF); err == nil {
		t.Error("a report with all items")
	}
}
