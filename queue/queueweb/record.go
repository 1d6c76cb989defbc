package queueweb

import (
	"cmp"
	"sync"
	"time"

	"github.com/postrider/postrider/internal/web"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
)

// Events returns funcs that remember the last events, for the story of a message and the figures of the last hour. Set
// Runner.Events to them before Run, after other Events by Then:
//
//	runner.Events = events.Then(web.Events())
//
// Without them, the page of a message has the last result of each recipient, as it is in the queue, and no figures are
// shown. The process forgets the events when it ends. The funcs take less than a microsecond.
func (h *Handler) Events() delivery.Events {
	h.record.wire(cmp.Or(max(h.History, 0), defaultHistory))
	tell := func(what string, kind figure) func(delivery.Event) {
		return func(e delivery.Event) { h.record.add(what, kind, &e) }
	}
	return delivery.Events{
		Delivered:   tell("delivered", delivered),
		Deferred:    tell("deferred", deferred),
		Unknown:     tell("unknown", deferred),
		Rejected:    tell("rejected", failed),
		Expired:     tell("expired", failed),
		Cancelled:   tell("cancelled", failed),
		Quarantined: tell("quarantined", uncounted),
		Reported:    tell("reported", uncounted),
	}
}

const defaultHistory = 10_000

// figure is what an event counts for.
type figure int

const (
	delivered figure = iota
	deferred
	failed
	figures // their number
	uncounted
)

// past is an event that is remembered.
type past struct {
	Time        time.Time `json:"time"`
	What        string    `json:"what"` // "delivered", as the func of delivery.Events
	Destination string    `json:"destination"`
	Recipient   string    `json:"recipient,omitempty"`
	Attempt     int       `json:"attempt,omitempty"` // counted by the queue
	Stage       string    `json:"stage,omitempty"`
	Reply       string    `json:"reply,omitempty"`
	Local       bool      `json:"local,omitempty"` // the Reply is ours: no host answered
	Reason      string    `json:"reason,omitempty"`
	Host        string    `json:"host,omitempty"`
	Addr        string    `json:"addr,omitempty"`
	Source      string    `json:"source,omitempty"`
	TLS         string    `json:"tls,omitempty"`
	Policy      string    `json:"policy,omitempty"`
	Next        time.Time `json:"next,omitzero"`
	Kind        string    `json:"kind,omitempty"` // of a report
	Advice      string    `json:"advice,omitempty"`

	id     queue.ID
	sender string
}

// record has the last events, and counts them by minute.
//
// Between two calls: events is a ring once it is full, whose oldest is events[next]; minutes[m%60] counts the minute m
// if at[m%60] is m, in minutes since 1970.
type record struct {
	mu      sync.Mutex
	most    int // 0: no events come
	events  []past
	next    int
	minutes [60][figures]int
	at      [60]int64
}

func (r *record) wire(most int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.most = most
}

func (r *record) wired() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.most > 0
}

func (r *record) add(what string, kind figure, e *delivery.Event) {
	p := past{
		Time: e.Time, What: what, Destination: web.Cut(e.Task.Destination, maxAddress), Next: e.Next, Kind: e.Kind,
		Attempt: e.Task.Attempts, id: e.Task.ID,
	}
	if e.Task.Envelope != nil {
		p.sender = sender(&e.Task)
	}
	if res := &e.Result; res.Reply != nil {
		p.Recipient, p.Reply = web.Cut(res.Recipient, maxAddress), web.Cut(res.Reply.Error(), web.MaxKept)
		p.Local, p.Addr, p.TLS = res.Local, res.Addr, res.TLS
		p.Source = web.Cut(res.Source, maxAddress)
		p.Host, p.Policy = web.Cut(res.Host, maxAddress), web.Cut(res.Policy, maxAddress)
		if kind != delivered {
			p.Stage, p.Reason = res.Stage.String(), res.Reason.String()
		}
		if kind == failed {
			last := *res
			last.Outcome = smtp.Rejected // what expired isn't tried again
			p.Advice = delivery.Advice(&last)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) < r.most {
		r.events = append(r.events, p)
	} else {
		r.events[r.next] = p
		r.next = (r.next + 1) % len(r.events)
	}
	if kind < figures {
		m := e.Time.Unix() / 60
		i := m % int64(len(r.at))
		if m > r.at[i] {
			r.at[i], r.minutes[i] = m, [figures]int{}
		}
		if m == r.at[i] {
			r.minutes[i][kind]++
		}
	}
}

const maxAddress = 400 // octets of an address or a name in the history

// of returns the events of a message, the oldest first, and its sender.
func (r *record) of(id queue.ID) (events []past, sender string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.events {
		if p := &r.events[(r.next+i)%len(r.events)]; p.id == id {
			events, sender = append(events, *p), cmp.Or(p.sender, sender)
		}
	}
	return events, sender
}

// hourView is the last hour, by minutes, the oldest first.
type hourView struct {
	Delivered [60]int `json:"delivered"`
	Deferred  [60]int `json:"deferred"`
	Failed    [60]int `json:"failed"`
}

// lastHour returns the counts of the last 60 minutes, or nil if no events come.
func (r *record) lastHour(now time.Time) *hourView {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.most == 0 {
		return nil
	}
	v := new(hourView)
	last := now.Unix() / 60
	for i := range v.Delivered {
		m := last - int64(len(v.Delivered)-1-i)
		slot := m % int64(len(r.at))
		if r.at[slot] == m {
			n := &r.minutes[slot]
			v.Delivered[i], v.Deferred[i], v.Failed[i] = n[delivered], n[deferred], n[failed]
		}
	}
	return v
}
