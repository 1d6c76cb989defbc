package client

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// connect opens a session. Opportunistic TLS that breaks is done without on a second connection.
func (d *delivery) connect(ctx context.Context, host mx.Host, addr netip.AddrPort, source netip.Addr, hostname string) (*Conn, *failure) {
	begun := time.Now()
	c := d.conn(host, addr, source, hostname)
	f := d.open(ctx, c)
	if f == nil || !f.clear || c.verifies() || ctx.Err() != nil {
		return c, f
	}
	if d.t.Logger != nil {
		d.t.Logger.Info("going on without TLS", "host", c.Host, "addr", c.Addr, "error", f)
	}
	d.tried(ctx, begun, c.session(), f)
	c = d.conn(host, addr, source, hostname)
	c.TLS, c.TLSStart = mx.TLSNone, mx.TLSByPort
	return c, d.open(ctx, c)
}

func (d *delivery) conn(host mx.Host, addr netip.AddrPort, source netip.Addr, hostname string) *Conn {
	t := d.t
	c := &Conn{
		Hostname:  hostname,
		Host:      host.Name,
		Addr:      addr.String(),
		LMTP:      d.route.LMTP,
		TLS:       d.route.TLS,
		TLSStart:  d.route.TLSStart,
		TLSConfig: t.TLSConfig,
		Auth:      d.route.Auth,
		Timeouts:  t.Timeouts,
		ChunkSize: t.ChunkSize,
		Trace:     t.Trace,
		noBDAT:    t.noBDAT.has(host),
		source:    source,
		id:        t.sessions.Add(1),
	}
	if host.Path != "" {
		c.Host, c.Addr = "localhost", host.Path
	}
	return c
}

func (d *delivery) open(ctx context.Context, c *Conn) *failure {
	t := d.t
	dialCtx, cancel := context.WithTimeout(ctx, t.Timeouts.connect())
	nc, err := t.dial(dialCtx, c)
	cancel()
	if err == nil {
		return c.start(ctx, nc)
	}
	if ctx.Err() != nil {
		f := calledOff(ctx, smtp.StageConnect)
		f.host, f.addr = c.Host, c.Addr
		return f
	}
	why := "no connection"
	if op, ok := errors.AsType[*net.OpError](err); ok {
		why = op.Err.Error() // without the addresses, which stand in the Result
	}
	return c.local(smtp.StageConnect, err, smtp.NewReply(451, "4.4.1", clip(why)))
}

// dial connects to c.Addr.
func (t *Transport) dial(ctx context.Context, c *Conn) (net.Conn, error) {
	network := "tcp"
	if strings.HasPrefix(c.Addr, "/") {
		network = "unix"
	}
	if t.DialContext != nil {
		return t.DialContext(context.WithValue(ctx, sourceKey{}, c.source), network, c.Addr)
	}
	dialer := new(net.Dialer)
	if c.source.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.source, 0))
	}
	return dialer.DialContext(ctx, network, c.Addr)
}
