package postrider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// AllowNetworks is for Relay.Allow: clients whose address is in one of the prefixes may relay.
func AllowNetworks(prefixes ...netip.Prefix) func(context.Context, *server.Peer, smtp.Recipient) (bool, error) {
	return func(_ context.Context, p *server.Peer, _ smtp.Recipient) (bool, error) {
		if p == nil {
			return false, nil
		}
		addr, ok := p.RemoteAddr.(*net.TCPAddr)
		if !ok {
			return false, nil
		}
		ip := addr.AddrPort().Addr().Unmap().WithZone("")
		for _, prefix := range prefixes {
			if prefix.Contains(ip) {
				return true, nil
			}
		}
		return false, nil
	}
}

// handler is a Relay as its servers call it.
type handler struct{ relay *Relay }

// CheckMail refuses a reverse-path that the user may not use.
func (h *handler) CheckMail(ctx context.Context, p *server.Peer, env *smtp.Envelope) error {
	if env.From == "" {
		return nil
	}
	return h.relay.checkSender(ctx, p, env.From)
}

// checkSender asks SendAs.
func (r *Relay) checkSender(ctx context.Context, p *server.Peer, address string) error {
	if r.SendAs == nil || p == nil || p.Username == "" {
		return nil
	}
	var may bool
	err := r.call(ctx, "SendAs", func() (err error) {
		may, err = r.SendAs(ctx, p, address)
		return err
	})
	if may || err != nil {
		return err
	}
	return smtp.NewReply(550, "5.7.1", "you may not send as "+address) // RFC 6409 §6.1
}

// checkedAuthors returns the addresses of the From field, nil if they can't be read. It asks SendAs about each.
func (r *Relay) checkedAuthors(ctx context.Context, p *server.Peer, h *facts) ([]string, error) {
	addresses, ok := h.authors()
	if r.SendAs == nil || p == nil || p.Username == "" {
		return addresses, nil
	}
	if !ok {
		return nil, smtp.NewReply(554, "5.6.0", "the From field is missing or can't be read")
	}
	for _, address := range addresses {
		if err := r.checkSender(ctx, p, address); err != nil {
			return nil, err
		}
	}
	return addresses, nil
}

// Allow implements [server.Allower].
func (h *handler) Allow(
	ctx context.Context, p *server.Peer, _ *smtp.Envelope, rcpt smtp.Recipient,
) (allowed bool, err error) {
	if h.relay.Allow == nil {
		return false, nil
	}
	err = h.relay.call(ctx, "Allow", func() (err error) {
		allowed, err = h.relay.Allow(ctx, p, rcpt)
		return err
	})
	return allowed, err
}

// CheckRcpt returns an error unless the client may bring mail for this recipient.
func (h *handler) CheckRcpt(ctx context.Context, p *server.Peer, env *smtp.Envelope, rcpt smtp.Recipient) error {
	r := h.relay
	if err := mayAsk(p, env); err != nil {
		return err
	}
	postmaster := r.isPostmaster(rcpt.Address) // RFC 5321 §4.5.1: accepted from anyone
	if postmaster {
		if r.postmaster == "" {
			return errNoPostmaster
		}
		rcpt.Address = r.postmaster
	}
	local, domain := smtp.SplitAddress(rcpt.Address)
	// A stranger's local part that names another host isn't ours: the host after us might follow it, and make us an
	// open relay.
	routed := strings.ContainsAny(local, "@%!")
	ours := r.isOurs(domain)
	if !p.Allowed && !postmaster && (!ours || routed) {
		return smtp.NewReply(550, "5.7.1", "relaying denied")
	}
	if ours && !postmaster && r.CheckRcpt != nil {
		if err := r.call(ctx, "CheckRcpt", func() error { return r.CheckRcpt(ctx, p, rcpt) }); err != nil {
			return err
		}
	}
	if ours && r.Expand != nil {
		switch aliased, err := r.isAlias(ctx, rcpt); {
		case err != nil:
			return err
		case aliased:
			return nil
		}
	}
	if _, err := r.router.Destination(domain); err != nil {
		return err
	}
	if !p.Allowed {
		return r.checkRoute(ctx, domain)
	}
	return r.refuseSuppressed(ctx, p, env, rcpt)
}

// tenantOf returns what TenantOf returns, which is empty without one.
func (r *Relay) tenantOf(ctx context.Context, p *server.Peer, env *smtp.Envelope) (tenant, ref string, err error) {
	if r.TenantOf != nil {
		err = r.call(ctx, "TenantOf", func() error { tenant, ref = r.TenantOf(ctx, p, env); return nil })
	}
	return tenant, ref, err
}

// Handle stores a message. The server says 250 after Handle has returned, when the message is durable (RFC 5321 §6.1).
func (h *handler) Handle(ctx context.Context, p *server.Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	m, err := h.relay.prepare(ctx, env, body, p)
	if err != nil {
		return nil, err
	}
	held := heldBy(ctx)
	if _, ok := h.relay.Queue.(queue.Holder); held != "" && !ok {
		h.relay.logger().ErrorContext(ctx, "mail refused: a check holds it, and the Queue is no Holder",
			"session", p.ID, "reason", held)
		return nil, smtp.NewReply(451, "4.3.0", "it can't be held here, try again later")
	}
	m.Held, m.HeldFor = held != "", held
	if m.Tenant, m.Ref, err = h.relay.tenantOf(ctx, p, env); err != nil {
		return nil, err
	}
	id, _, err := h.relay.enqueue(ctx, m, p)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		h.relay.logger().ErrorContext(ctx, "mail refused: no disk space", "session", p.ID, "err", err)
		return nil, smtp.NewReply(452, "4.3.1", "no space to store it, try again later")
	}
	if err != nil {
		return nil, err
	}
	p.Log(appendOwner(m.Ref, m.Tenant, slog.String("id", string(id)))...)
	if m.Held {
		h.relay.logger().LogAttrs(ctx, slog.LevelInfo, "mail held", appendOwner(m.Ref, m.Tenant,
			slog.String("session", p.ID), slog.String("id", string(id)), slog.String("reason", held))...)
	}
	if m.Priority != env.Priority { // RFC 6710: X.3.6, and the text begins with the new priority
		return smtp.NewReply(250, "2.3.6", fmt.Sprintf("%d is the priority, queued as %s", m.Priority, id)), nil
	}
	return smtp.NewReply(250, "2.0.0", "queued as "+string(id)), nil
}

// heldBy returns the reason for which a check of the server holds the message, "" if none does.
func heldBy(ctx context.Context) string {
	if s := server.SessionOf(ctx); s != nil {
		return s.Held()
	}
	return ""
}

var errNoPostmaster = smtp.NewReply(550, "5.1.1", "there is no postmaster here")

// isPostmaster reports whether the address is that of the relay's own postmaster.
func (r *Relay) isPostmaster(address string) bool {
	local, domain := smtp.SplitAddress(address)
	if domain == "" {
		return true // smtp.CheckAddress accepts no other address without a domain
	}
	if !strings.EqualFold(local, "postmaster") || r.isOurs(domain) {
		return false
	}
	ascii, err := smtp.ASCIIDomain(domain)
	return err == nil && strings.EqualFold(ascii, r.hostname)
}

// isOurs reports whether the domain is one of Domains.
func (r *Relay) isOurs(domain string) bool {
	ascii, err := smtp.ASCIIDomain(domain)
	return err == nil && r.ours[ascii]
}

// checkRoute refuses mail that could only be returned to its sender, who may be forged: for a domain of ours that has
// no route and whose mail would go in circles, or that accepts none. A failure of the DNS refuses nothing.
func (r *Relay) checkRoute(ctx context.Context, domain string) error {
	route, err := r.router.Route(ctx, domain)
	if err == nil && route.MX {
		// We may be the best host by another name. Any other fault of it says nothing about the hosts after it.
		_, fault := r.router.Addrs(ctx, route, route.Hosts[0])
		if len(route.Hosts) == 1 || errors.Is(fault, mx.ErrLoop) {
			err = fault
		}
	}
	if reply, ok := errors.AsType[*smtp.Reply](err); ok && reply.Permanent() {
		return err
	}
	return nil
}
