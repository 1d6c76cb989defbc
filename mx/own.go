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

// ErrLoop is in an error which says that a host is our own, by name or address. Of Router.Addrs it says that the hosts behind it
// in the route are out too.
var ErrLoop = errors.New("mx: own host")

// own holds our own addresses.
type own struct {
	mu    sync.RWMutex
	addrs map[netip.Addr]bool
}

// ListensAt says that a listener of ours has this address, as its Addr method gives it. If its port is r.Port, mail for a host
// with the address would come back to us: the address counts as one of SelfAddrs from now on. An unspecified one ("[::]:25") stands for
// those that the machine's interfaces have now; that these can't be told is the only error. Loopback addresses are left out,
// and so is what isn't TCP. It may be called at any time.
func (r *Router) ListensAt(addr net.Addr) error {
	r.once.Do(r.prepare)
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
		return fmt.Errorf("mx: own addresses: %w", err)
	}
	for _, a := range all {
		prefix, err := netip.ParsePrefix(a.String())
		// "[::]" takes IPv4, too.
		if err == nil && !prefix.Addr().IsLoopback() && (ip.Is6() || prefix.Addr().Is4()) {
			r.own.add(prefix.Addr())
		}
	}
	return nil
}

// leadsBack gives an error if mail for a host with these addresses, or for another one of its preference, would come back to us.
func (r *Router) leadsBack(ctx context.Context, route Route, host Host, ips []netip.Addr) error {
	i := slices.Index(route.Hosts, host)
	// An explicit route has no preferences.
	if i < 0 || len(route.prefs) != len(route.Hosts) || r.own.none() {
		return nil
	}
	// RFC 5321 §5.1: where we are among the hosts, only those better than ourselves may be tried.
	if !r.own.have(ips) && (len(ips) == 0 || !r.peersLeadBack(ctx, route, i)) {
		return nil
	}
	if route.prefs[i] == route.prefs[0] {
		return loop(route.Name)
	}
	// The better ones might have taken it, and may do so later.
	return fail(smtp.NewReply(451, "4.4.6", "the other hosts of "+route.Name+" lead back to this host"), ErrLoop)
}

// peerPatience is how long a delivery waits for the addresses of hosts that it may not need: net.Resolver asks twice, for five
// seconds each.
const peerPatience = 10 * time.Second

// peersLeadBack looks at the hosts of one preference with host i. One that can't be looked up is none of ours.
func (r *Router) peersLeadBack(ctx context.Context, route Route, i int) bool {
	ctx, cancel := context.WithTimeout(ctx, peerPatience)
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
			if ips, _ := r.lookupIP(ctx, route, peer.Name); r.own.have(ips) {
				found.Store(true)
				cancel()
			}
		})
	}
	wg.Wait()
	return found.Load()
}

func (o *own) add(ip netip.Addr) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.addrs == nil {
		o.addrs = make(map[netip.Addr]bool)
	}
	o.addrs[ip.Unmap().WithZone("")] = true
}

func (o *own) none() bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return len(o.addrs) == 0
}

// have reports whether one of ips is ours.
func (o *own) have(ips []netip.Addr) bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return slices.ContainsFunc(ips, func(ip netip.Addr) bool { return o.addrs[ip] })
}

func loop(domain string) error {
	return fail(smtp.NewReply(554, "5.4.6", "mail for "+domain+" loops back to this host"), ErrLoop)
}
