package pgqueue

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/lib/pq"
)

// drivers are the drivers that the tests run with.
var drivers = []string{"pgx", "pq"}

// connector returns the connector of a driver.
func connector(t testing.TB, name, dsn string) driver.Connector {
	t.Helper()
	if name == "pq" {
		c, err := pq.NewConnector(dsn)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return stdlib.GetConnector(*config)
}

// line is a way to the server that can be cut.
type line struct {
	driver.Connector
	bubble bool          // the server has the clock of this process
	jumps  bool          // it has that for the leases of Queues, too
	ahead  *atomic.Int64 // what it is ahead of that, in nanoseconds
	cut    atomic.Bool
	before func(statement string) // is called before each statement and each "COMMIT"; nil: nothing is
}

var errCut = errors.New("the line is cut")

// open returns a database at the end of the line.
func (l *line) open(t testing.TB) *sql.DB {
	db := sql.OpenDB(l)
	t.Cleanup(func() { db.Close() })
	return db
}

func (l *line) Connect(ctx context.Context) (driver.Conn, error) {
	if l.cut.Load() {
		return nil, errCut
	}
	c, err := l.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &lineConn{c, l}, nil
}

type lineConn struct {
	driver.Conn
	l *line
}

// statement is the statement as the server gets it.
func (c *lineConn) statement(query string) (string, error) {
	if c.l.cut.Load() {
		return "", errCut
	}
	if c.l.before != nil {
		c.l.before(query)
	}
	if c.l.bubble {
		now := time.Now().Add(time.Duration(c.l.ahead.Load())).UTC().Format("2006-01-02 15:04:05.000000")
		query = strings.ReplaceAll(query, "clock_timestamp()", "'"+now+"+00'::timestamptz")
		if c.l.jumps {
			query = strings.ReplaceAll(query, "statement_timestamp()", "'"+now+"+00'::timestamptz")
		}
	}
	return query, nil
}

func (c *lineConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	query, err := c.statement(query)
	if err != nil {
		return nil, err
	}
	return c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
}

func (c *lineConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	query, err := c.statement(query)
	if err != nil {
		return nil, err
	}
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

func (c *lineConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	query, err := c.statement(query)
	if err != nil {
		return nil, err
	}
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c *lineConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if c.l.cut.Load() {
		return nil, errCut
	}
	tx, err := c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	return &lineTx{tx, c.l}, nil
}

func (c *lineConn) CheckNamedValue(v *driver.NamedValue) error {
	if checker, ok := c.Conn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

func (c *lineConn) ResetSession(ctx context.Context) error {
	if c.l.cut.Load() {
		return driver.ErrBadConn
	}
	if r, ok := c.Conn.(driver.SessionResetter); ok {
		return r.ResetSession(ctx)
	}
	return nil
}

func (c *lineConn) IsValid() bool {
	v, ok := c.Conn.(driver.Validator)
	return !c.l.cut.Load() && (!ok || v.IsValid())
}

type lineTx struct {
	driver.Tx
	l *line
}

func (tx *lineTx) Commit() error {
	if tx.l.cut.Load() {
		return errCut
	}
	if tx.l.before != nil {
		tx.l.before("COMMIT")
	}
	return tx.Tx.Commit()
}
