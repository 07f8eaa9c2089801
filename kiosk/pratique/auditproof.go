package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"pratique/kiosk"
	"pratique/kiosk/audit"
	"pratique/kiosk/clearance"
	"pratique/kiosk/keys"
	"pratique/kiosk/localapi"
)

// fileList is a flag that may be given several times.
type fileList []string

func (l *fileList) String() string { return strings.Join(*l, ", ") }

func (l *fileList) Set(s string) error {
	*l = append(*l, s)
	return nil
}

// maxEvidence bounds a key, a checkpoint, a token or a trust file that is read: a trust file of a thousand stations has 3 MB.
const maxEvidence = clearance.MaxTrust

// readEvidence reads a small file.
func readEvidence(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, usagef("%v", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxEvidence {
		return nil, usagef("%s is too long, or no file", name)
	}
	return os.ReadFile(name)
}

// auditVerify checks a log, a copy or an export, on any machine: it opens no state and writes nothing.
func (p *program) auditVerify(ctx context.Context, args []string) (int, error) {
	set := p.flags("audit verify", "", "audit verify --export week-47.jsonl --key kiosk-3.pub --checkpoint week-46.checkpoint")
	state := stateFlag(set)
	log := set.String("log", "", "database `FILE` of a log, such as a copy")
	export := set.String("export", "", "`FILE` of an export in JSON lines")
	key := set.String("key", "", "`FILE` with the log's public key (default: the state's key/log.pub)")
	trust := set.String("trust", "", "trust `FILE` with the keys of logs and witnesses")
	device := set.String("tpm", keys.DefaultTPM, "`DEVICE` of the TPM with the station's counter, on the station itself")
	asJSON := set.Bool("json", false, "print one JSON object")
	var tokens, checkpoints, witnesses fileList
	set.Var(&tokens, "token", "`FILE` of a token that the station issued; may be given again")
	set.Var(&checkpoints, "checkpoint", "`FILE` with a checkpoint from an earlier export, a receipt or a witness; may be given again")
	set.Var(&witnesses, "witness", "`FILE` with the public key of a witness; may be given again")
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	ev := kiosk.Evidence{Log: *log}
	if *log == "" && *export == "" || *state != "" {
		dir, err := stateDir(*state)
		if err != nil {
			return 0, err
		}
		ev.State = dir
	}
	if ev.State == "" && *key == "" && *trust == "" {
		return 0, usagef("audit verify: a copy or an export needs --key FILE or --trust FILE")
	}
	if err := readKeys(&ev, *key, *trust, witnesses); err != nil {
		return 0, err
	}
	for _, name := range tokens {
		data, err := readEvidence(name)
		if err != nil {
			return 0, err
		}
		ev.Tokens = append(ev.Tokens, data)
	}
	for _, name := range checkpoints {
		data, err := readEvidence(name)
		if err != nil {
			return 0, err
		}
		ev.Heads = append(ev.Heads, string(data))
	}
	if *export != "" {
		return p.verifyExport(*export, ev, *asJSON)
	}
	res, err := kiosk.Verify(ctx, ev)
	if err != nil {
		return 0, err
	}
	line := verifyLine(res)
	if res.Sound && ev.State != "" && *log == "" {
		said, err := heldAgainstCounter(ev.State, *device, &res)
		if err != nil {
			return 0, err
		}
		if line = verifyLine(res); said != "" {
			line += "; " + said
		}
	}
	return p.verified(res, line, res.Sound, *asJSON)
}

func (p *program) verified(res any, line string, sound, asJSON bool) (int, error) {
	var err error
	if asJSON {
		err = json.NewEncoder(p.stdout).Encode(res)
	} else {
		_, err = fmt.Fprintln(p.stdout, line)
	}
	if err != nil {
		return 0, err
	}
	if !sound {
		return exitFailed, nil
	}
	return exitOK, nil
}

// readKeys reads whose signatures are believed.
func readKeys(ev *kiosk.Evidence, key, trust string, witnesses []string) error {
	if key != "" {
		data, err := readEvidence(key)
		if err != nil {
			return err
		}
		ev.Keys = append(ev.Keys, string(data))
	}
	for _, name := range witnesses {
		data, err := readEvidence(name)
		if err != nil {
			return err
		}
		ev.Witnesses = append(ev.Witnesses, string(data))
	}
	if trust == "" {
		return nil
	}
	data, err := readEvidence(trust)
	if err != nil {
		return err
	}
	t, err := clearance.ParseTrust(data)
	if err != nil {
		return usagef("audit verify: --trust: %v", err)
	}
	if key == "" {
		if len(t.LogKeys) == 0 {
			return usagef("audit verify: the trust file names no key of a log: give --key FILE")
		}
		ev.Keys = t.LogKeys
	}
	ev.Witnesses = append(ev.Witnesses, t.Witnesses...)
	return nil
}

// verifyExport checks an export with the key that signed it.
func (p *program) verifyExport(name string, ev kiosk.Evidence, asJSON bool) (int, error) {
	if len(ev.Keys) == 0 {
		data, err := readEvidence(filepath.Join(ev.State, "key", "log.pub"))
		if err != nil {
			return 0, err
		}
		ev.Keys = []string{string(data)}
	}
	verifiers, err := kiosk.LogVerifiers(ev.Keys)
	if err != nil {
		return 0, err
	}
	var res audit.ExportResult
	for _, v := range verifiers { // of the stations of a trust file, the one whose export it is
		f, err := os.Open(name)
		if err != nil {
			return 0, usagef("%v", err)
		}
		res, err = audit.VerifyExport(f, v.Name(), note.VerifierList(v), ev.Heads...)
		f.Close()
		if err != nil {
			return 0, err
		}
		if res.Sound || res.Entries > 0 {
			break
		}
	}
	line := fmt.Sprintf("the export is NOT sound: %v", res.Bad)
	if res.Sound {
		line = fmt.Sprintf("the export is sound: %s from entry %d on, %s", count(uint64(res.Entries), "entry", "entries"), res.From, count(res.Items, "item", "items"))
		if res.Witnesses > 0 {
			line += fmt.Sprintf("; %s from elsewhere agree", count(uint64(res.Witnesses), "checkpoint", "checkpoints"))
		} else if res.From > 0 {
			line += "; what was before, --checkpoint proves"
		}
	}
	return p.verified(res, line, res.Sound, asJSON)
}

func (p *program) auditCheckpoint(ctx context.Context, args []string) (int, error) {
	set := p.flags("audit checkpoint", "", "audit checkpoint --ask --seen last.checkpoint --out request")
	out := set.String("out", "", "`FILE` for what is printed otherwise")
	request := set.Bool("ask", false, "write what a witness is asked with")
	seen := set.String("seen", "", "with --ask: `FILE` with the checkpoint that the witness signed last (default: the first request)")
	add := set.String("add", "", "keep the cosigned checkpoint in `FILE`")
	var witnesses fileList
	set.Var(&witnesses, "witness", "with --add, where no trust file is installed: `FILE` with the public key of the witness")
	state := stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	if *request && *add != "" || *seen != "" && !*request {
		return 0, usagef("audit checkpoint: --ask [--seen FILE] or --add FILE")
	}
	return exitOK, withState(ctx, *state, func(st *kiosk.State) error {
		if *add != "" {
			return p.addCosignature(ctx, st, *add, witnesses)
		}
		text, err := "", error(nil)
		switch {
		case !*request:
			text, err = st.Checkpoint(ctx)
		case *seen == "":
			text, err = st.WitnessRequest(ctx, 0)
		default:
			old, oldErr := sizeOf(*seen)
			if oldErr != nil {
				return oldErr
			}
			text, err = st.WitnessRequest(ctx, old)
		}
		if err != nil {
			return err
		}
		return p.put(*out, text, 0o644)
	})
}

// sizeOf reads how many entries a checkpoint has; the witness checks it, not the station.
func sizeOf(name string) (size int64, err error) {
	data, err := readEvidence(name)
	if err != nil {
		return 0, err
	}
	var origin string
	if _, err := fmt.Sscanf(string(data), "%s\n%d\n", &origin, &size); err != nil {
		return 0, usagef("%s is no checkpoint", name)
	}
	return size, nil
}

func (p *program) addCosignature(ctx context.Context, st *kiosk.State, name string, witnesses []string) error {
	data, err := readEvidence(name)
	if err != nil {
		return err
	}
	var ev kiosk.Evidence
	if err := readKeys(&ev, "", "", witnesses); err != nil {
		return err
	}
	c, err := st.AddCosignature(ctx, string(data), ev.Witnesses, me())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "%s has cosigned %s on %s\n", printable(c.Witness), count(uint64(c.Size), "entry", "entries"), c.At.Format(timeFormat))
	return err
}

// put writes text to a file, or to standard output.
func (p *program) put(name, text string, mode fs.FileMode) error {
	if name == "" || name == "-" {
		_, err := fmt.Fprint(p.stdout, text)
		return err
	}
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		return usagef("%v", err)
	}
	return nil
}

// auditCosign is the witness's side. It opens no state: it runs on the auditor's own machine.
func (p *program) auditCosign(_ context.Context, args []string) (int, error) {
	set := p.flags("audit cosign", "[REQUEST]", "audit cosign --key witness.key --log-key kiosk-3.pub --seen kiosk-3.checkpoint request")
	key := set.String("key", "", "`FILE` with the witness's private key")
	name := set.String("new", "", "make the key, under this `NAME`, such as audit.stmary.example")
	logKey := set.String("log-key", "", "`FILE` with the public key of the log")
	seen := set.String("seen", "", "`FILE` with the checkpoint that was cosigned last; it is replaced by the new one")
	if err := parse(set, args, min(1, portsGiven(args, set))); err != nil {
		return 0, err
	}
	if *key == "" {
		return 0, usagef("audit cosign: --key FILE is missing")
	}
	if *name != "" {
		return exitOK, p.newWitness(*key, *name)
	}
	if *logKey == "" || *seen == "" || set.NArg() != 1 {
		return 0, usagef("audit cosign: want --log-key FILE, --seen FILE and a request")
	}
	private, err := readEvidence(*key)
	if err != nil {
		return 0, err
	}
	request, err := readEvidence(set.Arg(0))
	if err != nil {
		return 0, err
	}
	var ev kiosk.Evidence
	if err := readKeys(&ev, *logKey, "", nil); err != nil {
		return 0, err
	}
	verifiers, err := kiosk.LogVerifiers(ev.Keys)
	if err != nil {
		return 0, err
	}
	last := ""
	if data, err := os.ReadFile(*seen); err == nil {
		last = string(data)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return 0, usagef("%v", err)
	}
	signed, err := audit.Cosign(string(request), last, string(private), verifiers[0].Name(), note.VerifierList(verifiers[0]), time.Now())
	var bad *audit.Broken
	if errors.As(err, &bad) {
		_, err := fmt.Fprintf(p.stdout, "NOT cosigned: %v\n", bad)
		return exitFailed, err
	}
	if err != nil {
		return 0, usagef("audit cosign: %v", err)
	}
	// What was seen must be kept before the signature leaves: else a second request could be signed over another history.
	if err := replaceFile(*seen, []byte(signed)); err != nil {
		return 0, usagef("%v", err)
	}
	_, err = fmt.Fprint(p.stdout, signed)
	return exitOK, err
}

// newWitness writes a new key into a file that must not be there yet.
func (p *program) newWitness(file, name string) error {
	private, public, err := audit.GenerateWitness(name)
	if err != nil {
		return usagef("audit cosign: %v", err)
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return usagef("%v", err)
	}
	_, err = f.WriteString(private + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write the key: %w", err)
	}
	_, err = fmt.Fprintln(p.stdout, public)
	return err
}

// replaceFile writes a file so that a crash leaves the old content or the new.
func replaceFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// auditDisclose goes through the daemon where there is one: the kernel tells it who asks.
func (p *program) auditDisclose(ctx context.Context, args []string) (int, error) {
	set := p.flags("audit disclose", "", "audit disclose --session 7KQ2-XM4C --reason data-breach-17")
	session := set.String("session", "", "the names of this `SESSION`")
	entry := set.Int64("entry", -1, "the names of this `ENTRY`, which belongs to no session")
	reason := set.String("reason", "", "a `WORD` for the log")
	state := stateFlag(set)
	if err := parse(set, args, 0); err != nil {
		return 0, err
	}
	if (*session != "") == (*entry >= 0) {
		return 0, errNeither("audit disclose", "--session", "--entry")
	}
	if *reason == "" {
		return 0, usagef("audit disclose: --reason WORD is missing")
	}
	var text []byte
	c, err := ask(ctx, *state)
	switch {
	case err == nil:
		defer c.Close()
		text, err = c.Disclose(ctx, localapi.Disclose{Session: *session, Entry: *entry, Reason: *reason})
	case errors.Is(err, localapi.ErrNoDaemon):
		err = withState(ctx, *state, func(st *kiosk.State) error {
			// Who may open the state has all that an auditor has, and counts as one of the two.
			d, err := st.Disclose(ctx, kiosk.Subject{Session: *session, Entry: *entry}, audit.Word(*reason), kiosk.Asker{Person: me(), Auditor: true})
			if err != nil || d == nil {
				return err
			}
			text, err = json.Marshal(d)
			return err
		})
	}
	if err != nil {
		return 0, err
	}
	if text == nil {
		_, err = fmt.Fprintln(p.stdout, "noted; within an hour a second person must ask for the same")
	} else {
		_, err = fmt.Fprintf(p.stdout, "%s\n", text)
	}
	return exitOK, err
}
