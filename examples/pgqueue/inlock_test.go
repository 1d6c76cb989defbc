package pgqueue

import (
	"context"
	"database/sql"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
)

// TestCutOffInLock cuts a Queue off while it has a lock that others need for its messages: they get them all the same.
func TestCutOffInLock(t *testing.T) {
	s := theServer(t)
	admin, schema := newSchema(t, s)
	o := pgqueue.Options{Schema: schema, Poll: 5 * time.Millisecond, NodeLease: 500 * time.Millisecond}
	way := newProxy(t, s)
	var armed atomic.Bool
	l := &line{Connector: connector(t, "pgx", way.dsn()), before: func(statement string) {
		// The first statement after the lock.
		if armed.Load() && strings.Contains(statement, `".lease`) && strings.HasPrefix(statement, "DELETE") {
			way.set(true, requests, replies)
		}
	}}
	a := open(t, l.open(t), o)
	t.Cleanup(func() { // before the Queue is closed
		way.set(false, requests, replies)
		way.reset()
	})
	id, err := a.Enqueue(t.Context(), mail(0, "x"))
	if err != nil {
		t.Fatal(err)
	}
	armed.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	b, err := o.Open(ctx, admin) // so that the first one looks at the layout
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var tasks []queue.Task
	until(t, "the other Queue has the message", func() bool {
		var wants []queue.Want
		for d := range b.Lanes(ctx) {
			wants = append(wants, queue.Want{Lane: d.Lane, Max: 1})
		}
		tasks, err = b.Claim(ctx, wants, time.Minute)
		return err == nil && len(tasks) == 1
	})
	if tasks[0].ID != id {
		t.Errorf("got message %s, want %s", tasks[0].ID, id)
	}
}

// TestCutOffInTransaction cuts a program off between two statements of a transaction that isn't the application's. The
// server ends the transaction: it may have a Key or a lock that others wait for, and keeps rows from being vacuumed.
func TestCutOffInTransaction(t *testing.T) {
	keyed := func(body string) func(*pgqueue.Queue) error {
		return func(q *pgqueue.Queue) error {
			m := mail(0, body)
			m.Key = "k"
			_, err := q.Enqueue(t.Context(), m)
			return err
		}
	}
	large := strings.Repeat("large ", 100_000)
	for _, test := range []struct {
		name, before string // the statement that doesn't arrive contains that
		call         func(*pgqueue.Queue) error
	}{
		{"key", "COMMIT", keyed("x")},
		{"key of a large body", ".chunk", keyed(large)},
		{"import", "COMMIT", func(q *pgqueue.Queue) error {
			in := queue.Import{Body: strings.NewReader("x")}
			for task, err := range q.List(t.Context(), queue.Filter{}) {
				if err != nil {
					return err
				}
				in.Tasks = append(in.Tasks, task)
			}
			_, _, err := q.Import(t.Context(), in)
			return err
		}},
		{"list", ".outcome WHERE", func(q *pgqueue.Queue) error {
			for _, err := range q.List(t.Context(), queue.Filter{}) {
				return err
			}
			return nil
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := theServer(t)
			admin, schema := newSchema(t, s)
			way := newProxy(t, s)
			var armed, wasCut atomic.Bool
			dsn := way.dsn() + " application_name=" + schema
			l := &line{Connector: connector(t, "pgx", dsn), before: func(statement string) {
				if strings.Contains(statement, test.before) && armed.CompareAndSwap(true, false) {
					way.set(true, requests, replies)
					wasCut.Store(true)
				}
			}}
			o := pgqueue.Options{Schema: schema, Poll: time.Hour, NodeLease: time.Second}
			q := open(t, l.open(t), o)
			if _, err := q.Enqueue(t.Context(), mail(0, "x")); err != nil {
				t.Fatal(err)
			}
			armed.Store(true)
			ended := make(chan error, 1)
			go func() { ended <- test.call(q) }()
			t.Cleanup(func() { // before the Queue is closed
				way.set(false, requests, replies)
				way.reset()
				if err := <-ended; err != nil {
					t.Logf("the call that was cut off: %v", err)
				}
			})
			until(t, "the line is cut", wasCut.Load)
			if strings.HasPrefix(test.name, "key") { // another one waits for the Key
				o.Timeout = 20 * time.Second
				if err := test.call(open(t, admin, o)); err != nil {
					t.Errorf("another call with the Key: got %v, want nil", err)
				}
			}
			untilNoneOpen(t, admin, schema)
		})
	}
}

// TestCutOffMigrating cuts Migrate off: the lock that it has doesn't stay.
func TestCutOffMigrating(t *testing.T) {
	s := theServer(t)
	admin, _ := newSchema(t, s)
	const schema = "cut_off_migrating"
	atVersion3(t, admin, schema)
	way := newProxy(t, s)
	l := &line{Connector: connector(t, "pgx", way.dsn()+" application_name="+schema), before: func(statement string) {
		if strings.Contains(statement, "to_regnamespace") {
			way.set(true, requests, replies)
		}
	}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- pgqueue.Migrate(ctx, l.open(t), schema) }()
	defer func() {
		cancel()
		way.set(false, requests, replies)
		way.reset()
		<-ended
	}()
	limited, stop := context.WithTimeout(t.Context(), 50*time.Second)
	defer stop()
	until(t, "Migrate has the lock", func() bool {
		var n int
		err := admin.QueryRow(`SELECT count(*) FROM pg_stat_activity a JOIN pg_locks l USING (pid)
			WHERE application_name = $1 AND locktype = 'advisory' AND granted`, schema).Scan(&n)
		return err == nil && n == 1
	})
	if err := pgqueue.Migrate(limited, admin, schema); err != nil {
		t.Errorf("another Migrate: got %v, want nil", err)
	}
}

// untilNoneOpen waits until no session with a name has a transaction open.
func untilNoneOpen(t *testing.T, db *sql.DB, name string) {
	t.Helper()
	until(t, "no transaction is open", func() bool {
		var n int
		err := db.QueryRow(`SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND xact_start IS NOT NULL`,
			name).Scan(&n)
		return err == nil && n == 0
	})
}
