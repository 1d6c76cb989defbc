package metrics

import (
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/queue/delivery"
)

// labels are the labels of one series.
type labels struct{ event, reason, domain, tenant string }

// wrap puts count and took in front of the relay's own Accepted and Events. count is called for each event of a
// recipient, took for each delivery, with the time since the message's arrival. Calls may be concurrent, because
// Accepted is called by other goroutines than Events.
func wrap(relay *postrider.Relay, b Bounds, count func(labels), took func(labels, time.Duration)) {
	accepted := relay.Accepted
	relay.Accepted = func(a postrider.Accepted) {
		for _, rcpt := range a.Envelope.Recipients {
			count(labels{"accepted", "", b.domain(rcpt.Address), b.tenant(a.Tenant)})
		}
		if accepted != nil {
			accepted(a)
		}
	}
	of := func(event, reason string, x delivery.Event) labels {
		return labels{event, reason, b.domain(x.Result.Recipient), b.tenant(x.Task.Tenant)}
	}
	ours := delivery.Events{
		Attempted: func(x delivery.Event) {
			for _, rcpt := range x.Task.Envelope.Recipients {
				count(labels{"attempted", "", b.domain(rcpt.Address), b.tenant(x.Task.Tenant)})
			}
		},
		Delivered: func(x delivery.Event) {
			l := of("delivered", "", x)
			count(l)
			took(l, x.Time.Sub(x.Task.Arrival))
		},
		Deferred:  func(x delivery.Event) { count(of("deferred", x.Result.Reason.String(), x)) },
		Unknown:   func(x delivery.Event) { count(of("unknown", "", x)) },
		Rejected:  func(x delivery.Event) { count(of("rejected", x.Result.Reason.String(), x)) },
		Expired:   func(x delivery.Event) { count(of("expired", x.Result.Reason.String(), x)) },
		Cancelled: func(x delivery.Event) { count(of("cancelled", "", x)) },
	}
	relay.Events = ours.Then(relay.Events)
}

// buckets of the delivery time, in seconds: from a second to the five days of Relay.MaxAge.
var buckets = []float64{1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 48 * 3600, 120 * 3600}
