package queueweb

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// kept is a value that is costly to make. It is made in the background, once at a time, and kept for all requests.
//
// Between two calls: value is the last one that was made if there is true, else the zero T; making isn't nil
// while another one is made, and is closed after that. mu guards all fields.
type kept[T any] struct {
	mu     sync.Mutex
	value  T
	there  bool // there is a value
	err    error
	begun  time.Time
	took   time.Duration
	making chan struct{}
}

const (
	patience = 60 * time.Millisecond // how long a request waits for first values, in all
	brief    = 20 * time.Millisecond // how long it waits for a newer one
	restful  = 20                    // a value is kept for this many times as long as it took to make
)

// maker makes a value.
type maker[T any] func(context.Context) (T, error)

// get returns the value. If it is older than least, and than restful times what it took, a new one is begun. get waits
// for that for the patience that is left. If there is an older one to return, it doesn't wait longer than briefly after
// the new one was begun. If there is none, and the new one takes longer than patience, it waits briefly.
func (k *kept[T]) get(ctx context.Context, b *background, least, left time.Duration, make maker[T]) (T, error) {
	k.mu.Lock()
	making, wait := k.making, left
	if making == nil && time.Since(k.begun) > max(least, restful*k.took) {
		making = k.begin(b, make)
	}
	switch since := time.Since(k.begun); {
	case k.there:
		wait = min(wait, brief-since)
	case since > patience:
		wait = min(wait, brief)
	}
	k.mu.Unlock()
	if making != nil && wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-making:
		case <-t.C:
		case <-ctx.Done():
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.value, k.err
}

// begin begins to make a value. k.mu is held.
func (k *kept[T]) begin(b *background, make maker[T]) chan struct{} {
	begun, done := time.Now(), newDone()
	ok := b.begin(func(ctx context.Context) {
		value, err := safely(ctx, make)
		k.mu.Lock()
		if err == nil {
			k.value, k.there = value, true
		}
		k.err, k.took, k.making = err, time.Since(begun), nil
		k.mu.Unlock()
		close(done)
	})
	if !ok {
		return nil
	}
	k.begun, k.making = begun, done
	return done
}

func newDone() chan struct{} { return make(chan struct{}) }

// safely makes a panic of the queue an error: in our goroutine it would end the process.
func safely[T any](ctx context.Context, make maker[T]) (value T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("queueweb: panic: %v", p)
		}
	}()
	return make(ctx)
}
