package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pratique/kiosk"
	"pratique/kiosk/clearance"
	"pratique/kiosk/config"
	"pratique/rules"
	"pratique/scanner/report"
)

func (p *program) screen(ctx context.Context, args []string) (int, error) {
	set := p.flags("screen", "TARGET", "screen --for imaging --out clearance stick.img")
	class := set.String("for", "general", "equipment `CLASS` that the medium is for")
	rulesDir := set.String("rules", "", "folder `DIR` of YARA files, added to the pack in force")
	listFile := set.String("blocklist", "", "`FILE` of hashes in hex, one a line, added to the pack in force")
	out := set.String("out", "", "folder `DIR` for token and manifest (default: in the state)")
	asJSON := set.Bool("json", false, "print one JSON object")
	items := set.Bool("items", false, "list every item")
	deep := set.Bool("deep", false, "scan unallocated space and slack too")
	configFile := configFlag(set)
	state := stateFlag(set)
	if err := parse(set, args, 1); err != nil {
		return 0, err
	}
	target := set.Arg(0)

	cfg, err := loadConfig(*configFile)
	if err != nil {
		return 0, err
	}
	dir, err := stateDir(*state)
	if err != nil {
		return 0, err
	}
	pack, err := loadPack(cfg, dir, *rulesDir, *listFile)
	if err != nil {
		return 0, err
	}
	if _, ok := pack.Policies[*class]; !ok {
		return 0, fmt.Errorf("%w: %q; there are: %s", kiosk.ErrClass, *class, strings.Join(slices.Sorted(maps.Keys(pack.Policies)), ", "))
	}
	if err := kiosk.CheckTarget(target); err != nil {
		return 0, err
	}
	workers, err := workerDir()
	if err != nil {
		return 0, err
	}
	st, err := kiosk.OpenState(ctx, dir)
	if err != nil {
		return 0, err
	}
	defer st.Close()

	meter := newMeter(p.stderr)
	view := &screenView{asJSON: *asJSON}
	if *items {
		if view.items, err = newItemList(dir); err != nil {
			return 0, fmt.Errorf("%w: %w", kiosk.ErrState, err)
		}
		defer view.items.close()
	}
	res, err := st.Screen(ctx, kiosk.Screening{Target: target, Class: *class, Pack: pack, Deep: *deep || cfg.Scan.Deep, Workers: workers,
		Slots: cfg.Scan.Workers, RequireNamespaces: cfg.Scan.RequireNamespaces, TryCanary: true, OutDir: *out, LayOut: *out == "", Item: view.item, Progress: meter.show})
	meter.clear()
	if err != nil {
		return 0, err
	}
	if *asJSON {
		err = view.json(p, &res)
	} else {
		err = view.text(p, target, &res)
	}
	if err != nil {
		// The verdict could not be said. The exit code must not say that it was.
		return 0, fmt.Errorf("write the result: %w", err)
	}
	switch res.Verdict {
	case kiosk.Cleared:
		return exitOK, nil
	case kiosk.NotCleared:
		return exitNotCleared, nil
	}
	return exitCouldNotCheck, nil
}

// loadPack is the pack in force in a state folder, under the station's own policies, with what the command line adds.
func loadPack(cfg config.Config, state, rulesDir, listFile string) (rules.Pack, error) {
	packs, err := packConfig(cfg)
	if err != nil {
		return rules.Pack{}, err
	}
	in, err := kiosk.PackIn(state, packs)
	if err != nil {
		return rules.Pack{}, err
	}
	pack := in.Pack
	var dir fs.FS
	if rulesDir != "" {
		if info, err := os.Stat(rulesDir); err != nil || !info.IsDir() {
			return rules.Pack{}, fmt.Errorf("%w: --rules: %q is no folder", kiosk.ErrRules, rulesDir)
		}
		dir = os.DirFS(rulesDir)
	}
	var list *os.File
	if listFile != "" {
		if list, err = os.Open(listFile); err != nil {
			return rules.Pack{}, fmt.Errorf("%w: --blocklist: %w", kiosk.ErrRules, err)
		}
		defer list.Close()
		if info, err := list.Stat(); err != nil || !info.Mode().IsRegular() {
			return rules.Pack{}, fmt.Errorf("%w: --blocklist: %q is not a file", kiosk.ErrRules, listFile)
		}
		pack, err = pack.With(dir, list)
	} else {
		pack, err = pack.With(dir, nil)
	}
	if err != nil {
		return rules.Pack{}, fmt.Errorf("%w: %w", kiosk.ErrRules, err)
	}
	return pack, nil
}

// workerDir is where scanworker and yaraworker are: beside this program.
func workerDir() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("%w: %w", kiosk.ErrWorkers, err)
	}
	if real, err := filepath.EvalSymlinks(self); err == nil {
		self = real
	}
	return filepath.Dir(self), nil
}

// screenView turns a result into what a person or a program reads.
type screenView struct {
	asJSON bool
	items  *itemList // nil: nobody wants them
}

type jsonItem struct {
	Volume  int    `json:"volume"`
	Path    string `json:"path"`
	Member  string `json:"member"`
	Kind    string `json:"kind"`
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256"`
	Type    string `json:"type"`
	Outcome string `json:"outcome"`
}

func (v *screenView) item(it *report.Item) {
	switch {
	case v.items == nil:
	case v.asJSON:
		if data, err := json.Marshal(jsonItem{it.Volume, jsonPath(it.Path), jsonPath(it.Member), it.Kind.String(), it.Size, sum(it), it.Type, it.Outcome.String()}); err == nil {
			v.items.add(",", data)
		}
	default:
		v.items.add("", fmt.Appendf(nil, "  %-10s %-9s %12d  %s\n", it.Outcome, it.Kind, it.Size, quote(fullPath(it))))
	}
}

// sum is the hash of what was scanned, or nothing: a hash of what was not seen in full would lead somebody to trust it.
func sum(it *report.Item) string {
	if !it.Outcome.Seen() || it.Kind == report.Directory {
		return ""
	}
	return hex.EncodeToString(it.SHA256[:])
}

func fullPath(it *report.Item) string {
	if it.Member != "" {
		return it.Path + "//" + it.Member
	}
	return it.Path
}

type jsonResult struct {
	Version   int               `json:"version"`
	Verdict   string            `json:"verdict"`
	Reasons   []kiosk.Reason    `json:"reasons"`
	Medium    jsonMedium        `json:"medium"`
	Volumes   []jsonVolume      `json:"volumes"`
	Counts    jsonCounts        `json:"counts"`
	Findings  []jsonFinding     `json:"findings"`
	Excepted  []jsonException   `json:"exceptions,omitempty"` // that the verdict rests on
	Items     []json.RawMessage `json:"items,omitempty"`
	Clearance *jsonClearance    `json:"clearance"`
}

type jsonMedium struct {
	Kind       string `json:"kind"`
	Bytes      int64  `json:"bytes"`
	SectorSize int    `json:"sector_size"`
}

type jsonVolume struct {
	ID         int    `json:"id"`
	Start      int64  `json:"start"`
	Bytes      int64  `json:"bytes"`
	FileSystem string `json:"filesystem"`
}

type jsonCounts struct {
	Files       uint64 `json:"files"`
	Directories uint64 `json:"directories"`
	Streams     uint64 `json:"streams"`
	Members     uint64 `json:"members"`
	Regions     uint64 `json:"regions"`
	Bytes       uint64 `json:"bytes"`
	Findings    uint64 `json:"findings"`
}

type jsonFinding struct {
	Volume   int    `json:"volume"`
	Path     string `json:"path"`
	Member   string `json:"member"`
	Check    string `json:"check"`
	Rule     string `json:"rule"`
	Offset   int64  `json:"offset"`
	Severity string `json:"severity"`
	SHA256   string `json:"sha256"`
	Text     string `json:"text"`
	Excepted string `json:"excepted,omitempty"` // name of the exception without which it would block
}

type jsonException struct {
	ID       string   `json:"id"`
	SHA256   string   `json:"sha256"`
	Findings []string `json:"findings"`
	Reason   string   `json:"reason"`
	Until    string   `json:"until"`
	By       []string `json:"by"`    // pseudonyms of the two people, as in the log
	Count    uint64   `json:"count"` // findings of this medium
}

type jsonClearance struct {
	ID           string `json:"id"`
	Code         string `json:"code"`
	TokenFile    string `json:"token_file"`
	ManifestFile string `json:"manifest_file"`
	QR           string `json:"qr"`
	Expires      string `json:"expires"`
	LogIndex     uint64 `json:"log_index"`
	Override     string `json:"override,omitempty"` // RED: why two people let it through that was not cleared
}

func (v *screenView) json(p *program, res *kiosk.Result) error {
	rep := &res.Report
	out := jsonResult{Version: 1, Verdict: res.Verdict.String(), Reasons: res.Reasons,
		Medium:  jsonMedium{res.Kind, res.Bytes, res.Sector},
		Volumes: []jsonVolume{}, Findings: []jsonFinding{}, Excepted: exceptionsJSON(res), Clearance: clearanceJSON(res.Clearance),
		Counts: jsonCounts{rep.Tally.Files, rep.Tally.Directories, rep.Tally.Streams, rep.Tally.Members, rep.Tally.Areas,
			rep.Tally.Bytes, rep.Tally.Findings}}
	if out.Reasons == nil {
		out.Reasons = []kiosk.Reason{}
	}
	if v.items != nil {
		out.Items = []json.RawMessage{itemsHere}
	}
	for _, vol := range rep.Volumes {
		out.Volumes = append(out.Volumes, jsonVolume{vol.ID, vol.Start, vol.Bytes, vol.FileSystem})
	}
	for _, f := range rep.Found {
		j := findingJSON(res, f.Volume, &report.Item{}, &f.Finding)
		j.Path = jsonPath(string(f.Path))
		out.Findings = append(out.Findings, j)
	}
	for i := range rep.NotClean {
		it := &rep.NotClean[i]
		for j := range it.Findings {
			f := findingJSON(res, it.Volume, it, &it.Findings[j])
			f.Path, f.Member, f.SHA256 = jsonPath(it.Path), jsonPath(it.Member), sum(it)
			out.Findings = append(out.Findings, f)
		}
	}
	var whole bytes.Buffer
	enc := json.NewEncoder(&whole)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		return err
	}
	// A finding's path may be the same words, but findings come before the items, and behind those is only the clearance.
	at := bytes.LastIndex(whole.Bytes(), itemsHere)
	if v.items == nil || at < 0 {
		_, err := p.stdout.Write(whole.Bytes())
		return err
	}
	if _, err := p.stdout.Write(whole.Bytes()[:at]); err != nil {
		return err
	}
	if err := v.items.printTo(p.stdout); err != nil {
		return err
	}
	_, err := p.stdout.Write(whole.Bytes()[at+len(itemsHere):])
	return err
}

// itemsHere stands where the items go.
var itemsHere = json.RawMessage(`"items\u0000here"`)

func findingJSON(res *kiosk.Result, volume int, it *report.Item, f *report.Finding) jsonFinding {
	severity, by := res.Severity(it, *f)
	j := jsonFinding{Volume: volume, Check: f.Check.String(), Rule: f.Rule, Offset: f.Offset, Severity: severity.String(), Text: f.Text}
	if by != nil {
		j.Excepted = by.ID.String()
	}
	return j
}

func exceptionsJSON(res *kiosk.Result) (out []jsonException) {
	for _, used := range res.Excepted {
		a := res.Except.Get(used.Exception)
		if a == nil {
			continue
		}
		x := jsonException{a.ID.String(), a.SHA256.String(), nil, string(a.Reason), a.Ends().Format(timeFormat),
			[]string{hex.EncodeToString(a.Person[:]), hex.EncodeToString(a.With[:])}, used.Findings}
		for _, f := range a.Findings {
			x.Findings = append(x.Findings, string(f))
		}
		out = append(out, x)
	}
	return out
}

func clearanceJSON(c *kiosk.Clearance) *jsonClearance {
	if c == nil {
		return nil
	}
	out := &jsonClearance{ID: hex.EncodeToString(c.ID[:]), Code: c.Code, TokenFile: c.TokenFile, ManifestFile: c.ManifestFile, QR: c.QR,
		Expires: c.Expires.UTC().Format(timeFormat), LogIndex: c.LogIndex}
	if o := c.Claims.Override; o != nil {
		out.Override = o.Reason
	}
	return out
}

// timeFormat is RFC 3339 in whole seconds, always in UTC.
const timeFormat = "2006-01-02T15:04:05Z"

// maxShown is how many findings a person is shown; --json has them all.
const maxShown = 20

func (v *screenView) text(p *program, target string, res *kiosk.Result) error {
	w := &errWriter{w: p.stdout}
	w.printf("%s: %s\n", printable(target), res.Verdict)
	for _, r := range res.Reasons {
		w.printf("  %s\n", printable(r.Text))
	}
	rep := &res.Report
	shown, total := 0, 0
	show := func(where string, it *report.Item, f *report.Finding) {
		severity, by := res.Severity(it, *f)
		if severity == report.Inform && by == nil {
			return
		}
		if total++; shown < maxShown {
			shown++
			w.printf("  - %s: %s\n", where, printable(f.Text))
			if by != nil {
				w.printf("    excepted until %s: %s (%s)\n", by.Ends().Format(timeFormat), by.Reason, by.ID.String()[:8])
			}
		}
	}
	for i := range rep.NotClean {
		it := &rep.NotClean[i]
		for j := range it.Findings {
			show(quote(fullPath(it)), it, &it.Findings[j])
		}
		if len(it.Findings) == 0 && !it.Outcome.Seen() {
			if total++; shown < maxShown {
				shown++
				w.printf("  - %s: %s\n", quote(fullPath(it)), it.Outcome)
			}
		}
	}
	for i := range rep.Found {
		where := "the medium"
		if id := rep.Found[i].Volume; id >= 0 {
			where = fmt.Sprintf("volume %d", id)
		}
		if path := rep.Found[i].Path; len(path) > 0 {
			where += ", " + quote(string(path))
		}
		show(where, &report.Item{}, &rep.Found[i].Finding)
	}
	if total > shown {
		w.printf("  - and %d more; --json lists them\n", total-shown)
	}
	t := &rep.Tally
	w.printf("  %s, %s in %s and %s, on %s\n", count(uint64(len(rep.Volumes)), "volume", "volumes"), count(t.Files, "file", "files"),
		count(t.Directories, "folder", "folders"), count(t.Areas, "region", "regions"), size(res.Bytes))
	w.printf("  %d bytes of content, %d bytes read\n", t.Bytes, rep.BytesRead)
	if a := rep.Again; a.Bytes > 0 {
		w.printf("  %d bytes read a second time: what describes the volumes, %s, %s at random;\n"+
			"  a medium that changes one block in a hundred is seen with a probability of %.1f %%\n", a.Bytes,
			count(a.Items, "program or flagged item", "programs and flagged items"), count(a.Blocks, "block", "blocks"),
			100*a.Seen(0.01))
	}
	if missing := kiosk.LayersMissing(rep); len(missing) > 0 {
		w.printf("  this machine does not grant the scan processes: %s (pratique doctor says more)\n", strings.Join(missing, ", "))
	}
	if v.items != nil && w.err == nil {
		w.err = v.items.printTo(p.stdout)
	}
	if c := res.Clearance; c != nil {
		w.printf("  clearance %s, for %s until %s, log entry %d\n", c.Code, res.Policy.Class, c.Expires.UTC().Format(timeFormat), c.LogIndex)
		w.printf("  signed with this state's demonstration key: devices refuse it unless told otherwise\n")
		w.printf("  token     %s\n  manifest  %s\n", c.TokenFile, c.ManifestFile)
		qr, err := clearance.QRText(c.QR)
		if err != nil {
			return err
		}
		w.printf("%s", qr)
	}
	return w.err
}
