package queueweb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"time"

	"github.com/postrider/postrider/internal/web"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
)

// list is List of the Queue. Without a queue.Lister, it yields an error.
func (h *Handler) list(ctx context.Context, f queue.Filter) iter.Seq2[queue.Task, error] {
	if q, ok := h.queue().(queue.Lister); ok {
		return q.List(ctx, f)
	}
	return func(yield func(queue.Task, error) bool) {
		yield(queue.Task{}, fmt.Errorf("the Queue is no queue.Lister: %w", errors.ErrUnsupported))
	}
}

// messageView is the story of one message.
type messageView struct {
	ID      queue.ID `json:"id"`
	Sender  string   `json:"sender"`
	InQueue bool     `json:"in_queue"`
	Running bool     `json:"running"` // a Runner is: otherwise nothing is sent
	Origin  string   `json:"origin,omitempty"`
	Ref     string   `json:"ref,omitempty"`
	Tenant  string   `json:"tenant,omitempty"`
	About   queue.ID `json:"about,omitempty"` // the message that it reports on

	Priority  int8      `json:"priority,omitempty"`
	Size      int64     `json:"size,omitempty"`
	Arrival   time.Time `json:"arrival,omitzero"`
	NotBefore time.Time `json:"not_before,omitzero"`
	NoticeAt  time.Time `json:"notice_at,omitzero"`
	Deadline  time.Time `json:"deadline,omitzero"`

	Tasks   []taskView `json:"tasks"`
	LeftOut int        `json:"tasks_left_out"`

	// Ends are what has become of the recipients of a message that has left the queue, as far as it is remembered.
	// Told are the kinds of the reports to its sender that were put into the queue.
	Ends []end    `json:"ends,omitempty"`
	Told []string `json:"told,omitempty"`

	// History are the events that are remembered, if Remembers is true.
	History   []past `json:"history"`
	Remembers bool   `json:"remembers"`
	Forgotten int    `json:"history_left_out"`
	Source    bool   `json:"-"` // there is a page of the source
}

func (v *messageView) PageTitle() string { return "Message " + web.Visible(string(v.ID), web.MaxText) }

// taskView is what a message's mail to one destination waits for.
type taskView struct {
	Destination string          `json:"destination"`
	Report      bool            `json:"report"` // nothing is sent: a report is made
	State       string          `json:"state"`
	Why         string          `json:"why"`
	Advice      string          `json:"advice,omitempty"`   // what can be done
	HeldFor     string          `json:"held_for,omitempty"` // if it is held: the reason, if one was given
	Since       time.Time       `json:"since,omitzero"`
	Until       time.Time       `json:"until,omitzero"`
	Tried       time.Time       `json:"tried,omitzero"` // the last attempt that is remembered
	Due         time.Time       `json:"due"`
	Attempts    int             `json:"attempts"`
	Deaths      int             `json:"deaths,omitempty"`
	Source      string          `json:"source,omitempty"`
	Suspended   string          `json:"suspended,omitempty"` // the name that is: the destination or its site
	Site        *siteView       `json:"site,omitempty"`
	Rates       []rateView      `json:"rates,omitempty"` // that were learned, and count the task
	Recipients  []recipientView `json:"recipients"`
	LeftOut     int             `json:"recipients_left_out"`
}

// recipientView is a recipient that isn't settled, with its last result.
type recipientView struct {
	Address string `json:"address"`
	Outcome string `json:"outcome,omitempty"` // empty: it wasn't attempted
	Stage   string `json:"stage,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Reply   string `json:"reply,omitempty"`
	Local   bool   `json:"local,omitempty"` // the Reply is ours: no host answered
	Host    string `json:"host,omitempty"`
	Addr    string `json:"addr,omitempty"`
	Source  string `json:"source,omitempty"` // see smtp.Result.Source
	TLS     string `json:"tls,omitempty"`
	Policy  string `json:"policy,omitempty"`
}

const (
	shownTasks      = 50
	shownRecipients = 50
	shownEvents     = 200
)

func (h *Handler) message(r *request) (any, error) {
	id := queue.ID(r.Get("id"))
	if id == "" {
		return nil, web.Bad("The id is empty: find the message by a search.")
	}
	v := &messageView{ID: id, Source: h.ShowSource, Remembers: h.record.wired(), Tasks: []taskView{}, History: []past{}}
	history, sender := h.record.of(id)
	v.Forgotten = max(len(history)-shownEvents, 0)
	v.History = append(v.History, history[v.Forgotten:]...)
	v.Sender = sender

	ctx, cancel := context.WithTimeout(r.Context(), searchTime)
	defer cancel()
	all, err := h.Runner.Explain(ctx, id)
	switch {
	case errors.Is(err, queue.ErrNotFound) && len(history) > 0:
		v.Ends, v.Told = ends(history), told(history)
		return v, nil
	case errors.Is(err, queue.ErrNotFound):
		return nil, web.Fail(http.StatusNotFound, "This message isn't in the queue, and nothing is remembered of it: "+
			"it was delivered, returned or removed some time ago, or never was there.")
	case err != nil:
		return nil, err
	}
	v.fill(&all[0].Task)
	v.Running = h.Runner.Activity().Running
	suspended := h.Runner.Suspended()
	for i := range all[:min(len(all), shownTasks)] {
		task := h.newTask(&all[i], suspended)
		task.Tried = lastTried(history, all[i].Task.Destination)
		v.Tasks = append(v.Tasks, task)
	}
	v.LeftOut = len(all) - len(v.Tasks)
	return v, nil
}

// fill sets what all tasks of the message have in common.
func (v *messageView) fill(t *queue.Task) {
	v.InQueue, v.Sender, v.Origin = true, sender(t), t.Origin.String()
	v.Ref, v.Tenant, v.About = web.Cut(t.Ref, web.MaxKept), web.Cut(t.Tenant, web.MaxKept), t.About
	v.Priority, v.Size, v.Arrival = t.Priority, t.Size, t.Arrival
	v.NotBefore, v.NoticeAt, v.Deadline = t.NotBefore, t.NoticeAt, t.Deadline
}

func (h *Handler) newTask(e *delivery.Explanation, suspended map[string]time.Time) taskView {
	t := &e.Task
	v := taskView{
		Destination: web.Cut(t.Destination, web.MaxKept), Report: queue.OnlyReports(t.Destination),
		State: t.State.String(), Why: web.Cut(e.Why, web.MaxKept), Advice: web.Cut(e.Advice, web.MaxKept),
		HeldFor: web.Cut(queue.HeldFor(h.queue(), t), web.MaxKept),
		Since:   e.Since, Until: e.Until, Due: t.Due, Rates: newRates(e.Rates),
		Attempts: t.Attempts, Deaths: t.Deaths, Source: web.Cut(e.Source, web.MaxKept), Recipients: []recipientView{},
	}
	for _, name := range []string{t.Destination, e.Site.Name} {
		if !suspended[name].IsZero() && len(name) <= web.MaxValue {
			v.Suspended = name
		}
	}
	if e.Site.Name != "" {
		v.Site = new(newSite(&e.Site, suspended))
	}
	for i, rcpt := range t.Envelope.Recipients[:min(len(t.Envelope.Recipients), shownRecipients)] {
		rv := recipientView{Address: web.Cut(rcpt.Address, web.MaxKept)}
		if i < len(t.Last) {
			rv.last(&t.Last[i])
		}
		v.Recipients = append(v.Recipients, rv)
	}
	v.LeftOut = len(t.Envelope.Recipients) - len(v.Recipients)
	return v
}

// lastTried returns the time of the last attempt at a destination.
func lastTried(history []past, destination string) (tried time.Time) {
	for i := range history {
		if p := &history[i]; p.Attempt > 0 && p.Stage != "" && p.Destination == web.Cut(destination, maxAddress) {
			tried = p.Time
		}
	}
	return tried
}

func (v *recipientView) last(res *smtp.Result) {
	if res.Reply == nil {
		return
	}
	v.Outcome, v.Stage, v.Reason, v.Local = res.Outcome.String(), res.Stage.String(), res.Reason.String(), res.Local
	v.Reply, v.Host, v.Addr = web.Cut(res.Reply.Error(), web.MaxKept), web.Cut(res.Host, web.MaxKept),
		web.Cut(res.Addr, web.MaxKept)
	v.Source = web.Cut(res.Source, web.MaxKept)
	v.TLS, v.Policy = web.Cut(res.TLS, web.MaxKept), web.Cut(res.Policy, web.MaxKept)
}

// sourceView is the beginning of a message.
type sourceView struct {
	ID     queue.ID `json:"id"`
	Size   int64    `json:"size"`
	Source string   `json:"source"`
	Cut    bool     `json:"cut"` // there is more
}

const maxSource = 64 << 10 // octets

func (h *Handler) source(r *request) (any, error) {
	if !h.ShowSource {
		return nil, web.Fail(http.StatusNotFound, "The source of messages isn't shown: ShowSource is false.")
	}
	id := queue.ID(r.Get("id"))
	body, err := h.queue().Open(r.Context(), id)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	v := &sourceView{ID: id, Size: body.Size()}
	b, err := io.ReadAll(io.NewSectionReader(body, 0, min(v.Size, maxSource)))
	v.Source, v.Cut = string(b), v.Size > maxSource
	return v, err
}
