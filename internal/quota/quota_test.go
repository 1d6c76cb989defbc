package quota

import (
	"fmt"
	"testing"
	"time"
)

// TestCounter: each party is counted by itself, over any period, and a refused message doesn't count.
func TestCounter(t *testing.T) {
	var c Counter
	c.Set(Address, Limit{3, time.Hour})
	c.Set(SPFDomain, Limit{2, time.Hour})
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, step := range []struct {
		minutes int
		names   Names
		over    Party
		ok      bool
	}{
		{0, Names{Address: "192.0.2.1", SPFDomain: "a.test"}, 0, true},
		{10, Names{Address: "192.0.2.1", SPFDomain: "a.test"}, 0, true},
		{20, Names{Address: "192.0.2.1", SPFDomain: "a.test"}, SPFDomain, false},
		{20, Names{Address: "192.0.2.1"}, 0, true},
		{21, Names{Address: "192.0.2.1", SPFDomain: "b.test"}, Address, false},
		{22, Names{Address: "192.0.2.2", SPFDomain: "b.test", DKIMDomain: "a.test"}, 0, true},
		{59, Names{SPFDomain: "a.test"}, SPFDomain, false},
		{60, Names{SPFDomain: "a.test"}, 0, true},
	} {
		over, ok := c.Take(step.names, begin.Add(time.Duration(step.minutes)*time.Minute))
		if over != step.over || ok != step.ok {
			t.Errorf("step %d: got %d, %t, want %d, %t", i, over, ok, step.over, step.ok)
		}
	}
}

// TestBound: the memory is bounded, whatever names come.
func TestBound(t *testing.T) {
	var c Counter
	c.Set(SPFDomain, Limit{2, time.Hour})
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 3 * maxWindows {
		c.Take(Names{SPFDomain: fmt.Sprint(i)}, now)
		if len(c.windows) > maxWindows {
			t.Fatalf("got %d windows after %d names", len(c.windows), i)
		}
	}
}
