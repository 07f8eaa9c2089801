package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pratique/kiosk/config"
)

// The program sends what happened to the collector that the configuration names, once, and to nobody if none is named.
func TestTheLogIsForwardedToTheConfiguredCollector(t *testing.T) {
	dir := t.TempDir()
	state, file := filepath.Join(dir, "state"), filepath.Join(dir, "station.toml")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true,
		BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	arrived := make(chan string, 4)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			text, _ := io.ReadAll(conn)
			conn.Close()
			arrived <- string(text)
		}
	}()

	if code, _, words := run(t, "pratique", "screen", "--state", state, sample("clean")); code != 0 {
		t.Fatal(words)
	}
	configure := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configure("[scan]\nrequire_namespaces = false\n")
	if code, _, words := run(t, "pratique", "audit", "forward", "--state", state, "--config", file); code != exitUsage || !strings.Contains(words, "names no collector") {
		t.Errorf("without a collector: exit code %d: %s", code, words)
	}
	for form, want := range map[string]string{"cef": "CEF:0|Pratique|", "dicom": "\uFEFF<AuditMessage>"} {
		configure(fmt.Sprintf("[syslog]\nserver = %q\nca = %q\nform = %q\n", l.Addr().String(), filepath.Join(dir, "ca.pem"), form))
		if code, _, words := run(t, "pratique", "audit", "forward", "--state", state, "--config", file); code != exitOK || !strings.Contains(words, "were taken by") {
			t.Fatalf("%s: exit code %d: %s", form, code, words)
		}
		if text := <-arrived; !strings.Contains(text, want) {
			t.Errorf("%s: %.300s", form, text)
		}
		if code, _, words := run(t, "pratique", "audit", "forward", "--state", state, "--config", file); code != exitOK || !strings.Contains(words, "nothing is new") {
			t.Errorf("%s: exit code %d: %s", form, code, words)
		}
	}
	l.Close()
	if code, _, words := run(t, "pratique", "screen", "--state", state, sample("clean")); code != 0 {
		t.Fatal(words)
	}
	if code, _, words := run(t, "pratique", "audit", "forward", "--state", state, "--config", file); code != exitFailed || !strings.Contains(words, "sent again the next time") {
		t.Errorf("without anybody there: exit code %d: %s", code, words)
	}
}

// What may leave the station is said where everything else is that is in force.
func TestDoctorNamesTheCollector(t *testing.T) {
	line := configLine(config.Config{File: "station.toml", Syslog: config.Syslog{Server: "siem.example:6514"}})
	if !strings.Contains(line, "the log may be sent to siem.example:6514") || strings.Contains(configLine(config.Config{File: "station.toml"}), "sent") {
		t.Error(line)
	}
}
