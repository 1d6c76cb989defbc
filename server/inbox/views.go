package inbox

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/internal/web"
	"github.com/postrider/postrider/smtp"
)

const (
	pageMessages = 50
	maxWait      = time.Minute
	maxShown     = 100     // recipients, links and findings that are shown
	maxSource    = 1 << 20 // octets of a source that are shown
)

// listView is the list of messages.
type listView struct {
	Filter   url.Values   `json:"filter"`
	Messages []messageRow `json:"messages"`
	Next     string       `json:"after,omitempty"` // the next page begins after this message; empty: it is the last one
	After    string       `json:"-"`
	Found    int          `json:"found"`   // that match
	Kept     int          `json:"kept"`    // in the Inbox
	Dropped  int          `json:"dropped"` // that made room for others
	Refused  []Refused    `json:"refused"`
	Switched []string     `json:"-"` // the switches that are on
}

// messageRow is a message in the list.
type messageRow struct {
	ID          string    `json:"id"`
	Time        time.Time `json:"time"`
	From        string    `json:"from"`
	To          []string  `json:"to"`
	Recipients  int       `json:"recipients"` // also those that aren't in To
	Subject     string    `json:"subject"`
	HeaderFrom  string    `json:"header_from"`
	Size        int64     `json:"size"`
	Attachments int       `json:"attachments"`
}

func newRow(m *Message) messageRow {
	row := messageRow{
		ID: m.ID, Time: m.Time, From: m.sender(), To: []string{}, Recipients: len(m.Envelope.Recipients),
		Subject: m.summary.subject, HeaderFrom: m.summary.from, Size: int64(len(m.Data)),
		Attachments: m.summary.attachments,
	}
	for i := range m.Envelope.Recipients[:min(len(m.Envelope.Recipients), maxShown)] {
		row.To = append(row.To, web.Cut(m.Envelope.Recipients[i].Address, web.MaxKept))
	}
	return row
}

// sender returns the reverse-path, as a Filter has it.
func (m *Message) sender() string {
	if m.Envelope.From == "" {
		return "<>"
	}
	return web.Cut(m.Envelope.From, web.MaxKept)
}

// filterFields are the parameters that select messages, in the order of the form.
var filterFields = []string{"find", "from", "to", "subject", "since"}

// list shows messages, the newest first. With wait, it waits for one.
func (in *Inbox) list(r *request) (any, error) {
	f := Filter{
		Text: r.Get("find"), From: r.Get("from"), To: r.Get("to"), Subject: r.Get("subject"), After: r.Get("since"),
	}
	if s := r.Get("wait"); s != "" {
		wait, err := time.ParseDuration(s)
		if err != nil || wait <= 0 || wait > maxWait {
			return nil, web.Bad("wait=%s: want a duration of up to %s, such as 10s.", web.Cut(s, web.MaxText), maxWait)
		}
		ctx, cancel := context.WithTimeout(r.Context(), wait)
		defer cancel()
		if _, err := in.Wait(ctx, f); err != nil {
			return nil, web.Fail(404, fmt.Sprintf("No message that matches came within %s.", span(wait)))
		}
	}
	all := in.Messages(f)
	slices.Reverse(all)
	v := &listView{
		Filter: make(url.Values), Messages: []messageRow{}, After: r.Get("after"), Found: len(all),
		Refused: append([]Refused{}, in.Refusals()...), Switched: switchedOn(in.Switches()),
	}
	for _, name := range filterFields {
		if s := r.Get(name); s != "" {
			v.Filter.Set(name, s)
		}
	}
	in.mu.Lock()
	v.Kept, v.Dropped = len(in.messages), in.dropped
	in.mu.Unlock()
	slices.Reverse(v.Refused)
	v.cut(all)
	return v, nil
}

// cut takes the messages of one page, which begins after the message After.
func (v *listView) cut(all []*Message) {
	if after, err := strconv.Atoi(v.After); err == nil {
		all = slices.DeleteFunc(all, func(m *Message) bool { return m.number >= after })
	}
	for _, m := range all {
		if len(v.Messages) == pageMessages {
			v.Next = v.Messages[pageMessages-1].ID
			break
		}
		v.Messages = append(v.Messages, newRow(m))
	}
}

// messageView is one message.
type messageView struct {
	messageRow
	Client   string  `json:"client"`
	Hello    string  `json:"hello"`
	TLS      bool    `json:"tls"`
	Username string  `json:"username,omitempty"`
	Params   string  `json:"parameters,omitempty"` // of MAIL
	Header   []Field `json:"header"`

	Text     string     `json:"text"`
	HTML     string     `json:"html"`
	Parts    []partView `json:"parts"`
	Links    []string   `json:"links"`
	Problems []string   `json:"problems"`
	Findings []string   `json:"findings"`

	View    string `json:"-"` // "text", "html", "header", "source" or "findings"
	Checked bool   `json:"-"` // there is a Preflight
	Remote  int    `json:"-"`
	More    int    `json:"-"` // links that aren't shown
	Source  string `json:"-"`
	Cut     bool   `json:"-"` // the source is longer
}

// partView is a part of a message.
type partView struct {
	Path       string `json:"part"`
	Type       string `json:"type"`
	Charset    string `json:"charset,omitempty"`
	Name       string `json:"name,omitempty"`
	ContentID  string `json:"content_id,omitempty"`
	Attachment bool   `json:"attachment"`
	Size       int64  `json:"size"` // encoded
	Encoding   string `json:"encoding,omitempty"`
}

func (v *messageView) PageTitle() string {
	if subject := web.Visible(v.Subject, web.MaxText); strings.TrimSpace(subject) != "" {
		return subject
	}
	return "Message without a subject"
}

func (in *Inbox) message(r *request) (any, error) {
	m, err := in.Message(r.Get("id"))
	if err != nil {
		return nil, err
	}
	mail := m.Read()
	v := &messageView{
		messageRow: newRow(m), Client: m.Client, Hello: m.Hello, TLS: m.TLS, Username: m.Username,
		Params: string(params(m.Envelope)), Header: mail.Header, Text: mail.Text, HTML: mail.HTML, Parts: []partView{},
		Links: []string{}, Problems: append([]string{}, mail.Problems...), Findings: in.findings(r.Context(), m),
		View: r.Get("view"), Checked: in.Preflight != nil,
	}
	for i := range mail.Parts {
		p := &mail.Parts[i]
		v.Parts = append(v.Parts, partView{
			p.Path, p.Type, p.Charset, p.Name, p.ContentID, !p.shown, int64(len(p.raw)),
			web.Cut(p.encoding, web.MaxText),
		})
	}
	if mail.HTML != "" {
		f, _ := newFrame(mail)
		v.Links, v.Remote, v.More = append(v.Links, f.Links...), f.Remote, f.dropped
	}
	switch {
	case slices.Contains([]string{"text", "html", "header", "source", "findings"}, v.View):
	case mail.HTML != "":
		v.View = "html"
	default:
		v.View = "text"
	}
	if v.View == "source" {
		v.Cut = len(m.Data) > maxSource
		v.Source = string(m.Data[:min(len(m.Data), maxSource)])
	}
	return v, nil
}

// params returns what a client asked for by MAIL.
func params(env *smtp.Envelope) (b []byte) {
	add := func(s string) { b = append(append(b, s...), ' ') }
	if env.Body != 0 {
		add("BODY=" + env.Body.String())
	}
	if env.UTF8 {
		add("SMTPUTF8")
	}
	if env.RequireTLS {
		add("REQUIRETLS")
	}
	if env.EnvID != "" {
		add("ENVID=" + web.Cut(env.EnvID, web.MaxText))
	}
	return b
}

// findings asks Preflight.
func (in *Inbox) findings(ctx context.Context, m *Message) []string {
	found := []string{}
	if in.Preflight == nil {
		return found
	}
	p := guard.Call(func() { found = append(found, in.Preflight(ctx, m.Envelope, smtp.Text(m.Data))...) })
	if p != nil {
		p.Log(ctx, guard.Logger(in.Logger), "inbox: Preflight")
		found = append(found, "Preflight panics: "+p.Error())
	}
	if more := len(found) - maxShown; more > 0 {
		found = append(found[:maxShown], fmt.Sprintf("… and %d more", more))
	}
	for i, s := range found {
		found[i] = web.Cut(s, web.MaxKept)
	}
	return found
}
