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

// These conditions select messages, outcomes and marks.
const (
	ofLanes = `lane = ANY ($1::text::smallint[])`
	ofIDs   = `id = ANY ($1::text::bigint[])`
)

// readStored reads the messages that aren't gone, with all that has happened to them. The transaction must be
// repeatable read. They are in the order of their IDs.
func (q *Queue) readStored(ctx context.Context, tx querier, where string, arg any) ([]*stored, error) {
	var all []*stored
	byID := map[uint64]*stored{}
	rows, err := tx.QueryContext(ctx, q.sql(`SELECT id, arrival, size, head FROM "postrider".msg m WHERE `+where+`
		AND NOT EXISTS (SELECT FROM "postrider".outcome o WHERE o.id = m.id AND o.last) ORDER BY id`), arg)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id uint64
		var arrival, size int64
		var head []byte
		if err := rows.Scan(&id, &arrival, &size, &head); err != nil {
			return nil, err
		}
		m, err := decodeMessage(head)
		if err != nil {
			q.unreadable(id, err)
			continue
		}
		m.ID, m.Arrival, m.Size = id, arrival, size
		m.Group()
		s := newStored(m)
		all, byID[id] = append(all, s), s
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, nil
	}
	return all, q.readEvents(ctx, tx, where, arg, byID)
}

// readEvents reads what has happened to messages. One whose events can't be read is reported, and taken as it is
// without them.
func (q *Queue) readEvents(ctx context.Context, tx querier, where string, arg any, byID map[uint64]*stored) error {
	rows, err := tx.QueryContext(ctx, q.sql(`
		SELECT seq, id, kind, last, data, 0::bigint, 0, 0, NULL::bigint FROM "postrider".outcome WHERE `+where+`
		UNION ALL
		SELECT seq, id, 0, false, NULL, num, attempts, deaths, until FROM "postrider".mark WHERE `+where+`
		ORDER BY 1`), arg)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var e event
		var until sql.NullInt64
		var num int64
		err := rows.Scan(&e.seq, &e.id, &e.kind, &e.last, &e.data, &num, &e.attempts, &e.deaths, &until)
		if err != nil {
			return err
		}
		e.num, e.until = uint32(num), until.Int64
		if s := byID[e.id]; s != nil {
			if err := s.apply(&e); err != nil {
				q.unreadable(e.id, err)
			}
		}
	}
	return rows.Err()
}

// inSnapshot runs do in a transaction that sees one snapshot, and changes nothing.
func (q *Queue) inSnapshot(ctx context.Context, do func(tx *sql.Tx) error) error {
	tx, err := q.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	return do(tx)
}

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
	return q.load(ctx, load)
}

// load loads lanes. What is new in the others is taken in with the same snapshot.
func (q *Queue) load(ctx context.Context, lanes []int) error {
	q.gate.Lock()
	defer q.gate.Unlock()
	err := q.inSnapshot(ctx, func(tx *sql.Tx) error {
		p, err := q.askNews(ctx, tx)
		if err != nil {
			return err
		}
		if p.started != q.started {
			return errors.New("the server was restarted")
		}
		all, err := q.readStored(ctx, tx, ofLanes, arrayOf(lanes))
		if err != nil {
			return err
		}
		q.takeIn(&p)
		q.mu.Lock()
		defer q.mu.Unlock()
		for _, lane := range lanes {
			q.lanes[lane] = true
		}
		for _, s := range all {
			q.loadOne(s)
		}
		return nil
	})
	if err == nil {
		q.watch.Tell(time.Now(), queue.Lane{})
	}
	return err
}

// loadOne adds a message of the tables to ix. q.mu is held.
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
}

// compare makes ix agree with the tables, after what is new couldn't be known. The tasks that both have stay as they
// are, with their leases.
func (q *Queue) compare(ctx context.Context) error {
	q.gate.Lock()
	defer q.gate.Unlock()
	q.mu.Lock()
	lanes := slices.Collect(maps.Keys(q.lanes))
	q.mu.Unlock()
	return q.inSnapshot(ctx, func(tx *sql.Tx) error {
		if err := q.catchUp(ctx, tx); err != nil || len(lanes) == 0 {
			return err
		}
		there, err := q.readHeld(ctx, tx, lanes)
		if err != nil {
			return err
		}
		missing, gone := q.differences(there)
		all, err := q.readStored(ctx, tx, ofIDs, arrayOf(missing))
		if err != nil {
			return err
		}
		q.adjust(there, gone, all)
		return nil
	})
}

// catchUp takes in what is new in the snapshot of a transaction. If that can't be known, it takes in nothing.
func (q *Queue) catchUp(ctx context.Context, tx *sql.Tx) error {
	known := q.since != snapshot{}
	if !known {
		q.since = lastSnapshot
	}
	p, err := q.askNews(ctx, tx)
	if err != nil {
		return err
	}
	if !known || p.started != q.started {
		p.news = nil
	}
	q.started = p.started
	q.takeIn(&p)
	return nil
}

// differences returns the messages that the tables have and ix has not, and the reverse.
func (q *Queue) differences(there map[uint64]bool) (missing, gone []uint64) {
	q.mu.Lock()
	for id := range there {
		if q.ix.Data(id) == nil {
			missing = append(missing, id)
		}
	}
	ix := q.ix
	q.mu.Unlock()
	index.Each(&q.mu, ix, func(id uint64, _ **index.Message) {
		if _, ok := there[id]; !ok {
			gone = append(gone, id)
		}
	})
	return missing, gone
}

// adjust removes and adds messages, and holds and releases them.
func (q *Queue) adjust(there map[uint64]bool, gone []uint64, missing []*stored) {
	var due []queue.LaneDue
	q.mu.Lock()
	for _, id := range gone {
		q.remove(id)
	}
	for _, s := range missing {
		if q.mine(q.laneOf(s.msg)) {
			q.loadOne(s)
			due = append(due, q.ix.Claimable(s.msg.ID)...)
		}
	}
	for id, held := range there {
		if q.ix.Data(id) == nil || q.ix.Held(id) == held {
			continue
		}
		if held {
			q.ix.Hold(id, true)
		} else {
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

// readHeld returns the messages of lanes that aren't gone, and whether they are held.
func (q *Queue) readHeld(ctx context.Context, tx querier, lanes []int) (map[uint64]bool, error) {
	rows, err := tx.QueryContext(ctx, q.sql(`SELECT id, coalesce(
			(SELECT o.kind = 3 FROM "postrider".outcome o WHERE o.id = m.id AND o.kind IN (3, 4)
				ORDER BY seq DESC LIMIT 1),
			(m.head ->> 'held')::boolean, false)
		FROM "postrider".msg m WHERE lane = ANY ($1::text::smallint[])
		AND NOT EXISTS (SELECT FROM "postrider".outcome o WHERE o.id = m.id AND o.last)`), arrayOf(lanes))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	there := map[uint64]bool{}
	for rows.Next() {
		var id uint64
		var held bool
		if err := rows.Scan(&id, &held); err != nil {
			return nil, err
		}
		there[id] = held
	}
	return there, rows.Err()
}
