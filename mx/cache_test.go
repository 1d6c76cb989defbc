package mx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// counted is a Resolver that takes a second for each answer and counts them.
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

func TestCache(t *testing.T) {
	tests := []struct {
		name string
		ttl  time.Duration
		err  error
		wait time.Duration // between two rounds of questions
		want int64         // times that the Resolver is asked for each of two questions
	}{
		{"within its time", 0, nil, 58 * time.Second, 1},
		{"after its time", 0, nil, time.Minute, 2},
		{"own time", time.Hour, nil, 59 * time.Minute, 1},
		{"none", -1, nil, 0, 20},
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
					for range 10 { // at once: one asks, the others wait
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

// TestCacheImpatient has one who asks give up: who waits for the answer asks.
func TestCacheImpatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cache{resolver: new(counted), ttl: time.Minute, answers: make(map[question]*answer)}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.LookupMX(ctx, "x.test."); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want its own end", err)
			}
		})
		synctest.Wait()
		records, err := c.LookupMX(t.Context(), "x.test.")
		wg.Wait()
		if err != nil || len(records) != 1 {
			t.Errorf("got %v, %v, want an answer", records, err)
		}
		records[0] = nil // the caller's
		if again, err := c.LookupMX(t.Context(), "x.test."); err != nil || again[0] == nil {
			t.Errorf("got %v, %v, want the answer as it was", again, err)
		}
	})
}

func TestCacheBound(t *testing.T) {
	c := &cache{resolver: new(counted), ttl: time.Minute, answers: make(map[question]*answer)}
	for i := range maxAnswers * 2 {
		c.LookupNetIP(t.Context(), "ip", fmt.Sprintf("x%d.test.", i))
	}
	if n := len(c.answers); n > maxAnswers {
		t.Errorf("got %d answers kept, want %d at most", n, maxAnswers)
	}
}
