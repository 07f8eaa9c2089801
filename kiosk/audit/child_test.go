package audit

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"pratique/kiosk/clearance"
)

// child is another process: the test binary again, as a writer to a log. It prints a line for each entry that it was told
// is durable, and ends with exit code 3 and one line when an append is refused.
func child(role, dir, private string) int {
	ctx := context.Background()
	opts := key{private: private}.options()
	switch role {
	case "limited": // no file may grow beyond a few pages from here
		signal.Ignore(syscall.SIGXFSZ)
		limit := uint64(256 << 10)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
			panic(err)
		}
	case "nobody", "auditor": // root may write where nobody else may
		if os.Getuid() == 0 {
			if err := syscall.Setuid(65534); err != nil {
				panic(err)
			}
		}
	}
	if role == "auditor" {
		return audit(ctx, filepath.Join(dir, FileName), opts)
	}
	l, err := Open(ctx, dir, opts)
	if err != nil {
		fmt.Println("refused", err)
		return 3
	}
	rounds := 1 << 30
	if role == "count" {
		rounds = 40
	}
	for n := range rounds {
		if err := childSession(ctx, l, n); err != nil {
			fmt.Println("refused", err)
			return 3
		}
	}
	return 0
}

// audit is an auditor with a copy in a folder that cannot be written.
func audit(ctx context.Context, path string, opts Options) int {
	r, err := OpenReader(ctx, path, opts.Origin, opts.Verifiers)
	if err != nil {
		fmt.Println("refused", err)
		return 3
	}
	defer r.Close()
	res, err := r.Verify(ctx, VerifyOptions{})
	fmt.Println("verified", res.Sound, res.Entries, err)
	return 0
}

func childSession(ctx context.Context, l *Log, n int) error {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %d %d", os.Getpid(), n, time.Now().UnixNano()))
	id := ID(sum[:16])
	tell := func(idx int64, err error) error {
		if err == nil {
			fmt.Println(idx, id)
		}
		return err
	}
	if err := tell(l.Append(ctx, Event{id, Attached{Source: Image}})); err != nil {
		return err
	}
	items := l.NewItems(id, testKey)
	for i := range 20 {
		if err := items.Add(ctx, testItem(i)); err != nil {
			return err
		}
	}
	digest, count, err := items.Close(ctx)
	if err != nil {
		return err
	}
	if err := tell(l.Append(ctx, Event{id, decided(Cleared, digest, count)})); err != nil {
		return err
	}
	at := time.Now().Truncate(time.Second)
	leaf, err := clearance.Leaf(testClaims(id, at))
	if err != nil {
		return err
	}
	idx, err := l.AppendLeaf(ctx, KindIssuing, id, at, leaf)
	if err := tell(idx, err); err != nil {
		return err
	}
	return tell(l.Append(ctx, Event{id, Issued{Issuing: idx, Token: Digest{1}}}))
}

// process is a running child.
type process struct {
	cmd *exec.Cmd
	out *bufio.Scanner
}

func start(t *testing.T, role, dir string, k key) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-child", role, "-child-dir", dir, "-child-key", k.private)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return &process{cmd, bufio.NewScanner(out)}
}

// acknowledged reads what the child was told is durable, until it ends.
func (p *process) acknowledged(t *testing.T) (entries map[int64]string, refused string) {
	t.Helper()
	entries = map[int64]string{}
	for p.out.Scan() {
		var idx int64
		var id string
		if _, err := fmt.Sscanf(p.out.Text(), "%d %s", &idx, &id); err == nil {
			entries[idx] = id
		} else {
			refused = p.out.Text()
		}
	}
	p.cmd.Wait()
	return entries, refused
}
