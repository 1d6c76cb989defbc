package postrider

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// TestAskedTimes: what a sender asks for by HOLDFOR, BY and MT-PRIORITY goes through the relay, from SMTP to the next
// host and to the reports.
func TestAskedTimes(t *testing.T) {
	type arrival struct {
		after time.Duration // since MAIL
		has   string        // in the message
	}
	tests := []struct {
		name   string
		by     time.Duration // zero: no BY
		back   bool          // its mode is R
		trace  bool
		hold   time.Duration
		up     time.Duration // when the next host is there
		to     string        // recipients, beside bob@next.test
		offers string        // of the next host
		next   []arrival
		source []arrival // the reports
	}{
		{name: "held", hold: 24 * time.Hour, next: []arrival{{24 * time.Hour, "Hello"}}},
		{name: "held, then deferred", hold: 24 * time.Hour, up: 25 * time.Hour, next: []arrival{{25 * time.Hour, "Hello"}}},
		{name: "R", by: time.Minute, back: true, offers: "DELIVERBY", next: []arrival{{0, "Hello"}}},
		{name: "R, next host without it", by: time.Minute, back: true, source: []arrival{{0, "\r\nStatus: 5.3.3\r\n"}}},
		{name: "R, expires", by: 2 * time.Minute, back: true, up: time.Hour, offers: "DELIVERBY",
			source: []arrival{{2 * time.Minute, "\r\nStatus: 5.4.7\r\n"}}},
		{name: "R, expires for two", by: 2 * time.Minute, back: true, up: time.Hour, offers: "DELIVERBY", to: "eve@next.test",
			source: []arrival{{2 * time.Minute, "\r\nStatus: 5.4.7\r\n"}}},
		{name: "R, held", by: 2 * time.Minute, back: true, hold: time.Hour, up: 2 * time.Hour, offers: "DELIVERBY",
			source: []arrival{{62 * time.Minute, "\r\nStatus: 5.4.7\r\n"}}},
		{name: "R, after the longest age", by: 9 * 24 * time.Hour, back: true, up: 20 * 24 * time.Hour, offers: "DELIVERBY",
			source: []arrival{{4 * time.Hour, "\r\nAction: delayed\r\n"}, {5 * 24 * time.Hour, "\r\nStatus: 4."}}},
		{name: "N", by: time.Minute, offers: "DELIVERBY", next: []arrival{{0, "Hello"}}},
		{name: "N, next host without it", by: time.Minute, next: []arrival{{0, "Hello"}},
			source: []arrival{{0, "\r\nAction: relayed\r\n"}}},
		{name: "N, late, next host without it", by: 10 * time.Minute, up: time.Hour, next: []arrival{{time.Hour, "Hello"}},
			source: []arrival{{10 * time.Minute, "\r\nAction: delayed\r\n"}, {time.Hour, "\r\nAction: relayed\r\n"}}},
		{name: "N, late", by: 10 * time.Minute, up: time.Hour, offers: "DELIVERBY", next: []arrival{{time.Hour, "Hello"}},
			source: []arrival{{10 * time.Minute, "\r\nAction: delayed\r\n"}}},
		{name: "N, past", by: -time.Minute, offers: "DELIVERBY", next: []arrival{{0, "Hello"}}},
		{name: "trace", by: time.Minute, trace: true, offers: "DELIVERBY", next: []arrival{{0, "Hello"}},
			source: []arrival{{0, "\r\nAction: relayed\r\n"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				next, source := inet.MX("next.test", "mx.next.test"), inet.MX("source.test", "mx.source.test")
				if tt.offers != "" {
					next.Offer(tt.offers)
				}
				r := newRelay(inet)
				r.Allow = allowAll
				r.Server = &server.Server{DeliverBy: true, Priorities: true, MaxHold: 30 * 24 * time.Hour}
				l, err := inet.Listen("relay.test:25")
				if err != nil {
					t.Fatal(err)
				}
				inet.Go(func(ctx context.Context) error { return r.Serve(ctx, l) })
				if tt.up > 0 {
					next.Down()
				}
				sub := submission(inet)
				sub.TLS = mx.TLSNone
				defer sub.Close()
				env := smtp.NewEnvelope("ann@source.test", "bob@next.test")
				if tt.to != "" {
					env.Recipients = append(env.Recipients, smtp.Recipient{Address: tt.to})
				}
				begun := time.Now().UTC()
				if tt.by != 0 {
					env.By = smtp.DeliverBy{Time: begun.Add(tt.by).Round(0), Return: tt.back, Trace: tt.trace}
				}
				if tt.hold != 0 {
					env.HoldUntil = begun.Add(tt.hold)
				}
				env.Priority = 2
				if _, err := sub.Send(t.Context(), env, smtp.Text(text)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(tt.up)
				next.Up()
				time.Sleep(30 * 24 * time.Hour)
				check := func(who string, got []smtptest.Message, want []arrival) {
					if len(got) != len(want) {
						t.Errorf("got %d mails at %s, want %d", len(got), who, len(want))
						return
					}
					for i, m := range got {
						late := m.Time.Sub(begun) - want[i].after
						if late < 0 || late > 3*time.Hour || late > time.Minute && tt.up == 0 || !bytes.Contains(m.Data, []byte(want[i].has)) {
							t.Errorf("got mail at %s after %v, want one after %v with %q: %s",
								who, m.Time.Sub(begun), want[i].after, want[i].has, m.Data)
						}
					}
				}
				check("the next host", next.Messages(), tt.next)
				check("the sender", source.Messages(), tt.source)
				for _, m := range next.Messages() {
					got, want := m.Envelope.By, env.By
					if got.Time.Sub(want.Time).Abs() < time.Second { // on the wire, it is in seconds
						got.Time = want.Time
					}
					if tt.offers != "" && got != want {
						t.Errorf("got BY %v at the next host, want %v", got, want)
					}
					if m.Envelope.HoldUntil != (time.Time{}) {
						t.Errorf("got it held until %v by the next host, want no hold", m.Envelope.HoldUntil)
					}
				}
				if tt.by != 0 && len(source.Messages()) > 0 {
					date := "\r\nDeliver-By-Date: " + begun.Add(tt.by+tt.hold).Format("Mon, 02 Jan 2006 15:04:05")
					if report := source.Messages()[0].Data; !bytes.Contains(report, []byte(date)) {
						t.Errorf("got report %q, want %q in it", report, date)
					}
				}
			})
		})
	}
}

// TestSchedule: the times of a prepared message, and its envelope at the next host. The caller's stays as it is.
func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRelay(smtptest.NewNetwork(t))
		now := time.Now()
		env := smtp.NewEnvelope("ann@source.test", "bob@next.test")
		env.By, env.Priority, env.HoldUntil = smtp.DeliverBy{Time: now.Add(time.Hour), Return: true}, 9, now.Add(24*time.Hour)
		before := *env
		m, err := r.Prepare(t.Context(), env, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if !m.NotBefore.Equal(now.Add(24*time.Hour)) || !m.Deadline.Equal(now.Add(25*time.Hour)) || m.Priority != 9 {
			t.Errorf("got %v, %v and priority %d, want in a day, an hour later, 9", m.NotBefore, m.Deadline, m.Priority)
		}
		if !m.Envelope.By.Time.Equal(now.Add(25*time.Hour)) || !m.Envelope.HoldUntil.IsZero() || m.Envelope.Priority != 9 {
			t.Errorf("got %+v for the next host, want no hold, and BY in 25 hours", m.Envelope)
		}
		if env.By != before.By || env.HoldUntil != before.HoldUntil {
			t.Errorf("got the caller's envelope changed to %+v", env)
		}
	})
}

// TestStrangersAsk: a stranger can't have mail held or reports sent, and isn't preferred.
func TestStrangersAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		next := inet.MX("next.test", "mx.next.test")
		next.Offer("MT-PRIORITY")
		r := newRelay(inet)
		r.Domains = []string{"next.test"}
		r.Server = &server.Server{DeliverBy: true, Priorities: true, MaxHold: time.Hour}
		l, err := inet.Listen("relay.test:25")
		if err != nil {
			t.Fatal(err)
		}
		inet.Go(func(ctx context.Context) error { return r.Serve(ctx, l) })
		sub := submission(inet)
		sub.TLS = mx.TLSNone
		defer sub.Close()
		send := func(change func(*smtp.Envelope)) smtp.Result {
			env := smtp.NewEnvelope("ann@source.test", "bob@next.test")
			change(env)
			results, _ := sub.Send(t.Context(), env, smtp.Text(text))
			return results[0]
		}
		for _, change := range []func(*smtp.Envelope){
			func(env *smtp.Envelope) { env.By.Time = time.Now().Add(time.Minute) },
			func(env *smtp.Envelope) { env.HoldUntil = time.Now().Add(time.Minute) },
		} {
			if got := send(change); got.Reply.Code != 550 || got.Stage != smtp.StageRcpt {
				t.Errorf("got %v at %v, want 550 at RCPT", got.Reply, got.Stage)
			}
		}
		for n, want := range map[int8]int8{9: 0, -3: -3} {
			got := send(func(env *smtp.Envelope) { env.Priority = n })
			reply := "250 2.0.0 queued as "
			if n != want {
				reply = fmt.Sprintf("250 2.3.6 %d is the priority", want)
			}
			if got.Outcome != smtp.Delivered || !strings.HasPrefix(got.Reply.Error(), reply) {
				t.Errorf("got %v, want %s", got.Reply, reply)
			}
			synctest.Wait()
			mails := next.Messages()
			if len(mails) == 0 {
				t.Fatal("got no mail at the next host, want one")
			}
			if got := mails[len(mails)-1].Envelope.Priority; got != want {
				t.Errorf("got priority %d at the next host, want %d", got, want)
			}
		}
		m := queue.Message{Envelope: &smtp.Envelope{Priority: 9}, Origin: smtp.OriginStranger}
		if schedule(&m, time.Now()); m.Priority != 0 {
			t.Errorf("got priority %d in the queue, want 0", m.Priority)
		}
	})
}
