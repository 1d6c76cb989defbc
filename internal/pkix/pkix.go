// Package pkix verifies the certificates that a host has sent.
package pkix

import (
	"crypto/x509"
	"errors"
)

// Verify verifies the first certificate of a chain. The others are opts.Intermediates.
func Verify(chain []*x509.Certificate, opts x509.VerifyOptions) ([][]*x509.Certificate, error) {
	if len(chain) == 0 {
		return nil, errors.New("the host has sent no certificate")
	}
	opts.Intermediates = x509.NewCertPool()
	for _, cert := range chain[1:] {
		opts.Intermediates.AddCert(cert)
	}
	return chain[0].Verify(opts)
}
