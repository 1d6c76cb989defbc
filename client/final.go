package client

import (
	"context"
	"time"

	"github.com/postrider/postrider/smtp"
)

// final reads the replies to the final dot or the last chunk.
func (t *transaction) final(ctx context.Context) {
	c := t.c
	c.irregular, c.until = false, time.Time{}
	if !c.LMTP {
		r, err := c.read(ctx, c.Timeouts.final())
		if err == nil && !positive(r.Code) && c.moreFinal(r.Code/100, false) {
			r, err = nil, errPremature // the refusal may be to no command, and the host has the message
		}
		t.settleFinal(ctx, t.accepted, r, err)
		return
	}
	first := 0                  // the digit of the first reply
	mixed := false              // others had another one
	sure := 0                   // the replies before the first line that was skipped: it may have stood for a reply
	for n := range t.accepted { // RFC 2033 §4.2: in the order of their RCPT
		if !c.irregular {
			sure = n
		}
		r, err := c.read(ctx, c.Timeouts.final())
		if err != nil || t.unmatched(r) {
			t.settleFinal(ctx, t.accepted[sure:], r, err)
			return
		}
		t.settleFinal(ctx, t.accepted[n:n+1], r, nil)
		if first == 0 {
			first = r.Code / 100
		}
		mixed = mixed || r.Code/100 != first
	}
	if c.moreFinal(first, mixed) {
		// One too many may have come at any place: nobody knows whose the others are.
		t.settleFinal(ctx, t.accepted, nil, errPremature)
	}
}

// moreFinal reports whether the host has sent more replies to a message than it should (over LMTP, one for each
// recipient), and whether that matters: all of them begin with the same digit otherwise. first is the digit of those
// that were read, unless they are mixed. Two kinds are about something else: a 421 says that the host closes, and a
// host that took a part of the message for a command doesn't know that command.
func (c *Conn) moreFinal(first int, mixed bool) bool {
	for c.unread() {
		if !c.heard() {
			return mixed
		}
		r, err := c.readReply()
		if err != nil {
			return mixed
		}
		c.spoiled = true
		if r.Code != 421 && !unknownCommand(r) && (mixed || r.Code/100 != first) {
			return true
		}
	}
	return false
}

// unmatched reports whether a reply after the message may not be the one to the message. A line that was skipped may
// have stood for that one. A 421 is no answer then: a host says it to a session that is idle, too (RFC 5321 §3.8).
func (t *transaction) unmatched(r *smtp.Reply) bool {
	return goAhead(r.Code) || r.Code == 421 && t.c.irregular
}

// settleFinal settles recipients by the reply to the final dot. Without a valid reply they are Unknown: the host may
// have the message.
func (t *transaction) settleFinal(ctx context.Context, rcpts []int, r *smtp.Reply, err error) {
	var f *failure
	switch {
	case err != nil:
		f = t.c.failed(ctx, smtp.StageFinal, err)
	case t.unmatched(r):
		f = t.c.unexpected(smtp.StageFinal, r)
	case r.Temporary() && !t.c.LMTP:
		t.refuse(smtp.StageFinal, r)
		return
	default:
		t.settleAll(rcpts, smtp.StageFinal, r)
		return
	}
	t.m.fail(rcpts, f)
	for _, i := range rcpts {
		t.m.results[i].Outcome = smtp.Unknown
	}
}
