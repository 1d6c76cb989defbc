package client

import (
	"context"
	"errors"
	"time"

	"github.com/postrider/postrider/smtp"
)

// data goes on after the reply to DATA. r is nil for a 3xx.
func (t *transaction) data(ctx context.Context, r *smtp.Reply) {
	c := t.c
	c.answered = true
	switch {
	case r == nil && len(t.accepted) == 0:
		t.emptyBody(ctx)
	case r == nil:
		if f := t.body(ctx); f != nil {
			// Half a message must not be committed: no dot, no RSET, no QUIT.
			c.Close()
			t.fail(f)
			return
		}
		c.open = false
		t.final(ctx)
	case r.Code >= 400 && r.Code < 600:
		t.refuse(smtp.StageData, r)
	default:
		t.fail(c.refused(smtp.StageData, r))
	}
}

// body sends the content and the final dot. After a failure, the dot was not sent.
func (t *transaction) body(ctx context.Context) *failure {
	c := t.c
	if err := c.premature(); err != nil {
		return c.failed(ctx, smtp.StageData, err)
	}
	t.matched = true
	t.m.out = bodyWriter{c, ctx}
	c.body = pace{}
	if err := smtp.WriteData(&t.m.out, t.content); err != nil {
		return c.bodyFailed(ctx, err)
	}
	return nil
}

// bodyFailed returns the failure for err, which ended a body: an error of the content, or of the connection.
func (c *Conn) bodyFailed(ctx context.Context, err error) *failure {
	if _, own := errors.AsType[*smtp.ContentError](err); !own {
		return c.failed(ctx, smtp.StageBody, c.lastWords(ctx, err))
	}
	return c.local(smtp.StageBody, err, contentReply(err))
}

// contentFailure returns the failure of a message that can't be read, or can't be sent by DATA, whatever the host.
func contentFailure(err error) *failure {
	return &failure{stage: smtp.StageRoute, reply: contentReply(err), local: true, cause: err}
}

// contentReply returns the reply for an error of a content.
func contentReply(err error) *smtp.Reply {
	if r, ok := errors.AsType[*smtp.Reply](err); ok {
		return r
	}
	return smtp.NewReply(451, "4.3.0", "the message could not be read")
}

// bodyWriter sets a new deadline for each block of a message.
type bodyWriter struct {
	c   *Conn
	ctx context.Context // of the one call that writes
}

func (w *bodyWriter) Write(p []byte) (int, error) {
	w.c.traceContent(len(p))
	return w.c.writeBlock(w.ctx, p)
}

// pace is how a host takes a message.
type pace struct {
	sent  int64         // octets
	spent time.Duration // on waits for the host; reading the content isn't its fault
}

// due returns the time until when a host with this rate has taken the octets so far, with some grace.
func (p *pace) due(now time.Time, rate int64, grace time.Duration) time.Time {
	if rate < 0 {
		return time.Time{}
	}
	const most = 1 << 30 // seconds, so that no duration overflows
	return now.Add(grace - p.spent).Add(time.Duration(min(p.sent/rate, most)) * time.Second)
}

func (c *Conn) writeBlock(ctx context.Context, p []byte) (int, error) {
	c.body.sent += int64(len(p))
	begun := time.Now()
	c.until = c.body.due(begun, c.Timeouts.minDataRate(), c.Timeouts.dataBlock())
	c.arm(ctx, c.Timeouts.dataBlock())
	n, err := c.conn.Write(p)
	c.body.spent += time.Since(begun)
	return n, err
}

// emptyBody ends DATA if the host said 3xx although it had accepted no recipient: by a lone dot (RFC 2920 §3.1).
// Whatever the host replies, no recipient is Delivered.
func (t *transaction) emptyBody(ctx context.Context) {
	c := t.c
	if c.LMTP {
		c.Close() // RFC 2033 §4.2: one reply a recipient, and there is no recipient
		return
	}
	if err := c.write(ctx, c.Timeouts.final(), []byte(".\r\n")); err != nil {
		c.spoiled = true
		return
	}
	if _, err := c.read(ctx, c.Timeouts.final()); err == nil {
		c.open = false
	}
}
