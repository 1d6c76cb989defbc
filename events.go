package postrider

import (
	"context"
	"log/slog"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// Events are called as things happen. Any may be nil.
type Events struct {
	// Accepted is called when a message is durable, before its 250, from the goroutine that took it: several may be at once, and
	// one that takes long delays that reply.
	Accepted func(Accepted)

	// What the queue does with it from there.
	delivery.Events

	// Tried is called after each step of an attempt, with one host, whatever came of it: Deferred tells what the attempt came to in the
	// end. It is called by the goroutine that sends: several may be at once, and one that takes long delays that delivery.
	Tried func(Tried)
}

// Tried is a step of an attempt to deliver a message.
type Tried struct {
	ID queue.ID
	client.Try
}

// Accepted is a message that the relay has taken.
type Accepted struct {
	ID       queue.ID
	Envelope *smtp.Envelope // not to be changed
	Peer     *server.Peer   // as it was then; nil for mail from code
}

// accepted tells of a message that is durable now. The server logs those that came through it.
func (r *Relay) accepted(ctx context.Context, a Accepted) {
	if r.Events.Accepted != nil {
		r.Events.Accepted(a)
	}
	if log := r.logger(); a.Peer == nil && log.Enabled(ctx, slog.LevelInfo) {
		log.LogAttrs(ctx, slog.LevelInfo, "mail", slog.String("from", a.Envelope.From),
			slog.Int("recipients", len(a.Envelope.Recipients)), slog.String("id", string(a.ID)))
	}
}

func (r *Relay) logger() *slog.Logger {
	if r.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.Logger
}
