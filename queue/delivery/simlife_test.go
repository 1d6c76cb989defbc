package delivery

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/queue/spool"
)

// simLife is a process: a Spool, a Runner and its loop, which are real, and in the place of all goroutines of the Runner one
// that does one thing after the other.
type simLife struct {
	*simulation
	born   time.Time
	stopAt time.Time // when it is told to stop; zero: never
	queue  *simQueue
	runner *Runner
	loop   *runnerLoop
	timer  *time.Timer
	sends  []*simSend // under way, in the order of their ends
	woken  []simWoken // of news

	suspended  map[string]time.Time
	tenants    map[string]time.Time  // when the last task of each was tried
	failed     map[string]time.Time  // when something was last wrong with a site
	throttled  map[simPair]time.Time // when the mail of a sender was last refused for its rate
	troubled   time.Time             // when something was last suspended
	stepped    time.Time             // when the clock was last set
	current    *simSend              // what is being settled
	unreported bool                  // it couldn't be reported
	removing   simEnd                // why messages are being removed
	peaceful   bool

	writing atomic.Int32 // operations on the disk that are under way

	mu    sync.Mutex
	at    int // the operation on the disk before which it crashes
	kind  string
	crash *simCrash
}

// simCrash is what is left.
type simCrash struct {
	disk   *crashfs.FS[spool.File]
	synced int // number of the last write that is on the disk for certain
}

var simConfig = spool.Options{SegmentSize: 256 << 10, InlineSize: 600, SyncDelay: time.Second, Logger: slog.New(slog.DiscardHandler)}

// begin starts a process on the disk.
func (s *simulation) begin(life int) *simLife {
	l := &simLife{
		simulation: s,
		born:       time.Now(),
		timer:      time.NewTimer(0),
		suspended:  map[string]time.Time{},
		tenants:    map[string]time.Time{},
		failed:     map[string]time.Time{},
		throttled:  map[simPair]time.Time{},
		kind:       simChance(s.r, append(crashfs.Kinds, "random", "random", "random")...),
	}
	if life < 7 && l.born.Before(s.calm) {
		switch s.r.IntN(10) {
		case 0, 1, 2, 3, 4, 5:
			l.at = 1 + int(simBetween(s.r, 0, 400))
		case 6, 7:
			l.stopAt = l.born.Add(simBetween(s.r, time.Minute, 48*time.Hour))
		}
	}
	s.note("begins", fmt.Sprint("life ", life), "", 0)
	chance := rand.New(rand.NewPCG(s.r.Uint64(), 3))
	s.disk.Before = func(op string, names ...string) error {
		l.writing.Add(1)
		defer l.writing.Add(-1)
		time.Sleep(simDiskTime(op, names))
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.at--; l.at == 0 {
			l.crash = &simCrash{disk: s.disk.After(l.kind, chance)}
			s.note("crash", l.kind, fmt.Sprint(" before ", op, names), 0)
			if l.queue != nil {
				l.crash.synced = s.disk.Kept(".segment")
			}
		}
		return nil
	}
	config := simConfig
	config.FS, config.Now = s.disk, s.clock.Now
	q, err := config.Open("memory")
	l.settle()
	if err != nil {
		s.problem("it can't be opened: %v", err)
		return l
	}
	l.queue = &simQueue{Spool: q, life: l}
	if l.crashed() != nil {
		return l
	}
	for _, d := range q.Damage() {
		s.problem("damage is reported: %+v", d)
	}
	s.ledger.reopened(q)
	l.runner = s.runner()
	l.runner.Queue, l.runner.Report = l.queue, l.report
	l.loop = newRunnerLoop(l.runner)
	l.loop.machine.jitter = l.jitter
	l.runner.begin(l.loop)
	l.queue.Watch(l.loop.inbox.wake)
	return l
}

// simDiskTime is how long an operation takes: no two that several goroutines may do at once take the same, and what they do comes
// in an order that repeats.
func simDiskTime(op string, names []string) time.Duration {
	h := fnv.New32a()
	h.Write([]byte(op))
	for _, name := range names {
		h.Write([]byte(name))
	}
	return time.Duration(h.Sum32() % 1e6)
}

// settle waits until nothing stirs.
func (l *simLife) settle() {
	for synctest.Wait(); l.writing.Load() > 0; synctest.Wait() {
		time.Sleep(time.Millisecond)
	}
}

func (l *simLife) jitter() float64 { return 2*l.r.Float64() - 1 }

func (l *simLife) crashed() *simCrash {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.crash
}

// live does what comes next, and then what comes after that, until the process ends. It reports whether all is done.
func (l *simLife) live() (over bool) {
	var last time.Time
	turns := 0 // at one time
	l.cycle()
	for len(l.problems) == 0 && l.crashed() == nil {
		now := time.Now()
		if turns++; now.After(last) {
			last, turns = now, 0
		}
		if turns > 1000 {
			l.problem("the loop goes on and on")
		}
		l.world.advance(now)
		if !now.Before(l.calm) && !l.peaceful {
			l.peace()
		}
		switch {
		case l.peaceful && (l.empty() || now.Sub(l.calm) > 4*24*time.Hour+2*simMostStep):
			return true
		case passed(l.stopAt, now):
			l.stop()
			return false
		case len(l.sends) > 0 && !l.sends[0].at.After(now):
			send := l.sends[0]
			l.sends = l.sends[1:]
			l.finish(send)
		case passed(l.scriptAt, now):
			l.script()
		default:
			l.sleep(now)
		}
		l.settle()
		if l.crashed() == nil {
			l.cycle()
		}
	}
	return false
}

// sleep waits as the Runner does, or until something happens in the world.
func (l *simLife) sleep(now time.Time) {
	next := earliest(l.scriptAt, l.stopAt)
	if len(l.sends) > 0 {
		next = earliest(next, l.sends[0].at)
	}
	if l.peaceful {
		next = earliest(next, now.Add(time.Hour))
	}
	if wake := l.loop.wakeAt(); !wake.IsZero() {
		next = earliest(next, now.Add(min(wake.Sub(l.clock.Now()), longestSleep)))
	}
	l.timer.Reset(next.Sub(now))
	select {
	case <-l.timer.C:
	case <-l.loop.inbox.signal:
	}
	l.timer.Stop()
}

// cycle has the loop work until there is nothing more to do.
func (l *simLife) cycle() {
	const most = 1000
	for range most {
		l.news()
		again, err := l.loop.work(context.Background(), l.clock.Now(), func() {})
		l.settle()
		if l.crashed() != nil {
			return
		}
		if err != nil || l.loop.failures > 0 {
			l.problem("the queue fails: %v", err)
			return
		}
		l.loop.askSites(context.Background())
		l.settle()
		for len(l.loop.jobs) > 0 {
			l.start(<-l.loop.jobs)
		}
		if !again && !l.hasNews() {
			return
		}
	}
	l.problem("the loop spins")
}

func (l *simLife) hasNews() bool {
	in := l.loop.inbox
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.woken)+len(in.done)+len(in.sited) > 0 || in.asked || in.failed
}

// news has the loop take in what has happened, piece by piece, as what happened together is in no order.
func (l *simLife) news() {
	in, now := l.loop.inbox, l.clock.Now()
	in.mu.Lock()
	l.woken = l.woken[:0]
	for lane, due := range in.woken {
		l.woken = append(l.woken, simWoken{lane, due})
	}
	found := in.sited
	clear(in.woken)
	in.sited = nil
	in.mu.Unlock()
	l.loop.receive(now) // what is done
	slices.SortFunc(l.woken, func(a, b simWoken) int {
		return cmp.Or(strings.Compare(a.lane.Destination, b.lane.Destination), cmp.Compare(a.lane.Priority, b.lane.Priority),
			cmp.Compare(a.lane.Owner, b.lane.Owner))
	})
	for _, w := range l.woken {
		in.wake(w.lane, w.due)
		l.loop.receive(now)
	}
	slices.SortFunc(found, func(a, b sited) int { return strings.Compare(a.destination, b.destination) })
	for _, s := range found {
		in.found(s)
		l.loop.receive(now)
	}
	select {
	case <-in.signal:
	default:
	}
}

// simWoken is a lane with something due by then.
type simWoken struct {
	lane queue.Lane
	due  time.Time
}

// stop ends the process as Run does when it is told to: what is sent has some time, and is cut off then.
func (l *simLife) stop() {
	l.note("stops", "", "", 0)
	l.counts.restarts.Add(1)
	end := time.Now().Add(defaultGrace)
	for len(l.sends) > 0 && l.crashed() == nil {
		send := l.sends[0]
		if send.at.After(end) {
			send.cutOff, send.at = true, end
		}
		time.Sleep(time.Until(send.at))
		l.settle()
		if l.crashed() == nil {
			l.sends = l.sends[1:]
			l.finish(send)
		}
	}
}

// die leaves the disk to the next life.
func (l *simLife) die() {
	if l.queue == nil {
		return
	}
	for _, send := range l.sends {
		l.end(send)
	}
	if l.crashed() == nil {
		if err := l.queue.Close(); err != nil {
			l.problem("Close: %v", err)
		}
		l.settle()
	}
	crash := l.crashed()
	l.ledger.lost = l.ledger.lost || crash != nil && l.kind != "killed"
	if crash == nil {
		l.ledger.endedAt(math.MaxInt)
		l.disk.Before = nil
		return
	}
	l.counts.crashes.Add(1)
	for _, send := range l.sends {
		if send.d.plan.step == stepAttempt && l.r.IntN(2) == 0 {
			l.answer(send) // it hears nothing of
			for _, r := range send.task.recipients {
				r.again = r.again || r.taken > 0
			}
		}
	}
	l.ledger.endedAt(crash.synced)
	l.disk.Before = nil
	l.queue.Close()
	l.disk = crash.disk
}
