package spf

import (
	"context"
	"slices"
	"strings"
)

// clientNames returns the validated names of the client: those of its PTR records that have its address
// (RFC 7208 §5.5). They are in lower case, without a trailing dot. They are looked up once in an evaluation. A name
// for which a lookup fails is ignored.
func (e *evaluation) clientNames(ctx context.Context) []string {
	if e.named {
		return e.names
	}
	e.named = true
	names, _ := found(e.resolver.LookupAddr(ctx, e.ip.String()))
	// RFC 7208 §4.6.4: names over the bound are ignored.
	for _, name := range names[:min(len(names), maxNames)] {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		if !isName(name) {
			continue
		}
		if addrs, err := e.addrs(ctx, name); err == nil && slices.Contains(addrs, e.ip) {
			e.names = append(e.names, name)
		}
	}
	return e.names
}

// validated returns the value of the macro p: the domain itself if it is a validated name of the client, a name below
// it, any validated name, or "unknown", in this order (RFC 7208 §7.3).
func (e *evaluation) validated(ctx context.Context, domain string) string {
	best := "unknown"
	for _, name := range e.clientNames(ctx) {
		switch {
		case name == domain:
			return name
		case best == "unknown", isBelow(name, domain) && !isBelow(best, domain):
			best = name
		}
	}
	return best
}
