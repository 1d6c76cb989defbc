package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// senderFunc is a Sender that has no errors.
type senderFunc func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result

func (f senderFunc) Send(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
	return f(ctx, env, c), nil
}

// answer gives all recipients one result.
func answer(env *smtp.Envelope, outcome smtp.Outcome, code int) []smtp.Result {
	results := make([]smtp.Result, len(env.Recipients))
	for i, rcpt := range env.Recipients {
		reply := &smtp.Reply{Code: code, Text: outcome.String()}
		results[i] = smtp.Result{Recipient: rcpt.Address, Outcome: outcome, Stage: smtp.StageRcpt, Reply: reply}
	}
	return results
}

// cutShort is what a Sender gives whose ctx has ended.
func cutShort(env *smtp.Envelope) []smtp.Result {
	results := answer(env, smtp.Deferred, 451)
	for i := range results {
		results[i].Local = true
	}
	return results
}

// take takes d to deliver, unless ctx ends.
func take(d time.Duration) senderFunc {
	return func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
		select {
		case <-ctx.Done():
			return cutShort(env)
		case <-time.After(d):
			return answer(env, smtp.Delivered, 250)
		}
	}
}

// all20 lets every site have 20 tasks in flight from the start.
var all20 = SiteLimits{Concurrency: 20, Initial: 20}

// mail makes a message to recipients whose domains are their destinations.
func mail(to ...string) queue.Message {
	m := queue.Message{Origin: smtp.OriginCode, Envelope: smtp.NewEnvelope("from@sender.test", to...), Body: strings.NewReader("Subject: hi\r\n\r\nsecret\r\n")}
	for _, address := range to {
		_, domain, _ := strings.Cut(address, "@")
		m.Destinations = append(m.Destinations, domain)
	}
	return m
}

func enqueue(t *testing.T, q queue.Queue, messages ...queue.Message) {
	t.Helper()
	for _, m := range messages {
		if _, err := q.Enqueue(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
}

// sleep lets time pass until all that then happens has happened.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// start runs r until stop, which waits for it. A test that doesn't call stop leaves that to its end.
func start(t *testing.T, r *Runner) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: got %v, want nil", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// held lists what a Mem has.
func held(t *testing.T, q queue.Lister) (tasks []queue.Task) {
	t.Helper()
	for task, err := range q.List(context.Background(), queue.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		tasks = append(tasks, task)
	}
	return tasks
}

// wantEmpty checks that nothing is left in the queue.
func wantEmpty(t *testing.T, q queue.Lister) {
	t.Helper()
	if tasks := held(t, q); len(tasks) != 0 {
		t.Errorf("got %d tasks left in the queue, the first %+v; want none", len(tasks), tasks[0])
	}
}

// lockedText is a text that is read and emptied while others write to it.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// take returns what was written since the last call.
func (l *lockedText) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

// textLogger writes what happens into w.
func textLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// journal keeps lines in the order in which things happened.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

func (j *journal) all() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines, "\n")
}

// events are Events that write into the journal.
func (j *journal) events() Events {
	kind := func(name string) func(Event) {
		return func(e Event) { j.add("%s %s %d", name, e.Result.Recipient, e.Result.Reply.Code) }
	}
	return Events{
		Delivered: kind("delivered"), Deferred: kind("deferred"), Unknown: kind("unknown"),
		Rejected: kind("rejected"), Expired: kind("expired"),
	}
}

// faultyQueue is a Mem that counts the calls of a Runner and may fail them.
type faultyQueue struct {
	*mem.Queue
	fail func(op string) error // may be nil

	claims, lists, settles, extends, flushes atomic.Int64
	slow                                     time.Duration // what a claim takes
}

var errFault = errors.New("the disk has had enough")

func (q *faultyQueue) fault(op string, n *atomic.Int64) error {
	n.Add(1)
	if q.fail == nil {
		return nil
	}
	return q.fail(op)
}

func (q *faultyQueue) Lanes(ctx context.Context) iter.Seq2[queue.LaneDue, error] {
	if err := q.fault("list", &q.lists); err != nil {
		return func(yield func(queue.LaneDue, error) bool) { yield(queue.LaneDue{}, err) }
	}
	return q.Queue.Lanes(ctx)
}

func (q *faultyQueue) Claim(ctx context.Context, wants []queue.Want, lease time.Duration) ([]queue.Task, error) {
	if err := q.fault("claim", &q.claims); err != nil {
		return nil, err
	}
	if q.slow > 0 {
		time.Sleep(q.slow)
	}
	return q.Queue.Claim(ctx, wants, lease)
}

func (q *faultyQueue) Settle(ctx context.Context, l queue.Lease, s queue.Settlement) error {
	if err := q.fault("settle", &q.settles); err != nil {
		return err
	}
	return q.Queue.Settle(ctx, l, s)
}

func (q *faultyQueue) Extend(ctx context.Context, l queue.Lease, d time.Duration) error {
	if err := q.fault("extend", &q.extends); err != nil {
		return err
	}
	return q.Queue.Extend(ctx, l, d)
}

func (q *faultyQueue) Flush(ctx context.Context, destination string, after time.Duration) (int, error) {
	if err := q.fault("flush", &q.flushes); err != nil {
		return 0, err
	}
	return q.Queue.Flush(ctx, destination, after)
}

func (q *faultyQueue) Open(ctx context.Context, id queue.ID) (queue.Body, error) {
	if q.fail != nil {
		if err := q.fail("open"); err != nil {
			return nil, err
		}
	}
	return q.Queue.Open(ctx, id)
}

// wish returns a Want.
func wish(destination string, most int, class queue.Class) queue.Want {
	return queue.Want{Lane: toLane(destination), Max: most, Class: class}
}

// toLane returns a lane of the destination.
func toLane(destination string) queue.Lane { return queue.Lane{Destination: destination} }
