package webhook

import (
	"testing"
	"time"
)

// FuzzRetryAfter: whatever an endpoint asks for, nothing waits longer than a day.
func FuzzRetryAfter(f *testing.F) {
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	for field, want := range map[string]time.Time{
		"": {}, "x": {}, "-1": {}, "1.5": {}, "99999999999999999999": now.Add(24 * time.Hour), "2147483648": now.Add(24 * time.Hour),
		"0": now, "120": now.Add(2 * time.Minute), "2147483647": now.Add(24 * time.Hour),
		"Sat, 01 Jan 2000 01:00:00 GMT": now.Add(time.Hour), "Sun, 01 Jan 2040 00:00:00 GMT": now.Add(24 * time.Hour),
	} {
		if got := retryAfter(field, now); !got.Equal(want) {
			f.Errorf("%q: got %v, want %v", field, got, want)
		}
		f.Add(field)
	}
	f.Fuzz(func(t *testing.T, field string) {
		if got := retryAfter(field, now); got.After(now.Add(24 * time.Hour)) {
			t.Errorf("%q: got %v, want a day at most", field, got)
		}
	})
}
