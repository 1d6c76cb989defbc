package delivery

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// TestSeveralRunners has two Runners on one Queue, as the doc of Runner says: each message is sent once, and the limits
// of a site count for each of them.
func TestSeveralRunners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		sent, inFlight, most := map[string]int{}, 0, 0
		sends := new(journal)
		sender := senderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
			sends.mu.Lock()
			sent[env.Recipients[0].Address]++
			inFlight++
			most = max(most, inFlight)
			sends.mu.Unlock()
			defer func() {
				sends.mu.Lock()
				defer sends.mu.Unlock()
				inFlight--
			}()
			return take(time.Second)(ctx, env, c)
		})
		for range 2 {
			start(t, &Runner{Queue: q, Sender: sender, Site: SiteLimits{Concurrency: 1}})
		}
		const messages = 20
		for i := range messages {
			enqueue(t, q, mail(strings.Repeat("a", i+1)+"@x.test"))
		}
		sleep(time.Hour)
		wantEmpty(t, q)
		if len(sent) != messages || most != 2 {
			t.Errorf("got %d messages sent, and %d at a time, want %d, and 1 for each Runner", len(sent), most, messages)
		}
		for to, n := range sent {
			if n != 1 {
				t.Errorf("%s was sent %d times, want once", to, n)
			}
		}
	})
}

// TestSeveralRunnersPurge purges at one Runner what another one is sending: that one logs that the result isn't
// recorded, and goes on.
func TestSeveralRunnersPurge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		var log strings.Builder
		start(t, &Runner{Queue: q, Sender: take(time.Minute), Logger: textLogger(&log)})
		enqueue(t, q, mail("a@x.test"))
		sleep(time.Second)
		other := &Runner{Queue: q, Sender: take(0)}
		start(t, other)
		if n, err := other.Purge(t.Context(), queue.Filter{}); n != 1 || err != nil {
			t.Errorf("Purge: got %d and %v, want 1", n, err)
		}
		sleep(2 * time.Minute)
		if log := log.String(); !strings.Contains(log, `level=WARN msg="result isn't recorded" to=a@x.test`) {
			t.Errorf("got log\n%s\nwant that a result isn't recorded", log)
		}
		enqueue(t, q, mail("b@x.test"))
		sleep(2 * time.Minute)
		wantEmpty(t, q)
	})
}
