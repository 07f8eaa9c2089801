package export

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// ocsf is the Open Cybersecurity Schema Framework, version 1.3.0 (https://schema.ocsf.io/1.3.0), one event in each line.
//
//	Scan Activity (6007)          attached (1 Started), decided (2 Completed), aborted (3 Cancelled), failed in a session
//	                              (6 Error), removed and canary (99); scan.type_id 5, Attached Media
//	Detection Finding (2004)      each item that is not clean or that a check said something of, and devices that were refused
//	Entity Management (3004)      clearances: issuing and override (1 Create), issued (8 Enable), abandoned (4 Delete), recalled
//	                              (9 Disable), denied (1, failed); what people change: administered, exception, guest (3 Update)
//	Application Lifecycle (6002)  rule packs (8 Update)
//	Event Log Activity (1008)     exported (3 Export), erased (2 Delete), read, disclosed and verified (99), and the export itself
//	                              with its checkpoint
//	Base Event (0)                every other entry
//
// What the classes have no attribute for is in "unmapped", under the names of the log.
type ocsf struct {
	x    *Export
	w    *bufio.Writer
	last *Record // whose items come
}

func newOCSF(x *Export, w *bufio.Writer) form { return &ocsf{x: x, w: w} }

// ocsfVersion is the version of the schema that the identifiers here are of.
const ocsfVersion = "1.3.0"

// ocsfClass is a class of events.
type ocsfClass struct {
	uid      int
	name     string
	category int
	group    string
}

var (
	scanActivity     = ocsfClass{6007, "Scan Activity", 6, "Application Activity"}
	appLifecycle     = ocsfClass{6002, "Application Lifecycle", 6, "Application Activity"}
	detectionFinding = ocsfClass{2004, "Detection Finding", 2, "Findings"}
	entityManagement = ocsfClass{3004, "Entity Management", 3, "Identity & Access Management"}
	eventLogActivity = ocsfClass{1008, "Event Log Activity", 1, "System Activity"}
	baseEvent        = ocsfClass{0, "Base Event", 0, "Uncategorized"}
)

// The activities that mean the same in every class.
const (
	activityOther = 99
	ocsfOK        = 1
	ocsfFailed    = 2
)

// Severities (severity_id).
const (
	ocsfInfo   = 1
	ocsfLow    = 2
	ocsfMedium = 3
	ocsfHigh   = 4
)

var ocsfSeverities = map[int]string{ocsfInfo: "Informational", ocsfLow: "Low", ocsfMedium: "Medium", ocsfHigh: "High"}

// fields are the attributes of an event or object; encoding/json sorts them, so that they are always in one order.
type fields map[string]any

func (o *ocsf) begin(context.Context) error { return nil }

func (o *ocsf) entry(r *Record) error {
	o.last = r
	return line(o.w, o.event(r))
}

func (o *ocsf) end() error {
	e := o.base(eventLogActivity, 3, "Export", ocsfInfo, o.x.Last, "export of "+spanText(o.x))
	e["log_name"], e["status_id"], e["status"] = o.x.Origin, ocsfOK, "Success"
	e["unmapped"] = fields{"from": o.x.From, "to": o.x.To, "checkpoint": o.x.Checkpoint}
	return line(o.w, e)
}

// base has what every class requires.
func (o *ocsf) base(c ocsfClass, activity int, name string, severity int, at time.Time, text string) fields {
	if at.IsZero() {
		at = time.Unix(0, 0)
	}
	return fields{"class_uid": c.uid, "class_name": c.name, "category_uid": c.category, "category_name": c.group, "activity_id": activity,
		"activity_name": name, "type_uid": c.uid*100 + activity, "severity_id": severity, "severity": ocsfSeverities[severity],
		"time": at.UnixMilli(), "message": text,
		"metadata": fields{"version": ocsfVersion, "log_name": o.x.Origin, "product": fields{"name": "Pratique", "vendor_name": "Pratique"}}}
}

func (o *ocsf) event(r *Record) fields {
	class, activity, name, severity, ok := baseEvent, activityOther, r.Kind, ocsfInfo, true
	more := fields{}
	switch r.Kind {
	case "attached":
		class, activity, name = scanActivity, 1, "Started"
	case "decided":
		class, activity, name = scanActivity, 2, "Completed"
		if r.Verdict != "cleared" {
			severity, ok = ocsfMedium, false
		}
		if r.Verdict == "not cleared" {
			severity = ocsfHigh
		}
		if n := r.Counts; n != nil {
			more["num_files"], more["num_folders"], more["num_detections"] = n.Files, n.Directories, n.Findings
			more["total"] = n.Files + n.Directories + n.Streams + n.Members + n.Regions
		}
		more["policy"] = fields{"name": r.Rules.Name, "version": fmt.Sprint(r.Rules.Version), "uid": r.Rules.Digest}
	case "removed", "canary":
		class = scanActivity
		if len(r.failed) > 0 {
			severity, ok = ocsfHigh, false
		}
	case "aborted":
		class, activity, name, severity, ok = scanActivity, 3, "Cancelled", ocsfLow, false
	case "failed":
		severity, ok = ocsfMedium, false
		if r.Session != "" {
			class, activity, name = scanActivity, 6, "Error"
		}
	case "refused":
		class, activity, name, severity, ok = detectionFinding, 1, "Create", ocsfHigh, false
		more["finding_info"] = fields{"uid": fmt.Sprintf("%d", r.Index), "title": "device refused: " + strings.Join(r.Codes, ", "), "types": []string{"usb"}}
	case "issuing":
		class, activity, name = entityManagement, 1, "Create"
		if len(r.Codes) > 0 { // an override has a reason
			severity = ocsfHigh
		}
	case "override":
		class, activity, name, severity = entityManagement, 1, "Create", ocsfHigh
	case "issued":
		class, activity, name = entityManagement, 8, "Enable"
	case "abandoned":
		class, activity, name, ok = entityManagement, 4, "Delete", false
	case "recalled":
		class, activity, name, severity = entityManagement, 9, "Disable", ocsfHigh
	case "denied":
		class, activity, name, severity, ok = entityManagement, 1, "Create", ocsfLow, false
	case "administered", "exception", "guest":
		class, activity, name, severity = entityManagement, 3, "Update", ocsfLow
	case "pack":
		class, activity, name = appLifecycle, 8, "Update"
		more["app"] = fields{"name": first(r.Rules.Name, "unknown"), "version": fmt.Sprint(r.Rules.Version), "uid": r.Rules.Digest, "vendor_name": "rule pack"}
		if len(r.Codes) > 0 {
			severity, ok = ocsfMedium, false
		}
	case "exported":
		class, activity, name = eventLogActivity, 3, "Export"
	case "erased":
		class, activity, name, severity = eventLogActivity, 2, "Delete", ocsfLow
	case "read", "verified", "disclosed":
		class = eventLogActivity
		if r.Kind == "verified" && !r.Sound {
			severity, ok = ocsfHigh, false
		}
	}
	switch class {
	case scanActivity:
		more["scan"] = fields{"uid": r.Session, "type_id": 5, "type": "Attached Media"}
	case entityManagement:
		more["entity"] = fields{"type": "clearance", "uid": r.Session, "name": first(r.Class, r.What, "clearance")}
		if r.Session == "" {
			more["entity"] = fields{"type": r.Kind, "uid": r.Digest, "name": first(r.What, r.Kind)}
		}
	case eventLogActivity:
		more["log_name"] = o.x.Origin
	}
	e := o.base(class, activity, name, severity, r.Time, r.Text)
	e["metadata"].(fields)["sequence"], e["metadata"].(fields)["uid"] = r.Index, fmt.Sprintf("%s#%d", o.x.Origin, r.Index)
	e["status_id"], e["status"] = ocsfOK, "Success"
	if !ok {
		e["status_id"], e["status"] = ocsfFailed, "Failure"
	}
	if len(r.Codes) > 0 {
		e["status_detail"] = strings.Join(r.Codes, " ")
	}
	if r.Person != "" {
		e["actor"] = fields{"user": fields{"uid": r.Person, "type_id": 0, "type": "Unknown"}}
	}
	for name, v := range more {
		e[name] = v
	}
	unmapped := fields{"kind": r.Kind, "data": json.RawMessage(r.Data)}
	if r.Session != "" {
		unmapped["session"] = r.Session
	}
	if r.Behind > 0 {
		unmapped["clock_behind"] = r.Behind
	}
	e["unmapped"] = unmapped
	return e
}

func (o *ocsf) item(r *Record, it *Item) error {
	title, kinds, severity := "not scanned in full: "+it.Outcome, []string{}, ocsfInfo
	var rules []string
	for _, f := range it.Findings {
		rules, kinds = append(rules, f.Rule), append(kinds, f.Check)
	}
	if len(rules) > 0 {
		title = strings.Join(rules, ", ")
	}
	if r.Verdict != "cleared" {
		severity = ocsfMedium
	}
	e := o.base(detectionFinding, 1, "Create", severity, r.Time, title)
	e["metadata"].(fields)["uid"] = fmt.Sprintf("%s#%d.%d", o.x.Origin, r.Index, it.Seq)
	info := fields{"uid": fmt.Sprintf("%s.%d", r.Session, it.Seq), "title": title}
	if len(rules) > 0 {
		info["types"] = kinds
		info["analytic"] = fields{"name": rules[0], "type_id": 1, "type": "Rule"}
	}
	file := fields{"name": it.Name, "type_id": 1, "type": "Regular File", "size": it.Size}
	if it.Kind == "directory" {
		file["type_id"], file["type"] = 2, "Folder"
	}
	if it.Type != "" {
		file["mime_type"] = it.Type
	}
	if it.SHA256 != "" {
		file["hashes"] = []fields{{"algorithm_id": 3, "algorithm": "SHA-256", "value": it.SHA256}}
	}
	e["finding_info"], e["evidences"] = info, []fields{{"file": file}}
	e["unmapped"] = fields{"session": r.Session, "outcome": it.Outcome, "volume": it.Volume, "item_kind": it.Kind}
	return line(o.w, e)
}
