package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	maxDepth  = 32      // MISP nests 8 deep
	maxString = 1 << 20 // of JSON: a malware-sample carries a whole file, which is then no list of hashes
)

// object is what one JSON object says at its own level in the keys that matter.
type object map[string]string

// wanted are those keys.
var wanted = map[string]bool{"type": true, "value": true, "pattern": true, "pattern_type": true, "valid_from": true, "valid_until": true,
	"created": true, "revoked": true, "timestamp": true, "to_ids": true, "deleted": true, "name": true}

// objects walks over JSON token by token and hands each object over when it ends: the layers around it (bundle, response,
// event, object) need not be known, and no more than one object of each layer is held.
func (w *writer) objects(ctx context.Context, in io.Reader, each func(object) error) error {
	bounded := &stretch{in: in}
	dec := json.NewDecoder(bounded)
	dec.UseNumber()
	type level struct {
		fields object // nil in an array
		key    string
	}
	var stack []level
	top := func() *level { return &stack[len(stack)-1] }
	for count := 0; ; count++ {
		bounded.left = maxString
		token, err := dec.Token()
		if errors.Is(err, io.EOF) && len(stack) == 0 {
			return nil
		}
		if err != nil {
			var syntax *json.SyntaxError
			if errors.As(err, &syntax) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
				return fmt.Errorf("%w: the JSON is damaged after %d entries", ErrFormat, w.entry)
			}
			return fmt.Errorf("read the feed: %w", err)
		}
		if count%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		switch t := token.(type) {
		case json.Delim:
			switch t {
			case '{', '[':
				if len(stack) == maxDepth {
					return fmt.Errorf("%w: the JSON nests more than %d deep", ErrFormat, maxDepth)
				}
				var next level
				if t == '{' {
					next.fields = object{}
				}
				stack = append(stack, next)
				continue
			case '}':
				w.entry++
				if err := each(top().fields); err != nil {
					return err
				}
			}
			stack = stack[:len(stack)-1]
			if len(stack) > 0 {
				top().key = ""
			}
		default:
			if len(stack) == 0 || top().fields == nil {
				continue
			}
			l := top()
			if l.key == "" {
				key, _ := t.(string)
				l.key = "." + key // never empty
				continue
			}
			if key := l.key[1:]; wanted[key] {
				if _, twice := l.fields[key]; twice {
					l.fields["twice"] = key // two readers could take two meanings
				}
				l.fields[key] = fmt.Sprint(t)
			}
			l.key = ""
		}
	}
}

// stretch ends what has no end between two tokens.
type stretch struct {
	in   io.Reader
	left int
}

var errStretch = fmt.Errorf("%w: a JSON string has more than %d bytes", ErrFormat, maxString)

func (s *stretch) Read(p []byte) (int, error) {
	if s.left <= 0 {
		return 0, errStretch
	}
	n, err := s.in.Read(p[:min(len(p), s.left)])
	s.left -= n
	return n, err
}

var (
	hashTerm = regexp.MustCompile(`file:hashes\.(?:'([A-Za-z0-9-]+)'|"([A-Za-z0-9-]+)"|([A-Za-z0-9_]+))\s{0,8}=\s{0,8}'([^']{0,200})'`)
	negation = regexp.MustCompile(`(?i)\bNOT\b|!=`)
)

// stix takes the hashes of an indicator.
func (w *writer) stix(o object) error {
	if o["type"] != "indicator" {
		w.report.Ignored++
		return nil
	}
	if t := o["pattern_type"]; t != "" && t != "stix" {
		w.report.Ignored++
		return nil
	}
	terms := hashTerm.FindAllStringSubmatch(o["pattern"], -1)
	if len(terms) == 0 {
		w.report.Ignored++
		return nil
	}
	var from time.Time
	for _, key := range []string{"created", "valid_from"} {
		if o[key] == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, o[key])
		if err != nil {
			w.refuse("the date is none")
			return nil
		}
		if at.After(from) {
			from = at
		}
	}
	until, err := time.Parse(time.RFC3339, o["valid_until"])
	switch {
	case o["twice"] != "":
		w.refuse("the entry says one thing twice")
	case o["revoked"] == "true":
		w.refuse("withdrawn by who published it")
	case o["valid_until"] != "" && err != nil:
		w.refuse("the date is none")
	case o["valid_until"] != "" && until.Before(w.opt.Now):
		w.refuse("no longer valid")
	case negation.MatchString(o["pattern"]):
		w.refuse("a pattern with NOT: it says what is good")
	default:
		for _, m := range terms {
			switch strings.ToUpper(strings.ReplaceAll(m[1]+m[2]+m[3], "-", "")) {
			case "SHA256", "SHA1", "MD5":
				if err := w.take(m[4], o["name"], from); err != nil {
					return err
				}
			default:
				w.report.Ignored++ // SSDEEP, TLSH, SHA-512
			}
		}
	}
	return nil
}

// misp takes the hash of an attribute.
func (w *writer) misp(o object) error {
	kind, value := o["type"], o["value"]
	if left, hash, ok := strings.Cut(kind, "|"); ok && left == "filename" {
		kind = hash
		_, value, _ = strings.Cut(value, "|")
	}
	if kind == "malware-sample" {
		kind = "md5"
		_, value, _ = strings.Cut(value, "|")
	}
	if kind != "sha256" && kind != "sha1" && kind != "md5" {
		w.report.Ignored++
		return nil
	}
	var at time.Time
	if s := o["timestamp"]; s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 || n > 1<<40 {
			w.refuse("the date is none")
			return nil
		}
		at = time.Unix(n, 0)
	}
	switch {
	case o["twice"] != "":
		w.refuse("the entry says one thing twice")
	case o["deleted"] == "true" || o["deleted"] == "1":
		w.refuse("withdrawn by who published it")
	case o["to_ids"] == "false" || o["to_ids"] == "0":
		w.refuse("not meant for detection")
	default:
		return w.take(value, "", at)
	}
	return nil
}
