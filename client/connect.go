package client

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// ends are the two ends of a connection to be made.
type ends struct {
	host mx.Host
	addr netip.AddrPort // of the host; the zero AddrPort for a Unix socket
	egress
}

// connect opens a session. If TLS fails, it may open another connection with a smaller ClientHello, and then one
// without TLS, as decide says. The Conn is never nil.
func (d *delivery) connect(ctx context.Context, e ends) (*Conn, *failure) {
	c := d.conn(e)
	if decide(c.demand(), failsTLS) == inClear && d.t.memory.of(e.host).noTLS {
		c.inClear(ErrTLSFailedBefore)
	}
	for {
		begun := time.Now()
		f := d.open(ctx, c)
		d.tellTLS(ctx, c, f, false)
		if f == nil {
			c.learned.smallHello = c.fellBack && c.small && c.security.Version != ""
			d.tellShort(c)
			return c, nil
		}
		to := nextHost
		if f.trouble != noTrouble && ctx.Err() == nil {
			to = decide(c.demand(), f.trouble)
		}
		if to != smallerHello && to != inClear {
			return c, f
		}
		d.tried(ctx, Try{Begun: begun, Session: c.session(), Security: c.secure()}, f)
		c = d.conn(e)
		c.fellBack = true
		if to == smallerHello {
			c.small = true
			d.tell("TLS failed, trying without post-quantum key exchange", c, f)
			continue
		}
		d.tell("TLS failed, going on without TLS", c, f)
		c.inClear(f)
	}
}

// tellShort logs that a session falls short of a policy that isn't enforced.
func (d *delivery) tellShort(c *Conn) {
	if c.required.Testing && c.security.Err != nil {
		d.tell("the session falls short of a policy that isn't enforced", c, c.security.Err)
	}
}

func (d *delivery) tell(what string, c *Conn, err error) {
	if d.t.Logger == nil {
		return
	}
	var policy slog.Attr // a zero Attr isn't logged
	if c.required.Name != "" {
		policy = slog.String("policy", c.required.Name)
	}
	d.t.logger().Info(what, "host", c.Host, "addr", c.Addr, policy, "err", err)
}

// inClear makes the session one without TLS, because of err. Nothing may be demanded.
func (c *Conn) inClear(err error) {
	c.TLS, c.TLSStart, c.security.Err = mx.TLSNone, mx.TLSByPort, err
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
		allowed:   t.maxMessages(e.host),
		source:    e.source,
		via:       e.via,
		from:      e.via.name(),
		required:  d.required,
		strict:    d.strict,
		again:     true,
		small:     known.smallHello,
		id:        t.sessions.Add(1),
		logger:    t.Logger,
	}
	c.security.Err = d.required.Excluded // in testing; otherwise no session is opened
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
	if d.most > 0 {
		if f := d.enter(ctx, c); f != nil {
			return f
		}
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
	if cause, ok := err.(*sourceError); ok {
		f := c.local(smtp.StageConnect, cause, smtp.NewReply(451, "4.3.0", cause.text()))
		f.reason = smtp.NoSource
		return f
	}
	why := "no connection"
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		why = "the host did not answer in time"
	} else if _, ok := errors.AsType[*net.OpError](err); ok {
		why = withoutAddrs(err)
	}
	return c.local(smtp.StageConnect, err, smtp.NewReply(451, "4.4.1", why))
}

// errFull is the cause where no session ended in time. It says nothing about the host, nor the source address.
var errFull = errors.New("no session ended in time: see Transport.MaxSessions")

// enter waits until a connection for c may be open: see Transport.MaxSessions.
func (d *delivery) enter(ctx context.Context, c *Conn) *failure {
	f := d.waits(ctx, d.t.pool.reserve)
	if f != nil {
		f.host, f.addr, f.source = c.Host, c.Addr, c.from
		return f
	}
	site, p := d.counted, &d.t.pool
	c.onClose = func() { p.release(site) }
	return nil
}

// waits calls wait with the bound on the sessions of the route. It ends the wait after Timeouts.Attempt.
func (d *delivery) waits(ctx context.Context, wait func(_ context.Context, site string, most int) error) *failure {
	waitCtx, cancel := context.WithTimeout(ctx, d.t.Timeouts.attempt()-time.Since(d.begun))
	defer cancel()
	if wait(waitCtx, d.counted, d.most) == nil {
		return nil
	}
	if ctx.Err() != nil {
		return calledOff(ctx, smtp.StageConnect)
	}
	// RFC 3463 §3.4: X.3.x, the mail system, which is this program. The Reason must not blame a host.
	return &failure{stage: smtp.StageConnect, reply: smtp.NewReply(451, "4.3.2", "the host has enough sessions"),
		local: true, reason: smtp.Other, cause: errFull}
}
