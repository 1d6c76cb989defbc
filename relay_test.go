package postrider

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

const text = "From: <ann@source.test>\nTo: <bob@next.test>\nSubject: hello\n\nHello.\n.\n"

func newRelay(inet *smtptest.Network) *Relay {
	return &Relay{Hostname: "relay.test", Queue: mem.New(), Resolver: inet, DialContext: inet.DialContext}
}

func mustSend(t *testing.T, r *Relay, from string, to ...string) queue.ID {
	t.Helper()
	id, err := r.Send(t.Context(), smtp.NewEnvelope(from, to...), strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// queued counts what waits in the relay's queue.
func queued(t *testing.T, r *Relay) (n int) {
	t.Helper()
	for _, err := range r.Queue.(queue.Lister).List(t.Context(), queue.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

func TestSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("next.test", "mx.next.test")
		r := newRelay(inet)
		inet.Go(r.Run)
		mustSend(t, r, "ann@source.test", "bob@next.test")
		got := host.Wait(1)[0]
		if got.Envelope.From != "ann@source.test" || got.Envelope.Recipients[0].Address != "bob@next.test" {
			t.Errorf("got envelope %+v", got.Envelope)
		}
		received, rest, _ := bytes.Cut(got.Data, []byte("From: "))
		if want := strings.ReplaceAll(text, "\n", "\r\n"); "From: "+string(rest) != want {
			t.Errorf("got %q behind the Received line, want %q", rest, want)
		}
		if !strings.HasPrefix(string(received), "Received: by relay.test with local id ") {
			t.Errorf("got %q on top, want a Received line", received)
		}
		synctest.Wait()
		if n := queued(t, r); n != 0 {
			t.Errorf("got %d tasks in the queue afterwards, want 0", n)
		}
	})
}

// TestFiveDays: a host is dead for five days. The attempts follow the schedule, the sender gets one delay
// notice and one failure report, and nothing stays behind.
func TestFiveDays(t *testing.T) {
	begin := time.Now() // outside the bubble: the real clock
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		dead := inet.MX("next.test", "mx.next.test")
		dead.Down()
		sender := inet.MX("source.test", "mx.source.test")
		r := newRelay(inet)
		attempts := make(chan time.Time, 1000)
		r.Events.Deferred = func(delivery.Event) { attempts <- time.Now() }
		inet.Go(r.Run)
		start := time.Now()
		mustSend(t, r, "ann@source.test", "bob@next.test")

		time.Sleep(6 * 24 * time.Hour)
		last := start
		schedule := []time.Duration{0, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour}
		n := len(attempts)
		for i := range n {
			at := <-attempts
			want := 2 * time.Hour
			if i < len(schedule) {
				want = schedule[i]
			}
			if wait := at.Sub(last); wait < want*9/10 || wait > want*11/10+time.Second {
				t.Errorf("attempt %d came %v after the one before, want %v ± 10 %%", i, wait, want)
			}
			last = at
		}
		if age := last.Sub(start); age > 5*24*time.Hour || age < 5*24*time.Hour-3*time.Hour {
			t.Errorf("the last attempt came after %v, want shortly before five days", age)
		}

		reports := sender.Messages()
		if len(reports) != 2 {
			t.Fatalf("got %d reports, want a delay notice and a failure", len(reports))
		}
		for i, want := range []struct {
			action string
			age    time.Duration
		}{{"delayed", 4 * time.Hour}, {"failed", 5 * 24 * time.Hour}} {
			if !bytes.Contains(reports[i].Data, []byte("\r\nAction: "+want.action+"\r\n")) {
				t.Errorf("report %d isn't %q:\n%s", i, want.action, reports[i].Data)
			}
			if age := reports[i].Time.Sub(start); age < want.age || age > want.age+time.Minute {
				t.Errorf("report %d came after %v, want %v", i, age, want.age)
			}
		}
		if n := queued(t, r); n != 0 {
			t.Errorf("got %d tasks in the queue afterwards, want 0", n)
		}
		t.Logf("%d attempts in five virtual days", n)
	})
	t.Logf("it took %v of real time", time.Since(begin).Round(time.Millisecond))
}

func TestRefusedRecipient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("next.test", "mx.next.test")
		host.Reject("nobody@next.test", smtp.NewReply(550, "5.1.1", "no such user"))
		sender := inet.MX("source.test", "mx.source.test")
		sender.Reject("gone@source.test", smtp.NewReply(550, "5.1.1", "gone"))
		r := newRelay(inet)
		inet.Go(r.Run)
		mustSend(t, r, "ann@source.test", "nobody@next.test", "bob@next.test")
		mustSend(t, r, "gone@source.test", "nobody@next.test") // its report fails, and makes none
		report := sender.Wait(1)[0]
		for _, want := range []string{"Final-Recipient: rfc822; nobody@next.test\r\n", "Action: failed\r\n", "Status: 5.1.1\r\n", "Remote-MTA: dns; mx.next.test\r\n"} {
			if !bytes.Contains(report.Data, []byte(want)) {
				t.Errorf("no %q in the report:\n%s", want, report.Data)
			}
		}
		if bytes.Contains(report.Data, []byte("Final-Recipient: rfc822; bob@")) {
			t.Errorf("the report tells of bob, who got the mail:\n%s", report.Data)
		}
		time.Sleep(10 * 24 * time.Hour)
		if got := host.Messages(); len(got) != 1 || len(got[0].Envelope.Recipients) != 1 || got[0].Envelope.Recipients[0].Address != "bob@next.test" {
			t.Errorf("got %+v, want one mail, for bob", got)
		}
		if n := len(sender.Messages()); n != 1 {
			t.Errorf("got %d reports, want 1", n)
		}
		if n := queued(t, r); n != 0 {
			t.Errorf("got %d tasks in the queue, want 0", n)
		}
	})
}

func TestNotify(t *testing.T) {
	tests := []struct {
		name   string
		notify smtp.Notify
		to     string
		want   string // action in the report, "" for no report
	}{
		{"failure by default", 0, "nobody@next.test", "failed"},
		{"never", smtp.NotifyNever, "nobody@next.test", ""},
		{"only success", smtp.NotifySuccess, "nobody@next.test", ""},
		{"success by default", 0, "bob@next.test", ""},
		{"success at a host without DSN", smtp.NotifySuccess, "bob@next.test", "relayed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				host := inet.MX("next.test", "mx.next.test")
				host.Without("DSN")
				host.Reject("nobody@next.test", smtp.NewReply(550, "5.1.1", "no such user"))
				sender := inet.MX("source.test", "mx.source.test")
				r := newRelay(inet)
				inet.Go(r.Run)
				env := smtp.NewEnvelope("ann@source.test", test.to)
				env.EnvID = "order 17"
				env.Recipients[0].Notify = test.notify
				if _, err := r.Send(t.Context(), env, strings.NewReader(text)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				reports := sender.Messages()
				if test.want == "" {
					if len(reports) > 0 {
						t.Fatalf("got a report, want none:\n%s", reports[0].Data)
					}
					return
				}
				if len(reports) != 1 {
					t.Fatalf("got %d reports, want 1", len(reports))
				}
				for _, want := range []string{"Action: " + test.want + "\r\n", "Original-Envelope-Id: order 17\r\n"} {
					if !bytes.Contains(reports[0].Data, []byte(want)) {
						t.Errorf("no %q in:\n%s", want, reports[0].Data)
					}
				}
			})
		})
	}
}

func TestSecondMX(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		inet.MX("next.test", "mx1.next.test").Down()
		second := inet.MX("next.test", "mx2.next.test")
		r := newRelay(inet)
		inet.Go(r.Run)
		begin := time.Now()
		mustSend(t, r, "ann@source.test", "bob@next.test")
		second.Wait(1)
		if took := time.Since(begin); took > time.Second {
			t.Errorf("it took %v, want it at once", took)
		}
	})
}

// TestSpoolRestart: mail outlives the relay that took it.
func TestSpoolRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("next.test", "mx.next.test")
		host.Down()
		dir := t.TempDir()
		run := func(work func(r *Relay)) {
			q, err := spool.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer q.Close()
			r := newRelay(inet)
			r.Queue = q
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- r.Run(ctx) }()
			work(r)
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		}
		run(func(r *Relay) {
			mustSend(t, r, "ann@source.test", "bob@next.test")
			time.Sleep(time.Minute)
		})
		host.Up()
		run(func(*Relay) { host.Wait(1) })
	})
}

func TestSendErrors(t *testing.T) {
	r := &Relay{Hostname: "relay.test", Queue: mem.New(), Domains: []string{"source.test"}}
	loop := strings.Repeat("Received: from a by b; date\n", 101) + text
	tests := []struct {
		name string
		env  *smtp.Envelope
		body string
		want string
	}{
		{"no recipients", smtp.NewEnvelope("ann@source.test"), text, "recipient"},
		{"bad reverse-path", smtp.NewEnvelope("ann>\r\nRSET", "bob@next.test"), text, "ann>"},
		{"bad recipient", smtp.NewEnvelope("ann@source.test", "bob next.test"), text, "bob next.test"},
		{"a loop", smtp.NewEnvelope("ann@source.test", "bob@next.test"), loop, "5.4.6"},
		{"a bare CR", smtp.NewEnvelope("ann@source.test", "bob@next.test"), text + "a\rb\n", "5.6.0"},
		{"a NUL", smtp.NewEnvelope("ann@source.test", "bob@next.test"), text + "a\x00b\n", "5.6.0"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			id, err := r.Send(t.Context(), test.env, strings.NewReader(test.body))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %q, %v, want an error with %q", id, err, test.want)
			}
		})
	}
	if _, err := r.Send(t.Context(), nil, nil); err == nil {
		t.Error("got no error for no envelope")
	}
	if n := queued(t, r); n != 0 {
		t.Errorf("got %d tasks in the queue, want 0", n)
	}
}

// TestEnqueueTwice: a prepared message is stored once, never a second time without its content.
func TestEnqueueTwice(t *testing.T) {
	for _, test := range []struct {
		name  string
		body  io.Reader
		first error // of the first Enqueue
	}{
		{"after a success", strings.NewReader(text), nil},
		{"after an error", io.MultiReader(strings.NewReader(text), iotest.ErrReader(io.ErrNoProgress)), io.ErrNoProgress},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRelay(smtptest.NewNetwork(t))
			env := smtp.NewEnvelope("ann@source.test", "bob@next.test")
			m, err := r.Prepare(t.Context(), env, test.body)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Enqueue(t.Context(), m); !errors.Is(err, test.first) {
				t.Fatalf("the first: got %v, want %v", err, test.first)
			}
			if id, err := r.Enqueue(t.Context(), m); !errors.Is(err, errUsed) {
				t.Errorf("the second: got %q and %v, want %v", id, err, errUsed)
			}
			if id, err := r.Queue.Enqueue(t.Context(), m); !errors.Is(err, errUsed) {
				t.Errorf("at the Queue: got %q and %v, want %v", id, err, errUsed)
			}
		})
	}
	r := newRelay(smtptest.NewNetwork(t))
	m, err := r.Prepare(t.Context(), smtp.NewEnvelope("ann@source.test", "bob@next.test"), strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Queue.Enqueue(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	for _, enqueue := range []func(context.Context, queue.Message) (queue.ID, error){r.Queue.Enqueue, r.Enqueue} {
		if id, err := enqueue(t.Context(), m); !errors.Is(err, errUsed) {
			t.Errorf("after the Queue's own: got %q and %v, want %v", id, err, errUsed)
		}
	}
}

// TestPostponed has mail for in 30 days: it goes out then, and is tried until MaxAge after that.
func TestPostponed(t *testing.T) {
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name string
		up   time.Duration // when its host is there
		want time.Duration // when the host or, in a report, the sender has it
	}{
		{"sent", 0, 30 * day},
		{"deferred", 34 * day, 34 * day},
		{"returned", 36 * day, 35 * day},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				host, home := inet.MX("next.test", "mx.next.test"), inet.MX("source.test", "mx.source.test")
				if tt.up > 0 {
					host.Down()
				}
				r := newRelay(inet)
				r.DelayNotice = -1
				inet.Go(r.Run)
				begun := time.Now()
				m, err := r.Prepare(t.Context(), smtp.NewEnvelope("ann@source.test", "bob@next.test"), strings.NewReader(text))
				if err != nil {
					t.Fatal(err)
				}
				m.Postpone(begun.Add(30 * day))
				if _, err := r.Enqueue(t.Context(), m); err != nil {
					t.Fatal(err)
				}
				time.Sleep(tt.up)
				host.Up()
				time.Sleep(40 * day)
				var got []time.Duration
				for _, m := range append(host.Messages(), home.Messages()...) {
					got = append(got, m.Time.Sub(begun))
				}
				if len(got) != 1 || got[0] < tt.want || got[0] > tt.want+3*time.Hour || (len(home.Messages()) > 0) != (tt.up > tt.want) {
					t.Errorf("got mail after %v, want one after %v", got, tt.want)
				}
			})
		})
	}
}

// TestScheduled: mail for a later time than its Deadline is refused.
func TestScheduled(t *testing.T) {
	r := &Relay{Hostname: "relay.test", Queue: mem.New()}
	for _, tt := range []struct {
		name     string
		after    time.Duration // NotBefore
		deadline time.Duration // zero: none
		refused  bool
	}{
		{"before the Deadline", 47 * time.Hour, 48 * time.Hour, false},
		{"at the Deadline", 48 * time.Hour, 48 * time.Hour, true},
		{"after the Deadline", 49 * time.Hour, 48 * time.Hour, true},
		{"no Deadline", 9999 * time.Hour, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := r.Prepare(t.Context(), smtp.NewEnvelope("ann@source.test", "bob@next.test"), strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			now := time.Now()
			m.NotBefore, m.Deadline = now.Add(tt.after), time.Time{}
			if tt.deadline > 0 {
				m.Deadline = now.Add(tt.deadline)
			}
			before := queued(t, r)
			_, err = r.Enqueue(t.Context(), m)
			if (err != nil) != tt.refused {
				t.Errorf("got error %v, want one: %v", err, tt.refused)
			}
			if n := queued(t, r) - before; n == 1 == tt.refused {
				t.Errorf("got %d messages in the queue, want one: %v", n, !tt.refused)
			}
		})
	}
}

func TestFields(t *testing.T) {
	q := mem.New()
	for _, test := range []struct {
		name  string
		relay *Relay
		want  string
	}{
		{"no Queue", &Relay{Hostname: "relay.test"}, "Queue"},
		{"no Hostname", &Relay{Queue: q}, "Hostname"},
		{"bad Hostname", &Relay{Queue: q, Hostname: "relay.test\r\n"}, "Hostname"},
		{"bad Postmaster", &Relay{Queue: q, Hostname: "relay.test", Postmaster: "postmaster@"}, "Postmaster"},
		{"Postmaster without domain", &Relay{Queue: q, Hostname: "relay.test", Postmaster: "postmaster"}, "Postmaster"},
		{"bad Domains", &Relay{Queue: q, Hostname: "relay.test", Domains: []string{"a b"}}, "Domains"},
		{"bad Routes", &Relay{Queue: q, Hostname: "relay.test", Routes: map[string]mx.Route{"next.test": {}}}, "next.test"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := test.relay.Send(t.Context(), smtp.NewEnvelope("", "bob@next.test"), strings.NewReader(text))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Send: got %v, want an error with %q", err, test.want)
			}
			if got := test.relay.ListenAndServe(t.Context(), "127.0.0.1:0"); got == nil || got.Error() != err.Error() {
				t.Errorf("ListenAndServe: got %v, want %v", got, err)
			}
		})
	}
}

func TestReceived(t *testing.T) {
	r := &Relay{Hostname: "Relay.test", Queue: mem.New()}
	if err := r.init(); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	got := r.received(smtp.NewEnvelope("", "bob@next.test"), nil, now).String()
	if !strings.HasPrefix(got, "Received: by relay.test with local id local-") ||
		!strings.HasSuffix(got, "\r\n\tfor <bob@next.test>;\r\n\tSun, 22 Nov 2026 12:00:00 +0000\r\n") {
		t.Errorf("got %q", got)
	}
	got = r.received(smtp.NewEnvelope("", "bob@next.test", "eve@next.test"), nil, now).String()
	if strings.Contains(got, "@") {
		t.Errorf("got %q, want no recipient where there are two", got)
	}
	for address, want := range map[string]string{"bob@bücher.test": "\r\n\tfor <bob@xn--bcher-kva.test>;", "böb@next.test": ""} {
		env := smtp.NewEnvelope("", address)
		if got := r.received(env, nil, now).String(); !strings.Contains(got, want) || smtp.NeedsUTF8(got) {
			t.Errorf("got %q, want ASCII with %q", got, want)
		}
		env.UTF8 = true
		if got := r.received(env, nil, now).String(); !strings.Contains(got, want) || smtp.NeedsUTF8(got) {
			t.Errorf("SMTPUTF8: got %q, want ASCII with %q", got, want)
		}
	}
}

// TestHeaderless: text without a header doesn't become part of our Received line.
func TestHeaderless(t *testing.T) {
	r := &Relay{Hostname: "relay.test", Queue: mem.New()}
	for body, separate := range map[string]bool{
		"Hello.\n":                           true,
		" Hello: x\n":                        true,
		"Hello all: x\n":                     true,
		"From ann Mon\n\nTo: b\n\n":          true,
		"Hello.\nFrom: a@source.test\n\n":    true,
		strings.Repeat("Hello.\n", 1000_000): true,
		"A: b\n\nHello.\n":                   false,
		"A : b\n\nHello.\n":                  false,
		"\nHello.\n":                         false,
		"":                                   false,
	} {
		m, err := r.Prepare(t.Context(), smtp.NewEnvelope("", "bob@next.test"), strings.NewReader(body))
		if err != nil {
			t.Errorf("%.20q: %v", body, err)
			continue
		}
		if m.FromDomain != "" {
			t.Errorf("%.20q: got FromDomain %q from the text", body, m.FromDomain)
		}
		got, err := io.ReadAll(m.Body)
		if err != nil {
			t.Fatal(err)
		}
		want := strings.ReplaceAll(body, "\n", "\r\n")
		if separate {
			want = "\r\n" + want
		}
		if !strings.HasSuffix(string(got), " +0000\r\n"+want) {
			t.Errorf("%.20q: got %.300q", body, got)
		}
	}
}

func TestParseHeader(t *testing.T) {
	for _, test := range []struct {
		name, header string
		received     int
		from         string
	}{
		{"received", "Received: a\r\nreceived : b\r\n\tReceived: folded\r\nX-Received: no\r\n\r\nReceived: in the body\r\n", 2, ""},
		{"all", "DATE: x\r\nFrom: Ann <ann@Source.test>\r\nMessage-Id: <1@x>\r\n\r\n", 0, "source.test"},
		{"folded From", "From:\r\n =?utf-8?q?A=40evil.test?=\r\n\t<ann@source.test>\r\n\r\n", 0, "source.test"},
		{"two authors of one domain", "From: a@source.test, b@SOURCE.test\r\n\r\n", 0, "source.test"},
		{"two domains", "From: a@source.test, b@other.test\r\n\r\n", 0, ""},
		{"two fields", "From: a@source.test\r\nFrom: a@source.test\r\n\r\n", 0, ""},
		{"U-label", "From: a@b\u00fccher.test\r\n\r\n", 0, "xn--bcher-kva.test"},
		{"nonsense", "From: <<>>\r\nno field\r\n: x", 0, ""},
		{"no end", "Received: x", 1, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := parseHeader([]byte(test.header))
			authors, _ := h.authors()
			if h.received != test.received || h.fromDomain(authors) != test.from {
				t.Errorf("got %+v and domain %q, want %+v", h, h.fromDomain(authors), test)
			}
		})
	}
}

// TestAuthors: the addresses of the From fields, as they would stand in an envelope.
func TestAuthors(t *testing.T) {
	for _, test := range []struct{ name, header, want string }{
		{"plain", "From: ann@source.test", "ann@source.test"},
		{"a charset that Go doesn't know", "From: =?gb2312?B?xOO6ww==?= <ann@source.test>", "ann@source.test"},
		{"ISO-2022-JP", "From: =?ISO-2022-JP?B?GyRCRnxLXBsoQg==?= <ann@source.test>", "ann@source.test"},
		{"no charset at all", "From: =?x?B?!!!?= <ann@source.test>", "ann@source.test"},
		{"an address as a name", "From: =?utf-8?q?eve=40evil.test?= <ann@source.test>", "ann@source.test"},
		{"quoted", `From: "ann b"@source.test`, `"ann b"@source.test`},
		{"quotes that aren't needed", `From: "ann"@source.test`, "ann@source.test"},
		{"an at sign in quotes", `From: "eve@evil.test"@source.test`, `"eve@evil.test"@source.test`},
		{"beyond ASCII", "From: änn@source.test", "änn@source.test"},
		{"a group", "From: Us:ann@source.test,<eve@source.test>;", "ann@source.test eve@source.test"},
		{"an empty group", "From: Us:;", ""},
		{"two fields", "From: ann@source.test\r\nFROM : eve@evil.test", "ann@source.test eve@evil.test"},
		{"a folded name", "From: ann@source.test\r\nFrom\r\n : eve@evil.test", "ann@source.test eve@evil.test"},
		{"after an empty folded line", "From: ann@source.test\r\n \r\nFrom: eve@evil.test", "ann@source.test eve@evil.test"},
		{"after a line that is no field", "From: ann@source.test\r\nx\r\nFrom: eve@evil.test", "ann@source.test eve@evil.test"},
		{"not UTF-8", "From: \"\x81\x5c\" <eve@evil.test>, \" <ann@source.test>", ""}, // in GBK, Eve is an author
		{"only one readable", "From: ann@source.test\r\nFrom: eve", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := parseHeader([]byte(test.header + "\r\n\r\n"))
			addresses, ok := h.authors()
			if got := strings.Join(addresses, " "); got != test.want || ok != (test.want != "") {
				t.Errorf("got %q, %v, want %q", got, ok, test.want)
			}
		})
	}
}

func prefixes(s ...string) (list []netip.Prefix) {
	for _, p := range s {
		list = append(list, netip.MustParsePrefix(p))
	}
	return slices.Clip(list)
}

// TestTransactional has a code to log in with that can't be delivered: it is tried often in its quarter of an hour,
// given up then, and its sender hears of that alone.
func TestTransactional(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		inet.MX("next.test", "mx.next.test").Defer(time.Hour, smtp.NewReply(451, "4.3.0", "not now"))
		sender := inet.MX("source.test", "mx.source.test")
		r := newRelay(inet)
		tries := 0
		r.Events.Deferred = func(delivery.Event) { tries++ }
		inet.Go(r.Run)
		m, err := r.Prepare(t.Context(), smtp.NewEnvelope("ann@source.test", "bob@next.test"), strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		m.MakeTransactional(15 * time.Minute)
		if _, err := r.Enqueue(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		report := sender.Wait(1)[0]
		synctest.Wait() // for the events
		if age := report.Time.Sub(begun); age < 15*time.Minute || age > 16*time.Minute || !strings.Contains(string(report.Data), "\r\nAction: failed\r\n") {
			t.Errorf("got after %v\n%s\nwant a failure after 15 minutes", age, report.Data)
		}
		if tries < 7 || tries > 10 {
			t.Errorf("got %d tries in vain, want eight or so", tries)
		}
	})
}
