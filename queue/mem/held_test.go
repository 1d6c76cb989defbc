package mem_test

import (
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
)

// TestHeldUnannounced: a message that is stored as Held wakes no Runner before Release.
func TestHeldUnannounced(t *testing.T) {
	q := mem.New()
	told := 0
	defer q.Watch(func(queue.Lane, time.Time) { told++ })()
	m := good()
	m.Held = true
	id, err := q.Enqueue(t.Context(), m)
	if err != nil || told != 0 {
		t.Errorf("got %v and %d announcements, want none", err, told)
	}
	if err := q.Release(t.Context(), id); err != nil || told != 1 {
		t.Errorf("after Release: got %v and %d announcements, want 1", err, told)
	}
}
