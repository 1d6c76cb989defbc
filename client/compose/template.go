package compose

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"io"
	"iter"
	"net/mail"
	"strings"
	"sync"
	texttemplate "text/template"

	"github.com/postrider/postrider/smtp"
)

// Template makes a mail for each of many recipients. The templates are executed with a [View]:
//
//	issue := &compose.Template{
//		Message: compose.Message{From: from, Subject: "Issue 7", ListID: "weekly.news.example", Unsubscribe: unsub},
//		HTML: template.Must(template.New("").Parse(`<p>Hello {{.Data.Name}}! <a href="{{.Unsubscribe}}">Stop</a>`)),
//	}
//	err := issue.Send(ctx, submission, subscribers, func(r compose.Recipient, result smtp.Result, err error) { … })
//
// The fields must not change while a method runs.
type Template struct {
	// Message has what is the same for all. Its To, Cc, Bcc, MessageID must be empty. A File with a Reader must be a
	// smtp.Content. If Date is zero, it is the time at which each mail is composed.
	Message Message

	// Subject, Text and HTML replace those of Message. If nil, those of Message are used.
	Subject *texttemplate.Template
	Text    *texttemplate.Template
	HTML    *htmltemplate.Template

	// MaxText bounds the result of each template, in octets. If zero, 1 MiB.
	MaxText int

	// Concurrency is how many mails are composed and sent at a time by Send. If zero, 3, as a client.Submission has so
	// many sessions.
	Concurrency int
}

// Recipient is one recipient of a Template.
type Recipient struct {
	To   mail.Address
	Data any // for the templates
}

// View is the data that a template is executed with.
type View struct {
	Recipient
	Unsubscribe string // the link, if Message.Unsubscribe is set
}

const (
	defaultMaxText     = 1 << 20
	defaultConcurrency = 3
)

// Check returns an error for the first field that is wrong, as far as it is the same for all recipients.
func (t *Template) Check() error {
	if err := t.check(); err != nil {
		return fmt.Errorf("compose: Template.%w", err)
	}
	return nil
}

func (t *Template) check() error {
	m := &t.Message
	switch {
	case len(m.To)+len(m.Cc)+len(m.Bcc) > 0:
		return errors.New("Message has recipients: pass them to Send or Compose")
	case m.MessageID != "":
		return errors.New("Message.MessageID is set: no two mails may have the same one")
	case t.MaxText < 0:
		return fmt.Errorf("MaxText is %d: set it to at least 1, or to 0 for 1 MiB", t.MaxText)
	case t.Concurrency < 0:
		return fmt.Errorf("Concurrency is %d: set it to at least 1, or to 0 for %d", t.Concurrency, defaultConcurrency)
	}
	for field, files := range map[string][]File{"Attachments": m.Attachments, "Inline": m.Inline} {
		for i, f := range files {
			if _, ok := f.Reader.(smtp.Content); f.Reader != nil && !ok {
				return fmt.Errorf("Message.%s[%d].Reader can be read once: use a bytes.Reader, or FS", field, i)
			}
		}
	}
	sample := *m
	sample.To = []mail.Address{{Address: "somebody@example.com"}}
	if t.HTML != nil {
		sample.HTML = "set" // so that Inline may be
	}
	if err := sample.check(); err != nil {
		return fmt.Errorf("Message.%w", err)
	}
	return nil
}

// Compose makes the mail for one recipient, as [Message.Compose] does.
func (t *Template) Compose(r Recipient) (*smtp.Envelope, *Content, error) {
	if err := t.Check(); err != nil {
		return nil, nil, err
	}
	return t.compose(r)
}

func (t *Template) compose(r Recipient) (*smtp.Envelope, *Content, error) {
	m := t.Message
	m.To = []mail.Address{r.To}
	err := m.checkAddresses() // before Link, whose error would be about a Subscription
	if err != nil {
		return nil, nil, fmt.Errorf("compose: Message.%w", err)
	}
	view := View{Recipient: r}
	if m.Unsubscribe != nil {
		if view.Unsubscribe, err = m.Unsubscribe.Link(Subscription{r.To.Address, m.ListID}); err != nil {
			return nil, nil, err
		}
	}
	if t.Subject != nil {
		m.Subject, err = t.execute("Subject", t.Subject, view)
	}
	if t.Text != nil && err == nil {
		m.Text, err = t.execute("Text", t.Text, view)
	}
	if t.HTML != nil && err == nil {
		m.HTML, err = t.execute("HTML", t.HTML, view)
	}
	if err != nil {
		return nil, nil, err
	}
	return m.Compose()
}

// execute returns the result of a template.
func (t *Template) execute(field string, e interface{ Execute(io.Writer, any) error }, view View) (string, error) {
	b := bounded{max: cmp.Or(t.MaxText, defaultMaxText)}
	if err := e.Execute(&b, view); err != nil {
		return "", fmt.Errorf("compose: Template.%s: %w", field, err)
	}
	return b.String(), nil
}

// bounded is a Builder for so many octets.
type bounded struct {
	strings.Builder
	max int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.max {
		return 0, fmt.Errorf("the result has more than %d octets", b.max)
	}
	return b.Builder.Write(p)
}

// Send composes a mail for each recipient and sends it by s: a client.Submission, or a smtp.SenderFunc that puts it
// into a queue. It holds as many mails at a time as Concurrency, and reads recipients as they are needed.
//
// done is called once for each recipient, in the order in which the sending ends. err is the cause of a failure, for
// logs. A mail that can't be composed has a Result that is Rejected and Local; err names the field or the file. When
// ctx ends, the recipients that are left get a Result that is Deferred. If s panics, the Result is Unknown. The
// sequence and done are called in the goroutine of the caller. Send returns after all its goroutines.
//
// The error is that of Check, and then nothing was sent, or that of ctx.
func (t *Template) Send(ctx context.Context, s smtp.Sender, recipients iter.Seq[Recipient],
	done func(r Recipient, result smtp.Result, err error)) error {
	if err := t.Check(); err != nil {
		return err
	}
	if s == nil || recipients == nil || done == nil {
		return errors.New("compose: Template.Send: the Sender, recipients or done is nil")
	}
	waiting := make(chan Recipient)
	results := make(chan sent)
	var group sync.WaitGroup
	for range cmp.Or(t.Concurrency, defaultConcurrency) {
		group.Go(func() {
			for r := range waiting {
				results <- t.send(ctx, s, r)
			}
		})
	}
	pending := 0
	take := func(r sent) {
		pending--
		done(r.Recipient, r.result, r.err)
	}
	defer func() { // also after a panic of done or recipients
		close(waiting)
		go func() { group.Wait(); close(results) }()
		for range results {
		}
	}()
	for r := range recipients {
		for queued := false; !queued; {
			select {
			case waiting <- r:
				queued = true
				pending++
			case result := <-results:
				take(result)
			}
		}
	}
	for pending > 0 {
		take(<-results)
	}
	return ctx.Err()
}

// sent is the result for one recipient.
type sent struct {
	Recipient
	result smtp.Result
	err    error
}

func (t *Template) send(ctx context.Context, s smtp.Sender, r Recipient) (out sent) {
	out.Recipient = r
	out.result = smtp.Result{Recipient: r.To.Address, Local: true, Stage: smtp.StageRoute, Reason: smtp.Other}
	if out.err = ctx.Err(); out.err != nil {
		out.result.Outcome, out.result.Reply = smtp.Deferred, smtp.NewReply(451, "4.4.7", "the sending was called off")
		return out
	}
	out.result.Outcome = smtp.Rejected
	out.result.Reply = smtp.NewReply(554, "5.6.0", "the mail couldn't be composed")
	defer func() {
		if v := recover(); v != nil {
			out.err = fmt.Errorf("compose: Template.Send: a panic: %v", v)
		}
	}()
	env, content, err := t.compose(r)
	if err != nil {
		out.err = err
		return out
	}
	defer content.Close()
	out.result.Outcome = smtp.Unknown // if s panics
	out.result.Reply = smtp.NewReply(451, "4.3.0", "the sending panicked")
	results, err := s.Send(ctx, env, content)
	complete, _ := smtp.Complete(env, results, err)
	out.result, out.err = complete[0], err
	return out
}
