// Package metrics exports a relay's metrics, by Prometheus and by OpenTelemetry: two adapters to copy from. It is a
// module of its own, so that postrider doesn't depend on them. A program needs prometheus.go or otel.go, and the other
// files.
//
//	relay := &postrider.Relay{Hostname: "mx1.example.com", Queue: q, Runner: new(delivery.Runner), Events: events}
//	err := metrics.Prometheus(relay, prometheus.DefaultRegisterer, metrics.Bounds{Domains: []string{"example.net"}})
//	http.Handle("GET /metrics", promhttp.Handler())
//
// The metrics:
//
//	recipients        recipients by event, reason, domain and tenant (below)
//	delivery time     seconds from the arrival of a message to its delivery, by domain and tenant
//	queue             messages, octets, tasks by state, and the age of the oldest message
//	in flight         tasks that are being sent
//	sites down        sites that are down, and only probed
//	missed            events that were dropped as Events were too slow: the counters above lack them
//
// The event is accepted, attempted, delivered, deferred, unknown, rejected, expired or cancelled. The reason of
// deferred, rejected and expired is an smtp.Reason, such as "user-unknown". The others have none.
// Accepted counts messages that came by SMTP or by Relay.Send. It doesn't count reports to senders, which are delivered
// like all mail.
//
// # Cardinality
//
// No text from outside becomes a label. A domain or a tenant is a label if it is in [Bounds]; all others are "other".
// There are 18 reasons. So the recipients have at most 59 series for each domain and tenant, and the delivery time has
// one histogram.
package metrics
