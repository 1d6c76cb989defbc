package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
)

// TestReceivers has an event for receivers that fail in all ways: it arrives at least once, with one webhook-id.
func TestReceivers(t *testing.T) {
	tests := []struct {
		name   string
		down   time.Duration // nobody listens
		serve  func(n int, rw http.ResponseWriter, r *http.Request)
		posts  int           // that arrive
		within time.Duration // the event has left the queue
		least  time.Duration // and not before, after it was first posted
	}{
		{name: "in order", posts: 1, within: time.Second},
		{name: "down for two days", down: 48 * time.Hour, posts: 1, within: 48*time.Hour + 135*time.Minute, least: 48 * time.Hour},
		{name: "500 twice", posts: 3, within: 25 * time.Minute, least: 18 * time.Minute,
			serve: func(n int, rw http.ResponseWriter, _ *http.Request) {
				if n < 3 {
					rw.WriteHeader(500)
				}
			}},
		{name: "slower than the timeout", posts: 2, within: 8 * time.Minute, least: 4 * time.Minute,
			serve: func(n int, _ http.ResponseWriter, r *http.Request) {
				if n < 2 {
					select {
					case <-time.After(time.Hour):
					case <-r.Context().Done():
					}
				}
			}},
		{name: "slow", posts: 1, within: 15 * time.Second, least: 13 * time.Second,
			serve: func(int, http.ResponseWriter, *http.Request) { time.Sleep(14 * time.Second) }},
		{name: "closes without an answer", posts: 2, within: 8 * time.Minute, least: 4 * time.Minute,
			serve: func(n int, _ http.ResponseWriter, _ *http.Request) {
				if n < 2 {
					panic(http.ErrAbortHandler)
				}
			}},
		{name: "200 and no body", posts: 1, within: 16 * time.Second,
			serve: func(_ int, rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Content-Length", "100")
				rw.(http.Flusher).Flush()
				<-r.Context().Done()
			}},
		{name: "200 and an endless body", posts: 1, within: 16 * time.Second,
			serve: func(_ int, rw http.ResponseWriter, r *http.Request) {
				for r.Context().Err() == nil {
					if _, err := rw.Write(make([]byte, 4096)); err != nil {
						return
					}
				}
			}},
		{name: "an endless header", posts: 2, within: 8 * time.Minute, least: 4 * time.Minute,
			serve: func(n int, rw http.ResponseWriter, _ *http.Request) {
				if n < 2 {
					rw.Header().Set("X", strings.Repeat("x", 1<<20))
				}
			}},
		{name: "a redirect", posts: 2, within: 8 * time.Minute, least: 4 * time.Minute,
			serve: func(n int, rw http.ResponseWriter, r *http.Request) {
				if n < 2 {
					http.Redirect(rw, r, "https://elsewhere.test/", http.StatusTemporaryRedirect)
				}
			}},
		{name: "503 with Retry-After", posts: 2, within: 3*time.Hour + 135*time.Minute, least: 3 * time.Hour,
			serve: func(n int, rw http.ResponseWriter, _ *http.Request) {
				if n < 2 {
					rw.Header().Set("Retry-After", "10800")
					rw.WriteHeader(503)
				}
			}},
		{name: "429 with a Retry-After of years", posts: 2, within: 24*time.Hour + 135*time.Minute, least: 24 * time.Hour,
			serve: func(n int, rw http.ResponseWriter, _ *http.Request) {
				if n < 2 {
					rw.Header().Set("Retry-After", "99999999")
					rw.WriteHeader(429)
				}
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				n, begun := 0, time.Now()
				w.serve = func(rw http.ResponseWriter, r *http.Request) {
					if n++; tt.serve != nil {
						tt.serve(n, rw, r)
					}
				}
				w.hooks.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
					if time.Since(begun) < tt.down {
						return nil, errRefused
					}
					return w.inet.DialContext(ctx, network, addr)
				}
				w.run()
				w.mail("bob@there.test")
				if tt.least > 0 {
					sleep(tt.least)
					if len(w.tasks()) == 0 {
						t.Errorf("the event has left the queue within %v", tt.least)
					}
				}
				sleep(tt.within - tt.least)
				if tasks := w.tasks(); len(tasks) > 0 {
					t.Errorf("after %v, got %d tasks, the first with %v", tt.within, len(tasks), tasks[0].Last)
				}
				posts := w.taken()
				if len(posts) != tt.posts || len(ids(posts)) != 1 || types(posts)["delivered"] != tt.posts {
					t.Errorf("got %d posts %v with ids %v, want %d with one id", len(posts), types(posts), ids(posts), tt.posts)
				}
			})
		})
	}
}

// TestEvents has a message with all outcomes: each has its event, and nothing has an event about an event.
func TestEvents(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		attempts := 0
		w.result = func(env *smtp.Envelope) smtp.Result {
			switch name, _ := smtp.SplitAddress(env.Recipients[0].Address); name {
			case "nobody":
				return smtp.Result{Outcome: smtp.Rejected, Stage: smtp.StageRcpt, Reason: smtp.UserUnknown,
					Reply: smtp.NewReply(550, "5.1.1", "no such user")}
			case "later":
				if attempts++; attempts == 1 {
					return smtp.Result{Outcome: smtp.Unknown, Stage: smtp.StageFinal, Reason: smtp.Network,
						Reply: smtp.NewReply(451, "4.4.2", "lost")}
				}
				return smtp.Result{Outcome: smtp.Deferred, Stage: smtp.StageRcpt, Reason: smtp.MailboxFull,
					Reply: smtp.NewReply(452, "4.2.2", "full")}
			}
			return smtp.Result{Outcome: smtp.Delivered, Stage: smtp.StageFinal, Reply: smtp.NewReply(250, "2.0.0", "taken")}
		}
		w.runner.ReportDelay = -1
		w.runner.Report = func(_ context.Context, o delivery.Occasion) (reports []queue.Message, _ error) {
			for i := range o.Results {
				if o.Kind(i) != "" {
					return []queue.Message{{
						Envelope: smtp.NewEnvelope("", "ann@here.test"), Destinations: []string{"here.test"},
						Body: strings.NewReader("Subject: sorry\r\n\r\n"), Origin: smtp.OriginCode,
					}}, nil
				}
			}
			return nil, nil
		}
		w.run()
		id := w.mail("bob@there.test", "nobody@there.test", "later@there.test")
		sleep(2 * 24 * time.Hour)
		if tasks := w.tasks(); len(tasks) > 0 {
			t.Errorf("got %d tasks, want none", len(tasks))
		}
		posts := w.taken()
		if len(ids(posts)) != len(posts) {
			t.Errorf("got %d posts with %d ids, want as many", len(posts), len(ids(posts)))
		}
		got := types(posts)
		if got["deferred"] < 5 {
			t.Errorf("got %d events of deferred, want one for each attempt", got["deferred"])
		}
		delete(got, "deferred")
		want := map[string]int{"delivered": 1, "rejected": 1, "unknown": 1, "delayed": 1, "expired": 1, "reported": 3}
		if !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		last := int64(0)
		for _, p := range posts {
			d := p.event.Data
			if d.ID != id {
				t.Errorf("got an event about %s, want only those about %s", d.ID, id)
			}
			if p.event.Type == "message.deferred" {
				if d.Number <= last || d.Next.IsZero() || len(d.Recipients) != 1 || d.Recipients[0].Reason != "mailbox-full" {
					t.Errorf("got %+v after number %d", d, last)
				}
				last = d.Number
			}
		}
	})
}

// TestRemoved: Cancel and Purge tell it in the same commit; an event itself can be cancelled without another one.
func TestRemoved(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.result = func(*smtp.Envelope) smtp.Result {
			return smtp.Result{Outcome: smtp.Deferred, Stage: smtp.StageRcpt, Reply: smtp.NewReply(452, "4.2.2", "full")}
		}
		w.hooks.Endpoints[0].Wants = func(e *Event) bool { return e.Type != "message.deferred" }
		w.run()
		cancelled, purged := w.mail("bob@there.test"), w.mail("bob@there.test", "eve@elsewhere.test")
		sleep(time.Second)
		if n, err := w.runner.Cancel(t.Context(), queue.Filter{ID: cancelled}, "changed my mind"); n != 1 || err != nil {
			t.Fatalf("Cancel: got %d, %v", n, err)
		}
		if n, err := w.runner.Purge(t.Context(), queue.Filter{ID: purged}); n != 1 || err != nil {
			t.Fatalf("Purge: got %d, %v", n, err)
		}
		sleep(time.Second)
		var got []string
		for _, p := range w.taken() {
			got = append(got, fmt.Sprintf("%s %v %s", p.event.Type, p.event.Data.ID == purged, p.event.Data.Destination))
		}
		slices.Sort(got)
		want := []string{"message.cancelled false there.test", "message.cancelled true elsewhere.test", "message.cancelled true there.test"}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		w.serve = func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(500) }
		w.runner.Cancel(t.Context(), queue.Filter{ID: w.mail("x@there.test")}, "") // its event can't be posted
		sleep(time.Second)
		if n, err := w.runner.Cancel(t.Context(), queue.Filter{}, ""); n != 1 || err != nil || len(w.tasks()) != 0 {
			t.Errorf("Cancel of an event: got %d, %v, %d tasks left; want 1 and none", n, err, len(w.tasks()))
		}
	})
}

// TestDeadLetter: an event that isn't taken in MaxAge is kept, held, and posted again by Release.
func TestDeadLetter(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var log strings.Builder
		w.hooks.Logger = slog.New(slog.NewTextHandler(&log, nil))
		status := 500
		w.serve = func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(status) }
		w.run()
		id := w.mail("bob@there.test")
		for round := range 2 {
			sleep(6 * 24 * time.Hour)
			tasks := w.tasks()
			if len(tasks) != 1 || tasks[0].State != queue.Held || tasks[0].About != id {
				t.Fatalf("round %d: got %+v, want an event about %s that is held", round, tasks, id)
			}
			if got := strings.Count(log.String(), `level=ERROR msg="webhook kept"`); got != round+1 {
				t.Errorf("round %d: got %d lines, want one each: %s", round, got, log.String())
			}
			if round == 1 {
				status = 200
			}
			if _, err := w.runner.Release(t.Context(), queue.Filter{State: queue.Held}); err != nil {
				t.Fatal(err)
			}
		}
		sleep(time.Second)
		if len(w.tasks()) != 0 || len(ids(w.taken())) != 1 || len(w.taken()) < 20 {
			t.Errorf("got %d tasks, ids %v, %d posts", len(w.tasks()), ids(w.taken()), len(w.taken()))
		}
	})
}

// TestGone: an endpoint that answers 410 gets nothing more, until it is enabled again.
func TestGone(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var gone []string
		w.hooks.Gone = func(name string) { gone = append(gone, name); panic("no") }
		status := 410
		w.serve = func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(status) }
		w.run()
		w.mail("bob@there.test")
		sleep(time.Second)
		w.mail("bob@there.test")
		sleep(time.Hour)
		tasks := w.tasks()
		if len(w.taken()) != 1 || !slices.Equal(gone, []string{"shop"}) || !w.hooks.Disabled("shop") ||
			len(tasks) != 1 || tasks[0].State != queue.Held {
			t.Fatalf("got %d posts, gone %q, %+v", len(w.taken()), gone, tasks)
		}
		status = 200
		w.hooks.Enable("shop")
		w.runner.Release(t.Context(), queue.Filter{State: queue.Held})
		w.mail("bob@there.test")
		sleep(time.Second)
		if len(w.tasks()) != 0 || len(w.taken()) != 3 || len(ids(w.taken())) != 2 {
			t.Errorf("got %d tasks, %d posts", len(w.tasks()), len(w.taken()))
		}
	})
}

// TestForged: mail to the address of an endpoint isn't posted, whoever sends it.
func TestForged(t *testing.T) {
	event := "Webhook-Id: x_1\r\nContent-Type: application/json\r\n\r\n{}\r\n"
	tests := []struct {
		name, from, body string
		origin           smtp.Origin
		want             int // posts
	}{
		{"an event", "", event, smtp.OriginCode, 1},
		{"an event with fields on top", "", "Return-Path: <>\r\n" + event, smtp.OriginCode, 1},
		{"of a client", "", event, smtp.OriginAuthenticated, 0},
		{"of a stranger", "", event, smtp.OriginStranger, 0},
		{"with a sender", "ann@here.test", event, smtp.OriginCode, 0},
		{"a report", "", "From: a@b.test\r\nSubject: x\r\n\r\n" + event, smtp.OriginCode, 0},
		{"no header", "", "{}", smtp.OriginCode, 0},
		{"too long", "", event + strings.Repeat("x", maxEvent), smtp.OriginCode, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				e := w.hooks.Endpoints[0]
				ctx := smtp.WithJob(t.Context(), smtp.Job{Origin: tt.origin, From: tt.from})
				sender := w.hooks.Wrap(smtp.SenderFunc(w.deliver))
				results, err := sender.Send(ctx, smtp.NewEnvelope(tt.from, e.address()), smtp.Text(tt.body))
				if err != nil || (results[0].Outcome == smtp.Delivered) != (tt.want > 0) || len(w.taken()) != tt.want {
					t.Errorf("got %v, %v, %d posts; want %d posts", results, err, len(w.taken()), tt.want)
				}
			})
		})
	}
}

// TestPrivate: an endpoint at a private address isn't connected to.
func TestPrivate(t *testing.T) {
	for _, url := range []string{"https://127.0.0.1/", "https://[::1]:8443/", "https://10.0.0.1/", "https://169.254.169.254/x",
		"https://[::ffff:127.0.0.1]/", "https://inside.test/"} {
		t.Run(url, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.inet.Host("inside.test").SetAddrs(netip.MustParseAddr("192.168.1.1"))
				w.hooks.Endpoints[0].URL = url
				if err := w.hooks.Check(); err != nil {
					t.Fatal(err)
				}
				w.hooks.DialContext = func(_ context.Context, _, addr string) (net.Conn, error) {
					t.Errorf("connects to %s", addr)
					return nil, errRefused
				}
				w.run()
				w.mail("bob@there.test")
				sleep(time.Second)
				tasks := w.tasks()
				if len(tasks) != 1 || !strings.Contains(tasks[0].Last[0].Reply.Text, "private or reserved") {
					t.Errorf("got %+v, want a task that waits, as there are only private addresses", tasks)
				}
			})
		})
	}
}

// TestIDs: one outcome has one webhook-id however often Outbox is called, and no two have the same.
func TestIDs(t *testing.T) {
	at := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	event := delivery.Event{Type: delivery.EventDeferred, Time: at, Task: queue.Task{
		ID: "1", Destination: "there.test", Arrival: at, Attempts: 1, Envelope: smtp.NewEnvelope("a@here.test", "b@there.test"),
	}, Result: smtp.Result{Recipient: "b@there.test"}}
	id := func(change func(h *Hooks, e *delivery.Event)) string {
		h, e := new(Hooks), event
		change(h, &e)
		return idOf(h.events([]delivery.Event{e})[0])
	}
	first := id(func(*Hooks, *delivery.Event) {})
	if again := id(func(*Hooks, *delivery.Event) {}); again != first {
		t.Errorf("made again: got %s, want %s", again, first)
	}
	seen := map[string]string{first: "the first"}
	for name, change := range map[string]func(h *Hooks, e *delivery.Event){
		"type":        func(_ *Hooks, e *delivery.Event) { e.Type = delivery.EventDelivered },
		"time":        func(_ *Hooks, e *delivery.Event) { e.Time = at.Add(time.Hour) },
		"attempt":     func(_ *Hooks, e *delivery.Event) { e.Task.Attempts = 2 },
		"destination": func(_ *Hooks, e *delivery.Event) { e.Task.Destination = "x.test" },
		"recipient":   func(_ *Hooks, e *delivery.Event) { e.Result.Recipient = "c@there.test" },
		"message":     func(_ *Hooks, e *delivery.Event) { e.Task.ID = "2" },
		"queue":       func(_ *Hooks, e *delivery.Event) { e.Task.Arrival = at.Add(time.Microsecond) },
		"source":      func(h *Hooks, _ *delivery.Event) { h.Source = "mx2" },
		"report": func(_ *Hooks, e *delivery.Event) {
			e.Type, e.Kind, e.Report = delivery.EventReported, "failed", smtp.NewEnvelope("", "a@here.test")
		},
	} {
		got := id(change)
		if other := seen[got]; other != "" {
			t.Errorf("another %s: got the id of %s", name, other)
		}
		seen[got] = "another " + name
	}
}

// TestMany: an attempt at 250 recipients has three events.
func TestMany(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var to []string
		for i := range 250 {
			to = append(to, fmt.Sprintf("r%d@there.test", i))
		}
		w.run()
		w.mail(to...)
		sleep(time.Second)
		n := 0
		for _, p := range w.taken() {
			n += len(p.event.Data.Recipients)
		}
		if len(ids(w.taken())) != 3 || n != 250 {
			t.Errorf("got %d events with %d recipients, want 3 with 250", len(ids(w.taken())), n)
		}
	})
}

// TestOdd: values that Check refuses, and funcs that panic, lose no event and don't end the process.
func TestOdd(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.hooks.Endpoints[0].Wants = func(*Event) bool { panic("no") }
		w.hooks.Endpoints = append(w.hooks.Endpoints, nil)
		w.run()
		w.mail("bob@there.test")
		sleep(time.Second)
		if len(w.taken()) != 1 || len(w.hooks.Routes()) != 1 {
			t.Errorf("got %d posts and %d routes, want 1", len(w.taken()), len(w.hooks.Routes()))
		}
		if _, err := w.hooks.Wrap(nil).Send(t.Context(), smtp.NewEnvelope("", "x@there.test"), nil); err == nil {
			t.Error("Wrap of no Sender: got no error")
		}
		if err := new(Hooks).Check(); err != nil {
			t.Errorf("no endpoints: got %v, want nil", err)
		}
		if err := new(Hooks).DeadLetter(nil, nil)(t.Context(), delivery.Occasion{}); err != nil {
			t.Errorf("DeadLetter of nothing: got %v, want nil", err)
		}
	})
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name   string
		change func(h *Hooks, e *Endpoint)
		want   string // a part of the error; if empty, there is none
	}{
		{"right", func(*Hooks, *Endpoint) {}, ""},
		{"no name", func(_ *Hooks, e *Endpoint) { e.Name = "" }, "Name"},
		{"a name with a dot", func(_ *Hooks, e *Endpoint) { e.Name = "a.b" }, "Name"},
		{"a name in upper case", func(_ *Hooks, e *Endpoint) { e.Name = "Shop" }, "Name"},
		{"a hyphen first", func(_ *Hooks, e *Endpoint) { e.Name = "-a" }, "Name"},
		{"no URL", func(_ *Hooks, e *Endpoint) { e.URL = "" }, "no host"},
		{"http", func(_ *Hooks, e *Endpoint) { e.URL = "http://shop.test" }, "use https"},
		{"http on a private network", func(h *Hooks, e *Endpoint) { e.URL, h.AllowPrivate = "http://shop.test", true }, ""},
		{"a name that isn't an A-label", func(_ *Hooks, e *Endpoint) { e.URL = "https://bücher.test" }, "A-label"},
		{"port 0", func(_ *Hooks, e *Endpoint) { e.URL = "https://shop.test:0/" }, "port"},
		{"port 65561", func(_ *Hooks, e *Endpoint) { e.URL = "https://shop.test:65561/" }, "port"},
		{"no secret", func(_ *Hooks, e *Endpoint) { e.Secrets = nil }, "Secrets is empty"},
		{"a short secret", func(_ *Hooks, e *Endpoint) { e.Secrets = []string{"whsec_QUJD"} }, "Secrets[0]"},
		{"no prefix", func(_ *Hooks, e *Endpoint) { e.Secrets[0] = strings.TrimPrefix(secret, secretPrefix) }, "whsec_"},
		{"two of a name", func(h *Hooks, e *Endpoint) { h.Endpoints = append(h.Endpoints, e) }, "another one"},
		{"nil", func(h *Hooks, _ *Endpoint) { h.Endpoints = []*Endpoint{nil} }, "nil"},
		{"a negative age", func(h *Hooks, _ *Endpoint) { h.MaxAge = -1 }, "MaxAge"},
		{"a negative timeout", func(h *Hooks, _ *Endpoint) { h.Timeout = -1 }, "Timeout"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := &Endpoint{Name: "shop", URL: "https://shop.test/", Secrets: []string{secret}}
			h := &Hooks{Endpoints: []*Endpoint{e}}
			tt.change(h, e)
			err := h.Check()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestPayload pins the JSON of an event.
func TestPayload(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.hooks.Source = "mx1"
		w.result = func(*smtp.Envelope) smtp.Result {
			return smtp.Result{Outcome: smtp.Rejected, Stage: smtp.StageRcpt, Reason: smtp.UserUnknown, TLS: "TLS 1.3", Source: "192.0.2.9",
				Reply: smtp.NewReply(550, "5.1.1", "no such user")}
		}
		w.run()
		id := w.mail("bob@there.test")
		sleep(time.Second)
		posts := w.taken()
		if len(posts) != 1 {
			t.Fatalf("got %d posts, want 1", len(posts))
		}
		got, _ := json.Marshal(posts[0].event)
		want := fmt.Sprintf(`{"type":"message.rejected","timestamp":"2000-01-01T00:00:00Z","data":{"source":"mx1","id":%q,`+
			`"ref":"order 7","tenant":"acme","arrival":"2000-01-01T00:00:00Z","from":"ann@here.test","destination":"there.test","attempt":1,"number":5,`+
			`"recipients":[{"address":"bob@there.test","code":550,"enhanced":"5.1.1","text":"no such user",`+
			`"reason":"user-unknown","stage":"rcpt","host":"mx.there.test","source":"192.0.2.9","tls":"TLS 1.3"}]}}`, id)
		if string(got) != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		if !strings.HasPrefix(posts[0].id, string(id)+"_") || strings.Contains(posts[0].id, ".") {
			t.Errorf("got webhook-id %q, want one that begins with %s_", posts[0].id, id)
		}
	})
}
