package webhook

import (
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
)

// TestMixed: mail to an endpoint and to others at one destination reaches the others.
func TestMixed(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		env := smtp.NewEnvelope("a@here.test", "ann@there.test", "x@y.webhook.invalid", "bob@there.test")
		results, err := w.hooks.Wrap(smtp.SenderFunc(w.deliver)).Send(t.Context(), env, smtp.Text("Subject: x\r\n\r\n"))
		if err != nil || len(results) != 3 {
			t.Fatalf("got %v, %v, want 3 results", results, err)
		}
		for i, want := range []smtp.Outcome{smtp.Delivered, smtp.Rejected, smtp.Delivered} {
			if got := results[i]; got.Outcome != want || got.Recipient != env.Recipients[i].Address {
				t.Errorf("recipient %d: got %v, want %v", i, got, want)
			}
		}
	})
}

// TestUncounted: two outcomes of attempts that aren't counted have two webhook-ids and growing numbers.
func TestUncounted(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		n := 0
		w.result = func(*smtp.Envelope) smtp.Result {
			if n++; n > 2 {
				return smtp.Result{Outcome: smtp.Delivered, Reply: smtp.NewReply(250, "2.0.0", "taken")}
			}
			return smtp.Result{Outcome: smtp.Deferred, Local: true, NotBefore: time.Now().Add(time.Hour),
				Reply: smtp.NewReply(451, "4.3.2", "held back")}
		}
		w.run()
		w.mail("bob@there.test")
		sleep(6 * time.Hour)
		posts := w.taken()
		if len(posts) != 3 || len(ids(posts)) != 3 {
			t.Fatalf("got %d posts with ids %v, want 3 each", len(posts), ids(posts))
		}
		if posts[0].event.Data.Number >= posts[1].event.Data.Number {
			t.Errorf("got numbers that don't grow")
		}
	})
}

// TestBigRef: an event has the start of a large Ref. One without an Envelope is no panic.
func TestBigRef(t *testing.T) {
	h := &Hooks{Endpoints: []*Endpoint{{Name: "shop"}}}
	for _, env := range []*smtp.Envelope{nil, smtp.NewEnvelope("a@here.test", "b@there.test")} {
		m, err := h.Outbox(t.Context(), []delivery.Event{{Task: queue.Task{Ref: strings.Repeat("<", 2<<20), Envelope: env}}})
		if err != nil || len(m) != 1 || m[0].Body.(interface{ Len() int }).Len() > maxEvent/2 {
			t.Errorf("got %d messages, %v, want a small one", len(m), err)
		}
	}
}

// TestReportIsNoEvent: a report to a forged sender isn't kept.
func TestReportIsNoEvent(t *testing.T) {
	task := queue.Task{Destination: "webhook:shop", Origin: smtp.OriginCode,
		Envelope: smtp.NewEnvelope("", "x@shop.webhook.invalid")}
	for text, want := range map[string]bool{"Subject: failed\r\n\r\nx\r\n": false, "Webhook-Id: 1\r\n\r\n{}\r\n": true} {
		if got := isEvent(&delivery.Occasion{Task: task, Content: smtp.Text(text)}); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}

// TestLongEvents: whatever is long or many, each event is within the bound, can be posted, and has a webhook-id of its own.
func TestLongEvents(t *testing.T) {
	long := strings.Repeat("<", 2<<20)
	failed := func(address string) delivery.Event {
		return delivery.Event{Type: delivery.EventRejected, Result: smtp.Result{Recipient: address, Host: long, Addr: long, Source: long, TLS: long,
			Outcome: smtp.Rejected, Reply: smtp.NewReply(550, "5.1.1", strings.Repeat("<", 900))}}
	}
	reported := func(to ...string) delivery.Event {
		return delivery.Event{Type: delivery.EventReported, Kind: "failed", Report: smtp.NewEnvelope("", to...)}
	}
	many := make([]string, 10_000)
	for i := range many {
		many[i] = strings.Repeat("<", 1500) + strconv.Itoa(i)
	}
	tests := []struct {
		name       string
		task       queue.Task
		events     []delivery.Event
		recipients int
		leftOut    int
	}{
		{name: "long names", task: queue.Task{ID: queue.ID(strings.Repeat("a", 1000)), Destination: long, Ref: long, Tenant: long,
			Envelope: smtp.NewEnvelope(long, "b@there.test")}, events: []delivery.Event{failed(long)}, recipients: 1},
		{name: "long addresses", recipients: 250},
		{name: "a report to many", events: []delivery.Event{reported(many...)}, leftOut: 9900},
		{name: "two reports to one address", events: []delivery.Event{reported("a@here.test"), reported("a@here.test")}},
	}
	for i := range tests[1].recipients {
		tests[1].events = append(tests[1].events, failed(many[i]))
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for i := range tt.events {
				tt.events[i].Task = tt.task
			}
			h := &Hooks{Source: long, Endpoints: []*Endpoint{{Name: "shop"}}}
			messages, err := h.Outbox(t.Context(), tt.events)
			if err != nil || len(messages) == 0 {
				t.Fatalf("got %d messages, %v", len(messages), err)
			}
			seen, recipients, leftOut := make(map[string]bool), 0, 0
			for _, m := range messages {
				text, err := io.ReadAll(m.Body)
				if err != nil {
					t.Fatal(err)
				}
				id, body, err := readEvent(smtp.Text(text))
				var e Event
				if err == nil {
					err = json.Unmarshal(body, &e)
				}
				if err != nil || seen[id] {
					t.Errorf("an event of %d octets, id %s: got %v, want one that can be posted, with an id of its own", len(text), id, err)
				}
				seen[id] = true
				recipients += len(e.Data.Recipients)
				if e.Data.Report != nil {
					leftOut += e.Data.Report.LeftOut
				}
			}
			if recipients != tt.recipients || leftOut != tt.leftOut {
				t.Errorf("got %d recipients and %d left out, want %d and %d", recipients, leftOut, tt.recipients, tt.leftOut)
			}
		})
	}
}
