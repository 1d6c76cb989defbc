package pgqueue

import (
	"cmp"
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
	mu        sync.Mutex
	n         int // that there were at the last count, and those that were stored since
	counted   time.Duration
	known     bool
	counting  bool // a caller counts, without mu
	meanwhile int  // those that were stored since the count began
}

// keyCutoff returns the time before which a Key that was stored is forgotten. A step of the server's clock doesn't
// change it while the Queue is open.
func (q *Queue) keyCutoff() int64 { return index.ToNano(q.clock.unstepped().Add(-q.config.KeyTime)) }

const knownSQL = `SELECT id, envelope FROM "postrider".key WHERE name = $1 AND stored > $2
	AND ($1 IS NOT NULL OR ` + dear + `)`

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
// for its end, as long as $11 says; if NULL, as long as lock_timeout does.
const keyedSQL = `WITH k AS (
	INSERT INTO "postrider".key AS old (name, envelope, id, stored)
	SELECT $1::bytea, $2::bigint, coalesce($10::bigint, nextval('"postrider".msg_id')), $3::bigint
	FROM set_config('lock_timeout', coalesce($11::text, current_setting('lock_timeout')), true)
	ON CONFLICT (name) DO UPDATE SET envelope = excluded.envelope, id = excluded.id, stored = excluded.stored
	WHERE old.stored <= $4::bigint
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

// These bound what calls with a Key that other transactions hold take from other calls. While such a call pauses, it
// has no connection.
const (
	maxKeyConns  = 16                    // connections of first looks and tries at a time
	firstKeyWait = 50 * time.Millisecond // of a first try for the end of another transaction
	nextKeyWait  = 10 * time.Millisecond // of later ones, of which one runs at a time
	maxKeyPause  = 500 * time.Millisecond
)

// keyConns returns how many first tries may run at a time. They leave four connections to later ones and other calls.
func keyConns(maxOpen int) int {
	if maxOpen <= 0 {
		return maxKeyConns
	}
	return min(maxKeyConns, max(1, maxOpen-4))
}

// enqueueKeyed stores a message with a Key, in a transaction of its own, within a time limit. The poller finds it, as
// it finds that of an application. mayBe is the ID under which the message may be stored already.
func (q *Queue) enqueueKeyed(
	ctx context.Context, limit time.Duration, d *draft, key *index.Key, mayBe uint64,
) (id uint64, repeats bool, err error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer func() {
		err = q.late(ctx, limited, "another transaction with the same Key, or no connection,", err)
		if err != nil && mayBe != 0 {
			err = fmt.Errorf("%w: %w", errUnknown, err)
		}
	}()
	if mayBe == 0 {
		if err := q.roomForKey(limited, rowOf(q.db)); err != nil {
			return 0, false, err
		}
	}
	slots, wait := q.firstTries, firstKeyWait
	for pause := nextKeyWait; ; pause = min(2*pause, maxKeyPause) {
		id, err := q.enqueueAlone(limited, d, key, slots, wait)
		switch {
		case err == nil:
			return id, false, nil
		case errors.Is(err, errUnknown):
			// The next statement for this Key waits for the end of this transaction, and so finds what became of it.
			return q.enqueueKeyed(ctx, q.config.Timeout, d, key, id)
		case errors.Is(err, sql.ErrNoRows):
			if first, err := q.known(limited, rowOf(q.db), *key); err != nil || first != 0 {
				return first, first != mayBe, err
			}
			continue // it was forgotten since
		case !lockedOut(err):
			return 0, false, err
		}
		slots, wait = q.nextTries, nextKeyWait
		select {
		case <-limited.Done():
			return 0, false, limited.Err()
		case <-time.After(pause):
		}
	}
}

// late adds to an error that limited, which has Options.Timeout, has ended before ctx, and what may be the reason.
func (q *Queue) late(ctx, limited context.Context, reason string, err error) error {
	if err == nil || limited.Err() == nil || ctx.Err() != nil {
		return err
	}
	if !errors.Is(err, limited.Err()) {
		err = fmt.Errorf("%w: %w", limited.Err(), err)
	}
	return fmt.Errorf("%s for Options.Timeout, %v: %w", reason, q.config.Timeout, err)
}

// lockedOut reports whether a statement has waited for a lock as long as it may.
func lockedOut(err error) bool {
	state, ok := errors.AsType[stateError](err)
	return ok && state.SQLState() == "55P03"
}

// enqueueAlone stores a message in a transaction of its own, when there is a slot for it. With a Key that is known, it
// returns sql.ErrNoRows. It waits so long for another transaction that has stored the same Key. If the result of the
// commit isn't known, it returns errUnknown, with the ID.
func (q *Queue) enqueueAlone(
	ctx context.Context, d *draft, key *index.Key, slots chan struct{}, wait time.Duration,
) (id uint64, err error) {
	err = inSlot(ctx, slots, func() error {
		id, err = q.insertAlone(ctx, d, key, wait)
		return err
	})
	return id, err
}

// inSlot calls do while it has a slot, or returns the error of ctx.
func inSlot(ctx context.Context, slots chan struct{}, do func() error) error {
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
		return do()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// insertAlone is enqueueAlone with a slot.
func (q *Queue) insertAlone(ctx context.Context, d *draft, key *index.Key, wait time.Duration) (id uint64, err error) {
	if err := q.enter(ctx); err != nil {
		return 0, err
	}
	defer q.calls.Done()
	whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*q.config.Timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, cancel) // the end of ctx ends each wait, but no commit
	defer stop()
	tx, err := q.beginTx(whole, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	if id, err = q.insert(ctx, rowOf(tx), d, key, wait); err != nil {
		return 0, cmp.Or(ctx.Err(), err) // the driver may only know that whole was canceled
	}
	if !stop() {
		return 0, ctx.Err()
	}
	if err := tx.Commit(); err != nil {
		if rejected(err) {
			return 0, err
		}
		return id, fmt.Errorf("%w: %w", errUnknown, err)
	}
	if key != nil {
		q.keys.add(1)
	}
	return id, nil
}

// insert stores a message in a transaction of whoever has row. With a Key that is known, it returns sql.ErrNoRows. wait
// bounds the wait for another transaction; if zero, the settings of this one do.
func (q *Queue) insert(
	ctx context.Context, row Row, d *draft, key *index.Key, wait time.Duration,
) (id uint64, err error) {
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
		var atMost any
		if wait > 0 {
			atMost = fmt.Sprintf("%dms", wait.Milliseconds())
		}
		args := append([]any{key.Name[:], int64(key.Envelope), stored, q.keyCutoff()}, msg...)
		args = append(args, atMost)
		err = row(ctx, q.sql(keyedSQL), args, &id)
	}
	if err == nil && id == 0 {
		err = errNotScanned
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
	k.meanwhile += n
}

// roomForKey returns ErrKeysFull if there are as many Keys as there may be. If the last count is old, one caller counts
// anew, and others meanwhile go by what they have.
func (q *Queue) roomForKey(ctx context.Context, row Row) error {
	k, most := &q.keys, q.config.MaxKeys
	if now := q.clock.elapsed(); k.claim(now, most) {
		if err := q.countKeys(ctx, row, now); err != nil {
			return err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.n >= most {
		return fmt.Errorf("%w: MaxKeys is %d", queue.ErrKeysFull, most)
	}
	return nil
}

// claim reports whether the caller has to count.
func (k *keyCount) claim(now time.Duration, most int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	age := now - k.counted
	if k.counting || k.known && age < time.Minute && (k.n < most || age < time.Second) {
		return false
	}
	k.counting, k.meanwhile = true, 0
	return true
}

// countKeys counts the Keys, for the caller that has claimed it. Those that are forgotten don't count, though the
// cleaner may not have deleted them yet.
func (q *Queue) countKeys(ctx context.Context, row Row, now time.Duration) error {
	k, n, err := &q.keys, 0, errors.New("the Row of the program has panicked")
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.counting = false; err == nil {
			k.n, k.counted, k.known = n+k.meanwhile, now, true
		}
	}()
	err = row(ctx, q.sql(`SELECT count(*) FROM (SELECT FROM "postrider".key WHERE stored > $1 LIMIT $2) k`),
		[]any{q.keyCutoff(), q.config.MaxKeys}, &n)
	return err
}

func orEmpty[T any](rows []T) []T {
	if rows == nil {
		return []T{}
	}
	return rows
}
