package pgqueue

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue/internal/index"
)

// TestTogether: the jobs of a commit are of one node and fence, and their bodies have maxBodies octets at most, unless
// a single job has more.
func TestTogether(t *testing.T) {
	of := func(sizes ...int64) (jobs []*job) {
		for _, size := range sizes {
			jobs = append(jobs, &job{node: 1, msgs: []*draft{{Message: &index.Message{Size: size}}}})
		}
		return jobs
	}
	for _, test := range []struct {
		name    string
		waiting []*job
		want    int
	}{
		{"none", nil, 0},
		{"without bodies", slices.Repeat([]*job{{node: 1}}, 3), 3},
		{"many", slices.Repeat([]*job{{node: 1}}, maxJobs+1), maxJobs},
		{"just fit", of(maxBodies-1, 1, 0, 1), 3},
		{"large first", of(maxBodies+1, 1), 1},
		{"large next", of(1, 1, maxBodies), 2},
		{"another node", []*job{{node: 1}, {node: 2}}, 1},
		{"another fence", []*job{{node: 1}, {node: 1, fence: 1}}, 1},
	} {
		if got := together(test.waiting); got != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got, test.want)
		}
	}
}

// TestKept: a group keeps its connection as long as jobs come, and gives it back when none has come for keepIdle, or
// when it has had it for keepLong.
func TestKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &Queue{quit: make(chan struct{}), db: sql.OpenDB(fakeServer{})}
		defer q.db.Close()
		q.settlements = group{q: q, parallel: 1}
		g := &q.settlements
		g.running = 1
		connect := func() *sql.Conn {
			t.Helper()
			conn, err := g.connection(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}
		next := func(jobs int, after time.Duration) {
			t.Helper()
			start := time.Now()
			if got := len(g.next()); got != jobs || time.Since(start) != after {
				t.Fatalf("got %d jobs after %v, want %d after %v", got, time.Since(start), jobs, after)
			}
		}
		start, first := time.Now(), connect()
		go func() {
			time.Sleep(keepIdle / 2)
			g.submit(&job{node: 1})
		}()
		next(1, keepIdle/2)
		for connect() == first && time.Since(start) < 2*keepLong {
			time.Sleep(keepIdle)
			g.submit(&job{node: 1})
			next(1, 0)
		}
		if got, want := time.Since(start), keepLong+keepIdle/2; got != want {
			t.Errorf("it had the connection for %v, want %v", got, want)
		}
		if n := q.db.Stats().InUse; n != 1 {
			t.Errorf("got %d connections in use, want 1", n)
		}
		next(0, keepIdle)
		if n := q.db.Stats().InUse; n != 0 || g.running != 0 {
			t.Errorf("idle: got %d connections in use and running %d", n, g.running)
		}
	})
}

// TestKeepsConns: other calls have connections while three are kept.
func TestKeepsConns(t *testing.T) {
	for maxOpen, want := range map[int]bool{0: true, -1: true, 2: false, 11: false, 12: true} {
		if got := keepsConns(maxOpen); got != want {
			t.Errorf("keepsConns(%d): got %v, want %v", maxOpen, got, want)
		}
	}
}

// fakeServer has connections that can do nothing.
type fakeServer struct{}

func (fakeServer) Connect(context.Context) (driver.Conn, error) { return fakeConn{}, nil }
func (fakeServer) Driver() driver.Driver                        { return nil }

type fakeConn struct{ driver.Conn }

func (fakeConn) Close() error { return nil }
