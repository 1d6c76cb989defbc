package plans

import (
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
)

// try is what is known of the attempts at one message for one destination.
type try struct {
	n       int       // attempts, without those that came to no outcome
	open    bool      // one is under way
	cut     bool      // it was when a stop began, or since
	free    bool      // the next may come at any time: it was flushed, or handed back at a stop
	earlier time.Time // than that the next mustn't come
}

// The shortest waits after the first attempt, the second and so on, less the tenth that chance may take: of what is
// greylisted, of what a host has too much of, and of all else.
var (
	waitsGreylisted = []time.Duration{3 * time.Minute, 4 * time.Minute, 5 * time.Minute, 8 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour}
	waitsThrottled  = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour}
	waits           = []time.Duration{5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour}
)

// events has the relay tell the ledger.
func (l *ledger) events() delivery.Events {
	told := func(kind string, count func(*fate) *int) func(delivery.Event) {
		return func(e delivery.Event) { l.told(kind, e, count) }
	}
	return delivery.Events{
		Attempted: l.attempted,
		Delivered: told("delivered", func(f *fate) *int { return &f.delivered }),
		Deferred:  told("deferred", nil),
		Unknown:   told("unknown", func(f *fate) *int { return &f.unknown }),
		Rejected:  told("rejected", func(f *fate) *int { return &f.rejected }),
		Expired:   told("expired", func(f *fate) *int { return &f.expired }),
		Cancelled: told("cancelled", func(f *fate) *int { return &f.cancelled }),
	}
}

func tryKey(e delivery.Event) string { return string(e.Task.ID) + " " + e.Task.Destination }

func (l *ledger) attempted(e delivery.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attempts++
	key, who := tryKey(e), e.Task.Envelope.Recipients[0].Address
	for _, rcpt := range e.Task.Envelope.Recipients {
		l.noteLocked("%s: attempt %d, of %s", rcpt.Address, e.Task.Attempts, key)
	}
	a := l.tries[key]
	if a == nil {
		a = new(try)
		l.tries[key] = a
	}
	now := time.Now()
	switch {
	case a.open && !a.cut:
		l.find("outcome", who, "the attempt before had none")
	case !a.open && !a.free && now.Before(a.earlier):
		l.find("too often", who, "attempt %d came %v after the start, want %v at the earliest", a.n+1, now.Sub(l.begin), a.earlier.Sub(l.begin))
	}
	if !a.open {
		a.n++
	}
	a.open, a.cut, a.free, a.earlier = true, l.stopping, false, time.Time{}
}

// told notes an event that count counts; nil: it is deferred.
func (l *ledger) told(kind string, e delivery.Event, count func(*fate) *int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, address := time.Now(), e.Result.Recipient
	var next time.Duration
	if !e.Next.IsZero() {
		next = e.Next.Sub(now)
	}
	l.noteLocked("%s: %s at %v: %v, next in %v", address, kind, e.Result.Stage, e.Result.Reply, next)
	f := l.fates[address]
	report := f == nil
	if report {
		f = l.senders[address]
		if f == nil || e.Task.Envelope.From != "" {
			l.find("report", address, "a mail from <%s> is for it that nobody sent", e.Task.Envelope.From)
			return
		}
	}
	if count != nil {
		*count(f)++
	}
	switch kind {
	case "delivered":
		if !e.Result.DSN {
			f.noDSN++
		}
	case "expired":
		if early := e.Task.Arrival.Add(defaultMaxAge).Sub(now); early > 0 {
			l.find("given up early", address, "by %v", early)
		}
		if e.Result.Outcome == smtp.Unknown {
			f.unknown++
		}
	case "cancelled":
		if l.cancelling {
			f.owed++
		}
	}
	if kind == "deferred" || kind == "unknown" {
		l.deferred(e, now)
	} else if f.settled.IsZero() {
		f.settled = now
	}
	if a := l.tries[tryKey(e)]; a != nil && kind != "cancelled" {
		a.open = false // what an operator did may be told ahead of how the attempt ended
	}
}

// deferred notes until when the task must be left alone.
func (l *ledger) deferred(e delivery.Event, now time.Time) {
	a := l.tries[tryKey(e)]
	if a == nil {
		l.find("outcome", e.Result.Recipient, "without an attempt")
		return
	}
	a.free = a.free || a.cut
	table := waits
	switch reply := e.Result.Reply; {
	case e.Result.Local:
	case strings.Contains(reply.Text, "greylist"):
		table = waitsGreylisted
	case reply.Code == 421, reply.Enhanced[1] == 7, reply.Text == "too many":
		table = waitsThrottled
	}
	earlier := now.Add(table[min(a.n, len(table))-1] * 9 / 10)
	if e.Task.Deadline.Before(earlier) {
		earlier = e.Task.Deadline
	}
	if a.earlier.IsZero() || earlier.Before(a.earlier) {
		a.earlier = earlier
	}
}

// excuse lets what is for a destination be tried at any time, for "" all.
func (l *ledger) excuse(destination string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, a := range l.tries {
		if destination == "" || strings.HasSuffix(key, " "+destination) {
			a.free = true
		}
	}
}

// judge gives what mustn't be.
func (l *ledger) judge() []finding {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.fates {
		if !f.accepted.IsZero() {
			l.judgeFate(f)
		} else if f.copies > 0 {
			l.find("duplicate", f.rcpt.Address, "%d copies of what wasn't accepted", f.copies)
		}
	}
	return slices.Clone(l.found)
}

func (l *ledger) judgeFate(f *fate) {
	who, ended := f.rcpt.Address, f.rejected+f.expired+f.cancelled
	sender := l.senders[f.mail.env.From]
	if f.copies == 0 && (ended == 0 || f.delivered > 0) && f.reports["failed"] == 0 {
		l.find("lost", who, "no host has it, and nothing was reported; delivered was told %d times", f.delivered)
	}
	if f.copies > 1+f.unknown {
		l.find("duplicate", who, "%d copies and %d unknown results", f.copies, f.unknown)
	}
	if f.copies > 0 && f.rejected+f.expired > 0 && f.cancelled == 0 && f.unknown == 0 {
		l.find("two ends", who, "delivered and given up")
	}
	if sender == nil {
		return
	}
	for _, report := range []struct {
		action string
		kind   smtp.Notify
		due    bool // there must be one
		may    bool // there may be one
	}{
		{"failed", smtp.NotifyFailure, f.rejected+f.expired+f.owed > 0, f.rejected+f.expired+f.owed > 0},
		{"delayed", smtp.NotifyDelay, l.waitedLong(f), true},
		{"relayed", smtp.NotifySuccess, f.noDSN > 0, f.delivered > 0},
	} {
		got := f.reports[report.action]
		// A report may itself be refused, expire or be taken out.
		lost := sender.rejected+sender.expired+sender.cancelled > 0
		wanted := f.rcpt.Notify.Wants(report.kind)
		switch {
		case got > 0 && !(wanted && report.may):
			l.find("report", who, "%q, with no cause", report.action)
		case got > 0 && f.purged[report.action]:
			l.find("report", who, "%q, which was purged", report.action)
		case got == 0 && report.due && wanted && !lost && !f.purged[report.action]:
			l.find("unreported", who, "no report says that it is %s", report.action)
		case got > 1+sender.unknown:
			l.find("duplicate", who, "%d reports that it is %s, and %d unknown results", got, report.action, sender.unknown)
		}
	}
}

// waitedLong reports whether a recipient waited for so long, and the relay ran then, that a notice of the delay is due for sure.
func (l *ledger) waitedLong(f *fate) bool {
	const slack = time.Hour // one that is being sent at its time is told after that
	notice := f.accepted.Add(defaultDelayNotice)
	if l.plan.holds || f.settled.IsZero() || f.settled.Before(notice.Add(slack)) {
		return false
	}
	if !f.first.IsZero() && f.first.Before(notice.Add(slack)) {
		return false
	}
	for _, away := range l.aways {
		if away.begin.Before(notice.Add(slack)) && (away.end.IsZero() || away.end.Add(slack).After(notice)) {
			return false
		}
	}
	return true
}
