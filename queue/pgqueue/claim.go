package pgqueue

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// Claim implements [queue.Queue]. It grants leases on the messages that this Queue has. It returns when the leases are
// in the table mark, so that another Queue that takes the messages over knows of the attempts. If it learns that only
// when the lease of this Queue may be over, another Queue may have sent the messages, and it returns none of them.
func (q *Queue) Claim(ctx context.Context, wants []queue.Want, lease time.Duration) ([]queue.Task, error) {
	q.gate.RLock()
	q.mu.Lock()
	if err := q.check(ctx); err != nil {
		q.mu.Unlock()
		q.gate.RUnlock()
		return nil, err
	}
	granted, next := q.ix.Claim(q.ready(wants), lease)
	recalled := q.ix.Recalled()
	now := q.clock.time()
	j := &job{node: q.node, fence: q.fence, lazy: true}
	q.mu.Unlock()
	q.watch.TellComing(recalled)
	index.TellClaimed(&q.watch, granted, now.Add(lease), next)
	taken, err := q.take(ctx, granted)
	if err != nil {
		q.handBack(granted)
	}
	if len(taken) == 0 {
		q.gate.RUnlock()
		return nil, failed("claim", err)
	}
	granted = taken
	until := index.ToNano(now.Add(lease))
	result := make([]queue.Task, len(granted))
	j.marks = make([]markRow, 0, len(granted))
	for i := range granted {
		c := &granted[i]
		hand := c.Lease.Data.(*inHand)
		c.Fill(&result[i], hand.msg, hand.progress(c.Num), now)
		c.Lease.Recipients.Store(int32(len(result[i].Last)))
		j.marks = append(j.marks, q.markOf(c, until))
	}
	late := false
	j.call = finishing(func(err error) {
		late = !q.holdsLease()
		if err != nil || late {
			q.handBack(granted)
		}
		q.gate.RUnlock()
	})
	q.leases.submit(j)
	err = q.leases.wait(j)
	switch {
	case err == nil && !late:
		return result, nil
	case err == nil, errors.Is(err, errFenced), errors.Is(err, queue.ErrLeaseLost):
		return nil, nil // handBack has announced the lanes again
	}
	return nil, failed("claim", err)
}

// ready returns the Wants of lanes that are loaded. q.mu is held.
func (q *Queue) ready(wants []queue.Want) []queue.Want {
	notYet := func(w queue.Want) bool {
		lane := laneOf(w.Lane.Owner)
		return !q.lanes[lane] || q.loading[lane]
	}
	if !slices.ContainsFunc(wants, notYet) {
		return wants
	}
	return slices.DeleteFunc(slices.Clone(wants), notYet)
}

// markOf returns the row of a lease.
func (q *Queue) markOf(c *claim, until int64) markRow {
	return markRow{
		ID: c.ID, Num: c.Num, Lane: laneOf(c.Lane.Owner),
		Attempts: c.Attempts, Deaths: c.Deaths, Until: until,
	}
}

// handBack ends leases that couldn't be stored. Their attempts don't count.
func (q *Queue) handBack(granted []claim) {
	q.mu.Lock()
	for i := range granted {
		c := &granted[i]
		if l, _, err := q.ix.Find(c.Lease.Token()); err == nil {
			q.ix.SetAttempts(l.Task, c.Attempts-1)
			q.ix.Extend(c.Lease.Token(), 0)
		}
	}
	q.ix.Stats() // ends what has expired
	recalled := q.ix.Recalled()
	q.mu.Unlock()
	q.watch.TellComing(recalled)
	for i := range granted {
		q.watch.Tell(time.Time{}, granted[i].Lane)
	}
}

// Extend implements [queue.Queue]. Unless a Settle is in progress, it returns when the new end is in the table mark.
func (q *Queue) Extend(ctx context.Context, l queue.Lease, d time.Duration) error {
	q.gate.RLock()
	q.mu.Lock()
	err := q.check(ctx)
	var lane queue.Lane
	var expires time.Time
	if err == nil {
		lane, expires, err = q.ix.Extend(l, d)
	}
	if err != nil {
		q.mu.Unlock()
		q.gate.RUnlock()
		return err
	}
	_, c, err := q.ix.Find(l)
	if err != nil || c.Phase == index.Settling { // d may be negative; and a mark must not follow the settlement
		q.mu.Unlock()
		q.gate.RUnlock()
		q.watch.Tell(expires, lane)
		return nil
	}
	q.extending[l]++
	j := &job{node: q.node, fence: q.fence, lazy: true, marks: []markRow{q.markOf(c, index.ToNano(expires))}}
	j.call = finishing(func(error) {
		q.mu.Lock()
		if q.extending[l]--; q.extending[l] == 0 {
			delete(q.extending, l)
			q.endSettling()
		}
		q.mu.Unlock()
		q.gate.RUnlock()
	})
	q.mu.Unlock()
	q.watch.Tell(expires, lane)
	q.leases.submit(j)
	err = q.leases.wait(j)
	switch {
	case err == nil, errors.Is(err, errFenced): // ix has the new end, and others only want to know
		return nil
	case errors.Is(err, queue.ErrLeaseLost):
		return queue.ErrLeaseLost
	}
	return failed("extend", err)
}
