package smtptest

import (
	"fmt"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/quota"
	"github.com/postrider/postrider/smtp"
)

// limit is a largest number, and the reply beyond it.
type limit struct {
	n     int
	reply *smtp.Reply
}

// rate is a limit per period.
type rate struct {
	limit
	per  time.Duration
	past quota.Window
}

// MaxSessions bounds the sessions that are open at once. While n are open, a further client is greeted with r and the
// connection is closed; [Host.Sessions] defines a session. If r is nil, it is 421 4.7.0.
func (h *Host) MaxSessions(n int, r *smtp.Reply) {
	h.net.t.Helper()
	h.setLimit(&h.script.maxSessions, n, h.orDefault(r, 421, "4.7.0", "too many sessions"))
}

// MaxMessages bounds the messages of a session. After n of them, MAIL is answered with r; a 421 closes the session. If
// r is nil, it is 421 4.7.0.
func (h *Host) MaxMessages(n int, r *smtp.Reply) {
	h.net.t.Helper()
	h.setLimit(&h.script.maxMessages, n, h.orDefault(r, 421, "4.7.0", "too many messages in this session"))
}

// MaxRecipients bounds the recipients of a message. After n of them, RCPT is answered with r. If r is nil, it is 452
// 4.5.3. Without MaxRecipients the bound is 1000.
func (h *Host) MaxRecipients(n int, r *smtp.Reply) {
	h.net.t.Helper()
	h.setLimit(&h.script.maxRecipients, n, h.orDefault(r, 452, "4.5.3", "too many recipients"))
}

// RateLimit lets a stage pass at most n times in any period of this length, and answers r otherwise. The stage is one
// of [smtp.StageGreeting] to [smtp.StageData]: StageGreeting limits connections, StageMail messages, StageRcpt
// recipients. A refused attempt doesn't count. A stage has one limit, shared by all clients. A fault of the stage
// itself comes first, and then nothing is counted. If r is nil, it is 421 4.7.0 at StageGreeting and 450 4.7.1
// elsewhere.
func (h *Host) RateLimit(stage smtp.Stage, n int, period time.Duration, r *smtp.Reply) {
	h.net.t.Helper()
	h.hasReply(stage)
	if stage == smtp.StageGreeting {
		r = h.orDefault(r, 421, "4.7.0", "rate limit exceeded")
	}
	r = h.orDefault(r, 450, "4.7.1", "rate limit exceeded")
	h.checkLimit(int64(n))
	if stage >= smtp.StageBody || period <= 0 {
		h.net.t.Fatalf("smtptest: %s can't limit the rate at stage %v for %v", h.name, stage, period)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	put(&h.script.rates, stage, &rate{limit: limit{n, r}, per: period})
}

// Limits are the parameters of LIMITS (RFC 9422 §4). A limit is at most 999999. If zero, there is no such limit.
type Limits struct {
	MailMax       int // MAIL commands per session
	RcptMax       int // RCPT commands per transaction
	RcptDomainMax int // domains of recipients per session, as A-labels
}

// Limit makes the host offer LIMITS and enforce them. It answers a MAIL beyond a limit with 451 4.7.0, and a RCPT or a
// domain beyond a limit with 452 4.5.3. Refused commands count, except those that [Host.Refuse] refused. Limits{} ends
// it.
func (h *Host) Limit(l Limits) {
	h.net.t.Helper()
	for _, n := range []int{l.MailMax, l.RcptMax, l.RcptDomainMax} {
		if n < 0 || n > 999999 {
			h.net.t.Fatalf("smtptest: %s can't announce a limit of %d", h.name, n)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.limits = l
	delete(h.lacks, "LIMITS")
}

// params returns the parameters of LIMITS in the answer to EHLO.
func (l Limits) params() string {
	var b strings.Builder
	for _, limit := range []struct {
		name string
		n    int
	}{{"MAILMAX", l.MailMax}, {"RCPTMAX", l.RcptMax}, {"RCPTDOMAINMAX", l.RcptDomainMax}} {
		if limit.n > 0 {
			fmt.Fprintf(&b, " %s=%d", limit.name, limit.n)
		}
	}
	return b.String()
}

func (h *Host) setLimit(dst **limit, n int, r *smtp.Reply) {
	h.net.t.Helper()
	h.checkLimit(int64(n))
	h.mu.Lock()
	defer h.mu.Unlock()
	*dst = &limit{n, r}
}

func (h *Host) checkLimit(n int64) {
	h.net.t.Helper()
	if n < 0 {
		h.net.t.Fatalf("smtptest: %s can't have a limit of %d", h.name, n)
	}
}

// tooFast counts an attempt at a stage. It returns the reply if the rate limit is reached, else nil.
func (h *Host) tooFast(stage smtp.Stage) *smtp.Reply {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.script.rates[stage]
	if r == nil {
		return nil
	}
	now := time.Now()
	if r.past.Full(quota.Limit{N: r.n, Per: r.per}, now) {
		return r.reply
	}
	r.past.Add(now)
	return nil
}

// sessionFull returns the reply to MAIL after this number of messages in the session, or nil.
func (h *Host) sessionFull(messages int) *smtp.Reply {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.script.maxMessages.reached(messages)
}

// messageFull returns the reply to RCPT after this number of recipients of the message, or nil.
func (h *Host) messageFull(recipients int) *smtp.Reply {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.script.maxRecipients.reached(recipients); r != nil {
		return r
	}
	if recipients < maxRecipients {
		return nil
	}
	return smtp.NewReply(452, "4.5.3", "too many recipients") // RFC 5321 §4.5.3.1.10
}

// reached returns the reply if n is at the limit, else nil. l may be nil.
func (l *limit) reached(n int) *smtp.Reply {
	if l == nil || n < l.n {
		return nil
	}
	return l.reply
}

// tooManyMails returns the reply to a MAIL beyond the announced limit of the session, or nil.
func (s *session) tooManyMails() *smtp.Reply {
	l := s.limits()
	if l.MailMax == 0 || s.mails <= l.MailMax {
		return nil
	}
	return smtp.NewReply(451, "4.7.0", "more messages than MAILMAX")
}

// tooManyRcpts returns the reply to a RCPT beyond an announced limit, or nil.
func (s *session) tooManyRcpts(address string) *smtp.Reply {
	l := s.limits()
	if l.RcptMax > 0 && s.rcpts > l.RcptMax {
		return smtp.NewReply(452, "4.5.3", "more recipients than RCPTMAX")
	}
	if l.RcptDomainMax == 0 {
		return nil
	}
	_, domain := smtp.SplitAddress(canonical(address))
	if len(s.domains) >= l.RcptDomainMax && !s.domains[domain] {
		return smtp.NewReply(452, "4.5.3", "more domains than RCPTDOMAINMAX")
	}
	put(&s.domains, domain, true)
	return nil
}

// limits returns the limits that EHLO announced to the client.
func (s *session) limits() Limits {
	if !s.offers["LIMITS"] {
		return Limits{}
	}
	s.host.mu.Lock()
	defer s.host.mu.Unlock()
	return s.host.limits
}
