package pgqueue

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
	"github.com/postrider/postrider/smtp"
)

// spread returns mail to 5,000 domains, half of it to one, from 1,000 senders.
func spread(i int, body string) queue.Message {
	to := "large.example"
	if i%2 == 0 {
		to = fmt.Sprintf("d%d.example", i/2%5000)
	}
	return queue.Message{
		Envelope:     smtp.NewEnvelope(fmt.Sprintf("sender%d@example.com", i*7%1000), "to@"+to),
		Destinations: []string{to}, Body: strings.NewReader(body),
	}
}

// TestFigures measures, with as many messages as POSTRIDER_PG_FIGURES says: of 1 KiB to 5,000 domains, half of them to
// one, from 1,000 senders.
func TestFigures(t *testing.T) {
	n := often("POSTRIDER_PG_FIGURES", 0)
	if n == 0 {
		t.Skip("set POSTRIDER_PG_FIGURES to a number of messages, 100000 for example")
	}
	s := theServer(t)
	db, schema := newSchema(t, s)
	db.SetMaxIdleConns(50)
	number := func(query string) (got int64) {
		t.Helper()
		if err := db.QueryRow(named(query, schema)).Scan(&got); err != nil {
			t.Fatal(err)
		}
		return got
	}
	wal := func() int64 { return number(`SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint`) }
	measure := func(what string, n int, do func()) {
		before, start := wal(), time.Now()
		do()
		took := time.Since(start)
		t.Logf("%-40s %9.0f a second, %5d octets of WAL each, %v",
			what, float64(n)/took.Seconds(), (wal()-before)/int64(n), took.Round(time.Millisecond))
	}
	o := pgqueue.Options{Schema: schema}
	q := open(t, db, o)
	body := strings.Repeat("x", 1024)
	for _, producers := range []int{1, 10, 100} {
		n := min(n, n*producers/100+100)
		measure(fmt.Sprintf("enqueued by %d", producers), n, func() {
			var wg sync.WaitGroup
			var next atomic.Int64
			for range producers {
				wg.Go(func() {
					for i := next.Add(1); i <= int64(n); i = next.Add(1) {
						if _, err := q.Enqueue(t.Context(), spread(int(i), body)); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
	left := int(number(`SELECT count(*) FROM "postrider".msg`))
	q.Close()
	heap := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before := heap()
	measure("taken over by one Queue", left, func() { q = open(t, db, o) })
	t.Logf("%d octets of memory each", (heap()-before)/left)
	work := func(ctx context.Context, q *pgqueue.Queue, done *atomic.Int64, stop func()) {
		for ctx.Err() == nil {
			var wants []queue.Want
			for d := range q.Lanes(ctx) {
				if wants = append(wants, queue.Want{Lane: d.Lane, Max: 20}); len(wants) == 50 {
					break
				}
			}
			tasks, _ := q.Claim(ctx, wants, time.Minute)
			if len(tasks) == 0 {
				time.Sleep(5 * time.Millisecond)
			}
			var wg sync.WaitGroup
			for _, c := range tasks {
				wg.Go(func() {
					if q.Settle(t.Context(), c.Lease, queue.Settlement{}) == nil && done.Add(1) == int64(left) {
						stop()
					}
				})
			}
			wg.Wait()
		}
	}
	queues := []*pgqueue.Queue{q, open(t, db, o), open(t, db, o)}
	measure("claimed and settled by 3 Queues", left, func() {
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
		defer stop()
		var done atomic.Int64
		var wg sync.WaitGroup
		for _, q := range queues {
			for range 4 {
				wg.Go(func() { work(ctx, q, &done, stop) })
			}
		}
		wg.Wait()
		if int(done.Load()) != left {
			t.Errorf("got %d settled, want %d", done.Load(), left)
		}
	})
	db.Exec(`SELECT pg_stat_force_next_flush()`) // PostgreSQL 15
	time.Sleep(time.Second)
	t.Logf("%d dead rows",
		number(`SELECT coalesce(sum(n_dead_tup), 0)::bigint FROM pg_stat_user_tables WHERE schemaname = '`+schema+`'`))
}
