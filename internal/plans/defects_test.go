package plans

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
)

// double takes the place of a part of the relay. The zero double changes nothing.
type double struct {
	queue  func(store) store
	sender func(context.Context, smtp.Sender, *smtp.Envelope, smtp.Content) ([]smtp.Result, error)
	relay  func(*postrider.Relay)
}

// store is what a Queue in these tests can do.
type store interface {
	queue.Queue
	queue.Waker
	queue.Lister
	queue.Holder
	queue.Remover
}

func (d double) wrap(q store) queue.Queue {
	if d.queue == nil {
		return q
	}
	return d.queue(q)
}

func (d double) change(r *postrider.Relay) {
	if d.sender != nil {
		runner := mustRunner(r)
		runner.Sender = doubleSender{runner.Sender, d.sender}
	}
	if d.relay != nil {
		d.relay(r)
	}
}

// mustRunner returns the Runner of a relay that doesn't run yet.
func mustRunner(r *postrider.Relay) *delivery.Runner {
	if err := r.Check(context.Background()); err != nil {
		panic(err)
	}
	return r.Runner
}

type doubleSender struct {
	smtp.Sender
	send func(context.Context, smtp.Sender, *smtp.Envelope, smtp.Content) ([]smtp.Result, error)
}

func (d doubleSender) Send(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
	return d.send(ctx, d.Sender, env, c)
}

// doubleStore is a store with a defect. A func that is nil is as it should be.
type doubleStore struct {
	store
	enqueue func(*queue.Message) (drop bool)
	settle  func(*queue.Settlement) error
	release func() (drop bool)
	remove  func(reports []queue.Message) []queue.Message
}

func (d doubleStore) Enqueue(ctx context.Context, m queue.Message) (queue.ID, error) {
	if d.enqueue != nil && d.enqueue(&m) {
		return "0", nil
	}
	return d.store.Enqueue(ctx, m)
}

func (d doubleStore) Settle(ctx context.Context, l queue.Lease, s queue.Settlement) error {
	s.Results = slices.Clone(s.Results)
	if d.settle != nil {
		if err := d.settle(&s); err != nil {
			return err
		}
	}
	return d.store.Settle(ctx, l, s)
}

func (d doubleStore) Release(ctx context.Context, ids ...queue.ID) error {
	if d.release != nil && d.release() {
		return nil
	}
	return d.store.Release(ctx, ids...)
}

func (d doubleStore) Remove(ctx context.Context, ids []queue.ID, reports ...queue.Message) error {
	if d.remove != nil {
		reports = d.remove(reports)
	}
	return d.store.Remove(ctx, ids, reports...)
}

// settles is a double whose store settles wrongly.
func settles(f func(*queue.Settlement)) double {
	return double{queue: func(q store) store {
		return doubleStore{store: q, settle: func(s *queue.Settlement) error { f(s); return nil }}
	}}
}

// enqueues is one whose store takes mail in wrongly.
func enqueues(f func(*queue.Message) (drop bool)) double {
	return double{queue: func(q store) store { return doubleStore{store: q, enqueue: f} }}
}

// defects are what the ledger must find, each by the clause named.
var defects = []struct {
	name, clause string
	double       double
}{
	{"takes mail and stores nothing", "lost", enqueues(func(m *queue.Message) bool { return len(m.Envelope.Recipients) == 2 })},
	{"forgets the deferred", "lost", settles(func(s *queue.Settlement) {
		if len(s.Results) > 0 {
			s.Next = time.Time{}
		}
	})},
	{"forgets what is handed back", "lost", settles(func(s *queue.Settlement) {
		if s.Uncounted {
			s.Next = time.Time{}
		}
	})},
	{"says delivered and sends nothing", "lost", double{sender: func(_ context.Context, _ smtp.Sender, env *smtp.Envelope, _ smtp.Content) ([]smtp.Result, error) {
		var results []smtp.Result
		for _, rcpt := range env.Recipients {
			results = append(results, smtp.Result{Recipient: rcpt.Address, Outcome: smtp.Delivered, Reply: smtp.NewReply(250, "", "")})
		}
		return results, nil
	}}},
	{"cuts the body short", "damaged", enqueues(func(m *queue.Message) bool { m.Body = io.LimitReader(m.Body, 400); return false })},
	{"sends twice", "duplicate", double{sender: func(ctx context.Context, s smtp.Sender, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
		s.Send(ctx, env, c)
		return s.Send(ctx, env, c)
	}}},
	{"tries the delivered again", "duplicate", settles(func(s *queue.Settlement) {
		if slices.ContainsFunc(s.Results, func(r smtp.Result) bool { return !r.Outcome.Final() }) {
			for i := range s.Results {
				s.Results[i].Outcome = smtp.Deferred
			}
		}
	})},
	{"reports twice", "duplicate", settles(func(s *queue.Settlement) {
		for _, report := range s.Reports {
			body, _ := io.ReadAll(report.Body)
			again := report
			again.Body = bytes.NewReader(body)
			s.Reports[0].Body = bytes.NewReader(body)
			s.Reports = append(s.Reports, again)
			break
		}
	})},
	{"rejects what it delivered", "two ends", double{sender: func(ctx context.Context, s smtp.Sender, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
		results, err := s.Send(ctx, env, c)
		for i := range results {
			if results[i].Outcome == smtp.Delivered && strings.HasPrefix(results[i].Recipient, "r") {
				results[i].Outcome = smtp.Rejected
			}
		}
		return results, err
	}}},
	{"forgets reports", "unreported", settles(func(s *queue.Settlement) { s.Reports = nil })},
	{"forgets delay notices", "unreported", settles(func(s *queue.Settlement) {
		if s.Noticed {
			s.Reports = nil
		}
	})},
	{"cancels in silence", "unreported", double{queue: func(q store) store {
		return doubleStore{store: q, remove: func([]queue.Message) []queue.Message { return nil }}
	}}},
	{"reports from an address that can be reported to", "report", settles(func(s *queue.Settlement) {
		for i := range s.Reports {
			env := *s.Reports[i].Envelope
			env.From = env.Recipients[0].Address
			s.Reports[i].Envelope = &env
		}
	})},
	{"reports to a sender who wants none", "report", double{relay: func(r *postrider.Relay) {
		runner := mustRunner(r)
		report := runner.Report
		runner.Report = func(ctx context.Context, o delivery.Occasion) ([]queue.Message, error) {
			env := *o.Task.Envelope
			env.Recipients = slices.Clone(env.Recipients)
			for i := range env.Recipients {
				env.Recipients[i].Notify = 0
			}
			o.Task.Envelope = &env
			return report(ctx, o)
		}
	}}},
	{"tries too soon", "too often", settles(func(s *queue.Settlement) {
		if !s.Next.IsZero() {
			s.Next = s.Next.Add(-time.Until(s.Next) / 2)
		}
	})},
	{"tries too late", "unsettled", settles(func(s *queue.Settlement) {
		if s.Next.After(time.Now()) {
			s.Next = s.Next.Add(24 * time.Hour)
		}
	})},
	{"never releases", "unsettled", double{queue: func(q store) store {
		return doubleStore{store: q, release: func() bool { return true }}
	}}},
	{"gives up early", "given up early", enqueues(func(m *queue.Message) bool { m.Deadline = time.Now().Add(24 * time.Hour); return false })},
	{"loses leases", "outcome", double{queue: func(q store) store {
		var n atomic.Int64
		return doubleStore{store: q, settle: func(s *queue.Settlement) error {
			if n.Add(1)%10 == 0 {
				return queue.ErrLeaseLost
			}
			return nil
		}}
	}}},
	{"tells nobody what it took", "untold", double{relay: func(r *postrider.Relay) { r.Accepted = nil }}},
}

// TestPlanDefects holds the ledger itself to account: each defect that is planted in the relay is found within the first plans, by
// the clause that it breaks.
func TestPlanDefects(t *testing.T) {
	const most = 40
	for _, defect := range defects {
		t.Run(strings.ReplaceAll(defect.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			var others []string
			for seed := range uint64(most) {
				var found []finding
				synctest.Test(t, func(t *testing.T) {
					found = runPlan(t, drawPlan(1+seed), defect.double).ledger.judge()
				})
				for _, f := range found {
					if f.clause == defect.clause {
						t.Logf("found in plan %d: %v", 1+seed, f)
						return
					}
					if !slices.Contains(others, f.clause) {
						others = append(others, f.clause)
					}
				}
			}
			t.Errorf("got no %q in %d plans, only %q", defect.clause, most, others)
		})
	}
}
