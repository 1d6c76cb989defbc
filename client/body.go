package client

import (
	"context"
	"errors"

	"github.com/postrider/postrider/smtp"
)

// body sends the content and the final dot. After a failure the dot has not been sent.
func (t *transaction) body(ctx context.Context) *failure {
	c := t.c
	if err := c.premature(); err != nil {
		return c.failed(ctx, smtp.StageData, err)
	}
	t.j.out = bodyWriter{c, ctx}
	if err := smtp.WriteData(&t.j.out, t.j.content); err != nil {
		return c.bodyFailed(ctx, err)
	}
	return nil
}

// bodyFailed makes a failure of what ended a body: the content, or the connection.
func (c *Conn) bodyFailed(ctx context.Context, err error) *failure {
	if _, own := errors.AsType[*smtp.ContentError](err); !own {
		return c.failed(ctx, smtp.StageBody, c.lastWords(ctx, err))
	}
	f := contentFailure(smtp.StageBody, err)
	f.host, f.addr, f.tls = c.Host, c.Addr, c.version
	return f
}

// contentFailure is for a message that can't be read, or can't be sent by DATA.
func contentFailure(stage smtp.Stage, err error) *failure {
	r, ok := errors.AsType[*smtp.Reply](err)
	if !ok {
		r = smtp.NewReply(451, "4.3.0", "the message could not be read")
	}
	return &failure{stage: stage, reply: r, local: true, cause: err}
}

// bodyWriter gives each block of a message its own time.
type bodyWriter struct {
	c   *Conn
	ctx context.Context // of the one call that writes
}

func (w *bodyWriter) Write(p []byte) (int, error) {
	w.c.traceContent(len(p))
	return w.c.writeBlock(w.ctx, p)
}

func (c *Conn) writeBlock(ctx context.Context, p []byte) (int, error) {
	c.arm(ctx, c.Timeouts.block())
	return c.conn.Write(p)
}
