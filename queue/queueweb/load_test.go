package queueweb

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// fill stores messages to 1000 destinations, of 100 senders and 10 tenants. A tenth of them has three recipients.
func fill(t testing.TB, q queue.Queue, messages int) (last queue.ID) {
	t.Helper()
	for i := range messages {
		env := smtp.NewEnvelope(fmt.Sprintf("sender%d@example.com", i%100), fmt.Sprintf("user%d@d%d.example", i, i%1000))
		m := queue.Message{
			Envelope: env, Destinations: []string{fmt.Sprintf("d%d.example", i%1000)}, Body: strings.NewReader("Subject: x\r\n\r\n"),
			Tenant: fmt.Sprintf("tenant%d", i%10), Ref: fmt.Sprintf("ref%d", i),
		}
		if i%10 == 0 {
			for range 2 {
				env.Recipients = append(env.Recipients, env.Recipients[0])
				m.Destinations = append(m.Destinations, m.Destinations[0])
			}
		}
		last = enqueue(t, q, m)
	}
	return last
}

// TestManyMessages: with 100,000 messages queued, no page lists more of them than it shows, and the count is right.
func TestManyMessages(t *testing.T) {
	messages := 100_000
	if testing.Short() {
		messages = 10_000
	}
	h, q := newHandler(t)
	last := fill(t, q, messages)
	for _, tt := range []struct {
		target string
		most   int64 // tasks that are listed
	}{
		{"messages", pageMessages + 1},
		{"messages?tenant=tenant1", pageMessages + 1},
		{"messages?destination=d7.example", pageMessages + 1},
		{"messages?sender=sender7@example.com", pageMessages + 1},
		{"messages?after=" + string(last), 0},
		{fmt.Sprintf("messages?ref=ref%d", messages-1), 1},
		{"message?id=" + string(last), 1},
		{"sites", 0},
		{"act?do=hold&tenant=tenant1", maxAffected + 1},
		{"act?do=hold&id=" + string(last), 1},
		{"act?do=suspend&name=d7.example", 1000},
		{"act?do=flush&all=true", maxAffected + 1},
	} {
		q.listed.Store(0)
		w := get(h, tt.target)
		if n := q.listed.Load(); w.Code != 200 || n > tt.most {
			t.Errorf("%s: got %d, and %d tasks were listed, want %d at most", tt.target, w.Code, n, tt.most)
		}
		if n := w.Body.Len(); n > 100_000 {
			t.Errorf("%s has %d octets", tt.target, n)
		}
	}

	// Requests during the count don't begin another one.
	q.listed.Store(0)
	c := counted(t, h)
	for range 10 {
		get(h, "")
	}
	if n := q.listed.Load(); n != int64(messages) {
		t.Errorf("%d tasks were listed for the count, want %d", n, messages)
	}
	if c.Tasks != messages || c.Truncated || c.Total.Tasks != messages || c.Total.Ages[0] != messages {
		t.Errorf("counted %d, %d in all, %v by age, truncated %v", c.Tasks, c.Total.Tasks, c.Total.Ages, c.Truncated)
	}
	if len(c.Destinations) != shownRows || c.Destinations[0].Tasks != messages/1000 || c.Others.Tasks != messages/1000*900 {
		t.Errorf("got %d destinations, others %+v", len(c.Destinations), c.Others)
	}
	if len(c.Reasons) != 1 || c.Reasons[0].Recipients != messages*12/10 || c.Reasons[0].Reason != "not attempted" {
		t.Errorf("got reasons %+v", c.Reasons)
	}
}

// TestPages: the pages of a search have each message once, in the order of arrival.
func TestPages(t *testing.T) {
	h, q := newHandler(t)
	fill(t, q, 2000)
	many := queue.Message{Envelope: new(smtp.Envelope)} // more destinations than a page reads
	for i := range pageTasks + 10 {
		many.Envelope.Recipients = append(many.Envelope.Recipients, smtp.Recipient{Address: "a@example.net"})
		many.Destinations = append(many.Destinations, fmt.Sprintf("d%d.example", i))
	}
	enqueue(t, q, many)
	fill(t, q, 10)
	for target, want := range map[string]int{"messages?format=json": 2011, "messages?format=json&tenant=tenant3": 201} {
		seen := make(map[queue.ID]bool)
		next, arrival := queue.ID(""), time.Time{}
		for pages := 0; ; pages++ {
			var v messagesView
			read(t, h, target+"&after="+string(next), &v)
			for _, m := range v.Messages {
				if seen[m.ID] || m.Arrival.Before(arrival) {
					t.Fatalf("message %s comes again, or too late", m.ID)
				}
				seen[m.ID], arrival = true, m.Arrival
			}
			if next = v.Next; next == "" || pages == 100 {
				break
			}
		}
		if len(seen) != want {
			t.Errorf("%s: got %d messages, want %d", target, len(seen), want)
		}
	}
}

// TestCountBounds: a count ends at Count, or with Close, and begins only for a request.
func TestCountBounds(t *testing.T) {
	h, q := newHandler(t)
	fill(t, q, 3000)
	h.Count = 1500
	if c := counted(t, h); c.Tasks != 1500 || !c.Truncated {
		t.Errorf("got %d tasks, truncated %v", c.Tasks, c.Truncated)
	}
	if _, err := (&Handler{Queue: q}).count(canceled(t)); err == nil {
		t.Error("a count goes on after the end of its ctx")
	}
	h.Close()
	if w := get(h, ""); w.Code != 200 {
		t.Errorf("got %d after Close", w.Code)
	}
	other, _ := newHandler(t)
	other.Close()
	if w := get(other, ""); w.Code != 503 {
		t.Errorf("got %d from a Handler that was closed before", w.Code)
	}
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// BenchmarkPages has 100,000 messages in the queue.
func BenchmarkPages(b *testing.B) {
	h, q := newHandler(b)
	last := fill(b, q, 100_000)
	counted(b, h)
	for _, target := range []string{"", "messages", "messages?tenant=tenant1", "messages?ref=ref99999", "message?id=" + string(last), "sites",
		"act?do=hold&tenant=tenant1"} {
		b.Run("page="+target, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				if h.ServeHTTP(w, httptest.NewRequest("GET", "/"+target, nil)); w.Code != 200 {
					b.Fatal(w.Body)
				}
			}
		})
	}
	b.Run("count", func(b *testing.B) {
		for b.Loop() {
			if _, err := h.count(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
