package pgqueue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/examples/pgqueue/pgtest"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
	"github.com/postrider/postrider/smtp"
)

// TestNoDelivery has a Queue without delivery beside one that delivers, opened before it or after.
func TestNoDelivery(t *testing.T) {
	s := theServer(t)
	for _, driver := range drivers {
		for _, first := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/other first %v", driver, first), func(t *testing.T) {
				_, schema := newSchema(t, s)
				db := sql.OpenDB(connector(t, driver, s.DSN()))
				defer db.Close()
				testNoDelivery(t, db, schema, first)
			})
		}
	}
}

func testNoDelivery(t *testing.T, db *sql.DB, schema string, otherFirst bool) {
	ctx := t.Context()
	var other *pgqueue.Queue
	openOther := func() { other = open(t, db, pgqueue.Options{Schema: schema, Poll: 5 * time.Millisecond}) }
	if otherFirst {
		openOther()
	}
	q := open(t, db, pgqueue.Options{Schema: schema, NoDelivery: true})
	told := new(atomic.Bool)
	defer q.Watch(func(queue.Lane, time.Time) { told.Store(true) })()

	large := strings.Repeat("x", 300_000)
	mail := func(i int, body, key string) queue.Message {
		return queue.Message{
			Envelope:     smtp.NewEnvelope(fmt.Sprintf("from%d@example.com", i), "to@example.net"),
			Destinations: []string{"example.net"}, Body: strings.NewReader(body), Key: key,
		}
	}
	want := map[queue.ID]string{}
	stored := func(body string) func(id queue.ID, err error) queue.ID {
		return func(id queue.ID, err error) queue.ID {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			want[id] = body
			return id
		}
	}
	for i := range 50 { // senders of many lanes
		stored("body")(q.Enqueue(ctx, mail(i, "body", "")))
	}
	stored(large)(q.Enqueue(ctx, mail(50, large, "")))
	id := stored("once")(q.Enqueue(ctx, mail(51, "once", "key")))
	if again, repeats, err := q.EnqueueOnce(ctx, mail(51, "once", "key")); again != id || !repeats || err != nil {
		t.Errorf("got %v, %v, %v, want %v, which repeats", again, repeats, err, id)
	}
	for _, commit := range []bool{true, false} {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		id, err := q.EnqueueTx(ctx, tx, mail(52, "in tx", ""))
		if err != nil {
			t.Fatal(err)
		}
		if commit {
			want[id], err = "in tx", tx.Commit()
		} else {
			err = tx.Rollback()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !otherFirst {
		openOther()
	}

	// An operation on a message that the other Queue has.
	if err := q.Hold(ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := other.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	if got, want := listed(t, q), listed(t, other); !slices.Equal(got, want) {
		t.Errorf("lists\n%q\nwant\n%q", got, want)
	}
	tasks := claimAll(t, other, 100)
	if len(tasks) != len(want)-1 || slices.ContainsFunc(tasks, func(task queue.Task) bool { return task.ID == id }) {
		t.Errorf("got %d tasks, want %d, without the one that is held", len(tasks), len(want)-1)
	}
	if err := q.Release(ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := other.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	tasks = append(tasks, claimAll(t, other, 100)...)
	for _, task := range tasks {
		body, err := q.Open(ctx, task.ID)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(smtp.NewReader(body))
		body.Close()
		if err != nil || string(got) != want[task.ID] {
			t.Errorf("%v: got %d octets, %v, want %d", task.ID, len(got), err, len(want[task.ID]))
		}
		delete(want, task.ID)
	}
	if len(want) > 0 {
		t.Errorf("%d messages weren't claimed", len(want))
	}

	// The Queue itself has had nothing.
	for l, err := range q.Lanes(ctx) {
		t.Errorf("got %v, %v, want no lane", l, err)
	}
	wants := []queue.Want{{Lane: queue.Lane{Destination: "example.net", Owner: tasks[0].Owner}, Max: 1}}
	if got, err := q.Claim(ctx, wants, time.Minute); len(got) > 0 || err != nil {
		t.Errorf("Claim: got %d tasks, %v, want none", len(got), err)
	}
	if err := q.Settle(ctx, tasks[0].Lease, queue.Settlement{}); !errors.Is(err, queue.ErrLeaseLost) {
		t.Errorf("Settle: got %v, want %v", err, queue.ErrLeaseLost)
	}
	if told.Load() {
		t.Error("Watch announced something")
	}
	var nodes int
	if err := db.QueryRow(named(`SELECT count(*) FROM "postrider".node`, schema)).Scan(&nodes); err != nil || nodes != 1 {
		t.Errorf("got %d nodes, %v, want the other Queue's alone", nodes, err)
	}
	q.Close()
	if _, err := q.Enqueue(ctx, mail(0, "", "")); err != queue.ErrClosed {
		t.Errorf("after Close, got %v, want %v", err, queue.ErrClosed)
	}
}

// TestUndelivered has Queues whose mail nobody asks for: they warn once. Those without mail, or with somebody who asks,
// don't.
func TestUndelivered(t *testing.T) {
	s := theServer(t)
	db, schema := newSchema(t, s)
	_, other := newSchema(t, s)
	warned := make(chan string, 100)
	with := func(name, schema string, noDelivery bool) *pgqueue.Queue {
		log := slog.New(slog.NewTextHandler(lines(func(line string) {
			if strings.Contains(line, "others don't deliver them") {
				warned <- name
			}
		}), nil))
		return open(t, db, pgqueue.Options{
			Schema: schema, NodeLease: 2 * time.Second, Logger: log, NoDelivery: noDelivery,
		})
	}
	with("without mail", other, false)
	asked, none := with("asked", schema, false), with("none", schema, true)
	for range asked.Lanes(t.Context()) {
	}
	want := func(name string) {
		t.Helper()
		select {
		case got := <-warned:
			if got != name {
				t.Errorf("Queue %q warned, want %q", got, name)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("no Queue warned")
		}
	}
	with("first", schema, false)
	for i := range 100 { // of all Queues
		if _, err := none.Enqueue(t.Context(), mail(i, "x")); err != nil {
			t.Fatal(err)
		}
	}
	want("first")
	with("second", schema, false) // when it warns, the others have had the time to do so
	want("second")
	if len(warned) > 0 {
		t.Errorf("Queue %q warned, too", <-warned)
	}
}

// lines is a writer that calls a function for each line.
type lines func(line string)

func (f lines) Write(p []byte) (int, error) {
	f(string(p))
	return len(p), nil
}

// TestNoDeliveryCommits has a Queue without delivery store mail while the table is locked.
func TestNoDeliveryCommits(t *testing.T) {
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) { testNoDeliveryCommits(t, newStore(t, driver)) })
	}
}

func testNoDeliveryCommits(t *testing.T, s *store) {
	ctx := t.Context()
	db := sql.OpenDB(connector(t, s.driver, s.server.DSN()))
	defer db.Close()
	o := pgqueue.Options{Schema: s.schema, NoDelivery: true}
	q := open(t, db, o)
	lock := func(table string) *sql.Tx {
		t.Helper()
		tx, err := s.admin.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(named(`LOCK TABLE "postrider".`+table+` IN EXCLUSIVE MODE`, s.schema)); err != nil {
			t.Fatal(err)
		}
		return tx
	}
	untilBlocked := func() {
		t.Helper()
		untilLocked(t, s.admin, "INSERT INTO", 1)
	}
	enqueue := func() error {
		_, err := q.Enqueue(ctx, mail(0, "x"))
		return err
	}
	stored := func() int { return s.number(t, `SELECT count(*) FROM "postrider".msg`) }
	results := make(chan error)

	// Concurrent calls share a commit.
	const calls = 200
	tx := lock("msg")
	for range calls {
		go func() { results <- enqueue() }()
	}
	untilBlocked()
	tx.Rollback()
	for range calls {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if n := s.number(t, `SELECT count(DISTINCT xmin::text) FROM "postrider".msg`); n >= calls || stored() != calls {
		t.Errorf("got %d messages in %d commits, want %d in fewer", stored(), n, calls)
	}

	// The connection is lost during a commit: the call returns, and the next one succeeds.
	tx = lock("msg")
	go func() { results <- enqueue() }()
	untilBlocked()
	if n := s.number(t, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
		WHERE wait_event_type = 'Lock'`); n != 1 {
		t.Fatalf("ended %d sessions, want 1", n)
	}
	if err := <-results; err == nil || !strings.Contains(err.Error(), "it isn't known whether that succeeded") {
		t.Errorf("got %v, want an error that says what isn't known", err)
	}
	tx.Rollback()
	if err := enqueue(); err != nil || stored() != calls+1 {
		t.Errorf("got %v and %d messages, want %d", err, stored(), calls+1)
	}

	// Close waits for calls in progress.
	var task queue.Task
	for t := range q.List(ctx, queue.Filter{}) {
		task = t
		break
	}
	for _, test := range []struct {
		table string
		call  func() error
	}{
		{"msg", enqueue},
		{"msg", func() error {
			_, _, err := q.Import(ctx, queue.Import{Tasks: []queue.Task{task}, Body: strings.NewReader("x")})
			return err
		}},
		{"outcome", func() error { return q.Hold(ctx, task.ID) }},
	} {
		rows := func() int { return s.number(t, `SELECT count(*) FROM "postrider".`+test.table) }
		want := rows() + 1
		tx = lock(test.table)
		go func() { results <- test.call() }()
		untilBlocked()
		closed := make(chan int)
		go func() {
			q.Close()
			closed <- rows()
		}()
		until(t, "the Queue is closed", func() bool {
			_, err := q.Stats(ctx)
			return err == queue.ErrClosed
		})
		tx.Rollback()
		if n := <-closed; n != want {
			t.Errorf("after Close, got %d rows in %s, want %d", n, test.table, want)
		}
		if err := <-results; err != nil {
			t.Error(err)
		}
		q = open(t, db, o)
	}
}

// TestServerBack restarts the server while the *sql.DB has connections: no call uses one of them.
func TestServerBack(t *testing.T) {
	s, err := pgtest.Start()
	pgtest.Need(t, err)
	defer s.Remove()
	for _, driver := range drivers {
		_, schema := newSchema(t, s)
		db := sql.OpenDB(connector(t, driver, s.DSN()))
		defer db.Close()
		const conns = 20
		db.SetMaxIdleConns(conns)
		q := open(t, db, pgqueue.Options{Schema: schema, NoDelivery: true})
		var all []*sql.Conn
		for range conns {
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, conn)
		}
		for _, conn := range all {
			conn.Close()
		}
		s.Kill()
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
		for i := range 2 * conns {
			if _, err := q.Enqueue(t.Context(), mail(i, "x")); err != nil {
				t.Errorf("%s: %v", driver, err)
			}
		}
	}
}

// TestNoFreeConnection has the program keep all connections: calls say what they lack.
func TestNoFreeConnection(t *testing.T) {
	db, schema := newSchema(t, theServer(t))
	db.SetMaxOpenConns(2)
	q := open(t, db, pgqueue.Options{Schema: schema, NoDelivery: true, Timeout: 200 * time.Millisecond})
	if _, err := q.Enqueue(t.Context(), mail(0, "x")); err != nil {
		t.Fatal(err)
	}
	var task queue.Task
	for t := range q.List(t.Context(), queue.Filter{}) {
		task = t
	}
	for range 2 {
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
	}
	_, plain := q.Enqueue(t.Context(), mail(0, "x"))
	m := mail(0, "x")
	m.Key = "key"
	_, keyed := q.Enqueue(t.Context(), m)
	_, _, imported := q.Import(t.Context(), queue.Import{Tasks: []queue.Task{task}, Body: strings.NewReader("x")})
	for _, err := range []error{plain, keyed, imported} {
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no connection") ||
			!strings.Contains(err.Error(), "Options.Timeout, 200ms") {
			t.Errorf("got %v, want an error that says what is missing, and for how long", err)
		}
	}
}

// TestServerTime has the clock of the server step: a Queue without delivery learns of it.
func TestServerTime(t *testing.T) {
	s := theServer(t)
	admin, schema := newSchema(t, s)
	ahead := new(atomic.Int64)
	way := &line{Connector: connector(t, "pgx", s.DSN()), bubble: true, ahead: ahead}
	q := open(t, way.open(t), pgqueue.Options{Schema: schema, NoDelivery: true, NodeLease: 400 * time.Millisecond})
	for _, step := range []time.Duration{time.Hour, -2 * time.Hour} {
		ahead.Add(int64(step))
		until(t, "mail arrives at the server's time", func() bool {
			if _, err := q.Enqueue(t.Context(), mail(0, "x")); err != nil {
				t.Fatal(err)
			}
			var arrival int64
			err := admin.QueryRow(named(`SELECT arrival FROM "postrider".msg ORDER BY id DESC LIMIT 1`, schema)).Scan(&arrival)
			if err != nil {
				t.Fatal(err)
			}
			return time.Since(time.Unix(0, arrival).Add(-time.Duration(ahead.Load()))).Abs() < 10*time.Minute
		})
	}
}

// TestOneConnection opens Queues on a *sql.DB that allows too few connections.
func TestOneConnection(t *testing.T) {
	db, schema := newSchema(t, theServer(t))
	db.SetMaxOpenConns(1)
	for _, noDelivery := range []bool{false, true} {
		o := pgqueue.Options{Schema: schema, NoDelivery: noDelivery}
		if _, err := o.Open(t.Context(), db); err == nil || !strings.Contains(err.Error(), "2 at least") {
			t.Errorf("got %v, want an error that says how many are needed", err)
		}
	}
}
