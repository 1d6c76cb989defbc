package mtasts

import (
	"crypto/x509"
	"errors"
	"fmt"
)

// Result types of RFC 8460 §4.3, for [Error.Result].
const (
	PolicyFetchError        = "sts-policy-fetch-error"
	PolicyInvalid           = "sts-policy-invalid"
	WebPKIInvalid           = "sts-webpki-invalid"
	CertificateHostMismatch = "certificate-host-mismatch"
	CertificateExpired      = "certificate-expired"
	CertificateNotTrusted   = "certificate-not-trusted"
	ValidationFailure       = "validation-failure"
)

// Error is the failure of a domain at MTA-STS: to provide its policy, or to satisfy it.
type Error struct {
	Domain string // whose policy it is, as an A-label
	Host   string // the MX host that doesn't satisfy the policy; empty if the policy itself failed
	Result string // the result type of RFC 8460 §4.3
	Err    error  // the cause
}

// Error returns the domain, the host and the cause.
func (e *Error) Error() string {
	if e.Host != "" {
		return fmt.Sprintf("mtasts: %s: host %s: %v", e.Domain, e.Host, e.Err)
	}
	return fmt.Sprintf("mtasts: %s: %v", e.Domain, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// certificateResult returns the result type of an error of x509.Certificate.Verify.
func certificateResult(err error) string {
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return CertificateHostMismatch
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return CertificateExpired
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return CertificateNotTrusted
	}
	return ValidationFailure
}
