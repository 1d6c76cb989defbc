package client

import (
	"context"
	"time"

	"github.com/postrider/postrider/smtp"
)

// Try is one step of a Send, with one host: what a user wants to see who asks why a mail waits.
type Try struct {
	Session Session // Host, Addr and Source as far as it got; the ID is zero where there was no session
	Reused  bool    // the session had been idle
	Route   string  // its name
	Begun   time.Time
	Took    time.Duration

	// Results are those of the recipients that the host was asked about. If nil, it came to no transaction, and Err says why.
	// Err is also what the func of a route gave.
	Results []smtp.Result
	Err     error
}

// offered tells that the recipients in message.rcpts were offered.
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
	d.t.Tried(ctx, t)
}

// tried tells of a step that came to no transaction.
func (d *delivery) tried(ctx context.Context, begun time.Time, s Session, f *failure) {
	if d.t.Logger != nil {
		d.t.Logger.Debug("host failed", "host", s.Host, "addr", s.Addr, "stage", f.stage.String(), "error", f)
	}
	if d.t.Tried != nil {
		d.t.Tried(ctx, Try{Session: s, Route: d.route.Name, Begun: begun, Took: time.Since(begun), Err: f})
	}
}
