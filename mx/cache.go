package mx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/mx/dns"
)

// cache keeps the answers of a Resolver for a time. Callers that ask the same question at the same time share one
// lookup, which ends early if all of them have given up. A failure is returned to all who wait. It isn't kept, except
// where each mail to a host would wait for it anew: that of the addresses of a host, and that of a lookup for a
// Policy. An answer that a name doesn't exist is not a failure.
//
// Invariants, under mu:
//   - An answer in answers is either pending, with a zero until, or kept, with its size counted in size.
//   - A pending answer has one goroutine that looks it up, and waiting counts the callers.
//   - The fields after until are written before done is closed, and callers read them only after.
type cache struct {
	resolver Resolver
	ttl      time.Duration // of an answer without a known TTL; if below zero, no answer is kept
	timeout  time.Duration // of a lookup

	mu      sync.Mutex
	answers map[question]*answer
	size    int // of the answers that are kept, in bytes
}

// Bounds on the answers that are kept.
const (
	maxCache = 16 << 20 // bytes, by answer.size

	// RFC 1035 §3.2.1: an answer with a TTL of zero is for the current transaction only. Here that is one second.
	minTTL = time.Second
	maxTTL = 24 * time.Hour

	// RFC 2308 §5 recommends up to three hours. Mail is returned for a negative answer, so it is less here.
	maxNegativeTTL = 5 * time.Minute
)

// otherFamily bounds the wait for the addresses of one family when those of the other are there. It is the Resolution
// Delay of RFC 8305 §3, longer here because mail is less urgent than a web page.
const otherFamily = time.Second

// failureTime is how long a failure is kept. RFC 9520 §3.2 demands 1 second and allows 5 minutes.
const failureTime = 30 * time.Second

type question struct{ kind, name string } // kind is "mx", "ip4", "ip6", "tlsa" or "alias"

// answer is an answer that is pending or kept.
type answer struct {
	waiting int                // the callers that wait for it
	stop    context.CancelFunc // ends the lookup; nil once it has ended, as it holds the context of the first caller
	done    chan struct{}      // closed at the end of the lookup
	until   time.Time          // when it expires; zero while it is pending

	mx    []*net.MX
	ip    []netip.Addr
	tlsa  []dns.TLSA
	alias string
	proof dns.Proof // not Authentic, and with a TTL below zero, if nothing is known
	err   error
}

// ask returns the answer to one question. It must not be changed.
func (c *cache) ask(ctx context.Context, q question) *answer {
	a, kept := c.join(ctx, q)
	if !kept {
		a = c.wait(ctx, q, a)
	}
	return a
}

// LookupMXProof is that of the Resolver, or its LookupMX with nothing known. The caller owns the records.
func (c *cache) LookupMXProof(ctx context.Context, name string) ([]*net.MX, dns.Proof, error) {
	a := c.ask(ctx, question{"mx", name})
	return slices.Clone(a.mx), a.proof, a.err
}

// LookupNetIPProof, LookupTLSA and LookupAlias are those of the Resolver, which is a SecureResolver.
func (c *cache) LookupNetIPProof(ctx context.Context, network, host string) ([]netip.Addr, dns.Proof, error) {
	a := c.ask(ctx, question{network, host})
	return slices.Clone(a.ip), a.proof, a.err
}

func (c *cache) LookupTLSA(ctx context.Context, name string) ([]dns.TLSA, dns.Proof, error) {
	a := c.ask(ctx, question{"tlsa", name})
	return slices.Clone(a.tlsa), a.proof, a.err
}

func (c *cache) LookupAlias(ctx context.Context, name string) (target string, proof dns.Proof, err error) {
	a := c.ask(ctx, question{"alias", name})
	return a.alias, a.proof, a.err
}

// addresses asks for both families of a host at the same time, so that neither hides the other. If one family has
// addresses, the other one is waited for a short time only. The answers must not be changed.
func (c *cache) addresses(ctx context.Context, host string) (a4, a6 *answer) {
	q4, q6 := question{"ip4", host}, question{"ip6", host}
	a4, kept4 := c.join(ctx, q4)
	a6, kept6 := c.join(ctx, q6)
	if kept4 && kept6 {
		return a4, a6
	}
	found, whole := false, ctx
	select {
	case <-a4.done:
		found = len(a4.ip) > 0
	case <-a6.done:
		found = len(a6.ip) > 0
	case <-ctx.Done():
	}
	if found {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, otherFamily)
		defer cancel()
	}
	if !kept4 {
		a4 = c.wait(ctx, q4, a4)
	}
	if !kept6 {
		a6 = c.wait(ctx, q6, a6)
	}
	if whole.Err() == nil {
		c.keepFailure(q4, a4)
		c.keepFailure(q6, a6)
	}
	return a4, a6
}

// keepFailure keeps an answer to q for failureTime if it is a failure, and if nobody waits for another one.
func (c *cache) keepFailure(q question, failed *answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ttl < 0 || failed.err == nil || isNotFound(failed.err) || len(failed.ip) > 0 || c.answers[q] != nil {
		return
	}
	a := &answer{err: failed.err, done: make(chan struct{}), until: time.Now().Add(failureTime)}
	close(a.done)
	c.answers[q] = a
	c.size += a.size(q)
}

// wait waits for a pending answer that the caller has joined.
func (c *cache) wait(ctx context.Context, q question, a *answer) *answer {
	select {
	case <-a.done:
		return a
	default:
	}
	select {
	case <-a.done:
		return a
	case <-ctx.Done():
	}
	if c.leave(q, a) {
		<-a.done
	}
	return &answer{err: ctx.Err()}
}

// look asks the Resolver.
func (c *cache) look(ctx context.Context, q question, a *answer) {
	secure, proves := c.resolver.(SecureResolver)
	ttls, ok := c.resolver.(TTLResolver)
	switch {
	case q.kind == "tlsa":
		a.tlsa, a.proof, a.err = secure.LookupTLSA(ctx, q.name)
	case q.kind == "alias":
		a.alias, a.proof, a.err = secure.LookupAlias(ctx, q.name)
	case q.kind == "mx" && proves:
		a.mx, a.proof, a.err = secure.LookupMXProof(ctx, q.name)
	case q.kind == "mx" && ok:
		a.mx, a.proof.TTL, a.err = ttls.LookupMXTTL(ctx, q.name)
	case q.kind == "mx":
		a.mx, a.err = c.resolver.LookupMX(ctx, q.name)
	case proves:
		a.ip, a.proof, a.err = secure.LookupNetIPProof(ctx, q.kind, q.name)
	case ok:
		a.ip, a.proof.TTL, a.err = ttls.LookupNetIPTTL(ctx, q.kind, q.name)
	default:
		a.ip, a.err = c.resolver.LookupNetIP(ctx, q.kind, q.name)
	}
	a.proof.Authentic = a.proof.Authentic && (a.err == nil || isNotFound(a.err))
}

// join returns the answer that is kept, or else adds a caller to the pending one. It starts a lookup if none is
// pending.
func (c *cache) join(ctx context.Context, q question) (a *answer, kept bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a = c.answers[q]
	switch {
	case a != nil && a.until.IsZero():
		a.waiting++
		return a, false
	case a != nil && time.Now().Before(a.until):
		return a, true
	}
	c.drop(q)
	if c.size >= maxCache {
		c.shrink()
	}
	// The first caller may be the first to give up.
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
	a = &answer{waiting: 1, stop: stop, done: make(chan struct{}), proof: dns.Proof{TTL: -1}}
	c.answers[q] = a
	go func() {
		defer stop()
		defer c.answered(q, a)
		a.err = errors.New("mx: Resolver ended its goroutine") // as t.Fatal does in a test
		if p := guard.Call(func() { c.look(ctx, q, a) }); p != nil {
			a.err = fmt.Errorf("mx: Resolver: %w", p)
		}
	}()
	return a, false
}

// leave removes a caller that gives up. The last one stops the lookup, and must wait for its end.
func (c *cache) leave(q question, a *answer) (last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.waiting--; a.waiting > 0 {
		return false
	}
	if c.answers[q] == a && a.until.IsZero() {
		delete(c.answers, q) // the next caller starts a new lookup
	}
	if a.stop != nil {
		a.stop()
	}
	return true
}

// answered ends the lookup of a. It keeps a if it is still in answers and has a lifetime.
func (c *cache) answered(q question, a *answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(a.done)
	a.stop = nil
	if c.answers[q] != a {
		return
	}
	if ttl := c.lifetime(q, a); ttl > 0 {
		a.until = time.Now().Add(ttl)
		c.size += a.size(q)
	} else {
		delete(c.answers, q)
	}
}

// lifetime returns for how long an answer to q is kept.
func (c *cache) lifetime(q question, a *answer) time.Duration {
	missing, ttl := isNotFound(a.err), a.proof.TTL
	some := len(a.mx)+len(a.ip)+len(a.tlsa) > 0 || a.alias != ""
	switch {
	case c.ttl >= 0 && !missing && a.err != nil && (q.kind == "tlsa" || q.kind == "alias"):
		return failureTime
	case c.ttl < 0 || !missing && (a.err != nil || !some):
		return 0
	case ttl < 0 && missing:
		return min(c.ttl, maxNegativeTTL)
	case ttl < 0:
		return c.ttl
	case missing:
		return min(max(ttl, minTTL), maxNegativeTTL)
	}
	return min(max(ttl, minTTL), maxTTL)
}

// shrink drops all expired answers, and then others until at most half of the cache is left. c.mu is held.
func (c *cache) shrink() {
	now := time.Now()
	for q, a := range c.answers {
		if !now.Before(a.until) {
			c.drop(q)
		}
	}
	for q := range c.answers {
		if c.size <= maxCache/2 {
			return
		}
		c.drop(q)
	}
}

// drop removes an answer that is kept. c.mu is held.
func (c *cache) drop(q question) {
	if a := c.answers[q]; a != nil && !a.until.IsZero() {
		c.size -= a.size(q)
		delete(c.answers, q)
	}
}

// size returns the approximate size of an answer to q in bytes.
func (a *answer) size(q question) int {
	n := 512 + 2*len(q.name) // in the key, and in an error
	for _, m := range a.mx {
		if m != nil {
			n += 48 + len(m.Host)
		}
	}
	for _, t := range a.tlsa {
		n += 32 + len(t.Data)
	}
	return n + 24*len(a.ip) + len(a.alias) + len(a.proof.Name)
}
