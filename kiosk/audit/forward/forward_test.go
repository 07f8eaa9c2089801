package forward

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority makes certificates for a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.cert, a.key = template, nil
	der, key := a.sign(template)
	a.key = key
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, a.pem = cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// sign signs a certificate with the authority's key, its own if there is none yet.
func (a *authority) sign(template *x509.Certificate) ([]byte, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	by := a.key
	if by == nil {
		by = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), by)
	if err != nil {
		a.t.Fatal(err)
	}
	return der, key
}

// pair is a certificate for a use and a host, as files and as what a server takes.
func (a *authority) pair(host string, use x509.ExtKeyUsage) (cert, key string, pair tls.Certificate) {
	a.t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{use}}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, private := a.sign(template)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	certPEM, keyPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	if pair, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		a.t.Fatal(err)
	}
	return file(a.t, certPEM), file(a.t, keyPEM), pair
}

func file(t *testing.T, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// collector listens on the loopback interface and takes one connection as f says.
func collector(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		f(conn)
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// frames reads messages as RFC 5425 frames them, until the sender has ended.
func frames(conn io.Reader) (out []string, err error) {
	r := bufio.NewReader(conn)
	for {
		var n int
		if _, err := fmt.Fscanf(r, "%d ", &n); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return out, nil
		} else if err != nil {
			return out, err
		}
		message := make([]byte, n)
		if _, err := io.ReadFull(r, message); err != nil {
			return out, err
		}
		out = append(out, string(message))
	}
}

func TestMessagesArriveInTheirFrames(t *testing.T) {
	a := newAuthority(t)
	_, _, server := a.pair("127.0.0.1", x509.ExtKeyUsageServerAuth)
	cert, key, _ := a.pair("kiosk-3", x509.ExtKeyUsageClientAuth)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(a.pem)
	got := make(chan []string, 1)
	address := collector(t, func(conn net.Conn) {
		c := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool})
		defer c.Close()
		messages, err := frames(c)
		if err != nil {
			messages = append(messages, err.Error())
		}
		got <- messages
	})
	s, err := Dial(t.Context(), Collector{Server: address, CA: file(t, a.pem), Certificate: cert, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"<109>1 first", "second, of two parts", strings.Repeat("x", 5000), "last"}
	for _, part := range []string{"<109>1 first\nsecond, ", "of two parts\n" + want[2] + "\n", "", "last\n"} {
		if n, err := s.Write([]byte(part)); err != nil || n != len(part) {
			t.Fatal(n, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if messages := <-got; strings.Join(messages, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q arrived", messages)
	}
}

// Nothing is told to a collector that is not the one, and one that does not take it all is an error.
func TestWhoIsNotTheCollectorGetsNothing(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	_, _, good := a.pair("127.0.0.1", x509.ExtKeyUsageServerAuth)
	_, _, elsewhere := a.pair("siem.example", x509.ExtKeyUsageServerAuth)
	_, _, foreign := other.pair("127.0.0.1", x509.ExtKeyUsageServerAuth)
	_, _, client := a.pair("127.0.0.1", x509.ExtKeyUsageClientAuth)
	withTLS := func(cfg *tls.Config, f func(*tls.Conn)) func(net.Conn) {
		return func(conn net.Conn) {
			c := tls.Server(conn, cfg)
			if c.Handshake() == nil {
				f(c)
			}
		}
	}
	takesAll := func(c *tls.Conn) { frames(c); c.Close() }
	for name, tt := range map[string]struct {
		serve func(net.Conn)
		ok    bool
	}{
		"the collector":             {withTLS(&tls.Config{Certificates: []tls.Certificate{good}}, takesAll), true},
		"another authority's":       {withTLS(&tls.Config{Certificates: []tls.Certificate{foreign}}, takesAll), false},
		"another host's":            {withTLS(&tls.Config{Certificates: []tls.Certificate{elsewhere}}, takesAll), false},
		"a client's certificate":    {withTLS(&tls.Config{Certificates: []tls.Certificate{client}}, takesAll), false},
		"old TLS":                   {withTLS(&tls.Config{Certificates: []tls.Certificate{good}, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}, takesAll), false},
		"no TLS":                    {func(c net.Conn) { io.WriteString(c, "220 hello\r\n"); frames(c) }, false},
		"one that hangs up":         {withTLS(&tls.Config{Certificates: []tls.Certificate{good}}, func(c *tls.Conn) { c.NetConn().Close() }), false},
		"one that answers":          {withTLS(&tls.Config{Certificates: []tls.Certificate{good}}, func(c *tls.Conn) { io.WriteString(c, "no"); frames(c); c.Close() }), false},
		"one that wants to know us": {withTLS(&tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert}, takesAll), false},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Dial(t.Context(), Collector{Server: collector(t, tt.serve), CA: file(t, a.pem)})
			if err == nil {
				if _, err = s.Write([]byte("a secret\n")); err == nil {
					err = s.Close()
				} else {
					s.Abandon()
				}
			}
			if (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrRefused) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestWrongSettingsAreErrors(t *testing.T) {
	a := newAuthority(t)
	cert, key, _ := a.pair("x", x509.ExtKeyUsageClientAuth)
	ca := file(t, a.pem)
	for name, c := range map[string]Collector{
		"no port":              {Server: "siem.example", CA: ca},
		"no authorities":       {Server: "127.0.0.1:1", CA: filepath.Join(t.TempDir(), "none")},
		"authorities of noise": {Server: "127.0.0.1:1", CA: file(t, []byte("noise"))},
		"a long file":          {Server: "127.0.0.1:1", CA: file(t, bytes.Repeat([]byte("x"), maxFile+1))},
		"a key without":        {Server: "127.0.0.1:1", CA: ca, Key: key},
		"another key":          {Server: "127.0.0.1:1", CA: ca, Certificate: cert, Key: cert},
		"nobody there":         {Server: "127.0.0.1:1", CA: ca},
	} {
		if _, err := Dial(t.Context(), c); err == nil {
			t.Errorf("%s: connected", name)
		}
	}
	s := &Sender{part: []byte("half")}
	if _, err := s.Write(bytes.Repeat([]byte("x"), maxMessage)); err == nil {
		t.Error("a message without end")
	}
}
