package smtptest

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"
)

// clientAddrs are the local addresses of [Network.DialContext].
var clientAddrs = [...]netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}

// DialContext connects to "name:port" or "address:port" on the networks "tcp", "tcp4" and "tcp6", and to a path on
// "unix". The local address is 192.0.2.1 or 2001:db8::1; [Host.DialContext] uses others. If nothing listens there, the
// error is ECONNREFUSED in a [*net.OpError], as with net.Dialer.
func (n *Network) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return n.dial(ctx, clientAddrs[:], network, address)
}

// DialContext is [Network.DialContext] with the host's own local addresses, so that a server can distinguish its
// clients.
func (h *Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return h.net.dial(ctx, h.Addrs(), network, address)
}

func (n *Network) dial(ctx context.Context, from []netip.Addr, network, address string) (net.Conn, error) {
	failed := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	if err := n.beHere(); err != nil {
		return failed(err)
	}
	var family string
	switch network {
	case "unix":
		return n.connect(ctx, &net.UnixAddr{Net: network}, &net.UnixAddr{Name: address, Net: network})
	case "tcp", "tcp4", "tcp6":
		family = "ip" + network[len("tcp"):]
	default:
		return failed(net.UnknownNetworkError(network))
	}
	host, portName, err := net.SplitHostPort(address)
	if err != nil {
		return failed(err)
	}
	port, err := parsePort(portName)
	if err != nil {
		return failed(err)
	}
	addrs, _, _, err := n.addresses(ctx, family, host)
	if err != nil {
		return failed(err)
	}
	var first error
	for _, addr := range addrs {
		remote := net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, port))
		local, err := n.source(from, addr)
		if err == nil {
			var c net.Conn
			if c, err = n.connect(ctx, local, remote); err == nil {
				return c, nil
			}
		} else {
			err = &net.OpError{Op: "dial", Net: network, Addr: remote, Err: err}
		}
		if first == nil {
			first = err // as net.Dialer does
		}
	}
	return nil, first
}

// connect dials remote.
func (n *Network) connect(ctx context.Context, local, remote net.Addr) (net.Conn, error) {
	failed := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: remote.Network(), Addr: remote, Err: err}
	}
	n.dialled(remote)
	var waited, travelled bool
	for {
		if err := ctx.Err(); err != nil {
			return failed(err)
		}
		n.mu.Lock()
		h, port := n.at(remote)
		if n.closed || h == nil {
			n.mu.Unlock()
			return failed(errRefused)
		}
		if h.state == hanging {
			changed := n.changed.wait()
			n.mu.Unlock()
			if !waited {
				waited = true
				h.log(0, "a dial from %s hangs", local)
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		if trip := 2 * h.link.latency; trip > 0 && !travelled {
			travelled = true
			n.mu.Unlock()
			timer := time.NewTimer(trip)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
			continue
		}
		l := h.listeners[port]
		if h.state == down || l == nil && !h.answers(port) {
			n.mu.Unlock()
			h.log(0, "a dial from %s to %s is refused", local, remote)
			return failed(errRefused)
		}
		client, server := n.pair(h, local, remote)
		if l == nil {
			s := h.admit(client, server)
			n.sessions.Go(s.serve)
			n.mu.Unlock()
			return client, nil
		}
		n.mu.Unlock()
		if err := l.deliver(ctx, server); err != nil {
			client.Close()
			server.Close()
			return failed(err)
		}
		return client, nil
	}
}

// at returns the host at an address, or nil, and the port. n.mu is held.
func (n *Network) at(a net.Addr) (*Host, int) {
	switch a := a.(type) {
	case *net.TCPAddr:
		return n.byAddr[a.AddrPort().Addr().Unmap()], a.Port
	case *net.UnixAddr:
		return n.hosts[a.Name], 0
	}
	return nil, 0
}

// pair makes a connection to h. The network ends it at its own end. n.mu is held.
func (n *Network) pair(h *Host, local, remote net.Addr) (client, server *conn) {
	client, server = newPair(local, remote)
	client.out.way.link, server.out.way.link = h.link, h.link
	for _, c := range []*conn{client, server} {
		c.host = h
		c.onClose = n.forget
		n.conns[c] = struct{}{}
	}
	return client, server
}

func (n *Network) forget(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

// source returns the local address of a connection to addr.
func (n *Network) source(from []netip.Addr, addr netip.Addr) (*net.TCPAddr, error) {
	for _, f := range from {
		if f.Is4() == addr.Is4() {
			return net.TCPAddrFromAddrPort(netip.AddrPortFrom(f, n.newPort())), nil
		}
	}
	return nil, os.NewSyscallError("connect", syscall.ENETUNREACH)
}

// newPort returns a local port, from 49152 on (RFC 6335 §6).
func (n *Network) newPort() uint16 {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lastPort++
	return uint16(49152 + n.lastPort%16384)
}

func parsePort(s string) (uint16, error) {
	port, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, &net.AddrError{Err: "invalid port", Addr: s}
	}
	return uint16(port), nil
}

var errRefused = os.NewSyscallError("connect", syscall.ECONNREFUSED)
