package plans

import (
	"cmp"
	"errors"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
)

// spare is a host that takes all mail which is redirected to it.
const spare = "spare.test"

// operation has an operator interfere.
func (d *drawer) operation() {
	// After a mail that may still be there.
	m := pick(d, d.plan.mails...)
	at := m.at + d.span(time.Second, 24*time.Hour)
	_, domain := smtp.SplitAddress(pick(d, m.env.Recipients...).Address)
	filter := queue.Filter{Destination: domain}
	if d.chance(2) {
		filter = queue.Filter{Sender: cmp.Or(m.env.From, "<>")}
	}
	which := filter.Destination + filter.Sender
	switch d.IntN(6) {
	case 0:
		name := pick(d, "", domain)
		d.step(at, func(w *world) { w.flush(name) }, "flush %q", name)
	case 1:
		d.plan.holds = true
		d.step(at, func(w *world) { w.operate(w.runner().Hold(w.t.Context(), filter)) }, "hold %s", which)
		d.step(at+d.span(time.Minute, 48*time.Hour), func(w *world) { w.operate(w.runner().Release(w.t.Context(), filter)) }, "release %s", which)
	case 2:
		length := d.span(time.Minute, 48*time.Hour)
		d.step(at, func(w *world) { w.runner().Suspend(time.Now().Add(length), domain) }, "suspend %s for %v", domain, length)
	case 3:
		d.step(at, func(w *world) { w.purge(filter) }, "purge %s", which)
	case 4:
		d.step(at, func(w *world) { w.cancel(filter) }, "cancel %s", which)
	case 5:
		length := d.span(time.Minute, 48*time.Hour)
		d.step(at, func(w *world) { w.redirect(domain, true) }, "redirect %s", domain)
		d.step(at+length, func(w *world) { w.redirect(domain, false) }, "redirect %s no more", domain)
	}
}

func (w *world) runner() *delivery.Runner {
	return w.relay.Runner
}

// operate fails the test where an operation did.
func (w *world) operate(_ int, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Errorf("operation: %v", err)
	}
}

func (w *world) flush(destination string) {
	w.ledger.excuse(destination)
	if n, _, err := w.runner().Flush(w.t.Context(), destination); !errors.Is(err, errors.ErrUnsupported) {
		w.operate(n, err)
	}
}

func (w *world) cancel(f queue.Filter) {
	w.ledger.cancel(true)
	defer w.ledger.cancel(false)
	w.operate(w.runner().Cancel(w.t.Context(), f, "by the plan"))
	synctest.Wait() // until the ledger was told
}

func (w *world) purge(f queue.Filter) {
	synctest.Wait() // nothing changes between what is listed and what is purged
	q := w.queue.(queue.Lister)
	for found, err := range q.List(w.t.Context(), f) {
		w.operate(0, err)
		for task, err := range q.List(w.t.Context(), queue.Filter{ID: found.ID, Destination: queue.ReportDestination}) {
			w.operate(0, err)
			w.ledger.purges(task)
		}
	}
	w.operate(w.runner().Purge(w.t.Context(), f))
	synctest.Wait()
}

func (w *world) redirect(domain string, on bool) {
	route, err := mx.Smarthost(spare + ":25")
	if err != nil {
		w.t.Fatal(err)
	}
	var to *mx.Route
	if on {
		to = &route
	}
	w.ledger.excuse(route.Name) // its mail is flushed at the end, too
	w.ledger.excuse(domain)
	if err := w.relay.Redirect(w.t.Context(), domain, to); err != nil {
		w.t.Errorf("redirect: %v", err)
	}
}
