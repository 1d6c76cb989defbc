package tlsrpt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/postrider/postrider/internal/guard"
)

const (
	saveInterval  = time.Minute
	lookupTimeout = time.Minute
	saveTimeout   = 10 * time.Second // at the end

	// maxSending bounds the reports that are sent at the same time.
	maxSending = 10

	// RFC 8460 §5.5: redelivery for up to 24 hours, with exponential back-off.
	retryFor = 24 * time.Hour
	minRetry = 5 * time.Minute
	maxRetry = 4 * time.Hour

	// keepDays is how many days a report may be late, if the process didn't run.
	keepDays = 7
)

// Run sends reports and keeps the Store up to date until ctx ends. Then it waits for the reports that are being sent,
// saves, and returns nil. An error is one of Check, or says that another Run is under way. Reports of days on which the
// process didn't run are sent late, up to 7 days. Run may be called again after it has returned.
func (r *Reporter) Run(ctx context.Context) error {
	if err := r.Check(); err != nil {
		return err
	}
	r.once.Do(r.prepare)
	r.mu.Lock()
	running := r.running
	r.running = true
	r.mu.Unlock()
	if running {
		return errors.New("tlsrpt: Run is called twice at the same time")
	}
	defer func() {
		r.mu.Lock()
		r.running = false
		r.mu.Unlock()
	}()
	var sends sync.WaitGroup
	for ctx.Err() == nil {
		next := time.Now().Add(saveInterval)
		if r.load(ctx) {
			r.save(ctx, false)
			next = r.start(ctx, &sends)
		}
		timer := time.NewTimer(time.Until(next))
		select {
		case <-timer.C:
		case <-r.wake:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	sends.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	if r.load(ctx) {
		r.save(ctx, true)
	}
	return nil
}

// load adds what the Store has to what was recorded since the process has started. It returns false if the Store
// failed: until all of it is loaded, nothing may take its place.
func (r *Reporter) load(ctx context.Context) bool {
	if r.Store == nil {
		return true
	}
	if !r.listed {
		err := r.store(ctx, "", func() (err error) { r.unread, err = r.Store.Days(ctx); return err })
		if err != nil {
			return false
		}
		r.listed = true
	}
	for len(r.unread) > 0 {
		name := r.unread[0]
		var b []byte
		if err := r.store(ctx, name, func() (err error) { b, err = r.Store.Load(ctx, name); return err }); err != nil {
			return false
		}
		r.unread = r.unread[1:]
		// A day that is damaged is lost, and not tried again.
		r.store(ctx, name, func() error { return r.add(name, b) })
	}
	return true
}

// add adds what a Store has of a day.
func (r *Reporter) add(name string, b []byte) error {
	if !isDay(name) {
		return notDay(name)
	}
	stored, err := unmarshalDay(b)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.days[name] == nil {
		r.days[name] = newDay()
	}
	r.days[name].merge(stored, r.maxDetails())
	return nil
}

// store calls the Store, and logs its error.
func (r *Reporter) store(ctx context.Context, name string, call func() error) (err error) {
	if p := guard.Call(func() { err = call() }); p != nil {
		err = p
	}
	if err != nil {
		r.log().LogAttrs(ctx, slog.LevelError, "TLS report Store failed", slog.String("day", name),
			slog.Any("error", err))
	}
	return err
}

// save writes the days that have changed a while ago, or all that have changed, and deletes those that are over and
// have no domains left.
func (r *Reporter) save(ctx context.Context, all bool) {
	for {
		name, d := r.toSave(all)
		if name == "" {
			return
		}
		var data []byte
		if d != nil {
			var err error
			if data, err = d.marshal(); err != nil {
				r.log().LogAttrs(ctx, slog.LevelError, "TLS results can't be kept", slog.Any("error", err))
				continue
			}
		}
		err := r.store(ctx, name, func() error {
			if d == nil {
				return r.Store.Delete(ctx, name)
			}
			return r.Store.Save(ctx, name, data)
		})
		if err != nil && !all {
			r.mu.Lock()
			r.touch(name)
			r.mu.Unlock()
		}
	}
}

// toSave takes out a day that is to be saved, or returns "". It returns a snapshot of the day, or nil if nothing is
// left of it: Record, and so each session, waits for r.mu.
func (r *Reporter) toSave(all bool) (name string, d *day) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, when := range r.dirty {
		if !all && time.Now().Before(when) {
			continue
		}
		delete(r.dirty, name)
		if d = r.days[name]; d != nil {
			d = d.snapshot()
		}
		return name, d
	}
	return "", nil
}

// start begins to send the reports that are due, and returns when Run has something to do next.
func (r *Reporter) start(ctx context.Context, sends *sync.WaitGroup) (next time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	today := dayName(now)
	next = dayEnd(today)
	r.purge(ctx, now)
	for name, d := range r.days {
		if name >= today {
			continue
		}
		r.tellBeyond(ctx, name, d)
		for domain, t := range d.domains {
			due := d.due(name, domain, r.spread())
			switch {
			case t.sending:
			case due.After(now):
				next = earlier(next, due)
			case r.sending < maxSending: // the end of one of them wakes Run
				r.sending++
				t.sending = true
				m := r.message(name, domain, d, t)
				sends.Go(func() { r.finish(ctx, name, domain, r.send(ctx, m)) })
			}
		}
		if len(d.domains) == 0 {
			delete(r.days, name)
			r.touch(name)
		}
	}
	for _, when := range r.dirty {
		next = earlier(next, when)
	}
	return next
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// purge drops what is too old. r.mu is held.
func (r *Reporter) purge(ctx context.Context, now time.Time) {
	for name, d := range r.days {
		if now.Before(dayEnd(name).AddDate(0, 0, keepDays)) {
			continue
		}
		r.tellBeyond(ctx, name, d)
		r.forgetOld(ctx, name, d)
		if len(d.domains) == 0 {
			delete(r.days, name)
			r.touch(name)
		}
	}
}

// tellBeyond logs how many sessions of a day that is over were beyond MaxDomains, once. r.mu is held.
func (r *Reporter) tellBeyond(ctx context.Context, name string, d *day) {
	if d.beyond == 0 {
		return
	}
	r.log().LogAttrs(ctx, slog.LevelWarn, "TLS results beyond MaxDomains", slog.String("day", name),
		slog.Int64("sessions", d.beyond))
	d.beyond = 0
	r.touch(name)
}

// forgetOld drops the reports of a day that is too long ago, except those that are being sent. r.mu is held.
func (r *Reporter) forgetOld(ctx context.Context, name string, d *day) {
	dropped := 0
	for domain, t := range d.domains {
		if !t.sending {
			delete(d.domains, domain)
			dropped++
		}
	}
	if dropped > 0 {
		r.log().LogAttrs(ctx, slog.LevelWarn, "TLS reports dropped, they are too late", slog.String("day", name),
			slog.Int("domains", dropped))
		r.touch(name)
	}
}

// spread is Spread, or its default.
func (r *Reporter) spread() time.Duration { return max(cmp.Or(r.Spread, 4*time.Hour), 0) }

// message returns the report about a domain. r.mu is held.
func (r *Reporter) message(name, domain string, d *day, t *tally) *Message {
	end := dayEnd(name)
	m := &Message{From: r.From, Domain: domain}
	m.Report = &Report{
		Organization: cmp.Or(r.Organization, m.submitter()), Contact: cmp.Or(r.Contact, r.From),
		Begin: end.AddDate(0, 0, -1), End: end.Add(-time.Second),
		ID:       fmt.Sprintf("%s.%x@%s", name, d.hash(domain), m.submitter()),
		Policies: slices.Clone(t.policies),
	}
	for i := range m.Report.Policies {
		p := &m.Report.Policies[i]
		p.Domain = cmp.Or(p.Domain, domain)
	}
	return m
}

// outcome is what became of a report.
type outcome uint8

const (
	done    outcome = iota // sent, or nobody wants it
	later                  // it is to be tried again
	stopped                // ctx has ended
)

// finish notes what became of a report.
func (r *Reporter) finish(ctx context.Context, name, domain string, became outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.days[name]
	t := d.domains[domain] // a day with a report that is being sent stays
	t.sending = false
	r.sending--
	now := time.Now()
	if t.first.IsZero() && became != stopped {
		t.first = now
	}
	switch {
	case became == stopped:
		return
	case became == later:
		t.next = now.Add(min(minRetry<<min(t.tries, 10), maxRetry))
		t.tries++
		if !t.next.After(t.first.Add(retryFor)) {
			break
		}
		r.log().LogAttrs(ctx, slog.LevelWarn, "TLS report given up", slog.String("domain", domain),
			slog.String("day", name))
		fallthrough
	default:
		delete(d.domains, domain)
	}
	r.touch(name)
	r.rouse()
}
