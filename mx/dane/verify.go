package dane

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/postrider/postrider/mx/dns"
)

// Bounds on what a host can make us compare. Records and certificates beyond them are ignored.
const (
	MaxRecords = 100 // usable records of a host
	MaxChain   = 16  // certificates of a session
)

// Values of the fields of a TLSA record (RFC 6698 §7.2 to §7.4, RFC 7218).
const (
	usageTA, usageEE = 2, 3

	selectCert, selectKey = 0, 1

	matchFull, matchSHA256, matchSHA512 = 0, 1, 2
)

// Usable reports whether a session with a mail host can match a record: its usage is DANE-EE(3) or DANE-TA(2), selector
// and matching type are known, and its data is a digest of the right length, a certificate, or a public key.
func Usable(r dns.TLSA) bool {
	if r.Usage != usageTA && r.Usage != usageEE || r.Selector > selectKey {
		return false
	}
	switch r.MatchingType {
	case matchSHA256:
		return len(r.Data) == sha256.Size
	case matchSHA512:
		return len(r.Data) == sha512.Size
	case matchFull:
		var err error
		if r.Selector == selectCert {
			_, err = x509.ParseCertificate(r.Data)
		} else {
			_, err = x509.ParsePKIXPublicKey(r.Data)
		}
		return err == nil
	}
	return false
}

// usable returns the records to compare. RFC 7671 §9: if records of one usage and selector have digests by SHA-512,
// those by SHA-256 don't count.
func usable(records []dns.TLSA) []dns.TLSA {
	var list []dns.TLSA
	for _, r := range records {
		if len(list) < MaxRecords && Usable(r) {
			list = append(list, r)
		}
	}
	stronger := func(r dns.TLSA) bool {
		return slices.ContainsFunc(list, func(o dns.TLSA) bool {
			return o.Usage == r.Usage && o.Selector == r.Selector && o.MatchingType == matchSHA512
		})
	}
	var strongest []dns.TLSA
	for _, r := range list {
		if r.MatchingType != matchSHA256 || !stronger(r) {
			strongest = append(strongest, r)
		}
	}
	return strongest
}

// ErrUnusable is in the error of [Verify] if none of the records is usable.
var ErrUnusable = errors.New("none of the TLSA records is usable")

// Verify compares the certificates of a TLS session with the TLSA records of the host, which must be authentic. It
// returns the record that they match.
//
//   - DANE-EE(3): the record matches the host's own certificate. Its names and its dates don't count (RFC 7672 §3.1.1).
//   - DANE-TA(2): the record matches a certificate that is above the host's own certificate, or has that certificate or
//     its key in full. The chain up to there is valid now, and the host's own certificate is valid for one of the names
//     (RFC 7672 §3.1.2). The names have no trailing dot.
//
// The error is about the certificate, or is ErrUnusable.
func Verify(records []dns.TLSA, names []string, state tls.ConnectionState) (by dns.TLSA, err error) {
	records = usable(records)
	if len(records) == 0 {
		return by, fmt.Errorf("dane: %w", ErrUnusable)
	}
	chain := state.PeerCertificates[:min(len(state.PeerCertificates), MaxChain)]
	if len(chain) == 0 {
		return by, errors.New("dane: the host has sent no certificate")
	}
	for _, r := range records {
		if r.Usage == usageEE && matches(r, chain[0]) {
			return r, nil
		}
	}
	by, err = verifyAnchor(records, names, chain)
	if errors.Is(err, errNoAnchor) {
		err = fmt.Errorf("none of the %d usable TLSA records matches the certificate of %.100q",
			len(records), chain[0].Subject.CommonName)
	}
	if err != nil {
		return by, fmt.Errorf("dane: %w", err)
	}
	return by, nil
}

// matches reports whether the data of a record is that of a certificate.
func matches(r dns.TLSA, cert *x509.Certificate) bool {
	data := cert.Raw
	if r.Selector == selectKey {
		data = cert.RawSubjectPublicKeyInfo
	}
	switch r.MatchingType {
	case matchSHA256:
		sum := sha256.Sum256(data)
		return bytes.Equal(r.Data, sum[:])
	case matchSHA512:
		sum := sha512.Sum512(data)
		return bytes.Equal(r.Data, sum[:])
	}
	return bytes.Equal(r.Data, data)
}
