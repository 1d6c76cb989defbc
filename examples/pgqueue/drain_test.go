package pgqueue

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/drain"
	"github.com/postrider/postrider/queue/pgqueue"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
)

// These are set in a process that drains a Queue.
const (
	inDrain    = "POSTRIDER_PG_DRAIN" // "in": into PostgreSQL; "out": out of it
	drainDSN   = inDrain + "_DSN"
	drainTo    = inDrain + "_SCHEMA"
	drainSpool = inDrain + "_SPOOL"
)

// drainAll is the work of that process. It prints how much it has moved.
func drainAll(direction string) error {
	db, err := sql.Open("pgx", os.Getenv(drainDSN))
	if err != nil {
		return err
	}
	defer db.Close()
	ctx := context.Background()
	q, err := (&pgqueue.Options{Schema: os.Getenv(drainTo), NodeLease: time.Second}).Open(ctx, db)
	if err != nil {
		return err
	}
	defer q.Close()
	dir := os.Getenv(drainSpool)
	s, err := spool.Open(dir)
	if err != nil {
		return err
	}
	defer s.Close()
	var last drain.Progress
	d := &drain.Drain{
		From: s, To: q, Name: direction, Journal: filepath.Join(filepath.Dir(dir), direction), Batch: 40,
		Progress: func(p drain.Progress) {
			last = p
			fmt.Println("batch")
		},
	}
	if direction == "out" {
		d.From, d.To = q, s
	}
	if err := d.Run(ctx); err != nil {
		return err
	}
	fmt.Printf("moved %d, %d of them repeated\n", last.Moved, last.Repeated)
	return nil
}

// listed returns all tasks with their messages, as a line each.
func listed(t *testing.T, q queue.Queue) (lines []string) {
	t.Helper()
	for c, err := range q.(queue.Lister).List(t.Context(), queue.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		b, err := q.Open(t.Context(), c.ID)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(smtp.NewReader(b))
		b.Close()
		if err != nil {
			t.Fatal(err)
		}
		var to []string
		for _, r := range c.Envelope.Recipients {
			to = append(to, r.Address)
		}
		line := fmt.Sprintf("%s %s %v %v, %d attempts, due %v, deadline %v, %.20q of %d:", c.Ref, c.Destination, to, c.State,
			c.Attempts, c.Due.UTC(), c.Deadline.UTC(), body, len(body))
		for i, r := range c.Last {
			line += fmt.Sprint(" ", r.Outcome, r.Reply, c.Delayed != nil && c.Delayed[i])
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

// fillSpool makes a spool whose tasks have all kinds of state.
func fillSpool(t *testing.T, dir string, n int) []string {
	t.Helper()
	q, err := spool.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	at := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			m := queue.Message{
				Envelope:     smtp.NewEnvelope(fmt.Sprintf("a%d@example.com", i%9), "b@one.test", "c@one.test", "d@two.test"),
				Destinations: []string{"one.test", "one.test", "two.test"}, Body: strings.NewReader(fmt.Sprint("body ", i)),
				Ref: fmt.Sprint(i), Held: i%7 == 0, Deadline: at,
			}
			if i%50 == 0 {
				m.Body = strings.NewReader(strings.Repeat("large ", 100_000))
			}
			if _, err := q.Enqueue(t.Context(), m); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var wants []queue.Want
	for d := range q.Lanes(t.Context()) {
		wants = append(wants, queue.Want{Lane: d.Lane, Max: n / 30})
	}
	tasks, err := q.Claim(t.Context(), wants, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range tasks {
		later := smtp.Result{Outcome: smtp.Deferred, Reply: smtp.NewReply(450, "4.2.1", fmt.Sprint("later ", i))}
		refused := smtp.Result{Outcome: smtp.Rejected, Reply: smtp.NewReply(550, "5.1.1", "unknown")}
		later.Recipient, refused.Recipient = c.Envelope.Recipients[0].Address, c.Envelope.Recipients[0].Address
		s := queue.Settlement{}
		switch {
		case i%3 == 0 && c.Destination == "one.test": // one recipient is left, and a report on the other one
			later.Recipient = c.Envelope.Recipients[1].Address
			s = queue.Settlement{
				Results: []smtp.Result{refused, later}, Next: at,
				Owed: []queue.Owed{{Recipient: 0, Result: refused}}, ReportAt: at,
			}
		case i%3 == 1:
			s = queue.Settlement{Owed: []queue.Owed{{Recipient: 0, Result: refused}}, ReportAt: at}
		case c.Destination == "two.test":
			s = queue.Settlement{Results: []smtp.Result{later}, Next: at}
		}
		if err := q.Settle(t.Context(), c.Lease, s); err != nil {
			t.Fatal(err)
		}
	}
	return listed(t, q)
}

// TestDrain moves a spool into PostgreSQL, and back. The process that does it is killed again and again meanwhile. All
// messages arrive, once, as they were. POSTRIDER_PG_DRAIN_MESSAGES sets how many there are.
func TestDrain(t *testing.T) {
	s := theServer(t)
	db, schema := newSchema(t, s)
	n := often("POSTRIDER_PG_DRAIN_MESSAGES", 400)
	dir := t.TempDir()
	from := filepath.Join(dir, "spool")
	want := fillSpool(t, from, n)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for _, direction := range []string{"in", "out"} {
		kills := 0
		for {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), inDrain+"="+direction, drainDSN+"="+s.DSN(), drainTo+"="+schema,
				drainSpool+"="+from)
			cmd.Stderr = t.Output()
			out, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			batches, last := 0, ""
			for lines := bufio.NewScanner(out); lines.Scan(); {
				last = lines.Text()
				if batches++; kills < often("POSTRIDER_PG_DRAIN_KILLS", 4) && batches == 2 {
					kills++
					time.AfterFunc(time.Duration(random.IntN(100))*time.Millisecond, func() { cmd.Process.Kill() })
				}
			}
			if err = cmd.Wait(); err == nil {
				t.Logf("%s: %d kills; the last process has %s", direction, kills, last)
				break
			}
			if cmd.ProcessState.Exited() {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		compare := func(where string, q queue.Queue, want []string) {
			got := listed(t, q)
			for i := range max(len(got), len(want)) {
				if i >= len(got) || i >= len(want) || got[i] != want[i] {
					t.Fatalf("seed %d: %s, %s: got %d tasks, want %d; from %d on, got\n%q, want\n%q", seed, direction, where,
						len(got), len(want), i, got[min(i, len(got)):][:min(1, len(got)-min(i, len(got)))],
						want[min(i, len(want)):][:min(1, len(want)-min(i, len(want)))])
				}
			}
		}
		q := open(t, db, pgqueue.Options{Schema: schema, NodeLease: time.Second})
		disk, err := spool.Open(from)
		if err != nil {
			t.Fatal(err)
		}
		if direction == "in" {
			compare("the spool", disk, nil)
			compare("PostgreSQL", q, want)
		} else {
			compare("PostgreSQL", q, nil)
			compare("the spool", disk, want)
		}
		q.Close()
		if err := disk.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
