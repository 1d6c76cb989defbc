package delivery

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

type uncalledShare struct{ *mem.Queue }

func delivered() smtp.Result { return smtp.Result{Outcome: smtp.Delivered} }

func (uncalledShare) Share(context.Context, []string, func(time.Time, map[string][]byte) error) error {
	return nil
}

// TestSharerNoCall has a Sharer that never calls its func: the Runner sends nothing, and ends when it is told to.
func TestSharerNoCall(t *testing.T) {
	if n := sendsOf(t, uncalledShare{mem.New()}, delivered); n > 0 {
		t.Errorf("got %d sends without a permit", n)
	}
}

// TestHeldPast has a Sender that holds a message back until a time that has come: the schedule holds.
func TestHeldPast(t *testing.T) {
	for name, wait := range map[string]time.Duration{"past": -time.Hour, "now": 0} {
		n := sendsOf(t, mem.New(), func() smtp.Result {
			return smtp.Result{Local: true, Reason: smtp.NoSource, NotBefore: time.Now().Add(wait)}
		})
		if n < 1 || n > 3 {
			t.Errorf("%s: got %d sends in 5 minutes, want 1 to 3", name, n)
		}
	}
}

// sendsOf returns how often a Runner sends one message in five minutes.
func sendsOf(t *testing.T, q queue.Queue, result func() smtp.Result) (n int32) {
	synctest.Test(t, func(t *testing.T) {
		var sent atomic.Int32
		send := func(_ context.Context, env *smtp.Envelope, _ smtp.Content) ([]smtp.Result, error) {
			if sent.Add(1) > 100 {
				time.Sleep(time.Hour) // no endless loop in a failing test
			}
			res := result()
			res.Recipient, res.Reply = env.Recipients[0].Address, smtp.NewReply(451, "4.3.2", "held")
			return []smtp.Result{res}, nil
		}
		m := queue.Message{Envelope: smtp.NewEnvelope("a@b.test", "d@e.test"), Destinations: []string{"e.test"},
			Body: strings.NewReader("x: y\r\n\r\n"), Deadline: time.Now().Add(time.Hour)}
		if _, err := q.Enqueue(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		r := &Runner{Queue: q, Site: SiteLimits{Concurrency: 2}, Sender: smtp.SenderFunc(send)}
		if err := r.Run(ctx); err != nil {
			t.Logf("Run: %v", err)
		}
		n = sent.Load()
	})
	return n
}
