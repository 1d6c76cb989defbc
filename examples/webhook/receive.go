package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/postrider/postrider/queue/webhook"
)

// maxEvent bounds a request, in octets.
const maxEvent = 1 << 20

// receiver is what an application has at the URL of the events.
type receiver struct {
	keys  []string
	print func(*webhook.Event)

	mu   sync.Mutex
	seen map[string]bool // webhook-ids; an application has them in its database, for a week
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxEvent))
	if err != nil {
		http.Error(w, "the event can't be read", http.StatusBadRequest)
		return
	}
	if err := webhook.Verify(req.Header, body, r.keys...); err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	var e webhook.Event
	if err := json.Unmarshal(body, &e); err != nil {
		http.Error(w, "no JSON of an event", http.StatusBadRequest)
		return
	}
	if r.isNew(req.Header.Get("webhook-id")) {
		r.print(&e)
	}
	w.WriteHeader(http.StatusNoContent)
}

// isNew reports whether an event arrives for the first time.
func (r *receiver) isNew(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[id] {
		return false
	}
	if r.seen == nil || len(r.seen) > 100_000 {
		r.seen = make(map[string]bool)
	}
	r.seen[id] = true
	return true
}

// describe returns an event as a line.
func describe(e *webhook.Event) string {
	var to []string
	for _, rcpt := range e.Data.Recipients {
		to = append(to, fmt.Sprintf("%q (%d %q)", rcpt.Address, rcpt.Code, rcpt.Text))
	}
	return fmt.Sprintf("%s of %s: %s", e.Type, e.Data.ID, strings.Join(to, ", "))
}
