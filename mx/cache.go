package mx

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// cache is a Resolver that gives the answers of another one again for a time. Those who ask the same at once wait for one answer. A failure is
// told to those who wait, and not kept; that a name doesn't exist is no failure.
type cache struct {
	resolver Resolver
	ttl      time.Duration

	mu      sync.Mutex
	answers map[question]*answer
}

// maxAnswers bounds the cache: some megabytes.
const maxAnswers = 10_000

type question struct{ network, name string } // network "mx" is for MX records

type answer struct {
	done  chan struct{} // closed when the rest is set
	until time.Time
	mx    []*net.MX
	ip    []netip.Addr
	err   error
}

func (c *cache) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	a := c.ask(ctx, question{"mx", name}, func(a *answer) { a.mx, a.err = c.resolver.LookupMX(ctx, name) })
	return slices.Clone(a.mx), a.err
}

func (c *cache) LookupNetIP(ctx context.Context, network, name string) ([]netip.Addr, error) {
	a := c.ask(ctx, question{network, name}, func(a *answer) { a.ip, a.err = c.resolver.LookupNetIP(ctx, network, name) })
	return slices.Clone(a.ip), a.err
}

func (c *cache) ask(ctx context.Context, q question, look func(*answer)) *answer {
	for {
		a, mine := c.find(q)
		if mine {
			defer c.answered(q, a) // also if the resolver panics
			look(a)
			return a
		}
		select {
		case <-a.done:
		case <-ctx.Done():
			return &answer{err: ctx.Err()}
		}
		// Whoever asked may have had less time than we have.
		if !errors.Is(a.err, context.Canceled) && !errors.Is(a.err, context.DeadlineExceeded) && !isTimeout(a.err) || ctx.Err() != nil {
			return a
		}
	}
}

// find gives the answer that there is or will be. mine says that the caller has to see to it.
func (c *cache) find(q question) (a *answer, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a = c.answers[q]; a != nil && (a.until.IsZero() || time.Now().Before(a.until)) {
		return a, false
	}
	if len(c.answers) >= maxAnswers {
		c.shrink()
	}
	a = &answer{done: make(chan struct{})}
	c.answers[q] = a
	return a, true
}

// answered keeps a for a while, if it is worth it, and tells those who wait.
func (c *cache) answered(q question, a *answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(a.done)
	if a.err == nil && (len(a.mx) > 0 || len(a.ip) > 0) || isNotFound(a.err) {
		a.until = time.Now().Add(c.ttl)
	} else {
		delete(c.answers, q)
	}
}

// shrink drops what is out of date or, if that is nothing, half of the rest. c.mu is held.
func (c *cache) shrink() {
	now := time.Now()
	for q, a := range c.answers {
		if !a.until.IsZero() && !now.Before(a.until) {
			delete(c.answers, q)
		}
	}
	for q, a := range c.answers {
		if len(c.answers) <= maxAnswers/2 {
			return
		}
		if !a.until.IsZero() {
			delete(c.answers, q)
		}
	}
}

func isTimeout(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsTimeout
}
