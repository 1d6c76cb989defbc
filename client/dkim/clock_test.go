package dkim

import (
	"testing"
	"time"
)

// TestClock: a signature that receivers would take for expired, or for one of the future, isn't used again.
func TestClock(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	for _, tt := range []struct {
		name     string
		lifetime time.Duration
		step     time.Duration
		again    bool // the signature is used again
	}{
		{"at once", 0, 0, true},
		{"a year later", 0, 365 * 24 * time.Hour, true},
		{"the clock is set back", 0, -2 * time.Second, false},
		{"half of the lifetime", 2 * time.Hour, time.Hour, true},
		{"over half of the lifetime", 2 * time.Hour, time.Hour + time.Second, false},
		{"the clock is set back, with a lifetime", 2 * time.Hour, -24 * time.Hour, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCache(0, tt.lifetime/2)
			first := c.get(cacheKey{}, start)
			if again := c.get(cacheKey{}, start.Add(tt.step)) == first; again != tt.again {
				t.Errorf("got %t, want %t", again, tt.again)
			}
		})
	}
	// The wall clock is set a day ahead, which the monotonic clock doesn't see.
	c := newCache(0, time.Hour)
	now := time.Now()
	if first := c.get(cacheKey{}, now.Round(0).Add(-24*time.Hour)); c.get(cacheKey{}, now) == first {
		t.Error("got the signature of another day")
	}
}
