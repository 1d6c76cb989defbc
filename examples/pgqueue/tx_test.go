package pgqueue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postrider/postrider/examples/pgqueue/pgtest"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
	"github.com/postrider/postrider/smtp"
)

// TestMix does random transactions of an application, each with an order and its mail: a message is there if and only
// if its order is. Some are committed, some rolled back, and some end by the loss of the connection. POSTRIDER_PG_MIX
// sets how many.
func TestMix(t *testing.T) {
	s := theServer(t)
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) { testMix(t, s, driver, 0) })
	}
	t.Run("crashes", func(t *testing.T) {
		s, err := pgtest.Start()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Remove)
		testMix(t, s, drivers[0], often("POSTRIDER_PG_CRASHES", 2))
	})
}

// begin begins a transaction, also if the server has been killed since the last one.
func begin(ctx context.Context, t *testing.T, db *sql.DB, o *sql.TxOptions) (conn *sql.Conn, tx *sql.Tx) {
	t.Helper()
	var err error
	for range 1000 {
		if conn, err = db.Conn(ctx); err == nil {
			if tx, err = conn.BeginTx(ctx, o); err == nil {
				return conn, tx
			}
			conn.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal(err)
	return nil, nil
}

// testMix does the transactions. crashes is how often the server is killed, in about half of the cases while a
// transaction is open.
func testMix(t *testing.T, s *pgtest.Server, driver string, crashes int) {
	_, schema := newSchema(t, s)
	db := sql.OpenDB(connector(t, driver, s.DSN()))
	defer db.Close()
	ctx := t.Context()
	orders := named(`"postrider".orders`, schema)
	if _, err := db.ExecContext(ctx, `CREATE TABLE `+orders+` (id int PRIMARY KEY, mail text NOT NULL)`); err != nil {
		t.Fatal(err)
	}
	q := open(t, db, pgqueue.Options{Schema: schema, Poll: 5 * time.Millisecond})
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	large := strings.Repeat("x", 300_000)
	committed, killed := 0, 0
	mix := often("POSTRIDER_PG_MIX", 100)
	for n := range mix {
		m := mail(n, "x")
		if random.IntN(10) == 0 {
			m.Body = strings.NewReader(large)
		}
		if random.IntN(3) == 0 {
			m.Key = fmt.Sprint(n)
		}
		isolation := []sql.IsolationLevel{sql.LevelDefault, sql.LevelRepeatableRead, sql.LevelSerializable}[random.IntN(3)]
		conn, tx := begin(ctx, t, db, &sql.TxOptions{Isolation: isolation})
		id, err := q.EnqueueTx(ctx, tx, m)
		if err == nil {
			_, err = tx.ExecContext(ctx, `INSERT INTO `+orders+` VALUES ($1, $2)`, n, string(id))
		}
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		crash := crashes > 0 && n%(1+mix/crashes) == mix/crashes/2
		if crash && random.IntN(2) == 0 {
			restart(t, s)
			killed, crash = killed+1, false
		}
		switch random.IntN(3) {
		case 0:
			tx.Rollback()
		case 1: // the server loses the connection
			if _, err := tx.ExecContext(ctx, `SELECT pg_terminate_backend(pg_backend_pid())`); err == nil {
				t.Errorf("the connection isn't lost")
			}
			tx.Rollback()
		default:
			if err := tx.Commit(); err == nil {
				committed++
			} else if killed == 0 {
				t.Fatal(err)
			}
		}
		conn.Close()
		if crash {
			restart(t, s)
			killed++
		}
	}
	conn, tx := begin(ctx, t, db, nil) // the server is up
	tx.Rollback()
	conn.Close()
	want := map[string]bool{}
	rows, err := db.QueryContext(ctx, `SELECT mail FROM `+orders)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		want[id] = true
	}
	if err := q.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	during, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var mu sync.Mutex
	deliver(during, q, func(c queue.Task) {
		mu.Lock()
		defer mu.Unlock()
		got[string(c.ID)] = true
	}, func(_ queue.Task, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			t.Error(err)
		}
		if len(got) >= len(want) {
			cancel()
		}
	})
	if stats, err := q.Stats(ctx); err != nil || stats.Messages != 0 {
		t.Errorf("got %d messages left and %v, want none", stats.Messages, err)
	}
	for id := range want {
		if !got[id] {
			t.Errorf("seed %d: message %s is committed and not sent", seed, id)
		}
	}
	for id := range got {
		if !want[id] {
			t.Errorf("seed %d: message %s isn't committed and is sent", seed, id)
		}
	}
	if len(want) != committed {
		t.Errorf("seed %d: got %d orders, want the %d that were committed", seed, len(want), committed)
	}
	t.Logf("%d transactions, %d committed, %d crashes of the server", mix, committed, killed)
}

// restart kills the server and starts it again.
func restart(t *testing.T, s *pgtest.Server) {
	t.Helper()
	s.Kill()
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
}

// TestPgxTx stores a message in a pgx.Tx.
func TestPgxTx(t *testing.T) {
	s := theServer(t)
	db, schema := newSchema(t, s)
	q := open(t, db, pgqueue.Options{Schema: schema})
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, s.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	var ids []queue.ID
	for _, end := range []func(pgx.Tx) error{
		func(tx pgx.Tx) error { return tx.Rollback(ctx) },
		func(tx pgx.Tx) error { return tx.Commit(ctx) },
		func(tx pgx.Tx) error { return tx.Commit(ctx) }, // the same Key
	} {
		tx, err := conn.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		row := func(ctx context.Context, query string, args []any, dest ...any) error {
			return tx.QueryRow(ctx, query, args...).Scan(dest...)
		}
		m := mail(0, "x")
		m.Key = "order 17"
		id, err := q.EnqueueRow(ctx, row, m)
		if err != nil {
			t.Fatal(err)
		}
		if err := end(tx); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if ids[0] == ids[1] || ids[1] != ids[2] {
		t.Errorf("got IDs %v, want that of the second for the third", ids)
	}
	if err := q.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	if stats, err := q.Stats(ctx); err != nil || stats.Messages != 1 {
		t.Errorf("got %d messages and %v, want 1", stats.Messages, err)
	}
}

// TestOpenTransaction leaves a transaction of an application open: other mail isn't delayed, and its own is found when
// it is committed.
func TestOpenTransaction(t *testing.T) {
	s := theServer(t)
	db, schema := newSchema(t, s)
	q := open(t, db, pgqueue.Options{Schema: schema})
	ctx := t.Context()
	count := func(want int) {
		t.Helper()
		if err := q.Refresh(ctx); err != nil {
			t.Fatal(err)
		}
		if stats, err := q.Stats(ctx); err != nil || stats.Messages != want {
			t.Errorf("got %d messages and %v, want %d", stats.Messages, err, want)
		}
	}
	enqueue := func() *sql.Tx {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := q.EnqueueTx(ctx, tx, mail(0, "x")); err != nil {
			t.Fatal(err)
		}
		return tx
	}
	long := enqueue()
	for n := range 3 {
		enqueue().Commit()
		count(n + 1)
	}
	long.Commit()
	count(4)
	count(4)
}

// TestVersions opens schemas that are older and newer than the program.
func TestVersions(t *testing.T) {
	s := theServer(t)
	db, schema := newSchema(t, s)
	o := pgqueue.Options{Schema: "nothing there"}
	var version *pgqueue.VersionError
	if _, err := o.Open(t.Context(), db); !errors.As(err, &version) || version.Version != 0 {
		t.Errorf("without a schema: got %v, want a VersionError for version 0", err)
	}
	if _, err := db.Exec(named(`UPDATE "postrider".version SET version = 99`, schema)); err != nil {
		t.Fatal(err)
	}
	o.Schema = schema
	if _, err := o.Open(t.Context(), db); !errors.As(err, &version) || version.Version != 99 {
		t.Errorf("of a newer program: got %v, want a VersionError for version 99", err)
	}
	if err := pgqueue.Migrate(t.Context(), db, schema); !errors.As(err, &version) {
		t.Errorf("Migrate of a newer schema: got %v, want a VersionError", err)
	}
}

// TestLargeBody stores a body of 50 MB and reads it, and measures the memory that is in use meanwhile.
func TestLargeBody(t *testing.T) {
	s := theServer(t)
	db, schema := newSchema(t, s)
	q := open(t, db, pgqueue.Options{Schema: schema})
	const size, limit = 50_000_000, 16 << 20
	inUse := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, most := inUse(), uint64(0)
	n := 0
	look := func() {
		if n++; n%200 == 0 {
			most = max(most, inUse())
		}
	}
	want, got := fnv.New64a(), fnv.New64a()
	random := rand.NewChaCha8([32]byte{})
	m := mail(0, "")
	m.Body = io.TeeReader(io.LimitReader(readerFunc(func(b []byte) (int, error) {
		look()
		return random.Read(b)
	}), size), want)
	id, err := q.Enqueue(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	b, err := q.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	from := smtp.NewReader(b)
	if _, err := io.Copy(got, readerFunc(func(b []byte) (int, error) {
		look()
		return from.Read(b)
	})); err != nil || got.Sum64() != want.Sum64() {
		t.Errorf("got %v, or other octets", err)
	}
	if most > before+limit {
		t.Errorf("got %d octets in use, want at most %d", most-before, limit)
	}
}

type readerFunc func(b []byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// TestRowWithoutScan has a Row that executes the statement and scans nothing: the program learns it.
func TestRowWithoutScan(t *testing.T) {
	db, schema := newSchema(t, theServer(t))
	q := open(t, db, pgqueue.Options{Schema: schema, NoDelivery: true})
	row := func(ctx context.Context, query string, args []any, _ ...any) error {
		_, err := db.ExecContext(ctx, query, args...)
		return err
	}
	if id, err := q.EnqueueRow(t.Context(), row, mail(0, "x")); err == nil || !strings.Contains(err.Error(), "hasn't scanned") {
		t.Errorf("got %q and %v, want an error", id, err)
	}
}
