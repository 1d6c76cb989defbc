package postrider

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// checkSuppressed returns an error that names each recipient of a message from code that is suppressed.
func (r *Relay) checkSuppressed(ctx context.Context, m *queue.Message) error {
	if r.Suppress == nil || m.Envelope == nil || m.Envelope.From == "" {
		return nil
	}
	var found faults
	for i, rcpt := range m.Envelope.Recipients {
		if i < len(m.Destinations) && m.Destinations[i] == queue.ExpandedDestination {
			continue // nothing is sent to it
		}
		reply, err := r.suppressed(ctx, m.Tenant, rcpt.Address)
		if err != nil {
			return err
		}
		if reply != nil {
			found.add(fmt.Errorf("recipient %s: %w", rcpt.Address, reply))
		}
	}
	return found.err()
}

// refuseSuppressed refuses a recipient that a client which may relay names at RCPT.
func (r *Relay) refuseSuppressed(
	ctx context.Context, p *server.Peer, env *smtp.Envelope, rcpt smtp.Recipient,
) error {
	if r.Suppress == nil || env.From == "" {
		return nil
	}
	tenant := ""
	if r.Suppress.ByTenant {
		alone := *env
		alone.Recipients = []smtp.Recipient{rcpt}
		var err error
		if tenant, _, err = r.tenantOf(ctx, p, &alone); err != nil {
			return err
		}
	}
	reply, err := r.suppressed(ctx, tenant, rcpt.Address)
	if err != nil {
		r.logger().LogAttrs(ctx, slog.LevelError, "recipient refused: the list of suppressed addresses failed",
			slog.String("session", p.ID), slog.Any("err", err))
		return smtp.NewReply(451, "4.3.0", "the list of suppressed addresses can't be read, try again later")
	}
	if reply != nil {
		return reply
	}
	return nil
}

// suppressed returns the reply for an address that is suppressed, or nil.
func (r *Relay) suppressed(ctx context.Context, tenant, address string) (reply *smtp.Reply, err error) {
	fault := r.call(ctx, "List of Suppress", func() error {
		e, err := r.Suppress.Refuse(ctx, tenant, address)
		if e != nil {
			reply = e.Reply()
		}
		return err
	})
	return reply, fault
}
