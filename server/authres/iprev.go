package authres

import (
	"context"
	"net/netip"

	"github.com/postrider/postrider/internal/iprev"
	"github.com/postrider/postrider/smtp/spf"
)

// reverse looks up the names of a client, and whether one of them leads back to it (RFC 8601 §3, §2.7.3).
func reverse(ctx context.Context, r spf.Resolver, ip netip.Addr) (verdict Verdict, name string) {
	if !ip.IsValid() {
		return None, ""
	}
	name, found := iprev.Lookup(ctx, r, ip)
	return map[iprev.Outcome]Verdict{
		iprev.Found: Pass, iprev.Forged: Fail, iprev.NoName: PermError, iprev.Unknown: TempError,
	}[found], name
}
