package pgqueue

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
)

// TestBesideOpenTransaction leaves a transaction open that has stored a message with a Key. Mail of the same tenant,
// sender and destination, so in the same lane, isn't delayed, with another Key or without. Only the same Key waits.
func TestBesideOpenTransaction(t *testing.T) {
	for _, tt := range []struct {
		name   string
		end    func(*sql.Tx) error
		repeat bool
	}{
		{"committed", (*sql.Tx).Commit, true},
		{"rolled back", (*sql.Tx).Rollback, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := theServer(t)
			db, schema := newSchema(t, s)
			q := open(t, db, pgqueue.Options{Schema: schema})
			ctx := t.Context()
			keyed := func(key string) queue.Message {
				m := mail(0, "x")
				m.Tenant, m.Key = "tenant", key
				return m
			}
			long, err := db.BeginTx(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer long.Rollback()
			first, err := q.EnqueueTx(ctx, long, keyed("held"))
			if err != nil {
				t.Fatal(err)
			}

			type result struct {
				id      queue.ID
				repeats bool
				err     error
			}
			same := func(ctx context.Context) chan result {
				done := make(chan result, 1)
				go func() {
					id, repeats, err := q.EnqueueOnce(ctx, keyed("held"))
					done <- result{id, repeats, err}
				}()
				return done
			}
			waiting := func(want int) {
				t.Helper()
				for range 1000 {
					var n int
					err := db.QueryRow(`SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
						AND query LIKE '%"` + schema + `".key%'`).Scan(&n)
					if err != nil {
						t.Fatal(err)
					}
					if n == want {
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
				t.Fatalf("no call waits for the Key: want %d", want)
			}
			given, giveUp := context.WithCancel(ctx)
			impatient := same(given)
			waiting(1)
			giveUp()
			if r := <-impatient; !errors.Is(r.err, context.Canceled) {
				t.Errorf("the same Key, with a ctx that ends: got %v, want %v", r.err, context.Canceled)
			}
			patient := same(ctx)
			waiting(1)

			// claimed returns the IDs of the messages that can be sent now, and settles them.
			claimed := func() map[queue.ID]bool {
				t.Helper()
				ids := map[queue.ID]bool{}
				var wants []queue.Want
				for d, err := range q.Lanes(ctx) {
					if err != nil {
						t.Fatal(err)
					}
					wants = append(wants, queue.Want{Lane: d.Lane, Max: 10})
				}
				tasks, err := q.Claim(ctx, wants, time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range tasks {
					ids[c.ID] = true
					if err := q.Settle(ctx, c.Lease, queue.Settlement{}); err != nil {
						t.Error(err)
					}
				}
				return ids
			}
			sent := func(what string, id queue.ID, err error) {
				t.Helper()
				if got := claimed(); err != nil || len(got) != 1 || !got[id] {
					t.Errorf("%s: got %v and %v, want %v to be sent", what, got, err, id)
				}
			}
			id, err := q.Enqueue(ctx, keyed(""))
			sent("without a Key", id, err)
			id, err = q.Enqueue(ctx, keyed("another"))
			sent("with another Key", id, err)
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			id, err = q.EnqueueTx(ctx, tx, keyed("a third"))
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			if err := q.Refresh(ctx); err != nil {
				t.Fatal(err)
			}
			sent("in another transaction", id, err)

			if err := tt.end(long); err != nil {
				t.Fatal(err)
			}
			r := <-patient
			if r.err != nil || r.repeats != tt.repeat || (r.id == first) != tt.repeat {
				t.Errorf("the same Key, at the end: got %+v, want a repeat of %s: %v", r, first, tt.repeat)
			}
			if err := q.Refresh(ctx); err != nil {
				t.Fatal(err)
			}
			sent("at the end", r.id, r.err)
		})
	}
}

// TestHeartbeats has two Queues renew their leases while a reader keeps the server from vacuuming: the rows that each
// commit reads stay as they are.
func TestHeartbeats(t *testing.T) {
	s := theServer(t)
	db, schema := newSchema(t, s)
	for range 2 {
		open(t, db, pgqueue.Options{Schema: schema, NodeLease: 300 * time.Millisecond})
	}
	type row struct{ at, until string }
	known := map[int64]row{}
	for beats := 0; beats < 5; time.Sleep(time.Millisecond) {
		rows, err := db.Query(named(`SELECT id, n.ctid::text, l.until::text
			FROM "postrider".node n JOIN "postrider".lease l ON l.node = n.id`, schema))
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var id int64
			var r row
			if err := rows.Scan(&id, &r.at, &r.until); err != nil {
				t.Fatal(err)
			}
			before, ok := known[id] // on a slow machine, a Queue may have to begin anew
			if ok && r.at != before.at {
				t.Fatalf("the row of node %d is at %s, want %s", id, r.at, before.at)
			}
			if ok && r.until != before.until {
				beats++
			}
			known[id] = r
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestListHandOver opens another Queue while List yields the messages of the first one, which hands half of them over.
func TestListHandOver(t *testing.T) {
	const messages = 1000 // some pages
	s := theServer(t)
	db, schema := newSchema(t, s)
	q := open(t, db, pgqueue.Options{Schema: schema})
	var storing sync.WaitGroup
	for n := range messages {
		storing.Go(func() {
			if _, err := q.Enqueue(t.Context(), mail(n, "x")); err != nil {
				t.Error(err)
			}
		})
	}
	storing.Wait()
	seen := map[queue.ID]int{}
	for task, err := range q.List(t.Context(), queue.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if seen[task.ID]++; len(seen) != messages/3 {
			continue
		}
		second := open(t, db, pgqueue.Options{Schema: schema})
		for n := 0; ; n++ {
			lanes := 0
			for range second.Lanes(t.Context()) {
				lanes++
			}
			if lanes > 0 {
				break
			}
			if n == 1000 {
				t.Fatal("the second Queue has got no messages")
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	if len(seen) != messages {
		t.Errorf("got %d messages, want %d", len(seen), messages)
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("got %s %d times, want once", id, n)
		}
	}
}

// atVersion3 makes a schema of version 3, and returns a func that executes a statement in it.
func atVersion3(t *testing.T, db *sql.DB, schema string) (exec func(query string)) {
	exec = func(query string) {
		t.Helper()
		if _, err := db.Exec(named(query, schema)); err != nil {
			t.Fatal(err)
		}
	}
	exec(`CREATE SCHEMA "postrider"`)
	for version := 1; version <= 3; version++ {
		statements, err := pgqueue.SQL(schema, version)
		if err != nil {
			t.Fatal(err)
		}
		exec(statements)
	}
	return exec
}

// TestUpgrade migrates a schema of version 3 with a Queue of that version open. When its lease is over, others take its
// messages.
func TestUpgrade(t *testing.T) {
	s := theServer(t)
	db, _ := newSchema(t, s)
	const schema = "upgrade"
	exec := atVersion3(t, db, schema)
	const heartbeat = `UPDATE "postrider".node SET until = now() + interval `
	exec(`INSERT INTO "postrider".node (id, until) VALUES (nextval('"postrider".node_id'), now() + interval '1 hour')`)
	exec(`UPDATE "postrider".lane SET node = 1`)
	if err := pgqueue.Migrate(t.Context(), db, schema); err != nil {
		t.Fatal(err)
	}
	q := open(t, db, pgqueue.Options{Schema: schema, NodeLease: 300 * time.Millisecond})
	owners := func() (old, all int) {
		t.Helper()
		err := db.QueryRow(named(`SELECT count(*) FILTER (WHERE node = 1), count(*) FROM "postrider".lane`, schema)).
			Scan(&old, &all)
		if err != nil {
			t.Fatal(err)
		}
		return old, all
	}
	exec(heartbeat + `'1 hour' WHERE id = 1`)
	if err := q.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if old, all := owners(); old != all {
		t.Errorf("the other Queue is open: got %d of %d lanes with it, want all", old, all)
	}
	exec(heartbeat + `'-1 second' WHERE id = 1`)
	for n := 0; ; n++ {
		old, _ := owners()
		if old == 0 {
			break
		}
		if n == 1000 {
			t.Fatalf("the lease of the other Queue is over: got %d lanes with it, want none", old)
		}
		time.Sleep(10 * time.Millisecond)
	}
	// What the old program takes for the end of a lease doesn't concern the new one.
	var ended int
	if err := db.QueryRow(named(`SELECT count(*) FROM "postrider".node WHERE until < now() + interval '100 years'`,
		schema)).Scan(&ended); err != nil || ended != 0 {
		t.Errorf("got %d nodes whose lease an old program would think over, and %v, want none", ended, err)
	}
}
