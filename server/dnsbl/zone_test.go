package dnsbl_test

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/postrider/postrider/server"
)

// zones is a Resolver of a few names.
type zones struct {
	names map[string][]string // addresses, by name without the last dot
	texts map[string]string
	fails map[string]error
	delay time.Duration
	hangs map[string]bool // until the context ends
	panic bool

	client string // the client's name

	mu    sync.Mutex
	asked []string
}

// named is a check that gives the client a name, as the lookup of Server.Names does.
func named(name string) server.Check {
	return server.Check{Name: "named", Connect: func(_ context.Context, s *server.Session) error {
		s.Peer.Name = name
		return nil
	}}
}

func (z *zones) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if network != "ip4" || host[len(host)-1] != '.' {
		panic("asked for " + network + " of " + host)
	}
	host = host[:len(host)-1]
	z.mu.Lock()
	z.asked = append(z.asked, host)
	z.mu.Unlock()
	if z.panic {
		panic("oops")
	}
	if z.hangs[host] {
		<-ctx.Done()
		return nil, &net.DNSError{Err: "i/o timeout", Name: host, IsTimeout: true}
	}
	time.Sleep(z.delay)
	if err := z.fails[host]; err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, a := range z.names[host] {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	if addrs == nil {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return addrs, nil
}

func (z *zones) LookupTXT(ctx context.Context, host string) ([]string, error) {
	if text, ok := z.texts[host[:len(host)-1]]; ok {
		return []string{text, "another"}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// count returns how many lookups of addresses there were, and forgets them.
func (z *zones) count() int {
	z.mu.Lock()
	defer z.mu.Unlock()
	n := len(z.asked)
	z.asked = nil
	return n
}
