package pgqueue

import (
	"database/sql"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/examples/pgqueue/pgtest"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
	"github.com/postrider/postrider/smtp"
)

// hot is a Queue whose statements are prepared, in a schema that has grown since.
type hot struct {
	*pgqueue.Queue
	other   *pgqueue.Queue // doesn't have the messages; nil: it isn't open yet
	options pgqueue.Options
	db      *sql.DB
	keys    int
}

func (h *hot) enqueue(t *testing.T, m queue.Message) queue.ID {
	t.Helper()
	id, err := h.Enqueue(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (h *hot) claim(t *testing.T) queue.Task {
	t.Helper()
	return claimAll(t, h.Queue, 1)[0]
}

// settle settles a task: it is done, or due again at next.
func (h *hot) settle(t *testing.T, c queue.Task, next time.Time) {
	t.Helper()
	s := queue.Settlement{Next: next}
	if !next.IsZero() {
		s.Results = []smtp.Result{{Recipient: c.Envelope.Recipients[0].Address, Outcome: smtp.Deferred}}
	}
	if err := h.Settle(t.Context(), c.Lease, s); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, q *pgqueue.Queue, id queue.ID) {
	t.Helper()
	b, err := q.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := io.Copy(io.Discard, io.NewSectionReader(b, 0, b.Size())); err != nil {
		t.Fatal(err)
	}
}

// hotCalls are what a delivery of a message may take.
var hotCalls = []struct {
	name string
	do   func(t *testing.T, h *hot)
}{
	{"enqueue, claim, settle", func(t *testing.T, h *hot) {
		h.enqueue(t, mail(0, "x"))
		h.settle(t, h.claim(t), time.Time{})
	}},
	{"claim after an attempt", func(t *testing.T, h *hot) {
		h.enqueue(t, mail(0, "x"))
		h.settle(t, h.claim(t), time.Now())
		h.settle(t, h.claim(t), time.Time{})
	}},
	{"extend", func(t *testing.T, h *hot) {
		h.enqueue(t, mail(0, "x"))
		c := h.claim(t)
		if err := h.Extend(t.Context(), c.Lease, time.Hour); err != nil {
			t.Fatal(err)
		}
		h.settle(t, c, time.Time{})
	}},
	{"open", func(t *testing.T, h *hot) {
		id := h.enqueue(t, mail(0, "x"))
		read(t, h.Queue, id)
		h.settle(t, h.claim(t), time.Time{})
	}},
	{"open at another Queue", func(t *testing.T, h *hot) {
		id := h.enqueue(t, mail(0, "x"))
		if h.other == nil { // h gives it no messages until its next poll
			h.other = open(t, h.db, h.options)
		}
		read(t, h.other, id)
		h.settle(t, h.claim(t), time.Time{})
	}},
	{"open in chunks", func(t *testing.T, h *hot) {
		id := h.enqueue(t, mail(0, strings.Repeat("x", 300_000)))
		read(t, h.Queue, id)
		h.settle(t, h.claim(t), time.Time{})
	}},
	{"new Key", func(t *testing.T, h *hot) {
		h.keys++
		m := mail(0, "x")
		m.Key = fmt.Sprint("new ", h.keys)
		h.enqueue(t, m)
		h.settle(t, h.claim(t), time.Time{})
	}},
	{"known Key", func(t *testing.T, h *hot) {
		for range 2 {
			m := mail(0, "x")
			m.Key = "known"
			h.enqueue(t, m)
		}
	}},
	{"transaction", func(t *testing.T, h *hot) {
		tx, err := h.db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		if _, err := h.EnqueueTx(t.Context(), tx, mail(0, "x")); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := h.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.settle(t, h.claim(t), time.Time{})
	}},
	{"hold, release, hasten, remove", func(t *testing.T, h *hot) {
		id := h.enqueue(t, mail(0, "x"))
		h.settle(t, h.claim(t), time.Now().Add(time.Hour))
		err := h.Hold(t.Context(), id)
		if err == nil {
			err = h.Release(t.Context(), id)
		}
		if err == nil {
			_, err = h.Hasten(t.Context(), id)
		}
		if err == nil {
			err = h.Remove(t.Context(), []queue.ID{id})
		}
		if err != nil {
			t.Fatal(err)
		}
	}},
	{"list one", func(t *testing.T, h *hot) {
		id := h.enqueue(t, mail(0, "x"))
		for _, err := range h.List(t.Context(), queue.Filter{ID: id}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		h.settle(t, h.claim(t), time.Time{})
	}},
}

// TestRowsRead makes calls whose statements the server has planned while its tables were small, and counts the rows that
// they read of the tables as they are. The server doesn't analyze the tables meanwhile: it may take a minute or more for
// that. Each call would otherwise read all rows.
func TestRowsRead(t *testing.T) {
	theServer(t)
	s, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Remove)
	for _, analyzed := range []bool{false, true} {
		for _, c := range hotCalls {
			t.Run(fmt.Sprintf("analyzed %v/%s", analyzed, c.name), func(t *testing.T) {
				testRowsRead(t, s, analyzed, c.do)
			})
		}
	}
}

// tablesOfRows are those that grow with the messages.
var tablesOfRows = []string{"msg", "outcome", "mark", "key", "chunk"}

func testRowsRead(t *testing.T, s *pgtest.Server, analyzed bool, do func(*testing.T, *hot)) {
	const rows, calls, most = 10_000, 50, 5 * 10_000
	admin, schema := newSchema(t, s)
	exec := func(statements ...string) {
		t.Helper()
		for _, statement := range statements {
			if _, err := admin.Exec(named(statement, schema)); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
	}
	for _, table := range tablesOfRows {
		exec(`ALTER TABLE "postrider".` + table + ` SET (autovacuum_enabled = off)`)
	}
	h := &hot{db: (&line{Connector: connector(t, "pgx", s.DSN()+" application_name="+schema)}).open(t)}
	h.db.SetMaxOpenConns(4)
	h.db.SetMaxIdleConns(4)
	h.options = pgqueue.Options{Schema: schema, Poll: time.Hour, NodeLease: time.Hour}
	h.Queue = open(t, h.db, h.options)
	for n := range 40 { // after some executions, the server makes a plan for all arguments
		if n == 3 && analyzed {
			for _, table := range tablesOfRows {
				exec(`ANALYZE "postrider".` + table)
			}
		}
		do(t, h)
	}
	// The others are as if a Queue had stored them. They have negative IDs, as the newest rows have the highest ones.
	series := fmt.Sprintf(`generate_series(1, %d) n`, rows)
	exec(`INSERT INTO "postrider".msg (id, lane, node, batch, arrival, size, head, body)
			SELECT -n, 0, 1, 0, 0, 1, '{}', 'x' FROM `+series,
		`INSERT INTO "postrider".outcome (id, lane, node, batch, kind, last) SELECT -n, 0, 1, 0, 1, false FROM `+series,
		`INSERT INTO "postrider".mark (id, num, lane, attempts, deaths) SELECT -n, 0, 0, 1, 0 FROM `+series,
		`INSERT INTO "postrider".chunk SELECT -n, 0, 'x' FROM `+series,
		`INSERT INTO "postrider".key SELECT decode(md5(n::text), 'hex'), 0, -n, 9e18::bigint FROM `+series)
	before := rowsRead(t, admin, schema)
	for range calls {
		do(t, h)
	}
	h.Queue.Close()
	if h.other != nil {
		h.other.Close()
	}
	h.db.Close() // a connection that ends reports what it has read
	until(t, "all sessions have ended", func() bool {
		var n int
		err := admin.QueryRow(`SELECT count(*) FROM pg_stat_activity WHERE application_name = $1`, schema).Scan(&n)
		return err == nil && n == 0
	})
	for table, n := range rowsRead(t, admin, schema) {
		// Close reads some tables as a whole, up to twice. With a scan for each call, it would be 50 times or more.
		if n -= before[table]; n > most {
			t.Errorf("%d calls have read %d rows of %s, want at most %d: each reads all of the table",
				calls, n, table, most)
		}
	}
}

// rowsRead returns how many rows of each table were read, by scans of the table and of its indexes.
func rowsRead(t *testing.T, db *sql.DB, schema string) map[string]int {
	t.Helper()
	read := map[string]int{}
	for _, table := range tablesOfRows {
		var n int
		err := db.QueryRow(`SELECT t.seq_tup_read + coalesce((
				SELECT sum(idx_tup_read) FROM pg_stat_user_indexes i WHERE i.relid = t.relid
			), 0) FROM pg_stat_user_tables t WHERE schemaname = $1 AND relname = $2`, schema, table).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		read[table] = n
	}
	return read
}
