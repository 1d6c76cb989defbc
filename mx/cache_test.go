package mx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// counted is a Resolver that takes a second for each answer and counts the questions.
type counted struct {
	asked atomic.Int64
	err   error
}

func (c *counted) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	c.asked.Add(1)
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(time.Second):
	}
	if c.err != nil {
		return nil, c.err
	}
	return []*net.MX{{Host: "mx." + name, Pref: 10}}, nil
}

func (c *counted) LookupNetIP(ctx context.Context, network, name string) ([]netip.Addr, error) {
	c.asked.Add(1)
	return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, c.err
}

// LookupMX is LookupMXProof, for tests of what is kept.
func (c *cache) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	records, _, err := c.LookupMXProof(ctx, name)
	return records, err
}

func TestCache(t *testing.T) {
	tests := []struct {
		name string
		ttl  time.Duration
		err  error
		wait time.Duration // between two rounds of questions
		want int64         // how often the Resolver is asked each of two questions
	}{
		{"within its time", 0, nil, 58 * time.Second, 1},
		{"after its time", 0, nil, time.Minute, 2},
		{"own time", time.Hour, nil, 59 * time.Minute, 1},
		{"none", -1, nil, 0, 2},
		{"no such name", 0, notFound, time.Second, 1},
		{"a failure", 0, servFail, time.Second, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &counted{err: tt.err}
				r := &Router{Resolver: c, CacheTime: tt.ttl}
				if _, err := r.Destination("x.test"); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					var wg sync.WaitGroup
					for range 10 { // at the same time: one asks, the others wait
						wg.Go(func() { r.resolver.LookupMX(t.Context(), "x.test.") })
					}
					wg.Wait()
					time.Sleep(tt.wait)
				}
				if got := c.asked.Load(); got != tt.want {
					t.Errorf("got %d questions, want %d", got, tt.want)
				}
			})
		})
	}
}

// ttls is a TTLResolver, with an error or without.
type ttls struct {
	counted
	ttl time.Duration
	err error
}

func (r *ttls) LookupMXTTL(_ context.Context, name string) ([]*net.MX, time.Duration, error) {
	r.asked.Add(1)
	if r.err != nil {
		return nil, r.ttl, r.err
	}
	return records("10 mx." + name), r.ttl, nil
}

func (r *ttls) LookupNetIPTTL(_ context.Context, _, name string) ([]netip.Addr, time.Duration, error) {
	r.asked.Add(1)
	if r.err != nil {
		return nil, r.ttl, r.err
	}
	return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, r.ttl, nil
}

func TestCacheTTL(t *testing.T) {
	tests := []struct {
		name string
		own  time.Duration // CacheTime
		ttl  time.Duration
		err  error
		want time.Duration // for which the answer is kept
		host time.Duration // for which that for the addresses of a host is; if zero, the same
	}{
		{name: "its own", ttl: time.Hour, want: time.Hour},
		{name: "shorter than CacheTime", ttl: 20 * time.Second, want: 20 * time.Second},
		{name: "zero", ttl: 0, want: time.Second},
		{name: "a week", ttl: 7 * 24 * time.Hour, want: 24 * time.Hour},
		{name: "not known", ttl: -1, want: time.Minute},
		{name: "not known, CacheTime", own: time.Hour, ttl: -1, want: time.Hour},
		{name: "no such name", ttl: time.Minute, err: notFound, want: time.Minute},
		{name: "no such name, zero", ttl: 0, err: notFound, want: time.Second},
		{name: "no such name, not known, CacheTime", own: time.Hour, ttl: -1, err: notFound, want: 5 * time.Minute},
		{name: "no such name for a day", ttl: 24 * time.Hour, err: notFound, want: 5 * time.Minute},
		{name: "no such name, not known", ttl: -1, err: notFound, want: time.Minute},
		{name: "a failure", ttl: time.Hour, err: servFail, host: failureTime},
		{name: "none is kept", own: -1, ttl: time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &ttls{ttl: tt.ttl, err: tt.err}
				r := &Router{Resolver: c, CacheTime: tt.own}
				kinds := map[string]struct {
					each int64 // questions each time
					kept time.Duration
					ask  func()
				}{
					"MX":        {1, tt.want, func() { r.Route(t.Context(), "x.test") }},
					"addresses": {2, cmp.Or(tt.host, tt.want), func() { r.Addrs(t.Context(), Route{MX: true}, Host{Name: "x.test"}) }},
				}
				for kind, k := range kinds {
					c.asked.Store(0)
					k.ask()
					time.Sleep(max(0, k.kept-time.Nanosecond))
					k.ask()
					want := k.each
					if k.kept == 0 {
						want = 2 * k.each
					}
					if got := c.asked.Load(); got != want {
						t.Errorf("%s within %v: got %d questions, want %d", kind, k.kept, got, want)
					}
					time.Sleep(time.Nanosecond)
					k.ask()
					if got := c.asked.Load(); got != want+k.each {
						t.Errorf("%s after %v: got %d questions, want %d", kind, k.kept, got, want+k.each)
					}
				}
			})
		})
	}
}

func newCache(r Resolver) *cache {
	return &cache{resolver: r, ttl: time.Minute, timeout: time.Minute, answers: make(map[question]*answer)}
}

// TestCacheImpatient: if the first caller gives up, the others get the answer to the same question.
func TestCacheImpatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := new(counted)
		c := newCache(dns)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.LookupMX(ctx, "x.test."); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want its own end", err)
			}
		})
		synctest.Wait()
		begin := time.Now()
		for range 100 {
			wg.Go(func() {
				records, err := c.LookupMX(t.Context(), "x.test.")
				if err != nil || len(records) != 1 || records[0] == nil {
					t.Errorf("got %v, %v, want an answer", records, err)
					return
				}
				records[0] = nil // the caller owns the records
			})
		}
		wg.Wait()
		if took := time.Since(begin); took != time.Second || dns.asked.Load() != 1 {
			t.Errorf("got %d questions in %v, want 1 in 1s", dns.asked.Load(), took)
		}
		if again, err := c.LookupMX(t.Context(), "x.test."); err != nil || again[0] == nil {
			t.Errorf("got %v, %v, want the answer as it was", again, err)
		}
	})
}

// TestCacheAlone: if all callers give up, the lookup ends, and the next caller starts a new one.
func TestCacheAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := new(counted)
		c := newCache(dns)
		var wg sync.WaitGroup
		for i := range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i+1)*100*time.Millisecond)
			defer cancel()
			wg.Go(func() { c.LookupMX(ctx, "x.test.") })
		}
		begin := time.Now()
		wg.Wait()
		if took := time.Since(begin); took != 300*time.Millisecond || len(c.answers) != 0 {
			t.Errorf("got an end after %v, and %d answers; want 300ms, 0", took, len(c.answers))
		}
		if _, err := c.LookupMX(t.Context(), "x.test."); err != nil || dns.asked.Load() != 2 {
			t.Errorf("got %v and %d questions, want an answer to the second", err, dns.asked.Load())
		}
	})
}

// stubborn is a Resolver that notices the end of its ctx late.
type stubborn struct{ counted }

func (s *stubborn) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	records, err := s.counted.LookupMX(context.WithoutCancel(ctx), name)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return records, err
}

// TestCacheLate: an abandoned lookup ends during the next one.
func TestCacheLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := new(stubborn)
		c := newCache(dns)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		begin := time.Now()
		wg.Go(func() {
			c.LookupMX(ctx, "x.test.")
			if took := time.Since(begin); took != time.Second {
				t.Errorf("nobody else waits: got an end after %v, want that of the search, after 1s", took)
			}
		})
		for _, at := range []time.Duration{200, 1100} {
			wg.Go(func() {
				time.Sleep(at * time.Millisecond)
				if records, err := c.LookupMX(t.Context(), "x.test."); err != nil || len(records) != 1 {
					t.Errorf("after %d ms: got %v, %v, want an answer", at, records, err)
				}
			})
		}
		wg.Wait()
		if got := dns.asked.Load(); got != 2 {
			t.Errorf("got %d questions, want 2", got)
		}
	})
}

// TestCacheLeft: the last caller of a failed lookup leaves while the next lookup is pending.
func TestCacheLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := &counted{err: servFail}
		c, q := newCache(dns), question{"mx", "x.test."}
		first, _ := c.join(t.Context(), q)
		<-first.done
		second, _ := c.join(t.Context(), q)
		c.leave(q, first)
		if third, _ := c.join(t.Context(), q); third != second {
			t.Error("got a search of its own, want the one that is under way")
		}
		<-second.done
	})
}

// TestCacheSlow: if the DNS never answers, all callers get the time-out at the same time, from one lookup.
func TestCacheSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(silent{})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		begin := time.Now()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if _, err := c.LookupMX(ctx, "x.test."); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v, want a time-out", err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(begin); took != time.Minute {
			t.Errorf("got an end after %v, want 1m", took)
		}
	})
}

// quitter is a Resolver that ends its goroutine, as t.Fatal does.
type quitter struct{ Resolver }

func (quitter) LookupMX(context.Context, string) ([]*net.MX, error) {
	runtime.Goexit()
	return nil, nil
}

type broken struct{ Resolver }

func TestCachePanic(t *testing.T) {
	for _, resolver := range []Resolver{broken{}, quitter{}} { // broken calls a method of nil
		r := &Router{Resolver: resolver}
		for range 2 {
			if _, err := r.Route(t.Context(), "x.test"); err == nil || reply(err) != "451 4.4.3" {
				t.Errorf("%T: got %v, want 451 4.4.3", resolver, err)
			}
		}
	}
}

func TestCacheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(big{})
		kept := 0
		for i := range 500 {
			if i == 400 {
				time.Sleep(time.Hour) // the rest replaces the expired answers
			}
			c.LookupMX(t.Context(), fmt.Sprintf("x%d.test.", i))
			if size := sum(c); size != c.size || size > maxCache+1<<17 {
				t.Fatalf("after %d answers: got %d bytes, counted as %d, want %d at most", i, size, c.size, maxCache+1<<17)
			}
			kept = max(kept, len(c.answers))
		}
		if kept < 100 || len(c.answers) < 100 {
			t.Errorf("got %d answers kept of 60 KiB, and %d at the end, want over 100", kept, len(c.answers))
		}
		c.LookupMX(t.Context(), "x499.test.") // kept
		time.Sleep(time.Hour)
		c.LookupMX(t.Context(), "x499.test.") // replaces the expired answer
		if size := sum(c); size != c.size {
			t.Errorf("with a new answer in place of an old one: got %d bytes, counted as %d", size, c.size)
		}
	})
}

func sum(c *cache) (size int) {
	for q, a := range c.answers {
		size += a.size(q)
	}
	return size
}

// big is a Resolver with many MX records.
type big struct{}

func (big) LookupMX(context.Context, string) ([]*net.MX, error) {
	record := &net.MX{Host: strings.Repeat("x", 252) + "."}
	return slices.Repeat([]*net.MX{record}, 200), nil
}

func (big) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) { return nil, notFound }
