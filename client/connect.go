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

// ends are the two ends of a connection to be made.
type ends struct {
	host     mx.Host
	addr     netip.AddrPort // of the host; the zero AddrPort for a Unix socket
	source   netip.Addr     // the local address; the zero Addr if the system chooses it
	hostname string         // the name of this machine in EHLO; if empty, see Conn.Hostname
}

// connect opens a session. If opportunistic TLS fails, it opens a second connection without TLS. The Conn is never nil.
func (d *delivery) connect(ctx context.Context, e ends) (*Conn, *failure) {
	begun := time.Now()
	c := d.conn(e)
	f := d.open(ctx, c)
	if f == nil || !f.clear || c.verifies() || ctx.Err() != nil {
		return c, f
	}
	// RFC 7435 §3: without a policy that demands TLS, mail in cleartext is better than none.
	if d.t.Logger != nil {
		d.t.logger().Info("TLS failed, going on without TLS", "host", c.Host, "addr", c.Addr, "err", f)
	}
	d.tried(ctx, begun, c.session(), f)
	c = d.conn(e)
	c.TLS, c.TLSStart = mx.TLSNone, mx.TLSByPort
	return c, d.open(ctx, c)
}

// conn returns a Conn with all fields set, not open yet.
func (d *delivery) conn(e ends) *Conn {
	t := d.t
	known := t.memory.of(e.host)
	c := &Conn{
		Hostname:  e.hostname,
		Host:      e.host.Name,
		Addr:      e.addr.String(),
		LMTP:      d.route.LMTP,
		TLS:       d.route.TLS,
		TLSStart:  d.route.TLSStart,
		TLSConfig: t.TLSConfig,
		Auth:      d.route.Auth,
		Timeouts:  t.Timeouts,
		ChunkSize: t.ChunkSize,
		Trace:     t.Trace,
		Without:   d.route.Without,
		renew:     true,
		broken:    known.broken,
		most:      known.mails,
		source:    e.source,
		id:        t.sessions.Add(1),
		logger:    t.Logger,
	}
	if d.bound.said {
		c.most = d.bound.mails
	}
	if e.host.Path != "" {
		c.Host, c.Addr = "localhost", e.host.Path
	}
	return c
}

// open dials and opens the session. After a failure nothing is open.
func (d *delivery) open(ctx context.Context, c *Conn) *failure {
	t := d.t
	if t.maxSessions > 0 {
		if err := t.pool.reserve(ctx, t.maxSessions); err != nil {
			return c.calledOff(ctx)
		}
		c.onClose = t.pool.release
	}
	dialCtx, cancel := context.WithTimeout(ctx, t.Timeouts.connect())
	nc, err := t.dialled(dialCtx, c)
	cancel()
	if err == nil {
		return c.start(ctx, nc)
	}
	if c.onClose != nil {
		c.onClose()
	}
	if ctx.Err() != nil {
		return c.calledOff(ctx)
	}
	why := "no connection"
	if _, ok := errors.AsType[*net.OpError](err); ok {
		why = withoutAddrs(err)
	}
	return c.local(smtp.StageConnect, err, smtp.NewReply(451, "4.4.1", why))
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
