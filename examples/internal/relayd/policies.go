package relayd

import (
	"context"
	"fmt"
	"slices"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/dane"
	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/mx/mtasts"
	"github.com/postrider/postrider/server"
)

// policies returns the policies of -dane and -mta-sts. For -dane, it makes the answers of the resolver trusted.
func (f *Flags) policies() (list []mx.Policy, err error) {
	stub, _ := f.resolver.(*dns.Resolver)
	if f.dane { // first: where DANE applies, MTA-STS isn't asked
		if stub == nil {
			stub = new(dns.Resolver)
		}
		stub.TrustAD = true
		f.resolver = stub
		list = append(list, dane.Policy{})
	}
	if f.mtaSTS {
		sts := &mtasts.Client{Store: &mtasts.Dir{Path: f.state + ".mta-sts"}, AllowPrivate: f.allowPrivate}
		if stub != nil {
			sts.Resolver = stub
		}
		if err := sts.Check(); err != nil {
			return nil, fmt.Errorf("-mta-sts: %w", err)
		}
		list = append(list, sts)
	}
	return list, nil
}

// requireTLS returns a check that asks for REQUIRETLS on behalf of whoever may relay.
func requireTLS() server.Check {
	content := func(_ context.Context, s *server.Session, m *server.Message) error {
		ours := s.Peer.Username != "" || s.Peer.Allowed
		optional := slices.ContainsFunc(m.Header, func(f server.Field) bool { return f.Is("TLS-Required") })
		s.Envelope.RequireTLS = s.Envelope.RequireTLS || ours && !optional
		return nil
	}
	return server.Check{Name: "require-tls", Trusted: true, Content: content}
}
