package delivery

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// TestSiteOfHangs has a SiteOf that returns only when it is told to: the mail goes out nevertheless.
func TestSiteOfHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		enqueue(t, q, mail("to@x.test"))
		start(t, &Runner{Queue: q, Sender: take(0), SiteOf: func(ctx context.Context, _ string) (Site, error) {
			<-ctx.Done()
			return Site{}, ctx.Err()
		}})
		sleep(lookupTime - time.Second)
		if n := len(held(t, q)); n != 1 {
			t.Errorf("got %d messages left before the lookup is given up, want 1", n)
		}
		sleep(2 * time.Second)
		wantEmpty(t, q)
	})
}

// TestSiteOfDeaf has a SiteOf that doesn't even notice that it was given up: the mail goes out, and it isn't asked about
// that destination again while it is at work.
func TestSiteOfDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		asked := 0
		start(t, &Runner{Queue: q, Sender: take(0), SiteOf: func(context.Context, string) (Site, error) {
			if asked++; asked == 1 {
				time.Sleep(time.Hour)
			}
			return Site{Name: "hosts"}, nil
		}})
		for range 3 {
			enqueue(t, q, mail("to@x.test"))
			sleep(lookupTime + time.Second)
			wantEmpty(t, q)
		}
		if asked != 1 {
			t.Errorf("got SiteOf asked %d times while it was at work, want once", asked)
		}
		sleep(time.Hour)
		enqueue(t, q, mail("to@x.test"))
		sleep(time.Second)
		wantEmpty(t, q)
		if asked == 1 {
			t.Error("got SiteOf not asked again after its answer")
		}
	})
}

// TestBacklog has more fast mail than there are places, and mail that was deferred by a site that never took any: that
// is tried again meanwhile. With a single place, what is urgent isn't behind new sites.
func TestBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		tries := 0
		var urgent time.Time
		r := &Runner{Queue: q, Concurrency: 4, Site: all20}
		r.Sender = senderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
			switch env.Recipients[0].Address {
			case "to@grey.test":
				if tries++; tries == 1 {
					return answer(env, smtp.Deferred, 451)
				}
			case "urgent@bulk0.test":
				urgent = time.Now()
			}
			return take(5*time.Second)(ctx, env, c)
		})
		start(t, r)
		for i := range 4 {
			enqueue(t, q, mail(fmt.Sprintf("to@bulk%d.test", i)))
		}
		sleep(time.Minute)
		enqueue(t, q, mail("to@grey.test"))
		sleep(time.Second)
		for i := range 2000 {
			enqueue(t, q, mail(fmt.Sprintf("to@bulk%d.test", i%4)))
			enqueue(t, q, mail(fmt.Sprintf("to@new%d.test", i)))
		}
		begun := time.Now()
		m := mail("urgent@bulk0.test")
		m.MakeTransactional(time.Hour)
		enqueue(t, q, m)
		sleep(20 * time.Minute)
		sleep(10 * time.Minute)
		if tries < 2 {
			t.Errorf("got %d tries of what was deferred in half an hour, want at least 2", tries)
		}
		if took := urgent.Sub(begun); urgent.IsZero() || took > time.Minute {
			t.Errorf("got the urgent mail sent after %v", took)
		}
	})
}

// TestProbesOfOthers takes a site down by the mail of five owners: the first probe is another's.
func TestProbesOfOthers(t *testing.T) {
	now := machineNow
	m := testMachine(machineConfig{})
	for i := range 6 {
		m.wake(queue.Lane{Destination: "a", Owner: queue.Owner(i)}, now, now)
	}
	for i := range 5 {
		for range 9 {
			m.feedback(m.targets[queue.Lane{Destination: "a", Owner: queue.Owner(i)}].party, refused, 0)
		}
	}
	s := m.sites["a"]
	if !s.standing.down {
		t.Fatal("the site isn't down")
	}
	now = now.Add(time.Hour)
	if got := m.pick(9, now); len(got) != 1 || got[0].Owner != 5 {
		t.Errorf("got %v, want a probe with mail of the owner that wasn't refused", got)
	}
}
