package pgqueue

import (
	"cmp"
	"context"
	"time"
)

// cleanBatch is how many outcomes a cleaning looks at in one transaction.
const cleanBatch = 5000

// cleaner deletes, once in a NodeLease, the rows of messages that are gone, outcomes that later ones replace, and Keys
// that are forgotten.
//
// What is deleted is always among the oldest rows of the tables, which no query of the hot path reads: claims read
// memory, and polls read the newest rows by their transaction. So these rows delay nothing, and it does no harm to keep
// them. While a transaction is open that keeps the server from vacuuming, nothing is deleted: the rows would only
// become dead ones, which take as much space, and which each autovacuum would read in vain.
func (q *Queue) cleaner(background context.Context) {
	var c cleaning
	q.repeat(background, q.config.NodeLease, "old rows can't be deleted", func(ctx context.Context) error {
		return c.clean(ctx, q)
	})
}

// graceTime is how long the rows of a message that is gone stay, so that every Queue has seen that it is.
func (q *Queue) graceTime() time.Duration { return max(time.Minute, 4*q.config.NodeLease) }

// cleaning is how far the cleaner is.
type cleaning struct {
	from int64     // outcomes up to this seq have been looked at
	upto int64     // those up to this one can be next
	at   time.Time // when upto was the newest

	// since is a number between those of older and of younger transactions: while an older one is open, nothing is
	// deleted. If empty, it is taken at the next look.
	since string
}

// clean deletes what is older than the grace time.
func (c *cleaning) clean(ctx context.Context, q *Queue) error {
	for time.Since(c.at) >= q.graceTime() {
		if c.from >= c.upto {
			err := q.db.QueryRowContext(ctx, q.sql(`SELECT last_value FROM "postrider".seq`)).Scan(&c.upto)
			c.at = time.Now()
			if err != nil {
				return err
			}
			break
		}
		if may, err := c.mayDelete(ctx, q); !may || err != nil {
			return err
		}
		to := min(c.upto, c.from+cleanBatch)
		if done, err := q.delete(ctx, c.from, to); !done || err != nil {
			return err
		}
		c.from = to
	}
	var forgotten bool // otherwise the transactions, which mayDelete waits for, don't matter
	err := q.db.QueryRowContext(ctx, q.sql(`SELECT EXISTS (SELECT FROM "postrider".key WHERE stored <= $1)`),
		q.keyCutoff()).Scan(&forgotten)
	if err != nil {
		return err
	}
	if !forgotten {
		c.since = ""
		return nil
	}
	if may, err := c.mayDelete(ctx, q); !may || err != nil {
		return err
	}
	c.since = ""
	_, err = q.db.ExecContext(ctx, q.sql(`DELETE FROM "postrider".key WHERE name IN
		(SELECT name FROM "postrider".key WHERE stored <= $1 LIMIT 10000)`), q.keyCutoff())
	return err
}

// openSQL reports whether a transaction is open that began before transaction $1, in any process that a vacuum of this
// database respects, and returns the number for the next look. A sender to a standby has no datname. The backend_type
// of other roles' sessions is hidden; the other columns aren't.
const openSQL = `SELECT EXISTS (
	SELECT FROM pg_stat_activity WHERE (datname IS NULL OR datname = current_database())
		AND backend_type IS DISTINCT FROM 'autovacuum worker' AND pid <> pg_backend_pid()
		AND greatest(age(backend_xid), age(backend_xmin)) > age($1::text::xid)
	UNION ALL
	SELECT FROM pg_replication_slots WHERE age(xmin) > age($1::text::xid)
	UNION ALL
	SELECT FROM pg_prepared_xacts WHERE database = current_database() AND age(transaction) > age($1::text::xid)
), pg_snapshot_xmax(pg_current_snapshot())::xid::text`

// mayDelete reports whether no transaction keeps the server from vacuuming what is deleted now. It looks for those that
// have been open since the last look, which was a batch or 250 ms ago, and waits 2.5 seconds for their end. If it
// reports false, it looks for the same ones at the next call: so it reports true from time to time, even if others are
// always open.
func (c *cleaning) mayDelete(ctx context.Context, q *Queue) (bool, error) {
	const looks, pause = 10, 250 * time.Millisecond
	const first = "3" // the number of the first transaction of a server
	for range looks {
		fresh := c.since == ""
		var open bool
		var now string
		if err := q.db.QueryRowContext(ctx, openSQL, cmp.Or(c.since, first)).Scan(&open, &now); err != nil {
			return false, err
		}
		if fresh || !open {
			c.since = now
		}
		if !fresh && !open {
			return true, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(pause):
		}
	}
	return false, nil
}

// delete deletes what the outcomes with a seq from after from to to have made obsolete. It returns false if another
// Queue is deleting.
func (q *Queue) delete(ctx context.Context, from, to int64) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, q.config.Timeout)
	defer cancel()
	tx, err := q.beginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer tx.Rollback()
	var alone bool
	err = tx.QueryRowContext(ctx, q.sql(`SELECT
		pg_try_advisory_xact_lock(hashtextextended('pgqueue clean "postrider"', 0))`)).Scan(&alone)
	if err != nil || !alone {
		return false, err
	}
	// Of the outcomes of a task that stays, the last one says all, except for the part of the report task.
	const newer = `SELECT id, coalesce((data ->> 'num')::bigint, 0) AS num, max(seq) AS seq FROM "postrider".outcome
		WHERE seq > $1 AND seq <= $2 AND kind IN (1, 2) GROUP BY 1, 2`
	const gone = `SELECT id FROM "postrider".outcome WHERE seq > $1 AND seq <= $2 AND last`
	for _, s := range []string{
		`DELETE FROM "postrider".outcome o USING (` + newer + `) n WHERE o.id = n.id AND o.seq < n.seq AND o.kind = 1
			AND coalesce((o.data ->> 'num')::bigint, 0) = n.num AND NOT o.last AND o.data -> 'part' IS NULL`,
		`DELETE FROM "postrider".mark m USING (` + newer + `) n WHERE m.id = n.id AND m.num = n.num AND m.seq < n.seq`,
		`DELETE FROM "postrider".mark WHERE id IN (` + gone + `)`,
		`DELETE FROM "postrider".chunk WHERE id IN (` + gone + `)`,
		`DELETE FROM "postrider".msg WHERE id IN (` + gone + `)`,
		`DELETE FROM "postrider".outcome WHERE id IN (` + gone + `)`,
	} {
		if _, err := tx.ExecContext(ctx, q.sql(s), from, to); err != nil {
			return false, err
		}
	}
	return true, tx.Commit()
}
