package delivery

import (
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/queue"
)

// The groups in which waits are counted: from max(arrival, NotBefore) to the first attempt.
const (
	advAdversary int8 = iota - 1
	advKnown          // sites that took mail within a day
	advAimed          // of them, those that the adversary aims at; they are counted among the known, too
	advUnseen         // destinations never seen before
	advStart          // all that arrives in the first ten minutes
	advGroups
)

var advGroupNames = [advGroups]string{"known", "aimed", "new", "start"}

const advStartTime = 10 * time.Minute

// advMeasures are the results of a run.
type advMeasures struct {
	waits    [advGroups]advWaits
	honestly int // honest messages
	accepted int // the adversary's
	refused  int // the adversary's, beyond its part
	deferred int // honest tasks that were claimed and not attempted
	taken    int // attempts that were given back
	attempts int
	held     int     // slots that the adversary holds
	mostHeld int     // in the measured part
	heldFor  float64 // slots × ns of it
	heldFrom int64
	from     int64
	wakes    int // calls without news
	spins    int // times that it asked to be called at once, without news
	vain     int // wants that brought nothing
	lookups  int
	lines    []string
	slowest  []*advMail
	length   int64
}

// holds counts the adversary's slots.
func (s *advSim) holds(more int) {
	if s.from > 0 && (s.measured > 0 || more == 0) {
		s.heldFor += float64(s.held) * float64(s.now-s.heldFrom)
		s.heldFrom = s.now
		s.mostHeld = max(s.mostHeld, s.held+more)
	}
	s.held += more
}

// count counts the wait of a message whose first attempt began then.
func (s *advSim) count(m *advMail, began int64) {
	if m.counted || m.group == advAdversary {
		return
	}
	m.counted = true
	if !m.measured && m.group != advStart {
		return
	}
	wait := began - max(m.arrival, 0)
	s.waits[m.group].add(wait)
	if m.group == advAimed {
		s.waits[advKnown].add(wait)
	}
	if s.trace && m.measured && wait > int64(time.Second) {
		s.slowest = append(s.slowest, m)
		m.service = wait
	}
}

// later has mail at each domain of the healthy sites that comes due after the run, of its owners in turns. It returns
// the octets of memory that this costs for each domain, which are true if nothing else goes on.
func (s *advSim) later() float64 {
	before, n := heapOctets(), 0
	for _, dests := range s.honest.dests {
		for _, d := range dests {
			l := queue.Lane{Destination: d.name, Owner: queue.Owner(1 + n%s.owners)}
			s.adm.list(queue.LaneDue{Lane: l, Due: s.at(int64(24 * time.Hour))}, s.wall)
			n++
		}
	}
	octets := (heapOctets() - before) / float64(n)
	runtime.KeepAlive(s)
	return octets
}

// end counts what is waiting yet.
func (s *advSim) end() {
	s.length = s.now
	for _, m := range s.tracked {
		if m.counted {
			continue
		}
		if m.started < m.arrival || s.waitsAgain(m) {
			m.started = s.now
		}
		s.count(m, m.started)
	}
}

// waitsAgain reports whether m is in the store.
func (s *advSim) waitsAgain(m *advMail) bool {
	for _, l := range m.dest.lanes {
		if slices.Contains(l.fresh, m) || slices.Contains(l.retried, m) {
			return true
		}
	}
	return false
}

// line keeps a line of the trace for every ten seconds: what holds the slots.
func (s *advSim) line(f *advFlight, more int) {
	if !s.trace {
		return
	}
	if s.slots == nil {
		s.slots = make(map[string]int)
	}
	who := "honest"
	if f.mail.move != nil {
		who = f.mail.move.name
	}
	if s.slots[who] += more; s.now < s.lineAt {
		return
	}
	s.lineAt = s.now + int64(10*time.Second)
	l := fmt.Sprintf("%10v slots:", time.Duration(s.now).Round(time.Millisecond))
	for _, who := range slices.Sorted(maps.Keys(s.slots)) {
		l += fmt.Sprintf(" %s %d", who, s.slots[who])
	}
	l += fmt.Sprintf("; %d honest wait for a first attempt", s.behind)
	s.lines = append(s.lines, l)
}

// tell adds a line to the trace.
func (s *advSim) tell(m *advMail, what string) {
	if s.trace && s.deferred < 100 {
		at := time.Duration(s.now).Round(time.Millisecond)
		s.lines = append(s.lines, fmt.Sprintf("%10v %s, of owner %d, %s", at, m.dest.name, m.owner, what))
	}
}

// String is the trace: what was put off, and the mails that waited longest.
func (s *advMeasures) String() string {
	var b strings.Builder
	for _, l := range s.lines {
		b.WriteString(l + "\n")
	}
	slices.SortFunc(s.slowest, func(a, b *advMail) int { return int(b.service - a.service) })
	for _, m := range s.slowest[:min(len(s.slowest), 50)] {
		fmt.Fprintf(&b, "%10v %s, of owner %d, at %s, waits %v\n", time.Duration(m.arrival).Round(time.Millisecond),
			m.dest.name, m.owner, m.dest.site.name, time.Duration(m.service).Round(time.Millisecond))
	}
	return b.String()
}

// advWaits is a histogram of waits, exact to 2 %, or to a millisecond.
type advWaits struct {
	counts []int32
	n      int
}

const advStep = 0.0198 // ln 1.02

func (w *advWaits) add(wait int64) {
	i := 0
	if ms := float64(wait) / 1e6; ms > 1 {
		i = 1 + int(math.Log(ms)/advStep)
	}
	if i >= len(w.counts) {
		w.counts = append(w.counts, make([]int32, i+1-len(w.counts))...)
	}
	w.counts[i]++
	w.n++
}

func (w *advWaits) addAll(o *advWaits) {
	if len(o.counts) > len(w.counts) {
		w.counts = append(w.counts, make([]int32, len(o.counts)-len(w.counts))...)
	}
	for i, n := range o.counts {
		w.counts[i] += n
	}
	w.n += o.n
}

// quantile is the wait that a part of all don't exceed.
func (w *advWaits) quantile(part float64) time.Duration {
	left := int(math.Ceil(part * float64(w.n)))
	for i, n := range w.counts {
		if left -= int(n); left <= 0 {
			if i == 0 {
				return 0
			}
			return time.Duration(math.Exp(float64(i)*advStep) * 1e6)
		}
	}
	return 0
}
