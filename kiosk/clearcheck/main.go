// Program clearcheck tells the medical device's side whether a medium still holds what a station cleared.
//
// It is one static binary. It needs no installation and no network, opens everything for reading only, and leaves not
// even a time of access behind where the system lets it. It is meant to run on the device, or beside it, right before the
// medium is read.
//
// It trusts the trust file, which says which stations may clear media; the operating system that it runs on; and its
// clock, as far as the trust file and --not-before do not prove it late. It trusts nothing on the medium, and nothing in
// the token or the manifest that is not signed. Without --trust it takes the trust file from where only an administrator
// can put it (trust_unix.go, trust_windows.go), and no environment variable can move that place.
//
// Limits: a medium that shows other bytes after this program has read it is not seen through. A folder is one volume as the
// system shows it: what lies outside (other volumes, boot code, gaps) is looked at only when the path is an image, and
// even there only volumes are compared. Alternate data streams are not seen in a folder. On Linux a FAT or exFAT volume
// must be mounted with its names in UTF-8, which is what desktops do; otherwise names differ and the answer is altered.
// That a token was for this device and not for a copy of it can be told only by its size.
// Memory grows with the number of files that were cleared, some 100 bytes for each and twice that with --manifest, since
// nothing may be written down; what somebody adds to a medium does not make it grow.
//
// The exit code is the answer; each reason has its own. They are in the usage text, and package clearance says which of
// several reasons is given.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"time"

	"pratique/kiosk/clearance"
	"pratique/kiosk/sealed"
)

// gcPercent keeps the heap close to what is alive, which is one long list without a pointer in it.
const gcPercent = 20

// The exit codes that are not a clearance.Reason's.
const (
	exitFailed = 1
	exitUsage  = 2
)

const usage = `usage: clearcheck [--trust FILE] [--for CLASS] [--demo] [--override] [--not-before TIME]
                  (--token FILE | --qr DIGITS) [--manifest FILE] PATH

clearcheck tells whether PATH holds exactly what was cleared. PATH is a folder as this
computer shows it (the root of the medium), or an image of the whole medium.

  --trust FILE       trust file (default: %s)
  --for CLASS        the class of this equipment; without it the class is not checked
  --demo             accept a demonstration key
  --override         accept a medium that two persons let through
  --not-before TIME  it is not earlier than this (RFC 3339), whatever the clock says
  --token FILE       the clearance, as the kiosk saved it
  --qr DIGITS        the clearance, as its QR code reads
  --manifest FILE    the manifest; needed for a folder of a medium with several volumes,
                     and to name what was changed

example: clearcheck --for imaging --token E:\clear\token.cose E:\study

exit codes: 0 valid; 3 altered; 4 wrong equipment class; 5 expired or not yet valid;
6 revoked; 7 unknown issuer; 8 demonstration key; 9 forged or malformed; 10 wrong
medium; 11 override; 12 valid, but freshness or streams could not be verified;
1 could not read; 2 usage
`

func main() {
	debug.SetGCPercent(gcPercent)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// config is the command line.
type config struct {
	trust, token, qr, manifest string
	class                      string
	demo, override             bool
	notBefore                  time.Time
	path                       string
}

// failure is an error with its exit code and, if there is one, a hint for the person.
type failure struct {
	err  error
	hint string
	code int
}

func (f *failure) Error() string { return f.err.Error() }

func usageError(format string, args ...any) error {
	return &failure{fmt.Errorf(format, args...), "clearcheck --help shows how it is used", exitUsage}
}

// run is the program: what it returns is the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	defer func() {
		// A mistake of this program in the face of a hostile image must not look like an answer.
		if r := recover(); r != nil {
			fmt.Fprintf(stderr, "clearcheck: error: internal error: %v\n", r)
			code = exitFailed
		}
	}()
	cfg, err := parse(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	var result clearance.Result
	if err == nil {
		result, err = check(ctx, cfg, stderr)
	}
	if err != nil {
		if errors.Is(err, context.Canceled) {
			err = errors.New("interrupted before there was an answer")
		}
		fmt.Fprintf(stderr, "clearcheck: error: %v\n", err)
		var f *failure
		if errors.As(err, &f) {
			if f.hint != "" {
				fmt.Fprintf(stderr, "clearcheck: hint: %s\n", f.hint)
			}
			return f.code
		}
		return exitFailed
	}
	text := result.Text
	if result.Reason != clearance.Valid {
		text = fmt.Sprintf("%v: %s", result.Reason, text)
	}
	if _, err := fmt.Fprintf(stdout, "clearcheck: %s\n", text); err != nil && result.Reason == clearance.Valid {
		fmt.Fprintf(stderr, "clearcheck: error: say the answer: %v\n", err) // and what was not said is not valid
		return exitFailed
	}
	return result.Reason.Exit()
}

func parse(args []string, stdout io.Writer) (config, error) {
	var cfg config
	var notBefore string
	flags := flag.NewFlagSet("clearcheck", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&cfg.trust, "trust", "", "")
	flags.StringVar(&cfg.class, "for", "", "")
	flags.BoolVar(&cfg.demo, "demo", false, "")
	flags.BoolVar(&cfg.override, "override", false, "")
	flags.StringVar(&notBefore, "not-before", "", "")
	flags.StringVar(&cfg.token, "token", "", "")
	flags.StringVar(&cfg.qr, "qr", "", "")
	flags.StringVar(&cfg.manifest, "manifest", "", "")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			place, err := defaultTrust()
			if err != nil {
				place = "none on this system"
			}
			fmt.Fprintf(stdout, usage, place)
			return cfg, flag.ErrHelp
		}
		return cfg, usageError("%w", err)
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name := range given {
		// An empty value is a script's unset variable. Taking it for an absent flag would check less than was asked.
		if flags.Lookup(name).Value.String() == "" {
			return cfg, usageError("--%s is empty", name)
		}
	}
	switch {
	case given["token"] == given["qr"]:
		return cfg, usageError("give the clearance as --token FILE or as --qr DIGITS")
	case given["for"] && !clearance.IsClass(cfg.class):
		return cfg, usageError("%q is not an equipment class", cfg.class)
	case flags.NArg() != 1 || flags.Arg(0) == "":
		return cfg, usageError("give one path, after the flags")
	}
	if given["not-before"] {
		t, err := time.Parse(time.RFC3339, notBefore)
		if err != nil {
			return cfg, usageError("--not-before takes a time such as 2026-11-21T08:00:00Z")
		}
		cfg.notBefore = t
	}
	cfg.path = flags.Arg(0)
	return cfg, nil
}

// check answers the question. An error means that it could not be answered.
func check(ctx context.Context, cfg config, stderr io.Writer) (clearance.Result, error) {
	v := clearance.Verification{Class: cfg.class, AllowDemo: cfg.demo, AllowOverride: cfg.override, NotBefore: cfg.notBefore, Now: time.Now()}
	var err error
	if v.Trust, err = loadTrust(cfg.trust); err != nil {
		return clearance.Result{}, err
	}
	target, err := openTarget(cfg.path)
	if err != nil {
		return clearance.Result{}, err
	}
	defer target.Close()
	v.Medium = target.medium()

	forged := func(text string) (clearance.Result, error) {
		return clearance.Result{Reason: clearance.Forged, Text: text}, nil
	}
	if cfg.qr != "" {
		v.FromQR = true
		if v.Token, err = clearance.ParseQR(cfg.qr); err != nil {
			return forged("These are not the digits of a clearance.")
		}
	} else if v.Token, err = readFile(cfg.token, clearance.MaxToken); err != nil {
		return clearance.Result{}, fmt.Errorf("read the token: %w", err)
	}
	if cfg.manifest != "" {
		v.Manifest, err = loadManifest(cfg.manifest)
		if errors.Is(err, clearance.ErrMalformed) {
			return forged("The manifest is not one that a station wrote, or it was changed.")
		}
		if err != nil {
			return clearance.Result{}, fmt.Errorf("read the manifest: %w", err)
		}
	}

	// The first answer costs no look at the medium. Only if nothing but the content is open is the medium read.
	result := clearance.Verify(v)
	if result.Reason != clearance.NotVerified || result.Claims == nil {
		return result, nil
	}
	comparison, err := target.compare(ctx, *result.Claims, v.Manifest, stderr)
	if err != nil {
		return clearance.Result{}, err
	}
	v.Comparison = &comparison
	v.Now = time.Now() // reading takes time, and a clearance can expire meanwhile
	result = clearance.Verify(v)
	notes(cfg, target, result, stderr)
	return result, nil
}

// notes says what the answer does not cover.
func notes(cfg config, target target, result clearance.Result, stderr io.Writer) {
	switch result.Reason {
	case clearance.Valid, clearance.Unfresh:
		if cfg.class == "" {
			fmt.Fprintf(stderr, "clearcheck: note: the equipment class was not checked; it was cleared for %s\n", strings.Join(result.Claims.Audience, ", "))
		}
		if n := result.Claims.Excepted; n > 0 {
			fmt.Fprintf(stderr, "clearcheck: note: two people excepted findings that would have barred it (%d)\n", n)
		}
		if target.folder {
			fmt.Fprintln(stderr, "clearcheck: note: alternate data streams and other volumes of the medium cannot be seen in a folder")
		}
	case clearance.Altered:
		if cfg.manifest == "" {
			fmt.Fprintln(stderr, "clearcheck: hint: with --manifest it says what was changed")
		}
	}
}

// loadTrust reads the trust file that is named, or the one of the system, which must be an administrator's.
func loadTrust(path string) (*clearance.Trust, error) {
	if path == "" {
		var err error
		if path, err = defaultTrust(); err != nil {
			return nil, &failure{fmt.Errorf("find the trust file: %w", err), "name it with --trust", exitFailed}
		}
		if err := administrators(path); err != nil {
			return nil, &failure{fmt.Errorf("trust file %s: %w", path, err), "an administrator puts it there; or name another with --trust", exitFailed}
		}
	}
	data, err := readFile(path, clearance.MaxTrust)
	if err != nil {
		return nil, &failure{fmt.Errorf("read the trust file: %w", err), "name it with --trust", exitFailed}
	}
	t, err := clearance.ParseTrust(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

func loadManifest(path string) (*clearance.Manifest, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	if head, _ := in.Peek(sealed.MagicSize); sealed.Is(head) { // what cannot be peeked at, ReadManifest has words for
		return nil, errors.New("it is sealed, as a station keeps it; pratique clearance save writes one that can be read")
	}
	return clearance.ReadManifest(in)
}

// readFile reads a small file. One more byte than the limit is read, so that what is too long is not cut into something
// that is right.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit+1))
}

// openRegular opens a file that a person named: links are followed, but a pipe or a device is refused before it can hang.
func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	return os.Open(path)
}
