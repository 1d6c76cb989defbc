package main

import (
	"context"
	_ "embed"
	"errors"
	"html/template"
	"net/http"
	"strconv"
	"time"

	"github.com/postrider/postrider/queue"
)

//go:embed admin.html
var adminHTML string

var adminPage = template.Must(template.New("admin").Parse(adminHTML))

// status is what the page shows about the mail of an order.
type status struct {
	Order   Order
	Waiting []waiting
	Ended   string // "" if the mail waits, or if the process has begun since it left the queue
}

// waiting is a mail that waits.
type waiting struct {
	Arrival  time.Time
	Attempts int
	Why      string // a sentence
	Until    string // "" if that isn't known
	Last     string // what the host said last; "" before the first attempt
	Deadline time.Time
}

// admin serves the page about the mail of an order.
func (s *Shop) admin(w http.ResponseWriter, r *http.Request) {
	number, _ := strconv.Atoi(r.PathValue("number"))
	s.mu.Lock()
	order, ok := s.orders[number]
	if !ok {
		order.Number = number // the mail may be known: the queue is on the disk, and this map isn't
	}
	page := status{Order: order, Ended: s.ended[order.Ref()]}
	s.mu.Unlock()
	var err error
	if page.Waiting, err = s.waiting(r.Context(), order.Ref()); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if !ok && len(page.Waiting) == 0 {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	adminPage.Execute(w, page)
}

// waiting returns why the mails with a Ref wait.
func (s *Shop) waiting(ctx context.Context, ref string) (list []waiting, err error) {
	for task, err := range s.queue.List(ctx, queue.Filter{Ref: ref}) {
		if err != nil {
			return nil, err
		}
		explanations, err := s.relay.Explain(ctx, task.ID)
		if errors.Is(err, queue.ErrNotFound) {
			continue // it has just left
		}
		if err != nil {
			return nil, err
		}
		for _, e := range explanations {
			t := e.Task
			w := waiting{Arrival: t.Arrival, Attempts: t.Attempts, Why: e.Why, Deadline: t.Deadline}
			if !e.Until.IsZero() {
				w.Until = e.Until.UTC().Format(time.RFC1123)
			}
			if last := t.Last[0]; last.Reply != nil {
				w.Last = last.Host + ": " + last.Reply.Error()
			}
			list = append(list, w)
		}
	}
	return list, nil
}
