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

// TestKept: a group keeps its connection as long as jobs come. It gives it back when none has come for keepIdle, when it
// has had it for keepLong, and when all connections are in use.
func TestKept(t *testing.T) {
	const half = keepIdle / 2
	for _, test := range []struct {
		name   string
		keeps  bool
		pause  time.Duration // before each job
		fullAt int           // the job during which somebody else takes the last connection
		want   time.Duration // for which it has the first connection
	}{
		{"busy", true, half, 0, keepLong},
		{"idle", true, 2 * keepIdle, 0, keepIdle},
		{"all in use", true, half, 3, 2 * half},
		{"never", false, half, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := &Queue{quit: make(chan struct{}), db: sql.OpenDB(fakeServer{})}
				defer q.db.Close()
				q.db.SetMaxOpenConns(2)
				q.settlements = group{q: q, parallel: 1, keeps: test.keeps}
				g := &q.settlements
				start := time.Now()
				for n := 1; ; n++ {
					g.running = 1
					conn, err := g.connection(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if n == test.fullAt {
						other, err := q.db.Conn(t.Context())
						if err != nil {
							t.Fatal(err)
						}
						defer other.Close()
					}
					if conn != g.conn || !g.mayKeep() {
						g.release()
						break
					}
					next := time.AfterFunc(test.pause, func() { g.submit(&job{node: 1}) })
					if jobs := g.next(); len(jobs) == 0 {
						next.Stop()
						break
					}
				}
				if got := time.Since(start); got != test.want || g.conn != nil {
					t.Errorf("it had the connection for %v, want %v", got, test.want)
				}
			})
		})
	}
}

// fakeServer has connections that can do nothing.
type fakeServer struct{}

func (fakeServer) Connect(context.Context) (driver.Conn, error) { return fakeConn{}, nil }
func (fakeServer) Driver() driver.Driver                        { return nil }

type fakeConn struct{ driver.Conn }

func (fakeConn) Close() error { return nil }
