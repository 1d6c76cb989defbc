package pgqueue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// These are rows that a commit stores. Import and the operations send outcomes as JSON.
type (
	outcomeRow struct {
		ID   uint64       `json:"id"`
		Lane int          `json:"lane"`
		Kind int          `json:"kind"`
		Last bool         `json:"last"`
		Data *eventRecord `json:"data,omitempty"`
	}
	markRow struct {
		ID       uint64
		Num      uint32
		Lane     int
		Attempts int
		Deaths   int
		Until    int64
	}
)

// job is what one call writes.
type job struct {
	node     int64    // that the Queue was when the job was prepared
	fence    int64    // likewise
	msgs     []*draft // get their IDs
	outcomes []outcomeRow
	marks    []markRow
	lazy     bool
	call     call

	done chan struct{}
	err  error
}

// call is what a job does when its result is known, before done is closed: err is nil, or nothing is stored.
type call interface {
	stored(err error) // is called first, with q.mu held, which all jobs of a commit share
	finish(err error)
}

// finishing is a call that has nothing to do with q.mu held.
type finishing func(err error)

func (finishing) stored(error)       {}
func (f finishing) finish(err error) { f(err) }

var (
	// errFenced is the result of a job while another node has removed messages of this one.
	errFenced = errors.New("another Queue has removed messages meanwhile")

	// errUnknown is the error of a call whose result isn't known in time.
	errUnknown = errors.New("the connection was lost during the commit, and it isn't known whether that succeeded")
)

// write commits jobs. If the connection is lost meanwhile, it returns when the result is known, or errUnknown.
func (g *group) write(jobs []*job) error {
	q := g.q
	b := q.newBatch(jobs)
	if b.node == 0 && !q.config.NoDelivery {
		return queue.ErrLeaseLost
	}
	ids, err := g.execute(b)
	if err != nil && !rejected(err) {
		q.config.Logger.Warn("pgqueue: the connection was lost during a commit", "error", err)
		if q.config.NoDelivery { // it has no fence, by which the result could be known
			return fmt.Errorf("%w: %w", errUnknown, err)
		}
		if ids, err = q.resolve(b, err); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	if len(ids) != len(b.msgs) {
		return fmt.Errorf("%d messages got %d IDs", len(b.msgs), len(ids))
	}
	for i, d := range b.msgs {
		d.ID = ids[i]
	}
	return nil
}

// execute executes the statement, in a transaction of its own. It returns the IDs of the messages.
func (g *group) execute(b *batch) (ids []uint64, err error) {
	q := g.q
	ctx, cancel := context.WithTimeout(context.Background(), q.config.Timeout)
	defer cancel()
	defer func() { err = inTime(ctx, err) }()
	if slices.ContainsFunc(b.msgs, isLarge) {
		return q.runLarge(ctx, b)
	}
	args, err := q.args(b, nil) // before the connection is taken
	if err != nil {
		return nil, &notSent{err}
	}
	conn, err := g.connection(ctx)
	if err != nil {
		return nil, &notSent{err}
	}
	ids, err = q.execute(ctx, conn, q.commits[b.parts()], args)
	if err != nil || !g.mayKeep() {
		g.release()
	}
	return ids, err
}

// execute executes a statement of commitSQL.
func (q *Queue) execute(ctx context.Context, db querier, statement string, args []any) ([]uint64, error) {
	var there int
	var list, last string
	if err := db.QueryRowContext(ctx, statement, args...).Scan(&there, &list, &last); err != nil {
		return nil, err
	}
	if there == 0 {
		return nil, q.refence(ctx, db, args[0].(int64))
	}
	return parseIDs(list)
}

// maxID is the largest ID that a row can have.
const maxID = 1<<63 - 1

// parseID reads an ID. It returns false for one that no message has.
func parseID(id queue.ID) (n uint64, ok bool) {
	n, ok = index.ParseID(id)
	return n, ok && n <= maxID
}

func parseIDs(list string) (ids []uint64, err error) {
	if list == "" {
		return nil, nil
	}
	for text := range strings.SplitSeq(list, ",") {
		id, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// refence finds out why a commit was refused by the fence. It returns errFenced, or ErrLeaseLost if the node is gone.
// Only a poll learns the new fence, together with what has changed.
func (q *Queue) refence(ctx context.Context, db querier, node int64) error {
	var there bool
	err := db.QueryRowContext(ctx, q.sql(`SELECT EXISTS (SELECT FROM "postrider".node WHERE id = $1)`), node).
		Scan(&there)
	switch {
	case err != nil:
		return &notSent{err}
	case there:
		return errFenced
	}
	return queue.ErrLeaseLost
}

// runLarge executes the statement for messages with chunks.
func (q *Queue) runLarge(ctx context.Context, b *batch) (ids []uint64, err error) {
	tx, err := q.beginTx(ctx, nil)
	if err != nil {
		return nil, &notSent{err}
	}
	defer tx.Rollback()
	given := make([]uint64, len(b.msgs))
	for i, d := range b.msgs { // all, as their order is that of their IDs
		id := &given[i]
		if err := tx.QueryRowContext(ctx, q.sql(`SELECT nextval('"postrider".msg_id')`)).Scan(id); err != nil {
			return nil, &notSent{err}
		}
		if d.file == nil {
			continue
		}
		exec := func(query string, args ...any) error {
			_, err := tx.ExecContext(ctx, query, args...)
			return err
		}
		if err := d.writeChunks(q.sql(chunkSQL), *id, exec); err != nil {
			return nil, &notSent{err}
		}
	}
	args, err := q.args(b, given)
	if err != nil {
		return nil, &notSent{err}
	}
	if ids, err = q.execute(ctx, tx, q.commits[b.parts()], args); err != nil {
		return nil, &notSent{err}
	}
	return ids, tx.Commit()
}
