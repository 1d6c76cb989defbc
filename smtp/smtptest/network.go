package smtptest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/smtp"
)

// Network is an internet in memory. [NewNetwork] makes one. All methods may be called concurrently. Methods that set
// something up fail the test at once if an argument makes no sense: call them from the test's own goroutine.
type Network struct {
	// WaitLimit bounds [Host.Wait], [Host.WaitSessions] and [Host.WaitConnections]. A test that waits longer fails. If
	// zero, it is 30 days in a synctest bubble, where they take no time, and 30 seconds outside.
	WaitLimit time.Duration

	t        testing.TB
	start    time.Time
	bubbled  bool // it was made in a synctest bubble
	ca       authority
	stranger authority      // not in RootCAs
	sessions sync.WaitGroup // those of hosts

	mu         sync.Mutex // guards the fields below, and the fields of Host that say so
	closed     bool
	complained bool // beHere has failed the test
	uses       uses
	watch      watch
	changed    signal               // a host came up, or the network was closed
	hosts      map[string]*Host     // by A-label, address or path: see hostKey
	order      []*Host              // in the order of their first mention
	byAddr     map[netip.Addr]*Host // the host that answers there
	mx         map[string][]*net.MX // by domain
	txt        map[string][]string  // by name, as are the next four
	tlsa       map[string][]dns.TLSA
	aliases    map[string]string // CNAME
	signed     map[string]bool   // zones
	faults     map[string]DNSFault
	conns      map[*conn]struct{} // open ends
	v4, v6     int                // addresses given out
	lastPort   int                // last port of a client
}

// NewNetwork makes a network without hosts and records. It lasts until the cleanup of t: then it closes all connections
// and listeners, waits for all goroutines that it started and, if t has failed, prints the transcript of each host and
// hints about likely mistakes. In a synctest bubble, t must be the one that synctest.Test passes to its func.
func NewNetwork(t testing.TB) *Network {
	t.Helper()
	if isOuter(t) {
		t.Fatalf("smtptest: %v", errOuterTest)
	}
	n := &Network{
		t:       t,
		start:   time.Now(),
		bubbled: inBubble(),
		hosts:   make(map[string]*Host),
		byAddr:  make(map[netip.Addr]*Host),
		mx:      make(map[string][]*net.MX),
		txt:     make(map[string][]string),
		tlsa:    make(map[string][]dns.TLSA),
		aliases: make(map[string]string),
		signed:  make(map[string]bool),
		faults:  make(map[string]DNSFault),
		conns:   make(map[*conn]struct{}),
	}
	t.Cleanup(n.close)
	return n
}

// Go calls run in a goroutine, with the context of the test. That context ends when the test does, and the test's
// cleanup waits until run has returned. An error other than [context.Canceled] fails the test. A resource that run uses
// must outlive it: release it in a t.Cleanup that is registered before the call of Go, not in a defer, which runs
// earlier.
func (n *Network) Go(run func(context.Context) error) {
	n.t.Helper()
	n.mustBeHere()
	if run == nil {
		n.t.Fatalf("smtptest: the func of Network.Go is nil: pass one, such as that of Relay.Run")
	}
	ctx, cancel := context.WithCancel(n.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			n.t.Errorf("smtptest: the func of Network.Go returned an error: %v", err)
		}
	}()
	n.t.Cleanup(func() {
		if n.misplaced() != nil {
			return // close reports it
		}
		cancel()
		<-done
	})
}

// Host returns the host with this name, in upper or lower case, as A-label or in Unicode. The first call for a name
// makes the host: it gets an IPv4 address, which is in the DNS, and listens. It needs no MX record to receive mail for
// its own name (RFC 5321 §5.1). A name that begins with "/" is the path of a Unix socket: the host has no address, and
// [Network.DialContext] reaches it on the network "unix".
func (n *Network) Host(name string) *Host {
	n.t.Helper()
	n.mustBeHere()
	key, err := hostKey(name)
	if err != nil {
		n.t.Fatalf("smtptest: host %q: %v", name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.mention(key)
	h.serving = true
	return h
}

// mention returns the host with this key, and makes it if there is none. n.mu is held.
func (n *Network) mention(key string) *Host {
	if h := n.hosts[key]; h != nil {
		return h
	}
	h := &Host{
		net:       n,
		name:      key,
		listeners: make(map[int]*listener),
		lacks:     make(map[string]bool),
		accounts:  make(map[string]string),
		maxSize:   defaultMaxSize,
		script:    script{healed: make(chan struct{})},
	}
	if addr, err := netip.ParseAddr(key); err == nil {
		h.addrs = []netip.Addr{addr}
	} else if !isPath(key) {
		h.addrs = []netip.Addr{n.newIPv4()}
	}
	n.hosts[key] = h
	n.order = append(n.order, h)
	n.claim(h)
	return h
}

// claim makes h the host that answers at its addresses. n.mu is held.
func (n *Network) claim(h *Host) {
	for _, addr := range h.addrs {
		n.byAddr[addr] = h
	}
}

// close ends the network. It is the cleanup of n.t.
func (n *Network) close() {
	if err := n.misplaced(); err != nil {
		if err == errUsedOutside {
			err = errOuterTest // the cleanup of that test has called us
		}
		n.t.Errorf("smtptest: %v", err)
		return
	}
	n.mu.Lock()
	n.closed = true
	n.watch.stop()
	n.changed.broadcast()
	var listeners []*listener
	for _, h := range n.order {
		for _, l := range h.listeners {
			listeners = append(listeners, l)
		}
	}
	hosts, open := slices.Clone(n.order), n.open(nil)
	n.mu.Unlock()

	for _, l := range listeners {
		l.Close()
	}
	for _, c := range open {
		c.reset()
	}
	n.sessions.Wait()
	if !n.t.Failed() {
		return
	}
	for _, h := range hosts {
		if text := h.Transcript(); text != "" {
			n.t.Logf("smtptest: transcript of %s:\n%s", h.name, text)
		}
	}
	n.mu.Lock()
	hints := n.hints()
	n.mu.Unlock()
	for _, hint := range hints {
		n.t.Logf("smtptest: hint: %s", hint)
	}
}

// open returns the open connections of h, or all if h is nil. n.mu is held.
func (n *Network) open(h *Host) []*conn {
	var open []*conn
	for c := range n.conns {
		if h == nil || c.host == h {
			open = append(open, c)
		}
	}
	return open
}

func (n *Network) waitLimit() time.Duration {
	switch {
	case n.WaitLimit != 0:
		return n.WaitLimit
	case n.bubbled:
		return 30 * 24 * time.Hour
	}
	return 30 * time.Second
}

// hostKey returns the key of a host's name: an A-label, an address or a path. Two names of one host have the same key.
func hostKey(name string) (string, error) {
	if isPath(name) {
		return name, nil
	}
	if addr, err := netip.ParseAddr(name); err == nil {
		return addr.Unmap().String(), nil
	}
	return smtp.ASCIIDomain(name)
}

func isPath(name string) bool { return strings.HasPrefix(name, "/") }
