package client

import (
	"context"
	"slices"
	"time"

	"github.com/postrider/postrider/smtp"
)

// window bounds the commands that go out before their replies are read. RFC 2920 §3.1: a group of them
// must fit where the host keeps what it hasn't read yet, or both sides end up blocked in writing.
const window = 8 << 10

// transaction is one message offered to one host.
type transaction struct {
	manner
	c        *Conn
	m        *message
	rcpts    []int // of the message, those that it is for
	next     int   // index in rcpts of the first that wasn't said yet
	mailSaid bool
	accepted []int       // had a 2xx
	refused  *smtp.Reply // said that the host doesn't take the message now, or at all
	stage    smtp.Stage  // of that
	full     *smtp.Reply // said that the transaction takes no more recipients
}

// group is the commands that go out in one write.
type group struct {
	rset, mail bool
	rcpts      []int
	data       bool
}

// transact offers the message to the recipients in m.rcpts, in one transaction or, where the host sets limits, in several. Each gets a
// result, but those for whom the session has no transaction left: they are returned.
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
	most := len(left) // recipients of a transaction
	for len(left) > 0 && !c.spoiled && !c.spent() && time.Since(begun) <= c.Timeouts.attempt() {
		rcpts := c.batch(m, left)
		t := transaction{manner: how, c: c, m: m, rcpts: rcpts[:min(most, len(rcpts))], accepted: c.accepted[:0]}
		if len(t.rcpts) == 0 {
			break
		}
		t.run(ctx)
		if t.again() {
			most = 2 * len(t.accepted) // or else each transaction would offer all that are left
		}
		c.accepted, left = t.accepted, m.undecided(left)
		if t.refused != nil { // the other recipients' transactions would bring the same message
			t.settleAll(left, t.stage, t.refused)
			return nil
		}
		how.chunked = how.chunked && !c.noBDAT
	}
	return left
}

// again lets those for whom there was no room in the transaction be offered once more (RFC 5321 §4.5.3.1.10), if it brought the message to
// others. It reports whether there are any.
func (t *transaction) again() (any bool) {
	if !slices.ContainsFunc(t.rcpts, func(i int) bool { return t.m.results[i].Outcome == smtp.Delivered && t.m.results[i].Reply != nil }) {
		return false
	}
	for _, i := range t.rcpts {
		if r := &t.m.results[i]; r.Stage == smtp.StageRcpt && !r.Local && noRoom(r.Reply) {
			r.Reply, any = nil, true
		}
	}
	return any
}

// noRoom reports whether a refused recipient may be welcome in another transaction, by a code that isn't only used for that.
func noRoom(r *smtp.Reply) bool {
	if r == nil || r.Code != 452 && r.Code != 552 {
		return false
	}
	return r.Enhanced == smtp.EnhancedCode{} || r.Enhanced[1] == 5 // X.5.3; not X.2.2, a full mailbox, or X.3.1, a full disk
}

// run goes from MAIL to the reply to the message.
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
			return // whatever became of the rest: the refusal stands
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

// compose makes the next group in c.out: all that fits, or one command where there is no PIPELINING.
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
	// RFC 5321 §3.3: DATA needs a recipient; one in this group may become it.
	if !t.chunked && t.next == len(t.rcpts) && room() && len(t.accepted)+len(g.rcpts) > 0 {
		b, g.data = append(b, "DATA\r\n"...), true
	}
	t.c.out = b
	return g
}

// exchange sends a group and reads all replies to it. A failure ends the transaction and the session.
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
		// It follows from the refusal of MAIL, whose reply everyone has.
	case r == nil:
		t.accepted = append(t.accepted, i)
	case r.Code >= 400 && r.Code < 600:
		t.m.settle(t.c, i, smtp.StageRcpt, r)
		if r.Enhanced == (smtp.EnhancedCode{4, 5, 3}) {
			t.full = r // RFC 5321 §4.5.3.1.10: the others go in a later transaction
		}
	default:
		return t.c.refused(smtp.StageRcpt, r)
	}
	return nil
}

// refuse gives those who were accepted a reply that refuses the message. One for now is for the recipients of further transactions, too.
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

// final reads what follows the final dot.
func (t *transaction) final(ctx context.Context) {
	c := t.c
	if !c.LMTP {
		r, err := c.read(ctx, c.Timeouts.final())
		t.settleFinal(ctx, t.accepted, r, err)
		return
	}
	for n := range t.accepted { // RFC 2033 §4.2: in the order of their RCPT
		r, err := c.read(ctx, c.Timeouts.final())
		if err != nil || r.Code/100 == 3 { // whose reply the next one would be, nobody knows
			t.settleFinal(ctx, t.accepted[n:], r, err)
			return
		}
		t.settleFinal(ctx, t.accepted[n:n+1], r, nil)
	}
}

// settleFinal gives recipients what was said to the final dot. Without a reply that makes sense it is unknown
// whether the host has the message.
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

// fail gives everyone who has no result yet that of f. So it does to those who were refused in a group, if its
// replies got out of step: they may have been meant for others.
func (t *transaction) fail(f *failure) {
	for _, i := range t.rcpts {
		if r := &t.m.results[i]; f.outOfStep && t.c.ext.pipelining && r.Stage == smtp.StageRcpt && !r.Local {
			r.Reply = nil
		}
	}
	t.m.fail(t.m.undecided(slices.Clone(t.m.rcpts)), f)
}
