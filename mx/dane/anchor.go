package dane

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/postrider/postrider/internal/pkix"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/dns"
)

// errNoAnchor means that no record has, or matches, a certificate above the host's own one.
var errNoAnchor = errors.New("no trust anchor")

// anchors are the trust anchors of the DANE-TA records, and the record of each by its Raw. The host's own certificate
// is none of them: a record for it alone has the usage DANE-EE.
type anchors struct {
	pool   *x509.CertPool
	record map[string]dns.TLSA
	own    *x509.Certificate
}

// verifyAnchor verifies a chain by DANE-TA records.
func verifyAnchor(records []dns.TLSA, names []string, chain []*x509.Certificate) (by dns.TLSA, err error) {
	a := anchors{x509.NewCertPool(), make(map[string]dns.TLSA), chain[0]}
	for _, r := range records {
		if r.Usage == usageTA {
			a.addOf(r, chain)
		}
	}
	if len(a.record) == 0 {
		return by, errNoAnchor
	}
	valid, err := pkix.Verify(chain, x509.VerifyOptions{Roots: a.pool})
	if err != nil {
		return by, err
	}
	// RFC 7672 §3.2.2, §3.2.3.
	named := func(name string) bool { return name != "" && chain[0].VerifyHostname(name) == nil }
	if !slices.ContainsFunc(names, named) {
		err := fmt.Errorf("the certificate is for %.5q, want one of %q", chain[0].DNSNames, names)
		return by, &failure{mx.CertificateHostMismatch, err}
	}
	return a.record[string(valid[0][len(valid[0])-1].Raw)], nil
}

// addOf adds the certificates that a record matches, and the one that it has in full, which the host needn't send.
func (a *anchors) addOf(r dns.TLSA, chain []*x509.Certificate) {
	for _, cert := range chain[1:] {
		if matches(r, cert) {
			a.add(r, cert)
		}
	}
	switch {
	case r.MatchingType != matchFull:
	case r.Selector == selectCert:
		if cert, err := x509.ParseCertificate(r.Data); err == nil {
			a.add(r, cert)
		}
	default:
		if key, err := x509.ParsePKIXPublicKey(r.Data); err == nil {
			for i, cert := range chain {
				a.add(r, bare(i, cert, key, r.Data))
			}
		}
	}
}

func (a *anchors) add(r dns.TLSA, cert *x509.Certificate) {
	if _, known := a.record[string(cert.Raw)]; !known && !cert.Equal(a.own) {
		a.pool.AddCert(cert)
		a.record[string(cert.Raw)] = r
	}
}

// bare returns a certificate for a key from the DNS, which crypto/x509 can't have as a trust anchor otherwise. Its name
// is that of the issuer of another certificate, so that it is tried as the one that has signed it.
func bare(i int, issued *x509.Certificate, key any, info []byte) *x509.Certificate {
	algorithm := x509.UnknownPublicKeyAlgorithm
	switch key.(type) {
	case *rsa.PublicKey:
		algorithm = x509.RSA
	case *ecdsa.PublicKey:
		algorithm = x509.ECDSA
	case ed25519.PublicKey:
		algorithm = x509.Ed25519
	}
	return &x509.Certificate{
		Raw:                     append([]byte("bare key "+strconv.Itoa(i)+" "), info...), // distinct
		RawSubject:              issued.RawIssuer,
		RawSubjectPublicKeyInfo: info,
		PublicKey:               key,
		PublicKeyAlgorithm:      algorithm,
		Version:                 3,
		NotBefore:               time.Unix(0, 0),
		NotAfter:                time.Now().Add(time.Hour),
		BasicConstraintsValid:   true,
		IsCA:                    true,
		MaxPathLen:              -1,
	}
}
