package interop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/dane"
	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/smtp"
)

// demanded shows what DANE demands of the first host of a domain: level and SNI, or the reply.
func demanded(ctx context.Context, r *mx.Router, domain string) string {
	reply := func(err error) string {
		if r, ok := errors.AsType[*smtp.Reply](err); ok {
			return fmt.Sprintf("%d %s", r.Code, r.Enhanced)
		}
		return err.Error()
	}
	route, err := r.Route(ctx, domain)
	if err != nil {
		return reply(err)
	}
	if _, err := r.Addrs(ctx, route, route.Hosts[0]); err != nil {
		return reply(err)
	}
	to, err := r.Target(ctx, route, route.Hosts[0])
	if err != nil {
		return reply(err)
	}
	need, err := dane.Policy{}.Require(ctx, to)
	if err != nil {
		return reply(err)
	}
	return strings.TrimSpace(need.Level.String() + " " + need.ServerName)
}

// otherDigest is the SHA-256 of nothing.
var otherDigest = strings.Repeat("ffee", 16)

// TestDANE: what DANE demands by the answers of a resolver that validates, by UDP, by TCP, and over a way on which
// datagrams get lost.
func TestDANE(t *testing.T) {
	digest := strings.Repeat("0011", 16)
	addr := startValidator(t, freePort(t), strings.NewReplacer("HASH", digest, "ROOT", digest, "KEY", digest, "OTHER", otherDigest))
	untrusted := &mx.Router{Resolver: &dns.Resolver{Servers: []string{addr}}}
	if got := demanded(t.Context(), untrusted, "good.test"); got != "nothing" {
		t.Errorf("without TrustAD: got %s, want nothing", got)
	}
	lossy := []string{newLossy(t, addr), newLossy(t, addr)}
	var wg sync.WaitGroup
	for way, resolver := range map[string]*dns.Resolver{
		"UDP":   {Servers: []string{addr}, Timeout: 2 * time.Second},
		"TCP":   {Servers: []string{addr}, Timeout: 2 * time.Second, TCP: true},
		"lossy": {Servers: lossy, Timeout: 500 * time.Millisecond, Attempts: 10, Rotate: true},
	} {
		resolver.TrustAD = true
		r := &mx.Router{Resolver: resolver}
		for _, d := range daneDomains {
			if way == "lossy" && strings.HasPrefix(d.domain, "slow") {
				continue // no answer takes 10 seconds there
			}
			wg.Go(func() {
				if got := demanded(t.Context(), r, d.domain); got != d.want {
					t.Errorf("%s, %s: got %s, want %s", d.domain, way, got, d.want)
				}
			})
		}
	}
	wg.Wait()
}
