package webhook_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/queue/webhook"
)

// A Relay tells a shop about its customers' mail that has failed.
func ExampleHooks() {
	q := mem.New() // spool.Open for one that survives a restart
	hooks := &webhook.Hooks{Endpoints: []*webhook.Endpoint{{
		Name:    "shop",
		URL:     "https://shop.example.com/mail-events",
		Secrets: []string{webhook.NewSecret()}, // one that is kept in a file, which the shop has too
		Wants: func(e *webhook.Event) bool {
			return e.Type == "message.rejected" || e.Type == "message.expired"
		},
	}}}
	if err := hooks.Check(); err != nil {
		fmt.Println(err)
	}
	relay := &postrider.Relay{
		Hostname: "mx1.example.com", Queue: q, Routes: hooks.Routes(),
		Runner:     &delivery.Runner{Outbox: hooks.Outbox},
		DeadLetter: hooks.DeadLetter(q, nil),
	}
	destination, err := relay.Destination("shop.webhook.invalid")
	fmt.Println(destination, err)
	// Output: webhook:shop <nil>
}

// A receiver verifies each request, and drops an event that it has seen.
func ExampleVerify() {
	var secret string // that of the sender
	isNew := func(id string) bool { return true }
	http.HandleFunc("POST /mail-events", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err == nil {
			err = webhook.Verify(r.Header, body, secret)
		}
		var e webhook.Event
		if err == nil {
			err = json.Unmarshal(body, &e)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if isNew(r.Header.Get("webhook-id")) {
			for _, rcpt := range e.Data.Recipients {
				fmt.Println(e.Type, e.Data.Ref, rcpt.Address, rcpt.Reason)
			}
		}
		w.WriteHeader(http.StatusNoContent)
	})
}
