package pgqueue

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
)

// openClean opens a Queue that deletes old rows, and whose other timers tick seldom.
func (s *store) openClean(t *testing.T) *pgqueue.Queue {
	t.Helper()
	// Other roles' sessions show less to a role that isn't a superuser.
	s.exec(t, `DO $$ BEGIN CREATE ROLE plain LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$`)
	for _, all := range []string{`SCHEMA "postrider"`, `ALL TABLES IN SCHEMA "postrider"`, `ALL SEQUENCES IN SCHEMA "postrider"`} {
		s.exec(t, "GRANT ALL ON "+all+" TO plain")
	}
	dsn := strings.Replace(s.server.DSN(), "user=postgres", "user=plain", 1)
	l := &line{Connector: connector(t, s.driver, dsn), bubble: true, ahead: s.ahead}
	return open(t, l.open(t), pgqueue.Options{Schema: s.schema, Poll: time.Hour, NodeLease: time.Hour})
}

// TestClean has messages that leave, and one that is retried: what is obsolete is deleted, and nothing else.
func TestClean(t *testing.T) {
	theServer(t)
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, "pgx")
		q := s.openClean(t)
		ctx := t.Context()
		enqueue := func(m queue.Message) queue.ID {
			t.Helper()
			id, err := q.Enqueue(ctx, m)
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		claim := func() (tasks []queue.Task) {
			t.Helper()
			var wants []queue.Want
			for d := range q.Lanes(ctx) {
				wants = append(wants, queue.Want{Lane: d.Lane, Max: 100})
			}
			tasks, err := q.Claim(ctx, wants, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			return tasks
		}
		stays := enqueue(mail(0, "stays"))
		for range 10 {
			for _, c := range claim() {
				if err := q.Settle(ctx, c.Lease, queue.Settlement{Next: time.Now()}); err != nil {
					t.Fatal(err)
				}
			}
		}
		for n := range 20 {
			m := mail(n, strings.Repeat("x", n*20_000))
			m.Key = fmt.Sprint(n)
			enqueue(m)
		}
		for _, c := range claim() {
			if c.ID != stays {
				if err := q.Settle(ctx, c.Lease, queue.Settlement{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		check := func(want map[string]int) {
			t.Helper()
			for table, n := range want {
				if got := s.number(t, `SELECT count(*) FROM "postrider".`+table); got != n {
					t.Errorf("after %v: got %d rows in %s, want %d", time.Since(time.Unix(946684800, 0)), got, table, n)
				}
			}
		}
		check(map[string]int{"msg": 21, "outcome": 30, "mark": 31, "key": 20})
		time.Sleep(3 * time.Hour)
		check(map[string]int{"msg": 21, "outcome": 30, "key": 20})
		time.Sleep(9 * time.Hour)
		check(map[string]int{"msg": 1, "chunk": 0, "outcome": 1, "mark": 1, "key": 20})
		time.Sleep(15 * time.Hour)
		check(map[string]int{"msg": 1, "key": 0})

		q.Close()
		q = s.openClean(t)
		tasks := claim()
		if len(tasks) != 1 || tasks[0].ID != stays || tasks[0].Attempts != 12 {
			t.Fatalf("got %+v, want message %s at its attempt 12", tasks, stays)
		}
		if err := q.Settle(ctx, tasks[0].Lease, queue.Settlement{}); err != nil {
			t.Fatal(err)
		}
	})
}

// TestCleanWaits has a transaction that keeps the server from vacuuming: nothing is deleted until it ends.
func TestCleanWaits(t *testing.T) {
	theServer(t)
	for _, c := range []struct {
		name      string
		isolation sql.IsolationLevel
		statement string
	}{
		{"a snapshot", sql.LevelRepeatableRead, `SELECT count(*) FROM "postrider".msg`},
		{"a transaction's number", sql.LevelReadCommitted, `SELECT pg_current_xact_id()`},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStore(t, "pgx")
				q := s.openClean(t)
				tx, err := s.admin.BeginTx(t.Context(), &sql.TxOptions{Isolation: c.isolation})
				if err != nil {
					t.Fatal(err)
				}
				defer tx.Rollback()
				if _, err := tx.Exec(named(c.statement, s.schema)); err != nil {
					t.Fatal(err)
				}
				if _, err := q.Enqueue(t.Context(), mail(0, "x")); err != nil {
					t.Fatal(err)
				}
				for _, c := range claimAll(t, q, 1) {
					if err := q.Settle(t.Context(), c.Lease, queue.Settlement{}); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(30 * time.Hour)
				const query = `SELECT (SELECT count(*) FROM "postrider".msg) + (SELECT count(*) FROM "postrider".outcome)
					+ (SELECT count(*) FROM "postrider".mark)`
				if got := s.number(t, query); got != 3 {
					t.Errorf("got %d rows while a transaction is open, want 3", got)
				}
				tx.Rollback()
				time.Sleep(3 * time.Hour)
				if got := s.number(t, query); got != 0 {
					t.Errorf("got %d rows after the end of the transaction, want none", got)
				}
			})
		})
	}
}

// TestOctets stores strings that PostgreSQL can't have as a text, among others.
func TestOctets(t *testing.T) {
	s := theServer(t)
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			_, schema := newSchema(t, s)
			db := (&line{Connector: connector(t, driver, s.DSN())}).open(t)
			o := pgqueue.Options{Schema: schema, Poll: 5 * time.Millisecond}
			q := open(t, db, o)
			want := []string{"plain", "", "\x00", "a\x00b", "\xff\xfe", "jörg", `\u0000`, `"'<&>`, "\u2028\ufffd", "\\"}
			for _, ref := range want {
				m := mail(0, ref)
				m.Ref, m.Tenant, m.Key = ref, "t"+ref, "k"+ref
				m.Envelope.Recipients[0].ORCPT, m.Envelope.EnvID = ref, ref
				if _, err := q.Enqueue(t.Context(), m); err != nil {
					t.Errorf("%q: %v", ref, err)
				}
			}
			q.Close()
			q = open(t, db, o)
			var got []string
			for c, err := range q.List(t.Context(), queue.Filter{}) {
				if err != nil {
					t.Fatal(err)
				}
				if c.Envelope.EnvID != c.Ref || c.Envelope.Recipients[0].ORCPT != c.Ref || c.Tenant != "t"+c.Ref {
					t.Errorf("got %+v", c)
				}
				got = append(got, c.Ref)
			}
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// TestTogether stores a message that the server refuses among others: only it fails.
func TestTogether(t *testing.T) {
	s := theServer(t)
	db, schema := newSchema(t, s)
	if _, err := db.Exec(named(`ALTER TABLE "postrider".msg ADD CHECK (size <> 13)`, schema)); err != nil {
		t.Fatal(err)
	}
	q := open(t, db, pgqueue.Options{Schema: schema, Poll: 5 * time.Millisecond})
	errs := make(chan error)
	for n := range 100 {
		go func() {
			_, err := q.Enqueue(context.Background(), mail(n, strings.Repeat("x", n)))
			if (err != nil) != (n == 13) {
				errs <- fmt.Errorf("message %d: got %v", n, err)
				return
			}
			errs <- nil
		}()
	}
	for range 100 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
