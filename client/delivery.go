package client

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// delivery is one message on its way to the recipients of one route, which are those in message.rcpts. That shrinks
// to those whom a further host may still be asked about.
type delivery struct {
	t       *Transport
	router  *mx.Router
	message *message
	route   mx.Route

	begun   time.Time
	dialled int          // addresses
	later   []int        // recipients whom the host at hand deferred, and a further one may be asked about
	twice   map[int]bool // who was in later once: no third host is asked
	last    *failure     // of a host that came to no transaction
	ranked  []*Source    // sources, best first
	site    string       // that blocks are about; set where there are sources

	one [1]netip.AddrPort // the addresses of a host that has one only
}

// patience is how long one delivery goes on to further addresses: hosts that don't answer must not hold the place
// of mail that can be delivered.
const patience = 10 * time.Minute

// run tries the hosts in order.
func (d *delivery) run(ctx context.Context) {
	rcpts := d.message.rcpts
	d.rank()
	for _, host := range d.route.Hosts {
		if d.over(ctx) {
			break
		}
		more := d.host(ctx, host)
		d.message.rcpts, d.later = append(d.message.rcpts, d.later...), nil
		if !more {
			break
		}
	}
	if !slices.ContainsFunc(rcpts, func(i int) bool { return d.message.results[i].Reply == nil }) {
		return
	}
	rcpts = d.message.undecided(slices.Clone(rcpts))
	switch {
	case ctx.Err() != nil && (d.last == nil || !errors.Is(d.last, context.Cause(ctx))):
		d.last = calledOff(ctx, smtp.StageConnect)
	case d.last == nil:
		r := smtp.NewReply(451, "4.4.2", "the attempt took too long")
		d.last = &failure{stage: smtp.StageConnect, reply: r, local: true}
	}
	d.message.fail(rcpts, d.last)
}

// over reports whether no further address is to be tried.
func (d *delivery) over(ctx context.Context) bool {
	return len(d.message.rcpts) == 0 || d.dialled == mx.MaxAddrs || time.Since(d.begun) > patience || ctx.Err() != nil
}

// host offers the message to one host: in a session that is open already, or at its addresses in turn. It reports whether the
// hosts behind it may be tried.
func (d *delivery) host(ctx context.Context, host mx.Host) bool {
	begun := time.Now()
	addrs, err := d.addrs(ctx, host)
	if err != nil {
		loop := errors.Is(err, mx.ErrLoop)
		if f := routeFailure(host.Name, err); loop && d.last != nil {
			d.tried(ctx, begun, Session{Host: host.Name}, f) // why the better hosts didn't take it says more
		} else {
			d.note(ctx, begun, Session{Host: host.Name}, f)
		}
		return !loop
	}
	key := d.key(host)
	for before := len(d.message.rcpts) + 1; len(d.message.rcpts) < before; {
		before = len(d.message.rcpts)
		s := d.pooled(key, addrs)
		if s == nil {
			break
		}
		switch d.offer(ctx, s, true) {
		case otherHost:
			return true
		case otherAddress:
			before = 0 // it had died, and others may have
		}
	}
	for _, addr := range addrs {
		for to := sameAddress; to == sameAddress && !d.over(ctx); {
			to = d.address(ctx, host, key, addr)
			if to == otherHost {
				return true
			}
		}
	}
	return true
}

// address offers the message to one address of a host, in a new session.
func (d *delivery) address(ctx context.Context, host mx.Host, key key, addr netip.AddrPort) next {
	begun := time.Now()
	source, hostname, f := d.source(addr.Addr())
	if f != nil {
		f.host, f.addr = host.Name, addr.String()
		d.note(ctx, begun, Session{Host: host.Name, Addr: addr.String()}, f)
		return otherAddress
	}
	d.dialled++
	c, f := d.connect(ctx, host, addr, source, hostname)
	if f == nil {
		return d.offer(ctx, &session{Conn: c, key: key, remote: addr, opened: begun}, false)
	}
	d.note(ctx, begun, c.session(), f)
	r := f.result()
	r.Recipient = d.message.env.Recipients[d.message.rcpts[0]].Address
	switch {
	case d.learn(source, &r):
		return sameAddress
	case !f.local:
		return otherHost // it has spoken
	}
	return otherAddress
}

// pooled gives an idle session with one of the addresses that takes the first recipient at least, from the source that the
// message would go out from now.
func (d *delivery) pooled(key key, addrs []netip.AddrPort) *session {
	return d.t.pool.take(key, d.t.limits(), func(s *session) bool {
		if !slices.Contains(addrs, s.remote) || !s.takes(d.message.env.Recipients[d.message.rcpts[0]].Address) {
			return false
		}
		source, _, f := d.source(s.remote.Addr())
		return f == nil && source == s.source
	})
}

// note keeps the failure that those get whom no host was asked about. One that is for good counts only while
// no other host might have taken them.
func (d *delivery) note(ctx context.Context, begun time.Time, s Session, f *failure) {
	d.tried(ctx, begun, s, f)
	if d.last == nil || d.last.final() || !f.final() {
		d.last = f
	}
}

// addrs gives the addresses of a host; the zero one stands for a Unix socket.
func (d *delivery) addrs(ctx context.Context, host mx.Host) ([]netip.AddrPort, error) {
	if host.Path != "" {
		d.one[0] = netip.AddrPort{}
		return d.one[:], nil
	}
	if ip, ok := host.IP(); ok && !d.route.MX {
		d.one[0] = netip.AddrPortFrom(ip, uint16(host.Port))
		return d.one[:], nil
	}
	return d.router.Addrs(ctx, d.route, host)
}

// key is what sessions must have in common to stand for each other, beside their addresses.
func (d *delivery) key(host mx.Host) key {
	k := key{host: host, lmtp: d.route.LMTP, tls: d.route.TLS, start: d.route.TLSStart, mx: d.route.MX}
	if d.route.Auth != nil {
		k.identity = d.route.Name
	}
	return k
}
