package pgqueue

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// loadPage is how many messages are read at a time when lanes are loaded.
const loadPage = 5000

// lookAtLanes takes the lanes that are due to this node, and loads those that aren't loaded.
func (q *Queue) lookAtLanes(ctx context.Context) error {
	q.mu.Lock()
	node := q.node
	q.mu.Unlock()
	l, err := q.arrange(ctx, node)
	if err != nil {
		return err
	}
	var load []int
	q.mu.Lock()
	mine := l.of(node)
	for lane := range q.lanes {
		if !slices.Contains(mine, lane) {
			err = errLost // nobody but this node changes that
		}
	}
	for _, lane := range mine {
		if !q.lanes[lane] {
			load = append(load, lane)
		}
	}
	q.choose(&l)
	q.mu.Unlock()
	if err != nil || len(load) == 0 {
		return err
	}
	return q.load(ctx, load, nil)
}

// load loads lanes that this node has got. leased has the messages of these lanes that ix has already: those with a
// lease, if the lanes were to be given up.
func (q *Queue) load(ctx context.Context, lanes []int, leased map[uint64]bool) error {
	if err := q.read(ctx, lanes, leased); err != nil {
		q.unload(lanes)
		return err
	}
	q.watch.Tell(time.Now(), queue.Lane{})
	return nil
}

// read adds the messages of lanes to ix, a page at a time, while claims, settlements and new messages go on. Each page
// has a snapshot of its own. What others commit after it is news, and what this Queue stores meanwhile is added by its
// call. So a change may be taken in twice, which has no effect, but none is missed. Nothing of these lanes can be
// claimed before the last news are taken in.
func (q *Queue) read(ctx context.Context, lanes []int, leased map[uint64]bool) error {
	// What the nodes did that had the lanes before is no news. So all news must be from later.
	if err := q.takeNews(ctx); err != nil {
		return err
	}
	q.mu.Lock()
	for _, lane := range lanes {
		q.loading[lane] = true
		delete(q.giving, lane)
	}
	q.mu.Unlock()
	var after, last, end int64
	err := q.db.QueryRowContext(ctx, q.sql(`SELECT coalesce(max(id), 0) FROM "postrider".msg`)).Scan(&end)
	for ; err == nil && after < end; after = last {
		var page []*stored
		err = q.inSnapshot(ctx, func(tx *sql.Tx) error {
			err := tx.QueryRowContext(ctx, q.sql(`SELECT coalesce(max(id), $3) FROM (SELECT id FROM "postrider".msg
				WHERE id > $1 AND id <= $3 ORDER BY id LIMIT $2) m`), after, loadPage, end).Scan(&last)
			if err == nil {
				page, err = q.readStored(ctx, tx, ofPage, arrayOf(lanes), after, last)
			}
			return err
		})
		for some := range slices.Chunk(page, loadPage/10) { // so that mu isn't held for long
			q.mu.Lock()
			for _, s := range some {
				if !leased[s.msg.ID] { // it may have left ix since the snapshot
					q.loadOne(s)
				}
			}
			q.mu.Unlock()
		}
		if err == nil {
			err = q.takeNews(ctx)
		}
	}
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, lane := range lanes {
		q.lanes[lane] = true
		delete(q.loading, lane)
	}
	return nil
}

// takeNews takes in what is new. It is a poll for those who wait for one.
func (q *Queue) takeNews(ctx context.Context) error {
	defer q.beginPoll()()
	return q.catchUp(ctx, q.db)
}

// unload removes what ix has of lanes that couldn't be loaded. Those with a lease are given up again.
func (q *Queue) unload(lanes []int) {
	q.mu.Lock()
	ix := q.ix
	for _, lane := range lanes {
		if delete(q.loading, lane); q.lanes[lane] {
			q.giving[lane] = time.Now()
		}
	}
	q.mu.Unlock()
	var ids []uint64
	index.Each(&q.mu, ix, func(id uint64, _ *entry) {
		if !q.lanes[laneOf(ix.OwnerOf(id))] {
			ids = append(ids, id)
		}
	})
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, id := range ids {
		q.remove(id)
	}
}

// loadOne adds a message of the tables to ix, and its head to heads if that was read. Of a page, those stay out that
// wait for a time, or for which there is no room. q.mu is held.
func (q *Queue) loadOne(s *stored) {
	if q.ix.Data(s.msg.ID) != nil || s.gone || len(s.left()) == 0 {
		return
	}
	s.load(q.ix)
	q.octets += s.msg.Size
	q.highest = max(q.highest, s.msg.ID)
	for _, p := range s.parts {
		q.parts = max(q.parts, p.Num)
	}
	if s.head.octets > 0 && (!s.entry || s.head.octets <= q.heads.room() && s.isFresh(q.clock.time())) {
		q.heads.keep(s.msg.ID, s.head)
	}
}

// compare makes ix agree with the tables, after what is new couldn't be known. The tasks that both have stay as they
// are, with their leases. With a million messages it takes seconds. So it first looks for differences while writes are
// in progress, and then only at these without.
func (q *Queue) compare(ctx context.Context) error {
	q.mu.Lock()
	lanes := slices.Collect(maps.Keys(q.lanes))
	q.mu.Unlock()
	if (q.since == snapshot{}) { // before what is compared: what is new since then is taken in later
		if err := q.inSnapshot(ctx, func(tx *sql.Tx) error { return q.catchUp(ctx, tx) }); err != nil {
			return err
		}
	}
	var suspects []uint64
	if len(lanes) > 0 {
		err := q.inSnapshot(ctx, func(tx *sql.Tx) error {
			there, err := q.readHeld(ctx, tx, ofLanes, arrayOf(lanes))
			suspects = q.differences(there)
			return err
		})
		if err != nil {
			return err
		}
	}
	q.gate.Lock()
	defer q.gate.Unlock()
	return q.inSnapshot(ctx, func(tx *sql.Tx) error {
		if err := q.catchUp(ctx, tx); err != nil || len(suspects) == 0 {
			return err
		}
		there, err := q.readHeld(ctx, tx, ofIDs, arrayOf(suspects))
		if err != nil {
			return err
		}
		all, err := q.readStored(ctx, tx, ofIDs, arrayOf(suspects))
		if err != nil {
			return err
		}
		q.adjust(suspects, there, all)
		return nil
	})
}

// catchUp takes in what is new in the snapshot of a transaction. If it isn't known what is new, it takes in nothing,
// and the next one what is new since then.
func (q *Queue) catchUp(ctx context.Context, tx querier) error {
	known := q.since != snapshot{}
	if !known {
		q.since = lastSnapshot
	}
	p, err := q.askNews(ctx, tx)
	switch {
	case err != nil && !known, err == nil && known && p.started != q.started:
		q.since = snapshot{}
	}
	if err != nil {
		return err
	}
	if known && p.started != q.started {
		return errors.New("the server was restarted")
	}
	q.started = p.started
	q.takeIn(&p)
	return nil
}

// differences returns the messages that only the tables or only ix have, and those that only one of them holds.
func (q *Queue) differences(there map[uint64]bool) (ids []uint64) {
	q.mu.Lock()
	for id, held := range there {
		if q.ix.Data(id) == nil || q.ix.Held(id) != held {
			ids = append(ids, id)
		}
	}
	ix := q.ix
	q.mu.Unlock()
	index.Each(&q.mu, ix, func(id uint64, _ *entry) {
		if _, ok := there[id]; !ok {
			ids = append(ids, id)
		}
	})
	return ids
}

// adjust makes ix have these messages as the tables have them, and announces what it changes.
func (q *Queue) adjust(ids []uint64, there map[uint64]bool, all []*stored) {
	var due []queue.LaneDue
	q.mu.Lock()
	for _, s := range all {
		if q.ix.Data(s.msg.ID) == nil && q.mine(q.laneOf(s.msg)) {
			q.loadOne(s)
			due = append(due, q.ix.Claimable(s.msg.ID)...)
		}
	}
	for _, id := range ids {
		held, ok := there[id]
		switch {
		case q.ix.Data(id) == nil:
		case !ok:
			q.remove(id)
		case held:
			q.ix.Hold(id, "")
		default:
			due = append(due, q.release(id)...)
		}
	}
	recalled := q.ix.Recalled()
	q.mu.Unlock()
	q.watch.TellComing(recalled)
	for _, d := range due {
		q.watch.Tell(d.Due, d.Lane)
	}
}
