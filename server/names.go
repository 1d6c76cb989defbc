package server

import (
	"context"
	"net/netip"
	"time"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/internal/iprev"
)

// NameResolver looks up the names of clients. *net.Resolver is one, and so is the Resolver of package mx/dns. Its
// methods are called concurrently, and must return soon after ctx has ended.
type NameResolver interface {
	// LookupAddr returns the names of an address (PTR records).
	LookupAddr(ctx context.Context, addr string) ([]string, error)

	// LookupNetIP returns the addresses of a name. The network is "ip4" or "ip6".
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

const nameTimeout = 5 * time.Second

// lookUpName sets Peer.Name to the first name of the client that leads back to its address (RFC 8601 §3).
func (s *session) lookUpName(ctx context.Context) {
	ip := s.peer.IP()
	if s.srv.Names == nil || !ip.IsValid() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, nameTimeout)
	defer cancel()
	p := guard.Call(func() { s.peer.Name, _ = iprev.Lookup(ctx, s.srv.Names, ip) })
	if p != nil {
		p.Log(ctx, guard.Logger(s.srv.Logger), "Names")
	}
}
