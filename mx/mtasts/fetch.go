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
	"time"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/mx"
)

const (
	maxBody   = 64 << 10 // RFC 8461 §3.3 suggests this bound
	maxHeader = 16 << 10
)

// dialTimeout bounds the connection to one address, so that there is time left for the next one.
const dialTimeout = 15 * time.Second

// fetch fetches and reads the policy of a domain.
func (c *Client) fetch(ctx context.Context, domain string) (policy *Policy, body string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout(), errors.New("the policy host did not answer in time"))
	defer cancel()
	body, err = c.get(ctx, "mta-sts."+domain)
	if err != nil {
		return nil, "", &Error{Domain: domain, Result: fetchResult(err), Err: err}
	}
	if policy, err = parsePolicy(body); err != nil {
		return nil, "", &Error{Domain: domain, Result: PolicyInvalid, Err: fmt.Errorf("policy: %w", err)}
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
	return strings.EqualFold(trimSpace(kind), "text/plain")
}

// dialPolicyHost returns a func that connects to the policy host, by the rules for addresses that anyone may have
// chosen. Every other host is the proxy, which the operator has chosen.
func (c *Client) dialPolicyHost(host string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr != net.JoinHostPort(host, "443") {
			return c.dial(ctx, network, addr)
		}
		target := mx.Host{Name: host, Port: 443}
		addrs, err := c.router.Addrs(ctx, mx.Route{Name: host, Hosts: []mx.Host{target}, MX: true}, target)
		for _, a := range addrs {
			var conn net.Conn
			if conn, err = c.dialOne(ctx, network, a.String()); err == nil {
				return conn, nil
			}
			if ctx.Err() != nil {
				break
			}
		}
		return nil, err
	}
}

func (c *Client) dialOne(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return c.dial(ctx, network, addr)
}

// dial calls DialContext, which may panic: it runs in a goroutine of net/http.
func (c *Client) dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	if c.DialContext == nil {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	if p := guard.Call(func() { conn, err = c.DialContext(ctx, network, addr) }); p != nil {
		err = fmt.Errorf("DialContext: %w", p)
	} else if conn == nil && err == nil {
		err = errors.New("DialContext returned no connection")
	}
	return conn, err
}

// fetchResult returns the result type of an error of get.
func fetchResult(err error) string {
	// A certificate that can't even be parsed is no CertificateVerificationError.
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return WebPKIInvalid
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return WebPKIInvalid
	}
	return PolicyFetchError
}
