package metrics

import (
	"context"
	"time"

	"github.com/postrider/postrider"
	"github.com/prometheus/client_golang/prometheus"
)

// Prometheus exports the relay's metrics by a registry: postrider_recipients_total and so on. It puts its own funcs in
// front of relay.Accepted and relay.Events. Call it when the relay's other fields are set, and before the relay's first
// method. Several relays in one registry need prometheus.WrapRegistererWith.
func Prometheus(relay *postrider.Relay, reg prometheus.Registerer, b Bounds) error {
	recipients := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "postrider_recipients_total",
		Help: "Recipients by what happened to them.",
	}, []string{"event", "reason", "domain", "tenant"})
	delivery := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "postrider_delivery_seconds",
		Help:    "Time from the arrival of a mail to its delivery to a recipient.",
		Buckets: buckets,
	}, []string{"domain", "tenant"})
	for _, c := range []prometheus.Collector{recipients, delivery} {
		if err := reg.Register(c); err != nil {
			return err
		}
	}
	wrap(relay, b, func(l labels) {
		recipients.WithLabelValues(l.event, l.reason, l.domain, l.tenant).Inc()
	}, func(l labels, d time.Duration) {
		delivery.WithLabelValues(l.domain, l.tenant).Observe(d.Seconds())
	})
	return reg.Register(relayState{relay}) // from now on a scrape asks the relay
}

// relayState asks the relay when it is scraped.
type relayState struct{ relay *postrider.Relay }

var (
	queueTasks    = describe("queue_tasks", "Tasks in the queue, a message to one destination each.", "state")
	queueMessages = describe("queue_messages", "Messages in the queue.")
	queueBytes    = describe("queue_bytes", "Size of the bodies of all messages.")
	queueOldest   = describe("queue_oldest_seconds", "Age of the oldest message; 0 if there is none.")
	inFlight      = describe("in_flight_tasks", "Tasks that are being sent.")
	sitesDown     = describe("sites_down", "Sites that are down, and only probed.")
	missed        = describe("missed_events_total", "Events that were dropped: the other counters lack them.")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("postrider_"+name, help, labels, nil)
}

func (relayState) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		queueTasks, queueMessages, queueBytes, queueOldest, inFlight, sitesDown, missed,
	} {
		ch <- d
	}
}

func (r relayState) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // a scrape's own time-out is longer
	defer cancel()
	s, err := stateOf(ctx, r.relay)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(queueTasks, err) // fails the scrape
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for name, n := range s.tasks() {
		gauge(queueTasks, float64(n), name)
	}
	gauge(queueMessages, float64(s.Messages))
	gauge(queueBytes, float64(s.Octets))
	gauge(queueOldest, s.oldest.Seconds())
	gauge(inFlight, float64(s.inFlight))
	gauge(sitesDown, float64(s.down))
	ch <- prometheus.MustNewConstMetric(missed, prometheus.CounterValue, float64(s.missed))
}
