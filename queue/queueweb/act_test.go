package queueweb

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/web"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
)

// threeMessages are to example.net twice, one of them deferred, and to example.org.
func threeMessages(t *testing.T, q queue.Queue) (ids []queue.ID) {
	ids = append(ids, enqueue(t, q, queue.Message{Envelope: smtp.NewEnvelope("ann@example.com", "bob@example.net"), Ref: "r1"}))
	settle(t, q, "example.net", smtp.Result{
		Outcome: smtp.Deferred, Reply: smtp.NewReply(451, "4.7.1", "greylisted"), Reason: smtp.Greylisted, Host: "mx.example.net",
		TLS: "TLS 1.3", Stage: smtp.StageRcpt,
	}, time.Now().Add(time.Hour))
	ids = append(ids, enqueue(t, q, queue.Message{Envelope: smtp.NewEnvelope("", "carol@example.net"), Tenant: "shop"}))
	return append(ids, enqueue(t, q, queue.Message{
		Envelope: smtp.NewEnvelope("dan@example.com", "eve@example.org"), Destinations: []string{"example.org"},
	}))
}

// TestAct: each action asks first, does what it says to what was selected, counts it, and is logged with the user.
func TestAct(t *testing.T) {
	for _, tt := range []struct {
		name     string
		form     url.Values
		before   func(h *Handler)
		asks     string // on the confirmation page
		result   string
		messages int // in the queue after that
		held     int
	}{
		{"hold one", url.Values{"do": {"hold"}, "ref": {"r1"}}, nil, "Now selected: <strong>1 message<", "1 message was held.", 3, 1},
		{"hold all", url.Values{"do": {"hold"}, "all": {"true"}}, nil, "<strong>all mail<", "3 messages were held.", 3, 3},
		{"hold none", url.Values{"do": {"hold"}, "sender": {"nobody@example.com"}}, nil, ">0 messages<", "0 messages were held.", 3, 0},
		{"release", url.Values{"do": {"release"}, "all": {"true"}}, func(h *Handler) {
			h.Runner.Hold(t.Context(), queue.Filter{Destination: "example.net"})
		}, ">2 messages<", "2 messages were released.", 3, 0},
		{"cancel", url.Values{"do": {"cancel"}, "destination": {"example.net"}, "text": {"enough"}}, nil,
			">2 messages<", "2 messages were cancelled.", 1, 0},
		{"purge null sender", url.Values{"do": {"purge"}, "sender": {"<>"}}, nil, ">1 message<", "1 message was purged.", 2, 0},
		{"flush", url.Values{"do": {"flush"}, "name": {"example.net"}}, nil, "Deferred mail",
			"1 task is due now, and 0 sites that were down are probed.", 3, 0},
		{"flush nothing", url.Values{"do": {"flush"}, "name": {"example.org"}}, nil, "Flush", "No deferred mail waits there", 3, 0},
		{"flush all", url.Values{"do": {"flush"}, "all": {"true"}}, nil, "all mail", "1 task is due now", 3, 0},
		{"flush one", url.Values{"do": {"flush"}, "ref": {"r1"}}, nil, "Now selected: <strong>1 message<",
			"1 message is due now, and 0 sites that were down are probed.", 3, 0},
		{"flush one that was never tried", url.Values{"do": {"flush"}, "tenant": {"shop"}}, nil, "Flush the messages",
			"None of this mail waits for another attempt", 3, 0},
		{"flush one that is held", url.Values{"do": {"flush"}, "ref": {"r1"}}, func(h *Handler) {
			h.Runner.Hold(t.Context(), queue.Filter{Ref: "r1"})
		}, ">0 messages<", "None of this mail waits for another attempt", 3, 1},
		{"suspend", url.Values{"do": {"suspend"}, "name": {"example.org"}, "until": {"2h"}}, nil, "For how long",
			"example.org is suspended at the relay of this page.", 3, 0},
		{"resume", url.Values{"do": {"resume"}, "name": {"example.org"}}, func(h *Handler) {
			h.Runner.Suspend(time.Now().Add(time.Hour), "example.org")
		}, "Resume", "Mail for example.org is sent again by the relay of this page.", 3, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, q := newHandler(t)
			var log bytes.Buffer
			h.Logger = slog.New(slog.NewTextHandler(&log, nil))
			threeMessages(t, q)
			if tt.before != nil {
				tt.before(h)
			}
			before, _ := q.Stats(t.Context())
			if w := get(h, "act?"+tt.form.Encode()); w.Code != 200 || !strings.Contains(w.Body.String(), tt.asks) ||
				!strings.Contains(w.Body.String(), `method="post"`) {
				t.Errorf("the confirmation: got %d %s, want %q", w.Code, w.Body, tt.asks)
			}
			if after, _ := q.Stats(t.Context()); after != before || log.Len() > 0 {
				t.Errorf("the question has changed something: %+v, %s", after, &log)
			}
			w := post(h, "act", tt.form)
			if w.Code != 200 || !strings.Contains(w.Body.String(), tt.result) {
				t.Errorf("got %d %s, want %q", w.Code, w.Body, tt.result)
			}
			stats, _ := q.Stats(t.Context())
			if stats.Messages != tt.messages || stats.Held != tt.held {
				t.Errorf("got %d messages, %d held, want %d, %d", stats.Messages, stats.Held, tt.messages, tt.held)
			}
			do := tt.form.Get("do")
			if !strings.Contains(log.String(), `msg="queueweb: `+do+`" user=ann`) {
				t.Errorf("got log %q", &log)
			}
			if suspended := len(h.Runner.Suspended()); (suspended > 0) != (do == "suspend") {
				t.Errorf("got %d suspensions after %s", suspended, do)
			}
		})
	}
}

// TestCancelText: the sender of a cancelled message is told the text, on one line.
func TestCancelText(t *testing.T) {
	h, q := newHandler(t)
	ids := threeMessages(t, q)
	var got string
	h.Runner.Report = func(_ context.Context, o delivery.Occasion) ([]queue.Message, error) {
		got = o.Results[0].Reply.Error()
		return nil, nil
	}
	form := url.Values{"do": {"cancel"}, "id": {string(ids[0])}, "text": {" too\r\n many\u202E "}}
	if w := post(h, "act?format=json", form); w.Code != 200 || got != "554 5.3.0 too many⟨U+202E⟩" {
		t.Errorf("got %d, reply %q", w.Code, got)
	}
}

// TestHoldReason: the reason of a hold is on the pages and in the log, on one line, until the message is released. A
// queue that keeps none isn't asked for one.
func TestHoldReason(t *testing.T) {
	h, q := newHandler(t)
	var log bytes.Buffer
	h.Logger = slog.New(slog.NewTextHandler(&log, nil))
	id := string(threeMessages(t, q)[0])
	const field = `<input id="text" name="text" maxlength="200">`
	if page := get(h, "act?do=hold&id="+id).Body.String(); !strings.Contains(page, field) {
		t.Errorf("got %s, want a field for the reason", page)
	}
	if page := get(h, "act?do=release&id="+id).Body.String(); strings.Contains(page, field) {
		t.Errorf("got %s, want no field for a reason", page)
	}
	form := url.Values{"do": {"hold"}, "id": {id}, "text": {" asked\r\nby Bob\u202E"}}
	if w := post(h, "act", form); w.Code != 200 {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), `text="asked by Bob`) {
		t.Errorf("got log %q, want the reason", &log)
	}
	var list messagesView
	var story messageView
	read(t, h, "messages?format=json&id="+id, &list)
	read(t, h, "message?format=json&id="+id, &story)
	const reason = "asked by Bob⟨U+202E⟩"
	if list.Messages[0].HeldFor != reason || story.Tasks[0].HeldFor != reason {
		t.Errorf("got %q in the list and %q in the message, want %q", list.Messages[0].HeldFor, story.Tasks[0].HeldFor, reason)
	}
	if why := story.Tasks[0].Why; why != "It is held until it is released. The reason: "+reason+"." {
		t.Errorf("got %q, want the reason", why)
	}
	if page := get(h, "messages").Body.String(); !strings.Contains(html.UnescapeString(page), "Held: <bdi>"+reason+"</bdi>") {
		t.Errorf("got %s, want the reason", page)
	}
	log.Reset()
	post(h, "act", url.Values{"do": {"release"}, "id": {id}, "text": {"for nobody"}})
	if !strings.Contains(log.String(), "queueweb: release") || strings.Contains(log.String(), "nobody") {
		t.Errorf("got log %q, want the release without a text that it doesn't use", &log)
	}
	post(h, "act", url.Values{"do": {"hold"}, "id": {id}})
	for _, page := range []string{"messages", "message?id=" + id, "message?format=json&id=" + id} {
		if got := get(h, page).Body.String(); strings.Contains(got, "Bob") || strings.Contains(got, "held_for") {
			t.Errorf("%s: got %s, want no reason after another hold", page, got)
		}
	}

	type plain interface { // without HoldFor
		queue.Queue
		queue.Lister
		queue.Holder
	}
	h.Queue, h.Runner.Queue = struct{ plain }{q}, struct{ plain }{q}
	if page := get(h, "act?do=hold&id="+id).Body.String(); strings.Contains(page, field) {
		t.Errorf("got %s, want no field for a reason that isn't kept", page)
	}
	if w := post(h, "act", form); w.Code != 501 {
		t.Errorf("got %d %s, want 501", w.Code, w.Body)
	}
	stale := queue.Task{State: queue.Held, HeldFor: "a check", Attempts: 1, Envelope: smtp.NewEnvelope("", "to@x.test")}
	row, task := h.newRow(&stale), h.newTask(&delivery.Explanation{Task: stale}, nil)
	if row.HeldFor != "" || task.HeldFor != "" {
		t.Errorf("got %q in the list and %q in the message, want no reason of an earlier hold", row.HeldFor, task.HeldFor)
	}
}

// TestActRefused: a request that doesn't say clearly what it is about changes nothing.
func TestActRefused(t *testing.T) {
	h, q := newHandler(t)
	threeMessages(t, q)
	before, _ := q.Stats(t.Context())
	for _, form := range []string{
		"", "do=odd", "do=purge", "do=purge&all=yes", "do=purge&all=true&ref=r1", "do=purge&reff=r1", "do=hold&state=odd",
		"do=purge&older=x", "do=flush", "do=suspend&all=true", "do=suspend&until=1h", "do=suspend&name=a&until=-1h",
		"do=suspend&name=a", "do=purge&ref=r1&tenent=shop", "do=purge&all=true&name=example.net", "do=flush&name=example.net&ref=r1",
		"do=purge&ref=r1&all=yes", "do=purge&ref=r1&name=a", "do=suspend&name=a&until=2001-01-01T00:00:00Z", "do=resume", "do=purge&ref=r1&ref=r2",
		"do=release&state=waiting", "do=flush&state=held",
		"do=purge&id=" + strings.Repeat("x", web.MaxValue+1), "do=purge&ref=" + strings.Repeat("x", web.MaxForm),
	} {
		values, _ := url.ParseQuery(form)
		for _, target := range []string{"act", "act?format=json"} {
			if w := post(h, target, values); w.Code != 400 {
				t.Errorf("%.60s: got %d %s, want 400", form, w.Code, w.Body)
			}
		}
	}
	names := "The actions are hold, release, flush, cancel, purge, suspend, resume."
	if w := post(h, "act", url.Values{"do": {"odd"}}); !strings.Contains(w.Body.String(), names) {
		t.Errorf("an unknown action: got %s, want %q in it", w.Body, names)
	}
	if w := post(h, "act?do=purge&all=true", nil); w.Code != 400 {
		t.Errorf("parameters of the URL: got %d, want 400", w.Code)
	}
	if after, _ := q.Stats(t.Context()); after != before || len(h.Runner.Suspended()) > 0 {
		t.Errorf("got %+v, want %+v", after, before)
	}
}

// plainQueue has no ability but List.
type plainQueue struct {
	queue.Queue
	queue.Lister
}

// TestUnable: a page of a queue that can do less says so.
func TestUnable(t *testing.T) {
	h, q := newHandler(t)
	threeMessages(t, q)
	h.Runner.Queue = plainQueue{q, q}
	for target, want := range map[string]int{"": 200, "messages": 200, "sites": 200} {
		if w := get(h, target); w.Code != want {
			t.Errorf("%q: got %d, want %d", target, w.Code, want)
		}
	}
	var v errorView
	w := post(h, "act?format=json", url.Values{"do": {"hold"}, "all": {"true"}})
	if json.Unmarshal(w.Body.Bytes(), &v); w.Code != 501 || !strings.Contains(v.Error, "queue.Holder") {
		t.Errorf("got %d %+v, want 501 and what is missing", w.Code, v)
	}
	h.Queue, h.Runner.Queue = struct{ queue.Queue }{q}, struct{ queue.Queue }{q}
	if w := get(h, "messages"); w.Code != 501 {
		t.Errorf("got %d without a Lister, want 501", w.Code)
	}
}

// failsLater is a queue whose Hold fails for all but the first messages.
type failsLater struct {
	*counting
	left int
}

func (q *failsLater) Hold(ctx context.Context, ids ...queue.ID) error {
	if q.left--; q.left < 0 {
		return fmt.Errorf("disk: %w", queue.ErrBroken)
	}
	return q.Queue.Hold(ctx, ids...)
}

// TestPartly: an action that fails says how many messages it changed.
func TestPartly(t *testing.T) {
	h, q := newHandler(t)
	threeMessages(t, q)
	h.Runner.Queue = &failsLater{q, 1}
	var v errorView
	w := post(h, "act?format=json", url.Values{"do": {"hold"}, "sender": {"ann@example.com"}})
	if w.Code != 200 {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	w = post(h, "act?format=json", url.Values{"do": {"hold"}, "sender": {"dan@example.com"}})
	if json.Unmarshal(w.Body.Bytes(), &v); w.Code != 503 || v.Messages != 0 || !strings.Contains(v.Error, "after 0 messages") {
		t.Errorf("got %d %+v", w.Code, v)
	}
}
