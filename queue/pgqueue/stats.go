package pgqueue

import (
	"context"
	"encoding/json"
	"hash/crc32"
	"sync"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// counts are the Stats of a node, for the others.
type counts struct {
	Messages     int      `json:"messages"`
	Tasks        int      `json:"tasks"`
	Destinations int      `json:"destinations"`
	Names        []uint32 `json:"names"` // checksums of the destinations, unless there are many
	Waiting      int      `json:"waiting"`
	Leased       int      `json:"leased"`
	Held         int      `json:"held"`
	Octets       int64    `json:"octets"`
	Oldest       int64    `json:"oldest"` // 0: there are no messages
}

// maxNames is the largest number of destinations that a node names to the others.
const maxNames = 2000

// These are the times between two counts for the others. While the counts change all the time, the pause doubles up to
// the longest: each one leaves a dead row, which stays as long as a reader keeps the server from vacuuming.
const (
	publishPause    = 500 * time.Millisecond
	maxPublishPause = 5 * time.Second
)

// published is what a Queue has told the others last.
type published struct {
	mu    sync.Mutex
	seen  seen
	at    time.Time
	pause time.Duration // until the next count
}

// seen is what ix had. As long as it is the same, ix has the same messages: a new one would have a higher ID, and
// others come only with a new layout.
type seen struct {
	stats   queue.Stats
	highest uint64
	node    int64
	layout  int64
}

// count counts what ix has.
func (q *Queue) count() counts {
	q.mu.Lock()
	s, octets, ix := q.ix.Stats(), q.octets, q.ix
	var names []string
	if s.Destinations <= maxNames {
		names = ix.Destinations()
	}
	q.mu.Unlock()
	c := counts{
		Messages: s.Messages, Tasks: s.Tasks, Destinations: s.Destinations,
		Waiting: s.Waiting, Leased: s.Leased, Held: s.Held, Octets: octets,
	}
	for _, name := range names {
		c.Names = append(c.Names, crc32.ChecksumIEEE([]byte(name)))
	}
	for known := c.Messages == 0; !known; {
		id, ok := index.Oldest(&q.mu, ix)
		q.mu.Lock()
		m := ix.Data(id)
		if m != nil { // otherwise it has just left
			c.Oldest = m.arrival
		}
		q.mu.Unlock()
		known = !ok || m != nil
	}
	return c
}

// Stats implements [queue.Stater]. It counts this Queue's messages now, and those of the others as of up to 6 seconds
// ago. A destination of several Queues counts once, unless one of them has more than 2,000. The messages of one whose
// process ended count as it told last, until others have taken them over. Messages that no Queue has, as only those
// with Options.NoDelivery are open, don't count: [Queue.List] has them.
func (q *Queue) Stats(ctx context.Context) (queue.Stats, error) {
	if err := q.begin(ctx); err != nil {
		return queue.Stats{}, err
	}
	q.mu.Lock()
	node := q.node
	q.mu.Unlock()
	all := []counts{q.count()}
	rows, err := q.db.QueryContext(ctx, q.sql(`SELECT s.data FROM "postrider".stat s
		JOIN "postrider".node n ON n.id = s.node WHERE s.node <> $1`), node)
	if err != nil {
		return queue.Stats{}, failed("stats", err)
	}
	defer rows.Close()
	for rows.Next() {
		var data []byte
		var c counts
		if err := rows.Scan(&data); err != nil {
			return queue.Stats{}, failed("stats", err)
		}
		if err := json.Unmarshal(data, &c); err != nil {
			return queue.Stats{}, failed("stats", err)
		}
		all = append(all, c)
	}
	if err := rows.Err(); err != nil {
		return queue.Stats{}, failed("stats", err)
	}
	return sum(all), nil
}

// sum adds the counts of all nodes.
func sum(all []counts) (s queue.Stats) {
	names := map[uint32]bool{}
	oldest := int64(0)
	for _, c := range all {
		s.Messages += c.Messages
		s.Tasks += c.Tasks
		s.Waiting += c.Waiting
		s.Leased += c.Leased
		s.Held += c.Held
		s.Octets += c.Octets
		if c.Destinations > len(c.Names) {
			s.Destinations += c.Destinations
		}
		for _, name := range c.Names {
			names[name] = true
		}
		if c.Oldest != 0 && (oldest == 0 || c.Oldest < oldest) {
			oldest = c.Oldest
		}
	}
	s.Destinations += len(names)
	if oldest != 0 {
		s.Oldest = index.FromNano(oldest)
	}
	return s
}

// publish sends the other nodes what this one counts, if it has changed.
func (q *Queue) publish(ctx context.Context) error {
	p := &q.look
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.at) < p.pause {
		return nil
	}
	p.at = time.Now()
	q.mu.Lock()
	now := seen{q.ix.Stats(), q.highest, q.node, q.layout}
	q.mu.Unlock()
	if now == p.seen {
		p.pause = publishPause
		return nil
	}
	data, err := json.Marshal(q.count())
	if err != nil {
		return err
	}
	_, err = q.db.ExecContext(ctx, q.sql(`INSERT INTO "postrider".stat (node, data) VALUES ($1, $2)
		ON CONFLICT (node) DO UPDATE SET data = excluded.data`), now.node, string(data))
	if err == nil {
		p.seen = now
		p.pause = min(max(2*p.pause, publishPause), maxPublishPause)
	}
	return err
}
