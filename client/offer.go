package client

import (
	"context"
	"slices"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// next is where a recipient is offered after an offer. The greater of two is the closer one.
type next uint8

const (
	settled      next = iota // nowhere: the result stands
	otherHost                // to the next host of the route
	otherAddress             // to the next address of the same host
	sameAddress              // to the same address, in a new session
)

// offer sends the message to message.rcpts in one session and takes the session back. It leaves in message.rcpts the
// recipients who need a further session with this host, in d.later those who need another host, and returns where to go
// on: otherHost if no further session is needed. If the slot was taken back, it sends nothing.
func (d *delivery) offer(ctx context.Context, s *session, reused bool) next {
	begun := s.opened
	if reused {
		begun = time.Now()
	}
	defer d.t.pool.put(s, d.t.limits())

	if !smtp.Keep(ctx) {
		d.tried(ctx, Try{Begun: begun, Session: s.session(), Security: s.secure()}, calledOff(ctx, smtp.StageConnect))
		return otherHost // ctx has ended, so no other host is asked
	}
	unreserve, ok := d.reserve(s.via)
	if !ok { // another message was the last one of the day
		d.spent = append(d.spent, s.via)
		return sameAddress
	}
	if reused {
		d.tellTLS(ctx, s.Conn, nil, true)
	}
	unoffered := s.transacted(ctx, d.message)
	if !d.message.taken() {
		unreserve()
	}
	d.learnHabits(s, reused)
	if len(unoffered) == len(d.message.rcpts) {
		return sameAddress // RFC 9422 §4: the session's LIMITS were used up before
	}
	worn := len(s.worn) > 0
	if (worn || len(unoffered) > 0) && !reused {
		d.dialled-- // the session for the rest isn't a further address
	}
	if s.unfit != nil {
		d.keep(s.unfit)
	}
	blocked := d.learnFromAll(s)
	d.offered(ctx, Try{Begun: begun, Session: s.session(), Reused: reused, Security: s.secure()})

	// A kept session may have died while it was idle. Before the answer to DATA, the offer counts as not made.
	stale := reused && s.spoiled && !s.answered && ctx.Err() == nil
	open, to := unoffered, otherHost
	if len(unoffered) > 0 {
		to = sameAddress // LIMITS again: a new session for the rest
	}
	for _, i := range d.message.rcpts {
		n := d.after(i, s, stale, blocked)
		if worn && slices.Contains(s.worn, i) {
			d.message.results[i].Reply, n = nil, sameAddress
		}
		switch n {
		case settled:
		case otherHost:
			d.later = append(d.later, i)
		default:
			open, to = append(open, i), max(to, n)
		}
	}
	d.message.rcpts = append(d.message.rcpts[:0:0], open...)
	if worn {
		s.Quit(ctx) // first: the host may take one session of ours at a time
		if reused {
			return otherAddress // in a new session: another idle one may be as old
		}
	}
	return to
}

// learnHabits adds what s has shown of its host to the memory. A refusal shows that the host bounds the messages of a
// session only if a new session takes the message.
func (d *delivery) learnHabits(s *session, reused bool) {
	if !reused && s.taken {
		s.learned.mails, s.learned.said = d.bound.mails, d.bound.said
	}
	// A host that demands TLS also offers a session in cleartext, and refuses MAIL by 530 (RFC 3207 §4).
	s.learned.noTLS = s.fellBack && s.taken && s.TLS == mx.TLSNone
	if reused {
		s.learned.broken &^= kwPipelining // the session may have died while it was idle
	}
	d.t.remember(s.key.host, s.learned)
	if s.learned.mails > 0 {
		s.most = d.t.memory.of(s.key.host).mails // s was opened before
	}
	s.key.without |= s.learned.broken
	s.learned, d.bound = habits{}, habits{}
	overRate := func(i int) bool { return d.message.results[i].Reason == smtp.RateLimited }
	if s.mails > 1 && slices.ContainsFunc(d.message.rcpts, overRate) {
		s.retired = true // the rate may count the messages of the session
	}
	if len(s.worn) > 0 {
		r := &d.message.results[s.worn[0]]
		if r.Reply.Code != 421 && !isAstray(r) { // a host also says 421 when it restarts
			d.bound = habits{mails: s.mails - 1, said: saysBound(r)}
		}
	}
}

// learnFromAll learns about the source address of s from each result. It reports whether the address is blocked now.
func (d *delivery) learnFromAll(s *session) (blocked bool) {
	for _, i := range d.message.rcpts {
		blocked = d.learn(sourceAddr{s.via, s.source}, &d.message.results[i]) || blocked
	}
	return blocked
}

// after returns where recipient i goes after the offer in s.
func (d *delivery) after(i int, s *session, stale, blocked bool) next {
	r := &d.message.results[i]
	switch {
	case r.Reply == nil:
		return settled // unoffered: the caller has it
	case s.unfit != nil && r.Reply == s.unfit.reply:
		r.Reply = nil
		return otherHost
	case r.Outcome != smtp.Deferred:
		return settled // RFC 5321 §4.2.1: 2xx and 5xx are final; an Unknown outcome must not become a duplicate here
	case stale && (r.Local || r.Reply.Code != 421 || mayBeSession(r)): // a 421 may be about a policy, too
		r.Reply = nil
		return otherAddress
	case blocked && r.Reason == smtp.Blocklisted:
		return sameAddress // from the next source address
	case d.twice[i]:
		return settled // a 4xx is offered to one further host, and this was it
	case !elsewhere(r):
		return settled
	}
	if d.twice == nil {
		d.twice = make(map[int]bool)
	}
	d.twice[i] = true
	if s.spoiled && !s.answered && r.Local {
		return otherAddress // RFC 5321 §5.1: the connection broke; the host's other addresses come first
	}
	return otherHost
}

// elsewhere reports whether another host may answer better than with a 4xx.
func elsewhere(r *smtp.Result) bool {
	class := r.Reply.Enhanced[1]
	switch {
	case r.Local:
		return class != 3 // RFC 3463 §3.4: X.3.x, the mail system, which is this program
	case r.Reply.Code == 530: // RFC 3207 §4: the host demands TLS, which failed there
	case class == 2 || class == 7:
		return false // RFC 3463 §3.3, §3.8: X.2.x, the mailbox; X.7.x, a policy, greylisting included
	case r.Reason.About() == smtp.AboutMessage, r.Reason == smtp.MailboxFull, r.Reason == smtp.MailboxDisabled,
		r.Reason == smtp.Greylisted, r.Reason == smtp.Blocklisted, r.Reason == smtp.PolicyAuth:
		return false // the same in words, whatever the code
	case r.Reply.Code == 452 || r.Reply.Code == 552:
		return false // RFC 5321 §4.5.3.1.10: too many recipients, or no room for the message
	}
	return true
}
