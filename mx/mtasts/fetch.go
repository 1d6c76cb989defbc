package mtasts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/internal/txtrecord"
)

const (
	maxBody   = 64 << 10 // RFC 8461 §3.3 suggests this bound
	maxHeader = 16 << 10
)

// fetch fetches and reads the policy of a domain.
func (c *Client) fetch(ctx context.Context, domain string) (policy *Policy, body string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout(), errors.New("the policy host did not answer in time"))
	defer cancel()
	body, err = c.get(ctx, "mta-sts."+domain)
	if err != nil {
		return nil, "", &Error{Domain: domain, Result: fetchResult(err), Err: err}
	}
	if policy, err = parsePolicy(body); err != nil {
		return nil, "", &Error{Domain: domain, Result: mx.STSPolicyInvalid, Err: fmt.Errorf("policy: %w", err)}
	}
	return policy, body, nil
}

// get gets the body from a policy host. The transport is made anew, because hosts are asked seldom: an idle connection
// would only wait for its end.
func (c *Client) get(ctx context.Context, host string) (string, error) {
	transport := &http.Transport{
		Proxy:                  c.Proxy,
		DialContext:            c.dialPolicyHost(host),
		TLSClientConfig:        &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12},
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
	}
	defer transport.CloseIdleConnections()
	url := "https://" + host + "/.well-known/mta-sts.txt"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("User-Agent", "postrider")
	// RFC 8461 §3.3: no redirect is followed. An http.Client would follow it.
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: HTTP status %d, want 200", url, resp.StatusCode)
	}
	// RFC 8461 §3.2: the type shows that nobody else could put the file there, by an upload of pictures for example.
	if kind := resp.Header.Get("Content-Type"); !isPlainText(kind) {
		return "", fmt.Errorf("%s: Content-Type %q, want text/plain", url, shorten(kind))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return "", fmt.Errorf("%s: %w", url, err)
	}
	if len(body) > maxBody {
		return "", fmt.Errorf("%s: over %d octets", url, maxBody)
	}
	return string(body), nil
}

// isPlainText reports whether a Content-Type is text/plain. Its parameters may be malformed.
func isPlainText(value string) bool {
	kind, _, err := mime.ParseMediaType(value)
	if err != nil {
		kind, _, _ = strings.Cut(value, ";")
	}
	return strings.EqualFold(txtrecord.TrimSpace(kind), "text/plain")
}

// dialPolicyHost returns a func that connects to the policy host, by the rules for addresses that anyone may have
// chosen. Every other host is the proxy, which the operator has chosen.
func (c *Client) dialPolicyHost(host string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr != net.JoinHostPort(host, "443") {
			return c.dialer.DialAddr(ctx, network, addr)
		}
		return c.dialer.DialHost(ctx, network, host, 443)
	}
}

// fetchResult returns the result type of an error of get.
func fetchResult(err error) string {
	// A certificate that can't even be parsed is no CertificateVerificationError.
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return mx.STSWebPKIInvalid
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return mx.STSWebPKIInvalid
	}
	return mx.STSPolicyFetchError
}
