package pgqueue

import (
	"bytes"
	"context"
	"database/sql"

	"github.com/postrider/postrider/queue/internal/index"
)

// These conditions select messages, outcomes and marks.
const (
	// The cast from text would be executed for each row, if it weren't a query of its own.
	ofLanes = `lane = ANY ((SELECT $1::text::smallint[])::smallint[])`
	ofPage  = ofLanes + ` AND id > $2 AND id <= $3`

	// For some hundred IDs, the server may read a table as a whole that wasn't analyzed yet. That takes time by its
	// rows then, and not by rows times IDs, as with "= ANY".
	ofIDs = `id IN (SELECT unnest($1::text::bigint[])) AND ($1::text IS NOT NULL OR ` + dear + `)`

	// dear makes the server plan a statement at each execution, for the tables as they are then. A plan that it made
	// for all arguments while a table was small would read the table as a whole each time, until the server analyzes
	// it: that may take minutes, and all the time of a load. The condition is "$1 IS NOT NULL OR dear": a plan for the
	// arguments knows that it is true. One for all arguments seems to take hours, so the server never chooses it.
	dear = `(SELECT count(*) FROM generate_series(1, 1000000000)) < 0`

	// isThere is true for a message m that isn't gone.
	isThere = `NOT EXISTS (SELECT FROM "postrider".outcome o WHERE o.id = m.id AND o.last)`

	// isThereInPage is isThere for those of ofPage. Without the range, the whole table would be read for each page.
	isThereInPage = `NOT EXISTS
		(SELECT FROM "postrider".outcome o WHERE o.id = m.id AND o.last AND o.id > $2 AND o.id <= $3)`
)

// readStored reads the messages that aren't gone, with all that has happened to them, in the order of their IDs. Those
// of ofPage are read as ix needs them. The transaction must be repeatable read.
func (q *Queue) readStored(ctx context.Context, tx querier, where string, args ...any) ([]*stored, error) {
	all, err := q.readHeads(ctx, tx, where, args...)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	byID := make(map[uint64]*stored, len(all))
	for _, s := range all {
		byID[s.msg.ID] = s
	}
	return all, q.readEvents(ctx, tx, where, byID, args...)
}

// readHeads reads the messages that aren't gone as they arrived, in the order of their IDs.
func (q *Queue) readHeads(ctx context.Context, tx querier, where string, args ...any) (all []*stored, err error) {
	entries := where == ofPage
	where, decode := where+" AND "+isThere, decodeMessage
	room := 0
	if entries {
		where, decode = ofPage+" AND "+isThereInPage, decodeEntry
		q.mu.Lock()
		room = q.heads.room()
		q.mu.Unlock()
	}
	err = q.readMessages(ctx, tx, where, decode, func(m *index.Message, text []byte) {
		s := newStored(m)
		s.entry = entries
		if entries && len(m.Dests) == 1 && !m.Held {
			if h := headOf(m, text); h.octets <= room {
				h.text = bytes.Clone(text)
				s.head = h
				room -= h.octets
			}
		}
		all = append(all, s)
	}, args...)
	return all, err
}

// readMessages calls do with each message that the table msg has, and its column head, in the order of their IDs,
// unless it can't be read, which is reported. The column is valid until do returns.
func (q *Queue) readMessages(
	ctx context.Context, tx querier, where string, decode func([]byte) (*index.Message, error),
	do func(m *index.Message, text []byte), args ...any,
) error {
	rows, err := tx.QueryContext(ctx,
		q.sql(`SELECT id, arrival, size, head FROM "postrider".msg m WHERE `+where+` ORDER BY id`), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id uint64
		var arrival, size int64
		var text sql.RawBytes
		if err := rows.Scan(&id, &arrival, &size, &text); err != nil {
			return err
		}
		m, err := decode(text)
		if err != nil {
			q.unreadable(id, err)
			continue
		}
		m.ID, m.Arrival, m.Size = id, arrival, size
		do(m, text)
	}
	return rows.Err()
}

// readEvents reads what has happened to messages. One whose events can't be read is reported, and taken as it is
// without them.
func (q *Queue) readEvents(
	ctx context.Context, tx querier, where string, byID map[uint64]*stored, args ...any,
) error {
	rows, err := tx.QueryContext(ctx, q.sql(`
		SELECT seq, id, kind, last, data, 0::bigint, 0, 0, NULL::bigint FROM "postrider".outcome WHERE `+where+`
		UNION ALL
		SELECT seq, id, 0, false, NULL, num, attempts, deaths, until FROM "postrider".mark WHERE `+where+`
		ORDER BY 1`), args...)
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
	tx, err := q.beginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	return do(tx)
}

// readHeld returns the messages that aren't gone, and whether they are held.
func (q *Queue) readHeld(ctx context.Context, tx querier, where string, arg any) (map[uint64]bool, error) {
	rows, err := tx.QueryContext(ctx, q.sql(`SELECT id, coalesce(
			(SELECT o.kind = 3 FROM "postrider".outcome o WHERE o.id = m.id AND o.kind IN (3, 4)
				ORDER BY seq DESC LIMIT 1),
			(m.head ->> 'held')::boolean, false)
		FROM "postrider".msg m WHERE `+where+`
		AND `+isThere), arg)
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
