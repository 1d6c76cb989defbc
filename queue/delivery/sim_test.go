package delivery

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/clocktest"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
)

// TestSimulation lives through days of mail and trouble with each seed, and holds what happens against a ledger of every recipient.
// POSTRIDER_SIMS says how many seeds it tries.
func TestSimulation(t *testing.T) {
	seeds, err := strconv.ParseUint(cmp.Or(os.Getenv("POSTRIDER_SIMS"), "200"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if testing.Short() {
		seeds = min(seeds, 40)
	}
	begun := time.Now()
	var next atomic.Uint64
	var all simCounts
	t.Run("seeds", func(t *testing.T) {
		for i := range runtime.GOMAXPROCS(0) {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				for seed := next.Add(1) - 1; seed < seeds; seed = next.Add(1) - 1 {
					s := simulate(t, seed)
					all.add(&s.counts)
					if len(s.problems) > 0 {
						t.Errorf("seed %d\n%s", seed, s)
						next.Store(seeds)
						return
					}
				}
			})
		}
	})
	t.Logf("%d seeds, %v, in %v", seeds, &all, time.Since(begun).Round(time.Millisecond))
}

// TestSimulationRepeats runs seeds twice: all that happens is the same.
func TestSimulationRepeats(t *testing.T) {
	for seed := range uint64(10) {
		first, second := simulate(t, seed), simulate(t, seed)
		for i := range max(len(first.lines), len(second.lines)) {
			if i >= len(first.lines) || i >= len(second.lines) || first.lines[i] != second.lines[i] {
				first.lines, second.lines = first.lines[:min(i+1, len(first.lines))], second.lines[:min(i+1, len(second.lines))]
				t.Fatalf("seed %d: line %d differs; got\n%s\nwant\n%s", seed, i, second, first)
			}
		}
	}
}

// simCounts is how much was simulated.
type simCounts struct {
	time                                                    atomic.Int64
	messages, attempts, repeats, reports, crashes, restarts atomic.Int64
	keyed                                                   atomic.Int64 // messages that repeated a Key
}

func (c *simCounts) add(more *simCounts) {
	for _, x := range [...][2]*atomic.Int64{
		{&c.time, &more.time}, {&c.messages, &more.messages}, {&c.attempts, &more.attempts}, {&c.repeats, &more.repeats},
		{&c.reports, &more.reports}, {&c.crashes, &more.crashes}, {&c.restarts, &more.restarts},
		{&c.keyed, &more.keyed},
	} {
		x[0].Add(x[1].Load())
	}
}

func (c *simCounts) String() string {
	return fmt.Sprintf("%.0f days with %d messages, %d attempts, %d excused repetitions, %d reports, %d crashes and %d restarts, %d repeated Keys",
		time.Duration(c.time.Load()).Hours()/24, c.messages.Load(), c.attempts.Load(), c.repeats.Load(), c.reports.Load(), c.crashes.Load(), c.restarts.Load(), c.keyed.Load())
}

// simLog is what happened in a simulation, and what was wrong with it.
type simLog struct {
	begun    time.Time
	lines    []simLine
	problems []string
	counts   simCounts
}

// simLine is a line of a trace, which is made into text only if someone reads it.
type simLine struct {
	at              time.Duration
	what, who, more string
	wait            time.Duration
}

func (l *simLog) note(what, who, more string, wait time.Duration) {
	l.lines = append(l.lines, simLine{time.Since(l.begun), what, who, more, wait})
}

func (l *simLog) problem(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	l.problems = append(l.problems, fmt.Sprintf("%v: %s", time.Since(l.begun), text))
	l.note("PROBLEM", text, "", 0)
}

// String gives the problems and the end of the trace.
func (l *simLog) String() string {
	var b strings.Builder
	for _, p := range l.problems {
		fmt.Fprintln(&b, p)
	}
	for _, line := range l.lines[max(0, len(l.lines)-60):] {
		fmt.Fprintf(&b, "%-22v %-10s %s %s", line.at, line.what, line.who, line.more)
		if line.wait != 0 {
			fmt.Fprintf(&b, " %v", line.wait)
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}

// simulation is what outlives a process: the world, the disk, and what is known of the mail.
type simulation struct {
	*simLog
	r        *rand.Rand // all that is left to chance
	calm     time.Time  // from then on nothing goes wrong any more
	scriptAt time.Time  // when the outside next does something
	world    *simWorld
	ledger   *simLedger
	clock    *clocktest.Clock // of the machine; the outside has time.Now
	disk     *crashfs.FS[spool.File]
	runner   func() *Runner // makes one as it is configured
	enqueued int
	lastStep time.Time // when the clock was last set
}

// simulate runs a seed.
func simulate(t *testing.T, seed uint64) *simLog {
	t.Helper()
	log := &simLog{}
	synctest.Test(t, func(t *testing.T) {
		log.begun = time.Now()
		s := newSimulation(log, rand.New(rand.NewPCG(seed, 2)))
		s.run()
		log.counts.time.Store(int64(time.Since(log.begun)))
	})
	return log
}

func newSimulation(log *simLog, r *rand.Rand) *simulation {
	s := &simulation{simLog: log, r: r, clock: new(clocktest.Clock), disk: crashfs.New[spool.File](nil)}
	s.calm = log.begun.Add(36*time.Hour + time.Duration(r.Int64N(int64(90*time.Hour))))
	s.scriptAt = log.begun
	s.world = newSimWorld(r, log.begun, s.calm)
	s.ledger = newSimLedger(log)
	s.ledger.world, s.ledger.clock = s.world, s.clock
	s.ledger.schedule = newSimSchedule(r)
	s.ledger.most, s.ledger.rate = 1+r.IntN(6), Rate{Messages: 4, Per: time.Hour}
	places := 1 + r.IntN(10)
	s.runner = func() *Runner {
		return &Runner{
			now:  s.clock.Now,
			Site: SiteLimits{Concurrency: s.ledger.most}, Tenant: s.ledger.rate, Concurrency: places, Retry: s.ledger.schedule.own, RetryAfter: s.ledger.schedule.after,
			SourceOf: func(*queue.Task) string { return "" },
			SiteOf: func(_ context.Context, destination string) (Site, error) {
				name, err := s.world.lookup(destination)
				return Site{Name: name}, err
			},
		}
	}
	return s
}

// run has one process after the other at work on the disk, until the queue is empty and the world at peace.
func (s *simulation) run() {
	for life := 0; len(s.problems) == 0; life++ {
		l := s.begin(life)
		over := l.crashed() == nil && l.live()
		l.die()
		if over {
			break
		}
		time.Sleep(s.downtime())
		if s.r.IntN(10) == 0 && time.Now().Before(s.calm) {
			s.step()
		}
		if s.scriptAt.Before(time.Now()) { // who asks while nobody listens goes away
			s.scriptAt = time.Now().Add(time.Second)
		}
	}
	if len(s.problems) == 0 {
		s.ledger.closed()
	}
}

// step sets the wall clock forward or back, or to the right time again.
func (s *simulation) step() {
	by := time.Until(s.clock.Now().Round(0)).Round(time.Second)
	if by != 0 && s.r.IntN(3) > 0 {
		by = -by
	} else {
		by = simBetween(s.r, 2*time.Minute, simMostStep).Round(time.Second) * simChance[time.Duration](s.r, 1, -1)
	}
	s.clock.Step(by)
	s.lastStep = time.Now()
	s.note("clock", "steps", "", by)
}

// simMostStep is the longest step of the clock.
const simMostStep = 3 * 24 * time.Hour

// downtime is how long nobody restarts the process.
func (s *simulation) downtime() time.Duration {
	switch s.r.IntN(10) {
	case 0:
		return simBetween(s.r, time.Hour, 36*time.Hour)
	case 1, 2:
		return simBetween(s.r, time.Minute, 3*time.Hour)
	}
	return simBetween(s.r, time.Second, time.Minute)
}

// simBetween draws a time between two: as likely from twice as much as from half of it.
func simBetween(r *rand.Rand, from, to time.Duration) time.Duration {
	for r.IntN(2) == 0 && to/2 > from {
		to /= 2
	}
	return from + time.Duration(r.Int64N(int64(to-from)))
}

// simChance draws one of some.
func simChance[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// simSchedule is what the waits are to be.
type simSchedule struct {
	own   []time.Duration
	after map[smtp.Reason][]time.Duration
}

func newSimSchedule(r *rand.Rand) *simSchedule {
	s := &simSchedule{}
	if r.IntN(4) == 0 {
		s.own = []time.Duration{10 * time.Minute, 40 * time.Minute}
	}
	if r.IntN(4) == 0 {
		s.after = map[smtp.Reason][]time.Duration{smtp.RateLimited: {20 * time.Minute, 3 * time.Hour}}
	}
	return s
}

// wait is how long a message waits that was tried n times.
func (s *simSchedule) wait(m *simMessage, why smtp.Reason, n int, now time.Time) time.Duration {
	of := func(minutes ...time.Duration) []time.Duration {
		for i := range minutes {
			minutes[i] *= time.Minute
		}
		return minutes
	}
	waits := of(5, 15, 30, 60, 120)
	switch {
	case len(s.after[why]) > 0:
		waits = s.after[why]
	case why == smtp.Greylisted:
		waits = of(3, 4, 5, 8, 15, 30, 60)
	case why == smtp.RateLimited:
		waits = of(1, 5, 15, 30, 60, 120)
	case why == smtp.Blocklisted:
		waits = of(30, 60, 120, 240)
	case len(s.own) > 0:
		waits = s.own
	}
	wait := waits[min(n, len(waits))-1]
	from := m.arrival
	if m.notBefore.After(from) {
		from = m.notBefore
	}
	if from.After(now) {
		from = now
	}
	if life := m.deadline.Sub(from); !m.deadline.IsZero() && life > 0 {
		wait = min(wait, max(life/8, time.Minute))
	}
	return wait
}
