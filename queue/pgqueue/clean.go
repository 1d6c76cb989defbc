package pgqueue

import (
	"context"
	"time"
)

// cleanBatch is how many outcomes a cleaning looks at in one transaction.
const cleanBatch = 5000

// cleaner deletes, once in a NodeLease, the rows of messages that are gone, outcomes that later ones replace, and Keys
// that are forgotten.
//
// What is deleted is always among the oldest rows of the tables, which no query of the hot path reads: claims read
// memory, and polls read the newest rows by their transaction. So dead rows delay nothing while a reader keeps them
// from being vacuumed.
func (q *Queue) cleaner(background context.Context) {
	t := time.NewTicker(q.config.NodeLease)
	defer t.Stop()
	var c cleaning
	for {
		select {
		case <-background.Done():
			return
		case <-t.C:
		}
		if err := c.clean(background, q); err != nil && background.Err() == nil {
			q.config.Logger.Warn("pgqueue: old rows can't be deleted", "error", err)
		}
	}
}

// graceTime is how long the rows of a message that is gone stay, so that every Queue has seen that it is.
func (q *Queue) graceTime() time.Duration { return max(time.Minute, 4*q.config.NodeLease) }

// cleaning is how far the cleaner is.
type cleaning struct {
	from int64     // outcomes up to this seq have been looked at
	upto int64     // those up to this one can be next
	at   time.Time // when upto was the newest
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
		to := min(c.upto, c.from+cleanBatch)
		if err := q.delete(ctx, c.from, to); err != nil {
			return err
		}
		c.from = to
	}
	_, err := q.db.ExecContext(ctx, q.sql(`DELETE FROM "postrider".key WHERE name IN
		(SELECT name FROM "postrider".key WHERE stored <= $1 LIMIT 10000)`), q.keyCutoff())
	return err
}

// delete deletes what the outcomes with a seq from after from to to have made obsolete.
func (q *Queue) delete(ctx context.Context, from, to int64) error {
	ctx, cancel := context.WithTimeout(ctx, q.config.Timeout)
	defer cancel()
	tx, err := q.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
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
			return err
		}
	}
	return tx.Commit()
}
