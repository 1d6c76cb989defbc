package metrics

import (
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/queue"
)

// labels are those of one series.
type labels struct{ event, reason, domain, tenant string }

// wrap puts count and took in front of the relay's Events, which are called as before. count is told of each recipient;
// took of each that was delivered, and of how long that took. Both are called concurrently: Accepted and Cancelled come from
// other goroutines than the rest.
func wrap(relay *postrider.Relay, b Bounds, count func(labels), took func(labels, time.Duration)) {
	e := &relay.Events
	accepted := e.Accepted
	e.Accepted = func(a postrider.Accepted) {
		for _, rcpt := range a.Envelope.Recipients {
			count(labels{"accepted", "", b.domain(rcpt.Address), other})
		}
		if accepted != nil {
			accepted(a)
		}
	}
	attempted := e.Attempted
	e.Attempted = func(x queue.Event) {
		for _, rcpt := range x.Task.Envelope.Recipients {
			count(labels{"attempted", "", b.domain(rcpt.Address), b.tenant(x.Task.Tenant)})
		}
		if attempted != nil {
			attempted(x)
		}
	}
	none := func(queue.Event) string { return "" }
	for _, w := range []struct {
		f      *func(queue.Event)
		event  string
		reason func(queue.Event) string
	}{
		{&e.Delivered, "delivered", none},
		{&e.Deferred, "deferred", func(x queue.Event) string { return queue.ReasonOf(x.Result).String() }},
		{&e.Unknown, "unknown", none},
		{&e.Rejected, "rejected", func(x queue.Event) string { return class(x.Result.Reply) }},
		{&e.Expired, "expired", none},
		{&e.Cancelled, "cancelled", none},
	} {
		next := *w.f
		*w.f = func(x queue.Event) {
			l := labels{w.event, w.reason(x), b.domain(x.Result.Recipient), b.tenant(x.Task.Tenant)}
			count(l)
			if w.event == "delivered" {
				took(l, time.Since(x.Task.Arrival)) // an event doesn't say when it was, but is told soon
			}
			if next != nil {
				next(x)
			}
		}
	}
}

// buckets are those of the delivery time, in seconds: from a second to the five days that a mail is tried.
var buckets = []float64{1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 48 * 3600, 120 * 3600}
