package delivery

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
)

// silentQueue is a faultyQueue that announces only what a test has it announce.
type silentQueue struct {
	*faultyQueue
	mu   sync.Mutex
	tell func(queue.Lane, time.Time)
}

func (q *silentQueue) Watch(f func(queue.Lane, time.Time)) (stop func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.tell = f
	return func() {}
}

// TestRunnerAsked has a Queue that asks to be listed, and fails for a while: it is asked again after a pause, and then
// mail that was never announced is found.
func TestRunnerAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		failing := 0
		q := &silentQueue{faultyQueue: &faultyQueue{Queue: mem.New(), fail: func(op string) error {
			mu.Lock()
			defer mu.Unlock()
			if op == "claim" && failing > 0 {
				failing--
				return errFault
			}
			return nil
		}}}
		start(t, &Runner{Queue: q, Sender: take(0)})
		sleep(time.Minute)
		enqueue(t, q, mail("to@x.test"))
		mu.Lock()
		failing = 2
		mu.Unlock()
		q.tell(queue.Lane{}, time.Time{})
		sleep(firstPause)
		if n := q.claims.Load(); n != 2 || len(held(t, q)) != 1 {
			t.Errorf("got %d claims and %d tasks left, want 2 claims that failed, a pause apart", n, len(held(t, q)))
		}
		sleep(2 * firstPause)
		wantEmpty(t, q)
		sleep(longestPause) // when it works again, it is listed once more
		lists, claims := q.lists.Load(), q.claims.Load()
		sleep(time.Minute)
		if l, c := q.lists.Load(), q.claims.Load(); l != lists || c != claims {
			t.Errorf("got %d lists and %d claims more, want it asked for once", l-lists, c-claims)
		}
	})
}
