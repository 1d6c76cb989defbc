package pgqueue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/postrider/postrider/queue"
)

// notSent is an error before anything was committed.
type notSent struct{ err error }

func (e *notSent) Error() string { return e.err.Error() }
func (e *notSent) Unwrap() error { return e.err }

// stateError is an error that the server sent, in both drivers.
type stateError interface {
	error
	SQLState() string
}

// rejected reports whether a commit with this error has certainly stored nothing.
func rejected(err error) bool {
	if _, ok := errors.AsType[*notSent](err); ok || errors.Is(err, errFenced) || errors.Is(err, queue.ErrLeaseLost) {
		return true
	}
	state, ok := errors.AsType[stateError](err)
	if !ok {
		return false
	}
	class := state.SQLState()
	return len(class) == 5 && class[:2] != "08" && class[:3] != "57P" && class != "40003"
}

// ofOne reports whether an error of a statement for several calls, which has stored nothing, may be the fault of one of
// them.
func ofOne(err error) bool {
	_, refused := errors.AsType[stateError](err)
	_, unreadable := errors.AsType[*fileError](err)
	return rejected(err) && (refused || unreadable)
}

// inTime returns an error of a statement. At the end of ctx, it is that of no single call, also if the server says so.
func inTime(ctx context.Context, err error) error {
	if ctx.Err() != nil && ofOne(err) {
		return &notSent{fmt.Errorf("%w: %v", ctx.Err(), err)}
	}
	return err
}

// resolve finds out whether a batch was committed whose connection was lost. It changes the fence first, so that the
// old connection can't commit it later. If it wasn't committed, resolve returns cause.
func (q *Queue) resolve(b *batch, cause error) ([]uint64, error) {
	pause := 10 * time.Millisecond
	for {
		ids, found, err := q.find(b)
		switch {
		case err == nil && found:
			return ids, nil
		case err == nil:
			return nil, &notSent{cause}
		}
		select {
		case <-q.quit:
			return nil, &notSent{cause} // as after a crash
		case <-time.After(pause):
			pause = min(2*pause, time.Second)
		}
	}
}

// find changes the fence, and looks for a batch.
func (q *Queue) find(b *batch) (ids []uint64, found bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), q.config.Timeout)
	defer cancel()
	tx, err := q.beginTx(ctx, nil)
	if err != nil {
		return nil, false, err
	}
	defer tx.Rollback()
	if err := q.raiseFence(ctx, tx, b.node); err != nil {
		return nil, false, err
	}
	if len(b.msgs) > 0 {
		var list string
		err = tx.QueryRowContext(ctx, q.sql(`SELECT coalesce(string_agg(id::text, ',' ORDER BY id), '')
			FROM "postrider".msg WHERE id > $1 AND node = $2 AND batch = $3`),
			int64(b.after), b.node, b.number).Scan(&list)
		if err == nil {
			ids, err = parseIDs(list)
		}
		found = len(ids) > 0
	} else if len(b.outcomes) > 0 {
		err = tx.QueryRowContext(ctx, q.sql(`SELECT EXISTS (SELECT FROM "postrider".outcome
			WHERE id = $1 AND node = $2 AND batch = $3)`), int64(b.outcomes[0].ID), b.node, b.number).Scan(&found)
	}
	if err == nil {
		err = tx.Commit()
	}
	return ids, found, err
}

// raiseFence waits for the commits of a node that are in progress, and makes those fail that begin before the node
// has polled again.
func (q *Queue) raiseFence(ctx context.Context, tx *sql.Tx, node int64) error {
	// FOR UPDATE waits for FOR KEY SHARE, and UPDATE alone wouldn't.
	if _, err := tx.ExecContext(ctx, q.sql(`SELECT FROM "postrider".node WHERE id = $1 FOR UPDATE`), node); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, q.sql(`UPDATE "postrider".node SET fence = fence + 1 WHERE id = $1`), node)
	return err
}
