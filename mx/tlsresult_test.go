package mx_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/postrider/postrider/mx"
)

// typed is an error with a result type.
type typed struct {
	result string
	err    error
}

func (e *typed) Error() string      { return "typed: " + e.err.Error() }
func (e *typed) Unwrap() error      { return e.err }
func (e *typed) ResultType() string { return e.result }

func TestTLSFailureOf(t *testing.T) {
	local, remote := net.TCPAddrFromAddrPort(netip.MustParseAddrPort("10.0.0.1:50000")), net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:25"))
	broken := &net.OpError{Op: "read", Net: "tcp", Source: local, Addr: remote, Err: errors.New("connection reset by peer")}
	dns := func(d net.DNSError) error {
		d.Err, d.Name, d.Server = "dial udp 10.0.0.53:53: refused", "example.net", "10.0.0.53:53"
		return fmt.Errorf("TXT record: %w", &d)
	}
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"nil", nil, "validation-failure "},
		{"any", io.EOF, "validation-failure EOF"},
		{"a connection", fmt.Errorf("handshake: %w", broken), "validation-failure read: connection reset by peer"},
		{"a name", x509.HostnameError{Certificate: &x509.Certificate{DNSNames: []string{"a.example"}}, Host: "b.example"},
			"certificate-host-mismatch x509: certificate is valid for a.example, not b.example"},
		{"expired", fmt.Errorf("x: %w", x509.CertificateInvalidError{Reason: x509.Expired, Detail: "current time 12:00"}), "certificate-expired "},
		{"another fault", x509.CertificateInvalidError{Reason: x509.TooManyIntermediates}, "validation-failure x509: too many intermediates for path length constraint"},
		{"untrusted", x509.UnknownAuthorityError{}, "certificate-not-trusted x509: certificate signed by unknown authority"},
		{"typed", fmt.Errorf("x: %w", &typed{"dnssec-invalid", io.EOF}), "dnssec-invalid EOF"},
		{"typed, about a certificate", &typed{"validation-failure", x509.UnknownAuthorityError{}}, "validation-failure x509: certificate signed by unknown authority"},
		{"no name", dns(net.DNSError{IsNotFound: true}), "validation-failure no such record in the DNS"},
		{"the DNS is slow", dns(net.DNSError{IsTimeout: true}), "validation-failure the DNS did not answer in time"},
		{"the DNS fails", &typed{"sts-policy-fetch-error", dns(net.DNSError{})}, "sts-policy-fetch-error the DNS failed"},
		{"long", errors.New(strings.Repeat("é", 150)), "validation-failure " + strings.Repeat("é", 100)},
	}
	for _, tt := range tests {
		f := mx.TLSFailureOf(tt.err)
		if got := f.Type + " " + f.Code; got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
