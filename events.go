package postrider

import (
	"context"
	"log/slog"
	"runtime/debug"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// Accepted is a message that the relay is responsible for.
type Accepted struct {
	ID          queue.ID
	Envelope    *smtp.Envelope // after Expand; must not be changed, nor kept after the call
	Peer        *server.Peer   // a copy; nil for mail from code
	Origin      smtp.Origin
	Ref, Tenant string
}

// accepted reports a message that is durable now. The server logs those that came through it.
func (r *Relay) accepted(ctx context.Context, a Accepted) {
	r.tell(ctx, a)
	if log := r.logger(); a.Peer == nil && log.Enabled(ctx, slog.LevelInfo) {
		attrs := []slog.Attr{slog.String("from", a.Envelope.From), slog.Int("recipients", len(a.Envelope.Recipients)),
			slog.String("id", string(a.ID))}
		if a.Ref != "" {
			attrs = append(attrs, slog.String("ref", a.Ref))
		}
		if a.Tenant != "" {
			attrs = append(attrs, slog.String("tenant", a.Tenant))
		}
		log.LogAttrs(ctx, slog.LevelInfo, "mail", attrs...)
	}
}

// tell calls Accepted. A panic is logged: the message is durable, and a client that got an error would send it again.
func (r *Relay) tell(ctx context.Context, a Accepted) {
	if r.Accepted == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			r.logger().ErrorContext(ctx, "Accepted panics", "id", a.ID, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	r.Accepted(a)
}

func (r *Relay) logger() *slog.Logger {
	if r.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.Logger
}
