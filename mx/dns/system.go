package dns

import (
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/net/dns/dnsmessage"
)

// System returns a resolver of the standard library that sends its queries to the name servers of r. The system's hosts
// file applies to it, and so does the search list for a name without a trailing dot. It is meant for names that the
// operator of this machine has written, such as a smarthost "mail".
//
// Of the fields, Servers, ResolvConf, TCP and Dial apply. All queries go to one of the servers, and to the next one
// after it has failed. Timeout and Attempts are those of the system.
func (r *Resolver) System() *net.Resolver {
	r.standard.once.Do(func() {
		r.standard.Resolver = &net.Resolver{PreferGo: true, StrictErrors: true}
		if r.Dial != nil {
			r.standard.Dial = r.dial
		}
		if len(r.Servers) > 0 || r.ResolvConf != "" || r.TCP {
			r.standard.Dial = r.dialStandard
		}
	})
	return r.standard.Resolver
}

// dialStandard connects to a server of r, in place of the system's name server at address.
func (r *Resolver) dialStandard(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := r.config()
	if err != nil {
		return r.dial(ctx, network, address)
	}
	if c.tcp {
		network = "tcp"
	}
	n := r.standard.next.Load()
	// Lookups at the same time must not take turns: with two servers, one lookup would only ask those that are down.
	failed := func() { r.standard.next.CompareAndSwap(n, n+1) }
	conn, err := r.dial(ctx, network, c.servers[int(n%uint32(len(c.servers)))])
	if err != nil {
		failed()
		return nil, err
	}
	judged := judgedConn{conn, failed}
	if p, ok := conn.(net.PacketConn); ok {
		return judgedPackets{judged, p}, nil
	}
	return judged, nil
}

// judgedConn is a connection to a server. It calls failed if the server doesn't answer.
type judgedConn struct {
	net.Conn
	failed func()
}

func (c judgedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.failed()
	}
	return n, err
}

// judgedPackets is a judgedConn of datagrams. An error code is a failure, too.
type judgedPackets struct {
	judgedConn
	packets net.PacketConn
}

func (c judgedPackets) Read(b []byte) (int, error) {
	n, err := c.judgedConn.Read(b)
	var p dnsmessage.Parser
	if h, bad := p.Start(b[:n]); err == nil && bad == nil &&
		h.RCode != dnsmessage.RCodeSuccess && h.RCode != dnsmessage.RCodeNameError {
		c.failed()
	}
	return n, err
}

func (c judgedPackets) ReadFrom(b []byte) (int, net.Addr, error)   { return c.packets.ReadFrom(b) }
func (c judgedPackets) WriteTo(b []byte, to net.Addr) (int, error) { return c.packets.WriteTo(b, to) }

func (r *Resolver) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	if r.Dial == nil {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	defer func() {
		if v := recover(); v != nil { // in a goroutine of lookupBoth, it would end the process
			conn, err = nil, fmt.Errorf("Dial panics: %v", v)
		}
	}()
	if conn, err = r.Dial(ctx, network, address); conn == nil && err == nil {
		err = errors.New("Dial returned neither a connection nor an error")
	}
	return conn, err
}
