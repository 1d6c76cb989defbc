package delivery

import (
	"time"

	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

// advHost is what one address of a host does with a session and a message: how long it takes to each stage, and what it
// says there. The rest is as client.Transport has it, with the defaults of client.Timeouts.
type advHost struct {
	takes [smtp.StageFinal + 1]time.Duration // to the end of each stage; of StageRcpt for each recipient
	at    smtp.Stage                         // where it says reply, if that isn't nil
	reply *smtp.Reply
	rcpts int   // recipients of the message; zero: one
	size  int64 // of the message, in octets
}

// advTalk is one attempt: a Send.
type advTalk struct {
	toMail  time.Duration // when MAIL is sent; without one, as takes
	takes   time.Duration
	results []smtp.Result
}

// The defaults of client.Timeouts.
const (
	advAttempt = 10 * time.Minute // after it, no further address is tried
	advRate    = 1024             // octets a second
)

var advLimits = [smtp.StageFinal + 1]time.Duration{
	smtp.StageConnect:  30 * time.Second,
	smtp.StageGreeting: 5 * time.Minute,
	smtp.StageHello:    5 * time.Minute,
	smtp.StageTLS:      10 * time.Minute, // STARTTLS and the handshake
	smtp.StageAuth:     5 * time.Minute,
	smtp.StageMail:     5 * time.Minute,
	smtp.StageRcpt:     5 * time.Minute,
	smtp.StageData:     2 * time.Minute,
	smtp.StageBody:     3 * time.Minute, // and the time that the size has
	smtp.StageFinal:    10 * time.Minute,
}

func (h *advHost) limit(stage smtp.Stage) time.Duration {
	limit := advLimits[stage]
	if stage == smtp.StageBody {
		limit += time.Duration(h.size/advRate) * time.Second
	}
	return limit
}

// envelope bounds MAIL and all RCPTs together.
func (h *advHost) envelope() time.Duration {
	return 15*time.Minute + time.Duration(max(h.rcpts, 1))*2*time.Second
}

// advSend is a Send to hosts, in their order.
func advSend(hosts ...advHost) advTalk {
	t := advTalk{toMail: -1}
	further := 1 // hosts that a recipient who was deferred is offered to
	for i := range hosts {
		if t.takes > advAttempt {
			break
		}
		transaction, result := t.session(&hosts[i], false)
		t.results = []smtp.Result{result}
		if transaction {
			policy := result.Reply.Enhanced[1] == 2 || result.Reply.Enhanced[1] == 7 || result.Reply.Code == 452
			if result.Outcome != smtp.Deferred || policy || further == 0 {
				break
			}
			further--
		}
	}
	if t.toMail < 0 {
		t.toMail = t.takes
	}
	return t
}

// session is a session with a host. It reports whether there was a transaction.
func (t *advTalk) session(h *advHost, clear bool) (transaction bool, _ smtp.Result) {
	var begun time.Duration
	for stage := smtp.StageConnect; stage <= smtp.StageFinal; stage++ {
		if stage == smtp.StageTLS && clear {
			continue
		}
		if stage == smtp.StageMail {
			begun = t.takes
			if t.toMail < 0 {
				t.toMail = t.takes
			}
		}
		takes, limit := h.takes[stage], h.limit(stage)
		late := takes >= limit
		takes = min(takes, limit)
		if stage == smtp.StageRcpt {
			takes *= time.Duration(max(h.rcpts, 1))
			if left := h.envelope() - (t.takes - begun); takes > left {
				takes, late = left, true
			}
		}
		t.takes += takes
		switch {
		case late && stage == smtp.StageTLS: // another connection, without
			return t.session(h, true)
		case late:
			r := smtp.Result{
				Outcome: smtp.Deferred, Stage: stage, Local: true, Reply: smtp.NewReply(451, "4.4.2", "timed out"),
			}
			if stage == smtp.StageFinal {
				r.Outcome = smtp.Unknown
			}
			r.Reason = replies.ReasonOf(&r)
			return stage >= smtp.StageMail, r
		case h.reply != nil && stage == h.at:
			r := smtp.Result{Outcome: smtp.Deferred, Stage: stage, Reply: h.reply}
			if h.reply.Permanent() && stage >= smtp.StageMail {
				r.Outcome = smtp.Rejected
			}
			r.Reason = replies.ReasonOf(&r)
			return stage >= smtp.StageMail, r
		}
	}
	return true, advDelivered[0]
}

var advDelivered = []smtp.Result{{
	Outcome: smtp.Delivered, Stage: smtp.StageFinal, Reply: smtp.NewReply(250, "2.0.0", "taken"),
}}

// advPanicked is what a Runner makes of a Sender that panics.
var advPanicked = func() []smtp.Result {
	results, _ := smtp.Complete(advEnvelope, nil, smtp.NewReply(451, "4.3.0", "internal error"))
	results[0].Outcome = smtp.Unknown
	return results
}()

// advPanicked2 is what a Transport makes of a func of the caller that panics before MAIL.
var advPanicked2 = []smtp.Result{{
	Outcome: smtp.Deferred, Stage: smtp.StageTLS, Local: true, Reply: smtp.NewReply(451, "4.3.0", "internal error"),
	Reason: smtp.Network,
}}

var advEnvelope = smtp.NewEnvelope("from@sender.test", "to@recipient.test")

// advRefusal is a host that is quick to refuse.
func advRefusal(stage smtp.Stage, code int, enhanced, text string) advHost {
	return advHost{
		takes: advSteps(20*time.Millisecond, smtp.StageConnect, stage),
		at:    stage,
		reply: smtp.NewReply(code, enhanced, text),
	}
}

// advSteps has each stage from one to another take as long.
func advSteps(each time.Duration, from, to smtp.Stage) (takes [smtp.StageFinal + 1]time.Duration) {
	for stage := from; stage <= to; stage++ {
		takes[stage] = each
	}
	return takes
}
