package mx

import (
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"strings"
)

// TLSResult is how an attempt at a session with an MX host went, as far as TLS is concerned. Reports to the domain are
// made of it: see package mx/tlsrpt. The strings from hosts and policies may have any length.
type TLSResult struct {
	// Domain is the domain of the recipients, as an A-label without a trailing dot, and Host the MX host.
	Domain, Host string

	// From is the reverse-path of the message.
	From string

	// Remote is the address of the host, and Local that of this machine. If Remote isn't valid, there was no
	// connection: a policy excludes the host, or couldn't be looked up.
	Remote, Local netip.Addr

	// Greeting is the name of the host in its reply to EHLO. If empty, it isn't known.
	Greeting string

	// Reused reports whether the session was open before this message. A session was reported as a new one before it is
	// reused, but maybe for another Domain.
	Reused bool

	// Policy is the policy that applied to the host. If nil, no policy was found.
	Policy *FoundPolicy

	// Failures are the reasons why the session isn't as the policy wants it, or has no TLS, and why a policy couldn't
	// be found out. If empty, the session has TLS as the policy wants it. They must not be changed.
	Failures []TLSFailure
}

// FoundPolicy describes a policy for reports to its domain (RFC 8460 §4.4).
type FoundPolicy struct {
	// Type is "sts" or "tlsa".
	Type string

	// Domain is where the policy was found: for "tlsa", the base domain of the records. If empty, the domain of the
	// recipients.
	Domain string

	// Lines are the policy: for "sts" its lines, for "tlsa" its records as in a zone file.
	Lines []string

	// Hosts are the patterns of MX hosts in a policy of MTA-STS.
	Hosts []string
}

// TLSFailure is a failure in the terms of RFC 8460 §4.3.
type TLSFailure struct {
	// Type is the result type, such as [CertificateExpired].
	Type string

	// Code is a short text about the cause, for the failure-reason-code. It has no addresses of this machine and its
	// name servers. The same cause has the same text. If empty, the Type says all.
	Code string
}

// Result types (RFC 8460 §4.3).
const (
	STARTTLSNotSupported    = "starttls-not-supported"
	CertificateHostMismatch = "certificate-host-mismatch"
	CertificateExpired      = "certificate-expired"
	CertificateNotTrusted   = "certificate-not-trusted"
	ValidationFailure       = "validation-failure"
	TLSAInvalid             = "tlsa-invalid"
	DNSSECInvalid           = "dnssec-invalid"
	DANERequired            = "dane-required"
	STSPolicyFetchError     = "sts-policy-fetch-error"
	STSPolicyInvalid        = "sts-policy-invalid"
	STSWebPKIInvalid        = "sts-webpki-invalid"
)

// TLSFailureOf returns the failure of an error. Its Type is that of a method ResultType() string of an error in the
// chain, that of an error of crypto/x509, or [ValidationFailure].
func TLSFailureOf(err error) TLSFailure {
	var typed interface {
		error
		ResultType() string
	}
	f := TLSFailure{Type: certificateResult(err)}
	if errors.As(err, &typed) {
		f.Type = typed.ResultType()
		if inner := errors.Unwrap(typed); inner != nil {
			err = inner
		}
	}
	if f.Type != CertificateExpired { // whose text has the time of this moment
		f.Code = reasonCode(err)
	}
	return f
}

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

// maxReasonCode bounds a TLSFailure.Code in octets: it may quote what a host or the DNS says.
const maxReasonCode = 200

// reasonCode returns the text of an error without the addresses of connections and name servers.
func reasonCode(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	if untrusted, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		text, _, _ = strings.Cut(untrusted.Error(), " (") // which speculates about the reason
	} else if failed, ok := errors.AsType[*net.DNSError](err); ok {
		switch {
		case failed.IsNotFound:
			text = "no such record in the DNS"
		case failed.IsTimeout:
			text = "the DNS did not answer in time"
		default:
			text = "the DNS failed"
		}
	} else if failed, ok := errors.AsType[*net.OpError](err); ok && failed.Err != nil {
		text = failed.Op + ": " + failed.Err.Error()
	}
	if len(text) > maxReasonCode {
		text = strings.ToValidUTF8(text[:maxReasonCode], "")
	}
	return text
}
