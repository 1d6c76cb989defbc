package delivery

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// simSend is what happens to a task from its claim to its settlement.
type simSend struct {
	begun   time.Time
	at      time.Time // of its end
	d       *delivery
	task    *simTask
	body    queue.Body
	blocked bool // when it began, there was cause to leave its site alone
	cutOff  bool
	lost    context.Context // ends with the lease
	answers []simAnswer
}

// start begins with what is to be done with a task.
func (l *simLife) start(d *delivery) {
	lost, cancel := context.WithCancelCause(context.Background())
	send := &simSend{begun: time.Now(), at: time.Now().Add(simBetween(l.r, time.Millisecond, 3*time.Second)), d: d, task: l.ledger.task(&d.task), lost: lost}
	send.blocked = l.blocked(send, time.Now())
	l.note("claims", send.task.ref, send.task.dest, 0)
	d.lease.keep(context.Background(), cancel)
	if d.plan.step == stepAttempt {
		l.checkAttempt(send)
		l.note("tries", send.task.ref, send.task.dest, 0)
		l.counts.attempts.Add(1)
		send.task.begun++
		send.at = time.Now().Add(l.world.takes())
		if send.body = d.open(context.Background()); send.body == nil {
			l.problem("%v can't be read", send.task)
		}
	}
	i, _ := slices.BinarySearchFunc(l.sends, send, func(a, b *simSend) int { return a.at.Compare(b.at) })
	l.sends = slices.Insert(l.sends, i, send)
}

// finish settles a task.
func (l *simLife) finish(send *simSend) {
	ctx, o := context.Background(), outcome{flight: &send.d.flight}
	l.current, l.unreported = send, false
	if send.d.plan.step == stepAttempt {
		l.answer(send)
		results := make([]smtp.Result, len(send.answers))
		for i, a := range send.answers {
			results[i] = a.Result
		}
		var s queue.Settlement
		var owed Occasion
		o.verdict, s, owed = send.d.ended(results, send.body, time.Since(send.begun), send.cutOff, l.jitter())
		o.lapse = send.d.settle(ctx, s, owed, send.body)
	} else {
		o.lapse = send.d.untried(ctx)
	}
	l.end(send)
	if !o.lapse.IsZero() {
		send.task.leased, send.task.lapse = false, o.lapse
	}
	l.settle()
	if l.crashed() == nil {
		l.loop.inbox.finish(o)
	}
}

func (l *simLife) end(send *simSend) {
	send.d.lease.stop()
	if send.body != nil {
		send.body.Close()
	}
}

// answer has the host answer.
func (l *simLife) answer(send *simSend) {
	now := time.Now()
	send.cutOff = send.cutOff || send.lost.Err() != nil
	send.answers = l.world.answer(&send.d.task, now)
	site := send.d.flight.t.party.site.name
	for i, a := range send.answers {
		if send.cutOff && a.Outcome != smtp.Rejected {
			send.answers[i] = simCutOff(a.Recipient)
			a = send.answers[i]
		} else if a.why == smtp.Network || a.why == smtp.RateLimited || a.why == smtp.Blocklisted {
			l.failed[site] = now
			if a.why == smtp.RateLimited && !send.cutOff {
				l.throttled[simPairOf(site, send.task)] = now
			}
		}
		l.note("answer", send.task.ref+" "+a.Recipient, a.Outcome.String()+": "+a.Reply.Text, 0)
		if a.has {
			l.ledger.takenBy(l.recipient(send, i), a.Outcome == smtp.Delivered)
		}
	}
}

// recipient is the one that a send has in that place.
func (l *simLife) recipient(send *simSend, i int) *simRecipient {
	address := send.d.task.Envelope.Recipients[i].Address
	return send.task.recipients[slices.IndexFunc(send.task.recipients, func(r *simRecipient) bool { return r.address == address })]
}

// report composes what is owed.
func (l *simLife) report(_ context.Context, o Occasion) ([]queue.Message, error) {
	if !l.peaceful && l.r.IntN(25) == 0 {
		l.unreported = true
		l.note("fails", "the report", o.Task.Ref, 0)
		return nil, io.ErrNoProgress
	}
	if o.Task.Envelope.From == "" {
		return nil, nil
	}
	of := l.ledger.byRef[o.Task.Ref]
	m := &simMessage{}
	for i, res := range o.Results {
		r := of.recipient(o.Task.Envelope.Recipients[i].Address)
		switch {
		case res.Outcome == smtp.Rejected, isOpen(res) && o.Expired:
			m.about = append(m.about, r)
		case isOpen(res) && o.Delayed:
			m.delayed = append(m.delayed, r)
		}
	}
	if !m.isReport() {
		return nil, nil
	}
	_, domain := smtp.SplitAddress(o.Task.Envelope.From)
	l.enqueued++
	env := smtp.NewEnvelope("")
	env.Recipients = []smtp.Recipient{{Address: o.Task.Envelope.From}}
	msg := queue.Message{
		Envelope: env, Destinations: []string{domain}, Body: strings.NewReader("a report about " + of.ref),
		Ref: fmt.Sprint("r", l.enqueued), Deadline: l.clock.Now().Round(0).Add(simBetween(l.r, time.Hour, 24*time.Hour)),
	}
	l.ledger.add(m, &msg)
	return []queue.Message{msg}, nil
}
