package delivery

import (
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
)

// fifoAdmission attempts first what was due first, and knows no sites: all that the adversary wants. With it, the
// simulator shows that it can see, and how fast it is by itself.
type fifoAdmission struct {
	free   int
	order  line[queue.Lane]
	stands map[queue.Lane]bool // in order
	later  advHeap[advDue]
	turn   []queue.Want
	got    map[queue.Lane]bool
}

type advDue struct {
	lane queue.Lane
	due  int64
}

var _ interface{ before(advDue) bool } = advDue{}

func (d advDue) before(o advDue) bool { return d.due < o.due }

func newFIFO() admission {
	return &fifoAdmission{
		free: defaultConcurrency, stands: make(map[queue.Lane]bool), got: make(map[queue.Lane]bool),
	}
}

func (a *fifoAdmission) wake(l queue.Lane, due, now time.Time) {
	if due.After(now) {
		a.later.push(advDue{l, due.UnixNano()})
	} else if !a.stands[l] {
		a.stands[l] = true
		a.order.push(l)
	}
}

func (a *fifoAdmission) list(l queue.LaneDue, now time.Time) { a.wake(l.Lane, l.Due, now) }
func (a *fifoAdmission) lookups(time.Time) []string          { return nil }
func (a *fifoAdmission) abandoned(time.Time) []string        { return nil }
func (a *fifoAdmission) sited(string, advSite, time.Time)    {}
func (a *fifoAdmission) takeBack(time.Time) []*advFlight     { return nil }

func (a *fifoAdmission) pick(now time.Time) []queue.Want {
	for len(a.later) > 0 && a.later[0].due <= now.UnixNano() {
		a.wake(a.later.pop().lane, now, now)
	}
	a.turn = a.turn[:0]
	for len(a.turn) < a.free {
		l, ok := a.order.pop()
		if !ok {
			break
		}
		delete(a.stands, l)
		a.turn = append(a.turn, queue.Want{Lane: l, Max: 1, Class: queue.Any})
	}
	return a.turn
}

func (a *fifoAdmission) claimed(_ *advFlight, t *queue.Task, _ time.Time) plan {
	a.free--
	a.got[queue.Lane{Destination: t.Destination, Owner: t.Owner, Priority: t.Priority}] = true
	return plan{}
}

func (a *fifoAdmission) settleTurn() {
	for _, w := range a.turn {
		if a.got[w.Lane] && !a.stands[w.Lane] { // it may have more
			a.stands[w.Lane] = true
			a.order.push(w.Lane)
		}
	}
	clear(a.got)
}

func (a *fifoAdmission) done(*advFlight, verdict, time.Time) { a.free++ }

func (a *fifoAdmission) next() time.Time {
	if len(a.later) == 0 || a.free == 0 {
		return time.Time{}
	}
	return time.Unix(0, a.later[0].due)
}

// TestAdversaryIsSeen has moves against an admission that knows no better: they break the promise that the tests are
// about. Without a move, honest mail hardly waits.
func TestAdversaryIsSeen(t *testing.T) {
	b := newAdvBench(t)
	b.config = advConfig{warm: 2 * time.Minute, measured: 5000, patience: time.Minute, admission: newFIFO}
	base := b.run(1, 50, nil)
	if broken := advPoor(base); broken != "" {
		t.Errorf("got a base that is %s, want none", broken)
	}
	names := "slow-commands,slow-starttls,dead,dead-addrs,dns-hangs,stall-from-mail,many-names,big,aside,lazy"
	for name := range strings.SplitSeq(names, ",") {
		with := b.run(1, 50, advNamed(t, name))
		if broken := advBroken(base, with); len(broken) == 0 {
			t.Errorf("%s: got nothing broken, want something", name)
		}
		if part := float64(with.accepted) / float64(with.accepted+with.honestly); part > advPart {
			t.Errorf("%s: got %.3f of the mail by the adversary, want %.3f at most", name, part, advPart)
		}
	}
}

// BenchmarkAdversary is a message of the simulator by itself.
func BenchmarkAdversary(b *testing.B) {
	c := advConfig{owners: 50, measured: b.N, patience: time.Minute, admission: newFIFO}
	newAdvSim(c).run()
}
