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
	c         *Conn
	m         *message
	rcpts     []int // the recipients of the transaction
	next      int   // the index in rcpts of the first one without a RCPT so far
	mailSaid  bool
	accepted  []int       // the recipients that got a 2xx
	matched   bool        // the host sent as many replies as it got commands, up to the body
	refused   *smtp.Reply // the reply by which the host refused the message, for now or for good
	stage     smtp.Stage  // the stage of refused
	late      time.Time   // after it, no further RCPT is sent
	converted bool        // content was made 7-bit after a refusal of MAIL
	full      *smtp.Reply // the reply by which the host refused further recipients in this transaction
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
	c.answered, c.worn = false, nil
	used := c.renew && c.mails > 0 // by a message before
	how, left, f := c.fit(m)
	for _, i := range left {
		m.results[i].Reply = nil
	}
	if c.unfit = f; f != nil {
		// A recipient that another host deferred stays deferred.
		m.fail(m.undecided(without(m.rcpts, left)), f)
	}
	if c.broken != 0 {
		how.offer = strip(how.offer, c.broken&m.spare())
	}
	whole := how.offer
	stop := c.watch(ctx)
	defer c.unwatch(stop)
	begun, ext, trial := time.Now(), c.ext, keywords(0)
	most, again := len(left), false // the most recipients of a transaction; whether some are offered again
	for len(left) > 0 && !c.spoiled && !c.spent() && time.Since(begun) <= c.Timeouts.attempt() {
		rcpts := c.batch(m, left)
		t := transaction{manner: how, c: c, m: m, rcpts: rcpts[:min(most, len(rcpts))], accepted: c.accepted[:0]}
		if len(t.rcpts) == 0 {
			break
		}
		t.late = time.Now().Add(c.Timeouts.envelope(len(t.rcpts)))
		t.run(ctx)
		if trial != 0 && len(t.accepted) > 0 {
			c.breaks(trial)
		} else if trial != 0 {
			c.ext = ext // the refusal was about something else
		}
		if trial = t.bare(); trial != 0 {
			if t.converted {
				how.offer, how.content = whole, t.content // the refusal was about the 8 bits
				if how.offer.Size >= 0 {
					how.offer.Size = t.content.Size()
				}
			}
			how.offer = strip(how.offer, trial)
			c.ext.remove(trial & kwDSN) // Result.DSN goes by it
		}
		if t.again() {
			most, again = 2*len(t.accepted), true // else each transaction would offer all the others again
		}
		if t.refused != nil { // further transactions would have the same message
			t.settleAll(m.undecided(slices.Clone(left)), t.stage, t.refused)
		}
		if used {
			c.worn = t.worn(left, again)
		}
		c.accepted, left = t.accepted, m.undecided(left)
		switch c.retired = c.retired || len(c.worn) > 0; {
		case t.refused != nil:
			return nil
		case c.retired:
			return left
		}
		used = c.renew && c.taken || used
		how.chunked = how.chunked && !c.broken.has(kwChunking)
	}
	return left
}

// without returns the recipients among rcpts that aren't in left, which has some of them in the same order.
func without(rcpts, left []int) (others []int) {
	for _, i := range rcpts {
		if len(left) > 0 && left[0] == i {
			left = left[1:]
		} else {
			others = append(others, i)
		}
	}
	return others
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
	t.c.irregular = false
	for {
		g := t.compose()
		if len(t.c.out) == 0 {
			if t.chunked && len(t.accepted) > 0 {
				t.chunks(ctx)
			}
			return
		}
		data, f := t.exchange(ctx, g)
		if f != nil && t.c.irregular && t.c.ext.pipelining {
			f.outOfStep = true // a line that was skipped may have stood for a reply
		}
		t.judgeGroup(ctx, g, f)
		switch {
		case f != nil && t.refused != nil && !f.outOfStep:
			return // the refusal stands, whatever the failure
		case f != nil:
			t.refused = nil
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
	if t.next > 0 && t.next < len(t.rcpts) && time.Now().After(t.late) {
		t.rcpts = t.rcpts[:t.next] // the others are left for a later transaction
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

// exchange sends a group and reads all replies to it. data is the reply to DATA, nil for a 3xx. A failure ends the
// transaction and the session.
func (t *transaction) exchange(ctx context.Context, g group) (data *smtp.Reply, f *failure) {
	c, refused := t.c, false
	stage, times := smtp.StageMail, c.Timeouts.mail()
	if !g.mail && len(g.rcpts) > 0 {
		stage, times = smtp.StageRcpt, c.Timeouts.rcpt()
	} else if g.data && !g.mail {
		stage, times = smtp.StageData, c.Timeouts.data()
	}
	if c.until = (time.Time{}); stage != smtp.StageData {
		c.until = t.late.Add(c.Timeouts.rcpt())
	}
	if err := c.write(ctx, times, c.out); err != nil {
		return nil, c.failed(ctx, stage, err)
	}
	if g.rset {
		r, err := c.read(ctx, c.Timeouts.hello())
		if err != nil {
			return nil, c.failed(ctx, smtp.StageMail, err)
		}
		if c.spoiled || !positive(r.Code) {
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
		refused = r != nil
	}
	for _, i := range g.rcpts {
		r, err := c.readUnless(ctx, c.Timeouts.rcpt(), positive)
		if err != nil {
			return nil, c.failed(ctx, smtp.StageRcpt, err)
		}
		if f := t.rcptReply(i, r); f != nil {
			return nil, f
		}
		refused = refused || r != nil
	}
	if c.until = (time.Time{}); len(g.rcpts) > 0 {
		stage = smtp.StageRcpt
	}
	if g.data {
		stage = smtp.StageData
		var err error
		if data, err = c.readUnless(ctx, c.Timeouts.data(), goAhead); err != nil {
			return nil, c.failed(ctx, stage, err)
		} else if c.spoiled {
			return nil, c.said(stage, data)
		}
		refused = refused || data != nil
	}
	if refused { // else the next write finds what is left
		f = c.surplus(ctx, stage)
	}
	return data, f
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
		if r.Code == 530 && t.c.security.Err != nil && t.c.security.Version == "" {
			// RFC 3207 §4: the host demands TLS, which failed. That is about the session, and not about the message.
			t.c.spoiled = true
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
		if res := &t.m.results[i]; len(rcpts) > 1 && res.Reason.About() == smtp.AboutAddress {
			res.Reason = smtp.Other // which of their addresses does it mean?
		}
	}
}

// fail sets the results of all recipients without one to f. If the replies didn't match the commands before the body,
// the refused recipients get f too: their refusals may have been meant for others, or for no command. Without
// PIPELINING, that takes a reply too many.
func (t *transaction) fail(f *failure) {
	doubtful := f.outOfStep && (t.c.ext.pipelining || f.cause == errPremature) && !t.matched
	for _, i := range t.rcpts {
		if r := &t.m.results[i]; doubtful && r.Stage == smtp.StageRcpt && !r.Local {
			r.Reply = nil
		}
	}
	t.m.fail(t.m.undecided(slices.Clone(t.m.rcpts)), f)
}
