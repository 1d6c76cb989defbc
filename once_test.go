package postrider

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// sendOnce sends a mail with a Key.
func sendOnce(t *testing.T, r *Relay, key string, env *smtp.Envelope) (id queue.ID, repeats bool, err error) {
	m, err := r.Prepare(t.Context(), env, strings.NewReader(text))
	if err != nil {
		t.Error(err)
		return "", false, err
	}
	m.Key = key
	return r.EnqueueOnce(t.Context(), m)
}

// TestOnce sends a mail with a Key a thousand times at once: it is stored and accepted once, and all others hear that
// they repeat it.
func TestOnce(t *testing.T) {
	q := mem.New()
	r := &Relay{Hostname: "relay.test", Queue: q}
	var mu sync.Mutex
	var accepted []queue.ID
	r.Accepted = func(a Accepted) { accepted = append(accepted, a.ID) }
	ids, repeated := map[queue.ID]int{}, 0
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			id, repeats, err := sendOnce(t, r, "order 17", smtp.NewEnvelope("me@source.test", "a@next.test", "b@next.test"))
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			ids[id]++
			if repeats {
				repeated++
			}
		})
	}
	wg.Wait()
	if len(ids) != 1 || len(accepted) != 1 || ids[accepted[0]] != 1000 || repeated != 999 {
		t.Errorf("got the IDs %v, %v accepted, and %d that repeat it, want one and 999", ids, accepted, repeated)
	}
	if stats, err := q.Stats(t.Context()); err != nil || stats.Messages != 1 {
		t.Errorf("got %d messages and %v, want one", stats.Messages, err)
	}
	other := smtp.NewEnvelope("you@source.test", "a@next.test", "b@next.test")
	if id, _, err := sendOnce(t, r, "order 17", other); !errors.Is(err, queue.ErrKeyReused) {
		t.Errorf("another reverse-path: got %s and %v, want ErrKeyReused", id, err)
	}
}

// TestOnceUnsupported sends a mail with a Key by a Queue that is no Keyer: an error, and nothing is stored.
func TestOnceUnsupported(t *testing.T) {
	q := mem.New()
	r := &Relay{Hostname: "relay.test", Queue: struct{ queue.Queue }{q}}
	id, _, err := sendOnce(t, r, "order 17", smtp.NewEnvelope("me@source.test", "a@next.test"))
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(fmt.Sprint(err), "no queue.Keyer") {
		t.Errorf("got %s and %v, want errors.ErrUnsupported", id, err)
	}
	if stats, err := q.Stats(t.Context()); err != nil || stats.Messages != 0 {
		t.Errorf("got %d messages and %v, want none", stats.Messages, err)
	}
}
