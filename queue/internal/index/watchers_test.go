package index

import (
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
)

// TestWatchersPanic: a func that panics, and one that is nil, keep no other from an announcement, and no call from its
// end.
func TestWatchersPanic(t *testing.T) {
	var w Watchers
	told := 0
	w.Watch(nil)()
	w.Watch(nil)
	w.Watch(func(queue.Lane, time.Time) { panic("boom") })
	w.Watch(func(queue.Lane, time.Time) { told++ })
	w.Tell(time.Time{}, queue.Lane{}, queue.Lane{Destination: "next.test"})
	if told != 2 {
		t.Errorf("got %d announcements, want 2", told)
	}
}
