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
)

// cache is a Resolver that keeps the answers of another one for a time. Callers that ask the same question at the same
// time share one lookup, which ends early if all of them have given up. A failure is returned to all who wait, and not
// kept. An answer that a name doesn't exist is not a failure.
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

var _ Resolver = (*cache)(nil)

// Bounds on the answers that are kept.
const (
	maxCache = 16 << 20 // bytes, by answer.size

	// RFC 1035 §3.2.1: an answer with a TTL of zero is for the current transaction only. Here that is one second.
	minTTL = time.Second
	maxTTL = 24 * time.Hour

	// RFC 2308 §5 recommends up to three hours. Mail is returned for a negative answer, so it is less here.
	maxNegativeTTL = 5 * time.Minute
)

type question struct{ kind, name string } // kind is "mx" or the network of addresses

// answer is an answer that is pending or kept.
type answer struct {
	waiting int                // the callers that wait for it
	stop    context.CancelFunc // ends the lookup
	done    chan struct{}      // closed at the end of the lookup
	until   time.Time          // when it expires; zero while it is pending

	mx  []*net.MX
	ip  []netip.Addr
	ttl time.Duration // below zero: not known
	err error
}

func (c *cache) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	a := c.ask(ctx, question{"mx", name}, func(ctx context.Context, a *answer) {
		if r, ok := c.resolver.(TTLResolver); ok {
			a.mx, a.ttl, a.err = r.LookupMXTTL(ctx, name)
			return
		}
		a.mx, a.err = c.resolver.LookupMX(ctx, name)
	})
	return slices.Clone(a.mx), a.err
}

func (c *cache) LookupNetIP(ctx context.Context, network, name string) ([]netip.Addr, error) {
	a := c.ask(ctx, question{network, name}, func(ctx context.Context, a *answer) {
		if r, ok := c.resolver.(TTLResolver); ok {
			a.ip, a.ttl, a.err = r.LookupNetIPTTL(ctx, network, name)
			return
		}
		a.ip, a.err = c.resolver.LookupNetIP(ctx, network, name)
	})
	return slices.Clone(a.ip), a.err
}

// ask returns the answer that is kept, or waits for one together with the other callers of the same question.
func (c *cache) ask(ctx context.Context, q question, look func(context.Context, *answer)) *answer {
	a, kept := c.join(ctx, q, look)
	if kept {
		return a
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

// join returns the answer that is kept, or else adds a caller to the pending one. It starts a lookup if none is
// pending.
func (c *cache) join(ctx context.Context, q question, look func(context.Context, *answer)) (a *answer, kept bool) {
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
	a = &answer{waiting: 1, stop: stop, done: make(chan struct{}), ttl: -1}
	c.answers[q] = a
	go func() {
		defer stop()
		defer c.answered(q, a)
		defer func() {
			if v := recover(); v != nil {
				a.err = fmt.Errorf("mx: Resolver panicked: %v", v)
			}
		}()
		a.err = errors.New("mx: Resolver ended its goroutine") // as t.Fatal does in a test
		look(ctx, a)
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
	a.stop()
	return true
}

// answered ends the lookup of a. It keeps a if it is still in answers and has a lifetime.
func (c *cache) answered(q question, a *answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(a.done)
	if c.answers[q] != a {
		return
	}
	if ttl := c.lifetime(a); ttl > 0 {
		a.until = time.Now().Add(ttl)
		c.size += a.size()
	} else {
		delete(c.answers, q)
	}
}

// lifetime returns for how long an answer is kept.
func (c *cache) lifetime(a *answer) time.Duration {
	missing := isNotFound(a.err)
	records := len(a.mx) + len(a.ip)
	switch {
	case c.ttl < 0 || !missing && (a.err != nil || records == 0):
		return 0
	case a.ttl < 0 && missing:
		return min(c.ttl, maxNegativeTTL)
	case a.ttl < 0:
		return c.ttl
	case missing:
		return min(max(a.ttl, minTTL), maxNegativeTTL)
	}
	return min(max(a.ttl, minTTL), maxTTL)
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
		c.size -= a.size()
		delete(c.answers, q)
	}
}

// size returns the approximate size of an answer in bytes.
func (a *answer) size() int {
	n := 512
	for _, m := range a.mx {
		if m != nil {
			n += 48 + len(m.Host)
		}
	}
	return n + 24*len(a.ip)
}
