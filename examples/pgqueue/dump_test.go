package pgqueue

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
	"github.com/postrider/postrider/smtp"
)

// TestDump dumps the schema of a Queue that is open, and restores it into another database: the Queue that is opened
// there has the same mail, and delivers it.
func TestDump(t *testing.T) {
	s := theServer(t)
	db, schema := newSchema(t, s)
	o := pgqueue.Options{Schema: schema, NodeLease: time.Second}
	q := open(t, db, o)
	const n = 20
	for i := range n {
		body := "x"
		if i == 0 {
			body = strings.Repeat("x", 300_000)
		}
		if _, err := q.Enqueue(t.Context(), mail(i, body)); err != nil {
			t.Fatal(err)
		}
	}
	tasks := claimAll(t, q, n)
	for i, task := range tasks[:n/2] {
		settle := queue.Settlement{}
		if i%2 == 0 {
			settle.Next = time.Now().Add(-time.Second)
			settle.Results = []smtp.Result{{
				Recipient: task.Envelope.Recipients[0].Address, Outcome: smtp.Deferred,
				Reply: smtp.NewReply(451, "4.7.1", "Try again later."),
			}}
		}
		if err := q.Settle(t.Context(), task.Lease, settle); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Hold(t.Context(), tasks[0].ID); err != nil {
		t.Fatal(err)
	}
	if err := q.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}

	file, name := filepath.Join(s.Dir(), schema+".sql"), "restored"+schema
	run := func(program string, args ...string) {
		t.Helper()
		cmd := s.Program(program, append([]string{"-h", s.Dir(), "-U", "postgres"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", program, err, out)
		}
	}
	run("pg_dump", "-n", schema, "-f", file, "postgres")
	run("createdb", "-T", "template0", name)
	run("psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", name, "-f", file)
	restored, err := sql.Open("pgx", strings.Replace(s.DSN(), "dbname=postgres", "dbname="+name, 1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { restored.Close() })
	r := open(t, restored, o)
	state := func(q *pgqueue.Queue) (lines []string) {
		for task, err := range q.List(t.Context(), queue.Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			if task.State == queue.Leased { // at the other Queue
				task.State = queue.Waiting
			}
			lines = append(lines, fmt.Sprint(task.ID, task.Destination, task.State, task.Attempts, task.Last))
		}
		return lines
	}
	if got, want := state(r), state(q); !slices.Equal(got, want) || len(want) != n-n/4 {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	delivered := 0
	until(t, "what isn't held is delivered", func() bool {
		for d := range r.Lanes(t.Context()) {
			got, err := r.Claim(t.Context(), []queue.Want{{Lane: d.Lane, Max: n}}, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			for _, task := range got {
				if err := r.Settle(t.Context(), task.Lease, queue.Settlement{}); err != nil {
					t.Fatal(err)
				}
				delivered++
			}
		}
		return delivered == n-n/4-1
	})
	id, err := r.Enqueue(t.Context(), mail(0, "x"))
	if err != nil || slices.ContainsFunc(tasks, func(task queue.Task) bool { return task.ID == id }) {
		t.Errorf("got ID %s, %v, want a new one", id, err)
	}
}
