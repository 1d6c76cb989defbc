package pgqueue

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
)

// TestNotOpen: without a database, and for a Queue that Open hasn't made, there are errors.
func TestNotOpen(t *testing.T) {
	ctx := t.Context()
	m := queue.Message{Body: strings.NewReader("Hi.\r\n")}
	calls := map[string]func(*Queue) error{
		"Enqueue": func(q *Queue) error { _, err := q.Enqueue(ctx, m); return err },
		"Import":  func(q *Queue) error { _, _, err := q.Import(ctx, queue.Import{}); return err },
		"Lanes": func(q *Queue) error {
			for _, err := range q.Lanes(ctx) {
				return err
			}
			return nil
		},
		"List": func(q *Queue) error {
			for _, err := range q.List(ctx, queue.Filter{}) {
				return err
			}
			return nil
		},
		"Claim":   func(q *Queue) error { _, err := q.Claim(ctx, nil, time.Second); return err },
		"Extend":  func(q *Queue) error { return q.Extend(ctx, 1, time.Second) },
		"Settle":  func(q *Queue) error { return q.Settle(ctx, 1, queue.Settlement{}) },
		"Open":    func(q *Queue) error { _, err := q.Open(ctx, "x"); return err },
		"Hold":    func(q *Queue) error { return q.Hold(ctx, "x") },
		"Release": func(q *Queue) error { return q.Release(ctx, "x") },
		"Remove":  func(q *Queue) error { return q.Remove(ctx, []queue.ID{"x"}) },
		"Flush":   func(q *Queue) error { _, err := q.Flush(ctx, "", 0); return err },
		"Stats":   func(q *Queue) error { _, err := q.Stats(ctx); return err },
		"Refresh": func(q *Queue) error { return q.Refresh(ctx) },
	}
	for name, call := range calls {
		q := new(Queue)
		for range 2 { // no lock is held after the first
			if err := call(q); err == nil {
				t.Errorf("%s: got no error", name)
			}
		}
		if err := q.Close(); err != nil {
			t.Errorf("Close: got %v, want none", err)
		}
	}
	for name, err := range map[string]error{
		"Migrate": Migrate(context.Background(), nil, ""),
		"Open":    func() error { _, err := Open(ctx, nil); return err }(),
	} {
		if err == nil || !strings.Contains(err.Error(), "*sql.DB is nil") {
			t.Errorf("%s: got %v, want an error that names the *sql.DB", name, err)
		}
	}
}
