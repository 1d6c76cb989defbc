package river

import (
	"context"
	"database/sql"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// mail is what a job of River has to send.
type mail struct {
	From string   `json:"from"`
	To   []string `json:"to"`
	Body string   `json:"body"`
}

func (mail) Kind() string { return "mail" }

// job returns the arguments of job i.
func (p *place) job(i int) mail {
	from, domain := addresses(i)
	return mail{From: from, To: []string{"to@" + domain}, Body: p.body}
}

// sender works a mail at once.
type sender struct {
	river.WorkerDefaults[mail]
	worked *atomic.Int64
}

func (s *sender) Work(context.Context, *river.Job[mail]) error {
	s.worked.Add(1)
	return nil
}

func (p *place) config() *river.Config {
	return &river.Config{Schema: p.schema, Logger: slog.New(slog.DiscardHandler)}
}

// client returns a client that inserts jobs only, in the schema of the place, whose tables it makes.
func (p *place) client(pool *pgxpool.Pool) *river.Client[pgx.Tx] {
	p.Helper()
	p.exec(`CREATE SCHEMA {schema}`)
	driver := riverpgxv5.New(pool)
	m, err := rivermigrate.New(driver, &rivermigrate.Config{Schema: p.schema, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		p.Fatal(err)
	}
	if _, err := m.Migrate(p.Context(), rivermigrate.DirectionUp, nil); err != nil {
		p.Fatal(err)
	}
	c, err := river.NewClient(driver, p.config())
	if err != nil {
		p.Fatal(err)
	}
	return c
}

// insert has producers call Insert.
func insert(p *place, producers int) figures {
	pool := p.connections(producers)
	defer pool.Close()
	c := p.client(pool)
	f := p.produced(producers, func(ctx context.Context, i int) error {
		_, err := c.Insert(ctx, p.job(i), nil)
		return err
	})
	p.count(p.n+p.warm, "jobs", `SELECT count(*) FROM {schema}.river_job`)
	return f
}

// insertPgx has producers call InsertTx in transactions of pgx.
func insertPgx(p *place, producers int) figures {
	pool := p.connections(producers)
	defer pool.Close()
	c := p.client(pool)
	return p.orders(`{schema}.river_job`, producers, func(ctx context.Context, i int) error {
		return inPgx(ctx, pool, p.schema, i, func(tx pgx.Tx) error {
			_, err := c.InsertTx(ctx, tx, p.job(i), nil)
			return err
		})
	})
}

// insertSQL has producers call InsertTx in transactions of database/sql.
func insertSQL(p *place, producers int) figures {
	p.client(p.pool)
	db := p.database(producers)
	defer db.Close()
	c, err := river.NewClient(riverdatabasesql.New(db), p.config())
	if err != nil {
		p.Fatal(err)
	}
	return p.orders(`{schema}.river_job`, producers, func(ctx context.Context, i int) error {
		return inTx(ctx, db, p.schema, i, func(tx *sql.Tx) error {
			_, err := c.InsertTx(ctx, tx, p.job(i), nil)
			return err
		})
	})
}

// maxWorkers is the MaxWorkers of each client: see the package's doc.
func maxWorkers() int {
	if n, err := strconv.Atoi(os.Getenv("POSTRIDER_RIVER_WORKERS")); err == nil {
		return n
	}
	return 1000
}

// work has three clients work off what has been inserted before.
func work(p *place, _ int) figures {
	c := p.client(p.pool)
	for i := 0; i < p.n; {
		var many []river.InsertManyParams
		for ; i < p.n && len(many) < 1000; i++ {
			many = append(many, river.InsertManyParams{Args: p.job(i)})
		}
		if _, err := c.InsertManyFast(p.Context(), many); err != nil {
			p.Fatal(err)
		}
	}
	p.rest()
	var worked atomic.Int64
	clients := make([]*river.Client[pgx.Tx], 3)
	completed := make([]<-chan *river.Event, len(clients))
	for i := range clients {
		pool := p.connections(10)
		defer pool.Close()
		config := p.config()
		config.Workers = river.NewWorkers()
		river.AddWorker(config.Workers, &sender{worked: &worked})
		config.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: maxWorkers()}}
		config.FetchCooldown, config.FetchPollInterval = 2*time.Millisecond, 20*time.Millisecond
		var err error
		if clients[i], err = river.NewClient(riverpgxv5.New(pool), config); err != nil {
			p.Fatal(err)
		}
		var cancel func()
		completed[i], cancel = clients[i].SubscribeConfig(&river.SubscribeConfig{
			ChanSize: p.n, Kinds: []river.EventKind{river.EventKindJobCompleted},
		})
		defer cancel()
	}
	f := p.measure(func() {
		for _, c := range clients {
			if err := c.Start(p.Context()); err != nil {
				p.Fatal(err)
			}
		}
		ctx, stop := context.WithTimeout(p.Context(), 10*time.Minute)
		defer stop()
		var wg sync.WaitGroup
		var done atomic.Int64
		for _, events := range completed {
			wg.Go(func() {
				for {
					select {
					case <-events:
						if done.Add(1) == int64(p.n) {
							stop()
						}
					case <-ctx.Done():
						return
					}
				}
			})
		}
		wg.Wait()
	})
	for _, c := range clients {
		if err := c.Stop(p.Context()); err != nil {
			p.Error(err)
		}
	}
	if int(worked.Load()) != p.n {
		p.Errorf("got %d jobs worked, want %d", worked.Load(), p.n)
	}
	p.count(p.n, "jobs completed", `SELECT count(*) FROM {schema}.river_job WHERE state = 'completed' AND attempt = 1`)
	return f
}
