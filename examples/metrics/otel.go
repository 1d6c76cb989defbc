package metrics

import (
	"context"
	"errors"
	"time"

	"github.com/postrider/postrider"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// OpenTelemetry exports the relay's metrics by a meter: postrider.recipients and so on. It puts its own funcs in front
// of relay.Accepted and relay.Events. Call it when the relay's other fields are set, and before the relay's first
// method.
func OpenTelemetry(relay *postrider.Relay, meter metric.Meter, b Bounds) error {
	recipients, err1 := meter.Int64Counter("postrider.recipients", metric.WithUnit("{recipient}"),
		metric.WithDescription("Recipients by what happened to them."))
	delivery, err2 := meter.Float64Histogram("postrider.delivery", metric.WithUnit("s"),
		metric.WithDescription("Time from the arrival of a mail to its delivery to a recipient."),
		metric.WithExplicitBucketBoundaries(buckets...))
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	ctx := context.Background() // an event has none
	wrap(relay, b, func(l labels) {
		recipients.Add(ctx, 1, metric.WithAttributes(
			attribute.String("event", l.event), attribute.String("reason", l.reason),
			attribute.String("domain", l.domain), attribute.String("tenant", l.tenant)))
	}, func(l labels, d time.Duration) {
		delivery.Record(ctx, d.Seconds(), metric.WithAttributes(
			attribute.String("domain", l.domain), attribute.String("tenant", l.tenant)))
	})
	return measureState(relay, meter)
}

// measureState has the relay asked each time that the meter's provider collects.
func measureState(relay *postrider.Relay, meter metric.Meter) error {
	var errs []error
	counter := func(name, unit, text string) metric.Int64ObservableUpDownCounter { // a sum over relays makes sense
		c, err := meter.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(text))
		errs = append(errs, err)
		return c
	}
	tasks := counter("postrider.queue.tasks", "{task}", "Tasks in the queue, a message to one destination each.")
	messages := counter("postrider.queue.messages", "{message}", "Messages in the queue.")
	octets := counter("postrider.queue.size", "By", "Size of the bodies of all messages.")
	inFlight := counter("postrider.in_flight", "{task}", "Tasks that are being sent.")
	down := counter("postrider.sites.down", "{site}", "Sites that are down, and only probed.")
	oldest, err := meter.Float64ObservableGauge("postrider.queue.oldest", metric.WithUnit("s"),
		metric.WithDescription("Age of the oldest message; 0 if there is none."))
	errs = append(errs, err)
	missed, err := meter.Int64ObservableCounter("postrider.missed", metric.WithUnit("{event}"),
		metric.WithDescription("Events that were dropped: the other counters lack them."))
	if err := errors.Join(append(errs, err)...); err != nil {
		return err
	}
	_, err = meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		s, err := stateOf(ctx, relay)
		if err != nil {
			return err
		}
		for name, n := range s.tasks() {
			o.ObserveInt64(tasks, int64(n), metric.WithAttributes(attribute.String("state", name)))
		}
		o.ObserveInt64(messages, int64(s.Messages))
		o.ObserveInt64(octets, s.Octets)
		o.ObserveInt64(inFlight, int64(s.inFlight))
		o.ObserveInt64(down, int64(s.down))
		o.ObserveFloat64(oldest, s.oldest.Seconds())
		o.ObserveInt64(missed, int64(s.missed))
		return nil
	}, tasks, messages, octets, inFlight, down, oldest, missed)
	return err
}
