package delivery

import (
	"fmt"
	"math"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// Rate is a number of messages in a time, evenly spread: {60, time.Minute} is one message a second. Messages that fall
// into a tenth of a second go together. The zero Rate is no limit. More than 10 years a message count as 10 years.
type Rate struct {
	Messages int
	Per      time.Duration
}

// String returns "60 per minute" for example, or "no limit".
func (r Rate) String() string {
	if r.every() == 0 {
		return "no limit"
	}
	per := r.Per.String()
	switch r.Per {
	case time.Second:
		per = "second"
	case time.Minute:
		per = "minute"
	case time.Hour:
		per = "hour"
	case 24 * time.Hour:
		per = "day"
	}
	return fmt.Sprintf("%d per %s", r.Messages, per)
}

// every is the time that a message takes up; 0: none.
func (r Rate) every() int64 {
	if r.Messages <= 0 || r.Per <= 0 {
		return 0
	}
	return min(max(1, int64(r.Per)/int64(r.Messages)), maxEvery)
}

// maxEvery keeps sums of times on the machine's clock within an int64.
const maxEvery = 10 * 365 * 24 * int64(time.Hour)

// or returns r, or other if r is no limit.
func (r Rate) or(other Rate) Rate {
	if r.every() == 0 {
		return other
	}
	return r
}

// bucket keeps a Rate.
type bucket struct {
	tat  int64 // the theoretical arrival time of the next message, had all come evenly
	last int64 // the last time that a message was told to come back at
}

// slack is how far ahead of its even spread a message may be.
const slack = int64(100 * time.Millisecond)

// at is when the next message may go.
func (b *bucket) at(r Rate) int64 {
	if r.every() == 0 {
		return math.MinInt64
	}
	return b.tat - slack
}

// take counts a message.
func (b *bucket) take(r Rate, now int64) {
	if every := r.every(); every > 0 {
		b.tat = max(b.tat, now) + every
	}
}

// giveBack takes back n messages.
func (b *bucket) giveBack(r Rate, n int) { b.tat -= int64(n) * r.every() }

// rateKey names what has a Rate.
type rateKey struct {
	isSource bool // or a tenant
	name     string
}

func (k rateKey) kind() string {
	if k.isSource {
		return "source"
	}
	return "tenant"
}

// maxPromise bounds the time that admit returns: a time that was promised to mail that has left is soon forgotten.
const maxPromise = time.Hour

// admit counts a task for the rates of its tenant and its source. If a rate doesn't allow it now, admit counts nothing,
// and returns the time at which to ask again. Each task gets another time. A task that asks for the first time gets one
// after all of them, unless its deadline has come.
func (m *machine) admit(t *queue.Task, now time.Time) (at int64) {
	var buckets [2]*bucket
	var shares [2]*rateShare
	var limits [2]Rate
	m.unasked = false
	first := !t.Due.After(t.Arrival) && !passed(t.Deadline, now)
	if len(m.rates) > m.manyRates { // before buckets are looked up, as those of this task may be as new
		m.forgetRates()
	}
	for i, key := range m.rateKeys(t) {
		if key.name == "" {
			continue
		}
		limits[i] = m.rate(key)
		every := limits[i].every()
		if every == 0 {
			continue
		}
		b := m.rates[key]
		if b == nil {
			b = new(bucket)
			m.rates[key] = b
		}
		buckets[i] = b
		free, back := b.at(limits[i]), int64(0)
		waits := first && b.last > m.mono // others have a time
		if shares[i] = m.shareOf(key, b); shares[i] != nil {
			free, back = m.nextOf(shares[i], every, !waits)
		}
		switch {
		case back > 0:
			back = min(back, m.mono+int64(maxPromise))
			b.last = max(b.last, back)
			at = max(at, back)
		case free > m.mono || waits:
			b.last = min(max(free, b.last+every), m.mono+int64(maxPromise)) // beyond that, all come back then
			at = max(at, b.last)
		}
	}
	if at <= m.mono {
		for i, b := range buckets {
			switch {
			case b == nil:
			case shares[i] != nil:
				m.takeShare(shares[i])
			default:
				b.take(limits[i], m.mono)
			}
		}
	}
	return at
}

// postpone puts off a task for which a rate has no room until a time. A task without time left for that is given up: a
// rate holds at deadlines, too.
func (m *machine) postpone(t *queue.Task, until int64, now time.Time) plan {
	if passed(t.Deadline, now) && !m.unasked {
		// RFC 3463 §3.4: X.3.2, the system isn't accepting messages: by our own decision.
		reply := smtp.NewReply(451, "4.3.2", "too many messages of this sender for its rate")
		return plan{step: stepExpire, reason: &smtp.Result{Reply: reply, Local: true, Reason: smtp.Other}}
	}
	return plan{step: stepPostpone, next: now.Add(time.Duration(until - m.mono)), why: "rate"}
}

// rateKeys returns the keys of the tenant and of the source of a task.
func (m *machine) rateKeys(t *queue.Task) [2]rateKey {
	tenant := t.Tenant
	if t.About != "" {
		tenant = "" // a report, or a message of Outbox
	}
	return [2]rateKey{{false, tenant}, {true, m.sourceName(t)}}
}

func (m *machine) sourceName(t *queue.Task) string {
	if m.sourceOf == nil {
		return ""
	}
	return m.sourceOf(t)
}

func (m *machine) rate(k rateKey) Rate {
	f := m.tenant
	if k.isSource {
		f = m.source
	}
	if f == nil {
		return Rate{}
	}
	return f(k.name)
}

// forgetRates drops the buckets that are as new.
func (m *machine) forgetRates() {
	for key, b := range m.rates {
		if max(b.tat, b.last) <= m.mono {
			delete(m.rates, key)
		}
	}
	m.manyRates = 2*len(m.rates) + 100
}
