package postrider

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
)

// Destination returns the name under which the Queue has the mail of a domain: that of its explicit route, or the
// domain as an A-label.
func (r *Relay) Destination(domain string) (string, error) {
	if err := r.init(); err != nil {
		return "", err
	}
	return r.router.Destination(domain)
}

// Flush makes the deferred mail of a domain due now, and returns how many tasks that are; 0 means that none waits. A
// route that serves several domains has one destination: all of its mail becomes due. An error contains
// errors.ErrUnsupported if the Queue is no queue.Flusher.
func (r *Relay) Flush(ctx context.Context, domain string) (n int, err error) {
	destinations, err := r.destinationsOf(domain)
	if err != nil {
		return 0, fmt.Errorf("relay: flush: %w", err)
	}
	for _, destination := range destinations {
		flushed, _, err := r.runner.Flush(ctx, destination)
		if n += flushed; err != nil {
			return n, fmt.Errorf("relay: %w", err)
		}
	}
	return n, nil
}

// Suspend stops the delivery of a domain's mail until a time; a time that has passed ends the suspension. A route that
// serves several domains is suspended for all of them. Attempts under way go on; delay notices and deadlines keep their
// times. The process forgets the suspension when it ends.
//
// Suspend returns the number of tasks in the Queue with recipients of that domain; if it is 0, the domain may be
// misspelt. The suspension holds all the same, and if the Queue fails. An error contains errors.ErrUnsupported if the
// Queue is no queue.Lister.
func (r *Relay) Suspend(ctx context.Context, domain string, until time.Time) (waiting int, err error) {
	destinations, err := r.destinationsOf(domain)
	if err != nil {
		return 0, fmt.Errorf("relay: suspend: %w", err)
	}
	r.runner.Suspend(until, destinations...)
	q, ok := r.Queue.(queue.Lister)
	if !ok {
		return 0, fmt.Errorf("relay: suspend: it holds, but can't be counted: the Queue is no queue.Lister: %w",
			errors.ErrUnsupported)
	}
	for _, destination := range destinations {
		for _, err := range q.List(ctx, queue.Filter{Destination: destination, Domain: domain}) {
			if err != nil {
				return waiting, fmt.Errorf("relay: suspend: %w", err)
			}
			waiting++
		}
	}
	return waiting, nil
}

// Explanation is the state of a task, and the route by which it would go now.
type Explanation struct {
	delivery.Explanation

	// Route is the route of the task's first recipient. If there is none, RouteErr is the cause. Both are zero for a
	// task that is only reported: its Destination is queue.ReportDestination or queue.ExpandedDestination.
	Route    mx.Route
	RouteErr error
}

// Explain returns the state of each task of a message, and asks for its route, in the DNS if need be. An error contains
// queue.ErrNotFound if there is no such message.
func (r *Relay) Explain(ctx context.Context, id queue.ID) ([]Explanation, error) {
	if err := r.init(); err != nil {
		return nil, err
	}
	tasks, err := r.runner.Explain(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	all := make([]Explanation, len(tasks))
	for i, t := range tasks {
		all[i].Explanation = t
		if queue.OnlyReports(t.Task.Destination) {
			continue
		}
		_, domain := smtp.SplitAddress(t.Task.Envelope.Recipients[0].Address)
		all[i].Route, all[i].RouteErr = r.router.Route(ctx, domain)
	}
	return all, nil
}

// Redirect sends the mail of a domain by another route from now on, queued mail too, in place of its MX or its entry in
// Routes; nil undoes that. Deferred mail of the domain becomes due at once if the Queue is a queue.Flusher, as by
// Flush. Mail that was queued for an explicit route still counts for that route's limits. The process forgets the
// redirection when it ends.
func (r *Relay) Redirect(ctx context.Context, domain string, to *mx.Route) error {
	before, err := r.destinationsOf(domain)
	if err != nil {
		return fmt.Errorf("relay: redirect: %w", err)
	}
	if err := r.router.Redirect(domain, to); err != nil {
		return fmt.Errorf("relay: redirect: %w", err)
	}
	name, _ := smtp.ASCIIDomain(domain) // destinationsOf would have found an error
	r.mu.Lock()
	if r.redirected == nil {
		r.redirected = make(map[string][]string)
	}
	r.redirected[name] = before
	r.mu.Unlock()
	if _, err := r.Flush(ctx, domain); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("relay: redirect: %w", err)
	}
	return nil
}

// destinationsOf returns the destinations that mail of the domain may have been queued with: the domain itself, the one
// that it has now, and those that it had before it was redirected.
func (r *Relay) destinationsOf(domain string) ([]string, error) {
	if err := r.init(); err != nil {
		return nil, err
	}
	if domain == "" { // a Runner's Flush would take it for all mail
		return nil, errors.New("the domain is empty: name one")
	}
	now, err := r.router.Destination(domain)
	if now == "" { // the error of a route that refuses the mail comes with its name
		return nil, err
	}
	name, _ := smtp.ASCIIDomain(domain) // Destination would have found an error
	r.mu.Lock()
	defer r.mu.Unlock()
	all := append([]string{name, now}, r.redirected[name]...)
	slices.Sort(all)
	return slices.Compact(all), nil
}
