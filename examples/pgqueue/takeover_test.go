package pgqueue

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
	"github.com/postrider/postrider/smtp"
)

// inUse returns the octets of the heap that are in use.
func inUse() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools keep over the first one
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// processor returns the time of the processor that this process has taken.
func processor() time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// TestTakeover opens a Queue on messages that have ten attempts, and measures the memory and the time that it takes.
// POSTRIDER_PG_TAKEOVER sets how many thousands of messages there are.
func TestTakeover(t *testing.T) {
	const attempts, most = 10, 200
	s := theServer(t)
	db, schema := newSchema(t, s)
	o := pgqueue.Options{Schema: schema}
	q := open(t, db, o)
	ctx := t.Context()
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			to := fmt.Sprintf("d%d.example", i*7%500)
			m := queue.Message{
				Envelope:     smtp.NewEnvelope(fmt.Sprintf("sender%d@example.com", i), "to@"+to),
				Destinations: []string{to}, Body: strings.NewReader("x"), Ref: fmt.Sprint(i),
				NoticeAt: time.Now().Add(4 * time.Hour), Deadline: time.Now().Add(5 * 24 * time.Hour),
			}
			if _, err := q.Enqueue(ctx, m); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	reply := smtp.NewReply(451, "4.7.1", strings.Repeat("Try again later. ", 5))
	for _, c := range claimAll(t, q, 1000) {
		wg.Go(func() {
			err := q.Settle(ctx, c.Lease, queue.Settlement{Next: time.Now(), Results: []smtp.Result{{
				Recipient: c.Envelope.Recipients[0].Address, Outcome: smtp.Deferred, Host: "mx." + c.Destination,
				Addr: "192.0.2.1", TLS: "TLS 1.3", Reply: reply,
			}}})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	q.Close()

	// The others are copies of these, with one outcome and one mark each, as a cleaning leaves them.
	thousands := often("POSTRIDER_PG_TAKEOVER", 20)
	n := 1000 * thousands
	for _, statement := range []string{
		`UPDATE "postrider".outcome SET data = jsonb_set(data::jsonb, '{attempts}', '%[2]d')`,
		`UPDATE "postrider".mark SET attempts = %[2]d`,
		`INSERT INTO "postrider".msg (id, lane, node, batch, arrival, size, head, body)
			SELECT id + 1000 * c, lane, node, batch, arrival, size, head, body
			FROM "postrider".msg, generate_series(1, %[1]d) c ORDER BY 1`,
		`INSERT INTO "postrider".outcome (id, lane, node, batch, kind, last, data)
			SELECT id + 1000 * c, lane, node, batch, kind, last, data
			FROM "postrider".outcome, generate_series(1, %[1]d) c ORDER BY 1`,
		`INSERT INTO "postrider".mark (id, num, lane, attempts, deaths, until)
			SELECT id + 1000 * c, num, lane, attempts, deaths, until
			FROM "postrider".mark, generate_series(1, %[1]d) c ORDER BY 1`,
		`ANALYZE "postrider".msg, "postrider".outcome, "postrider".mark -- %[1]d %[2]d`,
	} {
		if _, err := db.Exec(named(fmt.Sprintf(statement, thousands-1, attempts), schema)); err != nil {
			t.Fatal(err)
		}
	}
	before, start, cpu := inUse(), time.Now(), processor()
	q = open(t, db, o)
	took := time.Since(start)
	cpu = processor() - cpu
	each := (inUse() - before) / n
	t.Logf("%d messages: read in %v with %v of this process, %d octets of memory each", n,
		took.Round(time.Millisecond), cpu.Round(time.Millisecond), each)
	if each > most {
		t.Errorf("got %d octets for a task, want at most %d", each, most)
	}
	if stats, err := q.Stats(ctx); err != nil || stats.Messages != n || stats.Octets != int64(n) {
		t.Errorf("got %+v, %v, want %d messages of an octet", stats, err, n)
	}
	for _, c := range claimAll(t, q, 1) {
		if c.Attempts != attempts+1 || len(c.Last) != 1 || c.Last[0].Reply == nil || c.Last[0].Reply.Text != reply.Text {
			t.Errorf("got %+v, want attempt %d and the last reply", c, attempts+1)
		}
	}
}

// claimAll claims as many tasks of each lane as wanted.
func claimAll(t *testing.T, q *pgqueue.Queue, n int) []queue.Task {
	t.Helper()
	var wants []queue.Want
	for d, err := range q.Lanes(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		wants = append(wants, queue.Want{Lane: d.Lane, Max: n})
	}
	tasks, err := q.Claim(t.Context(), wants, time.Hour)
	if err != nil || len(tasks) == 0 {
		t.Fatalf("got %d tasks, %v", len(tasks), err)
	}
	return tasks
}
