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
	reply smtp.Reply
}

// rate is a limit in any period, with the times of what it let pass.
type rate struct {
	limit
	per  time.Duration
	past []time.Time // n of them at most
}

// MaxSessions has a client that dials when n sessions are open be greeted with r, a 421 say, and the connection
// closed. For what a session is see [Host.Sessions].
func (h *Host) MaxSessions(n int, r smtp.Reply) {
	h.net.t.Helper()
	h.setLimit(&h.script.maxSessions, n, r)
}

// MaxMessages answers r to MAIL once n messages were taken in the session. A 421 closes it.
func (h *Host) MaxMessages(n int, r smtp.Reply) {
	h.net.t.Helper()
	h.setLimit(&h.script.maxMessages, n, r)
}

// MaxRecipients answers r to RCPT once a message has n recipients. Without it there are 1000, and 452 4.5.3.
func (h *Host) MaxRecipients(n int, r smtp.Reply) {
	h.net.t.Helper()
	h.setLimit(&h.script.maxRecipients, n, r)
}

// RateLimit lets at most n clients come past a stage, [smtp.StageGreeting] to [smtp.StageData], in any period of this
// length, and answers r to all others: with smtp.StageMail it limits messages, with smtp.StageRcpt recipients, with
// smtp.StageGreeting connections. What it answered doesn't count. There is one limit for each stage, for all clients
// together. Where the stage has a fault of its own, that comes first and the limit isn't looked at.
func (h *Host) RateLimit(stage smtp.Stage, n int, period time.Duration, r smtp.Reply) {
	h.net.t.Helper()
	h.hasReply(stage)
	h.checkLimit(n, r)
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

func (h *Host) setLimit(dst **limit, n int, r smtp.Reply) {
	h.net.t.Helper()
	h.checkLimit(n, r)
	h.mu.Lock()
	defer h.mu.Unlock()
	*dst = &limit{n, r}
}

func (h *Host) checkLimit(n int, r smtp.Reply) {
	h.net.t.Helper()
	h.check(r)
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
		return &r.reply
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
	return &smtp.Reply{Code: 452, Enhanced: smtp.EnhancedCode{4, 5, 3}, Text: "too many recipients"} // RFC 5321 §4.5.3.1.10
}

// reached gives the reply if n is at the limit. There may be none.
func (l *limit) reached(n int) *smtp.Reply {
	if l == nil || n < l.n {
		return nil
	}
	return &l.reply
}

// tooManyMails gives the reply to MAIL once there were as many in the session as the host said it takes, or nil.
func (s *session) tooManyMails() *smtp.Reply {
	l := s.limits()
	if l.MailMax == 0 || s.mails <= l.MailMax {
		return nil
	}
	return &smtp.Reply{Code: 451, Enhanced: smtp.EnhancedCode{4, 7, 0}, Text: "more mails than MAILMAX says"}
}

// tooManyRcpts does likewise for RCPT.
func (s *session) tooManyRcpts(address string) *smtp.Reply {
	l := s.limits()
	if l.RcptMax > 0 && s.rcpts > l.RcptMax {
		return &smtp.Reply{Code: 452, Enhanced: smtp.EnhancedCode{4, 5, 3}, Text: "more recipients than RCPTMAX says"}
	}
	if l.RcptDomainMax == 0 {
		return nil
	}
	_, domain := smtp.SplitAddress(canonical(address))
	if len(s.domains) >= l.RcptDomainMax && !s.domains[domain] {
		return &smtp.Reply{Code: 452, Enhanced: smtp.EnhancedCode{4, 5, 3}, Text: "more domains than RCPTDOMAINMAX says"}
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
