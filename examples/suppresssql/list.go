// Package suppresssql is a suppress.List in a database by database/sql. Several programs can share one. The statements
// are for SQLite and PostgreSQL, and tested with SQLite. For other databases, change the placeholders and ON CONFLICT.
package suppresssql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/postrider/postrider/bounce/suppress"
)

// Schema makes the tables. Times are in microseconds since 1970, 0 for none.
const Schema = `
CREATE TABLE IF NOT EXISTS suppressed (
	tenant TEXT NOT NULL, address TEXT NOT NULL,
	source TEXT NOT NULL, reason TEXT NOT NULL, added BIGINT NOT NULL, until BIGINT NOT NULL,
	id TEXT NOT NULL, note TEXT NOT NULL,
	PRIMARY KEY (tenant, address));
CREATE TABLE IF NOT EXISTS strikes (
	tenant TEXT NOT NULL, address TEXT NOT NULL, source TEXT NOT NULL, reason TEXT NOT NULL,
	count INTEGER NOT NULL, first BIGINT NOT NULL, last BIGINT NOT NULL, id TEXT NOT NULL,
	PRIMARY KEY (tenant, address, source, reason));`

// List is a suppress.List. Its DB must have the tables of Schema. It remembers only the ID of the last strike: retries
// of one message at a time count once.
type List struct{ DB *sql.DB }

// Add implements suppress.List.
func (l *List) Add(ctx context.Context, e suppress.Entry) error {
	_, err := l.DB.ExecContext(ctx, `INSERT INTO suppressed VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (tenant, address) DO UPDATE SET source = excluded.source, reason = excluded.reason,
			added = excluded.added, until = excluded.until, id = excluded.id, note = excluded.note`,
		e.Tenant, e.Address, e.Source.String(), e.Reason.String(), micros(e.Time), micros(e.Until), e.ID, e.Text)
	return wrap("add", err)
}

// Has implements suppress.List.
func (l *List) Has(ctx context.Context, k suppress.Key) (suppress.Entry, bool, error) {
	e := suppress.Entry{Key: k}
	var source, reason string
	var added, until int64
	err := l.DB.QueryRowContext(ctx, `SELECT source, reason, added, until, id, note FROM suppressed
		WHERE tenant = $1 AND address = $2`, k.Tenant, k.Address).Scan(&source, &reason, &added, &until, &e.ID, &e.Text)
	if errors.Is(err, sql.ErrNoRows) {
		return suppress.Entry{}, false, nil
	}
	if err == nil {
		err = errors.Join(e.Source.UnmarshalText([]byte(source)), e.Reason.UnmarshalText([]byte(reason)))
	}
	if err != nil {
		return suppress.Entry{}, false, wrap("has", err)
	}
	e.Time, e.Until = timeOf(added), timeOf(until)
	return e, true, nil
}

// Remove implements suppress.List.
func (l *List) Remove(ctx context.Context, k suppress.Key) error {
	return l.tx(ctx, "remove", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM suppressed WHERE tenant = $1 AND address = $2`, k.Tenant, k.Address)
		if err == nil {
			_, err = tx.ExecContext(ctx, `DELETE FROM strikes WHERE tenant = $1 AND address = $2`, k.Tenant, k.Address)
		}
		return err
	})
}

// Strike implements suppress.List. A row is changed by one statement, so that two strikes at a time both count.
func (l *List) Strike(ctx context.Context, k suppress.Key, s suppress.Strike) (t suppress.Tally, err error) {
	var first int64
	err = l.DB.QueryRowContext(ctx, `INSERT INTO strikes VALUES ($1, $2, $3, $4, 1, $5, $5, $6)
		ON CONFLICT (tenant, address, source, reason) DO UPDATE SET
			count = CASE WHEN excluded.last - strikes.last > $7 THEN 1
				WHEN excluded.id <> '' AND excluded.id = strikes.id THEN strikes.count
				ELSE strikes.count + 1 END,
			first = CASE WHEN excluded.last - strikes.last > $7 THEN excluded.first ELSE strikes.first END,
			last = CASE WHEN excluded.last - strikes.last <= $7 AND excluded.id <> '' AND excluded.id = strikes.id
				THEN strikes.last ELSE excluded.last END,
			id = excluded.id
		RETURNING count, first`,
		k.Tenant, k.Address, s.Source.String(), s.Reason.String(), micros(s.Time), s.ID, s.Within.Microseconds(),
	).Scan(&t.Count, &first)
	t.First = timeOf(first)
	return t, wrap("strike", err)
}

// Forgive implements suppress.List.
func (l *List) Forgive(ctx context.Context, k suppress.Key) error {
	_, err := l.DB.ExecContext(ctx, `DELETE FROM strikes WHERE tenant = $1 AND address = $2 AND source = $3`,
		k.Tenant, k.Address, suppress.FromResult.String())
	return wrap("forgive", err)
}

func (l *List) tx(ctx context.Context, what string, do func(*sql.Tx) error) error {
	tx, err := l.DB.BeginTx(ctx, nil)
	if err != nil {
		return wrap(what, err)
	}
	if err := do(tx); err != nil {
		return wrap(what, errors.Join(err, tx.Rollback()))
	}
	return wrap(what, tx.Commit())
}

func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("suppresssql: %s: %w", what, err)
	}
	return nil
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func timeOf(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

var _ suppress.List = (*List)(nil)
