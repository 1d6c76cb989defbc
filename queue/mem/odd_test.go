package mem_test

import (
	"context"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// panicky is a body that panics.
type panicky struct{}

func (panicky) Read([]byte) (int, error) { panic("boom") }

// TestZero: the zero Queue is an empty one, for every method.
func TestZero(t *testing.T) {
	ctx := t.Context()
	none := []error{nil, queue.ErrNotFound, queue.ErrLeaseLost}
	for name, do := range map[string]func(q *mem.Queue) error{
		"Lanes": func(q *mem.Queue) error {
			for d, err := range q.Lanes(ctx) {
				return errors.Join(errors.New("got "+d.Destination), err)
			}
			return nil
		},
		"Claim": func(q *mem.Queue) error {
			_, err := q.Claim(ctx, []queue.Want{{}, {Lane: queue.Lane{Destination: "x"}, Max: math.MaxInt, Class: 255}, {Max: math.MinInt}}, math.MaxInt64)
			return err
		},
		"Extend": func(q *mem.Queue) error { return q.Extend(ctx, math.MaxUint64, math.MinInt64) },
		"Settle": func(q *mem.Queue) error { return q.Settle(ctx, 0, queue.Settlement{}) },
		"Open":   func(q *mem.Queue) error { _, err := q.Open(ctx, "no ID"); return err },
		"List": func(q *mem.Queue) error {
			for _, err := range q.List(ctx, queue.Filter{ID: "x", State: 255}) {
				return err
			}
			return nil
		},
		"Hold":    func(q *mem.Queue) error { return q.Hold(ctx) },
		"Release": func(q *mem.Queue) error { return q.Release(ctx, "") },
		"Flush":   func(q *mem.Queue) error { _, err := q.Flush(ctx, "", 0); return err },
		"Remove":  func(q *mem.Queue) error { return q.Remove(ctx, nil) },
		"Stats":   func(q *mem.Queue) error { _, err := q.Stats(ctx); return err },
		"Watch":   func(q *mem.Queue) error { q.Watch(func(queue.Lane, time.Time) {})(); return nil },
		"Enqueue": func(q *mem.Queue) error { _, err := q.Enqueue(ctx, good()); return err },
	} {
		err, ok := do(new(mem.Queue)), false
		for _, want := range none {
			ok = ok || errors.Is(err, want)
		}
		if !ok {
			t.Errorf("%s: got %v, want none of what an empty Queue has", name, err)
		}
	}
}

func good() queue.Message {
	return queue.Message{
		Envelope: smtp.NewEnvelope("ann@source.test", "bob@next.test"), Destinations: []string{"next.test"}, Body: strings.NewReader("Hi.\r\n"),
	}
}

// TestOddMessages: an error, or a message that waits. A body that panics does that to the caller alone.
func TestOddMessages(t *testing.T) {
	far := time.Unix(math.MaxInt64, 0)
	tests := []struct {
		name   string
		change func(*queue.Message)
		want   string // in the error; "": none
	}{
		{"zero", func(m *queue.Message) { *m = queue.Message{} }, "no recipient"},
		{"no recipients", func(m *queue.Message) { m.Envelope = new(smtp.Envelope) }, "no recipient"},
		{"no destinations", func(m *queue.Message) { m.Destinations = nil }, "0 destinations"},
		{"an empty destination", func(m *queue.Message) { m.Destinations = []string{""} }, "without destination"},
		{"no body", func(m *queue.Message) { m.Body = nil }, "no body"},
		{"a body that fails", func(m *queue.Message) { m.Body = io.MultiReader(m.Body, failing{}) }, "no more"},
		{"times that are far", func(m *queue.Message) { m.NotBefore, m.NoticeAt, m.Deadline = far.Add(-1), far, far }, ""},
		{"numbers that are none", func(m *queue.Message) { m.Priority, m.Origin = math.MinInt8, 255 }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q, m := mem.New(), good()
			tt.change(&m)
			_, err := q.Enqueue(t.Context(), m)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			stats, _ := q.Stats(context.Background())
			if (stats.Messages == 1) != (err == nil) {
				t.Errorf("got %d messages after %v", stats.Messages, err)
			}
		})
	}
	q := mem.New()
	func() {
		defer func() { recover() }()
		m := good()
		m.Body = panicky{}
		q.Enqueue(t.Context(), m)
	}()
	if _, err := q.Enqueue(t.Context(), good()); err != nil {
		t.Errorf("after a panic: got %v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("no more") }
