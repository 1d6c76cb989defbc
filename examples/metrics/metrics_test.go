package metrics

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// series has the value of each series by its name at Prometheus and its labels that aren't empty, as in "queue_tasks
// state=held". A histogram has its count and its sum.
type series map[string]float64

// meter opens an adapter on a relay, and returns a func that reads its series.
type meter func(t *testing.T, relay *postrider.Relay, b Bounds) (read func() series)

func openPrometheus(t *testing.T, relay *postrider.Relay, b Bounds) func() series {
	reg := prometheus.NewPedanticRegistry()
	if err := Prometheus(relay, reg, b); err != nil {
		t.Fatal(err)
	}
	return func() series {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		all := make(series)
		for _, f := range families {
			for _, m := range f.Metric {
				key := strings.TrimPrefix(f.GetName(), "postrider_")
				for _, l := range m.Label { // in the order of their names
					if l.GetValue() != "" {
						key += " " + l.GetName() + "=" + l.GetValue()
					}
				}
				switch {
				case m.Histogram != nil:
					all[key+" count"] = float64(m.Histogram.GetSampleCount())
					all[key+" sum"] = m.Histogram.GetSampleSum()
				case m.Counter != nil:
					all[key] = m.Counter.GetValue()
				default:
					all[key] = m.Gauge.GetValue()
				}
			}
		}
		return all
	}
}

// names has the name at Prometheus for each name at OpenTelemetry.
var names = map[string]string{
	"recipients":     "recipients_total",
	"delivery":       "delivery_seconds",
	"queue.tasks":    "queue_tasks",
	"queue.messages": "queue_messages",
	"queue.size":     "queue_bytes",
	"queue.oldest":   "queue_oldest_seconds",
	"in_flight":      "in_flight_tasks",
	"sites.down":     "sites_down",
	"missed":         "missed_events_total",
}

func openOpenTelemetry(t *testing.T, relay *postrider.Relay, b Bounds) func() series {
	reader := metric.NewManualReader()
	if err := OpenTelemetry(relay, metric.NewMeterProvider(metric.WithReader(reader)).Meter("test"), b); err != nil {
		t.Fatal(err)
	}
	return func() series {
		var data metricdata.ResourceMetrics
		if err := reader.Collect(t.Context(), &data); err != nil {
			t.Fatal(err)
		}
		all := make(series)
		for _, m := range data.ScopeMetrics[0].Metrics {
			name := names[strings.TrimPrefix(m.Name, "postrider.")]
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range d.DataPoints {
					all[key(name, p.Attributes)] = float64(p.Value)
				}
			case metricdata.Gauge[float64]:
				for _, p := range d.DataPoints {
					all[key(name, p.Attributes)] = p.Value
				}
			case metricdata.Histogram[float64]:
				for _, p := range d.DataPoints {
					all[key(name, p.Attributes)+" count"] = float64(p.Count)
					all[key(name, p.Attributes)+" sum"] = p.Sum
				}
			default:
				t.Errorf("%s has a %T", m.Name, m.Data)
			}
		}
		return all
	}
}

func key(name string, attrs attribute.Set) string {
	for _, a := range attrs.ToSlice() { // in the order of their names
		if a.Value.AsString() != "" {
			name += " " + string(a.Key) + "=" + a.Value.AsString()
		}
	}
	return name
}

// each runs a test in virtual time with either adapter.
func each(t *testing.T, test func(t *testing.T, open meter)) {
	for name, open := range map[string]meter{"Prometheus": openPrometheus, "OpenTelemetry": openOpenTelemetry} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, open) })
		})
	}
}

func newRelay(t *testing.T, inet *smtptest.Network) *postrider.Relay {
	return &postrider.Relay{
		Hostname:    "relay.test",
		Queue:       mem.New(),
		Resolver:    inet,
		DialContext: inet.DialContext,
		MaxAge:      time.Hour,
		Runner:      new(delivery.Runner),
		Logger:      slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

// send sends from the null reverse-path, so that there are no reports.
func send(t *testing.T, relay *postrider.Relay, to ...string) queue.ID {
	t.Helper()
	id, err := relay.Send(t.Context(), smtp.NewEnvelope("", to...), strings.NewReader("Subject: hello\n\nHello.\n"))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// sendFor sends for a tenant.
func sendFor(t *testing.T, relay *postrider.Relay, tenant string, to ...string) {
	t.Helper()
	m, err := relay.Prepare(t.Context(), smtp.NewEnvelope("", to...), strings.NewReader("Subject: hello\n\nHello.\n"))
	if err != nil {
		t.Fatal(err)
	}
	m.Tenant = tenant
	if _, err := relay.Enqueue(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

// TestEvents checks that each event of a recipient counts once, and that the program's own funcs are still called.
func TestEvents(t *testing.T) {
	each(t, func(t *testing.T, open meter) {
		inet := smtptest.NewNetwork(t)
		next, odd := inet.MX("next.test", "mx.next.test"), inet.MX("odd.test", "mx.odd.test")
		inet.MX("dead.test", "mx.dead.test").Down()
		next.Greylist(time.Minute)
		next.Reject("nobody@next.test", smtp.NewReply(550, "5.1.1", "no such user"))
		odd.CloseAt(smtp.StageFinal)
		odd.AfterMessages(1, odd.Heal)

		relay := newRelay(t, inet)
		var mu sync.Mutex // Accepted and Cancelled come from other goroutines than the rest
		own := make(map[string]int)
		add := func(name string) {
			mu.Lock()
			own[name]++
			mu.Unlock()
		}
		tally := func(name string) func(delivery.Event) { return func(delivery.Event) { add(name) } }
		relay.Accepted = func(postrider.Accepted) { add("accepted") }
		relay.Events = delivery.Events{
			Attempted: tally("attempted"), Delivered: tally("delivered"), Deferred: tally("deferred"),
			Unknown: tally("unknown"), Rejected: tally("rejected"), Expired: tally("expired"),
			Cancelled: tally("cancelled"),
		}
		read := open(t, relay, Bounds{Domains: []string{"next.test"}, Tenants: []string{"shop"}})
		inet.Go(relay.Run)

		begin := time.Now()
		send(t, relay, "bob@next.test", "nobody@next.test") // one is greylisted, and one rejected
		sendFor(t, relay, "shop", "eve@NEXT.test")
		synctest.Wait()
		send(t, relay, "bob@odd.test") // it gets this twice
		send(t, relay, "bob@dead.test")
		next.Wait(2)
		latest := time.Since(begin)
		synctest.Wait()
		id := send(t, relay, "jim@dead.test")
		synctest.Wait()
		runner := relay.Runner
		if _, err := runner.Cancel(t.Context(), queue.Filter{ID: id}, "enough"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour) // past MaxAge
		synctest.Wait()

		got := read()
		deferred := got["recipients_total domain=other event=deferred reason=network tenant=other"]
		attempted := got["recipients_total domain=other event=attempted tenant=other"]
		if deferred < 5 || attempted < deferred+2 { // two more to odd.test
			t.Errorf("got %v attempts and %v deferrals at odd.test and dead.test", attempted, deferred)
		}
		wants := series{
			"recipients_total domain=next.test event=accepted tenant=other":                     2,
			"recipients_total domain=next.test event=accepted tenant=shop":                      1,
			"recipients_total domain=other event=accepted tenant=other":                         3,
			"recipients_total domain=next.test event=attempted tenant=other":                    3,
			"recipients_total domain=next.test event=attempted tenant=shop":                     2,
			"recipients_total domain=next.test event=deferred reason=greylisted tenant=other":   1,
			"recipients_total domain=next.test event=deferred reason=greylisted tenant=shop":    1,
			"recipients_total domain=next.test event=rejected reason=user-unknown tenant=other": 1,
			"recipients_total domain=next.test event=delivered tenant=other":                    1,
			"recipients_total domain=next.test event=delivered tenant=shop":                     1,
			"recipients_total domain=other event=unknown tenant=other":                          1,
			"recipients_total domain=other event=delivered tenant=other":                        1,
			"recipients_total domain=other event=expired reason=network tenant=other":           1,
			"recipients_total domain=other event=cancelled tenant=other":                        1,
			"delivery_seconds domain=next.test tenant=other count":                              1,
			"delivery_seconds domain=next.test tenant=shop count":                               1,
			"missed_events_total": 0,
			"queue_messages":      0,
		}
		for name, want := range wants {
			if value, ok := got[name]; !ok || value != want {
				t.Errorf("%s: got %v (%v), want %v", name, value, ok, want)
			}
		}
		// A minute of greylisting is over with the next try, in some three minutes.
		if sum := got["delivery_seconds domain=next.test tenant=shop sum"]; sum < 150 || sum > latest.Seconds()+1 {
			t.Errorf("the delivery took %v s, want about 180", sum)
		}
		for event, want := range map[string]int{
			"accepted": 5, "delivered": 3, "unknown": 1, "rejected": 1, "expired": 1, "cancelled": 1,
			"deferred": int(deferred) + 2,
		} {
			if own[event] != want {
				t.Errorf("the program's own func heard of %d %s, want %d", own[event], event, want)
			}
		}
	})
}

func TestState(t *testing.T) {
	each(t, func(t *testing.T, open meter) {
		inet := smtptest.NewNetwork(t)
		inet.MX("dead.test", "mx.dead.test").Down()
		slow := inet.MX("slow.test", "mx.slow.test")
		slow.StallAt(smtp.StageGreeting)
		relay := newRelay(t, inet)
		read := open(t, relay, Bounds{})
		inet.Go(relay.Run)
		held := send(t, relay, "bob@dead.test")
		synctest.Wait()
		for range 5 { // as many failures take a site down
			send(t, relay, "bob@dead.test")
			synctest.Wait()
		}
		runner := relay.Runner
		if _, err := runner.Hold(t.Context(), queue.Filter{ID: held}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		send(t, relay, "bob@slow.test")
		synctest.Wait()
		got := read()
		wants := series{
			"queue_messages":            7,
			"queue_tasks state=waiting": 5,
			"queue_tasks state=leased":  1,
			"queue_tasks state=held":    1,
			"queue_oldest_seconds":      60,
			"in_flight_tasks":           1,
			"sites_down":                1,
			"missed_events_total":       0,
		}
		for name, want := range wants {
			if value, ok := got[name]; !ok || value != want {
				t.Errorf("%s: got %v (%v), want %v", name, value, ok, want)
			}
		}
		if got["queue_bytes"] < 7*100 {
			t.Errorf("queue_bytes: got %v, want what seven messages have", got["queue_bytes"])
		}
		slow.Heal()
	})
}

// TestBounds checks that a thousand domains, tenants and status codes make only a few series.
func TestBounds(t *testing.T) {
	each(t, func(t *testing.T, open meter) {
		inet := smtptest.NewNetwork(t)
		relay := newRelay(t, inet)
		relay.MaxAge, relay.Events.Buffer = 10*time.Minute, 100_000
		read := open(t, relay, Bounds{Domains: []string{"next0.test"}, Tenants: []string{"tenant0"}})
		inet.Go(relay.Run)
		var first series
		for i := range 1000 {
			domain, tenant := fmt.Sprintf("next%d.test", i), fmt.Sprintf("tenant%d", i)
			host := inet.MX(domain, "mx.test")
			bad := fmt.Sprintf("bad%d@%s", i, domain)
			host.Reject(bad, &smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{5, i, i}})
			later := fmt.Sprintf("later%d@%s", i, domain)
			host.Reject(later, &smtp.Reply{Code: 451, Enhanced: smtp.EnhancedCode{4, i, i}})
			send(t, relay, "bob@"+domain, bad, later)
			sendFor(t, relay, tenant, "bob@"+domain, bad, later)
			synctest.Wait()
			if i == 19 { // all classes have come
				first = read()
			}
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		last := read()
		if n := last["missed_events_total"]; n > 0 {
			t.Fatalf("got %v dropped events, want 0", n)
		}
		if n := last["recipients_total domain=other event=delivered tenant=other"]; n != 2*999 {
			t.Errorf("got %v deliveries to other domains for other tenants, want %d", n, 2*999)
		}
		maps.DeleteFunc(last, func(name string, _ float64) bool { return strings.Contains(name, " event=expired ") }) // these came late
		if got, want := slices.Sorted(maps.Keys(last)), slices.Sorted(maps.Keys(first)); !slices.Equal(got, want) {
			t.Errorf("after a thousand domains there are %d series:\n%s\nwant the %d of the first twenty:\n%s",
				len(got), strings.Join(got, "\n"), len(want), strings.Join(want, "\n"))
		}
		t.Logf("%d series", len(last))
	})
}
