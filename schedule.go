package postrider

import (
	"fmt"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// schedule has a message obey the times and the priority that its sender asked for: HOLDFOR, BY and MT-PRIORITY. It
// replaces the envelope, which is the caller's.
func schedule(m *queue.Message, now time.Time) {
	if m.Envelope.By.Time.IsZero() && m.Envelope.Priority == 0 && m.Envelope.HoldUntil.IsZero() {
		return
	}
	env := *m.Envelope
	m.Envelope = &env
	if m.Origin.IsStranger() {
		env.Priority = min(env.Priority, 0) // a stranger's mail isn't preferred, here and at the next host
	}
	m.Priority = env.Priority
	by := &env.By.Time
	if hold := env.HoldUntil.Sub(now); hold > 0 {
		m.Postpone(env.HoldUntil)
		if !by.IsZero() {
			*by = by.Add(hold) // the time for the delivery begins when the message is released
		}
	}
	env.HoldUntil = time.Time{} // no next host has to hold it
	switch {
	case by.IsZero():
	case env.By.Return && by.Before(m.Deadline):
		m.Deadline = *by // RFC 2852 §4.1.2: it is returned then
	case !env.By.Return && env.From != "":
		m.NoticeAt = *by
	}
}

// mayAsk returns an error if a client that may not relay asks for what costs others: it could have the relay keep mail
// for long, or report at once to a sender who may be forged.
func mayAsk(p *server.Peer, env *smtp.Envelope) error {
	if !p.Allowed && (!env.By.Time.IsZero() || !env.HoldUntil.IsZero()) {
		return smtp.NewReply(550, "5.7.1", "only who may relay here may ask for a time")
	}
	return nil
}

// overBy returns the result of a recipient as it is reported. If BY has the message returned now, the result is that
// (RFC 2852 §4.1.2).
func overBy(o delivery.Occasion, result smtp.Result, now time.Time) smtp.Result {
	by := o.Task.Envelope.By
	if by.Time.IsZero() || !by.Return || !o.Expired || result.Outcome.Final() || now.Before(by.Time) {
		return result
	}
	text := "not delivered within the time that its sender has set"
	if result.Reply != nil && !result.Local {
		text += fmt.Sprintf("; the last reply was %.200s", result.Reply.Error())
	}
	result.Outcome, result.Reply, result.Local = smtp.Rejected, smtp.NewReply(554, "5.4.7", text), true
	if result.Reason == smtp.NoReason || result.Reason == smtp.Other {
		result.Reason = smtp.Expired
	}
	return result
}
