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

// cache is a Resolver that gives the answers of another one again for a time. Those who ask the same at once wait for one
// answer, which is looked for as long as one of them does. A failure is told to those who wait, and not kept; that a name doesn't exist is
// no failure.
type cache struct {
	resolver Resolver
	ttl      time.Duration // of answers that tell none; if negative, no answer is kept
	timeout  time.Duration // of a question

	mu      sync.Mutex
	answers map[question]*answer
	size    int // of those that are kept
}

var _ Resolver = (*cache)(nil)

// Bounds on what is kept.
const (
	maxCache = 16 << 20 // bytes, by answer.size

	// RFC 1035 §3.2.1: a TTL of zero is for the transaction in progress. Here that is what is sent within a second.
	minTTL = time.Second
	maxTTL = 24 * time.Hour

	// RFC 2308 §5 finds up to three hours sensible. Here mail is returned for it.
	maxNegativeTTL = 5 * time.Minute
)

type question struct{ kind, name string } // kind is "mx" or the network of addresses

// answer is one that comes or is kept.
type answer struct {
	waiting int                // who waits for it; the cache's mu guards it
	stop    context.CancelFunc // ends the search
	done    chan struct{}      // closed when the rest is set
	until   time.Time          // also guarded, and zero until then

	mx  []*net.MX
	ip  []netip.Addr
	ttl time.Duration // negative: not known
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

// ask gives the answer that is kept, or waits for one with those who ask the same.
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

// join gives the answer that is kept, or takes part in the wait for one, which it begins if nobody has.
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
	// Whoever asks first may give up first.
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
	a = &answer{waiting: 1, stop: stop, done: make(chan struct{}), ttl: -1}
	c.answers[q] = a
	go func() {
		defer stop()
		defer c.answered(q, a)
		defer func() {
			if v := recover(); v != nil {
				a.err = fmt.Errorf("mx: the Resolver panicked: %v", v)
			}
		}()
		a.err = errors.New("mx: the Resolver gave no answer") // it may end its goroutine, as a test does that fails
		look(ctx, a)
	}()
	return a, false
}

// leave is for who waits no longer. The last one ends the search, and has to see to its end.
func (c *cache) leave(q question, a *answer) (last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.waiting--; a.waiting > 0 {
		return false
	}
	if c.answers[q] == a && a.until.IsZero() {
		delete(c.answers, q) // who asks from now on begins anew
	}
	a.stop()
	return true
}

// answered keeps a for a while, if it is worth it and wanted still, and tells those who wait.
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

// lifetime is how long an answer is kept.
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

// shrink drops what is out of date or, if that isn't half, so much of the rest. c.mu is held.
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

// drop forgets an answer that is kept. c.mu is held.
func (c *cache) drop(q question) {
	if a := c.answers[q]; a != nil && !a.until.IsZero() {
		c.size -= a.size()
		delete(c.answers, q)
	}
}

// size is about the bytes that an answer takes.
func (a *answer) size() int {
	n := 512
	for _, m := range a.mx {
		if m != nil {
			n += 48 + len(m.Host)
		}
	}
	return n + 24*len(a.ip)
}
