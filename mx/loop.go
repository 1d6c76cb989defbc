package mx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/smtp"
)

// ErrLoop is in the error for a host that is our own, by name or address. If it is in an error of Router.Addrs, the
// hosts after that host in the route must not be tried either.
var ErrLoop = errors.New("mx: own host")

// ownAddrs is a set of our own addresses.
type ownAddrs struct {
	mu    sync.RWMutex
	addrs map[netip.Addr]bool
}

// ListensAt adds the address of one of our listeners to SelfAddrs, if its port is r.Port: mail to a host at this
// address would come back to us. Pass the Addr of the listener. An unspecified address ("[::]:25") stands for all
// addresses that the machine's interfaces have now. Loopback addresses and listeners other than TCP are ignored. A nil
// addr is an error, and so is that the addresses of the interfaces can't be read. ListensAt may be called at any time.
func (r *Router) ListensAt(addr net.Addr) error {
	r.once.Do(r.prepare)
	if addr == nil {
		return errors.New("mx: ListensAt: the address is nil: pass the Addr of a listener")
	}
	at, err := netip.ParseAddrPort(addr.String())
	if err != nil || int(at.Port()) != r.port() {
		return nil
	}
	ip := at.Addr().Unmap()
	if !ip.IsUnspecified() {
		if !ip.IsLoopback() {
			r.own.add(ip)
		}
		return nil
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("mx: addresses of this machine: %w", err)
	}
	for _, a := range all {
		prefix, err := netip.ParsePrefix(a.String())
		// A listener at "[::]" accepts IPv4 as well.
		if err == nil && !prefix.Addr().IsLoopback() && (ip.Is6() || prefix.Addr().Is4()) {
			r.own.add(prefix.Addr())
		}
	}
	return nil
}

// leadsBack returns an error if a host with these addresses, or another host of the same preference, is our own.
func (r *Router) leadsBack(ctx context.Context, route Route, host Host, ips []netip.Addr) error {
	i := slices.Index(route.Hosts, host)
	// An explicit route has no preferences.
	if i < 0 || len(route.prefs) != len(route.Hosts) || r.own.none() {
		return nil
	}
	// RFC 5321 §5.1: if we are among the hosts, only hosts of a better preference than ours may be tried.
	if !r.own.have(ips) && (len(ips) == 0 || !r.peersLeadBack(ctx, route, i)) {
		return nil
	}
	if route.prefs[i] == route.prefs[0] {
		return loop(route.Name)
	}
	// The better hosts may take the mail later.
	return fail(smtp.NewReply(451, "4.4.6", "the remaining hosts of "+route.Name+" lead back to this host"), ErrLoop)
}

// peerTimeout bounds the lookup of hosts that the delivery itself may not need. A dns.Resolver asks twice, with a
// time-out of 5 seconds each.
const peerTimeout = 10 * time.Second

// peersLeadBack reports whether one of the other hosts with the preference of host i has an address of our own. A
// failed lookup counts as no.
func (r *Router) peersLeadBack(ctx context.Context, route Route, i int) bool {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	var (
		found atomic.Bool
		wg    sync.WaitGroup
	)
	for j, peer := range route.Hosts {
		if j == i || route.prefs[j] != route.prefs[i] {
			continue
		}
		wg.Go(func() {
			if ips, _, _ := r.lookupIP(ctx, route, peer.Name); r.own.have(ips) {
				found.Store(true)
				cancel()
			}
		})
	}
	wg.Wait()
	return found.Load()
}

func (o *ownAddrs) add(ip netip.Addr) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.addrs == nil {
		o.addrs = make(map[netip.Addr]bool)
	}
	o.addrs[ip.Unmap().WithZone("")] = true
}

func (o *ownAddrs) none() bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return len(o.addrs) == 0
}

// have reports whether one of ips is our own.
func (o *ownAddrs) have(ips []netip.Addr) bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return slices.ContainsFunc(ips, func(ip netip.Addr) bool { return o.addrs[ip] })
}

func loop(domain string) error {
	return fail(smtp.NewReply(554, "5.4.6", "mail for "+domain+" loops back to this host"), ErrLoop)
}
