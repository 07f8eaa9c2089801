// Package forward sends messages of syslog to a collector of events, over TLS as RFC 5425 has it
// (https://www.rfc-editor.org/rfc/rfc5425): each message with its length in front, "MSG-LEN SP SYSLOG-MSG" (section 4.3.1).
//
// It is the one package that opens a connection to another machine. Nothing in it runs by itself: "pratique audit forward"
// calls it, if the configuration names a collector, and the daemon does not link it.
//
// # Trust and limits
//
// The collector must show a certificate by one of the authorities in the file that the administrator named, for the name that
// the administrator wrote; the machine's own authorities count for nothing. TLS 1.2 or newer. What the collector says is not
// read but for the end of the connection: syslog has no answers. So Close asks for that end, which every receiver must give
// (section 4.4), and a collector that refuses the connection, or the station's certificate, or hangs up without that word, is
// an error: it may have gone away before the last message came. One that takes all and then loses it is not seen; the log on
// the station stays whole whatever happens here.
package forward

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"
)

// Limits on a collector, which may hang.
const (
	dialTimeout  = 15 * time.Second // for the connection and the handshake
	writeTimeout = 30 * time.Second // for it to take some more
	closeTimeout = 30 * time.Second // for it to have taken all
	maxFile      = 1 << 20          // of certificates
	// maxMessage is more than any message here, and what a collector may be sent (RFC 5424 section 6.1 has no upper end).
	maxMessage = 64 << 10
)

// ErrRefused says that the collector did not take what was sent.
var ErrRefused = errors.New("the collector did not take it")

// Collector is where messages go.
type Collector struct {
	Server      string // host:port; RFC 5425's own port is 6514
	CA          string // file with the authorities of its certificate, PEM
	Certificate string // file with the station's own certificate, if the collector wants one; with Key
	Key         string
}

// Sender is a connection to a collector. What is written to it are messages, each ended by a newline that is not sent.
type Sender struct {
	conn *tls.Conn
	raw  *watched
	part []byte // of a message whose end has not come yet
}

// watched notes whether the other side hung up. Package tls takes that for an end like any other where no record is cut in
// two, and only the record that it had for a last word tells them apart: with it, nothing reads on to the bare end.
type watched struct {
	net.Conn
	hungUp bool // read after the read that sets it has returned
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		w.hungUp = true
	}
	return n, err
}

// Dial connects to the collector.
func Dial(ctx context.Context, c Collector) (*Sender, error) {
	host, _, err := net.SplitHostPort(c.Server)
	if err != nil {
		return nil, fmt.Errorf("the collector's address: %w", err)
	}
	cfg := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	authorities, err := read(c.CA)
	if err != nil {
		return nil, fmt.Errorf("the collector's authorities: %w", err)
	}
	if !cfg.RootCAs.AppendCertsFromPEM(authorities) {
		return nil, fmt.Errorf("the collector's authorities: %s has no certificate", c.CA)
	}
	if c.Certificate != "" || c.Key != "" {
		certificate, err := read(c.Certificate)
		if err != nil {
			return nil, fmt.Errorf("the station's certificate: %w", err)
		}
		key, err := read(c.Key)
		if err != nil {
			return nil, fmt.Errorf("the certificate's key: %w", err)
		}
		pair, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			return nil, fmt.Errorf("the station's certificate: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, errors.New("it takes too long"))
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", c.Server)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	s := &Sender{raw: &watched{Conn: conn}}
	s.conn = tls.Client(s.raw, cfg)
	if err := s.conn.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return s, nil
}

// read reads a small file.
func read(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is longer than %d bytes", name, maxFile)
	}
	return data, err
}

// Write sends the messages that are whole. Many go out at once: a packet for each would take the most time.
func (s *Sender) Write(p []byte) (int, error) {
	var frames []byte
	for rest := p; ; {
		message, after, whole := bytes.Cut(rest, []byte("\n"))
		s.part = append(s.part, message...)
		if len(s.part) > maxMessage {
			return 0, fmt.Errorf("a message of more than %d bytes", maxMessage)
		}
		if !whole {
			break
		}
		frames = append(append(strconv.AppendInt(frames, int64(len(s.part)), 10), ' '), s.part...)
		s.part, rest = s.part[:0], after
	}
	if len(frames) == 0 {
		return len(p), nil
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	if _, err := s.conn.Write(frames); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return len(p), nil
}

// Close ends the connection and waits until the collector has ended it too. No error means that it took everything.
func (s *Sender) Close() error {
	defer s.conn.Close()
	if len(s.part) > 0 {
		return errors.New("a message without an end")
	}
	if err := s.conn.CloseWrite(); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err := s.conn.SetReadDeadline(time.Now().Add(closeTimeout)); err != nil {
		return err
	}
	var answer [1]byte
	switch n, err := s.conn.Read(answer[:]); {
	case errors.Is(err, io.EOF) && !s.raw.hungUp:
		return nil
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: it hung up without closing the connection", ErrRefused)
	case err != nil: // also an alert, such as one that the station's certificate is not wanted
		return fmt.Errorf("%w: %w", ErrRefused, err)
	default:
		return fmt.Errorf("%w: it answers, with %d bytes", ErrRefused, n)
	}
}

// Abandon ends the connection at once, with what was sent left to the collector.
func (s *Sender) Abandon() { s.raw.Close() }
