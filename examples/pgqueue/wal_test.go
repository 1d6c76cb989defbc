package pgqueue

import (
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
)

// TestWAL measures the WAL that messages take until they are stored, and from there until they are settled. Their rows
// are deleted and vacuumed later, which isn't measured. Pages that are written as a whole after a checkpoint aren't
// counted: their number depends on the time between two checkpoints. POSTRIDER_PG_WAL sets how many messages there are.
func TestWAL(t *testing.T) {
	const most = 300
	s := theServer(t)
	db, schema := newSchema(t, s)
	withoutFullPages(t, db)
	q := open(t, db, pgqueue.Options{Schema: schema, NodeLease: time.Minute})
	n := often("POSTRIDER_PG_WAL", 2000)
	octets := func(do func()) int {
		t.Helper()
		var before, after int
		const query = `SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint`
		if err := db.QueryRow(query).Scan(&before); err != nil {
			t.Fatal(err)
		}
		do()
		if err := db.QueryRow(query).Scan(&after); err != nil {
			t.Fatal(err)
		}
		return (after - before) / n
	}
	body := strings.Repeat("x", 1024)
	enqueued := octets(func() {
		var wg sync.WaitGroup
		for w := range 100 {
			wg.Go(func() {
				for i := w; i < n; i += 100 {
					if _, err := q.Enqueue(t.Context(), mail(i, body)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	})
	settled := octets(func() {
		var wg sync.WaitGroup
		for left := n; left > 0; {
			tasks := claimAll(t, q, 20)
			left -= len(tasks)
			for _, c := range tasks {
				wg.Go(func() {
					if err := q.Settle(t.Context(), c.Lease, queue.Settlement{}); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
	})
	t.Logf("%d messages: %d octets of WAL each to enqueue, %d to claim and settle", n, enqueued, settled)
	if settled > most {
		t.Errorf("got %d octets of WAL for a message beyond what enqueueing takes, want at most %d", settled, most)
	}
}

// withoutFullPages keeps the server from writing whole pages until the end of the test.
func withoutFullPages(t *testing.T, db *sql.DB) {
	t.Helper()
	set := func(statement string, want bool) {
		for _, s := range []string{statement, `SELECT pg_reload_conf()`} {
			if _, err := db.Exec(s); err != nil {
				t.Fatal(err)
			}
		}
		until(t, fmt.Sprint("full_page_writes is ", want), func() (got bool) {
			_, err := db.Exec(`CHECKPOINT`)
			if err == nil {
				err = db.QueryRow(`SELECT full_page_writes FROM pg_control_checkpoint()`).Scan(&got)
			}
			return err == nil && got == want
		})
	}
	set(`ALTER SYSTEM SET full_page_writes = off`, false)
	t.Cleanup(func() { set(`ALTER SYSTEM RESET full_page_writes`, true) })
}
