package dnsbl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
)

// Test asks each zone for its test entries (RFC 5782 §5), and returns an error for each zone that doesn't have them. A
// zone of addresses must list 127.0.0.2 and not 127.0.0.1. A zone of domains must list "test" and not "invalid". A zone
// that has ceased, or that doesn't answer this machine, fails. Call Test when a program starts, and from time to time.
// The cache isn't used. All lookups together take at most Timeout.
func (l *List) Test(ctx context.Context) error {
	if err := l.fault(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(l.Timeout, defaultTimeout))
	defer cancel()
	var q []question
	for _, ip := range []string{"127.0.0.2", "127.0.0.1"} {
		q = l.questions(q, Address, ip, reverse(netip.MustParseAddr(ip)))
	}
	for _, name := range []string{"test", "invalid"} {
		q = l.questions(q, Client|Hello|Sender, name, name)
	}
	without := &List{Resolver: l.Resolver, CacheTime: -1}
	var faults []error
	for _, a := range without.ask(ctx, q) {
		must := a.name == "127.0.0.2" || a.name == "test"
		switch listed := len(a.addrs) > 0; {
		case a.trouble != "":
			faults = append(faults, fmt.Errorf("dnsbl: zone %s: %s", a.zone.label(), a.trouble))
		case must && !listed:
			faults = append(faults, fmt.Errorf("dnsbl: zone %s doesn't list %s, which each list must (RFC 5782 section"+
				" 5): it isn't a list, or not any more", a.zone.label(), a.name))
		case !must && listed:
			faults = append(faults, fmt.Errorf("dnsbl: zone %s lists %s, which no list may (RFC 5782 section 5):"+
				" it probably lists everything", a.zone.label(), a.name))
		}
	}
	return errors.Join(faults...)
}
