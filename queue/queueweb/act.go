package queueweb

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/web"
	"github.com/postrider/postrider/queue"
)

// action is what a user can do. It has a filter, or the name of a destination or a site, or one of both.
type action struct {
	Name    string
	Verb    string // of the button
	Warning string
	state   queue.State // of the messages that it changes and counts by a filter; 0: any
	hasText bool        // it uses the parameter text

	messages func(h *Handler, ctx context.Context, f queue.Filter, r *request) (effect, error) // nil: it has a name
	named    func(h *Handler, ctx context.Context, name string, r *request) (effect, error)    // nil: it has a filter
	past     string                                                                            // "were held"
}

// Takes reports whether the action is for messages in this state, "" for any.
func (a *action) Takes(state string) bool {
	return a.state == 0 || state == "" || state == a.state.String()
}

// effect is what an action has done.
type effect struct {
	Messages int  `json:"messages"`
	Tasks    int  `json:"tasks"`
	Sites    int  `json:"sites"`
	Known    bool `json:"known"` // the name has mail
}

var actions = []*action{
	{Name: "hold", Verb: "Hold", past: "held", hasText: true,
		Warning: "Held messages are neither sent nor returned until they are released.",
		messages: func(h *Handler, ctx context.Context, f queue.Filter, r *request) (effect, error) {
			return onMessages(h.Runner.HoldFor(ctx, f, oneLine(r.Get("text"))))
		}},
	{Name: "release", Verb: "Release", past: "released", state: queue.Held,
		Warning: "Messages that became due meanwhile are sent at once.",
		messages: func(h *Handler, ctx context.Context, f queue.Filter, _ *request) (effect, error) {
			return onMessages(h.Runner.Release(ctx, f))
		}},
	{Name: "flush", Verb: "Flush", state: queue.Waiting,
		Warning: "Deferred mail is tried now. Limits, rates and suspensions go on.",
		messages: func(h *Handler, ctx context.Context, f queue.Filter, _ *request) (e effect, err error) {
			e.Messages, e.Sites, err = h.Runner.FlushMessages(ctx, f)
			return e, err
		},
		named: func(h *Handler, ctx context.Context, name string, _ *request) (e effect, err error) {
			e.Tasks, e.Sites, err = h.Runner.Flush(ctx, name)
			return e, err
		}},
	{Name: "cancel", Verb: "Cancel", past: "cancelled", hasText: true,
		Warning: "The messages leave the queue, and each is returned to its sender. This can't be undone.",
		messages: func(h *Handler, ctx context.Context, f queue.Filter, r *request) (effect, error) {
			return onMessages(h.Runner.Cancel(ctx, f, cancelText(r.Get("text"))))
		}},
	{Name: "purge", Verb: "Purge", past: "purged",
		Warning: "The messages leave the queue, and nobody is told. This can't be undone.",
		messages: func(h *Handler, ctx context.Context, f queue.Filter, _ *request) (effect, error) {
			return onMessages(h.Runner.Purge(ctx, f))
		}},
	{Name: "suspend", Verb: "Suspend", Warning: "The relay of this page sends nothing there until that time, or " +
		"until its process ends. Other relays with the same queue go on: suspend there, too, or hold the mail.",
		named: func(h *Handler, _ context.Context, name string, r *request) (e effect, err error) {
			until, err := r.after("until")
			if err == nil {
				e.Known = h.Runner.Suspend(until, name) > 0
			}
			return e, err
		}},
	{Name: "resume", Verb: "Resume", Warning: "The relay of this page sends mail there again.",
		named: func(h *Handler, _ context.Context, name string, r *request) (effect, error) {
			return effect{Known: h.Runner.Suspend(time.Time{}, name) > 0}, nil
		}},
}

func onMessages(messages int, err error) (effect, error) { return effect{Messages: messages}, err }

// messageActions are those that can have a filter.
func messageActions() []*action {
	return slices.DeleteFunc(slices.Clone(actions), func(a *action) bool { return a.messages == nil })
}

func actionNames() string {
	var names []string
	for _, a := range actions {
		names = append(names, a.Name)
	}
	return strings.Join(names, ", ")
}

// oneLine bounds a text that is stored or sent, and makes it one line.
func oneLine(s string) string {
	const most = 200
	return web.Visible(strings.Join(strings.Fields(s), " "), most)
}

// cancelText is the text that a cancelled message is returned with.
func cancelText(s string) string { return cmp.Or(oneLine(s), "cancelled by the postmaster") }

// actView is a confirmation page, or what an action has done.
type actView struct {
	Action *action    `json:"-"`
	Do     string     `json:"action"` // its name
	Filter url.Values `json:"filter,omitempty"`
	Name   string     `json:"name,omitempty"`
	All    bool       `json:"all,omitempty"`

	// Reasoned reports whether the queue keeps the reason of a hold.
	Reasoned bool `json:"-"`

	Selected *selected `json:"selected,omitempty"` // for a confirmation
	Done     *effect   `json:"done,omitempty"`     // after the action
	Result   string    `json:"result,omitempty"`   // the same in words
}

// selected are the messages that an action would affect now.
type selected struct {
	Messages int         `json:"messages"`
	More     bool        `json:"more"` // than Messages
	First    *messageRow `json:"first,omitempty"`
	Failed   string      `json:"error,omitempty"` // why they aren't counted
}

func (v *actView) PageTitle() string { return v.Action.Verb }

// maxAffected is how many messages are counted for a confirmation, and countTime how long.
const (
	maxAffected = 1000
	countTime   = 20 * time.Millisecond
)

func (h *Handler) act(r *request) (any, error) {
	i := slices.IndexFunc(actions, func(a *action) bool { return a.Name == r.Get("do") })
	if i < 0 {
		return nil, web.Bad("do=%s: there is no such action. The actions are %s.",
			web.Cut(r.Get("do"), web.MaxText), actionNames())
	}
	v := &actView{Action: actions[i], Do: actions[i].Name, Name: r.Get("name"), All: r.Get("all") == "true"}
	f, given, err := r.filter()
	if err != nil {
		return nil, err
	}
	v.Filter = given
	byName, byFilter := v.Action.named != nil, v.Action.messages != nil
	switch {
	case !byFilter && len(given) > 0:
		return nil, web.Bad("%s has a name and no filter.", v.Action.Verb)
	case !byName && v.Name != "":
		return nil, web.Bad("%s has a filter and no name.", v.Action.Verb)
	case v.Name != "" && len(given) > 0:
		return nil, web.Bad("Give a filter or a name, and not both.")
	case !byFilter && v.Name == "":
		return nil, web.Bad("The name is empty: give that of a destination or a site.")
	case r.Get("all") != "" && !v.All, v.All == (len(given) > 0 || v.Name != ""):
		return nil, web.Bad("Select some messages or give a name, or select all with all=true, and not both.")
	case v.Name != "":
		f.Destination = v.Name
		v.Filter.Set("destination", v.Name)
	case !v.Action.Takes(r.Get("state")):
		return nil, web.Bad("%s is for mail that is %v, and state=%v selects other mail.",
			v.Action.Verb, v.Action.state, f.State)
	case v.Action.state != 0:
		f.State = v.Action.state
	}
	if r.Method == http.MethodPost {
		return v, h.perform(r, v, f)
	}
	v.Selected = h.foresee(r, f)
	_, v.Reasoned = h.queue().(queue.ReasonHolder)
	return v, nil
}

// foresee counts what an action would affect. An error is shown: the action may still be possible.
func (h *Handler) foresee(r *request, f queue.Filter) *selected {
	s := new(selected)
	ctx, cancel := context.WithTimeout(r.Context(), searchTime)
	defer cancel()
	var last queue.ID
	begun := time.Now()
	for t, err := range h.list(ctx, f) {
		switch {
		case err != nil:
			s.Failed = web.Cut(err.Error(), web.MaxLong)
			return s
		case t.ID == last:
			continue
		case s.Messages == maxAffected, s.Messages > 0 && time.Since(begun) > countTime:
			s.More = true
			return s
		}
		if s.Messages++; s.First == nil {
			s.First = new(h.newRow(&t))
		}
		last = t.ID
	}
	return s
}

// partly is the error of an action that has affected some messages before it failed.
type partly struct {
	messages int
	err      error
}

func (p *partly) Error() string { return fmt.Sprintf("%v (after %d messages)", p.err, p.messages) }
func (p *partly) Unwrap() error { return p.err }

// perform acts, and logs who did what.
func (h *Handler) perform(r *request, v *actView, f queue.Filter) (err error) {
	var e effect
	if a := v.Action; a.named == nil || a.messages != nil && v.Name == "" && !v.All {
		e, err = a.messages(h, r.Context(), f, r)
		if v.Result = flushed(&e); a.past != "" {
			v.Result = fmt.Sprintf("%s %s.", web.Plural(e.Messages, "message was", "messages were"), a.past)
		}
		if err != nil {
			err = &partly{e.Messages, err}
		}
	} else {
		e, err = a.named(h, r.Context(), v.Name, r)
		v.Result = resultOf(v.Do, web.Visible(v.Name, web.MaxText), &e)
	}
	v.Done = &e
	level := slog.LevelInfo
	attrs := []slog.Attr{slog.String("user", r.User), slog.String("remote", r.RemoteAddr),
		slog.String("filter", v.Filter.Encode()), slog.Int("messages", e.Messages), slog.Int("tasks", e.Tasks)}
	if text := oneLine(r.Get("text")); v.Action.hasText && text != "" {
		attrs = append(attrs, slog.String("text", text))
	}
	if err != nil {
		level, attrs = slog.LevelWarn, append(attrs, slog.Any("err", err))
	}
	h.logger().LogAttrs(r.Context(), level, "queueweb: "+v.Do, attrs...)
	return err
}

// flushed says what a flush of some messages has done.
func flushed(e *effect) string {
	if e.Messages+e.Sites == 0 {
		return "None of this mail waits for another attempt, so nothing was changed."
	}
	return fmt.Sprintf("%s due now, and %s.", web.Plural(e.Messages, "message is", "messages are"), probed(e))
}

func probed(e *effect) string {
	return web.Plural(e.Sites, "site that was down is", "sites that were down are") + " probed"
}

func resultOf(name, destination string, e *effect) string {
	switch {
	case name == "flush" && e.Tasks+e.Sites == 0:
		return "No deferred mail waits there, so nothing was changed."
	case name == "flush":
		return fmt.Sprintf("%s due now, and %s.", web.Plural(e.Tasks, "task is", "tasks are"), probed(e))
	case name == "resume":
		return "Mail for " + destination + " is sent again by the relay of this page."
	case !e.Known:
		return destination + " is suspended at the relay of this page. It has no mail now: if it should have some, " +
			"look at the spelling."
	}
	return destination + " is suspended at the relay of this page."
}

// after reads a time in the future, or a duration from now.
func (r *request) after(name string) (time.Time, error) {
	s := r.Get(name)
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		var d time.Duration
		d, err = time.ParseDuration(s)
		t = r.now.Add(d)
	}
	if err != nil || !t.After(r.now) {
		return t, web.Bad("%s=%s: want a positive duration such as 4h, or a time in the future such as "+
			"2026-01-31T12:00:00Z.", name, web.Cut(s, web.MaxText))
	}
	return t, nil
}
