package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"filippo.io/mldsa"

	"pratique/kiosk/keys/p11"
	"pratique/scanner/frame"
)

// tokenTime is how long a token may take for one request. A network HSM behind a slow line needs seconds; making a key on a
// smart card up to half a minute.
const tokenTime = 60 * time.Second

// helper is a running keyhelper.
type helper struct {
	mu  sync.Mutex // one request at a time
	cmd *exec.Cmd
	in  io.WriteCloser
	w   *frame.Writer
	r   *frame.Reader
	err error // the first; nothing is asked after it
}

// startHelper starts keyhelper and lets it log in. The helper keeps the environment: vendors' libraries find their
// configuration by it.
func startHelper(path, module, token string, pin []byte) (*helper, error) {
	if path == "" {
		return nil, fmt.Errorf("%w: the keyhelper program is not installed", ErrClosed)
	}
	cmd := exec.Command(path)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("%w: keyhelper: %w", ErrClosed, err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("%w: keyhelper: %w", ErrClosed, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w: keyhelper: %w", ErrClosed, err)
	}
	h := &helper{cmd: cmd, in: in, w: frame.NewWriter(in), r: frame.NewSmallReader(out, p11.MaxMessage)}
	if _, err := h.ask(p11.Request{Verb: p11.Open, Module: module, Token: token, PIN: pin}); err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

// ask sends a request and waits for its reply. A helper that hangs is killed.
func (h *helper) ask(r p11.Request) (p11.Reply, error) {
	if err := r.Check(); err != nil {
		return p11.Reply{}, fmt.Errorf("%w: keyhelper: %w", ErrClosed, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return p11.Reply{}, h.err
	}
	timer := time.AfterFunc(tokenTime, func() { h.cmd.Process.Kill() })
	defer timer.Stop()
	var reply p11.Reply
	err := errors.Join(h.w.Write(r), h.w.Flush())
	if err == nil {
		err = h.r.Next(&reply)
	}
	if err == nil {
		err = reply.Check(r.Verb)
	}
	if err != nil {
		h.err = fmt.Errorf("%w: keyhelper: %w", ErrClosed, err)
		return p11.Reply{}, h.err
	}
	if reply.Error != "" {
		return p11.Reply{}, fmt.Errorf("%w: token: %q", ErrClosed, reply.Error)
	}
	return reply, nil
}

// close ends the helper and waits for it.
func (h *helper) close() error {
	h.in.Close()
	timer := time.AfterFunc(tokenTime, func() { h.cmd.Process.Kill() })
	defer timer.Stop()
	_ = h.cmd.Wait() // its answers were checked; how it ends says nothing
	return nil
}

func (b *Box) newToken(_ context.Context, a Access, pin []byte, pq *mldsa.PrivateKey) error {
	h, err := startHelper(a.Helper, a.Module, a.Token, pin)
	if err != nil {
		return err
	}
	defer h.close()
	object := make([]byte, 16)
	if _, err := rand.Read(object); err != nil {
		return err
	}
	reply, err := h.ask(p11.Request{Verb: p11.Make, Object: object, Seed: seed(pq)})
	if err != nil {
		return err
	}
	b.Point, b.Token = reply.Point, &tokenName{Module: a.Module, Token: a.Token, Object: object}
	return nil
}

func (b *Box) openToken(ctx context.Context, a Access, pin []byte) (private, error) {
	if err := ctx.Err(); err != nil {
		return private{}, err
	}
	h, err := startHelper(a.Helper, b.Token.Module, b.Token.Token, pin)
	if err != nil {
		return private{}, err
	}
	p, err := b.findToken(h)
	if err != nil {
		return private{}, errors.Join(err, h.close())
	}
	return p, nil
}

func (b *Box) findToken(h *helper) (private, error) {
	reply, err := h.ask(p11.Request{Verb: p11.Find, Object: b.Token.Object})
	if err != nil {
		return private{}, err
	}
	public, err := b.sign()
	if err != nil {
		return private{}, err
	}
	if string(reply.Point) != string(b.Point) {
		return private{}, fmt.Errorf("%w: the token holds another key", ErrClosed)
	}
	pq, err := b.fromSeed(reply.Seed)
	if err != nil {
		return private{}, err
	}
	return private{sign: &tokenSigner{h, b.Token.Object, public}, pq: pq, close: h.close}, nil
}

// tokenSigner is a key inside a token.
type tokenSigner struct {
	h      *helper
	object []byte
	public *ecdsa.PublicKey
}

// Public returns the public key.
func (s *tokenSigner) Public() crypto.PublicKey { return s.public }

// Sign signs a SHA-256.
func (s *tokenSigner) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if len(digest) != sha256.Size || !signsSHA256(opts) {
		return nil, errors.New("token: only SHA-256 is signed")
	}
	reply, err := s.h.ask(p11.Request{Verb: p11.Sign, Object: s.object, Digest: digest})
	if err != nil {
		return nil, err
	}
	return ecdsaDER(reply.Signature[:32], reply.Signature[32:])
}
