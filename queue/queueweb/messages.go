package queueweb

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/web"
	"github.com/postrider/postrider/queue"
)

// filterFields are the parameters that select messages, in the order of the form.
var filterFields = []string{
	"sender", "recipient", "domain", "destination", "ref", "tenant", "state", "older", "newer", "id",
}

// filter reads what selects messages, and returns the parameters that do so, with times in place of durations.
func (r *request) filter() (f queue.Filter, given url.Values, err error) {
	given = make(url.Values)
	for _, name := range filterFields {
		s := r.Get(name)
		if s == "" {
			continue
		}
		switch name {
		case "id":
			f.ID = queue.ID(s)
		case "sender":
			f.Sender = s
		case "recipient": // a Sender may have angle brackets anyway
			s = strings.TrimSuffix(strings.TrimPrefix(s, "<"), ">")
			f.Recipient = s
		case "domain":
			f.Domain = s
		case "destination":
			f.Destination = s
		case "ref":
			f.Ref = s
		case "tenant":
			f.Tenant = s
		case "state":
			err = f.State.UnmarshalText([]byte(s))
		case "older":
			f.ArrivedBefore, s, err = r.before(s)
		case "newer":
			f.ArrivedAfter, s, err = r.before(s)
		}
		if err != nil {
			return f, nil, web.Bad("%s=%s: %v", name, web.Cut(s, web.MaxText), err)
		}
		given.Set(name, s)
	}
	return f, given, nil
}

// before reads a time, or a duration before now, and returns the time also as a parameter.
func (r *request) before(s string) (t time.Time, param string, err error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, s, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return t, s, errors.New("want a duration such as 36h, or a time such as 2026-01-31T12:00:00Z")
	}
	t = r.now.Add(-d)
	return t, t.UTC().Format(time.RFC3339Nano), nil
}

// messagesView is a page of messages.
type messagesView struct {
	Filter   url.Values   `json:"filter"`
	Messages []messageRow `json:"messages"`
	Next     queue.ID     `json:"after,omitempty"` // the next page begins after this message; empty: this is the last
	After    queue.ID     `json:"-"`               // this page begins after it
	Failed   string       `json:"list_error,omitempty"`
}

// messageRow is a message with the tasks that match.
type messageRow struct {
	ID          queue.ID  `json:"id"`
	Sender      string    `json:"sender"`
	Recipient   string    `json:"recipient"` // the first that matches
	Recipients  int       `json:"recipients"`
	Destination string    `json:"destination"`
	Tasks       int       `json:"tasks"`
	State       string    `json:"state"`
	HeldFor     string    `json:"held_for,omitempty"` // if it is held: the reason, if one was given
	Reason      string    `json:"reason,omitempty"`
	Reply       string    `json:"reply,omitempty"`
	Arrival     time.Time `json:"arrival"`
	Due         time.Time `json:"due"`
	Attempts    int       `json:"attempts"`
	Size        int64     `json:"size"`
	Ref         string    `json:"ref,omitempty"`
	Tenant      string    `json:"tenant,omitempty"`
}

const (
	pageMessages = 50
	pageTasks    = 2000 // that are read for a page; a message beyond it shows the tasks that were read
	searchTime   = 10 * time.Second
)

func (h *Handler) messages(r *request) (any, error) {
	f, given, err := r.filter()
	if err != nil {
		return nil, err
	}
	v := &messagesView{Filter: given, Messages: []messageRow{}, After: queue.ID(r.Get("after"))}
	f.After = v.After
	ctx, cancel := context.WithTimeout(r.Context(), searchTime)
	defer cancel()
	tasks := 0
	var failed error
	for t, err := range h.list(ctx, f) {
		if tasks++; err != nil { // others may be listed after a task that can't be read
			failed = cmp.Or(failed, err)
			if tasks == pageTasks {
				break
			}
			continue
		}
		last := len(v.Messages) - 1
		if last >= 0 && v.Messages[last].ID == t.ID {
			v.Messages[last].add(&t)
		} else {
			if len(v.Messages) == pageMessages {
				v.Next = v.Messages[last].ID
				break
			}
			v.Messages = append(v.Messages, h.newRow(&t))
		}
		if tasks == pageTasks {
			v.Next = t.ID
			break
		}
	}
	if failed != nil && len(v.Messages) == 0 {
		return nil, failed
	}
	if failed != nil {
		v.Failed = web.Cut(failed.Error(), web.MaxLong)
	}
	return v, nil
}

func (h *Handler) newRow(t *queue.Task) messageRow {
	row := messageRow{
		ID: t.ID, Sender: sender(t), Destination: web.Cut(t.Destination, web.MaxKept), State: t.State.String(),
		Arrival: t.Arrival, Due: t.Due, Size: t.Size, HeldFor: web.Cut(queue.HeldFor(h.queue(), t), web.MaxKept),
		Ref: web.Cut(t.Ref, web.MaxKept), Tenant: web.Cut(t.Tenant, web.MaxKept),
	}
	if len(t.Envelope.Recipients) > 0 {
		row.Recipient = web.Cut(t.Envelope.Recipients[0].Address, web.MaxKept)
	}
	if len(t.Last) > 0 && t.Last[0].Reply != nil {
		row.Reason, row.Reply = t.Last[0].Reason.String(), web.Cut(t.Last[0].Reply.Error(), web.MaxKept)
	}
	row.add(t)
	return row
}

// add counts a task. The next attempt at the message is the first of those of its tasks.
func (m *messageRow) add(t *queue.Task) {
	m.Tasks++
	m.Recipients += len(t.Envelope.Recipients)
	m.Attempts = max(m.Attempts, t.Attempts)
	if t.Due.Before(m.Due) {
		m.Due = t.Due
	}
}

// sender returns the reverse-path of a task, as a filter has it.
func sender(t *queue.Task) string {
	if t.Envelope.From == "" {
		return "<>"
	}
	return web.Cut(t.Envelope.From, web.MaxKept)
}
