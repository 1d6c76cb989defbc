package suppress

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

// Wrap returns a Sender that asks the List before it sends by next, and learns from the results. A suppressed recipient
// is Rejected without an attempt: see [Entry.Result]. If the List can't be asked, the recipient is Deferred. What signs
// or splits messages goes inside it. Relay.Suppress wraps so.
//
// Mail of strangers (see smtp.Origin.IsStranger) and reports, which have the null reverse-path, go to next as they are:
// the first is for users of ours, and the second answers what the recipient has sent.
//
// The Sender has a method Check, which calls that of the Policy, and that of next if it has one.
func (p *Policy) Wrap(next smtp.Sender) smtp.Sender { return &sender{p, next} }

type sender struct {
	policy *Policy
	next   smtp.Sender
}

// Check is called by postrider.Relay.Check.
func (s *sender) Check(ctx context.Context) error {
	if err := s.policy.Check(); err != nil {
		return err
	}
	if s.next == nil {
		return errors.New("suppress: Policy.Wrap: the Sender is nil: set it to the one that sends")
	}
	if next, ok := s.next.(interface{ Check(context.Context) error }); ok {
		return next.Check(ctx)
	}
	return nil
}

// Send implements smtp.Sender.
func (s *sender) Send(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
	if s.policy == nil || s.next == nil {
		return nil, s.Check(ctx)
	}
	job, queued := smtp.JobOf(ctx)
	stranger := queued && job.Origin.IsStranger()
	if env == nil || env.From == "" || stranger {
		return s.next.Send(ctx, env, c)
	}
	results := make([]smtp.Result, len(env.Recipients))
	open := *env // with the recipients that aren't suppressed
	open.Recipients = nil
	var place []int // of each of open.Recipients in env
	var fault error
	for i, rcpt := range env.Recipients {
		e, err := s.policy.Refuse(ctx, job.Tenant, rcpt.Address)
		switch {
		case err != nil && smtp.CheckAddress(rcpt.Address) == nil:
			s.failed(ctx, &job, rcpt.Address, err)
			fault = err
			results[i] = smtp.Result{Recipient: rcpt.Address, Stage: smtp.StageRoute, Local: true, Reason: smtp.Other,
				Reply: smtp.NewReply(451, "4.3.0", "the list of suppressed addresses can't be read")}
		case e != nil:
			results[i] = e.Result(rcpt.Address)
		default:
			open.Recipients, place = append(open.Recipients, rcpt), append(place, i)
		}
	}
	if len(place) == 0 {
		return results, fault
	}
	given := open // a copy: a Sender that changes it must not change whom the results are about
	given.Recipients = slices.Clone(open.Recipients)
	sent, err := s.next.Send(ctx, &given, c)
	complete, _ := smtp.Complete(&open, sent, err)
	var defaults *replies.Classifier
	complete = defaults.Complete(complete)
	for n, r := range complete {
		r.Recipient = open.Recipients[n].Address // a Sender may have rewritten it
		results[place[n]] = r
		if isShared(complete, n) {
			continue
		}
		var err error
		if p := guard.Call(func() { err = s.policy.Result(ctx, job, r) }); p != nil {
			err = p
		}
		if err != nil {
			s.failed(ctx, &job, r.Recipient, err) // what was sent is sent
		}
	}
	if err == nil {
		err = fault
	}
	return results, err
}

// isShared reports whether the result with number n is a Hard refusal at DATA or later that another recipient has, too.
// Such a reply is to the message, and doesn't say which of its recipients is dead.
func isShared(results []smtp.Result, n int) bool {
	r := &results[n]
	if r.Outcome != smtp.Rejected || !r.Reason.Hard() || r.Stage < smtp.StageData || r.Local || r.Reply == nil {
		return false
	}
	for i := range results {
		other := &results[i]
		if i != n && other.Stage == r.Stage && other.Reply != nil && other.Reply.Error() == r.Reply.Error() {
			return true
		}
	}
	return false
}

func (s *sender) failed(ctx context.Context, job *smtp.Job, recipient string, err error) {
	s.policy.logger().LogAttrs(ctx, slog.LevelError, "the list of suppressed addresses failed",
		slog.String("to", recipient), slog.String("id", job.ID), slog.Any("err", err))
}
