package pgqueue

import (
	"context"
	"database/sql"
	"maps"
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// A node that has more lanes than its share gives some up. Of such a lane, only messages that have a lease already can
// be claimed, and the lane is free when the last lease has ended. So a lane changes hands without a copy of any mail.

// giveTime is how long a lane waits for the end of its leases. After that, the node keeps it for now, so that its mail
// isn't delayed by one slow delivery.
const giveTime = 10 * time.Second

// givePause is the time between two looks at lanes that are being given up. Each look goes through all messages.
const givePause = 200 * time.Millisecond

// choose begins to give up the lanes beyond our share. q.mu is held.
func (q *Queue) choose(l *layout) {
	n := l.surplus(q.node) - len(q.giving)
	for lane := range q.lanes {
		if n <= 0 {
			return
		}
		if _, ok := q.giving[lane]; !ok {
			q.giving[lane] = time.Now()
			n--
		}
	}
}

// giveAway takes the messages of the lanes that are being given up out of ix, except those with a lease, and frees the
// lanes that have none left.
func (q *Queue) giveAway(ctx context.Context) error {
	q.mu.Lock()
	giving := maps.Clone(q.giving)
	q.mu.Unlock()
	if len(giving) == 0 || maps.Equal(giving, q.gave) && time.Since(q.gaveAt) < givePause {
		return nil
	}
	keep, leased, err := q.give(ctx, giving)
	if err != nil || len(keep) == 0 {
		return err
	}
	return q.load(ctx, keep, leased)
}

// give is the part of giveAway without writes in progress. It returns the lanes that this node keeps, and the messages
// of these that have a lease.
func (q *Queue) give(
	ctx context.Context, giving map[int]time.Time,
) (keep []int, leased map[uint64]bool, err error) {
	ix := q.index()
	q.gate.Lock() // no write is in progress: what has a lease now may be written later, and the others are not
	defer q.gate.Unlock()
	of := map[int][]uint64{}
	index.Each(&q.mu, ix, func(id uint64, _ *entry) {
		if lane := laneOf(ix.OwnerOf(id)); !giving[lane].IsZero() {
			of[lane] = append(of[lane], id)
		}
	})
	var free []int
	leased = map[uint64]bool{}
	q.mu.Lock()
	for lane, since := range giving {
		left := 0
		for _, id := range of[lane] {
			if q.leased(id) {
				left++
				leased[id] = true
			} else {
				q.remove(id)
			}
		}
		switch {
		case left == 0:
			free = append(free, lane)
			delete(q.lanes, lane)
			delete(q.giving, lane)
		case time.Since(since) > giveTime:
			keep = append(keep, lane)
		}
	}
	node := q.node
	q.gave, q.gaveAt = maps.Clone(q.giving), time.Now()
	q.mu.Unlock()
	if len(free) == 0 {
		return keep, leased, nil
	}
	return keep, leased, q.inLock(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, q.sql(`UPDATE "postrider".lane SET node = NULL
			WHERE node = $1 AND lane = ANY ($2::text::smallint[])`), node, arrayOf(free))
		if err != nil {
			return err
		}
		return q.newLayout(ctx, tx)
	})
}

// leased reports whether a task of a message has a lease. q.mu is held.
func (q *Queue) leased(id uint64) bool {
	return slices.ContainsFunc(q.ix.TasksOf(id), func(t claim) bool { return t.Is == queue.Leased })
}
