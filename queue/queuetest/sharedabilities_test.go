package queuetest_test

import (
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// List implements [queue.Lister].
func (q *shared) List(ctx context.Context, f queue.Filter) iter.Seq2[queue.Task, error] {
	return func(yield func(queue.Task, error) bool) {
		if err := q.begin(ctx); err != nil {
			yield(queue.Task{}, err)
			return
		}
		var tasks []queue.Task
		for _, j := range q.sorted() {
			t := q.task(j)
			t.Lease = 0
			if j.serial > parseID(f.After) && q.selects(f, t) {
				tasks = append(tasks, t)
			}
		}
		q.mu.Unlock()
		if q.has("lists the newest first") {
			slices.Reverse(tasks)
		}
		for _, t := range tasks {
			if !yield(t, nil) {
				return
			}
		}
	}
}

// selects reports whether f selects the task, whatever f.After is.
func (q *shared) selects(f queue.Filter, t queue.Task) bool {
	sender := t.Envelope.From
	if sender == "" {
		sender = "<>"
	}
	to := func(r smtp.Recipient) bool {
		_, domain, _ := strings.Cut(r.Address, "@")
		return (f.Recipient == "" || sameAddress(r.Address, f.Recipient)) &&
			(f.Domain == "" || strings.EqualFold(domain, f.Domain))
	}
	return (f.ID == "" || f.ID == t.ID) &&
		(f.Destination == "" || f.Destination == t.Destination) &&
		(f.Sender == "" || sameAddress(sender, f.Sender) || q.has("ignores the Sender of a Filter")) &&
		(f.Ref == "" || f.Ref == t.Ref) && (f.Tenant == "" || f.Tenant == t.Tenant) &&
		(f.State == 0 || f.State == t.State) &&
		(f.ArrivedAfter.IsZero() || t.Arrival.After(f.ArrivedAfter)) &&
		(f.ArrivedBefore.IsZero() || t.Arrival.Before(f.ArrivedBefore)) &&
		slices.ContainsFunc(t.Envelope.Recipients, to)
}

// sameAddress compares domains without case.
func sameAddress(a, b string) bool {
	aLocal, aDomain, _ := strings.Cut(a, "@")
	bLocal, bDomain, _ := strings.Cut(b, "@")
	return aLocal == bLocal && strings.EqualFold(aDomain, bDomain)
}

// Hold implements [queue.Holder].
func (q *shared) Hold(ctx context.Context, ids ...queue.ID) error {
	return q.HoldFor(ctx, "", ids...)
}

// HoldFor implements [queue.ReasonHolder].
func (q *shared) HoldFor(ctx context.Context, reason string, ids ...queue.ID) error {
	if most := queue.MaxHeldFor - len("…"); len(reason) > queue.MaxHeldFor && !q.has("takes any reason") {
		reason = strings.ToValidUTF8(reason[:most], "") + "…"
	}
	return q.each(ctx, ids, nil, func(l *letter) {
		if reason != "" && !(l.held && q.has("keeps the first reason")) || q.has("a Hold ends the reason") {
			l.why = reason
		}
		l.held, l.holder = true, q
	})
}

// Release implements [queue.Holder].
func (q *shared) Release(ctx context.Context, ids ...queue.ID) error {
	return q.each(ctx, ids, nil, func(l *letter) {
		if l.held = false; !q.has("Release keeps the reason") {
			l.why = ""
		}
		for _, j := range q.of(l) {
			if q.has("Release forgets attempts") {
				j.Attempts = 0
			}
			q.tellJob(j, "doesn't announce Release")
		}
	})
}

// Remove implements [queue.Remover].
func (q *shared) Remove(ctx context.Context, ids []queue.ID, reports ...queue.Message) error {
	letters, err := q.read(ctx, reports...)
	if err == nil && q.hasKey(reports) {
		err = errKey
	}
	if err != nil {
		return err
	}
	return q.each(ctx, ids, letters, func(l *letter) {
		for _, j := range q.of(l) {
			if !q.has("Remove leaves leased tasks") || j.state() != queue.Leased {
				delete(q.leases, j.Lease)
				q.drop(j)
			}
		}
	})
}

// each calls do for each of these messages, and adds the reports.
func (q *shared) each(ctx context.Context, ids []queue.ID, reports []*letter, do func(*letter)) error {
	if err := q.begin(ctx); err != nil {
		return err
	}
	defer q.mu.Unlock()
	if q.fails != nil {
		return q.fails
	}
	found := false
	for _, id := range ids {
		if l := q.letters[parseID(id)]; l != nil {
			do(l)
			found = true
		}
	}
	if !found {
		if q.has("stores reports of a Remove of nothing") {
			q.add("doesn't announce reports of Remove", reports)
		}
		return queue.ErrNotFound
	}
	q.add("doesn't announce reports of Remove", reports)
	return nil
}

// Flush implements [queue.Flusher].
func (q *shared) Flush(ctx context.Context, destination string, after time.Duration) (n int, err error) {
	if err := q.begin(ctx); err != nil {
		return 0, err
	}
	defer q.mu.Unlock()
	if q.has("Flush has no bound") {
		after = 0
	}
	for _, j := range q.jobs {
		if (destination == "" || j.Destination == destination) &&
			q.hasten(j, after, "Flush hurries what was never attempted", "doesn't announce Flush") {
			n++
		}
	}
	return n, nil
}

// hasten makes a job due, if it waits for a retry after that time. q.mu is held.
func (q *shared) hasten(j *job, after time.Duration, hurries, quiet string) bool {
	now := q.now()
	if j.once || !j.Due.After(now.Add(after)) || j.state() != queue.Waiting || j.Attempts == 0 && !q.has(hurries) {
		return false
	}
	j.Due, j.once = now, !q.has("flushes by the clock")
	q.tellJob(j, quiet)
	return true
}

// Hasten implements [queue.Hastener].
func (q *shared) Hasten(ctx context.Context, ids ...queue.ID) (n int, err error) {
	if err := q.begin(ctx); err != nil {
		return 0, err
	}
	defer q.mu.Unlock()
	found := false
	for _, j := range q.jobs {
		if !slices.Contains(ids, j.ID) {
			continue
		}
		found = true
		if q.hasten(j, 0, "Hasten hurries what was never attempted", "doesn't announce Hasten") {
			n++
			if q.has("Hasten stops at one task") {
				break
			}
		}
	}
	if !found && !q.has("Hasten finds no message missing") {
		return 0, queue.ErrNotFound
	}
	return n, nil
}

// Stats implements [queue.Stater].
func (q *shared) Stats(ctx context.Context) (queue.Stats, error) {
	if err := q.begin(ctx); err != nil {
		return queue.Stats{}, err
	}
	defer q.mu.Unlock()
	age := 50 * time.Second
	if q.has("counts once an hour") {
		age = time.Hour
	}
	if q.parts && time.Since(q.counted) < age {
		return q.stats, nil
	}
	s := queue.Stats{Messages: len(q.letters), Tasks: len(q.jobs)}
	destinations := map[string]bool{}
	for _, j := range q.jobs {
		destinations[j.Destination] = true
		switch j.state() {
		case queue.Waiting:
			s.Waiting++
		case queue.Leased:
			s.Leased++
		case queue.Held:
			s.Held++
		}
	}
	s.Destinations = len(destinations)
	if q.has("counts lanes as destinations") {
		s.Destinations = s.Tasks
	}
	for _, l := range q.letters {
		s.Octets += int64(len(l.body))
		if s.Oldest.IsZero() || l.arrival.Before(s.Oldest) {
			s.Oldest = l.arrival
		}
	}
	q.stats, q.counted = s, time.Now()
	return s, nil
}

var (
	_ queue.Queue        = (*shared)(nil)
	_ queue.Waker        = (*shared)(nil)
	_ queue.Lister       = (*shared)(nil)
	_ queue.ReasonHolder = (*shared)(nil)
	_ queue.Flusher      = (*shared)(nil)
	_ queue.Hastener     = (*shared)(nil)
	_ queue.Remover      = (*shared)(nil)
	_ queue.Stater       = (*shared)(nil)
)
