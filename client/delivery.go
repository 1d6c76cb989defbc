package client

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// delivery is one message on its way to the recipients of one route, which are those in job.rcpts. That shrinks
// to those whom a further host may still be asked about.
type delivery struct {
	t      *Transport
	router *mx.Router
	job    *job
	route  mx.Route

	begun   time.Time
	dialled int      // addresses
	offers  int      // transactions that a recipient in job.rcpts was deferred in
	last    *failure // of a host that came to no transaction
}

// patience is how long one delivery goes on to further addresses: hosts that don't answer must not hold the place
// of mail that can be delivered.
const patience = 10 * time.Minute

// run tries the hosts in order.
func (d *delivery) run(ctx context.Context) {
	rcpts := d.job.rcpts
	d.begun = time.Now()
	for _, host := range d.route.Hosts {
		if len(d.job.rcpts) == 0 || ctx.Err() != nil {
			break
		}
		d.host(ctx, host)
	}
	undecided := func(i int) bool { return d.job.results[i].Reply == nil }
	if !slices.ContainsFunc(rcpts, undecided) {
		return
	}
	if d.last == nil || ctx.Err() != nil {
		d.last = calledOff(ctx, smtp.StageConnect)
	}
	d.job.fail(slices.DeleteFunc(slices.Clone(rcpts), func(i int) bool { return !undecided(i) }), d.last)
}

// host offers the message to one host: in a session that is open already, or at its addresses in turn.
func (d *delivery) host(ctx context.Context, host mx.Host) {
	key := d.key(host)
	if s := d.t.pool.take(key, d.t.limits()); s != nil {
		if !d.offer(ctx, s, true) {
			return
		}
	}
	network, addrs, err := d.addrs(ctx, host)
	if err != nil {
		d.note(routeFailure(host.Name, err))
		return
	}
	for _, addr := range addrs {
		if d.dialled == mx.MaxAddrs || time.Since(d.begun) > patience || ctx.Err() != nil || len(d.job.rcpts) == 0 {
			return
		}
		d.dialled++
		c, f := d.connect(ctx, host, network, addr)
		if f != nil {
			d.note(f)
			if !f.local {
				return // the host has spoken
			}
			continue
		}
		if !d.offer(ctx, &session{Conn: c, key: key, opened: time.Now()}, false) {
			return
		}
	}
}

// offer sends the message in one session, and takes out of job.rcpts who needs no other. It reports whether
// to go on with the same host, as the session broke before anything could come of it.
func (d *delivery) offer(ctx context.Context, s *session, pooled bool) (again bool) {
	s.transact(ctx, d.job)
	d.rest(ctx, s)
	// A session that was kept may have died meanwhile. Up to DATA, that is as if it had never been.
	stale := pooled && s.spoiled && !s.answered && ctx.Err() == nil
	if !stale {
		d.offers++
	}
	lost := false
	var left []int
	for _, i := range d.job.rcpts {
		r := &d.job.results[i]
		if r.Outcome != smtp.Deferred || !stale && (d.offers > 1 || !elsewhere(r)) {
			continue
		}
		lost = lost || r.Local
		left = append(left, i)
	}
	d.job.rcpts = left
	if stale {
		for _, i := range left {
			d.job.results[i].Reply = nil
		}
	}
	again = stale || s.spoiled && !s.answered && lost
	d.t.pool.put(s, d.t.limits())
	return again && len(left) > 0
}

// rest offers the message again, in the same session, to those for whom there was no room in a transaction
// (RFC 5321 §4.5.3.1.10), as long as each transaction delivers to some.
func (d *delivery) rest(ctx context.Context, s *session) {
	all := d.job.rcpts
	for s.Ready() && ctx.Err() == nil {
		var left []int
		delivered := false
		for _, i := range d.job.rcpts {
			r := &d.job.results[i]
			delivered = delivered || r.Outcome == smtp.Delivered
			if r.Outcome == smtp.Deferred && r.Stage == smtp.StageRcpt && !r.Local && (r.Reply.Code == 452 || r.Reply.Code == 552) {
				left = append(left, i)
			}
		}
		if !delivered || len(left) == 0 {
			break
		}
		d.job.rcpts = left
		s.transact(ctx, d.job)
	}
	d.job.rcpts = all
}

// elsewhere reports whether another host may answer better: not where the mailbox or the policy of the
// place gave the reason, or our own side did.
func elsewhere(r *smtp.Result) bool {
	code := r.Reply.Enhanced
	if r.Local {
		return code[1] != 3 // X.3.x: our own system
	}
	return code[1] != 2 && code[1] != 7 && r.Reply.Code != 452 && r.Reply.Code != 552
}

// note keeps the failure that those get whom no host was asked about. One that is for good counts only while
// no other host might have taken them.
func (d *delivery) note(f *failure) {
	if d.t.Logger != nil {
		d.t.Logger.Debug("host failed", "host", f.host, "addr", f.addr, "stage", f.stage.String(), "error", f)
	}
	if d.last == nil || d.last.final() || !f.final() {
		d.last = f
	}
}

func (d *delivery) addrs(ctx context.Context, host mx.Host) (network string, addrs []string, err error) {
	if host.Path != "" {
		return "unix", []string{host.Path}, nil
	}
	ips, err := d.router.Addrs(ctx, d.route, host)
	for _, ip := range ips {
		addrs = append(addrs, ip.String())
	}
	return "tcp", addrs, err
}

// connect opens a session. Opportunistic TLS that breaks is done without on a second connection.
func (d *delivery) connect(ctx context.Context, host mx.Host, network, addr string) (*Conn, *failure) {
	c, f := d.open(ctx, host, network, addr, d.route.TLS)
	if f == nil || !f.clear || c.verifies() || ctx.Err() != nil {
		return c, f
	}
	if d.t.Logger != nil {
		d.t.Logger.Info("going on without TLS", "host", c.Host, "addr", addr, "error", f)
	}
	return d.open(ctx, host, network, addr, mx.TLSNone)
}

func (d *delivery) open(ctx context.Context, host mx.Host, network, addr string, mode mx.TLSMode) (*Conn, *failure) {
	t := d.t
	c := &Conn{
		Hostname:    t.Hostname,
		Host:        host.Name,
		Addr:        addr,
		LMTP:        d.route.LMTP,
		TLS:         mode,
		ImplicitTLS: host.Path == "" && host.Port == portSubmissions && mode != mx.TLSNone,
		TLSConfig:   t.TLSConfig,
		Timeouts:    t.Timeouts,
	}
	if host.Path != "" {
		c.Host = "localhost"
	}
	if d.route.Auth != nil {
		if c.Auth = d.route.Auth(); c.Auth == nil {
			return c, c.local(smtp.StageAuth, nil, status{451, 4, 7, 0}, "there is nothing to authenticate with")
		}
	}
	dial := t.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	dialCtx, cancel := context.WithTimeout(ctx, t.Timeouts.connect())
	nc, err := dial(dialCtx, network, addr)
	cancel()
	if err == nil {
		return c, c.start(ctx, nc)
	}
	if ctx.Err() != nil {
		f := calledOff(ctx, smtp.StageConnect)
		f.host, f.addr = c.Host, addr
		return c, f
	}
	why := "no connection"
	if op, ok := errors.AsType[*net.OpError](err); ok {
		why = op.Err.Error() // without the addresses, which stand in the Result
	}
	return c, c.local(smtp.StageConnect, err, status{451, 4, 4, 1}, "%s", clip(why))
}

// key is what sessions must have in common to stand for each other.
func (d *delivery) key(host mx.Host) key {
	k := key{host: host, lmtp: d.route.LMTP, tls: d.route.TLS, mx: d.route.MX}
	if d.route.Auth != nil {
		k.identity = d.route.Name
	}
	return k
}
