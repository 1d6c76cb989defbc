package client

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// TestMaxSessionsOfSite: how many sessions with a site are open at a time, and how long Sends wait for one.
func TestMaxSessionsOfSite(t *testing.T) {
	tests := []struct {
		name  string
		most  func(site string) int
		took  time.Duration // of a message
		bye   time.Duration // of the reply to QUIT
		ehlo  string
		sends []string // domains, of which "one.test" and "two.test" have routes of their own to one host
		apart bool     // one Send after the other
		peak  int
		last  time.Duration // until the last Send has returned
		want  string        // the outcomes
	}{
		{name: "no func", took: time.Second, sends: []string{"one.test", "one.test", "one.test"}, peak: 3, last: time.Second, want: "ddd"},
		{name: "zero", most: func(string) int { return 0 }, took: time.Second,
			sends: []string{"one.test", "one.test", "one.test"}, peak: 3, last: time.Second, want: "ddd"},
		{name: "panic", most: func(string) int { panic("no") }, took: time.Second,
			sends: []string{"one.test", "one.test", "one.test"}, peak: 3, last: time.Second, want: "ddd"},
		{name: "two", most: func(string) int { return 2 }, took: time.Second,
			sends: []string{"one.test", "one.test", "one.test"}, peak: 2, last: 2 * time.Second, want: "ddd"},
		{name: "an idle one is used again", most: func(string) int { return 1 }, bye: time.Hour, apart: true,
			sends: []string{"one.test", "one.test"}, peak: 1, want: "dd"},
		{name: "one in QUIT counts", most: func(string) int { return 1 }, bye: 3 * time.Second, ehlo: "LIMITS MAILMAX=1", apart: true,
			sends: []string{"one.test", "one.test", "one.test"}, peak: 1, last: 6 * time.Second, want: "ddd"},
		{name: "no reply to QUIT", most: func(string) int { return 1 }, bye: time.Hour, ehlo: "LIMITS MAILMAX=1", apart: true,
			sends: []string{"one.test", "one.test", "one.test"}, peak: 1, last: 10 * time.Second, want: "ddd"},
		{name: "sites have their own", most: func(string) int { return 1 }, took: time.Second,
			sends: []string{"one.test", "two.test"}, peak: 2, last: time.Second, want: "dd"},
		{name: "one of two sites is bounded", most: func(site string) int { return map[string]int{"one": 1}[site] }, took: time.Second,
			sends: []string{"one.test", "one.test", "two.test", "two.test"}, peak: 3, last: 2 * time.Second, want: "dddd"},
		{name: "others' messages take too long", most: func(string) int { return 1 }, took: 9 * time.Minute,
			sends: []string{"one.test", "one.test", "one.test"}, peak: 1, last: 18 * time.Minute, want: "dd-"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &crowd{took: tt.took, bye: tt.bye, ehlo: tt.ehlo}
				one, two := mustRoute(mx.Smarthost("127.0.0.1:25")), mustRoute(mx.Smarthost("127.0.0.1:25"))
				one.Name, two.Name = "one", "two"
				tr := &Transport{Hostname: "client.test", DialContext: h.dial, MaxSessions: tt.most,
					Router: &mx.Router{Routes: map[string]mx.Route{"one.test": one, "two.test": two}}}
				defer tr.Close()
				outcomes := []byte(strings.Repeat("-", len(tt.sends)))
				var wg sync.WaitGroup
				begun := time.Now()
				for i, domain := range tt.sends {
					send := func() {
						results, _ := tr.Send(context.Background(), smtp.NewEnvelope("ann@client.test", fmt.Sprintf("bob%d@%s", i, domain)), smtp.Text("Hello.\n"))
						switch r := results[0]; {
						case r.Outcome == smtp.Delivered:
							outcomes[i] = 'd'
						case r.Outcome != smtp.Deferred || !r.Local || r.Reason != smtp.Other || r.Reply.Text != "the host has enough sessions":
							t.Errorf("Send %d: got %s", i, show(results))
						}
					}
					if tt.apart {
						send()
						continue
					}
					wg.Go(send)
					synctest.Wait()
				}
				wg.Wait()
				if took := time.Since(begun); h.peak != tt.peak || took != tt.last || string(outcomes) != tt.want {
					t.Errorf("got %d sessions at a time, %q after %v; want %d, %q, %v", h.peak, outcomes, took, tt.peak, tt.want, tt.last)
				}
				tr.Close()
				time.Sleep(tt.bye) // of the host
				if h.open != 0 || len(tr.pool.rooms) != 0 {
					t.Errorf("got %d sessions open after Close and rooms %v, want none", h.open, tr.pool.rooms)
				}
			})
		})
	}
}
