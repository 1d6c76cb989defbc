package queuetest_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
)

var _ queue.Sharer = (*shared)(nil)

// Share implements [queue.Sharer].
func (q *shared) Share(ctx context.Context, names []string, f func(time.Time, map[string][]byte) error) error {
	if err := q.begin(ctx); err != nil {
		return err
	}
	defer q.mu.Unlock()
	if q.fails != nil {
		return q.fails
	}
	records := map[string][]byte{}
	for _, name := range names {
		if data, ok := q.records[name]; ok {
			records[name] = slices.Clone(data)
		}
	}
	if q.has("shares what was read before") {
		q.mu.Unlock()
		time.Sleep(time.Millisecond)
		q.mu.Lock()
	}
	now := q.now()
	if q.has("shares the time of its start") {
		now = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if err := f(now, records); err != nil && !q.has("shares after an error") {
		return err
	}
	for name := range records {
		if !slices.Contains(names, name) && !q.has("shares any name") {
			return errors.New("shared: a record with a name that isn't in the call")
		}
	}
	if !q.has("deletes no record") {
		for _, name := range names {
			delete(q.records, name)
		}
	}
	maps.Copy(q.records, records)
	maps.DeleteFunc(q.records, func(_ string, data []byte) bool { return len(data) == 0 })
	return nil
}
