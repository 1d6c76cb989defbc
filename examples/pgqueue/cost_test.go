package pgqueue

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/postrider/postrider/examples/pgqueue/pgtest"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
)

// TestReaderCost counts what the server does for a message, without another transaction and while a repeatable-read
// one is open: the blocks of tables and indexes that it looks at, and the octets of WAL. They may grow by 5 % and a
// little. TestReader does so for ten minutes with many messages at a time, and measures times. Here, calls come one
// after the other, so that each message takes the same statements, and a Queue renews its lease 15 times as often as
// usual: that changes rows, of which a reader keeps the server from removing the old ones.
func TestReaderCost(t *testing.T) {
	const most = 1000 // dead rows
	theServer(t)
	s, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Remove)
	db, schema := newSchema(t, s)
	for _, statement := range []string{
		`ALTER SYSTEM SET autovacuum = off`, // which looks at blocks when it likes
		`ALTER SYSTEM SET synchronous_commit = off`,
		`SELECT pg_reload_conf()`,
	} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	withoutFullPages(t, db)
	c := &costs{admin: db, schema: schema}
	c.db = (&line{Connector: connector(t, "pgx", s.DSN()+" application_name=queue")}).open(t)
	for range 3 {
		c.queues = append(c.queues, open(t, c.db, pgqueue.Options{
			Schema: schema, Poll: time.Hour, NodeLease: time.Second,
		}))
	}
	c.of(t, 800) // so that the tables aren't empty
	before := c.least(t)
	reader, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Rollback()
	var stored int
	if err := reader.QueryRow(named(`SELECT count(*) FROM "postrider".msg`, schema)).Scan(&stored); err != nil {
		t.Fatal(err)
	}
	const deadSQL = `SELECT coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables`
	dead := c.number(t, deadSQL)
	beside := c.least(t)
	dead = c.number(t, deadSQL) - dead
	if err := reader.Commit(); err != nil {
		t.Fatal(err)
	}
	after := c.least(t)
	t.Logf("a message takes %v before, %v beside and %v after a reader, which leaves %d dead rows",
		before, beside, after, dead)
	if dead > most {
		t.Errorf("got %d dead rows, want at most %d", dead, most)
	}
	if limit := 1.05*max(before.blocks, after.blocks) + 3; beside.blocks > limit {
		t.Errorf("got %.1f blocks a message beside a reader, want at most %.1f", beside.blocks, limit)
	}
	if limit := 1.05*max(before.wal, after.wal) + 10; beside.wal > limit {
		t.Errorf("got %.0f octets of WAL a message beside a reader, want at most %.0f", beside.wal, limit)
	}
}

// cost is what the server does for a message.
type cost struct{ blocks, wal float64 }

func (c cost) String() string {
	return fmt.Sprintf("%.1f blocks and %.0f octets of WAL", c.blocks, c.wal)
}

// costs counts what three Queues cost the server.
type costs struct {
	db, admin *sql.DB
	schema    string
	queues    []*pgqueue.Queue
}

func (c *costs) number(t *testing.T, query string) (n int) {
	t.Helper()
	if err := c.admin.QueryRow(named(query, c.schema)).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// counts returns the blocks and the octets of WAL so far. The server counts the blocks of a session at its end at the
// latest, so all sessions of the Queues are ended.
func (c *costs) counts(t *testing.T) (blocks, wal int) {
	t.Helper()
	wal = c.number(t, `SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint`)
	c.db.SetMaxIdleConns(-1)
	defer c.db.SetMaxIdleConns(10)
	until(t, "all sessions have ended", func() bool {
		return c.number(t, `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'queue'`) == 0
	})
	return c.number(t, `SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = current_database()`), wal
}

// least returns the lowest of three costs, as new sessions look at the catalog.
func (c *costs) least(t *testing.T) cost {
	t.Helper()
	const n = 400
	low := c.of(t, n)
	for range 2 {
		got := c.of(t, n)
		low.blocks, low.wal = min(low.blocks, got.blocks), min(low.wal, got.wal)
	}
	return low
}

// of has the Queues enqueue and settle n messages, and returns what each costs.
func (c *costs) of(t *testing.T, n int) cost {
	t.Helper()
	ctx := t.Context()
	blocks, wal := c.counts(t)
	for i := range n {
		if _, err := c.queues[i%3].Enqueue(ctx, mail(i, "x")); err != nil {
			t.Fatal(err)
		}
		if i%40 == 39 {
			c.settle(ctx, t)
		}
	}
	if left := c.number(t, `SELECT count(*) FROM "postrider".msg m
		WHERE NOT EXISTS (SELECT FROM "postrider".outcome o WHERE o.id = m.id AND o.last)`); left > 0 {
		t.Errorf("%d messages are left", left)
	}
	blocksAfter, walAfter := c.counts(t)
	return cost{float64(blocksAfter-blocks) / float64(n), float64(walAfter-wal) / float64(n)}
}

// settle has the Queues settle what is there.
func (c *costs) settle(ctx context.Context, t *testing.T) {
	t.Helper()
	for _, q := range c.queues {
		if err := q.Refresh(ctx); err != nil {
			t.Fatal(err)
		}
		var wants []queue.Want
		for d, err := range q.Lanes(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			wants = append(wants, queue.Want{Lane: d.Lane, Max: 100})
		}
		tasks, err := q.Claim(ctx, wants, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			if err := q.Settle(ctx, task.Lease, queue.Settlement{}); err != nil {
				t.Fatal(err)
			}
		}
	}
}
