package pgqueue

import (
	"context"
	"database/sql"
	"errors"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// Row executes a statement in a transaction of the application and scans the row that it returns. The statement has
// PostgreSQL's own placeholders, $1 and so on. The error for no row must be or wrap [sql.ErrNoRows], as that of package
// pgx does. For a pgx.Tx it is:
//
//	func(ctx context.Context, query string, args []any, dest ...any) error {
//		return tx.QueryRow(ctx, query, args...).Scan(dest...)
//	}
type Row func(ctx context.Context, query string, args []any, dest ...any) error

var errNotScanned = errors.New("the Row of the program returned no error, and hasn't scanned the row")

// rowOf returns the Row of a transaction, or of a database.
func rowOf(db querier) Row {
	return func(ctx context.Context, query string, args []any, dest ...any) error {
		return db.QueryRowContext(ctx, query, args...).Scan(dest...)
	}
}

// EnqueueTx stores m in a transaction of the application: the mail is sent if and only if the transaction is committed.
// The transaction must be in the database of the Queue. It can have any isolation level, and stay open for any time,
// without a delay for other mail. It is sent within about Options.Poll after the commit, or six times that if the
// Queue that has it was idle. If that is this Queue, [Queue.Refresh] has it sent at once.
//
// The ID is that of the message if the transaction is committed. With a Key that is known, EnqueueTx stores nothing and
// returns the ID of the first message, as [queue.Keyer] says. While another transaction stores the same Key, it waits
// for the end of that. In a transaction that is repeatable read or serializable, PostgreSQL may end it with a
// serialization failure then: repeat the transaction, with a new Body, as Relay.Prepare makes it.
//
// A Relay doesn't know of the commit: Relay.Accepted isn't called for the message, and the log has no line "mail".
//
// After an error, the transaction must be rolled back.
func (q *Queue) EnqueueTx(ctx context.Context, tx *sql.Tx, m queue.Message) (queue.ID, error) {
	return q.EnqueueRow(ctx, rowOf(tx), m)
}

// EnqueueRow is EnqueueTx for a transaction that isn't a *sql.Tx, for example a pgx.Tx.
func (q *Queue) EnqueueRow(ctx context.Context, row Row, m queue.Message) (queue.ID, error) {
	id, err := q.enqueueRow(ctx, row, m)
	if err != nil {
		return "", failed("enqueue in a transaction", err)
	}
	return index.FormatID(id), nil
}

func (q *Queue) enqueueRow(ctx context.Context, row Row, m queue.Message) (id uint64, err error) {
	if err := q.begin(ctx); err != nil {
		return 0, err
	}
	key, keyed, err := index.NewKey(&m)
	if err != nil {
		return 0, err
	}
	d, err := newDraft(ctx, m, nil)
	if err != nil {
		return 0, err
	}
	defer d.free()
	if !keyed {
		return q.insert(ctx, row, d, nil, 0)
	}
	if err := q.roomForKey(ctx, row); err != nil {
		return 0, err
	}
	for {
		id, err = q.insert(ctx, row, d, &key, 0)
		if !errors.Is(err, sql.ErrNoRows) {
			if err == nil {
				q.keys.add(1)
			}
			return id, err
		}
		if id, err = q.known(ctx, row, key); err != nil || id != 0 {
			return id, err
		}
	}
}
