package pgqueue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
)

// keyed returns a message with a Key.
func keyed(key string) queue.Message {
	m := mail(0, "x")
	m.Tenant, m.Key = "tenant", key
	return m
}

// TestKeysHeld has open transactions that have stored Keys, and more calls with these Keys than the pool has
// connections. The Queue keeps its lease and other mail is stored meanwhile. The calls end after Options.Timeout, or
// soon after the transactions.
func TestKeysHeld(t *testing.T) {
	const lease, timeout, calls = time.Second, 2500 * time.Millisecond, 20
	for _, tt := range []struct {
		name string
		key  func(n int) string
	}{
		{"one Key", func(int) string { return "k" }},
		{"a Key for each", func(n int) string { return fmt.Sprint("k", n) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := theServer(t)
			db, schema := newSchema(t, s)
			narrow, _ := newSchema(t, s)
			narrow.SetMaxOpenConns(4)
			o := pgqueue.Options{Schema: schema, NodeLease: lease, Timeout: timeout}
			q := open(t, narrow, o)
			ctx := t.Context()
			if _, err := q.Enqueue(ctx, mail(1, "leased")); err != nil {
				t.Fatal(err)
			}
			leased := claimAll(t, q, 1)
			open(t, db, o) // it takes over when the lease of q is over

			var holders []*sql.Tx
			held := map[string]bool{}
			for n := range calls {
				if key := tt.key(n); !held[key] {
					tx, err := db.BeginTx(ctx, nil)
					if err != nil {
						t.Fatal(err)
					}
					defer tx.Rollback()
					if _, err := q.EnqueueTx(ctx, tx, keyed(key)); err != nil {
						t.Fatal(err)
					}
					held[key], holders = true, append(holders, tx)
				}
			}
			began := time.Now()
			var wg sync.WaitGroup
			for n := range calls {
				wg.Go(func() {
					_, err := q.Enqueue(ctx, keyed(tt.key(n)))
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("a Key that is held: got %v, want %v", err, context.DeadlineExceeded)
					}
				})
			}
			for n := 0; time.Since(began) < timeout-lease; n++ {
				for _, key := range []string{"", fmt.Sprint("free", n)} {
					limited, cancel := context.WithTimeout(ctx, 2*time.Second)
					if _, err := q.Enqueue(limited, keyed(key)); err != nil {
						t.Errorf("other mail, with the Key %q: got %v, want nil", key, err)
					}
					cancel()
				}
			}
			wg.Wait()
			if took := time.Since(began); took > 2*timeout {
				t.Errorf("the calls took %v, want %v", took, timeout)
			}
			if err := q.Settle(ctx, leased[0].Lease, queue.Settlement{}); err != nil {
				t.Errorf("the lease: got %v, want it to be kept", err)
			}

			ids := make([]queue.ID, calls)
			for n := range calls {
				wg.Go(func() {
					var err error
					if ids[n], err = q.Enqueue(ctx, keyed(tt.key(n))); err != nil {
						t.Errorf("a Key that was held: got %v, want nil", err)
					}
				})
			}
			until(t, "a call waits for a Key", func() bool {
				var n int
				err := db.QueryRow(`SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
					AND query LIKE '%"` + schema + `".key%'`).Scan(&n)
				return err == nil && n > 0
			})
			for _, tx := range holders {
				if err := tx.Rollback(); err != nil {
					t.Error(err)
				}
			}
			wg.Wait()
			slices.Sort(ids)
			if got := len(slices.Compact(ids)); got != len(held) {
				t.Errorf("got %d messages, want %d, one for each Key", got, len(held))
			}
		})
	}
}

// TestNoConnections has a pool without free connections: a call with a Key ends with its ctx, or after Options.Timeout.
func TestNoConnections(t *testing.T) {
	s := theServer(t)
	_, schema := newSchema(t, s)
	narrow, _ := newSchema(t, s)
	narrow.SetMaxOpenConns(3)
	const timeout = time.Second
	q := open(t, narrow, pgqueue.Options{Schema: schema, Timeout: timeout})
	var conns []*sql.Conn
	for range 3 {
		c, err := narrow.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	began := time.Now()
	if _, err := q.Enqueue(t.Context(), keyed("k")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
	if took := time.Since(began); took > 3*timeout/2 {
		t.Errorf("the call took %v, want %v", took, timeout)
	}
}

// TestMigrateBesideBackup migrates while another session has the lock of pg_dump on the tables.
func TestMigrateBesideBackup(t *testing.T) {
	s := theServer(t)
	db, _ := newSchema(t, s)
	const schema = "beside_backup"
	atVersion3(t, db, schema)
	backup, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer backup.Rollback()
	for _, table := range []string{"version", "node", "lane", "msg", "chunk", "outcome", "mark", "stat", "key"} {
		lock := `LOCK TABLE "postrider".` + table + ` IN ACCESS SHARE MODE`
		if _, err := backup.Exec(named(lock, schema)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := pgqueue.Migrate(ctx, db, schema); err != nil {
		t.Errorf("got %v, want no wait for the backup", err)
	}
	open(t, db, pgqueue.Options{Schema: schema})
}
