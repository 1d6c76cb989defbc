package pgqueue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// keyCount is the number of Keys, as this Queue knows it.
type keyCount struct {
	mu      sync.Mutex
	n       int // that there were at the last count, and those that were stored since
	counted time.Duration
	known   bool
}

// keyCutoff returns the time before which a Key that was stored is forgotten. A step of the server's clock doesn't
// change it while the Queue is open.
func (q *Queue) keyCutoff() int64 { return index.ToNano(q.clock.unstepped().Add(-q.config.KeyTime)) }

const knownSQL = `SELECT id, envelope FROM "postrider".key WHERE name = $1 AND stored > $2`

// known returns the message that has a Key, 0 if there is none, as whoever has row sees it.
func (q *Queue) known(ctx context.Context, row Row, key index.Key) (uint64, error) {
	var id, envelope int64
	err := row(ctx, q.sql(knownSQL), []any{key.Name[:], q.keyCutoff()}, &id, &envelope)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, nil
	case err != nil:
		return 0, err
	case uint64(envelope) != key.Envelope:
		return 0, fmt.Errorf("%w: it is message %s. Give another message another Key",
			queue.ErrKeyReused, index.FormatID(uint64(id)))
	}
	return uint64(id), nil
}

// keyedSQL stores a message with its Key, unless the Key is known. If another transaction stores the same Key, it waits
// for its end.
const keyedSQL = `WITH k AS (
	INSERT INTO "postrider".key AS old (name, envelope, id, stored)
	VALUES ($1, $2, coalesce($10::bigint, nextval('"postrider".msg_id')), $3)
	ON CONFLICT (name) DO UPDATE SET envelope = excluded.envelope, id = excluded.id, stored = excluded.stored
	WHERE old.stored <= $4
	RETURNING id
)
INSERT INTO "postrider".msg (id, lane, node, batch, arrival, size, head, body)
SELECT k.id, $5::smallint, 0, 0, $6::bigint, $7::bigint, $8::json, $9::bytea FROM k
RETURNING id`

// insertSQL stores a message without a Key.
const insertSQL = `INSERT INTO "postrider".msg (id, lane, node, batch, arrival, size, head, body)
VALUES (coalesce($6::bigint, nextval('"postrider".msg_id')), $1::smallint, 0, 0, $2::bigint, $3::bigint, $4::json,
	$5::bytea)
RETURNING id`

// enqueueKeyed stores a message with a Key, in a transaction of its own. The poller finds it, as it finds that of an
// application.
func (q *Queue) enqueueKeyed(ctx context.Context, d *draft, key *index.Key) (id uint64, repeats bool, err error) {
	if err := q.roomForKey(ctx, rowOf(q.db)); err != nil {
		return 0, false, err
	}
	for {
		id, repeats, err := q.enqueueAlone(ctx, d, key, 0)
		if err != nil || id != 0 {
			return id, repeats, err
		}
	}
}

// enqueueAlone stores a message in a transaction of its own. With a Key, it returns 0 if it must be tried again. mayBe
// is the ID under which the message may be stored already.
func (q *Queue) enqueueAlone(
	ctx context.Context, d *draft, key *index.Key, mayBe uint64,
) (id uint64, repeats bool, err error) {
	if err := q.begin(ctx); err != nil {
		return 0, false, err
	}
	limited, cancel := context.WithTimeout(ctx, q.config.Timeout)
	defer cancel()
	whole, cancelWhole := context.WithTimeout(context.WithoutCancel(ctx), 2*q.config.Timeout)
	defer cancelWhole() // the end of ctx ends a wait for another transaction, but no commit
	tx, err := q.db.BeginTx(whole, nil)
	if err != nil {
		return 0, false, err
	}
	defer tx.Rollback()
	id, err = q.insert(limited, rowOf(tx), d, key)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		tx.Rollback()
		first, err := q.known(ctx, rowOf(q.db), *key) // 0 if it was forgotten since
		return first, first != mayBe, err
	case err != nil:
		return 0, false, err
	}
	if err := tx.Commit(); err != nil {
		switch {
		case rejected(err):
			return 0, false, err
		case key == nil:
			return 0, false, fmt.Errorf("%w: %w", errUnknown, err)
		}
		// The next statement for this Key waits for the end of this transaction, and so finds what became of it.
		return q.enqueueAlone(ctx, d, key, id)
	}
	if key != nil {
		q.keys.add(1)
	}
	q.takeOwn()
	return id, false, nil
}

// insert stores a message in a transaction of whoever has row. With a Key that is known, it returns sql.ErrNoRows.
func (q *Queue) insert(ctx context.Context, row Row, d *draft, key *index.Key) (id uint64, err error) {
	if !d.moved {
		d.Arrival = index.ToNano(q.clock.time())
	}
	var given any
	if d.file != nil {
		if err := row(ctx, q.sql(`SELECT nextval('"postrider".msg_id')`), nil, &id); err != nil {
			return 0, err
		}
		given = int64(id)
	}
	var body any
	if d.file == nil {
		body = orEmpty(d.body)
	}
	msg := []any{q.laneOf(d.Message), d.Arrival, d.Size, string(d.head), body, given}
	if key == nil {
		err = row(ctx, q.sql(insertSQL), msg, &id)
	} else {
		stored := index.ToNano(q.clock.unstepped())
		args := append([]any{key.Name[:], int64(key.Envelope), stored, q.keyCutoff()}, msg...)
		err = row(ctx, q.sql(keyedSQL), args, &id)
	}
	if err == nil && len(d.outcomes) > 0 {
		err = q.insertOutcomes(ctx, row, id, d)
	}
	if err != nil || d.file == nil {
		return id, err
	}
	return id, d.writeChunks(q.sql(chunkSQL+` RETURNING n`), id, func(query string, args ...any) error {
		var n int64
		return row(ctx, query, args, &n)
	})
}

func (k *keyCount) add(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.n += n
}

// roomForKey returns ErrKeysFull if there are as many Keys as there may be.
func (q *Queue) roomForKey(ctx context.Context, row Row) error {
	k := &q.keys
	k.mu.Lock()
	defer k.mu.Unlock()
	now := q.clock.elapsed()
	if !k.known || now-k.counted >= time.Minute || k.n >= q.config.MaxKeys && now-k.counted >= time.Second {
		// Those that are forgotten don't count, though the cleaner may not have deleted them yet.
		err := row(ctx, q.sql(`SELECT count(*) FROM (SELECT FROM "postrider".key WHERE stored > $1 LIMIT $2) k`),
			[]any{q.keyCutoff(), q.config.MaxKeys}, &k.n)
		if err != nil {
			return err
		}
		k.counted, k.known = now, true
	}
	if k.n >= q.config.MaxKeys {
		return fmt.Errorf("%w: MaxKeys is %d", queue.ErrKeysFull, q.config.MaxKeys)
	}
	return nil
}
