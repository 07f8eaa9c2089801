package kiosk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"pratique/kiosk/audit"
	"pratique/kiosk/clearance"
)

// Log calls f for each entry of the log, oldest first.
func (s *State) Log(ctx context.Context, f func(audit.Entry) error) error {
	return s.log.List(ctx, audit.ListOptions{}, f)
}

// VerifyLog checks the log in a state folder, or in a copy of one, with the public key beside it, and against every token
// that was issued: a log that was put back to an older state as a whole lacks the newest tokens' entries. It writes
// nothing, so that it can be run on evidence.
func VerifyLog(ctx context.Context, dir string) (audit.Result, error) {
	text, err := os.ReadFile(filepath.Join(dir, "key", "log.pub"))
	if err != nil {
		return audit.Result{}, fmt.Errorf("%w: there is no key to verify the log with: %w", ErrState, err)
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(string(text)))
	if err != nil {
		return audit.Result{}, fmt.Errorf("%w: key/log.pub: %w", ErrState, err)
	}
	r, err := audit.OpenReader(ctx, filepath.Join(dir, audit.FileName), verifier.Name(), note.VerifierList(verifier))
	if err != nil {
		return audit.Result{}, logError(err)
	}
	defer r.Close()
	leaves, err := issuedLeaves(dir)
	if err != nil {
		return audit.Result{}, err
	}
	res, err := r.Verify(ctx, audit.VerifyOptions{Leaves: leaves})
	if err != nil {
		return res, logError(err)
	}
	return res, nil
}

// issuedLeaves returns the log's leaves as the tokens in a state folder tell them.
func issuedLeaves(dir string) ([]audit.Known, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "clearances"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	var out []audit.Known
	for _, e := range entries {
		name := filepath.Join(dir, "clearances", e.Name(), tokenName)
		token, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a folder that a crash left
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrState, err)
		}
		leaf, index, err := clearance.LeafOfToken(token)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrState, name, err)
		}
		out = append(out, audit.Known{Index: int64(index), Leaf: leaf})
	}
	return out, nil
}
