package delivery

import (
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
)

// Keys: the outside repeats mail, as who doesn't know whether it was accepted, or was told so long ago. The oracle is that
// each Key has one message within its time.

// simKeyTime is how long a spool remembers a Key at least.
const simKeyTime = 24 * time.Hour

// key gives a message a Key, or makes it the repetition of an earlier one.
func (l *simLife) key(msg *queue.Message) {
	switch n := l.r.IntN(10); {
	case n < 3:
		msg.Key = msg.Ref
	case n < 6:
		var keyed []*simMessage
		for _, m := range l.ledger.messages {
			if m.key != "" {
				keyed = append(keyed, m)
			}
		}
		if len(keyed) == 0 {
			return
		}
		if n < 5 { // lately
			keyed = keyed[max(0, len(keyed)-3):]
		}
		m := simChance(l.r, keyed...)
		msg.Key, msg.Tenant = m.key, m.tenant
		msg.Envelope, msg.Destinations = m.envelope, slices.Clone(m.destinations)
	}
}

// first returns the message that has a Key by now, nil if none does.
func (l *simLedger) first(key string) *simMessage {
	for _, m := range slices.Backward(l.messages) {
		if key != "" && m.key == key && m.accepted == yes {
			return m
		}
	}
	return nil
}

// keyed holds what was told of a message, and whether it repeats another, against what is known of its Key.
func (l *simLife) keyed(m, first *simMessage, id queue.ID, repeats bool) {
	if repeats {
		l.note("repeats", m.ref, m.key, 0)
		l.counts.keyed.Add(1)
	}
	if first == nil {
		if repeats {
			l.problem("%s is told to repeat %s, and no message has its Key", m.ref, id)
		}
		return
	}
	age := time.Since(first.keyedAt)
	stepped := l.lastStep.After(first.keyedAt)
	switch restarted := first.keyedAt.Before(l.born); {
	case repeats && id != first.id:
		l.problem("%s is told to repeat %s, and %s has its Key, which is %s", m.ref, id, first.ref, first.id)
	case repeats && age > 2*simKeyTime+time.Minute && !stepped:
		l.problem("%s repeats %s, which came %v ago", m.ref, first.ref, age)
	case !repeats && age < simKeyTime && !(stepped && restarted):
		l.problem("%s is stored, and has the Key of %s, which came %v ago", m.ref, first.ref, age)
	}
}
