package pgqueue

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// snapshot is a snapshot of the server: a transaction is visible in it if its number is below xmax and not in xip.
type snapshot struct{ xmax, xip string }

// lastSnapshot is newer than all others: nothing is new since then.
var lastSnapshot = snapshot{"9223372036854775807", "{}"}

// parseSnapshot parses the text of a pg_snapshot: xmin:xmax:xip,xip.
func parseSnapshot(s string) (snapshot, error) {
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return snapshot{}, errors.New("unreadable snapshot: " + s)
	}
	return snapshot{parts[1], "{" + parts[2] + "}"}, nil
}

// poller looks for what others have committed, and for the lanes that this node has.
func (q *Queue) poller(background context.Context) {
	pause := q.config.Poll
	t := time.NewTicker(pause)
	defer t.Stop()
	well := true // so that an outage is logged once
	for {
		select {
		case <-background.Done():
			return
		case <-q.kick:
		case <-t.C:
		}
		ctx, cancel := context.WithTimeout(background, 10*q.config.Timeout) // a load takes long
		err := q.turn(ctx)
		cancel()
		if err != nil && background.Err() == nil && well {
			q.config.Logger.Warn("pgqueue: the database can't be read", "error", err)
		}
		if well = err == nil; !well {
			select {
			case <-background.Done():
			case <-time.After(q.config.Poll):
			}
		}
		if p := pollPause(q.config.Poll, q.without); p != pause {
			pause = p
			t.Reset(pause)
		}
	}
}

// These are the numbers of polls in a row without news after which a Queue is idle, and polls seldomer: with the
// default Options.Poll, after 5 seconds and after another 135. Polls are nearly all that an idle Queue costs.
const (
	idlePolls     = 100
	longIdlePolls = 1000
)

// pollPause returns the time between two polls, after a number of polls in a row without news.
func pollPause(poll time.Duration, without int) time.Duration {
	switch {
	case without < idlePolls, poll > time.Hour: // without an overflow
		return poll
	case without < longIdlePolls:
		return 3 * poll
	}
	return 6 * poll
}

// wake makes the poller look at once.
func (q *Queue) wake() {
	select {
	case q.kick <- struct{}{}:
	default:
	}
}

// next waits until a poll that began after this call has ended, whatever its result. With NoDelivery there is nothing
// to wait for.
func (q *Queue) next(ctx context.Context) error {
	if q.config.NoDelivery {
		return nil
	}
	q.mu.Lock()
	polled := q.polled
	q.mu.Unlock()
	q.wake()
	select {
	case <-polled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-q.quit:
		return queue.ErrClosed
	}
}

// takeOwn waits until a poll has found what this Queue has just stored as an application or another Queue would, so
// that it is announced before the call returns. It is stored even if the wait is in vain.
func (q *Queue) takeOwn() {
	ctx, cancel := context.WithTimeout(context.Background(), q.config.Timeout)
	defer cancel()
	q.next(ctx)
}

// beginPoll begins a poll. The caller calls end at its end.
func (q *Queue) beginPoll() (end func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	polled := q.polled
	q.polled = make(chan struct{})
	return func() { close(polled) }
}

// turn is one look at everything.
func (q *Queue) turn(ctx context.Context) (err error) {
	defer q.beginPoll()()
	q.mu.Lock()
	node := q.node
	q.mu.Unlock()
	if node == 0 {
		if err := q.register(ctx); err != nil {
			return err
		}
	}
	changed, err := q.poll(ctx)
	if err == nil && changed {
		err = q.lookAtLanes(ctx)
	}
	if err == nil {
		err = q.giveAway(ctx)
	}
	if errors.Is(err, errLost) {
		q.lost()
		return nil // the next turn begins anew
	}
	if err != nil {
		q.mu.Lock()
		q.layout = 0 // look at the lanes again
		q.mu.Unlock()
		return err
	}
	return q.publish(ctx)
}

// lost begins anew after others have taken the lanes. All leases have ended.
func (q *Queue) lost() {
	q.config.Logger.Warn("pgqueue: the lease of this Queue was over: its messages are with other Queues")
	q.gate.Lock()
	q.reset()
	q.gate.Unlock()
	q.watch.Tell(time.Now(), queue.Lane{})
	q.wake()
}

// nowSQL is the time of the server in Unix nanoseconds.
const nowSQL = `(extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000`

// pollSQL returns the time, the snapshot, and what is new.
const pollSQL = `SELECT NULL::bigint, NULL::bigint, NULL::smallint, NULL::smallint, NULL::boolean,
	` + nowSQL + `, v.layout, NULL::json,
	pg_current_snapshot()::text, pg_postmaster_start_time()::text,
	(SELECT fence FROM "postrider".node WHERE id = $3::bigint)
FROM "postrider".version v
UNION ALL
SELECT n.*, NULL, NULL, NULL
FROM "postrider".news($1::text::xid8, $2::text::xid8[], $3::bigint, $4::text::smallint[]) n`

// stateSQL returns the row of pollSQL that is no news.
const stateSQL = `SELECT ` + nowSQL + `, v.layout,
	pg_current_snapshot()::text, pg_postmaster_start_time()::text,
	(SELECT fence FROM "postrider".node WHERE id = $1::bigint)
FROM "postrider".version v`

// reconcile is the time between two comparisons of ix with the tables. They find what a failover has changed unnoticed.
const reconcile = 5 * time.Minute

// poll takes in what others have committed since the last poll. changed reports whether the layout has.
func (q *Queue) poll(ctx context.Context) (changed bool, err error) {
	if q.compared.IsZero() || time.Since(q.compared) > reconcile {
		if err := q.compare(ctx); err != nil {
			return false, err
		}
		q.compared = time.Now()
	}
	p, err := q.ask(ctx)
	if err != nil {
		return false, err
	}
	q.quiet = p.snapshot == q.since
	if q.started != "" && q.started != p.started {
		// After a failover or a restore, the numbers of transactions may come again: what is new can't be known.
		q.compared, q.since = time.Time{}, snapshot{}
		q.config.Logger.Warn("pgqueue: the server was restarted", "at", p.started)
	} else {
		q.takeIn(&p)
	}
	q.started = p.started
	q.mu.Lock()
	defer q.mu.Unlock()
	changed = q.layout != p.layout
	q.layout = p.layout
	if q.without++; changed || len(p.news) > 0 {
		q.without = 0
	}
	return changed, nil
}

// polled is the result of pollSQL.
type polled struct {
	news     []newsRow
	snapshot snapshot
	started  string
	layout   int64
	fence    int64 // of our node
}

// ask asks for the news. While nothing changes in the whole database, it only asks whether that is still so, which
// takes half of the time.
func (q *Queue) ask(ctx context.Context) (p polled, err error) {
	if q.quiet {
		p, err = q.askState(ctx)
		if err != nil || p.snapshot == q.since {
			return p, err
		}
	}
	return q.askNews(ctx, q.db)
}

// askState asks for the snapshot, without the news.
func (q *Queue) askState(ctx context.Context) (p polled, err error) {
	q.mu.Lock()
	node := q.node
	q.mu.Unlock()
	before := time.Now()
	var now int64
	var snap string
	var fence sql.NullInt64
	row := q.db.QueryRowContext(ctx, q.sql(stateSQL), node)
	if err := row.Scan(&now, &p.layout, &snap, &p.started, &fence); err != nil {
		return p, err
	}
	return p, q.told(&p, time.Unix(0, now), before, snap, fence)
}

// told takes in the row of pollSQL that is no news. before is when it was asked for.
func (q *Queue) told(p *polled, now, before time.Time, snap string, fence sql.NullInt64) (err error) {
	q.clock.told(now, before, time.Now())
	if p.snapshot, err = parseSnapshot(snap); err != nil {
		return err
	}
	if p.fence = fence.Int64; !fence.Valid {
		return errLost
	}
	return nil
}

// newsRow is a message or an outcome that someone else has stored.
type newsRow struct {
	event
	arrival, size int64 // of a message, whose kind is 0
}

// askNews asks for the news of the lanes that are loaded or being loaded.
func (q *Queue) askNews(ctx context.Context, db querier) (p polled, err error) {
	q.mu.Lock()
	node, lanes := q.node, slices.AppendSeq(slices.Collect(maps.Keys(q.lanes)), maps.Keys(q.loading))
	q.mu.Unlock()
	before := time.Now()
	rows, err := db.QueryContext(ctx, q.sql(pollSQL), q.since.xmax, q.since.xip, node, arrayOf(lanes))
	if err != nil {
		return p, err
	}
	defer rows.Close()
	for rows.Next() {
		var seq, id, lane, kind sql.NullInt64
		var last sql.NullBool
		var n newsRow
		var snap, started sql.NullString
		var fence sql.NullInt64
		if err := rows.Scan(&seq, &id, &lane, &kind, &last, &n.arrival, &n.size, &n.data, &snap, &started,
			&fence); err != nil {
			return p, err
		}
		if snap.Valid {
			if err := q.told(&p, time.Unix(0, n.arrival), before, snap.String, fence); err != nil {
				return p, err
			}
			p.layout, p.started = n.size, started.String
			continue
		}
		n.seq, n.id, n.lane, n.kind, n.last = seq.Int64, uint64(id.Int64), int(lane.Int64), int(kind.Int64), last.Bool
		p.news = append(p.news, n)
	}
	if err := rows.Err(); err != nil {
		return p, err
	}
	if p.started == "" {
		return p, errors.New("the table version is empty")
	}
	// Messages first, as the outcomes are about them, in the order of their arrival.
	slices.SortFunc(p.news, func(a, b newsRow) int {
		return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(a.id, b.id))
	})
	return p, nil
}

// takeIn takes in what is new, and announces it.
func (q *Queue) takeIn(p *polled) {
	q.since = p.snapshot
	var tell []func()
	q.mu.Lock()
	q.fence = p.fence // with the news: what was prepared without them has the fence before
	var found []*stored
	byID := map[uint64]*stored{}
	for i := range p.news {
		n := &p.news[i]
		switch s := byID[n.id]; {
		case n.kind == 0:
			if s := q.found(n); s != nil {
				found, byID[n.id] = append(found, s), s
			}
		case s != nil:
			if err := s.apply(&n.event); err != nil {
				q.unreadable(n.id, err)
			}
		case q.ix.Data(n.id) != nil:
			tell = append(tell, q.happened(&n.event)...)
		}
	}
	for _, s := range found {
		q.loadOne(s)
		for _, d := range q.ix.Claimable(s.msg.ID) {
			tell = append(tell, func() { q.watch.Tell(d.Due, d.Lane) })
		}
	}
	recalled := q.ix.Recalled()
	q.mu.Unlock()
	q.watch.TellComing(recalled)
	for _, f := range tell {
		f()
	}
}

// found reads a message that someone else has stored, unless it is known. What has happened to it is news, too: with
// Import, it is from the same transaction. q.mu is held.
func (q *Queue) found(n *newsRow) *stored {
	q.highest = max(q.highest, n.id)
	if !q.mine(n.lane) || q.ix.Data(n.id) != nil {
		return nil
	}
	m, err := decodeMessage(n.data)
	if err != nil {
		q.unreadable(n.id, err)
		return nil
	}
	m.ID, m.Arrival, m.Size = n.id, n.arrival, n.size
	s := newStored(m)
	s.head = headOf(m, n.data)
	return s
}

// unreadable reports a message that can't be read. It stays in the tables, and isn't sent.
func (q *Queue) unreadable(id uint64, err error) {
	q.config.Logger.Error("pgqueue: a message can't be read", "id", index.FormatID(id), "error", err)
}

// happened takes in what another Queue did to a message of this one. It returns what is to be announced. q.mu is held.
func (q *Queue) happened(e *event) (tell []func()) {
	switch e.kind {
	case held:
		q.ix.Hold(e.id, "") // List reads the reason in the tables
	case released:
		for _, d := range q.release(e.id) {
			tell = append(tell, func() { q.watch.Tell(d.Due, d.Lane) })
		}
	case removed:
		q.remove(e.id)
	case flushed:
		for _, l := range q.flushTasks(e) {
			tell = append(tell, func() { q.watch.Tell(time.Time{}, l) })
		}
	}
	return tell
}
