package river

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postrider/postrider/examples/pgqueue/pgtest"
)

// place is where one side works in one part of one round: a new schema.
type place struct {
	testing.TB
	server *pgtest.Server
	pool   *pgxpool.Pool // for all but what is measured
	schema string
	n      int    // messages that are measured
	warm   int    // messages before them
	body   string // of each
}

// figures are what a side took for its messages.
type figures struct {
	rate            float64       // messages a second
	server, program time.Duration // of the processor, for a message
}

func (f figures) String() string {
	return fmt.Sprintf("%8.0f a second, %4d µs of the server's processors, %4d of the program's",
		f.rate, f.server.Microseconds(), f.program.Microseconds())
}

// exec executes a statement of the test itself, with the name of the schema in place of {schema}.
func (p *place) exec(statement string) {
	p.Helper()
	if _, err := p.pool.Exec(p.Context(), strings.ReplaceAll(statement, "{schema}", p.schema)); err != nil {
		p.Fatalf("%s: %v", statement, err)
	}
}

// count fails the test unless the query returns want.
func (p *place) count(want int, what, query string) {
	p.Helper()
	var got int
	if err := p.pool.QueryRow(p.Context(), strings.ReplaceAll(query, "{schema}", p.schema)).Scan(&got); err != nil {
		p.Fatalf("%s: %v", query, err)
	}
	if got != want {
		p.Errorf("got %d %s, want %d", got, what, want)
	}
}

// rest has the server do now what it would have to do during the next measurement: nothing of what one side has left is
// at the other's cost.
func (p *place) rest() {
	p.Helper()
	p.exec(`VACUUM ANALYZE`)
	p.exec(`CHECKPOINT`)
}

// measure returns the figures of do.
func (p *place) measure(do func()) figures {
	runtime.GC()
	server, program, start := p.server.Processor(), processor(), time.Now()
	do()
	took, n := time.Since(start), time.Duration(p.n)
	return figures{
		rate:   float64(p.n) / took.Seconds(),
		server: (p.server.Processor() - server) / n, program: (processor() - program) / n,
	}
}

// processor returns the time of the processor that this program has taken.
func processor() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// produce calls one for each message, by so many producers at a time.
func (p *place) produce(producers int, one func(ctx context.Context, i int) error) {
	p.call(producers, 1, p.n, one)
}

// produced returns the figures of produce. Before, one is called for the warm messages: each connection is open then,
// and its statements prepared.
func (p *place) produced(producers int, one func(ctx context.Context, i int) error) figures {
	p.warm = 3 * producers
	p.call(producers, p.n+1, p.n+p.warm, one)
	p.exec(`CHECKPOINT`)
	return p.measure(func() { p.produce(producers, one) })
}

// call calls one for each of the messages first to last.
func (p *place) call(producers, first, last int, one func(ctx context.Context, i int) error) {
	var wg sync.WaitGroup
	var next atomic.Int64
	next.Store(int64(first) - 1)
	for range producers {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= last; i = int(next.Add(1)) {
				if err := one(p.Context(), i); err != nil {
					p.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// addresses returns the sender and the domain of message i: 1,000 senders, and 5,000 domains, half of the messages to
// one of them.
func addresses(i int) (from, domain string) {
	domain = "large.example"
	if i%2 == 0 {
		domain = fmt.Sprintf("d%d.example", i/2%5000)
	}
	return fmt.Sprintf("sender%d@example.com", i*7%1000), domain
}

// spread returns the least, the median and the greatest of values.
func spread(values []float64) (least, median, greatest float64) {
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	return s[0], (s[(n-1)/2] + s[n/2]) / 2, s[n-1]
}
