package bounce

import (
	"context"
	"errors"
	"fmt"

	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

// Wrap returns a Sender that sends a message by next, with a signed reverse-path for each recipient. It is a value for
// postrider.Relay.Wrap, and can be around a client.Submission. What signs with DKIM goes inside it.
//
// A message is sent once for each recipient, one after the other, so that a host sees as few sessions as before. If the
// first attempts of a domain show that its host can't be reached, or takes no more for now, the other recipients of
// that domain get the same Result, and aren't tried. After the end of ctx none is tried.
//
// The Results name the recipients of the message, in its order. Their DSN is false: what other hosts report goes to
// Domain, and not to the sender of the message.
//
// The Sender has a method Check, which calls that of the VERP, and that of next if it has one. It can't know whether a
// [Handler] reads the mail of Domain, since that may be in another program with the same Keys. Without one, bounces are
// refused or lost: send a message to an unknown address, and see that its Event comes.
//
// If the VERP has a mistake in its fields, or next is nil, messages are Deferred.
func (v *VERP) Wrap(next smtp.Sender) smtp.Sender { return &verpSender{v, next} }

var errNoNext = errors.New("bounce: VERP.Wrap: the Sender is nil: set it to the one that sends")

type verpSender struct {
	verp *VERP
	next smtp.Sender
}

// Check is called by postrider.Relay.Check.
func (s *verpSender) Check(ctx context.Context) error {
	if err := s.verp.Check(); err != nil {
		return err
	}
	if s.next == nil {
		return errNoNext
	}
	if next, ok := s.next.(interface{ Check(context.Context) error }); ok {
		return next.Check(ctx)
	}
	return nil
}

// Send implements smtp.Sender.
func (s *verpSender) Send(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
	if s.verp == nil || s.next == nil {
		return nil, s.Check(ctx)
	}
	if env == nil || env.From == "" || !s.applies(ctx, env) { // RFC 5321 §4.5.5: nothing answers a report
		return s.next.Send(ctx, env, c)
	}
	results := make([]smtp.Result, len(env.Recipients))
	stopped := make(map[string]smtp.Result) // by domain
	var fault error
	for i, rcpt := range env.Recipients {
		_, domain := smtp.SplitAddress(canonical(rcpt.Address))
		result, over := stopped[domain]
		if !over {
			var err error
			if result, err = s.sendTo(ctx, env, rcpt, c); err != nil && fault == nil {
				fault = err
			}
			if stops(&result) {
				stopped[domain] = result
			}
		}
		result.Recipient, result.DSN = rcpt.Address, false
		results[i] = result
	}
	return results, fault
}

// stops reports whether another message to the same hosts would have the same Result now. The rate of one recipient, or
// of one message, stops nobody else.
func stops(r *smtp.Result) bool {
	switch {
	case r.Outcome == smtp.Deferred && r.Stage < smtp.StageMail:
		return true
	case r.Outcome == smtp.Deferred && r.Reason == smtp.RateLimited:
		scope := replies.Classify(r.Reply, r.Stage, r.Host).Scope
		return scope != replies.Recipient && scope != replies.Message
	}
	return r.Outcome == smtp.Rejected && r.Stage < smtp.StageMail && r.Reason == smtp.HostUnknown
}

func (s *verpSender) applies(ctx context.Context, env *smtp.Envelope) bool {
	if s.verp.Applies != nil {
		return s.verp.Applies(ctx, env)
	}
	job, queued := smtp.JobOf(ctx)
	return !queued || job.Origin == smtp.OriginCode
}

// sendTo sends the message to one recipient. The error is for logs.
func (s *verpSender) sendTo(ctx context.Context, env *smtp.Envelope, rcpt smtp.Recipient, c smtp.Content) (
	smtp.Result, error,
) {
	one := *env
	one.Recipients = []smtp.Recipient{rcpt}
	one.Recipients[0].Notify = s.verp.Notify
	if s.verp.Notify == 0 {
		one.Recipients[0].Notify = smtp.NotifyFailure
	}
	var (
		results []smtp.Result
		err     = ctx.Err()
	)
	if err == nil {
		job, _ := smtp.JobOf(ctx)
		one.From, err = s.verp.Address(Sent{ID: job.ID, Tenant: job.Tenant, Ref: job.Ref, Recipient: rcpt.Address})
	}
	if err == nil {
		results, err = s.next.Send(ctx, &one, c)
	}
	check := smtp.Envelope{Recipients: []smtp.Recipient{rcpt}} // next may have changed its own
	complete, _ := smtp.Complete(&check, results, err)
	if err != nil {
		err = fmt.Errorf("to %s: %w", rcpt.Address, err)
	}
	return complete[0], err
}
