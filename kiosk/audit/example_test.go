package audit_test

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/mod/sumdb/note"

	"pratique/kiosk/audit"
)

// A medium that was pulled before there was a verdict.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "log")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	private, public, _ := audit.GenerateKey("kiosk-3.stmary.example/log") // once, kept in a file of its owner's
	signer, _, _ := audit.ParseKey(private)
	verifier, _ := note.NewVerifier(public)
	keys := note.VerifierList(verifier)

	log, err := audit.Open(ctx, dir, audit.Options{Origin: signer.Name(), Signer: signer, Verifiers: keys})
	if err != nil {
		panic(err)
	}
	defer log.Close()

	session := audit.ID{1, 2, 3}
	log.Append(ctx, audit.Event{Session: session, Data: audit.Attached{Source: audit.Image, Bytes: 8 << 30, SectorSize: 512}})
	index, err := log.Append(ctx, audit.Event{Session: session, Data: audit.Aborted{Cause: "removed"}})
	fmt.Println(index, err)

	log.List(ctx, audit.ListOptions{}, func(e audit.Entry) error {
		fmt.Printf("%d %v %+v\n", e.Index, e.Kind, e.Data)
		return nil
	})
	result, err := log.Verify(ctx, audit.VerifyOptions{})
	fmt.Println(result.Sound, result.Entries, err)
	// Output:
	// 1 <nil>
	// 0 attached {Source:image Bytes:8589934592 SectorSize:512 VID:0 PID:0 Port: Units:0 Vacant:0}
	// 1 aborted {Cause:removed}
	// true 2 <nil>
}
