package clocktest

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Clock
		if got, want := c.Now(), time.Now(); !got.Equal(want) {
			t.Errorf("got %v, want %v", got, want)
		}
		for _, step := range []time.Duration{0, 6 * 24 * time.Hour, -6 * 24 * time.Hour, -30 * 24 * time.Hour, time.Second} {
			before := c.Now()
			c.Step(step)
			time.Sleep(time.Hour)
			after := c.Now()
			if got := after.Sub(before); got != time.Hour {
				t.Errorf("step %v: got %v by the monotonic clock, want 1h", step, got)
			}
			if got := after.Round(0).Sub(before.Round(0)); got != time.Hour+step {
				t.Errorf("step %v: got %v by the wall clock, want %v", step, got, time.Hour+step)
			}
		}
	})
}
