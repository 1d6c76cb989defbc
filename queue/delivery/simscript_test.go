package delivery

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// What comes from outside: mail, and what an operator does.

// script does what the outside does next.
func (l *simLife) script() {
	l.scriptAt = time.Now().Add(simBetween(l.r, time.Second, 10*time.Hour))
	ctx := context.Background()
	if l.r.IntN(20) == 0 {
		l.endSuspensions() // which end at times of that clock
		l.step()
		l.stepped = time.Now()
		return
	}
	switch n := l.r.IntN(20); {
	case n < 10:
		l.enqueue()
	case n < 12: // many at once
		for range 2 + l.r.IntN(7) {
			if l.enqueue(); l.crashed() != nil {
				return
			}
		}
	case n < 15:
		l.suspend()
	case n < 16:
		l.flush(ctx)
	default:
		l.operate(ctx)
	}
}

func (l *simLife) enqueue() {
	l.enqueued++
	now := l.clock.Now().Round(0) // times that are stored are those of the wall clock alone
	msg := queue.Message{Ref: fmt.Sprint("m", l.enqueued), Envelope: smtp.NewEnvelope("user@" + simDomain(l.r.IntN(simDomains)))}
	if l.r.IntN(10) == 0 {
		msg.Envelope.From = ""
	}
	domains := l.r.Perm(simDomains)[:1+l.r.IntN(3)]
	for i := range 1 + l.r.IntN(4) {
		domain := simDomain(simChance(l.r, domains...))
		local := simChance(l.r, "r", "r", "r", "r", "r", "r", "r", "nobody")
		msg.Envelope.Recipients = append(msg.Envelope.Recipients, smtp.Recipient{Address: fmt.Sprint(local, i, "@", domain)})
		msg.Destinations = append(msg.Destinations, domain)
	}
	first := now
	if l.r.IntN(8) == 0 {
		msg.NotBefore = now.Add(simBetween(l.r, time.Minute, 24*time.Hour))
		first = msg.NotBefore
	}
	if l.r.IntN(2) == 0 {
		msg.NoticeAt = first.Add(simBetween(l.r, 10*time.Minute, 8*time.Hour))
	}
	switch l.r.IntN(6) {
	case 0: // never
	case 1, 2:
		msg.Deadline = first.Add(simBetween(l.r, 5*time.Minute, 2*time.Hour))
	default:
		msg.Deadline = first.Add(simBetween(l.r, 2*time.Hour, 4*24*time.Hour))
	}
	if l.r.IntN(8) == 0 {
		msg.Tenant = "t"
	}
	msg.Priority = int8(l.r.IntN(3))
	size := 50 + l.r.IntN(300)
	if l.r.IntN(20) == 0 {
		size = 700 // in a file
	}
	msg.Body = strings.NewReader(simBody(msg.Ref, size))
	l.key(&msg)
	l.note("arrives", msg.Ref, strings.Join(msg.Destinations, " "), 0)
	l.queue.Enqueue(context.Background(), msg)
}

// suspend suspends a domain or a site, or ends that.
func (l *simLife) suspend() {
	name := simDomain(l.r.IntN(simDomains))
	if l.r.IntN(2) == 0 {
		name = fmt.Sprint("s", l.r.IntN(len(l.world.hosts)))
	}
	until := time.Now()
	if !l.suspended[name].After(until) {
		until = until.Add(simBetween(l.r, time.Minute, 12*time.Hour))
	}
	l.suspendUntil(name, until)
}

func (l *simLife) suspendUntil(name string, until time.Time) {
	now := time.Now()
	l.note("suspend", name, "", until.Sub(now))
	l.suspended[name] = until
	l.runner.Suspend(l.clock.Now().Add(until.Sub(now)), name)
	for _, until := range l.suspended {
		if until.After(l.troubled) {
			l.troubled = until
		}
	}
	if l.troubled.Before(now) {
		l.troubled = now
	}
}

func (l *simLife) flush(ctx context.Context) {
	name := simChance(l.r, "", simDomain(l.r.IntN(simDomains)))
	l.note("flush", name, "", 0)
	if _, _, err := l.runner.Flush(ctx, name); err != nil {
		l.problem("Flush: %v", err)
	}
}

// flushed makes a task due that waits to be tried again, and reports whether it does.
func (t *simTask) flushed(now time.Time, after time.Duration) bool {
	if len(t.open()) == 0 || t.attempts == 0 || t.leased || now.Before(t.lapse) || t.held == yes ||
		t.once || t.due.Sub(now) <= after {
		return false
	}
	t.due, t.once = now.Round(0), true
	return true
}

// operate holds, releases, purges or cancels a message.
func (l *simLife) operate(ctx context.Context) {
	var some []*simMessage
	for _, m := range l.ledger.messages {
		if m.accepted == yes && m.id != "" && !m.over() {
			some = append(some, m)
		}
	}
	if len(some) == 0 {
		return
	}
	m := simChance(l.r, some...)
	f := queue.Filter{ID: m.id}
	var err error
	switch n := l.r.IntN(6); {
	case m.held == yes && n > 0:
		l.note("release", m.ref, "", 0)
		_, err = l.runner.Release(ctx, f)
	case n < 3:
		l.note("hold", m.ref, "", 0)
		_, err = l.runner.Hold(ctx, f)
	case n < 4:
		l.note("purge", m.ref, "", 0)
		l.removing = simPurged
		_, err = l.runner.Purge(ctx, f)
	default:
		l.note("cancel", m.ref, "", 0)
		l.removing, l.unreported = simCancelled, false
		if _, err = l.runner.Cancel(ctx, f, "as it was asked for"); l.unreported {
			return
		}
	}
	if err != nil && l.crashed() == nil {
		l.problem("operation on %s: %v", m.ref, err)
	}
}

// peace ends all that keeps mail back.
func (l *simLife) peace() {
	l.note("peace", "", "", 0)
	l.scriptAt, l.stopAt, l.peaceful = time.Time{}, time.Time{}, true
	l.mu.Lock()
	l.at = 0
	l.mu.Unlock()
	l.endSuspensions()
	for _, m := range l.ledger.messages { // one after the other: what is done at once comes in no order that repeats
		if m.id == "" {
			continue
		}
		if _, err := l.runner.Release(context.Background(), queue.Filter{ID: m.id, State: queue.Held}); err != nil {
			l.problem("Release: %v", err)
		}
	}
}

// endSuspensions ends those that go on, and has the Runner forget the others: a clock that is set back would revive them.
func (l *simLife) endSuspensions() {
	for name, until := range l.suspended {
		if now := time.Now(); until.After(now) {
			l.suspended[name] = now
		}
		l.runner.Suspend(l.clock.Now(), name)
	}
	l.troubled = time.Now()
}

// empty reports whether there is no mail any more.
func (l *simLife) empty() bool {
	s, err := l.queue.Stats(context.Background())
	if err != nil {
		l.problem("Stats: %v", err)
	}
	return s.Tasks == 0
}

// simBody is a body of n octets that tells whose it is.
func simBody(name string, n int) string { return strings.Repeat(name+"|", 1+n/(len(name)+1))[:n] }
