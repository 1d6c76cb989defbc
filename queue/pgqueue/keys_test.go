package pgqueue

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/queue"
)

// TestCountKeys has a count of the Keys that takes long. Other calls go by the old count, and what they store counts.
func TestCountKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &Queue{config: Options{MaxKeys: 3}}
		answer := make(chan int)
		row := func(ctx context.Context, _ string, _ []any, dest ...any) error {
			select {
			case *dest[0].(*int) = <-answer:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		counted := make(chan error)
		go func() { counted <- q.roomForKey(ctx, row) }()
		synctest.Wait()
		if err := q.roomForKey(t.Context(), row); err != nil {
			t.Errorf("during the count: got %v, want nil", err)
		}
		cancel()
		if err := <-counted; !errors.Is(err, context.Canceled) {
			t.Errorf("the count, when its ctx ends: got %v, want %v", err, context.Canceled)
		}
		func() {
			defer func() { recover() }()
			q.roomForKey(t.Context(), func(context.Context, string, []any, ...any) error { panic("a Row that panics") })
		}()
		go func() { counted <- q.roomForKey(t.Context(), row) }()
		synctest.Wait()
		q.keys.add(1)
		answer <- 2
		if err := <-counted; !errors.Is(err, queue.ErrKeysFull) {
			t.Errorf("2 were counted and 1 was stored meanwhile: got %v, want %v", err, queue.ErrKeysFull)
		}
	})
}

func TestKeyConns(t *testing.T) {
	for _, tt := range []struct{ maxOpen, want int }{{0, 16}, {1, 1}, {2, 1}, {5, 1}, {8, 4}, {20, 16}, {100, 16}} {
		if got := keyConns(tt.maxOpen); got != tt.want {
			t.Errorf("keyConns(%d): got %d, want %d", tt.maxOpen, got, tt.want)
		}
	}
}
