package postrider

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// AllowNetworks lets peers relay whose address lies in one of the prefixes: a value for Relay.Allow.
func AllowNetworks(prefixes ...netip.Prefix) func(context.Context, *server.Peer, smtp.Recipient) (bool, error) {
	return func(_ context.Context, p *server.Peer, _ smtp.Recipient) (bool, error) {
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

// handler is a Relay as its server sees it.
type handler struct{ relay *Relay }

// CheckRcpt says whether the peer may bring mail for this recipient.
func (h *handler) CheckRcpt(ctx context.Context, p *server.Peer, _ *smtp.Envelope, rcpt smtp.Recipient) error {
	r := h.relay
	if r.isPostmaster(rcpt.Address) { // RFC 5321 §4.5.1: taken from anyone
		if r.postmaster == "" {
			return errNoPostmaster
		}
		_, domain := smtp.SplitAddress(r.postmaster)
		_, err := r.router.Destination(domain)
		return err
	}
	local, domain := smtp.SplitAddress(rcpt.Address)
	// A local part that names another host again is none of ours to take from a stranger: the
	// host behind us might follow it, and we would be its open relay.
	routed := strings.ContainsAny(local, "@%!")
	ascii, err := smtp.ASCIIDomain(domain)
	ours := err == nil && r.local[ascii] && !routed
	stranger := p.Username == ""
	if stranger && !ours {
		if err := r.allow(ctx, p, rcpt); err != nil {
			return err
		}
	}
	if _, err := r.router.Destination(domain); err != nil {
		return err
	}
	if stranger && ours {
		return r.checkRoute(ctx, ascii)
	}
	return nil
}

// allow says whether Allow lets the peer relay to the recipient.
func (r *Relay) allow(ctx context.Context, p *server.Peer, rcpt smtp.Recipient) error {
	if r.Allow != nil {
		if ok, err := r.Allow(ctx, p, rcpt); ok || err != nil {
			return err
		}
	}
	return smtp.NewReply(550, "5.7.1", "relaying denied")
}

// Handle stores a mail. The server says 250 only after it returned, so when the mail is durable
// (RFC 5321 §6.1).
func (h *handler) Handle(ctx context.Context, p *server.Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	m, err := h.relay.prepare(env, body, p)
	if err != nil {
		return nil, err
	}
	id, err := h.relay.enqueue(ctx, m, p)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		h.relay.logger().ErrorContext(ctx, "no space to store mail", "peer", p.ID, "err", err)
		return nil, smtp.NewReply(452, "4.3.1", "no space to store it, try again later")
	}
	if err != nil {
		return nil, err
	}
	return smtp.NewReply(250, "2.0.0", "queued as "+string(id)), nil
}

var errNoPostmaster = smtp.NewReply(550, "5.1.1", "there is no postmaster here")

// isPostmaster reports whether the address is that of the relay's own postmaster.
func (r *Relay) isPostmaster(address string) bool {
	local, domain := smtp.SplitAddress(address)
	if domain == "" {
		return true // smtp.CheckAddress takes nothing else without a domain
	}
	if !strings.EqualFold(local, "postmaster") {
		return false
	}
	ascii, err := smtp.ASCIIDomain(domain)
	return err == nil && strings.EqualFold(ascii, r.hostname) && !r.local[ascii]
}

// checkRoute refuses what could only be returned to its sender, who may be forged: a domain of ours that has no
// route and whose mail would go in circles, or that takes none. A fault of the DNS is no reason to refuse.
func (r *Relay) checkRoute(ctx context.Context, domain string) error {
	route, err := r.router.Route(ctx, domain)
	if err == nil && route.MX {
		// We may be the best host by another name; of any other fault of its, a host behind it knows nothing.
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
