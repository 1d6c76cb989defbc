package postrider

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/bounce"
	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/internal/header"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
)

// Reporter composes the reports for a delivery.Runner that works without a Relay, by package bounce:
//
//	reporter := &postrider.Reporter{Hostname: "mx1.example.com"}
//	runner := &delivery.Runner{Queue: q, Sender: sender, Report: reporter.Report}
//
// Without a Report in the Runner, there are no reports. A Relay has a Reporter of its own. Hostname must be set: call
// Check at the start, since a wrong Hostname fails each report. The fields must not change after the first call of
// Report, which may be called concurrently.
type Reporter struct {
	// Hostname is this machine's name in the DNS, or an address literal. Reports come from its postmaster, who must
	// exist: answers go there.
	Hostname string

	// Destination returns the name under which the Queue has the mail of a domain. If nil, it is the domain as an
	// A-label.
	Destination func(domain string) (string, error)

	// MaxAge is how long a report is tried. If zero, 5 days.
	MaxAge time.Duration

	// Texts returns the sentences of a report to an address. smtp.JobOf(ctx) has the ID, Ref, Tenant, Origin and
	// FromDomain of the message that it is about. If Texts or its result is nil, they are those of bounce.English.
	Texts func(ctx context.Context, to string) *bounce.Texts

	// DeadLetter is called for a report that can't be queued, because the domain of its address is impossible or its
	// route refuses it. An error is one of Report, which is called again. Set DeadLetter of the Runner to the same
	// func, for the reports that fail later. If nil, only the log has it.
	DeadLetter func(ctx context.Context, o delivery.Occasion) error

	// Logger gets a line for a report that lacks the original message, or that can't be queued. If nil, nothing is
	// logged.
	Logger *slog.Logger

	// hide returns a recipient as a stranger may know it. nil: all may know all.
	hide func(smtp.Recipient) smtp.Recipient
}

// Check returns an error for the first field that is wrong.
func (r *Reporter) Check() error {
	domain, err := smtp.ASCIIDomain(r.Hostname)
	if err == nil {
		err = smtp.CheckAddress("postmaster@" + domain)
	}
	switch {
	case r.Hostname == "":
		return errors.New("relay: Reporter.Hostname is empty: set it to this machine's name in the DNS")
	case err != nil:
		return fmt.Errorf("relay: Reporter.Hostname %q: %w: set it to this machine's name in the DNS", r.Hostname, err)
	case r.MaxAge < 0:
		return fmt.Errorf("relay: Reporter.MaxAge is %v: it must be positive, or zero for 5 days", r.MaxAge)
	}
	return nil
}

// Report composes the report that the sender is owed after an attempt: at most one, about all recipients of the task
// that something happened to. It is a value for delivery.Runner.Report.
func (r *Reporter) Report(ctx context.Context, o delivery.Occasion) ([]queue.Message, error) {
	if o.Task.Envelope == nil {
		return nil, errors.New("relay: Reporter.Report: the task of the Occasion has no Envelope")
	}
	now := time.Now()
	stranger := o.Task.Origin.IsStranger()
	report := bounce.Report{
		ReportingMTA: r.Hostname,
		Envelope:     o.Task.Envelope,
		Arrival:      o.Task.Arrival,
		Date:         now,
		Original:     o.Content,
		Stranger:     stranger,
	}
	for i, rcpt := range o.Task.Envelope.Recipients {
		kind := o.Kind(i)
		if kind == "" {
			continue
		}
		if stranger && r.hide != nil {
			rcpt = r.hide(rcpt)
		}
		to := bounce.Recipient{
			Recipient: rcpt, Action: actionOf(kind), Result: overBy(o, o.Results[i], now),
			WillRetryUntil: o.Task.Deadline,
		}
		if to.Action == bounce.Relayed {
			to.Notify |= smtp.NotifySuccess // BY may ask for it as well (RFC 2852 §4.1.4)
		}
		if !o.Untried && to.Result.Outcome.Final() { // else the attempt may have been long ago
			to.LastAttempt = now
		}
		if stranger && slices.ContainsFunc(report.Recipients, func(other bounce.Recipient) bool {
			return other.Address == to.Address && other.Action == to.Action
		}) {
			continue // another member of the same alias
		}
		report.Recipients = append(report.Recipients, to)
	}
	if len(report.Recipients) == 0 {
		return nil, nil
	}
	m, err := r.compose(ctx, &report, &o.Task)
	if err != nil || m == nil {
		return nil, err
	}
	return []queue.Message{*m}, nil
}

// actionOf returns the Action of a kind of delivery.Occasion.
func actionOf(kind string) bounce.Action {
	action := bounce.Failed
	for action.String() != kind && action < bounce.Expanded {
		action++
	}
	return action
}

// compose returns a report as the Queue stores it. It returns nil if none is wanted or, after DeadLetter has it, if it
// can't be queued.
func (r *Reporter) compose(ctx context.Context, report *bounce.Report, about *queue.Task) (*queue.Message, error) {
	log := guard.Logger(r.Logger)
	report.Texts = r.texts(ctx, about)
	report.RequireTLS = report.Envelope.RequireTLS
	env, content, err := report.Compose()
	if err != nil && !errors.Is(err, bounce.ErrUnwanted) { // the original can't be read: report without it
		log.LogAttrs(ctx, slog.LevelWarn, "report without the original message",
			appendOwner(about.Ref, about.Tenant, slog.String("about", string(about.ID)), slog.Any("err", err))...)
		report.Original = smtp.Text("")
		env, content, err = report.Compose()
	}
	if errors.Is(err, bounce.ErrUnwanted) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	// RFC 8689 §5, §6: a report goes as its message went.
	optional := report.Envelope.TLSOptional && !report.RequireTLS
	if env.RequireTLS, env.TLSOptional = report.RequireTLS, optional; optional {
		content = header.OnTop("TLS-Required: No\r\n", content)
	}
	m, err := r.message(env)
	if err != nil { // there is nobody to report to
		log.LogAttrs(ctx, slog.LevelWarn, "report not sent", appendOwner(about.Ref, about.Tenant,
			slog.String("to", env.Recipients[0].Address), slog.String("about", string(about.ID)),
			slog.Any("err", err))...)
		return nil, r.deadLetter(ctx, env, content, about, err)
	}
	m.Body, m.Tenant, m.About = smtp.NewReader(content), about.Tenant, about.ID
	return m, nil
}

// texts calls Texts. A panic of it is logged.
func (r *Reporter) texts(ctx context.Context, about *queue.Task) (texts *bounce.Texts) {
	if r.Texts == nil {
		return nil
	}
	ctx = smtp.WithJob(ctx, smtp.Job{
		ID: string(about.ID), Ref: about.Ref, Tenant: about.Tenant, Origin: about.Origin, From: about.Envelope.From,
		FromDomain: about.FromDomain, Attempt: about.Attempts,
	})
	if p := guard.Call(func() { texts = r.Texts(ctx, about.Envelope.From) }); p != nil {
		p.Log(ctx, guard.Logger(r.Logger), "Texts", slog.String("about", string(about.ID)))
	}
	return texts
}

// message returns a report with its destination and times, and without a Body.
func (r *Reporter) message(env *smtp.Envelope) (*queue.Message, error) {
	find := r.Destination
	if find == nil {
		find = new(mx.Router).Destination
	}
	address := env.Recipients[0].Address
	_, domain := smtp.SplitAddress(address)
	destination, err := find(domain)
	reply, ok := errors.AsType[*smtp.Reply](err)
	if ok && reply.Temporary() && destination != "" {
		err = nil // a route that refuses it for now; a report waits for it
	}
	if err != nil {
		return nil, fmt.Errorf("recipient %s: %w", address, err)
	}
	age := r.MaxAge
	if age <= 0 {
		age = defaultMaxAge
	}
	m := &queue.Message{
		Envelope: env, Destinations: []string{destination}, Deadline: time.Now().Add(age), Origin: smtp.OriginCode,
	}
	if !strings.HasPrefix(r.Hostname, "[") {
		m.FromDomain = r.Hostname // its author is the postmaster there
	}
	return m, nil
}

// deadLetter passes on a report that can't be queued.
func (r *Reporter) deadLetter(
	ctx context.Context, env *smtp.Envelope, content smtp.Content, about *queue.Task, cause error,
) error {
	if r.DeadLetter == nil {
		return nil
	}
	reply, ok := errors.AsType[*smtp.Reply](cause)
	if !ok {
		reply = smtp.NewReply(550, "5.1.2", cause.Error()) // RFC 3463 §3.2: bad destination system address
	}
	o := delivery.Occasion{
		Task: queue.Task{
			Envelope: env, Tenant: about.Tenant, Origin: smtp.OriginCode, About: about.ID, Arrival: time.Now(),
			Size: content.Size(),
		},
		Results: []smtp.Result{{
			Recipient: env.Recipients[0].Address, Outcome: smtp.Rejected, Stage: smtp.StageRoute,
			Reply: reply, Local: true, Reason: smtp.HostUnknown,
		}},
		Untried: true, Content: content,
	}
	return r.DeadLetter(ctx, o)
}

// withoutMember returns a recipient of a stranger's mail as the stranger knows it: of a member of an alias of ours, the
// alias, which is its ORCPT.
func (r *Relay) withoutMember(rcpt smtp.Recipient) smtp.Recipient {
	kind, address, _ := strings.Cut(rcpt.ORCPT, ";")
	if !strings.EqualFold(kind, "rfc822") && !strings.EqualFold(kind, "utf-8") {
		return rcpt
	}
	if _, domain := smtp.SplitAddress(address); r.isPostmaster(address) || r.isOurs(domain) {
		rcpt.Address = address
	}
	return rcpt
}
