package client

import (
	"context"
	"time"

	"github.com/postrider/postrider/smtp"
)

// next says where to go on after an offer.
type next uint8

const (
	otherHost    next = iota // with those who are left in message.rcpts
	otherAddress             // of the same host
	sameAddress              // in a new session
)

// offer sends the message in one session, and takes out of message.rcpts who needs no other.
func (d *delivery) offer(ctx context.Context, s *session, pooled bool) next {
	begun := s.opened
	if pooled {
		begun = time.Now()
	}
	left := s.transact(ctx, d.message)
	if s.noBDAT {
		d.t.broken.add(s.key.host)
	}
	if len(left) == len(d.message.rcpts) { // it has had its domains, or its one transaction by BDAT in vain
		d.t.pool.put(s, d.t.limits())
		return sameAddress
	}
	// A session that was kept may have died meanwhile. Up to DATA, that is as if it had never been.
	stale := pooled && s.spoiled && !s.answered && ctx.Err() == nil
	to := otherHost
	if len(left) > 0 {
		to = sameAddress // the session has no transaction for them
	}
	if len(left) > 0 && !pooled {
		d.dialled-- // so that a further one is no further try
	}
	blocked := false
	for _, i := range d.message.rcpts {
		blocked = d.learn(s.source, &d.message.results[i]) || blocked
	}
	d.offered(ctx, Try{Begun: begun, Session: s.session(), Reused: pooled})
	for _, i := range d.message.rcpts {
		r := &d.message.results[i]
		if r.Reply == nil || r.Outcome != smtp.Deferred {
			continue
		}
		switch {
		case stale:
			r.Reply, to = nil, max(to, otherAddress)
		case blocked && r.Reason == smtp.Blocklisted:
			to = sameAddress // from the next source
		case d.twice[i] || !elsewhere(r):
			continue
		default:
			if d.twice == nil {
				d.twice = make(map[int]bool)
			}
			d.twice[i] = true
			if !s.spoiled || s.answered || !r.Local {
				d.later = append(d.later, i)
				continue
			}
			to = max(to, otherAddress)
		}
		left = append(left, i)
	}
	d.message.rcpts = append(d.message.rcpts[:0:0], left...)
	d.t.pool.put(s, d.t.limits())
	if len(left) == 0 {
		return otherHost
	}
	return to
}

// elsewhere reports whether another host may answer better: not where the mailbox or the policy of the
// place gave the reason, or our own side did.
func elsewhere(r *smtp.Result) bool {
	code := r.Reply.Enhanced
	if r.Local {
		return code[1] != 3 // X.3.x: our own system
	}
	return code[1] != 2 && code[1] != 7 && r.Reply.Code != 452 && r.Reply.Code != 552
}
