package pgqueue

import (
	"context"
	"database/sql"
	"runtime"
	"slices"
	"sync"
	"time"
)

// group commits the jobs of concurrent calls together. Jobs with a body in a file have a group of their own, as their
// commits take long.
type group struct {
	q        *Queue
	parallel int  // statements at a time; with more, each would store less
	keeps    bool // the connection, between commits; only if parallel is 1

	mu      sync.Mutex
	waiting []*job
	running int
	idle    chan struct{} // is closed when a job comes; nil unless run waits for one

	// These are of the goroutine that commits, if parallel is 1.
	conn  *sql.Conn // nil: none is kept
	since time.Time // when it was taken

	timers sync.Pool // of wait
}

const (
	// By default, database/sql closes what isn't in use beyond two connections. To open another one takes as long as
	// a hundred commits. So a group keeps its connection until it has had no job for keepIdle, or a call of the *sql.DB
	// may wait for one, and no longer than keepLong, as the *sql.DB may have a limit for its life.
	keepIdle = 100 * time.Millisecond
	keepLong = time.Minute
)

// These bound what one statement stores.
const (
	maxJobs   = 500
	maxBodies = 4 << 20 // octets of bodies, unless a single job has more
)

// groupOf returns the group of a job without marks.
func (q *Queue) groupOf(j *job) *group {
	switch {
	case slices.ContainsFunc(j.msgs, isLarge):
		return &q.large
	case j.lazy:
		return &q.settlements
	}
	return &q.durable
}

// largeConns returns how many commits of large bodies may run at a time. They leave connections to other calls.
func largeConns(maxOpen int) int {
	if 0 < maxOpen && maxOpen < 8 {
		return 1
	}
	return 2
}

// submit hands a job over. The caller waits for its done.
func (g *group) submit(j *job) {
	j.done = make(chan struct{})
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = append(g.waiting, j)
	switch {
	case g.running < g.parallel:
		g.running++
		g.q.work.Go(g.run)
	case g.idle != nil:
		close(g.idle)
		g.idle = nil
	}
}

// wait waits for the result of a job. The ctx of the call has no effect: it doesn't stop the commit.
func (g *group) wait(j *job) error {
	limit := 2 * g.q.config.Timeout
	t, ok := g.timers.Get().(*time.Timer)
	if !ok {
		t = time.NewTimer(limit)
	} else {
		t.Reset(limit)
	}
	defer g.timers.Put(t)
	defer t.Stop()
	select {
	case <-j.done:
		return j.err
	case <-t.C:
		return errUnknown
	}
}

// run commits jobs until none waits.
func (g *group) run() {
	for {
		runtime.Gosched() // the calls that the last commit has let go on come back with their next jobs
		jobs := g.next()
		if jobs == nil {
			return
		}
		g.commit(jobs)
	}
}

// next returns the jobs of the next commit. If it returns none, run must end: a job that comes later begins it anew.
func (g *group) next() []*job {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 && g.conn != nil {
		woken := make(chan struct{})
		g.idle = woken
		g.mu.Unlock()
		select {
		case <-woken:
		case <-g.q.quit:
		case <-time.After(keepIdle):
		}
		g.mu.Lock()
		g.idle = nil
	}
	n := together(g.waiting)
	if n == 0 {
		g.release()
		g.running--
		return nil
	}
	jobs := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
	return jobs
}

// connection returns the connection of the group.
func (g *group) connection(ctx context.Context) (*sql.Conn, error) {
	if g.conn == nil {
		take := g.q.db.Conn
		if g.q.config.NoDelivery {
			take = g.q.liveConn
		}
		conn, err := take(ctx)
		if err != nil {
			return nil, g.q.late(context.Background(), ctx, "no connection", err)
		}
		g.conn, g.since = conn, time.Now()
	}
	return g.conn, nil
}

// liveConn returns a connection that the server answers on, and ends those that it finds dead: after a restart of the
// server, the *sql.DB may have many. Without a fence, a commit on one of them would have an unknown result.
func (q *Queue) liveConn(ctx context.Context) (conn *sql.Conn, err error) {
	const most = 100
	for range most {
		if conn, err = q.db.Conn(ctx); err != nil {
			return nil, err
		}
		if err = conn.PingContext(ctx); err == nil {
			return conn, nil
		}
		conn.Close()
	}
	return nil, err
}

// mayKeep reports whether the group may keep its connection after a commit.
func (g *group) mayKeep() bool {
	if !g.keeps || time.Since(g.since) >= keepLong {
		return false
	}
	s := g.q.db.Stats()
	return s.MaxOpenConnections <= 0 || s.InUse < s.MaxOpenConnections
}

// release puts the connection back into the *sql.DB, if there is one.
func (g *group) release() {
	if g.conn != nil {
		g.conn.Close()
		g.conn = nil
	}
}

// together returns how many of the jobs that wait are the next commit.
func together(waiting []*job) int {
	size := int64(0)
	for n, j := range waiting {
		for _, d := range j.msgs {
			size += d.Size
		}
		first := waiting[0]
		if n > 0 && (n == maxJobs || size > maxBodies || j.node != first.node || j.fence != first.fence) {
			return n
		}
	}
	return len(waiting)
}

// commit commits jobs and finishes them. If one of them may be at fault for an error, each is tried alone.
func (g *group) commit(jobs []*job) {
	err := g.write(jobs)
	if len(jobs) > 1 && ofOne(err) {
		for _, j := range jobs {
			g.commit([]*job{j})
		}
		return
	}
	g.q.mu.Lock()
	for _, j := range jobs {
		j.call.stored(err)
	}
	g.q.mu.Unlock()
	for _, j := range jobs {
		j.call.finish(err)
		j.err = err
		close(j.done)
	}
}
