package client

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

// delivery is one message on its way to the recipients of one route. Between any two calls, message.rcpts holds the
// recipients to offer next, and d.later those for the next host; all other recipients of the route have a result.
type delivery struct {
	t       *Transport
	router  *mx.Router
	message *message
	route   mx.Route

	begun    time.Time
	dialled  int             // addresses that were connected to
	later    []int           // recipients whom the current host deferred, to offer to the next host
	twice    map[int]bool    // recipients for whom one further host was granted: a third one isn't asked
	last     *failure        // why the hosts so far came to no transaction
	required mx.Requirement  // of the current host
	policy   mx.Requirement  // likewise, without what the sender of the message wishes
	strict   bool            // the requirement is that of REQUIRETLS
	troubles []mx.TLSFailure // with the policies of the current host
	bound    habits          // the bound on the messages of a session that the current host seems to have
	ranked   []*Source       // the sources, best first
	site     string          // the site that blocks are about; set if there are sources
	provider string          // of the current host, likewise
	counted  string          // the site the sessions of which are bounded; empty: all are bounded together, or none is
	most     int             // so many; zero: no bound

	one [1]netip.AddrPort // the addresses of a host that has one

	failed []sourceAddr // of ranked: the message couldn't go out from them
	cause  *sourceError // of the last of failed
	spent  []*Source    // the plans of which have no room any more

	uncounted bool // WarmCounts had an error, so that nobody knows which plans have room
}

// run offers the message to the hosts of the route in order (RFC 5321 §5.1). Recipients whom no host took, and no host
// answered, get the result of the last failure.
func (d *delivery) run(ctx context.Context) {
	rcpts := d.message.rcpts
	d.rank()
	if d.counted, d.most = d.t.bound(&d.route); d.counted != "" { // the turn of a Submission is taken before
		if f := d.waits(ctx, d.t.pool.takeTurn); f != nil {
			d.message.fail(rcpts, f)
			return
		}
		defer d.t.pool.giveTurn(d.counted, d.most)
	}
	// A message whose signature a conversion breaks is converted if there is no host that takes it as it is.
	mayBreak := d.t.ConvertSigned || d.message.env.From == "" // nobody would hear of a message that isn't sent
	d.message.breakSigned, d.message.kept = mayBreak && len(d.route.Hosts) == 1, false
	d.hosts(ctx)
	if mayBreak && d.message.kept {
		d.message.breakSigned = true
		d.message.rcpts = d.message.undecided(slices.Clone(d.message.rcpts))
		d.hosts(ctx)
	}
	if !slices.ContainsFunc(rcpts, func(i int) bool { return d.message.results[i].Reply == nil }) {
		return
	}
	rcpts = d.message.undecided(slices.Clone(rcpts))
	switch {
	case ctx.Err() != nil && (d.last == nil || takenBack(ctx) || !errors.Is(d.last, context.Cause(ctx))):
		d.last = calledOff(ctx, smtp.StageConnect)
	case d.last == nil:
		r := smtp.NewReply(451, "4.4.2", "the attempt took too long")
		d.last = &failure{stage: smtp.StageConnect, reply: r, local: true}
	}
	d.message.fail(rcpts, d.last)
}

// hosts offers the message to each host of the route.
func (d *delivery) hosts(ctx context.Context) {
	for _, host := range d.route.Hosts {
		if d.over(ctx) {
			if d.last != nil && d.last.final() {
				d.last = nil // a host that wasn't tried may take the message
			}
			return
		}
		more := d.host(ctx, host)
		d.message.rcpts, d.later = append(d.message.rcpts, d.later...), nil
		if !more {
			return
		}
	}
}

// over reports whether no further address may be tried. A host that doesn't answer must not hold up other mail.
func (d *delivery) over(ctx context.Context) bool {
	return len(d.message.rcpts) == 0 || d.dialled >= cmp.Or(d.t.MaxAddrs, mx.MaxAddrs) ||
		time.Since(d.begun) > d.t.Timeouts.attempt() || ctx.Err() != nil
}

// host offers the message to one host: in its idle sessions, then at its addresses in order. It reports whether the
// hosts after it may be tried.
func (d *delivery) host(ctx context.Context, host mx.Host) (more bool) {
	begun := time.Now()
	d.bound, d.provider = habits{}, ""
	if len(d.ranked) > 0 {
		d.provider = replies.Provider(host.Name)
	}
	addrs, err := d.addrs(ctx, host)
	if err != nil {
		return d.unreachable(ctx, begun, host, err)
	}
	if f := d.require(ctx, host); f != nil {
		if ctx.Err() == nil { // otherwise the failure says nothing about the host
			d.tellExcluded(ctx, host)
			security := securityOf(&d.required)
			f.security = security.summary()
			d.note(ctx, Try{Begun: begun, Session: SessionInfo{Host: host.Name}, Security: security}, f)
		}
		return true
	}
	key := d.key(host)
	if d.idle(ctx, key, addrs) {
		return true
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

// unreachable notes that a host has no address to use. It reports whether the hosts after it may be tried.
func (d *delivery) unreachable(ctx context.Context, begun time.Time, host mx.Host, err error) (more bool) {
	d.t.logPanic(ctx, err)
	if ctx.Err() != nil {
		return true // the lookup was cancelled, which says nothing about the host
	}
	f, at := routeFailure(host.Name, err), Try{Begun: begun, Session: SessionInfo{Host: host.Name}}
	if !errors.Is(err, mx.ErrLoop) {
		d.note(ctx, at, f)
		return true
	}
	// RFC 5321 §5.1: this host is us, and the hosts after it are no better. What the better ones said matters more.
	if d.last == nil {
		d.note(ctx, at, f)
	} else {
		d.tried(ctx, at, f)
	}
	return false
}

// idle offers the message in idle sessions, as long as each of them takes some recipients. It reports whether no
// further session with this host is needed.
func (d *delivery) idle(ctx context.Context, key key, addrs []netip.AddrPort) (done bool) {
	for {
		s := d.pooled(key, addrs)
		if s == nil {
			return false
		}
		before := len(d.message.rcpts)
		switch d.offer(ctx, s, true) {
		case otherHost:
			return true
		case otherAddress:
			return false // the session had died, and the other ones may have
		}
		if len(d.message.rcpts) == before {
			return false
		}
	}
}

// address offers the message to one address of a host, in a new session.
func (d *delivery) address(ctx context.Context, host mx.Host, key key, addr netip.AddrPort) next {
	begun := time.Now()
	e, f := d.egress(addr.Addr())
	if f != nil {
		f.host, f.addr = host.Name, addr.String()
		d.note(ctx, Try{Begun: begun, Session: SessionInfo{Host: host.Name, Addr: addr.String()}}, f)
		return otherAddress
	}
	d.dialled++
	c, f := d.connect(ctx, ends{host, addr, e})
	again := ctx.Err() == nil && d.connected(e, f)
	if f == nil {
		key.without |= c.broken // it may have been learned after the key was made
		return d.offer(ctx, &session{Conn: c, key: key, remote: addr, opened: begun}, false)
	}
	d.note(ctx, Try{Begun: begun, Session: c.session(), Security: c.secure()}, f)
	r := f.result(d.t.Replies)
	r.Recipient = d.message.env.Recipients[d.message.rcpts[0]].Address
	switch {
	case again:
		return sameAddress
	case d.learn(e.key(), &r):
		return sameAddress
	case !f.local:
		return otherHost // the host has answered; its other addresses would answer the same
	}
	return otherAddress
}

// pooled takes an idle session from the pool, or returns nil. The session leads to one of addrs, takes the first
// recipient at least, and has the source address that a new session would have.
func (d *delivery) pooled(key key, addrs []netip.AddrPort) *session {
	var ways []sourceAddr // to addrs; found out before the pool is locked, since WarmCounts may wait
	if len(d.t.Sources) > 0 {
		for _, addr := range addrs {
			e, f := d.source(addr.Addr())
			if f != nil {
				e.via = new(Source) // no session has it
			}
			ways = append(ways, e.key())
		}
	}
	return d.t.pool.take(key, d.t.limits(), func(s *session) bool {
		i := slices.Index(addrs, s.remote)
		return i >= 0 && (ways == nil || ways[i] == sourceAddr{s.via, s.source}) &&
			s.takes(d.message.env.Recipients[d.message.rcpts[0]].Address)
	})
}

// note keeps f as the result of recipients whom no host answers. A permanent failure gives way to any later one:
// another host might have taken the message.
func (d *delivery) note(ctx context.Context, t Try, f *failure) {
	d.tried(ctx, t, f)
	d.keep(f)
}

func (d *delivery) keep(f *failure) {
	if d.last == nil || d.last.final() || !f.final() {
		d.last = f
	}
}

// addrs returns the addresses of a host. The zero AddrPort stands for a Unix socket.
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

// key returns the key of the sessions with host that can replace each other.
func (d *delivery) key(host mx.Host) key {
	k := key{site: d.counted, host: host, lmtp: d.route.LMTP, tls: d.route.TLS, start: d.route.TLSStart, mx: d.route.MX}
	k.without, _, _ = parseKeywords(d.route.Without)
	k.without |= d.t.memory.of(host).broken // so that no session that uses them is taken
	k.policy, k.demand = d.required.Name, d.tlsDemand()
	if d.route.Auth != nil {
		k.identity = d.route.Name
	}
	return k
}
