package pgqueue

import (
	"bytes"
	"container/list"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// Open implements [queue.Queue]. Concurrent calls share a query. If the server refuses it, the query is repeated for
// each call alone, so that a body that can't be read fails only its own call. A body of up to 256 KiB is read at once.
// Of a larger one, a chunk of 256 KiB is in memory, and read when it is needed, for at most Options.Timeout.
func (q *Queue) Open(ctx context.Context, id queue.ID) (queue.Body, error) {
	n, ok := parseID(id)
	o := &opening{id: n, done: make(chan struct{})}
	q.mu.Lock()
	err := q.check(ctx)
	if err == nil && ok {
		o.known = q.ix.Data(n) != nil
		q.openings.submit(o)
	}
	q.mu.Unlock()
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, queue.ErrNotFound
	}
	select {
	case <-o.done:
	case <-ctx.Done():
		q.openings.leave(o)
		return nil, ctx.Err()
	}
	switch {
	case o.err != nil:
		return nil, failed("open "+string(id), o.err)
	case o.data == nil:
		return &chunks{q: q, id: n, size: o.size, have: -1}, nil
	case int64(len(o.data)) != o.size:
		err := fmt.Errorf("the body has %d octets, and its size is %d", len(o.data), o.size)
		return nil, failed("open "+string(id), err)
	}
	return index.BytesBody{Reader: bytes.NewReader(o.data)}, nil
}

// opening is a call of Open. Its result is there when done is closed.
type opening struct {
	id    uint64
	known bool // ix has it, so it isn't gone as far as the Queue knows
	done  chan struct{}
	size  int64
	data  []byte // nil: the body is in chunks
	err   error

	place *list.Element // in openings.waiting
	ended bool          // nobody waits for the result; under openings.mu
}

// openings reads the bodies of concurrent calls together: one query for each would take several times as much of the
// server as all the rest of a delivery. A call whose ctx has ended waits no longer, and no query is made for it.
type openings struct {
	q *Queue

	mu      sync.Mutex
	waiting list.List // of *opening
	running int
}

// These bound the queries of openings, and so the bodies in memory that no call has got yet.
const (
	maxOpenings = 2  // at a time
	maxOpened   = 64 // calls for a query, so 16 MiB
)

// submit hands a call over. q.mu is held: Close waits for what has begun before.
func (g *openings) submit(o *opening) {
	g.mu.Lock()
	defer g.mu.Unlock()
	o.place = g.waiting.PushBack(o)
	if g.running < maxOpenings {
		g.running++
		g.q.work.Go(g.run)
	}
}

// leave ends a call.
func (g *openings) leave(o *opening) {
	g.mu.Lock()
	defer g.mu.Unlock()
	o.ended = true
	g.waiting.Remove(o.place) // does nothing if a query has it
}

// next returns the calls of the next query, or none if no call waits.
func (g *openings) next() (calls []*opening) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for e := g.waiting.Front(); e != nil && len(calls) < maxOpened; e = g.waiting.Front() {
		calls = append(calls, g.waiting.Remove(e).(*opening))
	}
	if len(calls) == 0 {
		g.running--
	}
	return calls
}

// run reads bodies until no call waits.
func (g *openings) run() {
	for {
		runtime.Gosched() // other calls that are about to begin
		calls := g.next()
		if len(calls) == 0 {
			return
		}
		g.read(calls)
	}
}

// read reads bodies and finishes the calls. If the body of one may be at fault for an error, each is read alone.
func (g *openings) read(calls []*opening) {
	err := g.q.readBodies(calls)
	if len(calls) > 1 && ofOne(err) {
		for _, o := range calls {
			g.mu.Lock()
			ended := o.ended
			g.mu.Unlock()
			if !ended {
				g.read([]*opening{o})
			}
		}
		return
	}
	for _, o := range calls {
		if err != nil {
			o.err = err
		}
		close(o.done)
	}
}

// readBodies sets the results of calls. It doesn't ask whether messages that ix has are there: the server may have
// planned that while it had few outcomes, and then reads all of them each time, until it has analyzed the table.
func (q *Queue) readBodies(calls []*opening) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), q.config.Timeout)
	defer cancel()
	defer func() { err = inTime(ctx, err) }()
	known := make([]*opening, 0, len(calls))
	var others []*opening
	for _, o := range calls {
		if o.known {
			known = append(known, o)
		} else {
			others = append(others, o)
		}
	}
	const bodies = `SELECT id, size, body FROM "postrider".msg m WHERE ` + ofIDs
	if err := q.readBodiesBy(ctx, bodies, known); err != nil {
		return err
	}
	return q.readBodiesBy(ctx, bodies+" AND "+isThere, others)
}

// readBodiesBy sets the results of calls by a query.
func (q *Queue) readBodiesBy(ctx context.Context, query string, calls []*opening) error {
	if len(calls) == 0 {
		return nil
	}
	ids := make([]uint64, len(calls))
	for i, o := range calls {
		ids[i], o.err = o.id, queue.ErrNotFound
	}
	rows, err := q.db.QueryContext(ctx, q.sql(query), arrayOf(ids))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id uint64
		var size int64
		var data []byte
		if err := rows.Scan(&id, &size, &data); err != nil {
			return err
		}
		for _, o := range calls { // a message may be opened for several destinations
			if o.id == id {
				o.size, o.data, o.err = size, data, nil
			}
		}
	}
	return rows.Err()
}

// chunks is a body in chunks.
type chunks struct {
	q    *Queue
	id   uint64
	size int64

	mu   sync.Mutex
	have int64 // the chunk that is in data; -1: none
	data []byte
}

// Size returns the length in octets.
func (c *chunks) Size() int64 { return c.size }

// Close does nothing.
func (c *chunks) Close() error { return nil }

// ReadAt implements [io.ReaderAt].
func (c *chunks) ReadAt(b []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("pgqueue: negative offset")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for n < len(b) {
		if off >= c.size {
			return n, io.EOF
		}
		if err := c.read(off / chunkSize); err != nil {
			return n, err
		}
		got := copy(b[n:], c.data[off%chunkSize:])
		n, off = n+got, off+int64(got)
	}
	return n, nil
}

// read makes a chunk the one that is in memory.
func (c *chunks) read(n int64) error {
	if n == c.have {
		return nil
	}
	c.have, c.data = -1, nil
	ctx, cancel := context.WithTimeout(context.Background(), c.q.config.Timeout)
	defer cancel()
	var data []byte
	err := c.q.db.QueryRowContext(ctx, c.q.sql(`SELECT data FROM "postrider".chunk WHERE id = $1 AND n = $2
		AND ($1 IS NOT NULL OR `+dear+`)`),
		int64(c.id), n).Scan(&data)
	switch want := min(chunkSize, c.size-n*chunkSize); {
	case errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("pgqueue: read the body of %s: %w", index.FormatID(c.id), queue.ErrNotFound)
	case err != nil:
		return fmt.Errorf("pgqueue: read the body of %s: %w", index.FormatID(c.id), err)
	case int64(len(data)) != want:
		return fmt.Errorf("pgqueue: read the body of %s: chunk %d has %d octets, want %d",
			index.FormatID(c.id), n, len(data), want)
	}
	c.have, c.data = n, data
	return nil
}
