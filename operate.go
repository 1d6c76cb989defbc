package postrider

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
)

// Runner gives what delivers the relay's mail, to operate it while it runs: to flush, hold, release, suspend, cancel and
// purge, and to see what it does. Run is for [Relay.Run] to call, and its fields must not be changed; nor must those of the Relay
// from this call on.
func (r *Relay) Runner() (*delivery.Runner, error) {
	if err := r.init(); err != nil {
		return nil, err
	}
	return r.runner, nil
}

// Transport gives what takes the relay's mail to other hosts, to see and to set which source addresses are blocked for which site.
// Its fields must not be changed.
func (r *Relay) Transport() (*client.Transport, error) {
	if err := r.init(); err != nil {
		return nil, err
	}
	return r.transport, nil
}

// Destination names the queue's destination for the mail of a domain: the name of its explicit route, or the domain as an
// A-label. It is what to call the Runner's Flush and Suspend with, and what a queue.Filter looks at.
func (r *Relay) Destination(domain string) (string, error) {
	if err := r.init(); err != nil {
		return "", err
	}
	return r.router.Destination(domain)
}

// Explanation says what a task waits for, and by which route it would go now.
type Explanation struct {
	delivery.Explanation

	// Route is that of the task's first recipient, and RouteErr why there is none.
	Route    mx.Route
	RouteErr error
}

// Explain says what each task of a message waits for and where it would go, which may ask the DNS. queue.ErrNotFound: there is no
// such message.
func (r *Relay) Explain(ctx context.Context, id queue.ID) ([]Explanation, error) {
	if err := r.init(); err != nil {
		return nil, err
	}
	tasks, err := r.runner.Explain(ctx, id)
	if err != nil {
		return nil, err
	}
	all := make([]Explanation, len(tasks))
	for i, t := range tasks {
		all[i].Explanation = t
		_, domain := smtp.SplitAddress(t.Task.Envelope.Recipients[0].Address)
		all[i].Route, all[i].RouteErr = r.router.Route(ctx, domain)
	}
	return all, nil
}

// Redirect sends the mail of a domain by another route from now on, what is queued already too, in place of its MX or its entry in Routes;
// nil undoes that. What waits for its next try is tried at once, if the Queue is a queue.Flusher: all that has a
// Destination which the domain has or had, so that where a route serves several domains, theirs is tried too. Mail that is queued for
// an explicit route goes on to count for that route's limits. A new process knows nothing of it.
func (r *Relay) Redirect(ctx context.Context, domain string, to *mx.Route) error {
	if err := r.init(); err != nil {
		return err
	}
	before, _ := r.router.Destination(domain) // an error may say that the route refuses its mail
	if err := r.router.Redirect(domain, to); err != nil {
		return fmt.Errorf("relay: redirect: %w", err)
	}
	if _, ok := r.Queue.(queue.Flusher); !ok {
		return nil
	}
	after, _ := r.router.Destination(domain)
	for _, destination := range r.destinations(domain, before, after) {
		if destination == "" {
			continue // that would be all of them
		}
		if _, err := r.runner.Flush(ctx, destination); err != nil {
			return fmt.Errorf("relay: redirect: %w", err)
		}
	}
	return nil
}

// destinations gives those that mail of the domain may have been queued with: each of the routes that it was sent by, and
// the domain itself.
func (r *Relay) destinations(domain string, routes ...string) []string {
	name, _ := smtp.ASCIIDomain(domain)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.redirected == nil {
		r.redirected = make(map[string]map[string]bool)
	}
	if r.redirected[name] == nil {
		r.redirected[name] = map[string]bool{name: true}
	}
	for _, route := range routes {
		r.redirected[name][route] = true
	}
	return slices.Sorted(maps.Keys(r.redirected[name]))
}
