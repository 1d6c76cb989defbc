package river

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
	"github.com/postrider/postrider/smtp"
)

// message returns the message i.
func (p *place) message(i int) queue.Message {
	from, domain := addresses(i)
	return queue.Message{
		Envelope:     smtp.NewEnvelope(from, "to@"+domain),
		Destinations: []string{domain}, Body: strings.NewReader(p.body),
	}
}

// open opens a Queue on the schema of the place.
func (p *place) open(db *sql.DB) *pgqueue.Queue { return p.openWith(db, pgqueue.Options{}) }

func (p *place) openWith(db *sql.DB, o pgqueue.Options) *pgqueue.Queue {
	p.Helper()
	o.Schema = p.schema
	q, err := o.Open(p.Context(), db)
	if err != nil {
		p.Fatal(err)
	}
	return q
}

func (p *place) migrate(db *sql.DB) {
	p.Helper()
	if err := pgqueue.Migrate(p.Context(), db, p.schema); err != nil {
		p.Fatal(err)
	}
}

// openNew makes the schema and opens a Queue on it.
func (p *place) openNew(db *sql.DB) *pgqueue.Queue {
	p.Helper()
	p.migrate(db)
	return p.open(db)
}

// openStoring makes the schema and opens a Queue on it that only stores mail, as a client of River without workers does.
func (p *place) openStoring(db *sql.DB) *pgqueue.Queue {
	p.Helper()
	p.migrate(db)
	return p.openWith(db, pgqueue.Options{NoDelivery: true})
}

// store returns what a producer calls to store message i by Enqueue.
func (p *place) store(q *pgqueue.Queue) func(ctx context.Context, i int) error {
	return func(ctx context.Context, i int) error {
		_, err := q.Enqueue(ctx, p.message(i))
		return err
	}
}

// enqueue has producers call Enqueue.
func enqueue(p *place, producers int) figures {
	db := p.database(producers)
	defer db.Close()
	q := p.openNew(db)
	defer q.Close()
	f := p.produced(producers, p.store(q))
	p.count(p.n+p.warm, "messages", `SELECT count(*) FROM {schema}.msg`)
	return f
}

// enqueueTx has producers call EnqueueTx in transactions of database/sql.
func enqueueTx(p *place, producers int) figures {
	db := p.database(producers)
	defer db.Close()
	q := p.openStoring(db)
	defer q.Close()
	return p.orders(`{schema}.msg`, producers, func(ctx context.Context, i int) error {
		return inTx(ctx, db, p.schema, i, func(tx *sql.Tx) error {
			_, err := q.EnqueueTx(ctx, tx, p.message(i))
			return err
		})
	})
}

// enqueueRow has producers call EnqueueRow in transactions of pgx.
func enqueueRow(p *place, producers int) figures {
	pool := p.connections(producers)
	defer pool.Close()
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close()
	q := p.openStoring(db)
	defer q.Close()
	return p.orders(`{schema}.msg`, producers, func(ctx context.Context, i int) error {
		return inPgx(ctx, pool, p.schema, i, func(tx pgx.Tx) error {
			row := func(ctx context.Context, query string, args []any, dest ...any) error {
				return tx.QueryRow(ctx, query, args...).Scan(dest...)
			}
			_, err := q.EnqueueRow(ctx, row, p.message(i))
			return err
		})
	})
}

// settle has three Queues work off what has been enqueued before.
func settle(p *place, _ int) figures {
	db := p.database(100)
	q := p.openNew(db)
	p.produce(100, p.store(q))
	q.Close()
	db.Close()
	p.rest()
	return p.workOff(0)
}

// flow has three Queues work off what producers enqueue meanwhile.
func flow(p *place, producers int) figures {
	db := p.database(1)
	defer db.Close()
	p.migrate(db)
	return p.workOff(producers)
}

// workOff has three Queues work off p.n messages. So many producers enqueue them meanwhile, evenly at the Queues.
func (p *place) workOff(producers int) figures {
	queues := make([]*pgqueue.Queue, 3)
	for i := range queues {
		db := p.database(producers/3 + 10)
		defer db.Close()
		queues[i] = p.open(db)
		defer queues[i].Close()
	}
	p.apart(queues)
	var claimed, settled atomic.Int64
	f := p.measure(func() {
		ctx, stop := context.WithTimeout(p.Context(), 10*time.Minute)
		defer stop()
		var wg sync.WaitGroup
		for _, q := range queues {
			for range 4 {
				wg.Go(func() { p.work(ctx, q, &claimed, &settled, stop) })
			}
		}
		if producers > 0 {
			p.produce(producers, func(ctx context.Context, i int) error {
				_, err := queues[i%3].Enqueue(ctx, p.message(i))
				return err
			})
			if p.Failed() {
				stop()
			}
		}
		wg.Wait()
	})
	left := 0
	for _, err := range queues[0].List(p.Context(), queue.Filter{}) {
		if err != nil {
			p.Fatal(err)
		}
		left++
	}
	if c, s := int(claimed.Load()), int(settled.Load()); c != p.n || s != p.n || left != 0 {
		p.Errorf("got %d tasks claimed, %d settled and %d left, want %d, %d and 0", c, s, left, p.n, p.n)
	}
	return f
}

// apart waits until the Queues have handed over to each other what is theirs: until none has got or given any lane for
// two seconds.
func (p *place) apart(queues []*pgqueue.Queue) {
	var before []int
	for same := 0; same < 10; same++ {
		time.Sleep(200 * time.Millisecond)
		lanes := make([]int, len(queues))
		for i, q := range queues {
			for _, err := range q.Lanes(p.Context()) {
				if err != nil {
					p.Fatal(err)
				}
				lanes[i]++
			}
		}
		if !slices.Equal(lanes, before) {
			same = 0
		}
		before = lanes
	}
}

// work claims and settles tasks of a Queue until ctx ends. It calls stop after the last task, or after an error.
func (p *place) work(ctx context.Context, q *pgqueue.Queue, claimed, settled *atomic.Int64, stop func()) {
	for ctx.Err() == nil {
		var wants []queue.Want
		for d, err := range q.Lanes(ctx) {
			if err != nil {
				break
			}
			if wants = append(wants, queue.Want{Lane: d.Lane, Max: 20}); len(wants) == 50 {
				break
			}
		}
		tasks, err := q.Claim(ctx, wants, time.Minute)
		if err != nil && ctx.Err() == nil {
			p.Error(err)
			stop()
		}
		if len(tasks) == 0 {
			time.Sleep(5 * time.Millisecond)
		}
		claimed.Add(int64(len(tasks)))
		var wg sync.WaitGroup
		for _, task := range tasks {
			wg.Go(func() {
				if err := q.Settle(p.Context(), task.Lease, queue.Settlement{}); err != nil {
					p.Error(err)
					stop()
				} else if settled.Add(1) == int64(p.n) {
					stop()
				}
			})
		}
		wg.Wait()
	}
}
