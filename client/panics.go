package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/smtp"
)

// errPanic is the cause of a failure by a func of the user that panicked. The log has the panic.
var errPanic = errors.New("a func of the caller panicked")

// look calls a func of the Trace. A panic in it must not change the results of a message that was sent.
func (c *Conn) look(f func()) { c.call("Trace", f) }

// call calls a func of the user. A panic is logged and returned.
func (c *Conn) call(what string, f func()) *guard.Panic {
	p := guard.Call(f)
	if p != nil {
		c.logPanic(what, p)
	}
	return p
}

func (c *Conn) logPanic(what string, p *guard.Panic) {
	log := guard.Logger(c.logger)
	p.Log(context.Background(), log, what, slog.String("host", c.Host), slog.String("addr", c.Addr))
}

// logger returns a Logger whose Handler can't panic.
func (t *Transport) logger() *slog.Logger { return guard.Logger(t.Logger) }

// dialled is dial without its panics.
func (t *Transport) dialled(ctx context.Context, c *Conn) (nc net.Conn, err error) {
	exits := c.onClose
	defer func() {
		if exits != nil { // DialContext ended the goroutine
			exits()
		}
	}()
	p := c.call("DialContext", func() { nc, err = t.dial(ctx, c) })
	exits = nil
	switch {
	case p != nil:
		return nil, errPanic
	case nc == nil && err == nil:
		return nil, errors.New("DialContext returned neither a connection nor an error")
	}
	return nc, err
}

// begun is begin without the panics of Auth, and of the funcs of TLSConfig.
func (c *Conn) begun(ctx context.Context) (f *failure) {
	over := false
	defer func() {
		if !over { // one of them, or of Trace, ended the goroutine
			c.Close()
		}
	}()
	if c.Trace != nil && c.Trace.Opened != nil {
		c.look(func() { c.Trace.Opened(c.session()) })
	}
	p := guard.Call(func() { f = c.begin(ctx) })
	if over = true; p == nil {
		return f
	}
	stage := smtp.StageTLS
	if c.secret {
		stage, c.secret = smtp.StageAuth, false
		if _, ok := p.Value.(runtime.Error); !ok {
			p.Value = fmt.Sprintf("a %T", p.Value) // it may quote a password
		}
	}
	c.logPanic(stage.String(), p)
	c.spoiled = true
	return c.local(stage, errPanic, smtp.NewReply(451, "4.3.0", "internal error"))
}

// changed calls SourceHealth.Changed.
func (t *Transport) changed(s SourceState) {
	if t.SourceHealth.Changed == nil {
		return
	}
	if p := guard.Call(func() { t.SourceHealth.Changed(s) }); p != nil {
		p.Log(context.Background(), t.logger(), "SourceHealth.Changed")
	}
}

// logPanic logs a panic of the Resolver, which package mx returns as an error.
func (t *Transport) logPanic(ctx context.Context, err error) {
	if p, ok := errors.AsType[*guard.Panic](err); ok {
		p.Log(ctx, t.logger(), "Resolver")
	}
}

// transacted is transact. If a func of the user panics there, or ends the goroutine, the session isn't used again: it
// may be in the middle of a message.
func (c *Conn) transacted(ctx context.Context, m *message) (left []int) {
	over := false
	defer func() { c.spoiled = c.spoiled || !over }()
	left = c.transact(ctx, m)
	over = true
	return left
}

// send calls the Sender of a route. After a panic the results are Unknown: the Sender may have delivered before.
func (d *delivery) send(
	ctx context.Context, env *smtp.Envelope, content smtp.Content,
) (results []smtp.Result, err error) {
	p := guard.Call(func() { results, err = d.route.Sender.Send(ctx, env, content) })
	if p == nil {
		return results, err
	}
	p.Log(ctx, d.t.logger(), "the Sender of a route", slog.String("route", d.route.Name))
	results, _ = smtp.Complete(env, nil, smtp.NewReply(451, "4.3.0", "internal error"))
	for i := range results {
		results[i].Outcome = smtp.Unknown
	}
	return results, errPanic
}
