package pgqueue

import (
	"context"
	"sync"
	"time"
)

// clock is the clock of the server, as far as this process knows it: the time that the server told last, and the
// monotonic time that has passed since.
type clock struct {
	mu     sync.Mutex
	server time.Time // that the server told, without a monotonic reading
	local  time.Time // of that
	base   time.Time // of elapsed
	first  time.Time // the server's, at base
}

// slack is how far the server's clock may seem to be behind ours before ours is set.
const slack = time.Millisecond

// told notes that the server told its time between two readings of time.Now. If ours can't be right, it is set so that
// it is rather ahead, by no more than the answer took: a task isn't late then.
func (c *clock) told(server, before, after time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.local.IsZero() {
		c.base, c.first = before, server
	} else if ahead := c.server.Add(before.Sub(c.local)).Sub(server); ahead <= slack && ahead >= -after.Sub(before) {
		return
	}
	c.server, c.local = server, before
}

// time returns the time of the server.
func (c *clock) time() time.Time {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server.Add(now.Sub(c.local))
}

// elapsed returns the time since the Queue was opened, which no step of a wall clock changes.
func (c *clock) elapsed() time.Duration {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	return now.Sub(c.base)
}

// unstepped returns the time of the server as it would be without the steps of its clock since the Queue was opened.
func (c *clock) unstepped() time.Time {
	elapsed := c.elapsed()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.first.Add(elapsed)
}

// timekeeper asks for the time of the server as often as others renew their leases. Queues with NoDelivery have it: a
// poll, which tells the time, has others.
func (q *Queue) timekeeper(background context.Context) {
	q.repeat(background, q.config.NodeLease/8, "the time of the server can't be read", q.askTime)
}

// askTime asks for the time of the server.
func (q *Queue) askTime(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, q.config.Timeout)
	defer cancel()
	conn, err := q.db.Conn(ctx) // before the clock is read, as it may have to wait
	if err != nil {
		return err
	}
	defer conn.Close()
	before := time.Now()
	var now int64
	if err := conn.QueryRowContext(ctx, `SELECT `+nowSQL).Scan(&now); err != nil {
		return err
	}
	q.clock.told(time.Unix(0, now), before, time.Now())
	return nil
}
