package delivery

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
)

// leavingQueue is a Queue from which messages leave when an operation has listed them, of which some can't be changed, and of which
// one can't be listed.
type leavingQueue struct {
	*mem.Queue
	leave, fail []queue.ID
	unlisted    queue.ID

	mu   sync.Mutex
	left bool
}

var errDisk = errors.New("the disk is broken")

func (q *leavingQueue) List(ctx context.Context, f queue.Filter) iter.Seq2[queue.Task, error] {
	return func(yield func(queue.Task, error) bool) {
		for t, err := range q.Queue.List(ctx, f) {
			if t.ID == q.unlisted && f.ID == "" {
				t, err = queue.Task{}, errDisk
			}
			if !yield(t, err) {
				return
			}
		}
	}
}

// change has the messages leave, and says that a change of the others fails.
func (q *leavingQueue) change(ids []queue.ID) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.left && len(q.leave) > 0 {
		q.left = true
		if err := q.Queue.Remove(context.Background(), q.leave); err != nil {
			return err
		}
	}
	for _, id := range q.fail {
		if slices.Contains(ids, id) {
			return errDisk
		}
	}
	return nil
}

func (q *leavingQueue) Remove(ctx context.Context, ids []queue.ID, reports ...queue.Message) error {
	if err := q.change(ids); err != nil {
		return err
	}
	return q.Queue.Remove(ctx, ids, reports...)
}

func (q *leavingQueue) Hold(ctx context.Context, ids ...queue.ID) error {
	if err := q.change(ids); err != nil {
		return err
	}
	return q.Queue.Hold(ctx, ids...)
}

func (q *leavingQueue) Release(ctx context.Context, ids ...queue.ID) error {
	if err := q.change(ids); err != nil {
		return err
	}
	return q.Queue.Release(ctx, ids...)
}

// TestCounts compares what the operations return with what they did, where messages leave meanwhile, where some fail, and where one
// can't be listed.
func TestCounts(t *testing.T) {
	operations := []struct {
		name string
		do   func(*Runner, queue.Filter) (int, error)
		line string // of the log, for each message; "": there is none
	}{
		{"cancel", func(r *Runner, f queue.Filter) (int, error) { return r.Cancel(context.Background(), f, "sold out") }, "msg=cancelled"},
		{"purge", func(r *Runner, f queue.Filter) (int, error) { return r.Purge(context.Background(), f) }, "msg=purged"},
		{"hold", func(r *Runner, f queue.Filter) (int, error) { return r.Hold(context.Background(), f) }, ""},
		{"release", func(r *Runner, f queue.Filter) (int, error) { return r.Release(context.Background(), f) }, ""},
	}
	tests := []struct {
		name                     string
		messages, leave, fail    int
		unlisted, reports, fails bool
		least, most              int
	}{
		{"all are there", 450, 0, 0, false, true, false, 450, 450},
		{"some leave", 450, 50, 0, false, true, false, 400, 400},
		{"some leave, without reports", 450, 50, 0, false, false, false, 400, 400},
		{"all leave", 150, 150, 0, false, true, false, 0, 0},
		{"one fails", 250, 0, 1, false, true, true, 100, 131}, // and those beside it
		{"one fails, without reports", 150, 20, 1, false, false, true, 129, 129},
		{"one can't be listed", 250, 0, 0, true, true, true, 249, 249},
		{"none", 0, 0, 0, false, true, false, 0, 0},
	}
	for _, op := range operations {
		for _, tt := range tests {
			t.Run(op.name+"/"+tt.name, func(t *testing.T) {
				q := &leavingQueue{Queue: mem.New()}
				var ids []queue.ID
				for range tt.messages {
					m := mail("to@x.test", "to@y.test")
					m.NotBefore = time.Now().Add(time.Hour)
					id, err := q.Enqueue(t.Context(), m)
					if err != nil {
						t.Fatal(err)
					}
					ids = append(ids, id)
				}
				q.leave, q.fail = ids[:tt.leave], ids[len(ids)-tt.fail:]
				if tt.fail > 0 && tt.messages > 200 {
					q.fail = ids[100:101]
				}
				if tt.unlisted {
					q.unlisted = ids[10]
				}
				var log strings.Builder
				r := &Runner{Queue: q, Logger: textLogger(&log)}
				if tt.reports {
					r.Report = func(context.Context, Occasion) ([]queue.Message, error) { return nil, nil }
				}
				n, err := op.do(r, queue.Filter{})
				if (err != nil) != tt.fails || tt.fails && !errors.Is(err, errDisk) || n < tt.least || n > tt.most {
					t.Errorf("got %d and %v, want from %d to %d and an error: %v", n, err, tt.least, tt.most, tt.fails)
				}
				did := tt.messages - tt.leave
				left := map[queue.ID]bool{}
				for task, err := range q.Queue.List(t.Context(), queue.Filter{}) {
					if err != nil {
						t.Fatal(err)
					}
					if op.name != "hold" || task.State == queue.Held {
						left[task.ID] = true
					}
				}
				switch op.name {
				case "hold":
					did = len(left)
				case "release":
					return
				default:
					did -= len(left)
				}
				if n != did {
					t.Errorf("got %d, though it did it to %d", n, did)
				}
				if lines := strings.Count(log.String(), op.line+" "); op.line != "" && lines != n {
					t.Errorf("got %d log lines, want %d", lines, n)
				}
			})
		}
	}
}
