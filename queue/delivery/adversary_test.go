package delivery

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The tests with an adversary hold the machine to this: with the adversary, honest mail waits no longer for its first
// attempt than without, but for
//
//   - a tenth and a second, at p99, for sites that took mail within a day,
//   - a minute, at p99, for destinations never seen before, and in the first ten minutes after a start,
//
// and none of it is put off for what the adversary was told. advBroken has this in numbers.
//
// The waits are those of all honest mail of a kind together, and apart for the eight sites that the adversary aims at.
// The runs of a pair have the same honest mail: when it comes, from whom, for where, and how long each attempt takes.
// The adversary has a tenth of the accepted mail at any time, counted from the start.
//
// A run has 10 minutes of full load before the part that is measured, and then 20,000 honest messages, which arrive in
// a minute. Moves that strike once strike in that minute, so it is harder than two hours. Mail that isn't attempted 5
// minutes later counts as having waited until then. Without any of these variables, there is every fourth move, and some
// combinations:
//
//	POSTRIDER_ADVERSARY=200         so many seeds, pairs of moves, and combinations by chance; 100,000 destinations at
//	                                a site that is down instead of 5,000
//	POSTRIDER_ADVERSARY_HOURS=2     two hours are measured: 2.3 million messages a run
//	POSTRIDER_ADVERSARY_FULL=1000000
//	                                so many honest messages a run, for 100,000 domains at the healthy sites, each of
//	                                which also has mail for later; that costs 200 octets of the machine at most
//	POSTRIDER_ADVERSARY_MOVES=a+b   these moves alone, with a trace if that is one run; a,b+c are two cases
//	POSTRIDER_ADVERSARY_OWNERS=50   so many honest owners; otherwise 1, 50 and 200
//	POSTRIDER_ADVERSARY_SEED=7      the first seed
//	POSTRIDER_ADVERSARY_WARM=2      minutes before the measured part, which is 5,000 messages then: for a quick look
//
// A row breaks the promise if the waits of its seeds together do, or those of one seed alone. It is run again, with its
// trace, by its moves, owners and seed. The last lines have the waits of all rows together, by the number of owners.
//
// What isn't there: rates, suspensions, notices and deadlines; honest mail with the null reverse-path or a NotBefore; a
// provider that limits our sessions; sessions that are used again; hosts whose addresses change between the lookup and
// the attempt; owners who share a number; claims and settlements that take time or fail, and news that come late.

// advCase is an adversary, and how much honest mail there is besides.
type advCase struct {
	moves  []*advMove
	owners int
	seeds  []uint64
}

func (c advCase) name() string {
	if len(c.moves) == 0 {
		return "-"
	}
	names := make([]string, len(c.moves))
	for i, m := range c.moves {
		names[i] = m.name
	}
	return strings.Join(names, "+")
}

// advPoor says how a run without the adversary is too slow to be held against: the promise would be cheap. At p99, mail
// to known sites waits a tenth of a second or so at this load.
func advPoor(base *advMeasures) string {
	for g, most := range [advGroups]time.Duration{time.Second, time.Second, 2 * time.Second, 2 * time.Second} {
		if p99 := base.waits[g].quantile(0.99); p99 > most {
			return fmt.Sprintf("slow: %s %v", advGroupNames[g], p99)
		}
	}
	return ""
}

// advBroken says what of the promise a run broke.
func advBroken(base, with *advMeasures) (broken []string) {
	for g := range advGroups {
		before, after := base.waits[g].quantile(0.99), with.waits[g].quantile(0.99)
		most := before + before/10 + time.Second
		if g == advUnseen || g == advStart {
			most = before + time.Minute
		}
		if after > most {
			broken = append(broken, advGroupNames[g])
		}
	}
	if with.deferred > 0 {
		broken = append(broken, fmt.Sprintf("%d put off", with.deferred))
	}
	if with.spins > 0 {
		broken = append(broken, fmt.Sprintf("%d spins", with.spins))
	}
	return broken
}

// add pools the measures of runs.
func (s *advMeasures) add(o *advMeasures) {
	for g := range s.waits {
		s.waits[g].addAll(&o.waits[g])
	}
	s.honestly += o.honestly
	s.accepted += o.accepted
	s.refused += o.refused
	s.deferred += o.deferred
	s.taken += o.taken
	s.attempts += o.attempts
	s.mostHeld = max(s.mostHeld, o.mostHeld)
	s.heldFor += o.heldFor / float64(max(o.heldFrom-o.from, 1))
	s.wakes += o.wakes
	s.spins += o.spins
	s.vain += o.vain
	s.lookups += o.lookups
	s.length += o.length
}

// advBench runs cases, each with its base, on all processors.
type advBench struct {
	config advConfig
	mu     sync.Mutex
	bases  map[advKey]func() *advMeasures
	runs   atomic.Int64
	mails  atomic.Int64
}

type advKey struct {
	seed   uint64
	owners int
}

func (b *advBench) run(seed uint64, owners int, moves []*advMove) *advMeasures {
	c := b.config
	c.seed, c.owners, c.moves = seed, owners, moves
	m := newAdvSim(c).run()
	b.runs.Add(1)
	b.mails.Add(int64(m.honestly + m.accepted))
	return m
}

func (b *advBench) base(seed uint64, owners int) *advMeasures {
	b.mu.Lock()
	key := advKey{seed, owners}
	f := b.bases[key]
	if f == nil {
		f = sync.OnceValue(func() *advMeasures { return b.run(seed, owners, nil) })
		b.bases[key] = f
	}
	b.mu.Unlock()
	return f()
}

// all runs the cases and prints a table. A case that breaks the promise fails the test.
func (b *advBench) all(t *testing.T, cases []advCase) {
	b.bases = make(map[advKey]func() *advMeasures)
	if b.config.waiting {
		c := b.config
		c.owners = 50
		octets := newAdvSim(c).later()
		if t.Logf("%.0f octets a domain with mail for later", octets); octets > 200 {
			t.Errorf("got %.0f octets a domain, want 200 at most", octets)
		}
	}
	rows := make([]string, len(cases))
	failures, printed := 0, 0
	pools := make(map[int]*advPool)
	begun := time.Now()
	var next atomic.Int64
	var group sync.WaitGroup
	t.Log("\n" + advHeader)
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(cases)); i = next.Add(1) - 1 {
				r := b.row(cases[i])
				b.mu.Lock()
				if len(r.broken) > 0 {
					failures++
				}
				pool := pools[r.owners]
				if pool == nil {
					pool = &advPool{owners: r.owners}
					pools[r.owners] = pool
				}
				pool.add(r)
				for rows[i] = r.String(); printed < len(rows) && rows[printed] != ""; printed++ {
					fmt.Fprint(t.Output(), rows[printed])
				}
				b.mu.Unlock()
			}
		})
	}
	group.Wait()
	for _, owners := range slices.Sorted(maps.Keys(pools)) {
		fmt.Fprint(t.Output(), pools[owners])
	}
	t.Logf("%d of %d cases break the promise; %d runs with %d messages in %v", failures, len(cases), b.runs.Load(),
		b.mails.Load(), time.Since(begun).Round(time.Millisecond))
	if failures > 0 {
		t.Fail()
	}
}

// Of each group of waits: the p50 and p99 without the adversary and with it.
var advHeader = fmt.Sprintf("%-42s %17s  %17s  %17s  %17s   slots held\n%-26s %6s  %7s",
	"", "known", "aimed", "new", "start", "moves", "owners", "") +
	strings.Repeat("      p50      p99 ", int(advGroups)) +
	"  most mean  wakes/s back vain µs/mail  broken\n"

// advRow is the result of a case.
type advRow struct {
	advCase
	base, with advMeasures
	took       time.Duration
	broken     []string
}

func (b *advBench) row(c advCase) *advRow {
	r := &advRow{advCase: c}
	for _, seed := range c.seeds {
		r.base.add(b.base(seed, c.owners))
	}
	begun := time.Now()
	for _, seed := range c.seeds {
		with := b.run(seed, c.owners, c.moves)
		r.with.add(with)
		if broken := advBroken(b.base(seed, c.owners), with); len(broken) > 0 && len(c.seeds) > 1 {
			r.broken = append(r.broken, fmt.Sprintf("seed %d alone: %s", seed, strings.Join(broken, ", ")))
		}
	}
	r.took = time.Since(begun)
	r.broken = append(r.broken, advBroken(&r.base, &r.with)...)
	if poor := advPoor(&r.base); poor != "" {
		r.broken = append(r.broken, "the base is "+poor)
	}
	return r
}

func (r *advRow) String() string {
	var s strings.Builder
	for i, m := range []*advMeasures{&r.base, &r.with} {
		if i == 0 {
			fmt.Fprintf(&s, "%-26s %6d  %-7s", r.name(), r.owners, "without")
		} else {
			seeds := fmt.Sprintf("%d seeds from %d", len(r.seeds), r.seeds[0])
			fmt.Fprintf(&s, "%-26s %6s  %-7s", "  "+seeds, "", "with")
		}
		for g := range m.waits {
			fmt.Fprintf(&s, " %8s %8s ", advTime(m.waits[g].quantile(0.5)), advTime(m.waits[g].quantile(0.99)))
		}
		if i == 0 {
			s.WriteString("\n")
			continue
		}
		fmt.Fprintf(&s, " %4d %4.0f %8.1f %4d %4d %5.1f  %s\n", m.mostHeld, m.heldFor/float64(len(r.seeds)),
			float64(m.wakes)/time.Duration(m.length).Seconds(), m.taken, m.vain,
			float64(r.took.Microseconds())/float64(m.honestly+m.accepted), strings.Join(r.broken, ", "))
	}
	return s.String()
}

// advPool has the waits of all cases with so many owners together, and the worst p99 of one case.
type advPool struct {
	owners, cases, broken int
	base, with            [advGroups]advWaits
	worst                 [advGroups]time.Duration
}

func (p *advPool) add(r *advRow) {
	p.cases++
	if len(r.broken) > 0 {
		p.broken++
	}
	for g := range p.base {
		p.base[g].addAll(&r.base.waits[g])
		p.with[g].addAll(&r.with.waits[g])
		p.worst[g] = max(p.worst[g], r.with.waits[g].quantile(0.99))
	}
}

func (p *advPool) String() string {
	s := fmt.Sprintf("%d owners, %d cases, %d broken; p99 without, with, worst of a case:", p.owners, p.cases, p.broken)
	for g := range p.base {
		s += fmt.Sprintf("  %s %s %s %s", advGroupNames[g], advTime(p.base[g].quantile(0.99)),
			advTime(p.with[g].quantile(0.99)), advTime(p.worst[g]))
	}
	return s + "\n"
}

// advTime is a time in three digits.
func advTime(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// advNumber is a variable of the environment.
func advNumber(t *testing.T, name string, otherwise int) int {
	n, err := strconv.Atoi(cmp.Or(os.Getenv(name), strconv.Itoa(otherwise)))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func newAdvBench(t *testing.T) *advBench {
	b := &advBench{config: advConfig{warm: advStartTime, measured: 20000, patience: 5 * time.Minute, blocked: 5000}}
	if os.Getenv("POSTRIDER_ADVERSARY") != "" {
		b.config.blocked = 100000
	}
	if testing.Short() {
		b.config.warm, b.config.measured = time.Minute, 2000
	}
	if minutes := advNumber(t, "POSTRIDER_ADVERSARY_WARM", 0); minutes > 0 {
		b.config.warm, b.config.measured = time.Duration(minutes)*time.Minute, 5000
	}
	if messages := advNumber(t, "POSTRIDER_ADVERSARY_FULL", 0); messages > 0 {
		b.config.measured = max(messages-int(advTraffic()*b.config.warm.Seconds()), 20000)
		b.config.domains, b.config.waiting, b.config.blocked = 100_000/advSites, true, 100_000
	}
	if hours := advNumber(t, "POSTRIDER_ADVERSARY_HOURS", 0); hours > 0 {
		b.config.measured = int(advTraffic() * 3600 * float64(hours))
		b.config.patience = 30 * time.Minute
	}
	return b
}

// advSeeds are the seeds that were asked for, n if none were.
func advSeeds(t *testing.T, n int) (seeds []uint64) {
	first := advNumber(t, "POSTRIDER_ADVERSARY_SEED", 0)
	for i := range advNumber(t, "POSTRIDER_ADVERSARY", n) {
		seeds = append(seeds, uint64(first+i))
	}
	return seeds
}

func advOwnersOf(t *testing.T, otherwise ...int) []int {
	if n := advNumber(t, "POSTRIDER_ADVERSARY_OWNERS", 0); n > 0 {
		return []int{n}
	}
	if os.Getenv("POSTRIDER_ADVERSARY") != "" {
		return []int{1, 50, 200}
	}
	return otherwise
}

// TestAdversaryMoves has each move alone, or those in POSTRIDER_ADVERSARY_MOVES.
func TestAdversaryMoves(t *testing.T) {
	if names := os.Getenv("POSTRIDER_ADVERSARY_MOVES"); names != "" {
		replayAdversary(t, names)
		return
	}
	var cases []advCase
	for _, owners := range advOwnersOf(t, 50) {
		for i, m := range advMoves {
			if os.Getenv("POSTRIDER_ADVERSARY") == "" && i%4 != 0 {
				continue
			}
			cases = append(cases, advCase{moves: []*advMove{m}, owners: owners, seeds: advSeeds(t, 1)})
		}
	}
	newAdvBench(t).all(t, cases)
}

// TestAdversaryPairs has each pair of moves; without POSTRIDER_ADVERSARY, some.
func TestAdversaryPairs(t *testing.T) {
	if os.Getenv("POSTRIDER_ADVERSARY_MOVES") != "" {
		t.Skip("TestAdversaryMoves has what was asked for")
	}
	var cases []advCase
	owners := []int{1, 50, 200}
	for i, m := range advMoves {
		for j, o := range advMoves[:i] {
			c := advCase{moves: []*advMove{m, o}, owners: owners[(i+j)%3], seeds: advSeeds(t, 1)[:1]}
			if n := advNumber(t, "POSTRIDER_ADVERSARY_OWNERS", 0); n > 0 {
				c.owners = n
			}
			cases = append(cases, c)
		}
	}
	if os.Getenv("POSTRIDER_ADVERSARY") == "" {
		cases = nil
		for _, names := range advHardPairs {
			cases = append(cases, advCase{moves: advNamed(t, names), owners: 1, seeds: advSeeds(t, 1)})
		}
	}
	newAdvBench(t).all(t, cases)
}

// advHardPairs are pairs of moves that broke the promise.
var advHardPairs = []string{"scans+dns-hangs", "together-taken+slow-commands", "blocked+greylist", "stall-from-mail+scans"}

// TestAdversaryOwners has moves by more owners than the promise is about.
func TestAdversaryOwners(t *testing.T) {
	if os.Getenv("POSTRIDER_ADVERSARY_MOVES") != "" {
		t.Skip("TestAdversaryMoves has what was asked for")
	}
	var cases []advCase
	for _, m := range advBeyond {
		cases = append(cases, advCase{moves: []*advMove{m}, owners: 50, seeds: advSeeds(t, 1)})
	}
	newAdvBench(t).all(t, cases)
}

// TestAdversaryCombined has moves by chance together: by seed, how many, which, and how many honest owners.
func TestAdversaryCombined(t *testing.T) {
	if os.Getenv("POSTRIDER_ADVERSARY_MOVES") != "" {
		t.Skip("TestAdversaryMoves has what was asked for")
	}
	var cases []advCase
	for _, seed := range advSeeds(t, 3) {
		rnd := rand.New(rand.NewPCG(seed, 6))
		c := advCase{owners: []int{1, 50, 200}[rnd.IntN(3)], seeds: []uint64{seed}}
		if os.Getenv("POSTRIDER_ADVERSARY") == "" {
			c.seeds[0] = 0 // for fewer bases
		}
		for _, i := range rnd.Perm(len(advMoves))[:2+rnd.IntN(4)] {
			c.moves = append(c.moves, advMoves[i])
		}
		cases = append(cases, c)
	}
	newAdvBench(t).all(t, cases)
}

// replayAdversary runs the moves of these names.
func replayAdversary(t *testing.T, names string) {
	b := newAdvBench(t)
	var cases []advCase
	for list := range strings.SplitSeq(names, ",") {
		for _, owners := range advOwnersOf(t, 50) {
			cases = append(cases, advCase{moves: advNamed(t, list), owners: owners, seeds: advSeeds(t, 1)})
		}
	}
	b.all(t, cases)
	if len(cases) == 1 && len(cases[0].seeds) == 1 {
		c := b.config
		c.seed, c.owners, c.moves, c.trace = cases[0].seeds[0], cases[0].owners, cases[0].moves, true
		t.Logf("the trace:\n%v", newAdvSim(c).run())
	}
}

// advNamed has moves by their names, with "+" between them. "-" is none.
func advNamed(t *testing.T, names string) (moves []*advMove) {
	all := slices.Concat(advMoves, advBeyond)
	for name := range strings.SplitSeq(names, "+") {
		i := slices.IndexFunc(all, func(m *advMove) bool { return m.name == name })
		if i >= 0 {
			moves = append(moves, all[i])
		} else if name != "-" {
			t.Fatalf("no move %q", name)
		}
	}
	return moves
}

// TestAdversaryRepeats runs the same twice: all that is measured is the same. And it shows that the honest mail of a
// pair of runs is the same.
func TestAdversaryRepeats(t *testing.T) {
	b := &advBench{config: advConfig{warm: time.Minute, measured: 2000, patience: 5 * time.Minute}}
	for seed := range uint64(3) {
		moves := []*advMove{advMoves[seed], advMoves[seed+4]}
		first, second := b.run(seed, 50, moves), b.run(seed, 50, moves)
		if got, want := fmt.Sprintf("%+v", *second), fmt.Sprintf("%+v", *first); got != want {
			t.Errorf("seed %d: got %s, want %s", seed, got, want)
		}
		one, other := newHonest(seed, 50, advDomains), newHonest(seed, 50, advDomains)
		for range 1000 {
			one.draw(0)
			other.draw(0)
			got, want := *one.next, *other.next
			got.dest, want.dest = nil, nil
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("seed %d: got %v, want %v", seed, got, want)
			}
		}
	}
}
