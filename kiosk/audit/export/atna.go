package export

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"time"
)

// atna is the audit message of DICOM PS3.15 section A.5, which IHE ATNA (ITI-20) carries
// (https://dicom.nema.org/medical/dicom/current/output/chtml/part15/sect_A.5.html). The file is one XML document, "AuditMessages",
// with a message in each line, so that it can be cut at its lines and sent; the schema of A.5.1 speaks of one message.
//
//	EventIdentification       when, what became of it, and which kind of entry (see event)
//	ActiveParticipant         the station; people by pseudonym, the first as requestor; the medium, by its session
//	AuditSourceIdentification the log's name; type 6, security server
//	ParticipantObject…        the session (urn:uuid), or the log itself, with the entry's details. A.5.1 has their values in
//	                          base64, "Alert Description" among them as A.5.3.11 wants it
//
// The last message is Audit Log Used for the export itself, and holds its checkpoint.
type atna struct {
	x    *Export
	w    *bufio.Writer
	last held
}

func newATNA(x *Export, w *bufio.Writer) form { return &atna{x: x, w: w} }

type xmlCode struct {
	Code   string `xml:"csd-code,attr"`
	System string `xml:"codeSystemName,attr"`
	Text   string `xml:"originalText,attr"`
}

func (c code) xml() xmlCode { return xmlCode{c.value, c.system, c.text} }

type xmlMessage struct {
	XMLName      xml.Name         `xml:"AuditMessage"`
	Event        xmlEvent         `xml:"EventIdentification"`
	Participants []xmlParticipant `xml:"ActiveParticipant"`
	Source       struct {
		ID   string `xml:"AuditSourceID,attr"`
		Type struct {
			Code string `xml:"csd-code,attr"`
		} `xml:"AuditSourceTypeCode"`
	} `xml:"AuditSourceIdentification"`
	Object xmlObject `xml:"ParticipantObjectIdentification"`
}

type xmlEvent struct {
	Action  string    `xml:"EventActionCode,attr"`
	Time    string    `xml:"EventDateTime,attr"`
	Outcome string    `xml:"EventOutcomeIndicator,attr"`
	ID      xmlCode   `xml:"EventID"`
	Types   []xmlCode `xml:"EventTypeCode"`
	Text    string    `xml:"EventOutcomeDescription"`
}

type xmlParticipant struct {
	UserID    string    `xml:"UserID,attr"`
	Requestor bool      `xml:"UserIsRequestor,attr"`
	Roles     []xmlCode `xml:"RoleIDCode"`
	Media     *xmlMedia `xml:"MediaIdentifier"`
}

type xmlMedia struct {
	Type xmlCode `xml:"MediaType"`
}

type xmlObject struct {
	ID      string      `xml:"ParticipantObjectID,attr"`
	Type    int         `xml:"ParticipantObjectTypeCode,attr"`
	Role    int         `xml:"ParticipantObjectTypeCodeRole,attr"`
	IDType  xmlCode     `xml:"ParticipantObjectIDTypeCode"`
	Name    string      `xml:"ParticipantObjectName"`
	Details []xmlDetail `xml:"ParticipantObjectDetail"`
}

type xmlDetail struct {
	Type  string `xml:"type,attr"`
	Value string `xml:"value,attr"`
}

// Of a participant object: PS3.15 A.5.1.
const (
	systemObject     = 2
	securityResource = 13
	securityServer   = "6"
	auditLogName     = "Security Audit Log" // A.5.3.2 fixes it
)

func (a *atna) begin(context.Context) error {
	_, err := a.w.WriteString(xml.Header + "<AuditMessages>\n")
	return err
}

func (a *atna) entry(r *Record) error { return a.told(a.last.next(r)) }

func (a *atna) item(_ *Record, it *Item) error {
	a.last.found.add(it)
	return nil
}

func (a *atna) end() error {
	if err := a.told(a.last.next(nil)); err != nil {
		return err
	}
	data, err := atnaExport(a.x)
	if err != nil {
		return err
	}
	a.w.Write(data)
	_, err = a.w.WriteString("\n</AuditMessages>\n")
	return err
}

func (a *atna) told(h *held) error {
	if h == nil {
		return nil
	}
	data, err := atnaMessage(a.x.Origin, h)
	if err != nil {
		return err
	}
	a.w.Write(data)
	return a.w.WriteByte('\n')
}

// atnaMessage is an entry as one message, in one line.
func atnaMessage(origin string, h *held) ([]byte, error) {
	r, e := h.record, eventOf(h.record)
	m := newMessage(origin, r.Time, e, r.Text)
	m.Participants[0].Requestor = r.Person == ""
	if r.Person != "" {
		m.Participants = append(m.Participants, xmlParticipant{UserID: "operator:" + r.Person, Requestor: true})
	}
	if r.Second != "" {
		m.Participants = append(m.Participants, xmlParticipant{UserID: "operator:" + r.Second})
	}
	if r.Medium != nil && r.Session != "" {
		medium := xmlParticipant{UserID: "medium:" + r.Session, Roles: []xmlCode{sourceMedia.xml()}}
		if r.Medium.Source == "usb" {
			medium.Media = &xmlMedia{usbDisk.xml()}
		}
		m.Participants = append(m.Participants, medium)
	}
	if e.id != auditLogUsed && r.Session != "" {
		m.Object.ID, m.Object.Name = "urn:uuid:"+uuid(r.Session), "medium"
	}
	m.details(append([]detail{{"Alert Description", r.Text}}, append(details(r), h.found.details()...)...))
	return xml.Marshal(m)
}

// atnaExport is the message about the export itself.
func atnaExport(x *Export) ([]byte, error) {
	m := newMessage(x.Origin, x.Last, event{auditLogUsed, []code{own("checkpoint")}, "R", success}, "export of "+spanText(x))
	m.Participants[0].Requestor = true
	m.details([]detail{{"from", fmt.Sprint(x.From)}, {"to", fmt.Sprint(x.To)}, {"checkpoint", x.Checkpoint}})
	return xml.Marshal(m)
}

// newMessage is a message by the station about its log.
func newMessage(origin string, at time.Time, e event, text string) *xmlMessage {
	m := &xmlMessage{Event: xmlEvent{Action: e.action, Time: dateTime(at), Outcome: e.outcome, ID: e.id.xml(), Text: text},
		Participants: []xmlParticipant{{UserID: origin, Roles: []xmlCode{application.xml()}}},
		Object:       xmlObject{ID: logURI(origin), Type: systemObject, Role: securityResource, IDType: asURI.xml(), Name: auditLogName}}
	for _, c := range e.types {
		m.Event.Types = append(m.Event.Types, c.xml())
	}
	m.Source.ID, m.Source.Type.Code = origin, securityServer
	return m
}

func (m *xmlMessage) details(all []detail) {
	for _, d := range all {
		m.Object.Details = append(m.Object.Details, xmlDetail{d.name, base64.StdEncoding.EncodeToString([]byte(d.value))})
	}
}

// dateTime writes a time for XML and FHIR. The log has nanoseconds, which some readers of both trip over.
func dateTime(t time.Time) string {
	if t.IsZero() {
		t = time.Unix(0, 0)
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// spanText names the entries of an export.
func spanText(x *Export) string {
	if x.To == x.From {
		return "no entries"
	}
	return fmt.Sprintf("entries %d to %d", x.From, x.To-1)
}

// atnaSyslog sends the messages of atna as DICOM PS3.15 section A.6 has it, which is IHE's transaction ITI-20: RFC 5424 with
// the facility 10, MSGID "DICOM+RFC3881", and the XML behind a byte order mark.
type atnaSyslog struct{ atna }

func newATNASyslog(x *Export, w *bufio.Writer) form { return &atnaSyslog{atna{x: x, w: w}} }

// Of PS3.15 A.6.2.
const (
	atnaFacility = 10
	atnaID       = "DICOM+RFC3881"
)

func (a *atnaSyslog) begin(context.Context) error { return nil }

func (a *atnaSyslog) entry(r *Record) error { return a.send(a.last.next(r)) }

func (a *atnaSyslog) end() error {
	if err := a.send(a.last.next(nil)); err != nil {
		return err
	}
	data, err := atnaExport(a.x)
	if err != nil {
		return err
	}
	return a.write(syslogNotice, a.x.Last, a.x.To, data)
}

func (a *atnaSyslog) send(h *held) error {
	if h == nil {
		return nil
	}
	data, err := atnaMessage(a.x.Origin, h)
	if err != nil {
		return err
	}
	severity := syslogNotice
	if eventOf(h.record).outcome != success {
		severity = syslogWarning
	}
	return a.write(severity, h.record.Time, h.record.Index+1, data)
}

func (a *atnaSyslog) write(severity int, at time.Time, sequence int64, message []byte) error {
	a.w.WriteString(syslogLine(a.x.Origin, atnaFacility, severity, at, atnaID, sequence, "\uFEFF"+string(message)))
	return a.w.WriteByte('\n')
}
