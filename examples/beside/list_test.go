package beside

import (
	"errors"
	"sync"
)

// list has the due or the ended messages of a store that keeps no leases on the disk.
type list[T any] struct {
	mu    sync.Mutex
	items []T
}

func (l *list[T]) push(items ...T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.items = append(l.items, items...)
}

// pop removes the oldest item.
func (l *list[T]) pop() (oldest T, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.items) == 0 {
		return oldest, errNoneDue
	}
	oldest, l.items = l.items[0], l.items[1:]
	return oldest, nil
}

func (l *list[T]) popAll() []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.items
	l.items = nil
	return all
}

var errNoneDue = errors.New("no message is due")
