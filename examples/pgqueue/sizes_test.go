package pgqueue

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
)

// TestSizes enqueues, claims and settles 5,000 messages while others are queued: ten thousand, then ten times as many,
// up to POSTRIDER_PG_SIZES thousands. It prints the time, and counts the blocks that the server looks at: with the most
// messages, at most twice as many as with the fewest.
func TestSizes(t *testing.T) {
	const few = 10_000
	most := 1000 * often("POSTRIDER_PG_SIZES", 0)
	if most < few {
		t.Skip("set POSTRIDER_PG_SIZES to a number of thousands of messages, 1000 for example")
	}
	s := theServer(t)
	var first float64
	for size := few; size <= most; size *= 10 {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			got := testSize(t, &stream{server: s}, size, few)
			if size == few {
				first = got
			}
			if got > 2*first {
				t.Errorf("got %.1f blocks a message, want at most twice %.1f", got, first)
			}
		})
	}
}

// testSize returns the blocks that enqueueing, claiming and settling take for a message. The messages that are queued are
// copies of few.
func testSize(t *testing.T, f *stream, size, few int) float64 {
	const n = 5000
	db, schema := newSchema(t, f.server)
	f.db = db
	db.SetMaxIdleConns(50)
	o := pgqueue.Options{Schema: schema, NodeLease: time.Hour} // nothing is cleaned meanwhile
	q := open(t, db, o)
	body := strings.Repeat("x", 1024)
	store := func(q *pgqueue.Queue, from, to int) {
		var wg sync.WaitGroup
		for w := range 100 {
			wg.Go(func() {
				for i := from + w; i < to; i += 100 {
					if _, err := q.Enqueue(t.Context(), spread(i, body)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	}
	store(q, 0, few)
	q.Close()
	for _, statement := range []string{
		`INSERT INTO "postrider".msg (id, lane, node, batch, arrival, size, head, body)
			SELECT nextval('"postrider".msg_id'), lane, node, batch, arrival, size, head, body
			FROM "postrider".msg, generate_series(2, %d)`,
		`ANALYZE "postrider".msg -- %d`,
	} {
		if _, err := db.Exec(named(fmt.Sprintf(statement, size/few), schema)); err != nil {
			t.Fatal(err)
		}
	}
	q = open(t, db, o)
	measure := func(what string, do func()) {
		cpu, start := f.server.Processor(), time.Now()
		do()
		took := time.Since(start)
		t.Logf("%s: %6.0f a second, %v of the server's processors for each",
			what, n/took.Seconds(), ((f.server.Processor() - cpu) / n).Round(time.Microsecond))
	}
	const counted = 11 * time.Second // until idle processes of the server have counted
	time.Sleep(counted)
	before := f.blocks(t)
	measure("enqueue", func() { store(q, few, few+n) })
	var tasks []queue.Task
	measure("claim  ", func() {
		for len(tasks) < n {
			var wants []queue.Want
			for d := range q.Lanes(t.Context()) {
				if wants = append(wants, queue.Want{Lane: d.Lane, Max: 20}); len(wants) == 100 {
					break
				}
			}
			got, err := q.Claim(t.Context(), wants, time.Hour)
			if err != nil || len(got) == 0 {
				t.Fatalf("got %d tasks, %v", len(got), err)
			}
			tasks = append(tasks, got...)
		}
	})
	measure("settle ", func() {
		var wg sync.WaitGroup
		for _, c := range tasks {
			wg.Go(func() {
				if err := q.Settle(t.Context(), c.Lease, queue.Settlement{}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
	time.Sleep(counted)
	blocks := float64(f.blocks(t)-before) / n
	t.Logf("%.1f blocks for each", blocks)
	return blocks
}
