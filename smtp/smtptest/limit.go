package smtptest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/smtp"
)

// limit is a number that isn't passed, and what is said instead.
type limit struct {
	n     int
	reply *smtp.Reply
}

// rate is a limit in any period, with the times of what it let pass.
type rate struct {
	limit
	per  time.Duration
	past []time.Time // n of them at most
}

// MaxSessions bounds the sessions that are open at once. While n are open, a further client is greeted with r and the
// connection is closed; [Host.Sessions] defines a session. If r is nil, it is 421 4.7.0.
func (h *Host) MaxSessions(n int, r *smtp.Reply) {
	h.net.t.Helper()
	h.setLimit(&h.script.maxSessions, n, h.orDefault(r, 421, "4.7.0", "too many sessions"))
}

// MaxMessages bounds the messages of a session. After n of them, MAIL is answered with r; a 421 closes the session.
// If r is nil, it is 421 4.7.0.
func (h *Host) MaxMessages(n int, r *smtp.Reply) {
	h.net.t.Helper()
	h.setLimit(&h.script.maxMessages, n, h.orDefault(r, 421, "4.7.0", "too many messages in this session"))
}

// MaxRecipients bounds the recipients of a message. After n of them, RCPT is answered with r. If r is nil, it is
// 452 4.5.3. Without MaxRecipients the bound is 1000.
func (h *Host) MaxRecipients(n int, r *smtp.Reply) {
	h.net.t.Helper()
	h.setLimit(&h.script.maxRecipients, n, h.orDefault(r, 452, "4.5.3", "too many recipients"))
}

// RateLimit lets a stage pass at most n times in any period of this length, and answers r otherwise. The stage is one of
// [smtp.StageGreeting] to [smtp.StageData]: StageGreeting limits connections, StageMail messages, StageRcpt recipients.
// A refused attempt doesn't count. A stage has one limit, shared by all clients. A fault of the stage itself comes first,
// and then nothing is counted. If r is nil, it is 421 4.7.0 at StageGreeting and 450 4.7.1 elsewhere.
func (h *Host) RateLimit(stage smtp.Stage, n int, period time.Duration, r *smtp.Reply) {
	h.net.t.Helper()
	h.hasReply(stage)
	if stage == smtp.StageGreeting {
		r = h.orDefault(r, 421, "4.7.0", "rate limit exceeded")
	}
	r = h.orDefault(r, 450, "4.7.1", "rate limit exceeded")
	h.checkLimit(n)
	if stage >= smtp.StageBody || period <= 0 {
		h.net.t.Fatalf("smtptest: %s can't limit the rate at stage %v for %v", h.name, stage, period)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	put(&h.script.rates, stage, &rate{limit: limit{n, r}, per: period})
}

// Limits is what a host announces with LIMITS (RFC 9422 §4). A limit is 999999 at most; if zero, there is none.
type Limits struct {
	MailMax       int // MAIL commands in a session
	RcptMax       int // RCPT commands in a transaction
	RcptDomainMax int // domains of recipients in a session, as A-labels
}

// Limit has the host offer LIMITS, and hold clients to what it says: one MAIL too many is answered 451 4.7.0, one RCPT or
// one domain too many 452 4.5.3. Commands count that were refused, too, but by [Host.Refuse]. Limits{} ends it.
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

// params gives what stands behind LIMITS in the answer to EHLO.
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
	h.checkLimit(n)
	h.mu.Lock()
	defer h.mu.Unlock()
	*dst = &limit{n, r}
}

func (h *Host) checkLimit(n int) {
	h.net.t.Helper()
	if n < 0 {
		h.net.t.Fatalf("smtptest: %s can't have a limit of %d", h.name, n)
	}
}

// tooFast counts a client that comes to a stage, and gives the reply if it is one too many.
func (h *Host) tooFast(stage smtp.Stage) *smtp.Reply {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.script.rates[stage]
	if r == nil {
		return nil
	}
	now := time.Now()
	r.past = slices.DeleteFunc(r.past, func(t time.Time) bool { return now.Sub(t) >= r.per })
	if len(r.past) >= r.n {
		return r.reply
	}
	r.past = append(r.past, now)
	return nil
}

// sessionFull gives the reply to MAIL after so many messages in the session, or nil.
func (h *Host) sessionFull(messages int) *smtp.Reply {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.script.maxMessages.reached(messages)
}

// messageFull gives the reply to RCPT after so many recipients of the message, or nil.
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

// reached gives the reply if n is at the limit. There may be none.
func (l *limit) reached(n int) *smtp.Reply {
	if l == nil || n < l.n {
		return nil
	}
	return l.reply
}

// tooManyMails gives the reply to MAIL once there were as many in the session as the host said it takes, or nil.
func (s *session) tooManyMails() *smtp.Reply {
	l := s.limits()
	if l.MailMax == 0 || s.mails <= l.MailMax {
		return nil
	}
	return smtp.NewReply(451, "4.7.0", "more mails than MAILMAX says")
}

// tooManyRcpts does likewise for RCPT.
func (s *session) tooManyRcpts(address string) *smtp.Reply {
	l := s.limits()
	if l.RcptMax > 0 && s.rcpts > l.RcptMax {
		return smtp.NewReply(452, "4.5.3", "more recipients than RCPTMAX says")
	}
	if l.RcptDomainMax == 0 {
		return nil
	}
	_, domain := smtp.SplitAddress(canonical(address))
	if len(s.domains) >= l.RcptDomainMax && !s.domains[domain] {
		return smtp.NewReply(452, "4.5.3", "more domains than RCPTDOMAINMAX says")
	}
	put(&s.domains, domain, true)
	return nil
}

// limits gives those that the client has been told of.
func (s *session) limits() Limits {
	if !s.offers["LIMITS"] {
		return Limits{}
	}
	s.host.mu.Lock()
	defer s.host.mu.Unlock()
	return s.host.limits
}
