package client

import (
	"context"
	"log/slog"
	"time"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/smtp"
)

// Try is one step of a Send: one host, at one address. It explains why a message waits.
type Try struct {
	// Session identifies the session. Its ID is zero, and its Addr may be empty, if no connection was attempted.
	Session SessionInfo

	// Reused reports whether the session was idle before.
	Reused bool

	// Route is the name of the route.
	Route string

	// Security is how the session is secured, and how a policy demanded it.
	Security Security

	// Begun is when the step began, and Took its length.
	Begun time.Time
	Took  time.Duration

	// Results are the results of the recipients that were offered to the host. Results is nil if there was no
	// transaction; then Err has the cause. If the host refused the message in a Reused session, in a way that may be
	// about the session, the next Try is in a new session, and its Results count.
	Results []smtp.Result

	// Err is the cause if there was no transaction, or the error of the route's own Sender beside its Results. If it
	// holds smtp.ErrTakenBack, the host isn't the cause.
	Err error
}

// offered reports an offer to the recipients in message.rcpts.
func (d *delivery) offered(ctx context.Context, t Try) {
	if d.t.Tried == nil {
		return
	}
	t.Route, t.Took = d.route.Name, time.Since(t.Begun)
	for _, i := range d.message.rcpts {
		if r := d.message.results[i]; r.Reply != nil {
			t.Results = append(t.Results, r)
		}
	}
	d.report(ctx, t)
}

// tried reports a step without a transaction.
func (d *delivery) tried(ctx context.Context, t Try, f *failure) {
	if s := t.Session; d.t.Logger != nil && !takenBack(ctx) {
		d.t.logger().Debug("host failed", "host", s.Host, "addr", s.Addr, "stage", f.stage.String(), "err", f)
	}
	if d.t.Tried != nil {
		t.Route, t.Took, t.Err = d.route.Name, time.Since(t.Begun), f
		d.report(ctx, t)
	}
}

func (d *delivery) report(ctx context.Context, t Try) {
	if p := guard.Call(func() { d.t.Tried(ctx, t) }); p != nil {
		p.Log(ctx, d.t.logger(), "Tried", slog.String("route", t.Route))
	}
}
