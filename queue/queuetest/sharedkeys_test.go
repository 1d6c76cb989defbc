package queuetest_test

import (
	"context"
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
)

const (
	sharedKeyTime = 12 * time.Hour
	sharedMaxKeys = 100
)

type sharedKey struct {
	tenant, key string
	at          *shared // for a fault
}

// sharedFirst is the message of a Key.
type sharedFirst struct {
	id         queue.ID
	from       string
	recipients []string
	at         time.Time // by a clock that nobody steps
	wall       time.Time // for a fault
}

// EnqueueOnce implements [queue.Keyer]. It reads the body first: of several at a time, the first to have read it is
// stored.
func (q *shared) EnqueueOnce(ctx context.Context, m queue.Message) (id queue.ID, repeats bool, err error) {
	if q.has("keeps the Key of what it doesn't store") && m.Key != "" {
		q.mu.Lock()
		q.serial++
		q.remember(&m, formatID(q.serial))
		q.mu.Unlock()
	}
	letters, err := q.read(ctx, m)
	if err != nil {
		return "", false, err
	}
	if err := q.begin(ctx); err != nil {
		return "", false, err
	}
	defer q.mu.Unlock()
	if first, err := q.first(&m); err != nil || first != nil {
		if err != nil {
			return "", false, err
		}
		return first.id, !q.has("never says that it repeats"), nil
	}
	if q.fails != nil {
		return "", false, q.fails
	}
	q.add("doesn't announce Enqueue", letters)
	id = formatID(letters[0].serial)
	if m.Key != "" || q.has("takes no Key for one") {
		q.remember(&m, id)
	}
	return id, false, nil
}

// first returns the message that has the Key of m, nil if there is none. q.mu is held.
func (q *shared) first(m *queue.Message) (*sharedFirst, error) {
	if m.Key == "" && !q.has("takes no Key for one") {
		return nil, nil
	}
	for key, f := range q.keys {
		old := time.Since(f.at) >= sharedKeyTime
		switch {
		case q.has("forgets Keys by the clock"):
			old = q.now().Sub(f.wall) >= sharedKeyTime
		case q.has("never forgets Keys"):
			old = false
		case q.has("forgets Keys early"):
			old = time.Since(f.at) >= sharedKeyTime/2
		case q.has("forgets the Key with its message"):
			old = q.letters[parseID(f.id)] == nil
		}
		if old {
			delete(q.keys, key)
		}
	}
	f := q.keys[q.keyOf(m)]
	switch {
	case f == nil && len(q.keys) >= sharedMaxKeys && !q.has("takes any number of Keys"):
		return nil, queue.ErrKeysFull
	case f == nil, q.has("stores what repeats"):
		return nil, nil
	case f.from != m.Envelope.From && !q.has("compares no reverse-path"),
		!slices.Equal(f.recipients, q.recipients(m)) && !q.has("compares no recipients"):
		return nil, queue.ErrKeyReused
	}
	return f, nil
}

func (q *shared) keyOf(m *queue.Message) sharedKey {
	switch {
	case q.has("a Key for all Tenants"):
		return sharedKey{"", m.Key, nil}
	case q.has("puts Tenant and Key together"):
		return sharedKey{"", m.Tenant + m.Key, nil}
	case q.has("knows its own Keys alone"):
		return sharedKey{m.Tenant, m.Key, q}
	}
	return sharedKey{m.Tenant, m.Key, nil}
}

// remember remembers the Key of a message. q.mu is held.
func (q *shared) remember(m *queue.Message, id queue.ID) {
	q.keys[q.keyOf(m)] = &sharedFirst{id, m.Envelope.From, q.recipients(m), time.Now(), q.now()}
}

func (q *shared) recipients(m *queue.Message) []string {
	var all []string
	for _, r := range m.Envelope.Recipients {
		all = append(all, r.Address)
	}
	if !q.has("compares the order of recipients") {
		slices.Sort(all)
	}
	return all
}

// hasKey reports whether one of the reports has a Key.
func (q *shared) hasKey(reports []queue.Message) bool {
	return !q.has("takes reports with a Key") && slices.ContainsFunc(reports, func(m queue.Message) bool { return m.Key != "" })
}
