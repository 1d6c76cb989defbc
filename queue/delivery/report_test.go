package delivery

import (
	"context"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// plainLogger writes lines without times into w, with letters for IDs: A for first, and the next one for each new ID.
func plainLogger(w io.Writer, first queue.ID) *slog.Logger {
	var mu sync.Mutex
	seen := map[string]string{string(first): "A"}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch a.Key {
		case slog.TimeKey, "next":
			return slog.Attr{}
		case "id", "about":
			mu.Lock()
			defer mu.Unlock()
			if id := a.Value.String(); seen[id] == "" {
				seen[id] = string(rune('A' + len(seen)))
			}
			a.Value = slog.StringValue(seen[a.Value.String()])
		}
		return a
	}}))
}

// reporter composes a report for every occasion, unless it is about a report or says so with the Ref.
func reporter(_ context.Context, o Occasion) ([]queue.Message, error) {
	if o.Task.Ref == "unreportable" {
		return nil, errFault
	}
	if o.Task.Envelope.From == "" {
		return nil, nil
	}
	m := mail(o.Task.Envelope.From)
	m.Envelope.From, m.Tenant = "", o.Task.Tenant
	return []queue.Message{m}, nil
}

// TestLogLines looks at each line of the log: what a message is is in it, and a report names what it is about.
func TestLogLines(t *testing.T) {
	const deferred = `level=INFO msg=deferred to=to@x.test attempt=1 stage=rcpt reply="451 later" reason=greylisted ` +
		`local=false host=mx.x.test addr="" tls="" id=A destination=x.test`
	const unreported = `level=WARN msg="report fails" to=from@sender.test kind=delayed about=A destination=x.test ` +
		`ref=unreportable tenant=shop err="the disk has had enough"`
	tests := []struct {
		name   string
		change func(m *queue.Message)
		answer func(env *smtp.Envelope) smtp.Result
		do     func(r *Runner, id queue.ID) (int, error)
		want   string
	}{
		{name: "deferred", want: deferred},
		{
			name:   "ref and tenant",
			change: func(m *queue.Message) { m.Ref, m.Tenant = "order-17", "shop" },
			want:   deferred + " ref=order-17 tenant=shop",
		},
		{
			name:   "delayed",
			change: func(m *queue.Message) { m.Ref, m.Tenant, m.NoticeAt = "order-17", "shop", time.Now() },
			want: deferred + " ref=order-17 tenant=shop\n" +
				"level=INFO msg=report to=from@sender.test kind=delayed about=A destination=x.test ref=order-17 tenant=shop\n" +
				`level=INFO msg=delivered to=from@sender.test attempt=1 stage=rcpt reply="250 delivered" local=false ` +
				`host="" addr="" tls="" id=B destination=sender.test tenant=shop about=A`,
		},
		{
			name: "rejected",
			answer: func(env *smtp.Envelope) smtp.Result {
				return smtp.Result{Outcome: smtp.Rejected, Stage: smtp.StageRcpt, Reply: smtp.NewReply(550, "5.1.1", "who?"), Reason: smtp.UserUnknown}
			},
			want: `level=INFO msg=rejected to=to@x.test attempt=1 stage=rcpt reply="550 5.1.1 who?" reason=user-unknown ` +
				"local=false host=\"\" addr=\"\" tls=\"\" id=A destination=x.test\n" +
				"level=INFO msg=report to=from@sender.test kind=failed about=A destination=x.test\n" +
				`level=INFO msg=delivered to=from@sender.test attempt=1 stage=rcpt reply="250 delivered" local=false ` +
				`host="" addr="" tls="" id=B destination=sender.test about=A`,
		},
		{
			name:   "with TLS",
			change: func(m *queue.Message) { m.Envelope.From = "" },
			answer: func(env *smtp.Envelope) smtp.Result {
				return smtp.Result{Outcome: smtp.Delivered, Stage: smtp.StageFinal, Reply: smtp.NewReply(250, "2.0.0", "ok"), TLS: "TLS 1.3",
					Source: "192.0.2.9", Policy: "requiretls+dane:1", Security: &smtp.Security{Wanted: "verified", Reached: "verified", VerifiedBy: "TLSA 3 1 1 ab",
						CipherSuite: "TLS_AES_128_GCM_SHA256", KeyExchange: "X25519MLKEM768", PostQuantum: true}}
			},
			want: `level=INFO msg=delivered to=to@x.test attempt=1 stage=final reply="250 2.0.0 ok" local=false host="" addr="" ` +
				`source=192.0.2.9 tls="TLS 1.3" policy=requiretls+dane:1 wanted=verified reached=verified cipher=TLS_AES_128_GCM_SHA256 ` +
				`kex=X25519MLKEM768 pq=true verified-by="TLSA 3 1 1 ab" id=A destination=x.test`,
		},
		{
			name: "without the TLS that is demanded",
			answer: func(env *smtp.Envelope) smtp.Result {
				return smtp.Result{Outcome: smtp.Rejected, Stage: smtp.StageTLS, Reply: smtp.NewReply(550, "5.7.10", "no"), Reason: smtp.TLS,
					Local: true, Policy: "requiretls", Security: &smtp.Security{Wanted: "verified", Reached: "nothing"}}
			},
			change: func(m *queue.Message) { m.Envelope.From = "" },
			want: `level=INFO msg=rejected to=to@x.test attempt=1 stage=tls reply="550 5.7.10 no" reason=tls local=true ` +
				`host="" addr="" tls="" policy=requiretls wanted=verified id=A destination=x.test`,
		},
		{
			name: "a report that is rejected",
			change: func(m *queue.Message) {
				m.Envelope.From, m.About = "", "original"
			},
			answer: func(env *smtp.Envelope) smtp.Result {
				return smtp.Result{Outcome: smtp.Rejected, Stage: smtp.StageRcpt, Reply: smtp.NewReply(550, "5.1.1", "who?"), Reason: smtp.UserUnknown}
			},
			want: `level=WARN msg=rejected to=to@x.test attempt=1 stage=rcpt reply="550 5.1.1 who?" reason=user-unknown ` +
				`local=false host="" addr="" tls="" id=A destination=x.test about=B`,
		},
		{
			name: "a stranger's mail without a sender is rejected",
			change: func(m *queue.Message) {
				m.Envelope.From, m.Origin = "", smtp.OriginStranger
			},
			answer: func(env *smtp.Envelope) smtp.Result {
				return smtp.Result{Outcome: smtp.Rejected, Stage: smtp.StageRcpt, Reply: smtp.NewReply(550, "5.1.1", "who?"), Reason: smtp.UserUnknown}
			},
			want: `level=INFO msg=rejected to=to@x.test attempt=1 stage=rcpt reply="550 5.1.1 who?" reason=user-unknown ` +
				`local=false host="" addr="" tls="" id=A destination=x.test`,
		},
		{
			name:   "a report that is deferred",
			change: func(m *queue.Message) { m.Envelope.From, m.About = "", "original" },
			want:   deferred + " about=B",
		},
		{
			name:   "a report that can't be composed",
			change: func(m *queue.Message) { m.Ref, m.Tenant, m.NoticeAt = "unreportable", "shop", time.Now() },
			want:   unreported + "\n" + deferred + " ref=unreportable tenant=shop",
		},
		{
			name:   "cancelled",
			change: func(m *queue.Message) { m.Ref = "order-17" },
			do: func(r *Runner, id queue.ID) (int, error) {
				return r.Cancel(context.Background(), queue.Filter{ID: id}, "sold out")
			},
			want: deferred + " ref=order-17\n" +
				"level=INFO msg=cancelled reply=\"554 5.3.0 sold out\" id=A ref=order-17\n" +
				"level=INFO msg=report to=from@sender.test kind=failed about=A destination=x.test ref=order-17\n" +
				`level=INFO msg=delivered to=from@sender.test attempt=1 stage=rcpt reply="250 delivered" local=false ` +
				`host="" addr="" tls="" id=B destination=sender.test about=A`,
		},
		{
			name:   "purged",
			change: func(m *queue.Message) { m.Ref, m.Tenant = "order-17", "shop" },
			do: func(r *Runner, id queue.ID) (int, error) {
				return r.Purge(context.Background(), queue.Filter{ID: id})
			},
			want: deferred + " ref=order-17 tenant=shop\nlevel=INFO msg=purged id=A ref=order-17 tenant=shop",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := mem.New()
				m := mail("to@x.test")
				if tt.change != nil {
					tt.change(&m)
				}
				id, err := q.Enqueue(t.Context(), m)
				if err != nil {
					t.Fatal(err)
				}
				var log strings.Builder
				r := &Runner{
					Queue: q, Report: reporter, Logger: plainLogger(&log, id),
					Sender: senderFunc(func(_ context.Context, env *smtp.Envelope, _ smtp.Content) []smtp.Result {
						if env.Recipients[0].Address == "from@sender.test" {
							return answer(env, smtp.Delivered, 250)
						}
						if tt.answer != nil {
							return []smtp.Result{tt.answer(env)}
						}
						return []smtp.Result{{Stage: smtp.StageRcpt, Reply: smtp.NewReply(451, "", "later"), Reason: smtp.Greylisted, Host: "mx.x.test"}}
					}),
				}
				stop := start(t, r)
				sleep(time.Second)
				if tt.do != nil {
					if n, err := tt.do(r, id); n != 1 || err != nil {
						t.Errorf("got %d messages and error %v, want 1", n, err)
					}
					sleep(time.Second)
				}
				stop()
				// A report may be sent before its own line is written.
				got, want := strings.Split(strings.TrimSpace(log.String()), "\n"), strings.Split(tt.want, "\n")
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Errorf("got log\n%s\nwant\n%s", log.String(), tt.want)
				}
			})
		})
	}
}

// TestReported has events of reports, after an attempt and by Cancel.
func TestReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		j := new(journal)
		var cancelled queue.ID
		r := &Runner{
			Queue: q, Report: reporter,
			Sender: senderFunc(func(_ context.Context, env *smtp.Envelope, _ smtp.Content) []smtp.Result {
				if env.Recipients[0].Address == "gone@x.test" {
					return answer(env, smtp.Rejected, 550)
				}
				return answer(env, smtp.Deferred, 451)
			}),
			Events: Events{
				Cancelled: func(e Event) { j.add("cancelled %s", e.Result.Recipient) },
				Reported: func(e Event) {
					j.add("%s for %s about %s, of %s", e.Kind, e.Report.Recipients[0].Address, e.Task.Envelope.Recipients[0].Address, e.Task.Ref)
				},
			},
		}
		start(t, r)
		for _, to := range []string{"gone@x.test", "bob@y.test"} {
			m := mail(to)
			m.Ref = "ref of " + to
			id, err := q.Enqueue(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			cancelled = id
		}
		sleep(time.Second)
		if _, err := r.Cancel(t.Context(), queue.Filter{ID: cancelled}, "sold out"); err != nil {
			t.Error(err)
		}
		sleep(time.Second)
		want := "failed for from@sender.test about gone@x.test, of ref of gone@x.test\ncancelled bob@y.test\n" +
			"failed for from@sender.test about bob@y.test, of ref of bob@y.test"
		if got := j.all(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

func TestKind(t *testing.T) {
	env := func(notify ...smtp.Notify) *smtp.Envelope {
		env := smtp.NewEnvelope("from@sender.test", "a@x.test", "b@x.test")
		for i, n := range notify {
			env.Recipients[i].Notify = n
		}
		return env
	}
	result := func(outcomes ...smtp.Outcome) (results []smtp.Result) {
		for _, o := range outcomes {
			results = append(results, smtp.Result{Outcome: o})
		}
		return results
	}
	const never, success, failure = smtp.NotifyNever, smtp.NotifySuccess, smtp.NotifyFailure
	tests := []struct {
		name     string
		occasion Occasion
		want     string
	}{
		{"one rejected", Occasion{Task: queue.Task{Envelope: env()}, Results: result(smtp.Delivered, smtp.Rejected)}, "failed"},
		{"one rejected, the other delayed", Occasion{Task: queue.Task{Envelope: env()}, Results: result(smtp.Deferred, smtp.Rejected), Delayed: true}, "failed"},
		{"delayed", Occasion{Task: queue.Task{Envelope: env()}, Results: result(smtp.Deferred, smtp.Delivered), Delayed: true}, "delayed"},
		{"expired", Occasion{Task: queue.Task{Envelope: env()}, Results: result(smtp.Deferred, smtp.Unknown), Expired: true}, "failed"},
		{"delivered", Occasion{Task: queue.Task{Envelope: env(success)}, Results: result(smtp.Delivered, smtp.Deferred)}, "delivered"},
		{"rejected in silence", Occasion{Task: queue.Task{Envelope: env(success, never)}, Results: result(smtp.Delivered, smtp.Rejected)}, "delivered"},
		{"delayed in silence", Occasion{Task: queue.Task{Envelope: env(failure, failure)}, Results: result(smtp.Deferred, smtp.Rejected), Delayed: true}, "failed"},
		{"all in silence", Occasion{Task: queue.Task{Envelope: env(never, never)}, Results: result(smtp.Deferred, smtp.Rejected)}, "failed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.occasion.kind(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestEventsThen has every func called, in order.
func TestEventsThen(t *testing.T) {
	var calls []string
	all := func(who string) (e Events) {
		for i, v := 0, reflect.ValueOf(&e).Elem(); i < v.NumField(); i++ {
			if v.Field(i).Kind() == reflect.Func {
				name := who + v.Type().Field(i).Name
				v.Field(i).Set(reflect.ValueOf(func(Event) { calls = append(calls, name) }))
			}
		}
		return e
	}
	both := reflect.ValueOf(all("1 ").Then(all("2 ")))
	for i := range both.NumField() {
		if both.Field(i).Kind() != reflect.Func {
			continue
		}
		calls = nil
		name := both.Type().Field(i).Name
		both.Field(i).Call([]reflect.Value{reflect.ValueOf(Event{})})
		if want := []string{"1 " + name, "2 " + name}; !slices.Equal(calls, want) {
			t.Errorf("%s: got calls %v, want %v", name, calls, want)
		}
	}
}

// TestFuncsPanic has the funcs of a user panic in goroutines of the Runner: the process goes on, and so does the mail.
func TestFuncsPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		var log strings.Builder
		r := &Runner{
			Queue: q, Sender: take(0), Logger: textLogger(&log),
			SiteOf: func(context.Context, string) (Site, error) { panic("no site") },
			Report: func(context.Context, Occasion) ([]queue.Message, error) { panic("no report") },
		}
		start(t, r)
		m := mail("to@x.test")
		m.NotBefore = time.Now().Add(time.Hour)
		enqueue(t, q, m, mail("to@y.test"))
		sleep(time.Minute)
		if tasks := held(t, q); len(tasks) != 1 {
			t.Errorf("got %d tasks in the queue, want only the one of later:\n%s", len(tasks), log.String())
		}
		if n, err := r.Cancel(t.Context(), queue.Filter{}, "not wanted"); n != 0 || err == nil {
			t.Errorf("Cancel: got %d and %v, want the error of its report", n, err)
		}
		if len(held(t, q)) != 1 {
			t.Error("Cancel took the message out without a report")
		}
		for _, want := range []string{"SiteOf panics", "no site", "no report"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log has no %q:\n%s", want, log.String())
			}
		}
	})
}

// TestEventsThenPanics has the first of two funcs panic: the second is called nevertheless.
func TestEventsThenPanics(t *testing.T) {
	called := false
	both := Events{Delivered: func(Event) { panic("boom") }}.Then(Events{Delivered: func(Event) { called = true }})
	func() {
		defer func() {
			if p := recover(); p != "boom" {
				t.Errorf("got panic %v, want that of the func, to be logged", p)
			}
		}()
		both.Delivered(Event{})
	}()
	if !called {
		t.Error("the second func wasn't called")
	}
}

// TestEventPanics has a func that panics: the next event is told, and the mail isn't touched.
func TestEventPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		enqueue(t, q, mail("to@x.test"), mail("to@x.test"))
		var log strings.Builder
		told := 0
		start(t, &Runner{Queue: q, Sender: take(0), Logger: textLogger(&log), Events: Events{Delivered: func(Event) {
			told++
			panic("boom")
		}}})
		sleep(time.Minute)
		wantEmpty(t, q)
		if got := strings.Count(log.String(), `msg="event func panics" panic=boom`); told != 2 || got != 2 {
			t.Errorf("got %d events and log\n%s\nwant two, and a line for each", told, log.String())
		}
	})
}
