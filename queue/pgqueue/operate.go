package pgqueue

import (
	"context"
	"database/sql"
	"encoding/json"
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// Operations are rows of outcome that any Queue writes, whichever has the message. The Queue that has it takes them in
// by its poll; so does this one, if it is the same. They are serialized, so that their order is that of their seq.

// Hold implements [queue.Holder].
func (q *Queue) Hold(ctx context.Context, ids ...queue.ID) error {
	return q.HoldFor(ctx, "", ids...)
}

// HoldFor implements [queue.ReasonHolder].
func (q *Queue) HoldFor(ctx context.Context, reason string, ids ...queue.ID) error {
	return q.operate(ctx, "hold", ids, &operation{kind: held, reason: index.CutReason(reason)})
}

// Release implements [queue.Holder]. Held tasks have no Deaths afterwards.
func (q *Queue) Release(ctx context.Context, ids ...queue.ID) error {
	return q.operate(ctx, "release", ids, &operation{kind: released})
}

// Remove implements [queue.Remover]. A Settle at another Queue that is in progress has succeeded before, or returns
// ErrLeaseLost. An Extend there returns ErrLeaseLost within the lag. If the connection is lost during the commit,
// Remove returns an error although it may have succeeded.
func (q *Queue) Remove(ctx context.Context, ids []queue.ID, reports ...queue.Message) error {
	if err := q.begin(ctx); err != nil {
		return err
	}
	drafts, err := newReports(ctx, reports)
	if err != nil {
		return failed("remove", err)
	}
	defer freeAll(drafts)
	return q.operate(ctx, "remove", ids, &operation{kind: removed, reports: drafts})
}

// operation is what is done to messages.
type operation struct {
	kind    int
	reason  string   // of a hold
	reports []*draft // of a removal
}

// operate stores an operation on messages, and waits until this Queue has taken it in.
func (q *Queue) operate(ctx context.Context, op string, ids []queue.ID, do *operation) error {
	if err := q.enter(ctx); err != nil {
		return err
	}
	defer q.calls.Done()
	var numbers []uint64
	for _, id := range ids {
		if n, ok := parseID(id); ok {
			numbers = append(numbers, n)
		}
	}
	limited, cancel := context.WithTimeout(ctx, q.config.Timeout)
	defer cancel()
	err := q.inLock(limited, func(tx *sql.Tx) error {
		if do.kind == removed {
			if err := q.fenceOwners(limited, tx, numbers); err != nil {
				return err
			}
		}
		data, err := json.Marshal(&eventRecord{
			At: q.clock.time().UnixNano(), Overdue: index.Never, HeldFor: text(do.reason),
		})
		if err != nil {
			return err
		}
		done, err := tx.ExecContext(limited, q.sql(operateSQL), arrayOf(numbers), do.kind, string(data))
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return orNotFound(err)
		}
		return q.insertReports(limited, tx, do.reports)
	})
	if err != nil {
		return failed(op, err)
	}
	q.takeOwn()
	return nil
}

// operateSQL stores an operation on those of the messages that are there.
const operateSQL = `INSERT INTO "postrider".outcome (id, lane, node, batch, kind, last, data)
SELECT id, lane, 0, 0, $2::smallint, $2::smallint = 5, $3::json
FROM "postrider".msg m WHERE ` + ofIDs + `
AND ` + isThere

func orNotFound(err error) error {
	if err == nil {
		return queue.ErrNotFound
	}
	return err
}

// fenceOwners makes the nodes that have the messages refuse what they have prepared, until they have polled.
func (q *Queue) fenceOwners(ctx context.Context, tx *sql.Tx, ids []uint64) error {
	var list string
	err := tx.QueryRowContext(ctx, q.sql(`SELECT coalesce(string_agg(DISTINCT l.node::text, ','), '')
		FROM "postrider".msg m JOIN "postrider".lane l USING (lane) WHERE `+ofIDs),
		arrayOf(ids)).Scan(&list)
	if err != nil {
		return err
	}
	nodes, err := parseIDs(list)
	if err != nil {
		return err
	}
	for _, node := range nodes {
		if err := q.raiseFence(ctx, tx, int64(node)); err != nil {
			return err
		}
	}
	return nil
}

// insertReports stores reports in a transaction.
func (q *Queue) insertReports(ctx context.Context, tx *sql.Tx, reports []*draft) error {
	for _, d := range reports {
		if _, err := q.insert(ctx, rowOf(tx), d, nil, 0); err != nil {
			return err
		}
	}
	return nil
}

// release releases a message in ix, and returns its lanes with a task that waits. q.mu is held.
func (q *Queue) release(id uint64) []queue.LaneDue {
	if !q.ix.Held(id) {
		return nil
	}
	for _, t := range q.ix.TasksOf(id) {
		if t.Is == queue.Held && t.Deaths > 0 {
			r := q.ix.Task(id, t.Num)
			q.ix.Take(r)
			q.ix.SetDeaths(r, 0)
			q.ix.Put(r)
		}
	}
	q.ix.Release(id)
	return q.ix.Claimable(id)
}

// Flush implements [queue.Flusher]. It survives a restart.
func (q *Queue) Flush(ctx context.Context, destination string, after time.Duration) (n int, err error) {
	return q.flush(ctx, "flush", func(ctx context.Context, now time.Time) (rows []outcomeRow, n int, err error) {
		return q.findFlush(ctx, destination, now.UnixNano(), index.ToNano(now.Add(after)))
	})
}

// Hasten implements [queue.Hastener]. It survives a restart.
func (q *Queue) Hasten(ctx context.Context, ids ...queue.ID) (n int, err error) {
	return q.flush(ctx, "hasten", func(ctx context.Context, now time.Time) (rows []outcomeRow, n int, err error) {
		return q.findHasten(ctx, ids, now.UnixNano())
	})
}

// flush stores that the tasks which find returns are due at once, and waits until this Queue has taken it in.
func (q *Queue) flush(
	ctx context.Context, op string, find func(context.Context, time.Time) ([]outcomeRow, int, error),
) (n int, err error) {
	if err := q.enter(ctx); err != nil {
		return 0, err
	}
	defer q.calls.Done()
	limited, cancel := context.WithTimeout(ctx, q.config.Timeout)
	defer cancel()
	rows, n, err := find(limited, q.clock.time())
	if err != nil {
		return 0, failed(op, err)
	}
	if n == 0 {
		return 0, nil
	}
	text, err := json.Marshal(rows)
	if err == nil {
		_, err = q.db.ExecContext(limited, q.sql(outcomesSQL), string(text))
	}
	if err != nil {
		return 0, failed(op, err)
	}
	q.takeOwn()
	return n, nil
}

// outcomesSQL stores outcomes for the Queues that have the messages.
const outcomesSQL = `INSERT INTO "postrider".outcome (id, lane, node, batch, kind, last, data)
SELECT j.id, j.lane, 0, 0, j.kind, j.last, j.data
FROM json_to_recordset($1::json) AS j(id bigint, lane smallint, kind smallint, last boolean, data json)`

// findFlush finds the tasks that a Flush makes due. Only a settlement makes a task with an attempt due later.
func (q *Queue) findFlush(
	ctx context.Context, destination string, now, limit int64,
) (rows []outcomeRow, n int, err error) {
	err = q.inSnapshot(ctx, func(tx *sql.Tx) error {
		ids, err := q.readIDs(ctx, tx, `SELECT DISTINCT id FROM "postrider".outcome o WHERE kind IN (1, 2)
			AND (NOT last AND coalesce((data ->> 'due')::bigint, 0) > $1
				OR coalesce((data -> 'part' ->> 'due')::bigint, 0) > $1)
			AND NOT EXISTS (SELECT FROM "postrider".outcome l WHERE l.id = o.id AND l.last) ORDER BY id`, limit)
		if err != nil {
			return err
		}
		_, rows, n, err = q.flushRows(ctx, tx, ids, now, limit, destination)
		return err
	})
	return rows, n, err
}

// findHasten finds the tasks that a Hasten makes due.
func (q *Queue) findHasten(ctx context.Context, ids []queue.ID, now int64) (rows []outcomeRow, n int, err error) {
	var numbers []uint64
	for _, id := range ids {
		if n, ok := parseID(id); ok && !slices.Contains(numbers, n) {
			numbers = append(numbers, n)
		}
	}
	there := 0
	err = q.inSnapshot(ctx, func(tx *sql.Tx) error {
		var err error
		there, rows, n, err = q.flushRows(ctx, tx, numbers, now, now, "")
		return err
	})
	if err == nil && there == 0 {
		err = queue.ErrNotFound
	}
	return rows, n, err
}

// flushRows returns the rows that make the tasks of messages due which wait for a retry after limit, and the number of
// these tasks. An empty destination means all. there is how many of the messages exist.
func (q *Queue) flushRows(
	ctx context.Context, tx *sql.Tx, ids []uint64, now, limit int64, destination string,
) (there int, rows []outcomeRow, n int, err error) {
	for len(ids) > 0 {
		page := ids[:min(len(ids), listPage)]
		ids = ids[len(page):]
		all, err := q.readStored(ctx, tx, ofIDs, arrayOf(page))
		if err != nil {
			return 0, nil, 0, err
		}
		for _, s := range all {
			there++
			row := outcomeRow{ID: s.msg.ID, Lane: q.laneOf(s.msg), Kind: flushed}
			row.Data = &eventRecord{Overdue: index.Never}
			for _, t := range s.left() {
				if t.attempts > 0 && t.due > limit && s.stateOf(t, now) == queue.Waiting &&
					(destination == "" || s.destination(t) == destination) {
					row.Data.Nums = append(row.Data.Nums, t.num)
				}
			}
			if len(row.Data.Nums) > 0 {
				rows = append(rows, row)
				n += len(row.Data.Nums)
			}
		}
	}
	return there, rows, n, nil
}

// readIDs returns the IDs that a statement selects.
func (q *Queue) readIDs(ctx context.Context, tx querier, statement string, args ...any) (ids []uint64, err error) {
	rows, err := tx.QueryContext(ctx, q.sql(statement), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id uint64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// flushTasks makes tasks in ix due at once. It returns their lanes. q.mu is held.
func (q *Queue) flushTasks(e *event) (lanes []queue.Lane) {
	var r eventRecord
	if err := json.Unmarshal(e.data, &r); err != nil {
		q.unreadable(e.id, err)
		return nil
	}
	for _, num := range r.Nums {
		if l, ok := q.ix.Hasten(e.id, num); ok {
			lanes = append(lanes, l)
		}
	}
	return lanes
}
