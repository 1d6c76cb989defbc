package pgqueue

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/examples/pgqueue/pgtest"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
)

// TestReader has mail flow through three Queues, 800 messages a second, while a repeatable-read transaction and one
// that has enqueued a message stay open for POSTRIDER_PG_READER seconds, then with a replication slot and pg_dump. Of a
// minute or less, it only shows that all mail arrives: dead rows would come with the first cleanings, after that. With
// 180 seconds or more, the reader may make the server look at 5 % more blocks for a message. TestReaderCost does that in
// a few seconds.
func TestReader(t *testing.T) {
	const most = 1000
	seconds := often("POSTRIDER_PG_READER", 0)
	if seconds == 0 {
		t.Skip("set POSTRIDER_PG_READER to a number of seconds, 600 for example")
	}
	s := theServer(t)
	db, schema := newSchema(t, s)
	db.SetMaxIdleConns(50)
	flow := &stream{server: s, db: db}
	for range 3 {
		flow.queues = append(flow.queues, open(t, db, pgqueue.Options{Schema: schema}))
	}
	flow.begin(t)
	defer flow.end()
	wait := func(what string, d time.Duration) (blocks float64) {
		t.Helper()
		text, blocks := flow.measure(t, d)
		t.Log(what + ": " + text)
		return blocks
	}
	alone := wait("alone", time.Duration(min(seconds, 187))*time.Second) // between two cleanings

	reader, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Rollback()
	var n int
	if err := reader.QueryRow(named(`SELECT count(*) FROM "postrider".msg`, schema)).Scan(&n); err != nil {
		t.Fatal(err)
	}
	user, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer user.Rollback()
	late := mail(0, "x")
	late.Ref = "late"
	if _, err := flow.queues[0].EnqueueTx(t.Context(), user, late); err != nil {
		t.Fatal(err)
	}
	beside := wait("with a reader and a user's transaction", time.Duration(seconds)*time.Second)
	// The server counts late what a session looks at: 10 seconds, if it is idle.
	if limit := 1.05*alone + 1; seconds >= 180 && beside > limit {
		t.Errorf("got %.1f blocks a message, want at most %.1f", beside, limit)
	}
	time.Sleep(2 * time.Second) // until the server has counted most
	rows, err := db.Query(`SELECT relname, n_dead_tup, n_live_tup FROM pg_stat_user_tables
		WHERE schemaname = $1 AND n_dead_tup > 0`, schema)
	if err != nil {
		t.Fatal(err)
	}
	dead := 0
	for rows.Next() {
		var table string
		var d, live int
		if err := rows.Scan(&table, &d, &live); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s has %d dead rows and %d others", table, d, live)
		dead += d
	}
	if dead > most {
		t.Errorf("got %d dead rows, want at most %d", dead, most)
	}
	if err := reader.Commit(); err != nil {
		t.Fatal(err)
	}
	flow.mu.Lock()
	if flow.late {
		t.Error("the message of the open transaction was delivered before its commit")
	}
	flow.mu.Unlock()
	if err := user.Commit(); err != nil {
		t.Fatal(err)
	}

	if _, err := db.Exec(`SELECT pg_create_physical_replication_slot('idle', true)`); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var dump sync.WaitGroup
	dumps := 0
	dump.Go(func() {
		for ; ctx.Err() == nil; dumps++ {
			cmd := s.Program("pg_dump", "-h", s.Dir(), "-U", "postgres", "-n", schema, "postgres")
			var errs bytes.Buffer
			cmd.Stderr = &errs
			if err := cmd.Run(); err != nil {
				t.Errorf("pg_dump: %v: %s", err, errs.String())
				return
			}
		}
	})
	wait("with pg_dump and an idle slot", time.Duration(min(seconds, 60))*time.Second)
	stop()
	dump.Wait()
	t.Log(dumps, "dumps")
	if _, err := db.Exec(`SELECT pg_drop_replication_slot('idle')`); err != nil {
		t.Fatal(err)
	}
	flow.end()
	if !flow.late || flow.arrived != flow.stored+1 {
		t.Errorf("got %d deliveries of %d messages, the late one: %v", flow.arrived, flow.stored, flow.late)
	}
}

// stream is mail that flows through Queues.
type stream struct {
	server *pgtest.Server
	db     *sql.DB
	queues []*pgqueue.Queue
	end    func() // ends it when all mail has arrived

	mu      sync.Mutex
	stored  int
	arrived int
	late    bool            // the message of the open transaction has arrived
	times   []time.Duration // from Enqueue to Settle, since the last measurement
}

// begin starts the stream.
func (s *stream) begin(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	producing, finish := context.WithCancel(ctx)
	var work, producers sync.WaitGroup
	for _, q := range s.queues {
		due := make(chan struct{}, 1)
		stopWatch := q.Watch(func(queue.Lane, time.Time) {
			select {
			case due <- struct{}{}:
			default:
			}
		})
		work.Go(func() {
			defer stopWatch()
			s.deliver(ctx, t, q, due)
		})
	}
	producers.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; {
			select {
			case <-producing.Done():
				return
			case <-tick.C:
			}
			for range 8 {
				n++
				m := mail(n, strings.Repeat("x", 1024))
				producers.Go(func() {
					m.Ref = strconv.FormatInt(time.Now().UnixNano(), 10)
					if _, err := s.queues[n%len(s.queues)].Enqueue(ctx, m); err != nil {
						t.Error(err)
						return
					}
					s.mu.Lock()
					s.stored++
					s.mu.Unlock()
				})
			}
		}
	})
	s.end = sync.OnceFunc(func() {
		finish()
		producers.Wait()
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			s.mu.Lock()
			done := s.arrived > s.stored
			s.mu.Unlock()
			if done {
				break
			}
		}
		stop()
		work.Wait()
	})
}

// deliver delivers what a Queue has, whenever something is due.
func (s *stream) deliver(ctx context.Context, t *testing.T, q *pgqueue.Queue, due <-chan struct{}) {
	var settling sync.WaitGroup
	defer settling.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-due:
		}
		var wants []queue.Want
		now := time.Now()
		for d, err := range q.Lanes(ctx) {
			if err != nil || d.Due.After(now) {
				continue
			}
			wants = append(wants, queue.Want{Lane: d.Lane, Max: 100})
		}
		if len(wants) == 0 {
			continue
		}
		tasks, err := q.Claim(ctx, wants, time.Minute)
		if err != nil {
			t.Error(err)
			return
		}
		for _, c := range tasks {
			settling.Go(func() {
				if err := q.Settle(context.Background(), c.Lease, queue.Settlement{}); err != nil {
					t.Error(err)
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				s.arrived++
				if c.Ref == "late" {
					s.late = true
					return
				}
				start, _ := strconv.ParseInt(c.Ref, 10, 64)
				s.times = append(s.times, time.Since(time.Unix(0, start)))
			})
		}
	}
}

// blocks returns how many blocks of tables and indexes the server has looked at.
func (s *stream) blocks(t *testing.T) (n int) {
	t.Helper()
	const query = `SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = current_database()`
	if err := s.db.QueryRow(query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// measure returns the times of messages, and what the server did for each, as a text; and the blocks once more.
func (s *stream) measure(t *testing.T, d time.Duration) (text string, each float64) {
	s.mu.Lock()
	s.times = nil
	s.mu.Unlock()
	before, blocksBefore := s.server.Processor(), s.blocks(t)
	time.Sleep(d)
	took, blocks := s.server.Processor()-before, s.blocks(t)-blocksBefore
	s.mu.Lock()
	defer s.mu.Unlock()
	n := max(1, len(s.times))
	slices.Sort(s.times)
	at := func(of100 int) time.Duration { return s.times[n*of100/100].Round(100 * time.Microsecond) }
	if len(s.times) == 0 {
		return "nothing arrived", 0
	}
	each = float64(blocks) / float64(n)
	return fmt.Sprintf("%.0f messages a second, for each %v of the server's processors and %.1f blocks, "+
		"p50 %v, p90 %v, p99 %v", float64(n)/d.Seconds(), (took / time.Duration(n)).Round(time.Microsecond),
		each, at(50), at(90), at(99)), each
}
