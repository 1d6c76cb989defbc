// Package metrics counts what a relay does, for Prometheus and for OpenTelemetry: two adapters to copy from. It is a
// module of its own, so that what it needs is no dependency of postrider. A program needs one of prometheus.go and
// otel.go, and the other files.
//
//	relay := &postrider.Relay{Hostname: "mx1.example.com", Queue: q, Events: events} // events are called as ever
//	err := metrics.Prometheus(relay, prometheus.DefaultRegisterer, metrics.Bounds{Domains: []string{"example.net"}})
//	http.Handle("GET /metrics", promhttp.Handler())
//
// What there is:
//
//	recipients        what happened to how many: event, reason, domain, tenant (below)
//	delivery time     seconds from the arrival of a mail to its delivery: domain, tenant
//	queue             messages, octets, tasks by state, and the age of the oldest message
//	in flight         tasks that are being sent
//	sites down        sites that are down, and are only probed
//	missed            events that weren't told as the funcs took too long: so many are missing above
//
// The event is accepted, attempted, delivered, deferred, unknown, rejected, expired or cancelled. The reason is a
// queue.Reason for deferred and the class of the status code for rejected ("5.1"); the others have none. Accepted is what
// came over SMTP or by Relay.Send. Reports to senders aren't in it, though they are delivered like all mail; and it has the
// tenant "other", as no tenant is known by then.
//
// # Cardinality
//
// Nothing from outside makes a label. A domain or a tenant has one if it is in [Bounds], and is "other" else; what a host
// answers counts by its class, of which there are nine. So the recipients have no more than 20 series for each domain and tenant,
// and the delivery time one histogram.
package metrics
