package export

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
)

// fhir is AuditEvent of HL7 FHIR R4 (https://hl7.org/fhir/R4/auditevent.html), one resource in each line, as FHIR's bulk data
// has it (application/fhir+ndjson).
//
//	id          16 digits of SHA-256(the log's name), '-', the entry's index: the same entry is the same resource
//	type        the event of PS3.15, as in the form atna
//	subtype     urn:pratique:event and the kind of entry; the code of PS3.16 beside it where there is one
//	action, recorded, outcome, outcomeDesc
//	agent       people by pseudonym, the first as requestor; the station; with media if the medium is a USB stick
//	source      the log's name as observer
//	entity      the session (urn:uuid), or the log itself, with the entry's details
//
// The last resource is Audit Log Used for the export itself, and holds its checkpoint.
type fhir struct {
	x    *Export
	w    *bufio.Writer
	last held
}

func newFHIR(x *Export, w *bufio.Writer) form { return &fhir{x: x, w: w} }

// The code systems of the resource.
const (
	fhirDICOM      = "http://dicom.nema.org/resources/ontology/DCM"
	fhirSource     = "http://terminology.hl7.org/CodeSystem/security-source-type"
	fhirEntity     = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
	fhirRole       = "http://terminology.hl7.org/CodeSystem/object-role"
	fhirAgentType  = "http://terminology.hl7.org/CodeSystem/extra-security-role-type"
	fhirURI        = "urn:ietf:rfc:3986"
	fhirEvent      = "urn:pratique:event"
	fhirPerson     = "urn:pratique:operator"
	fhirStation    = "urn:pratique:log"
	fhirHuman      = "humanuser"
	fhirIDDigits   = 16
	fhirSecServer  = "6"
	fhirSysObject  = "2"
	fhirSecurityRs = "13"
)

type fhirCoding struct {
	System  string `json:"system"`
	Code    string `json:"code"`
	Display string `json:"display,omitempty"`
}

type fhirIdentifier struct {
	System string `json:"system"`
	Value  string `json:"value"`
}

type fhirReference struct {
	Identifier fhirIdentifier `json:"identifier"`
}

type fhirAgent struct {
	Type      *fhirConcept  `json:"type,omitempty"`
	Who       fhirReference `json:"who"`
	Requestor bool          `json:"requestor"`
	Media     *fhirCoding   `json:"media,omitempty"`
}

type fhirConcept struct {
	Coding []fhirCoding `json:"coding"`
}

type fhirDetail struct {
	Type  string `json:"type"`
	Value string `json:"valueString"`
}

type fhirObject struct {
	What    fhirReference `json:"what"`
	Type    fhirCoding    `json:"type"`
	Role    fhirCoding    `json:"role"`
	Name    string        `json:"name"`
	Details []fhirDetail  `json:"detail,omitempty"`
}

type fhirResource struct {
	Type     string       `json:"resourceType"`
	ID       string       `json:"id"`
	Event    fhirCoding   `json:"type"`
	Subtype  []fhirCoding `json:"subtype"`
	Action   string       `json:"action"`
	Recorded string       `json:"recorded"`
	Outcome  string       `json:"outcome"`
	Text     string       `json:"outcomeDesc"`
	Agent    []fhirAgent  `json:"agent"`
	Source   struct {
		Observer fhirReference `json:"observer"`
		Type     []fhirCoding  `json:"type"`
	} `json:"source"`
	Entity []fhirObject `json:"entity"`
}

func (f *fhir) begin(context.Context) error { return nil }

func (f *fhir) entry(r *Record) error { return f.told(f.last.next(r)) }

func (f *fhir) item(_ *Record, it *Item) error {
	f.last.found.add(it)
	return nil
}

func (f *fhir) end() error {
	if err := f.told(f.last.next(nil)); err != nil {
		return err
	}
	id := fmt.Sprintf("%d-to-%d", f.x.From, f.x.To)
	r := f.resource(id, event{auditLogUsed, []code{own("checkpoint")}, "R", success}, dateTime(f.x.Last), "export of "+spanText(f.x))
	r.Agent[0].Requestor = true
	r.details([]detail{{"from", fmt.Sprint(f.x.From)}, {"to", fmt.Sprint(f.x.To)}, {"checkpoint", f.x.Checkpoint}})
	return line(f.w, r)
}

func (f *fhir) told(h *held) error {
	if h == nil {
		return nil
	}
	e, r := eventOf(h.record), h.record
	out := f.resource(fmt.Sprint(r.Index), e, dateTime(r.Time), r.Text)
	out.Agent[0].Requestor = r.Person == ""
	if r.Medium != nil && r.Medium.Source == "usb" {
		out.Agent[0].Media = &fhirCoding{fhirDICOM, usbDisk.value, usbDisk.text}
	}
	for i, who := range []string{r.Person, r.Second} {
		if who != "" {
			human := &fhirConcept{[]fhirCoding{{fhirAgentType, fhirHuman, ""}}}
			out.Agent = append(out.Agent, fhirAgent{Type: human, Who: refer(fhirPerson, who), Requestor: i == 0})
		}
	}
	if e.id != auditLogUsed && r.Session != "" {
		out.Entity[0].What, out.Entity[0].Name = refer(fhirURI, "urn:uuid:"+uuid(r.Session)), "medium"
	}
	out.details(append(details(r), h.found.details()...))
	return line(f.w, out)
}

// resource is an event about the log by the station.
func (f *fhir) resource(id string, e event, at, text string) *fhirResource {
	name := fmt.Sprintf("%x", sha256.Sum256([]byte(f.x.Origin)))[:fhirIDDigits]
	r := &fhirResource{Type: "AuditEvent", ID: name + "-" + id, Event: fhirCoding{fhirDICOM, e.id.value, e.id.text}, Action: e.action,
		Recorded: at, Outcome: e.outcome, Text: text, Agent: []fhirAgent{{Who: refer(fhirStation, f.x.Origin)}},
		Entity: []fhirObject{{What: refer(fhirURI, logURI(f.x.Origin)), Type: fhirCoding{fhirEntity, fhirSysObject, "System Object"},
			Role: fhirCoding{fhirRole, fhirSecurityRs, "Security Resource"}, Name: auditLogName}}}
	for _, c := range e.types {
		if c.system == ownSystem {
			r.Subtype = append(r.Subtype, fhirCoding{fhirEvent, c.value, ""})
		} else {
			r.Subtype = append(r.Subtype, fhirCoding{fhirDICOM, c.value, c.text})
		}
	}
	r.Source.Observer, r.Source.Type = refer(fhirStation, f.x.Origin), []fhirCoding{{fhirSource, fhirSecServer, "Security Server"}}
	return r
}

func (r *fhirResource) details(all []detail) {
	for _, d := range all {
		r.Entity[0].Details = append(r.Entity[0].Details, fhirDetail{d.name, d.value})
	}
}

func refer(system, value string) fhirReference { return fhirReference{fhirIdentifier{system, value}} }
