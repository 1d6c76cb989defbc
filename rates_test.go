package postrider

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// TestRatesEndToEnd has a real Relay and real hosts: one that keeps quotas by address and SPF domain, one that takes 20
// messages a connection, one that takes 4 connections, and one that changes its quota every day. All mail arrives once,
// nothing is sent in the ten minutes after a refusal, and what the refusal doesn't name isn't slowed.
func TestRatesEndToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		google, yahoo := inet.MX("gmail.test", "mx.gmail.test"), inet.MX("yahoo.test", "mx.yahoo.test")
		gmx, moody := inet.MX("gmx.test", "mx.gmx.test"), inet.MX("moody.test", "mx.moody.test")
		google.Quota(smtptest.BySPFDomain, 40, time.Hour, nil)
		google.Quota(smtptest.ByAddress, 1000, time.Hour, nil)
		yahoo.MaxMessages(20, nil)
		gmx.MaxSessions(4, nil)
		moody.Quota(smtptest.ByAddress, 20, time.Hour, nil)
		r := newRelay(inet)
		var mu sync.Mutex
		refused := map[string][]time.Time{} // of each destination
		r.Events.Deferred = func(e delivery.Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Result.Reason == smtp.RateLimited {
				_, domain := smtp.SplitAddress(e.Result.Recipient)
				refused[domain] = append(refused[domain], e.Time)
			}
		}
		r.Runner = &delivery.Runner{Site: delivery.SiteLimits{Recovery: delivery.Recovery{Pause: 10 * time.Minute}}}
		r.Logger = slog.New(slog.DiscardHandler)
		inet.Go(r.Run)
		send := func(from, to string, n int) {
			for i := range n {
				env := smtp.NewEnvelope("news@"+from, fmt.Sprintf("u%d@%s", i, to))
				if _, err := r.Send(t.Context(), env, strings.NewReader(text)); err != nil {
					t.Fatal(err)
				}
			}
		}
		begun := time.Now()
		send("slow.test", "gmail.test", 150)
		send("slow.test", "yahoo.test", 150)
		send("slow.test", "gmx.test", 150)
		send("slow.test", "moody.test", 150)
		time.Sleep(time.Minute)
		send("other.test", "gmail.test", 30) // its SPF domain has no refusal
		time.Sleep(time.Minute)
		others := 0
		for _, m := range google.Messages() {
			if m.Envelope.From == "news@other.test" {
				others++
			}
		}
		if others != 30 {
			t.Errorf("got %d of 30 messages of another domain within a minute", others)
		}
		for day := range 5 {
			time.Sleep(24*time.Hour - time.Since(begun)%(24*time.Hour))
			moody.Quota(smtptest.ByAddress, 10+20*(day%2), time.Hour, nil)
		}
		for _, h := range []struct {
			host *smtptest.Host
			want int
		}{{google, 180}, {yahoo, 150}, {gmx, 150}, {moody, 150}} {
			if got := len(h.host.Messages()); got != h.want {
				t.Errorf("%v: got %d messages, want %d", h.host, got, h.want)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		for _, m := range google.Messages() {
			for _, at := range refused["gmail.test"] {
				if m.Envelope.From == "news@slow.test" && m.Time.After(at.Add(5*time.Second)) && m.Time.Before(at.Add(10*time.Minute)) {
					t.Errorf("a message arrives %v after a refusal", m.Time.Sub(at))
				}
			}
		}
		t.Logf("refused: %d by gmail.test, %d by yahoo.test, %d by gmx.test, %d by moody.test", len(refused["gmail.test"]),
			len(refused["yahoo.test"]), len(refused["gmx.test"]), len(refused["moody.test"]))
	})
}
