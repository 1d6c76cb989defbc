package interop

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/mx/dane"
	"github.com/postrider/postrider/mx/dns"
)

// daneCert is a certificate of a chain.
type daneCert struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

// daneCertificate returns a certificate that parent has signed, or that signs itself. With hosts it isn't a CA.
func daneCertificate(t *testing.T, parent *daneCert, name, hosts string, until time.Duration) *daneCert {
	t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(until), BasicConstraintsValid: true}
	if hosts == "" {
		c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign
	} else {
		c.DNSNames = strings.Fields(hosts)
	}
	var cert *x509.Certificate
	var key *ecdsa.PrivateKey
	var err error
	if parent == nil {
		cert, key, err = sign(c, nil, nil)
	} else {
		cert, key, err = sign(c, parent.Certificate, parent.key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &daneCert{cert, key}
}

// daneRecord returns the record "usage selector matching" of a certificate.
func daneRecord(fields string, of *daneCert) dns.TLSA {
	var r dns.TLSA
	fmt.Sscan(fields, &r.Usage, &r.Selector, &r.MatchingType)
	r.Data = of.Raw
	if r.Selector == 1 {
		r.Data = of.RawSubjectPublicKeyInfo
	}
	switch r.MatchingType {
	case 1:
		sum := sha256.Sum256(r.Data)
		r.Data = sum[:]
	case 2:
		sum := sha512.Sum512(r.Data)
		r.Data = sum[:]
	}
	return r
}

// daneChain returns the certificates of a host for crypto/tls, its own one first.
func daneChain(chain ...*daneCert) tls.Certificate {
	cert := tls.Certificate{PrivateKey: chain[0].key}
	for _, c := range chain {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return cert
}

// serveTLS presents a chain to each client.
func serveTLS(t *testing.T, chain []*daneCert) (addr string) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{daneChain(chain...)}})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(10 * time.Second))
				conn.Read(make([]byte, 1)) // until the client has decided
			})
		}
	})
	return l.Addr().String()
}

// byOpenSSL reports whether OpenSSL, and so Postfix, accepts the host by these records.
func byOpenSSL(ctx context.Context, addr string, records []dns.TLSA) (bool, string) {
	args := []string{"s_client", "-connect", addr, "-servername", "mx.example.net", "-dane_tlsa_domain", "mx.example.net",
		"-dane_ee_no_namechecks", "-verify_return_error", "-brief"}
	for _, r := range records {
		args = append(args, "-dane_tlsa_rrdata", fmt.Sprintf("%d %d %d %s", r.Usage, r.Selector, r.MatchingType, hex.EncodeToString(r.Data)))
	}
	out, _ := exec.CommandContext(ctx, "openssl", args...).CombinedOutput()
	return strings.Contains(string(out), "Verification: OK"), string(out)
}

// byUs reports whether Verify accepts the session of a handshake.
func byUs(ctx context.Context, addr string, records []dns.TLSA) (bool, string) {
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false, err.Error()
	}
	defer conn.Close()
	by, err := dane.Verify(records, []string{"mx.example.net"}, conn.(*tls.Conn).ConnectionState())
	return err == nil, fmt.Sprint(by, err)
}

// TestDANEVerify: OpenSSL decides about a host as Verify does.
func TestDANEVerify(t *testing.T) {
	need(t, "openssl")
	root := daneCertificate(t, nil, "root", "", time.Hour)
	sub := daneCertificate(t, root, "sub", "", time.Hour)
	other := daneCertificate(t, nil, "other", "", time.Hour)
	leaf := daneCertificate(t, sub, "leaf", "mx.example.net", time.Hour)
	stranger := daneCertificate(t, sub, "stranger", "mx.example.org", time.Hour)
	late := daneCertificate(t, sub, "late", "mx.example.net", -time.Hour)
	alone := daneCertificate(t, nil, "alone", "mx.example.org", -time.Hour)
	certs := map[string]*daneCert{"root": root, "sub": sub, "other": other, "leaf": leaf, "stranger": stranger, "late": late, "alone": alone}
	list := func(names string) (all []*daneCert) {
		for _, name := range strings.Fields(names) {
			all = append(all, certs[name])
		}
		return all
	}
	addrs := make(map[string]string) // of servers, by chain
	for _, tt := range []struct {
		chain, records string // certificates; records with the certificates that they are of, separated by commas
		want           bool
	}{
		{"leaf sub root", "3 1 1 leaf", true},
		{"leaf sub root", "3 0 2 leaf", true},
		{"leaf sub root", "3 0 0 leaf", true},
		{"leaf sub root", "3 1 0 leaf", true},
		{"leaf sub root", "3 1 1 other", false},
		{"leaf sub root", "3 1 1 sub", false},
		{"alone", "3 1 1 alone", true},
		{"late sub", "3 1 1 late", true},
		{"stranger sub", "3 1 1 stranger", true},
		{"leaf sub root", "2 0 1 root", true},
		{"leaf sub root", "2 1 2 root", true},
		{"leaf sub", "2 1 1 sub", true},
		{"leaf sub", "2 0 1 root", false},
		{"leaf sub", "2 0 0 root", true},
		{"leaf", "2 0 0 sub", true},
		{"leaf sub", "2 1 0 root", true},
		{"leaf", "2 1 0 sub", true},
		{"leaf sub", "2 1 0 other", false},
		{"leaf sub other", "2 0 1 other", false},
		{"leaf root sub", "2 0 1 root", true},
		{"leaf sub root", "2 1 1 leaf", false},
		{"leaf sub root", "2 0 0 leaf", false},
		{"stranger sub root", "2 0 1 root", false},
		{"stranger sub", "2 1 0 root", false},
		{"late sub root", "2 0 1 root", false},
		{"leaf sub root", "3 1 1 other, 2 0 1 root", true},
		{"leaf sub root", "2 0 1 other, 3 1 1 leaf", true},
		{"leaf sub root", "3 1 1 leaf, 3 1 2 other", false}, // RFC 7671 §9
		{"leaf sub root", "3 0 1 leaf, 3 1 2 other", true},
		{"leaf sub root", "2 1 2 other, 3 1 1 leaf", true},
	} {
		addr, ok := addrs[tt.chain]
		if !ok {
			addr = serveTLS(t, list(tt.chain))
			addrs[tt.chain] = addr
		}
		var records []dns.TLSA
		for record := range strings.SplitSeq(tt.records, ", ") {
			i := strings.LastIndexByte(record, ' ')
			records = append(records, daneRecord(record[:i], certs[record[i+1:]]))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		for name, by := range map[string]func(context.Context, string, []dns.TLSA) (bool, string){"we": byUs, "OpenSSL": byOpenSSL} {
			if got, why := by(ctx, addr, records); got != tt.want {
				t.Errorf("chain %q, records %q: %s: got %v, want %v\n%.1000s", tt.chain, tt.records, name, got, tt.want, why)
			}
		}
		cancel()
	}
}
