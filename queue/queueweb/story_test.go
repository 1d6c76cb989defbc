package queueweb

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
)

// TestStory: the page of a message has each attempt, from the first to the delivery, and what it waits for.
func TestStory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, q := newHandler(t)
		attempts := 0
		h.Runner.Sender = smtp.SenderFunc(func(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) {
			res := smtp.Result{Host: "mx1.example.net", Addr: "192.0.2.1:25", TLS: "TLS 1.3", Stage: smtp.StageRcpt,
				Source: "198.51.100.9"}
			switch attempts++; attempts {
			case 1:
				res.Outcome, res.Reply, res.Reason = smtp.Deferred, smtp.NewReply(451, "4.7.1", "greylisted"), smtp.Greylisted
			case 2:
				res.Outcome, res.Reply, res.Reason = smtp.Deferred, smtp.NewReply(452, "4.2.2", "mailbox full"), smtp.MailboxFull
			default:
				res.Outcome, res.Reply, res.Stage = smtp.Delivered, smtp.NewReply(250, "2.0.0", "queued"), smtp.StageFinal
			}
			return []smtp.Result{res}, nil
		})
		id := enqueue(t, q, queue.Message{Envelope: smtp.NewEnvelope("ann@example.com", "bob@example.net"), Ref: "order-17"})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- h.Runner.Run(ctx) }()
		time.Sleep(time.Minute)

		var v messageView
		read(t, h, "message?format=json&id="+string(id), &v)
		if len(v.Tasks) != 1 || len(v.History) != 1 {
			t.Fatalf("got %d tasks and %d events, want 1 and 1", len(v.Tasks), len(v.History))
		}
		task := v.Tasks[0]
		rcpt := task.Recipients[0]
		if task.Why != "It was deferred: 451 4.7.1 greylisted" || task.Until.IsZero() || !task.Until.Equal(task.Due) || task.Attempts != 1 ||
			rcpt.Reason != "greylisted" || rcpt.Host != "mx1.example.net" || rcpt.TLS != "TLS 1.3" || rcpt.Source != "198.51.100.9" || rcpt.Stage != "rcpt" {
			t.Errorf("got task %+v", task)
		}
		if next := v.History[0].Next; !next.Equal(task.Due) {
			t.Errorf("next try %v, due %v", next, task.Due)
		}
		page := get(h, "message?id="+string(id)).Body.String()
		for _, want := range []string{"451 4.7.1 greylisted", "mx1.example.net", "192.0.2.1:25", "source 198.51.100.9", "TLS 1.3", "Tried again", "next try", "order-17"} {
			if !strings.Contains(page, want) {
				t.Errorf("the page lacks %q", want)
			}
		}

		get(h, "") // has the queue counted
		time.Sleep(time.Second)
		words := regexp.MustCompile("<[^>]*>").ReplaceAllString(get(h, "").Body.String(), "")
		if want := "1 recipient, for example in message " + string(id); !strings.Contains(words, want) {
			t.Errorf("the first page lacks %q: got %s", want, words)
		}

		time.Sleep(24 * time.Hour)
		v = messageView{}
		read(t, h, "message?format=json&id="+string(id), &v)
		var got []string
		for _, e := range v.History {
			got = append(got, e.What+" "+e.Reply)
		}
		want := "deferred 451 4.7.1 greylisted, deferred 452 4.2.2 mailbox full, delivered 250 2.0.0 queued"
		if v.InQueue || v.Sender != "ann@example.com" || strings.Join(got, ", ") != want {
			t.Errorf("got in queue %v, sender %q, %q, want %q", v.InQueue, v.Sender, got, want)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestRecord: the last events are kept, those of an hour are counted, and those of the hour before aren't.
func TestRecord(t *testing.T) {
	var r record
	if r.wire(3); r.lastHour(time.Now()) == nil {
		t.Error("got no hour")
	}
	begin := time.Unix(1e9, 0)
	for i := range 200 {
		e := delivery.Event{Time: begin.Add(time.Duration(i) * time.Minute), Task: queue.Task{ID: queue.ID("even")}}
		if i%2 == 1 {
			e.Task.ID = "odd"
		}
		r.add("delivered", delivered, &e)
	}
	old := delivery.Event{Time: begin}
	r.add("rejected", failed, &old)
	odd, _ := r.of("odd")
	even, _ := r.of("even")
	if len(odd) != 1 || len(even) != 1 || len(r.events) != 3 {
		t.Errorf("got %d and %d of %d events", len(odd), len(even), len(r.events))
	}
	last := begin.Add(199 * time.Minute)
	for after, want := range map[time.Duration]int{0: 60, 20 * time.Minute: 40, time.Hour: 0} {
		v := r.lastHour(last.Add(after))
		if got := sum(v.Delivered); got != want || sum(v.Failed) != 0 {
			t.Errorf("after %v: got %d delivered, %d failed, want %d, 0", after, got, sum(v.Failed), want)
		}
	}
}

// TestKept: one value is made at a time, and not sooner than it may; a failure and a panic end nothing.
func TestKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b background
		defer b.close()
		var k kept[int]
		made := 0
		slow := func(context.Context) (int, error) { made++; time.Sleep(time.Second); return made, nil }
		get := func(make maker[int]) (int, error) { return k.get(t.Context(), &b, 10*time.Second, patience, make) }
		for range 5 {
			get(slow)
		}
		time.Sleep(15 * time.Second)
		if n, _ := get(slow); n != 1 || made != 1 {
			t.Errorf("got %d, and %d were made, want 1: it took a second, so it is kept for 20", n, made)
		}
		time.Sleep(10 * time.Second)
		get(func(context.Context) (int, error) { return 0, errors.New("no") })
		if n, err := get(slow); n != 1 || err == nil {
			t.Errorf("got %d, %v, want the last value and the error", n, err)
		}
		time.Sleep(time.Minute)
		begun := 0
		for range 5 { // each is due again long before the first one is made
			get(func(context.Context) (int, error) { begun++; time.Sleep(5 * time.Minute); return 7, nil })
			time.Sleep(50 * time.Second)
		}
		time.Sleep(time.Minute)
		if n, err := get(slow); n != 7 || err != nil || begun != 1 {
			t.Errorf("got %d, %v, and %d were begun, want 7, nil, 1", n, err, begun)
		}
		time.Sleep(3 * time.Hour)
		for i, want := range []time.Duration{brief, 0} { // only the request that begins it waits for a long one
			since := time.Now()
			get(func(context.Context) (int, error) { time.Sleep(time.Minute); return 8, nil })
			if took := time.Since(since); took != want {
				t.Errorf("request %d waited %v while there was a value, want %v", i, took, want)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(3 * time.Hour)
		if _, err := get(func(context.Context) (int, error) { panic("oh") }); err == nil || !strings.Contains(err.Error(), "oh") {
			t.Errorf("got error %v after a panic", err)
		}
	})
}

// TestTaskReport: a task that is only reported is shown as one.
func TestTaskReport(t *testing.T) {
	for destination, want := range map[string]bool{
		"example.net": false, queue.ReportDestination: true, queue.ExpandedDestination: true,
	} {
		task := queue.Task{Destination: destination, Envelope: smtp.NewEnvelope("a@example.org", "b@example.net")}
		if got := new(Handler).newTask(&delivery.Explanation{Task: task}, nil).Report; got != want {
			t.Errorf("%s: got Report %t, want %t", destination, got, want)
		}
	}
}
