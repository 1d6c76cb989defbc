package pgqueue

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/examples/pgqueue/pgtest"
	"github.com/postrider/postrider/queue/pgqueue"
)

// TestPgBouncer has a pool in transaction mode before the server, with fewer connections than the Queues open.
func TestPgBouncer(t *testing.T) {
	s := theServer(t)
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		pgtest.Need(t, fmt.Errorf("%w: apt-get install pgbouncer", err))
	}
	dir, err := os.MkdirTemp("", "pgbouncer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	config := filepath.Join(dir, "ini")
	if err := os.WriteFile(config, fmt.Appendf(nil, `[databases]
postgres = host=%s dbname=postgres user=postgres
[pgbouncer]
unix_socket_dir = %s
listen_addr =
auth_type = any
pool_mode = transaction
default_pool_size = 4
ignore_startup_parameters = extra_float_digits
`, s.Dir(), dir), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := s.Command(program, config)
	if err := pgtest.Give(dir); err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for driver, options := range map[string]string{
		"pgx": " default_query_exec_mode=exec", "pq": " binary_parameters=yes",
	} {
		t.Run(driver, func(t *testing.T) {
			dsn := "host=" + dir + " port=6432 user=postgres dbname=postgres sslmode=disable" + options
			testPool(t, s, driver, dsn)
		})
	}
}

func testPool(t *testing.T, s *pgtest.Server, driver, dsn string) {
	_, schema := newSchema(t, s)
	db := sql.OpenDB(connector(t, driver, dsn))
	t.Cleanup(func() { db.Close() })
	for range 500 {
		if db.PingContext(t.Context()) == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	o := pgqueue.Options{Schema: schema, Poll: 5 * time.Millisecond}
	a, b := open(t, db, o), open(t, db, o)
	l := newLedger()
	for n := range 100 {
		q, m := a, mail(n, "x")
		if n%2 == 0 {
			q = b
		}
		if n%10 == 0 {
			m.Key = fmt.Sprint(n)
		}
		id, err := q.Enqueue(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		l.wasStored(id)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := a.EnqueueTx(t.Context(), tx, mail(0, "x"))
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
	l.wasStored(id)
	if err := a.Hold(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := b.Release(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { l.deliver(ctx, 1, b) })
	if copies := l.check(t, a); copies != 0 {
		t.Errorf("got %d copies, want none", copies)
	}
	stop()
	wg.Wait()
}
