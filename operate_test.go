package postrider

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// TestOperations does what an operator does, on a running relay with much mail in its spool that waits for a dead
// domain, and prints what each took. POSTRIDER_QUEUED says how much mail.
func TestOperations(t *testing.T) {
	queuedMail, err := strconv.Atoi(cmp.Or(os.Getenv("POSTRIDER_QUEUED"), "2000"))
	if err != nil {
		t.Fatal(err)
	}
	inet := smtptest.NewNetwork(t)
	bulkHost := inet.MX("bulk.test", "mx.bulk.test")
	bulkHost.Hang()
	host := inet.MX("next.test", "mx.next.test")
	other := inet.Host("other.test")
	sender := inet.MX("source.test", "mx.source.test")
	q, err := spool.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	r := newRelay(inet)
	r.Queue, r.Runner = q, new(delivery.Runner)
	deferred := make(chan bool, 1)
	r.Events.Deferred = func(e delivery.Event) {
		if e.Result.Recipient == "moved@next.test" {
			deferred <- true
		}
	}
	fill(t, r, queuedMail, "bulk.test")
	inet.Go(r.Run)
	runner := r.Runner
	took := func(what string, do func() (int, error)) {
		t.Helper()
		begin := time.Now()
		n, err := do()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		t.Logf("%-50s %6d  %v", what, n, time.Since(begin).Round(time.Microsecond))
	}
	one := func(f func(context.Context, queue.Filter) (int, error), id queue.ID) func() (int, error) {
		return func() (int, error) { return f(t.Context(), queue.Filter{ID: id}) }
	}
	explained := func(id queue.ID) string {
		t.Helper()
		all, err := runner.Explain(t.Context(), id)
		if err != nil || len(all) != 1 {
			t.Fatalf("Explain: got %v, %v", all, err)
		}
		return all[0].Why
	}

	// A message that is held while its domain is suspended stays when that ends, and goes when it is released.
	end := time.Now().Add(2 * time.Second)
	took("suspend a domain for two seconds", func() (int, error) { runner.Suspend(end, "next.test"); return 1, nil })
	kept := mustSend(t, r, "ann@source.test", "kept@next.test")
	mustSend(t, r, "ann@source.test", "bob@next.test")
	took("hold a message", one(runner.Hold, kept))
	if why := explained(kept); why != "It is held until it is released." {
		t.Errorf("got %q of a held message", why)
	}
	if got := host.Wait(1); got[0].Envelope.Recipients[0].Address != "bob@next.test" || got[0].Time.Before(end) {
		t.Errorf("got %+v at %v, want bob's mail after %v", got[0].Envelope, got[0].Time, end)
	}
	took("release it", one(runner.Release, kept))
	host.Wait(2)

	// A cancelled message is returned, a purged one isn't.
	runner.Suspend(time.Now().Add(time.Hour), "next.test")
	cancelled := mustSend(t, r, "ann@source.test", "cancelled@next.test")
	purged := mustSend(t, r, "ann@source.test", "purged@next.test")
	if why := explained(purged); !strings.Contains(why, "suspended") {
		t.Errorf("got %q of a suspended message", why)
	}
	took("purge a message", one(runner.Purge, purged))
	took("cancel a message", func() (int, error) {
		return runner.Cancel(t.Context(), queue.Filter{ID: cancelled}, "the order was withdrawn")
	})
	report := sender.Wait(1)[0]
	for _, want := range []string{"Final-Recipient: rfc822; cancelled@next.test\r\n", "Action: failed\r\n", "the order was withdrawn"} {
		if !bytes.Contains(report.Data, []byte(want)) {
			t.Errorf("no %q in the report:\n%s", want, report.Data)
		}
	}
	if bytes.Contains(report.Data, []byte("Last-Attempt-Date")) {
		t.Errorf("the report of what was never tried tells of an attempt:\n%s", report.Data)
	}

	// Where it would go.
	waiting := mustSend(t, r, "ann@source.test", "bob@next.test", "ann@bulk.test")
	explanations, err := r.Explain(t.Context(), waiting)
	if err != nil || len(explanations) != 2 || len(explanations[0].Route.Hosts) != 1 || explanations[0].Route.Hosts[0].Name != "mx.next.test" ||
		explanations[1].RouteErr != nil || !explanations[1].Route.MX {
		t.Errorf("Explain: got %+v, %v, want the routes of two domains", explanations, err)
	}
	if _, err := runner.Purge(t.Context(), queue.Filter{ID: waiting}); err != nil {
		t.Error(err)
	}

	// A domain's mail goes elsewhere.
	runner.Suspend(time.Time{}, "next.test")
	host.Down()
	mustSend(t, r, "ann@source.test", "moved@next.test")
	<-deferred // what is being tried isn't waiting for its next try
	route, err := mx.Smarthost("other.test:25")
	if err != nil {
		t.Fatal(err)
	}
	took("redirect a domain", func() (int, error) { return 1, r.Redirect(t.Context(), "next.test", &route) })
	if got := other.Wait(1)[0].Envelope.Recipients[0].Address; got != "moved@next.test" {
		t.Errorf("got mail for %s there, want moved@next.test", got)
	}

	// All of the rest.
	bulk := queue.Filter{Destination: "bulk.test"}
	took("flush a domain", func() (int, error) {
		n, _, err := runner.Flush(t.Context(), "bulk.test")
		return n, err
	})
	took("hold it all", func() (int, error) { return runner.Hold(t.Context(), bulk) })
	took("list it all", func() (n int, err error) {
		for _, err := range q.List(t.Context(), queue.Filter{State: queue.Held}) {
			if err != nil {
				return n, err
			}
			n++
		}
		return n, nil
	})
	took("release it all", func() (int, error) { return runner.Release(t.Context(), bulk) })
	took("count it", func() (int, error) { stats, err := q.Stats(t.Context()); return stats.Tasks, err })
	took("purge it all", func() (int, error) { return runner.Purge(t.Context(), bulk) })
	if n := queued(t, r); n != 0 {
		t.Errorf("got %d tasks left, want none", n)
	}
	bulkHost.Down() // or what is being sent would wait to its end
	if n := len(sender.Messages()); n != 1 {
		t.Errorf("got %d reports, want that of the cancelled message alone", n)
	}
}

// fill puts n messages for a domain into r's queue.
func fill(t *testing.T, r *Relay, n int, domain string) {
	t.Helper()
	var wg sync.WaitGroup
	const at = 50
	for i := range at {
		wg.Go(func() {
			for j := i; j < n; j += at {
				env := smtp.NewEnvelope("ann@source.test", fmt.Sprintf("bob%d@%s", j, domain))
				if _, err := r.Send(t.Context(), env, strings.NewReader(text)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestRedirectTwice: mail keeps the destination that it was queued with, and the way back from a second redirect finds
// it.
func TestRedirectTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("next.test", "mx.next.test")
		inet.Host("a.test").Down()
		inet.Host("b.test").Down()
		r := newRelay(inet)
		inet.Go(r.Run)
		redirect := func(to *mx.Route) {
			t.Helper()
			if err := r.Redirect(t.Context(), "next.test", to); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		a, _ := mx.Smarthost("a.test:25")
		b, _ := mx.Smarthost("b.test:25")
		redirect(&a)
		mustSend(t, r, "ann@source.test", "bob@next.test")
		time.Sleep(time.Second)
		redirect(&b)
		begin := time.Now()
		redirect(nil)
		host.Wait(1)
		if took := time.Since(begin); took > time.Minute {
			t.Errorf("got it %v after the redirect was undone, want it at once", took)
		}
	})
}

// TestRedirectInFlight: what is being sent by the old route, and fails, goes by the new one at once.
func TestRedirectInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		inet.MX("next.test", "mx.next.test")
		other := inet.Host("other.test")
		r := newRelay(inet)
		first := true
		r.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if first {
				first = false
				time.Sleep(time.Second)
				return nil, syscall.ECONNREFUSED
			}
			return inet.DialContext(ctx, network, addr)
		}
		inet.Go(r.Run)
		mustSend(t, r, "ann@source.test", "bob@next.test")
		synctest.Wait() // it dials
		to, err := mx.Smarthost("other.test:25")
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Redirect(t.Context(), "next.test", &to); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		other.Wait(1)
		if took := time.Since(begin); took > time.Minute {
			t.Errorf("got it there after %v, want it at once", took)
		}
	})
}

// listFails is a Queue whose List fails.
type listFails struct{ *mem.Queue }

func (listFails) List(context.Context, queue.Filter) iter.Seq2[queue.Task, error] {
	return func(yield func(queue.Task, error) bool) { yield(queue.Task{}, queue.ErrBroken) }
}

// TestSuspendUncounted: a suspension holds for every destination of the domain, though they can't be counted.
func TestSuspendUncounted(t *testing.T) {
	smarthost, err := mx.Smarthost("smart.test:25")
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{
		Hostname: "relay.test", Queue: listFails{mem.New()}, Routes: map[string]mx.Route{"next.test": smarthost},
	}
	if _, err := r.Suspend(t.Context(), "next.test", time.Now().Add(time.Hour)); !errors.Is(err, queue.ErrBroken) {
		t.Errorf("got %v, want %v", err, queue.ErrBroken)
	}
	got := slices.Sorted(maps.Keys(r.runner.Suspended()))
	if want := []string{"next.test", smarthost.Name}; !slices.Equal(got, want) {
		t.Errorf("got %q suspended, want %q", got, want)
	}
}

// TestOperateNoDomain: an empty name, of a variable that was never set for example, isn't all mail. With a route for
// all other domains, it once was.
func TestOperateNoDomain(t *testing.T) {
	r := newRelay(smtptest.NewNetwork(t))
	r.Routes = map[string]mx.Route{"*": mx.Discard()}
	r.Runner = new(delivery.Runner)
	mustSend(t, r, "ann@source.test", "bob@next.test")
	until := time.Now().Add(time.Hour)
	if n, err := r.Flush(t.Context(), ""); err == nil {
		t.Errorf("Flush: got %d and no error", n)
	}
	if n, err := r.Suspend(t.Context(), "", until); err == nil {
		t.Errorf("Suspend: got %d and no error", n)
	}
	if err := r.Redirect(t.Context(), "", nil); err == nil {
		t.Error("Redirect: got no error")
	}
	if s := r.Runner.Suspended(); len(s) > 0 {
		t.Errorf("suspended: %v, want nothing", s)
	}
}
