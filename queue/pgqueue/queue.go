package pgqueue

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// Queue is a [queue.Queue] in a PostgreSQL database, which several processes may have open. It is also a [queue.Keyer],
// a [queue.Importer], a [queue.Sharer], a [queue.Waker], a [queue.Lister], a [queue.ReasonHolder], a [queue.Flusher], a
// [queue.Hastener], a [queue.Remover] and a [queue.Stater]. [Open] makes one. Its methods may be called concurrently.
type Queue struct {
	// Invariants, between two holds of mu:
	//
	//   - ix has the messages of the lanes that are in lanes, each as the tables have it, except for writes in
	//     progress.
	//   - A lane is in lanes or in loading only if the table lane names this node, or its row is gone. No message
	//     of a lane in loading can be claimed. Leases from before, of a lane that was to be given up, go on.
	//   - A write is in progress from gate.RLock to gate.RUnlock: until its result is known, and ix has it. Whoever
	//     compares ix with the tables, or takes lanes out of ix, has gate.Lock, so that no write is in progress.
	//   - since is the snapshot up to which ix has what others have committed. Only the poller changes it.

	watch index.Watchers

	db     *sql.DB
	schema string // quoted
	config Options
	seed   []byte
	clock  clock

	quit    chan struct{}      // closed by Close
	stop    context.CancelFunc // ends the goroutines
	work    sync.WaitGroup     // the goroutines
	closing sync.Once
	kick    chan struct{} // makes the poller look at once
	sharing chan struct{} // has an element while Share is called

	// These are the poller's alone.
	since    snapshot
	quiet    bool              // since was the same at the last poll
	started  string            // when the server was started
	without  int               // polls in a row without news
	compared time.Time         // when ix was compared with the tables; zero: it must be
	gave     map[int]time.Time // giving, after the last look at it
	gaveAt   time.Time

	gate     sync.RWMutex
	calls    sync.WaitGroup // those that store something without gate
	commits  [statements]string
	openings openings

	durable group
	large   group // of bodies in files
	// A crash of the server may undo what these commit. They are two groups, as a Claim that waited for settlements, or
	// a Settle for leases, would have hosts wait for mail.
	leases, settlements group

	mu        sync.Mutex
	ix        *tasks
	lanes     map[int]bool      // that are loaded
	loading   map[int]bool      // whose messages are being added to ix
	giving    map[int]time.Time // lanes that are being given up, and since when
	node      int64             // our row of the table node; 0: there is none
	fence     int64             // of it
	renewed   time.Time         // when the last renewal of its lease that succeeded was begun
	layout    int64             // as of the last look at lanes
	parts     uint32            // the newest part of a report task
	batch     int64             // the newest batch
	highest   uint64            // the highest ID that is known
	octets    int64             // of the bodies of the messages in ix
	heads     heads
	doomed    map[uint64]bool     // messages that were removed while a settlement was in progress
	extending map[queue.Lease]int // calls of Extend that write
	polled    chan struct{}       // closed at the end of the next poll that begins from now on
	settled   chan struct{}       // closed when a settlement ends; nil: nobody waits for one
	closed    bool

	keys       keyCount
	firstTries chan struct{} // has an element for each transaction of a call with a Key, and of Import
	nextTries  chan struct{} // likewise, after another transaction had the Key

	look  published
	asked atomic.Bool // Lanes has been called
}

// maxLanes is the number of lanes in the table lane.
const maxLanes = 256

// laneOf returns the lane of a message, by its Owner: so a queue.Lane, which has one Owner, has all of its tasks at one
// Queue, and a message too.
func (q *Queue) laneOf(m *index.Message) int { return laneOf(q.owner(m)) }

func laneOf(o queue.Owner) int { return int(o) % maxLanes }

func (o *Options) open(ctx context.Context, db *sql.DB) (*Queue, error) {
	if db == nil {
		return nil, errNoDB
	}
	config, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	quoted, err := quote(o.Schema)
	if err != nil {
		return nil, err
	}
	maxOpen := db.Stats().MaxOpenConnections
	if maxOpen == 1 {
		return nil, errOneConn
	}
	q := &Queue{
		db: db, schema: quoted, config: config, kick: make(chan struct{}, 1), quit: make(chan struct{}),
		lanes: map[int]bool{}, loading: map[int]bool{}, giving: map[int]time.Time{}, doomed: map[uint64]bool{},
		extending: map[queue.Lease]int{}, polled: make(chan struct{}), sharing: make(chan struct{}, 1),
		firstTries: make(chan struct{}, keyConns(maxOpen)), nextTries: make(chan struct{}, 1),
	}
	if err := checkServer(ctx, db); err != nil {
		return nil, err
	}
	version, seed, err := readVersion(ctx, db, quoted)
	switch {
	case err != nil:
		return nil, err
	case version != Version:
		return nil, &VersionError{version}
	}
	q.seed = seed
	// Two commits of a kind at a time would each store half as much. If the *sql.DB keeps no connection that isn't in
	// use, whoever has made it wants so: a pool below it has them, which may be small.
	keeps := db.Stats().Idle > 0
	for _, g := range []*group{&q.durable, &q.leases, &q.settlements} {
		g.q, g.parallel, g.keeps = q, 1, keeps
	}
	q.large.q, q.large.parallel = q, largeConns(maxOpen)
	q.openings.q = q
	node := nodePart
	if config.NoDelivery {
		node = noNodePart
	}
	for p := range statements {
		q.commits[p] = q.sql(commitSQL(p, node))
	}
	q.reset()
	first, work := q.turn, []func(context.Context){q.poller, q.beater, q.cleaner, q.overseer}
	if config.NoDelivery {
		first, work = q.askTime, []func(context.Context){q.timekeeper}
	}
	if err := first(ctx); err != nil {
		q.leave()
		return nil, err
	}
	background, stop := context.WithCancel(context.Background())
	q.stop = stop
	for _, f := range work {
		q.work.Go(func() { f(background) })
	}
	return q, nil
}

// repeat calls do each time that a pause has passed, until background ends. It logs an error, after the words, unless
// the call before failed, too.
func (q *Queue) repeat(
	background context.Context, pause time.Duration, words string, do func(ctx context.Context) error,
) {
	t := time.NewTicker(pause)
	defer t.Stop()
	well := true
	for {
		select {
		case <-background.Done():
			return
		case <-t.C:
		}
		err := do(background)
		if err != nil && background.Err() == nil && well {
			q.config.Logger.Warn("pgqueue: "+words, "error", err)
		}
		well = err == nil
	}
}

// overseer warns, once, if messages of the Queue wait and nobody delivers from it.
func (q *Queue) overseer(background context.Context) {
	warned := false
	q.repeat(background, q.config.NodeLease, "mail stays here", func(context.Context) error {
		q.mu.Lock()
		defer q.mu.Unlock()
		if warned = !q.asked.Load() && (warned || q.ix.Stats().Waiting > 0); warned {
			return errUndelivered
		}
		return nil
	})
}

// sql puts the name of the schema into a statement.
func (q *Queue) sql(statement string) string { return named(statement, q.schema) }

// reset makes ix empty, so that all leases end.
func (q *Queue) reset() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ix = index.New[entry, version](q.clock.time)
	q.ix.Owner, q.ix.Elapsed = q.owner, q.clock.elapsed
	q.node, q.fence, q.octets, q.heads = 0, 0, 0, heads{}
	clear(q.lanes)
	clear(q.loading)
	clear(q.giving)
	clear(q.doomed)
}

// owner returns the Owner of a message, which is the same at all Queues of the schema.
func (q *Queue) owner(m *index.Message) queue.Owner {
	kind, name := "tenant", m.Tenant
	if name == "" {
		kind, name = "sender", m.Envelope.From
	}
	if name == "" {
		return 0
	}
	h := sha256.New()
	h.Write(q.seed)
	h.Write([]byte(kind))
	h.Write([]byte(name))
	sum := h.Sum(nil)
	return max(1, queue.Owner(sum[0])<<8|queue.Owner(sum[1]))
}

// Close ends the leases of the Queue and hands its messages to the other Queues on the schema. It waits for calls in
// progress that store something, except for EnqueueTx and Share, up to twice Options.Timeout. Later calls return
// [queue.ErrClosed]. The *sql.DB remains open. Close may be called twice.
func (q *Queue) Close() error {
	q.closing.Do(q.close)
	return nil
}

func (q *Queue) close() {
	if q.db == nil {
		return // it isn't open
	}
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.watch.Tell(time.Now(), queue.Lane{}) // so that a Runner asks, and gets the error
	close(q.quit)
	q.stop()
	q.gate.Lock()
	//lint:ignore SA2001 calls in progress have ended, and the poller may need the lock to end
	q.gate.Unlock()
	done := make(chan struct{})
	go func() {
		q.calls.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(2 * q.config.Timeout): // lib/pq waits for the server, whatever its ctx
	}
	q.work.Wait()
	q.leave()
}

var (
	errNotOpen = errors.New("pgqueue: the Queue isn't open: make it by Open")
	errNoDB    = errors.New("the *sql.DB is nil: make it by sql.Open")
	errOneConn = errors.New("the *sql.DB allows 1 connection: a Queue needs 2 at least")

	errUndelivered = errors.New("nobody has asked this Queue for its messages since Open, " +
		"and others don't deliver them: run a Relay on it, or set Options.NoDelivery")
)

// check returns the error with which a call can't begin. q.mu is held.
func (q *Queue) check(ctx context.Context) error {
	if q.db == nil {
		return errNotOpen
	}
	if q.closed {
		return queue.ErrClosed
	}
	return ctx.Err()
}

// begin is check without q.mu.
func (q *Queue) begin(ctx context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.check(ctx)
}

// enter is begin for a call that stores something without q.gate. The call ends with q.calls.Done: Close waits for it.
func (q *Queue) enter(ctx context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	err := q.check(ctx)
	if err == nil {
		q.calls.Add(1)
	}
	return err
}

// failed adds the operation to an error, and syscall.ENOSPC if the disk of the server is full. Sentinels and nil stay
// as they are.
func failed(op string, err error) error {
	switch {
	case err == nil, err == queue.ErrClosed, err == queue.ErrLeaseLost, err == queue.ErrSettled,
		err == queue.ErrNotFound, err == context.Canceled, err == context.DeadlineExceeded:
		return err
	}
	if state, ok := errors.AsType[stateError](err); ok && state.SQLState() == "53100" {
		return fmt.Errorf("pgqueue: %s: %w: %w", op, syscall.ENOSPC, err)
	}
	return fmt.Errorf("pgqueue: %s: %w", op, err)
}

// index returns q.ix.
func (q *Queue) index() *tasks {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ix
}

// Lanes implements [queue.Queue]. It yields the lanes of the messages that this Queue has.
func (q *Queue) Lanes(ctx context.Context) iter.Seq2[queue.LaneDue, error] {
	return func(yield func(queue.LaneDue, error) bool) {
		if !q.asked.Swap(true) && q.config.NoDelivery {
			q.config.Logger.Warn("pgqueue: this Queue has NoDelivery: a Relay or a Runner on it delivers nothing")
		}
		ix := q.index()
		index.Lanes(&q.mu, ix, func() error {
			if q.ix != ix {
				return errLost
			}
			return q.check(ctx)
		})(yield)
	}
}

// errLost is the error of a call during which the Queue has lost its lease.
var errLost = errors.New("pgqueue: the Queue lost its messages to others, and is opened anew: ask again")

// Watch implements [queue.Waker]. It also announces a lease when it is granted or extended, with the time at which it
// expires.
func (q *Queue) Watch(f func(l queue.Lane, due time.Time)) (stop func()) { return q.watch.Watch(f) }

// Refresh takes in what other Queues and applications have committed, without waiting for Options.Poll. A program can
// call it after the commit of a transaction with EnqueueTx, so that the mail is sent at once. With Options.NoDelivery
// it does nothing.
func (q *Queue) Refresh(ctx context.Context) error {
	if err := q.begin(ctx); err != nil {
		return err
	}
	return q.next(ctx)
}

var (
	_ queue.Queue        = (*Queue)(nil)
	_ queue.Keyer        = (*Queue)(nil)
	_ queue.Importer     = (*Queue)(nil)
	_ queue.Waker        = (*Queue)(nil)
	_ queue.Lister       = (*Queue)(nil)
	_ queue.ReasonHolder = (*Queue)(nil)
	_ queue.Flusher      = (*Queue)(nil)
	_ queue.Hastener     = (*Queue)(nil)
	_ queue.Remover      = (*Queue)(nil)
	_ queue.Stater       = (*Queue)(nil)
)
