package dane

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/mx/dns"
)

// issuer is a certificate with its key.
type issuer struct {
	*x509.Certificate
	key crypto.Signer
}

// issue returns a certificate that parent has signed, or that signs itself if parent is nil.
func issue(t testing.TB, parent *issuer, key crypto.Signer, change func(*x509.Certificate)) *issuer {
	t.Helper()
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	c := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: fmt.Sprint("cert ", serial)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true}
	change(c)
	signer, by := key, c
	if parent != nil {
		signer, by = parent.key, parent.Certificate
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{parsed, key}
}

func ecKey(t testing.TB) crypto.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func isCA(c *x509.Certificate)    { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign }
func isHost(c *x509.Certificate)  { c.DNSNames = []string{"mx.example.net"} }
func expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
func both(f, g func(*x509.Certificate)) func(*x509.Certificate) {
	return func(c *x509.Certificate) { f(c); g(c) }
}

// tlsa returns the record "usage selector matching" of a certificate.
func tlsa(usage, selector, matching uint8, cert *issuer) dns.TLSA {
	data := cert.Raw
	if selector == 1 {
		data = cert.RawSubjectPublicKeyInfo
	}
	switch matching {
	case 1:
		sum := sha256.Sum256(data)
		data = sum[:]
	case 2:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return dns.TLSA{Usage: usage, Selector: selector, MatchingType: matching, Data: data}
}

func session(chain ...*issuer) (state tls.ConnectionState) {
	for _, c := range chain {
		state.PeerCertificates = append(state.PeerCertificates, c.Certificate)
	}
	return state
}

func TestVerify(t *testing.T) {
	root := issue(t, nil, ecKey(t), isCA)
	sub := issue(t, root, ecKey(t), isCA)
	leaf := issue(t, sub, ecKey(t), isHost)
	other := issue(t, nil, ecKey(t), isCA)
	late := issue(t, sub, ecKey(t), both(isHost, expired))
	self := issue(t, nil, ecKey(t), both(expired, func(c *x509.Certificate) { c.DNSNames = []string{"other.example"} }))
	oldSub := issue(t, root, ecKey(t), both(isCA, expired))
	underOld := issue(t, oldSub, ecKey(t), isHost)
	noCA := issue(t, root, ecKey(t), func(c *x509.Certificate) {})
	underNoCA := issue(t, noCA, ecKey(t), isHost)
	wild := issue(t, sub, ecKey(t), func(c *x509.Certificate) { c.DNSNames = []string{"*.example.net"} })
	common := issue(t, sub, ecKey(t), func(c *x509.Certificate) { c.Subject.CommonName = "mx.example.net" })
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaRoot, edRoot := issue(t, nil, rsaKey, isCA), issue(t, nil, edKey, isCA)
	underRSA, underEd := issue(t, rsaRoot, ecKey(t), isHost), issue(t, edRoot, ecKey(t), isHost)
	imposter := issue(t, nil, ecKey(t), func(c *x509.Certificate) { isCA(c); c.Subject = root.Subject })
	underImposter := issue(t, imposter, ecKey(t), isHost)
	changed := func(r dns.TLSA, change func(*dns.TLSA)) dns.TLSA { change(&r); return r }

	const noMatch, unusable = "none of the 1 usable", "none of the TLSA records is usable"
	whole := session(leaf, sub, root)
	tests := []struct {
		name    string
		records []dns.TLSA
		names   string // if empty, mx.example.net
		state   tls.ConnectionState
		want    string // the fields of the record, or a part of the error
	}{
		{name: "EE, key", records: []dns.TLSA{tlsa(3, 1, 1, leaf)}, state: whole, want: "3 1 1"},
		{name: "EE, SHA-512", records: []dns.TLSA{tlsa(3, 1, 2, leaf)}, state: whole, want: "3 1 2"},
		{name: "EE, whole key", records: []dns.TLSA{tlsa(3, 1, 0, leaf)}, state: whole, want: "3 1 0"},
		{name: "EE, certificate", records: []dns.TLSA{tlsa(3, 0, 1, leaf)}, state: whole, want: "3 0 1"},
		{name: "EE, whole certificate", records: []dns.TLSA{tlsa(3, 0, 0, leaf)}, state: whole, want: "3 0 0"},
		{name: "EE, neither name nor date nor chain count", records: []dns.TLSA{tlsa(3, 1, 1, self)}, state: session(self), want: "3 1 1"},
		{name: "EE, the second of two", records: []dns.TLSA{tlsa(3, 1, 1, other), tlsa(3, 1, 1, leaf)}, state: whole, want: "3 1 1"},
		{name: "EE of another key", records: []dns.TLSA{tlsa(3, 1, 1, other)}, state: whole, want: noMatch},
		{name: "EE of the issuer", records: []dns.TLSA{tlsa(3, 1, 1, sub)}, state: whole, want: noMatch},
		{name: "EE, key in place of the certificate", records: []dns.TLSA{changed(tlsa(3, 1, 1, leaf), func(r *dns.TLSA) { r.Selector = 0 })}, state: whole, want: noMatch},
		{name: "no certificate", records: []dns.TLSA{tlsa(3, 1, 1, leaf)}, want: "no certificate"},

		{name: "TA, root", records: []dns.TLSA{tlsa(2, 0, 1, root)}, state: whole, want: "2 0 1"},
		{name: "TA, key of the root", records: []dns.TLSA{tlsa(2, 1, 1, root)}, state: whole, want: "2 1 1"},
		{name: "TA, intermediate, root not sent", records: []dns.TLSA{tlsa(2, 1, 2, sub)}, state: session(leaf, sub), want: "2 1 2"},
		{name: "TA, beyond it the chain doesn't count", records: []dns.TLSA{tlsa(2, 0, 1, sub)}, state: session(leaf, sub, other), want: "2 0 1"},
		{name: "TA, chain in disorder", records: []dns.TLSA{tlsa(2, 0, 1, root)}, state: session(leaf, root, other, sub), want: "2 0 1"},
		{name: "TA, not sent", records: []dns.TLSA{tlsa(2, 0, 1, root)}, state: session(leaf, sub), want: noMatch},
		{name: "TA in the DNS, not sent", records: []dns.TLSA{tlsa(2, 0, 0, root)}, state: session(leaf, sub), want: "2 0 0"},
		{name: "TA in the DNS, sent", records: []dns.TLSA{tlsa(2, 0, 0, root)}, state: whole, want: "2 0 0"},
		{name: "intermediate in the DNS, not sent", records: []dns.TLSA{tlsa(2, 0, 0, sub)}, state: session(leaf), want: "2 0 0"},
		{name: "key in the DNS, not sent", records: []dns.TLSA{tlsa(2, 1, 0, root)}, state: session(leaf, sub), want: "2 1 0"},
		{name: "key of the intermediate in the DNS, not sent", records: []dns.TLSA{tlsa(2, 1, 0, sub)}, state: session(leaf), want: "2 1 0"},
		{name: "key in the DNS, sent", records: []dns.TLSA{tlsa(2, 1, 0, root)}, state: whole, want: "2 1 0"},
		{name: "RSA key in the DNS", records: []dns.TLSA{tlsa(2, 1, 0, rsaRoot)}, state: session(underRSA), want: "2 1 0"},
		{name: "Ed25519 key in the DNS", records: []dns.TLSA{tlsa(2, 1, 0, edRoot)}, state: session(underEd), want: "2 1 0"},
		{name: "another key in the DNS", records: []dns.TLSA{tlsa(2, 1, 0, other)}, state: whole, want: "x509: certificate signed by unknown"},
		{name: "another certificate in the DNS", records: []dns.TLSA{tlsa(2, 0, 0, other)}, state: whole, want: "x509: certificate signed by unknown"},
		{name: "a CA that only has the name", records: []dns.TLSA{tlsa(2, 1, 0, root)}, state: session(underImposter), want: "x509: "},
		{name: "TA is sent, and has not signed", records: []dns.TLSA{tlsa(2, 0, 1, other)}, state: session(leaf, sub, other), want: "x509: "},
		{name: "TA that is the host's own certificate", records: []dns.TLSA{tlsa(2, 1, 1, leaf)}, state: whole, want: noMatch},
		{name: "TA that is the host's own certificate in full", records: []dns.TLSA{tlsa(2, 0, 0, leaf)}, state: whole, want: noMatch},
		{name: "TA that is the host's own certificate, sent twice", records: []dns.TLSA{tlsa(2, 0, 1, leaf)}, state: session(leaf, leaf), want: noMatch},
		{name: "TA, expired leaf", records: []dns.TLSA{tlsa(2, 0, 1, root)}, state: session(late, sub, root), want: "expired"},
		{name: "TA, expired intermediate", records: []dns.TLSA{tlsa(2, 0, 1, root)}, state: session(underOld, oldSub, root), want: "x509: "},
		{name: "TA, issuer is no CA", records: []dns.TLSA{tlsa(2, 0, 1, root)}, state: session(underNoCA, noCA, root), want: "x509: "},
		{name: "TA, another name", records: []dns.TLSA{tlsa(2, 0, 1, root)}, names: "mx.example.org", state: whole, want: "want one of"},
		{name: "TA, bare key, another name", records: []dns.TLSA{tlsa(2, 1, 0, root)}, names: "mx.example.org", state: whole, want: "want one of"},
		{name: "TA, the last of the names", records: []dns.TLSA{tlsa(2, 0, 1, root)}, names: "mx.example.org example.net mx.example.net", state: whole, want: "2 0 1"},
		{name: "TA, wildcard", records: []dns.TLSA{tlsa(2, 0, 1, root)}, state: session(wild, sub, root), want: "2 0 1"},
		{name: "TA, wildcard and two labels", records: []dns.TLSA{tlsa(2, 0, 1, root)}, names: "a.mx.example.net", state: session(wild, sub, root), want: "want one of"},
		{name: "TA, Common Name alone", records: []dns.TLSA{tlsa(2, 0, 1, root)}, state: session(common, sub, root), want: "want one of"},
		{name: "TA fails, EE matches", records: []dns.TLSA{tlsa(2, 0, 1, other), tlsa(3, 1, 1, leaf)}, state: whole, want: "3 1 1"},
		{name: "EE fails, TA matches", records: []dns.TLSA{tlsa(3, 1, 1, other), tlsa(2, 1, 1, root)}, state: whole, want: "2 1 1"},
		{name: "a far certificate", records: []dns.TLSA{tlsa(2, 0, 1, root)}, state: session(leaf, sub, sub, sub, sub, sub, sub, sub, sub, sub, sub, sub, sub, sub, sub, sub, root), want: noMatch},

		{name: "no records", state: whole, want: unusable},
		{name: "PKIX-TA", records: []dns.TLSA{tlsa(0, 0, 1, root)}, state: whole, want: unusable},
		{name: "PKIX-EE", records: []dns.TLSA{tlsa(1, 1, 1, leaf)}, state: whole, want: unusable},
		{name: "usage 4", records: []dns.TLSA{tlsa(4, 1, 1, leaf)}, state: whole, want: unusable},
		{name: "selector 2", records: []dns.TLSA{tlsa(3, 2, 1, leaf)}, state: whole, want: unusable},
		{name: "matching type 3", records: []dns.TLSA{tlsa(3, 1, 3, leaf)}, state: whole, want: unusable},
		{name: "short digest", records: []dns.TLSA{changed(tlsa(3, 1, 1, leaf), func(r *dns.TLSA) { r.Data = r.Data[:31] })}, state: whole, want: unusable},
		{name: "SHA-256 as SHA-512", records: []dns.TLSA{changed(tlsa(3, 1, 1, leaf), func(r *dns.TLSA) { r.MatchingType = 2 })}, state: whole, want: unusable},
		{name: "no data", records: []dns.TLSA{{Usage: 3, Selector: 1}}, state: whole, want: unusable},
		{name: "no certificate in full", records: []dns.TLSA{{Usage: 2, Data: []byte("not a certificate")}}, state: whole, want: unusable},
		{name: "an unusable one is ignored", records: []dns.TLSA{tlsa(1, 1, 1, other), tlsa(3, 1, 1, leaf)}, state: whole, want: "3 1 1"},

		{name: "agility: SHA-512 alone counts", records: []dns.TLSA{tlsa(3, 1, 1, leaf), tlsa(3, 1, 2, other)}, state: whole, want: noMatch},
		{name: "agility: by selector", records: []dns.TLSA{tlsa(3, 1, 1, leaf), tlsa(3, 0, 2, other)}, state: whole, want: "3 1 1"},
		{name: "agility: by usage", records: []dns.TLSA{tlsa(3, 1, 1, leaf), tlsa(2, 1, 2, other)}, state: whole, want: "3 1 1"},
		{name: "agility: a malformed SHA-512 doesn't count", records: []dns.TLSA{tlsa(3, 1, 1, leaf), {Usage: 3, Selector: 1, MatchingType: 2, Data: []byte("x")}}, state: whole, want: "3 1 1"},
		{name: "agility: records in full stay", records: []dns.TLSA{tlsa(3, 1, 0, leaf), tlsa(3, 1, 2, other)}, state: whole, want: "3 1 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			names := strings.Fields(tt.names)
			if len(names) == 0 {
				names = []string{"mx.example.net"}
			}
			by, err := Verify(tt.records, names, tt.state)
			if err != nil {
				if !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "dane: ") {
					t.Errorf("got error %v, want %q", err, tt.want)
				}
				return
			}
			if got := fmt.Sprint(by.Usage, by.Selector, by.MatchingType); got != tt.want {
				t.Errorf("got %s, want %q", got, tt.want)
			}
		})
	}
}
