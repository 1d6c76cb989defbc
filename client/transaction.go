package client

import (
	"context"
	"slices"
	"time"

	"github.com/postrider/postrider/smtp"
)

// window bounds the octets of commands that go out before their replies are read. RFC 2920 §3.1: they must fit into
// the TCP buffers, or both sides block in a write.
const window = 8 << 10

// transaction is one message offered to one host.
type transaction struct {
	manner
	c        *Conn
	m        *message
	rcpts    []int // the recipients of the transaction
	next     int   // the index in rcpts of the first one without a RCPT so far
	mailSaid bool
	accepted []int       // the recipients that got a 2xx
	refused  *smtp.Reply // the reply by which the host refused the message, for now or for good
	stage    smtp.Stage  // the stage of refused
	full     *smtp.Reply // the reply by which the host refused further recipients in this transaction
}

// group is a group of commands that go out in one write.
type group struct {
	rset, mail bool
	rcpts      []int
	data       bool
}

// transact offers the message to the recipients in m.rcpts, in one transaction, or in several if the host has LIMITS.
// It returns the recipients that the session takes no transaction for; all others have a result then.
func (c *Conn) transact(ctx context.Context, m *message) (left []int) {
	c.answered = false
	for _, i := range m.rcpts {
		m.results[i].Reply = nil
	}
	how, left, f := c.fit(m)
	if f != nil {
		m.fail(m.undecided(slices.Clone(m.rcpts)), f)
		return nil
	}
	stop := c.watch(ctx)
	defer c.unwatch(stop)
	begun := time.Now()
	most := len(left) // the most recipients of a transaction
	for len(left) > 0 && !c.spoiled && !c.spent() && time.Since(begun) <= c.Timeouts.attempt() {
		rcpts := c.batch(m, left)
		t := transaction{manner: how, c: c, m: m, rcpts: rcpts[:min(most, len(rcpts))], accepted: c.accepted[:0]}
		if len(t.rcpts) == 0 {
			break
		}
		t.run(ctx)
		if t.again() {
			most = 2 * len(t.accepted) // else each transaction would offer all the others again
		}
		c.accepted, left = t.accepted, m.undecided(left)
		if t.refused != nil { // further transactions would have the same message
			t.settleAll(left, t.stage, t.refused)
			return nil
		}
		how.chunked = how.chunked && !c.noBDAT
	}
	return left
}

// again clears the results of recipients that the transaction had no room for, so that they are offered in the next one
// (RFC 5321 §4.5.3.1.10). It does so only if another recipient was Delivered. It reports whether there are any.
func (t *transaction) again() (any bool) {
	delivered := func(i int) bool { return t.m.results[i].Outcome == smtp.Delivered && t.m.results[i].Reply != nil }
	if !slices.ContainsFunc(t.rcpts, delivered) {
		return false
	}
	for _, i := range t.rcpts {
		if r := &t.m.results[i]; r.Stage == smtp.StageRcpt && !r.Local && noRoom(r.Reply) {
			r.Reply, any = nil, true
		}
	}
	return any
}

// noRoom reports whether another transaction may take a refused recipient. Hosts use the codes for other causes too.
func noRoom(r *smtp.Reply) bool {
	if r == nil || r.Code != 452 && r.Code != 552 {
		return false
	}
	// RFC 3463 §3.6: X.5.3, too many recipients; not X.2.2, a full mailbox, or X.3.1, a full disk.
	return r.Enhanced == smtp.EnhancedCode{} || r.Enhanced[1] == 5
}

// run runs the transaction, from MAIL to the reply to the message.
func (t *transaction) run(ctx context.Context) {
	for {
		g := t.compose()
		if len(t.c.out) == 0 {
			if t.chunked && len(t.accepted) > 0 {
				t.chunks(ctx)
			}
			return
		}
		data, f := t.exchange(ctx, g)
		switch {
		case f != nil && t.refused != nil:
			return // the refusal stands, whatever the failure
		case f != nil:
			t.fail(f)
			return
		case g.data:
			t.data(ctx, data)
			return
		case t.refused != nil:
			return
		}
	}
}

// compose writes the next group into c.out: as many commands as fit, or one command without PIPELINING.
func (t *transaction) compose() group {
	var g group
	b := t.c.out[:0]
	room := func() bool { return len(b) == 0 || t.c.ext.pipelining && len(b) < window }
	if t.c.open && !t.mailSaid {
		b, g.rset = append(b, "RSET\r\n"...), true
	}
	if !t.mailSaid && room() {
		b, g.mail, t.mailSaid = t.m.env.AppendMail(b, t.offer), true, true
		t.c.mails++
	}
	for ; t.full != nil && t.next < len(t.rcpts); t.next++ {
		t.m.settle(t.c, t.rcpts[t.next], smtp.StageRcpt, t.full)
	}
	first := t.next
	for t.mailSaid && t.next < len(t.rcpts) && room() {
		b = t.m.env.Recipients[t.rcpts[t.next]].AppendRcpt(b, t.offer)
		t.next++
	}
	g.rcpts = t.rcpts[first:t.next]
	// RFC 5321 §3.3: DATA needs an accepted recipient, which one of this group may become.
	if !t.chunked && t.next == len(t.rcpts) && room() && len(t.accepted)+len(g.rcpts) > 0 {
		b, g.data = append(b, "DATA\r\n"...), true
	}
	t.c.out = b
	return g
}

// exchange sends a group and reads all replies to it. data is the reply to DATA, nil for a 354. A failure ends the
// transaction and the session.
func (t *transaction) exchange(ctx context.Context, g group) (data *smtp.Reply, f *failure) {
	c := t.c
	stage, times := smtp.StageMail, c.Timeouts.mail()
	if !g.mail && len(g.rcpts) > 0 {
		stage, times = smtp.StageRcpt, c.Timeouts.rcpt()
	} else if g.data && !g.mail {
		stage, times = smtp.StageData, c.Timeouts.data()
	}
	if err := c.write(ctx, times, c.out); err != nil {
		return nil, c.failed(ctx, stage, err)
	}
	if g.rset {
		r, err := c.read(ctx, c.Timeouts.hello())
		if err != nil {
			return nil, c.failed(ctx, smtp.StageMail, err)
		}
		if c.spoiled || r.Code/100 != 2 {
			c.spoiled = true
			return nil, c.refused(smtp.StageMail, r)
		}
		c.open = false
	}
	if g.mail {
		r, err := c.readUnless(ctx, c.Timeouts.mail(), positive)
		if err != nil {
			return nil, c.failed(ctx, smtp.StageMail, err)
		}
		if f := t.mailReply(r); f != nil {
			return nil, f
		}
	}
	for _, i := range g.rcpts {
		r, err := c.readUnless(ctx, c.Timeouts.rcpt(), positive)
		if err != nil {
			return nil, c.failed(ctx, smtp.StageRcpt, err)
		}
		if f := t.rcptReply(i, r); f != nil {
			return nil, f
		}
	}
	if g.data {
		if data, err := c.readUnless(ctx, c.Timeouts.data(), goAhead); err != nil {
			return nil, c.failed(ctx, smtp.StageData, err)
		} else if c.spoiled {
			return nil, c.said(smtp.StageData, data)
		} else {
			return data, nil
		}
	}
	return nil, nil
}

func (t *transaction) mailReply(r *smtp.Reply) *failure {
	if r == nil {
		t.c.open = true
		return nil
	}
	switch r.Code / 100 {
	case 4, 5:
		if t.c.spoiled { // 421
			return t.c.said(smtp.StageMail, r)
		}
		t.refused, t.stage = r, smtp.StageMail
		return nil
	}
	return t.c.refused(smtp.StageMail, r)
}

func (t *transaction) rcptReply(i int, r *smtp.Reply) *failure {
	switch {
	case t.c.spoiled: // 421
		return t.c.said(smtp.StageRcpt, r)
	case t.refused != nil:
		// The refusal of MAIL causes this one, and is the result of all recipients.
	case r == nil:
		t.accepted = append(t.accepted, i)
	case r.Code >= 400 && r.Code < 600:
		t.m.settle(t.c, i, smtp.StageRcpt, r)
		if r.Enhanced == (smtp.EnhancedCode{4, 5, 3}) {
			t.full = r // RFC 5321 §4.5.3.1.10: the others are offered in a later transaction
		}
	default:
		return t.c.refused(smtp.StageRcpt, r)
	}
	return nil
}

// refuse settles the accepted recipients by a reply that refuses the message. A transient one holds for the recipients
// of further transactions too.
func (t *transaction) refuse(stage smtp.Stage, r *smtp.Reply) {
	t.settleAll(t.accepted, stage, r)
	if r.Temporary() && len(t.accepted) > 0 { // a DATA without recipients is refused for that
		t.refused, t.stage = r, stage
	}
}

func (t *transaction) settleAll(rcpts []int, stage smtp.Stage, r *smtp.Reply) {
	for _, i := range rcpts {
		t.m.settle(t.c, i, stage, r)
	}
}

// final reads the replies to the final dot or the last chunk.
func (t *transaction) final(ctx context.Context) {
	c := t.c
	if !c.LMTP {
		r, err := c.read(ctx, c.Timeouts.final())
		t.settleFinal(ctx, t.accepted, r, err)
		return
	}
	for n := range t.accepted { // RFC 2033 §4.2: in the order of their RCPT
		r, err := c.read(ctx, c.Timeouts.final())
		if err != nil || r.Code/100 == 3 { // the replies can't be matched to the recipients any more
			t.settleFinal(ctx, t.accepted[n:], r, err)
			return
		}
		t.settleFinal(ctx, t.accepted[n:n+1], r, nil)
	}
}

// settleFinal settles recipients by the reply to the final dot. Without a valid reply they are Unknown: the host may
// have the message.
func (t *transaction) settleFinal(ctx context.Context, rcpts []int, r *smtp.Reply, err error) {
	var f *failure
	switch {
	case err != nil:
		f = t.c.failed(ctx, smtp.StageFinal, err)
	case r.Code < 200 || r.Code >= 600 || r.Code/100 == 3:
		f = t.c.refused(smtp.StageFinal, r)
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

// fail sets the results of all recipients without one to f. If the replies to a group didn't match its commands, the
// refused recipients get f too: their refusals may have been meant for others.
func (t *transaction) fail(f *failure) {
	for _, i := range t.rcpts {
		if r := &t.m.results[i]; f.outOfStep && t.c.ext.pipelining && r.Stage == smtp.StageRcpt && !r.Local {
			r.Reply = nil
		}
	}
	t.m.fail(t.m.undecided(slices.Clone(t.m.rcpts)), f)
}
