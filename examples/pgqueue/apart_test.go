package pgqueue

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/examples/pgqueue/pgtest"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
	"github.com/postrider/postrider/smtp"
)

// TestApart has calls of a Queue that fail, end or take long, beside others that must not suffer from them.
func TestApart(t *testing.T) {
	s := theServer(t)
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s *pgtest.Server, driver string)
	}{
		{"large bodies", func(t *testing.T, s *pgtest.Server, driver string) { testLargeApart(t, s, driver, 0, 2) }},
		{"few connections", func(t *testing.T, s *pgtest.Server, driver string) { testLargeApart(t, s, driver, 3, 1) }},
		{"unreadable body", testUnreadableApart},
		{"ended calls", testEndedApart},
	} {
		for _, driver := range drivers {
			t.Run(test.name+"/"+driver, func(t *testing.T) { test.run(t, s, driver) })
		}
	}
}

// lock locks a table until unlock is called.
func lock(t *testing.T, db *sql.DB, table string) (unlock func()) {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback() })
	if _, err := tx.Exec(`LOCK TABLE ` + table + ` IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	return func() { tx.Rollback() }
}

// untilLocked waits until so many statements that contain a text wait for a lock.
func untilLocked(t *testing.T, db *sql.DB, text string, want int) {
	t.Helper()
	until(t, fmt.Sprintf("%d statements wait", want), func() bool {
		var n int
		err := db.QueryRow(`SELECT count(*) FROM pg_stat_activity
			WHERE wait_event_type = 'Lock' AND strpos(query, $1) > 0 AND pid <> pg_backend_pid()`, text).Scan(&n)
		return err == nil && n == want
	})
}

// testLargeApart stores large bodies while the table of their chunks is locked. Small messages, and a settlement with
// a report, are stored meanwhile. The database allows conns connections, or any number if that is zero; atATime large
// commits wait.
func testLargeApart(t *testing.T, s *pgtest.Server, driver string, conns, atATime int) {
	other, schema := newSchema(t, s)
	db := (&line{Connector: connector(t, driver, s.DSN())}).open(t)
	db.SetMaxOpenConns(conns)
	q := open(t, db, pgqueue.Options{Schema: schema, Timeout: 5 * time.Second})
	if _, err := q.Enqueue(t.Context(), mail(0, "x")); err != nil {
		t.Fatal(err)
	}
	task := claimAll(t, q, 1)[0]
	unlock := lock(t, other, schema+".chunk")
	var large sync.WaitGroup
	for i := range 4 {
		large.Go(func() {
			if _, err := q.Enqueue(t.Context(), mail(i, strings.Repeat("large ", 100_000))); err != nil {
				t.Errorf("large: got %v", err)
			}
		})
	}
	untilLocked(t, other, "chunk (id, n, data)", atATime)
	rejected := smtp.Result{Outcome: smtp.Rejected, Reply: smtp.NewReply(550, "5.1.1", "no")}
	set := queue.Settlement{Results: []smtp.Result{rejected}, Reports: []queue.Message{mail(1, "report")}}
	if err := q.Settle(t.Context(), task.Lease, set); err != nil {
		t.Errorf("settle with a report: got %v", err)
	}
	if _, err := q.Enqueue(t.Context(), mail(2, "small")); err != nil {
		t.Errorf("small: got %v", err)
	}
	unlock()
	large.Wait()
}

// testUnreadableApart opens messages together, one of which the server can't read.
func testUnreadableApart(t *testing.T, s *pgtest.Server, driver string) {
	other, schema := newSchema(t, s)
	db := (&line{Connector: connector(t, driver, s.DSN())}).open(t)
	q := open(t, db, pgqueue.Options{Schema: schema, Poll: time.Hour})
	var ids []queue.ID
	for i := range 60 {
		id, err := q.Enqueue(t.Context(), mail(i, "x"))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	// As with a damaged body, the error comes when its row is returned. A volatile function would be called for all rows.
	for _, statement := range []string{
		`ALTER TABLE "postrider".msg RENAME TO stored`,
		`CREATE FUNCTION "postrider".damaged() RETURNS bytea LANGUAGE plpgsql STABLE AS
			$$ BEGIN RAISE EXCEPTION 'missing chunk number 0 for toast value' USING ERRCODE = 'XX001'; END $$`,
		`CREATE VIEW "postrider".msg AS SELECT id, lane, node, batch, arrival, size, head,
			CASE WHEN id = (SELECT min(id) FROM "postrider".stored) THEN "postrider".damaged() ELSE body END AS body
			FROM "postrider".stored`,
	} {
		if _, err := other.Exec(named(statement, schema)); err != nil {
			t.Fatal(err)
		}
	}
	var calls sync.WaitGroup
	for i, id := range ids {
		calls.Go(func() {
			_, err := q.Open(t.Context(), id)
			if got, want := err != nil, i == 0; got != want {
				t.Errorf("message %d: got %v, want an error: %v", i, err, want)
			}
		})
	}
	calls.Wait()
}

// testEndedApart has calls of Open that end in line, while the server can't read bodies. No query is made for them.
func testEndedApart(t *testing.T, s *pgtest.Server, driver string) {
	other, schema := newSchema(t, s)
	var queries atomic.Int32
	l := &line{Connector: connector(t, driver, s.DSN()), before: func(statement string) {
		if strings.Contains(statement, "size, body") {
			queries.Add(1)
		}
	}}
	q := open(t, l.open(t), pgqueue.Options{Schema: schema, Poll: time.Hour})
	id, err := q.Enqueue(t.Context(), mail(0, "x"))
	if err != nil {
		t.Fatal(err)
	}
	opened := func(ctx context.Context) error {
		_, err := q.Open(ctx, id)
		return err
	}
	unlock := lock(t, other, schema+".msg")
	var live, ended sync.WaitGroup
	for i := range 2 {
		live.Go(func() {
			if err := opened(t.Context()); err != nil {
				t.Error(err)
			}
		})
		untilLocked(t, other, "size, body", i+1)
	}
	queries.Store(0)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	for range 1000 {
		ended.Go(func() {
			if err := opened(ctx); err != context.DeadlineExceeded {
				t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
			}
		})
	}
	ended.Wait()
	unlock()
	if err := opened(t.Context()); err != nil {
		t.Error(err)
	}
	live.Wait()
	if n := queries.Load(); n != 1 {
		t.Errorf("got %d queries, want 1", n)
	}
}
