package mtasts

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/internal/webhost"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/smtp"
)

// Client finds the policies of domains and keeps them. It is an mx.Policy. The zero Client keeps them in memory. It may
// be used by several goroutines. Fields must not change after the first use.
type Client struct {
	// Store keeps policies over restarts: a [Dir], for example. If nil, they are lost with the process.
	Store Store

	// Resolver looks up the TXT records, and the addresses of policy hosts. If nil, a zero [dns.Resolver], which asks
	// the system's name servers.
	Resolver Resolver

	// RootCAs are the authorities for the certificates of policy hosts and of MX hosts. If nil, those of the system.
	RootCAs *x509.CertPool

	// AllowPrivate allows policy hosts at addresses of this machine and of private and reserved networks. If false,
	// such addresses are skipped: anyone can put them into the DNS, to make this machine ask a server behind a
	// firewall. See mx.Router.AllowPrivate.
	AllowPrivate bool

	// DialContext connects to a policy host at "ip:443", or to the proxy, on "tcp". If nil, a net.Dialer.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)

	// Proxy returns the proxy for a request, as in http.Transport: http.ProxyFromEnvironment, for example. The proxy
	// looks up the address of the policy host, so AllowPrivate doesn't apply. If nil, there is no proxy.
	Proxy func(*http.Request) (*url.URL, error)

	// Timeout bounds the lookup of the TXT record, and then the fetch of the policy (RFC 8461 §3.3). If zero, 1 minute.
	Timeout time.Duration

	// MaxFetches bounds the policies that are fetched at the same time. Further lookups wait. If zero, 100.
	MaxFetches int

	// Logger logs failures of the Store, and failures to renew a policy. If nil, nothing is logged.
	Logger *slog.Logger

	once     sync.Once
	resolver Resolver
	dialer   webhost.Dialer // connects to policy hosts
	slots    chan struct{}  // one element for each fetch

	mu      sync.Mutex
	domains map[string]*known
	size    int // of domains, in bytes
}

var _ mx.Policy = (*Client)(nil)

// Resolver looks up records in the DNS, by the rules of mx.Resolver. A *[dns.Resolver] is a Resolver, and so is a
// *net.Resolver.
type Resolver interface {
	mx.Resolver

	// LookupTXT returns the TXT records of a name. The strings of one record are joined (RFC 8461 §3.1).
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

func (c *Client) prepare() {
	c.resolver = c.Resolver
	if c.resolver == nil {
		c.resolver = new(dns.Resolver)
	}
	router := &mx.Router{Resolver: c.resolver, AllowPrivate: c.AllowPrivate, Timeout: c.timeout()}
	c.dialer = webhost.Dialer{Router: router, Dial: c.DialContext}
	n := c.MaxFetches
	if n <= 0 {
		n = 100
	}
	c.slots = make(chan struct{}, n)
	c.domains = make(map[string]*known)
}

func (c *Client) timeout() time.Duration {
	if c.Timeout <= 0 {
		return time.Minute
	}
	return c.Timeout
}

// Check returns an error for the first mistake in the fields, for a program that starts, and calls the Check of the
// Store if it has one. If RootCAs is nil, Check looks for those of the system: without any, no mail could be sent to a
// domain whose policy is enforced.
func (c *Client) Check() error {
	switch {
	case c.Timeout < 0:
		return fmt.Errorf("mtasts: Timeout is %v: set it to 0 or more", c.Timeout)
	case c.MaxFetches < 0:
		return fmt.Errorf("mtasts: MaxFetches is %d: set it to 0 or more", c.MaxFetches)
	}
	if store, ok := c.Store.(interface{ Check() error }); ok {
		if err := store.Check(); err != nil {
			return err
		}
	}
	if c.RootCAs != nil {
		return nil
	}
	roots, err := x509.SystemCertPool()
	if err == nil && roots.Equal(x509.NewCertPool()) {
		err = errors.New("there are none")
	}
	if err != nil {
		return fmt.Errorf("mtasts: the system's root certificates: %w: install them, or set RootCAs", err)
	}
	return nil
}

// Lookup returns the policy of a domain, which is a name as A-label or in Unicode. The policy must not be changed.
//
//   - A nil policy without an error: the domain has none.
//   - A nil policy and an *[Error]: the domain has none that could be fetched and read. Mail is sent as if it had none
//     (RFC 8461 §3.3).
//   - A policy and an *Error: a newer policy could not be found out, and this one is valid still.
//   - A nil policy and another error: it isn't known whether there is a policy, because ctx has ended, the domain isn't
//     valid, or a func of the caller panicked.
func (c *Client) Lookup(ctx context.Context, domain string) (*Policy, error) {
	k, err := c.lookup(ctx, domain)
	return k.policy, err
}

// lookup returns what is known about a domain, without its policy if that has expired, and the error of Lookup.
func (c *Client) lookup(ctx context.Context, domain string) (k known, err error) {
	domain, err = smtp.ASCIIDomain(domain)
	if err != nil {
		return known{}, fmt.Errorf("mtasts: %w", err)
	}
	if domain[0] == '[' {
		return known{}, nil // an address has no policy
	}
	c.once.Do(c.prepare)
	for {
		k, flight, mine := c.join(domain)
		if flight != nil && mine {
			k, err = c.fly(ctx, domain, k, flight)
		} else if flight != nil {
			select {
			case <-flight:
				continue
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		if err != nil {
			return known{}, fmt.Errorf("mtasts: policy of %s: %w", domain, err)
		}
		k.policy = k.valid(time.Now())
		return k, k.err
	}
}

// log returns the Logger, guarded.
func (c *Client) log() *slog.Logger { return guard.Logger(c.Logger) }
