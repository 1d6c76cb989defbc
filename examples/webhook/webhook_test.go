package main

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/queue/webhook"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// TestRelay: the application hears of each outcome once, although its endpoint fails and an answer of it is lost.
func TestRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		inet.MX("there.test", "mx.there.test").Reject("nobody@there.test", smtp.NewReply(550, "5.1.1", "no such user"))
		home := inet.MX("here.test", "mx.here.test")
		secret := webhook.NewSecret()

		var mu sync.Mutex // for got and posts
		var got []string
		r := &receiver{keys: []string{secret}, print: func(e *webhook.Event) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, describe(e))
		}}
		posts := 0
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			mu.Lock()
			posts++
			n := posts
			mu.Unlock()
			switch {
			case n <= 2:
				w.WriteHeader(http.StatusInternalServerError)
			case n == 3:
				r.ServeHTTP(httptest.NewRecorder(), req)
				panic(http.ErrAbortHandler)
			default:
				r.ServeHTTP(w, req)
			}
		}))
		s.Listener.Close()
		var err error
		if s.Listener, err = inet.Listen("app.test:443"); err != nil {
			t.Fatal(err)
		}
		s.TLS = &tls.Config{Certificates: []tls.Certificate{inet.Certificate("app.test")}}
		s.StartTLS()
		defer s.Close()

		q := mem.New()
		relay := &postrider.Relay{Hostname: "mx1.here.test", Queue: q, Resolver: inet, DialContext: inet.DialContext}
		hooks := &webhook.Hooks{
			Endpoints: []*webhook.Endpoint{{Name: "app", URL: "https://app.test/events", Secrets: []string{secret}}},
			RootCAs:   inet.RootCAs(), Resolver: inet, DialContext: inet.DialContext,
		}
		if err := connect(relay, hooks, q); err != nil {
			t.Fatal(err)
		}
		defer hooks.CloseIdle()
		inet.Go(relay.Run)
		env := smtp.NewEnvelope("app@here.test", "bob@there.test", "nobody@there.test")
		id, err := relay.Send(t.Context(), env, strings.NewReader("Subject: hello\n\nHello\n"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()

		mu.Lock()
		slices.Sort(got)
		want := []string{
			`message.delivered of ` + string(id) + `: "bob@there.test" (250 `,
			`message.rejected of ` + string(id) + `: "nobody@there.test" (550 "no such user"`,
			`message.reported of ` + string(id) + `: `,
		}
		if !slices.EqualFunc(got, want, strings.HasPrefix) {
			t.Errorf("got %q, want %q", got, want)
		}
		before := posts
		mu.Unlock()
		if len(home.Messages()) != 1 {
			t.Errorf("got %d reports to the sender, want 1", len(home.Messages()))
		}
		if stats, err := q.Stats(t.Context()); err != nil || stats.Tasks != 0 {
			t.Errorf("got %+v, %v, want an empty queue", stats, err)
		}

		// A client of the relay can't post an event: there is one route, and it takes no mail.
		forged := smtp.NewEnvelope("app@here.test", "events@app.webhook.invalid")
		if _, err := relay.Send(t.Context(), forged, strings.NewReader("Webhook-Id: x\n\n{}\n")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if posts != before+2 { // that it was rejected, and reported
			t.Errorf("got %d posts, want 2 about mail that was rejected", posts-before)
		}
	})
}
