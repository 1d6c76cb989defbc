package river

import (
	"context"
	"database/sql"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"
)

// size returns how many connections a pool has: one for each producer, 20 for more than that, and 2 for what else its
// side does.
func size(producers int) int { return max(min(producers, 20)+2, 12) }

// connections returns a pool of that size.
func (p *place) connections(producers int) *pgxpool.Pool {
	p.Helper()
	config, err := pgxpool.ParseConfig(p.server.DSN())
	if err != nil {
		p.Fatal(err)
	}
	config.MaxConns = int32(size(producers))
	pool, err := pgxpool.NewWithConfig(p.Context(), config)
	if err != nil {
		p.Fatal(err)
	}
	return pool
}

// database is connections for database/sql.
func (p *place) database(producers int) *sql.DB {
	p.Helper()
	db, err := sql.Open("pgx", p.server.DSN())
	if err != nil {
		p.Fatal(err)
	}
	db.SetMaxOpenConns(size(producers))
	db.SetMaxIdleConns(size(producers))
	return db
}

// orders has producers call one, which stores an order and its mail in one transaction, and counts both.
func (p *place) orders(mails string, producers int, one func(ctx context.Context, i int) error) figures {
	p.exec(`CREATE TABLE {schema}.orders (id bigint PRIMARY KEY, item text NOT NULL)`)
	f := p.produced(producers, one)
	p.count(p.n+p.warm, "mails", `SELECT count(*) FROM `+mails)
	p.count(p.n+p.warm, "orders", `SELECT count(*) FROM {schema}.orders`)
	return f
}

func order(schema string) string { return `INSERT INTO ` + schema + `.orders VALUES ($1, $2)` }

// inTx stores order i and what do stores in one transaction.
func inTx(ctx context.Context, db *sql.DB, schema string, i int, do func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, order(schema), i, "tea"); err != nil {
		return err
	}
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// inPgx is inTx with pgx.
func inPgx(ctx context.Context, pool *pgxpool.Pool, schema string, i int, do func(tx pgx.Tx) error) error {
	tx, err := pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx)
	if _, err := tx.Exec(ctx, order(schema), i, "tea"); err != nil {
		return err
	}
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit(ctx)
}
