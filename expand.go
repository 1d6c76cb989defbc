package postrider

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/postrider/postrider/bounce"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// Bounds on the work of Expand on one message.
const (
	maxExpanded  = 10_000 // recipients
	maxExpansion = 20     // aliases in a chain
)

// expand replaces the relay's own postmaster and, by Expand, the aliases among the recipients. env stays as it is, and
// is returned if nothing changes. expanded are the aliases of several addresses whose sender asked to hear of success.
func (r *Relay) expand(ctx context.Context, env *smtp.Envelope) (
	_ *smtp.Envelope, expanded []smtp.Recipient, err error,
) {
	forUs := func(rcpt smtp.Recipient) bool { return r.isPostmaster(rcpt.Address) }
	if r.Expand == nil && !slices.ContainsFunc(env.Recipients, forUs) {
		return env, nil, nil
	}
	x := expansion{relay: r, seen: make(map[string]bool)}
	for _, rcpt := range env.Recipients {
		members, err := x.of(ctx, rcpt)
		if err != nil {
			return nil, nil, err
		}
		// RFC 3461 §5.2.7.3: success is reported for the alias, and no more for its members.
		if len(members) > 1 && rcpt.Notify&smtp.NotifySuccess != 0 {
			expanded = append(expanded, rcpt)
			for i := range members {
				if members[i].Notify &^= smtp.NotifySuccess; members[i].Notify == 0 {
					members[i].Notify = smtp.NotifyNever
				}
			}
		}
		x.all = append(x.all, members...)
	}
	changed := *env
	changed.Recipients = x.all
	return &changed, expanded, nil
}

// expansion is the work of expand on one message.
type expansion struct {
	relay *Relay
	seen  map[string]bool // addresses that have been looked at
	all   []smtp.Recipient
}

// of returns the recipients that one stands for: itself if it is no alias, and none if they are all there already.
func (x *expansion) of(ctx context.Context, rcpt smtp.Recipient) ([]smtp.Recipient, error) {
	if x.relay.isPostmaster(rcpt.Address) {
		if x.relay.postmaster == "" {
			return nil, errNoPostmaster
		}
		rcpt.Address = x.relay.postmaster
	}
	var members []smtp.Recipient
	looped := false
	var add func(rcpt smtp.Recipient, chain []string) error
	add = func(rcpt smtp.Recipient, chain []string) error {
		key := addressKey(rcpt.Address)
		if x.seen[key] {
			looped = looped || slices.Contains(chain, key)
			return nil
		}
		to, err := x.relay.aliasOf(ctx, rcpt)
		if err != nil {
			return err
		}
		if to != nil || len(chain) > 0 {
			x.seen[key] = true // the same RCPT twice goes out twice; an alias and its members once
		}
		if to == nil {
			members = append(members, rcpt)
		}
		if to != nil && len(chain) == maxExpansion || len(x.all)+len(members)+len(to) > maxExpanded {
			return smtp.NewReply(452, "4.5.3", "the address expands to too many others")
		}
		chain = append(chain, key)
		for _, address := range to {
			member := rcpt
			if member.ORCPT == "" { // RFC 3461 §5.2.7.3: reports are about the address that the sender knows
				member.ORCPT = originalRecipient(rcpt.Address)
			}
			if member.Address = address; addressKey(address) == key {
				members = append(members, member) // an alias that keeps a copy for itself
				continue
			}
			if err := add(member, chain); err != nil {
				return err
			}
		}
		return nil
	}
	if err := add(rcpt, nil); err != nil {
		return nil, err
	}
	if len(members) == 0 && looped {
		return nil, smtp.NewReply(554, "5.4.6", fmt.Sprintf("the alias %s leads to itself alone", rcpt.Address))
	}
	return members, nil
}

// isAlias reports whether a recipient of ours is an alias. An alias whose members can't be reached is an error.
func (r *Relay) isAlias(ctx context.Context, rcpt smtp.Recipient) (bool, error) {
	x := expansion{relay: r, seen: make(map[string]bool)}
	members, err := x.of(ctx, rcpt)
	if err != nil {
		return false, err
	}
	for _, m := range members {
		_, domain := smtp.SplitAddress(m.Address)
		if _, err := r.router.Destination(domain); err != nil {
			return false, err
		}
	}
	return len(members) != 1 || members[0].Address != rcpt.Address, nil
}

// aliasOf asks Expand about an address of ours. nil: it is no alias.
func (r *Relay) aliasOf(ctx context.Context, rcpt smtp.Recipient) ([]string, error) {
	_, domain := smtp.SplitAddress(rcpt.Address)
	if r.Expand == nil || !r.isOurs(domain) {
		return nil, nil
	}
	to, err := r.Expand(ctx, rcpt)
	if err != nil || len(to) == 0 {
		return nil, err
	}
	for _, address := range to {
		if err := smtp.CheckAddress(address); err != nil {
			return nil, fmt.Errorf("Expand of %s: %w", rcpt.Address, err)
		}
	}
	return to, nil
}

// originalRecipient returns an address as a value for ORCPT.
func originalRecipient(address string) string {
	ascii, ok := smtp.ASCIIAddress(address)
	if !ok { // RFC 6533 §3: the type rfc822 is ASCII
		return "utf-8;" + ascii
	}
	return "rfc822;" + ascii
}

// addressKey is the same for addresses that are the same (RFC 5321 §2.4).
func addressKey(address string) string {
	local, domain := smtp.SplitAddress(address)
	if ascii, err := smtp.ASCIIDomain(domain); err == nil {
		domain = ascii
	}
	return local + "@" + domain
}

// reportExpanded tells the sender which recipients were expanded (RFC 3461 §5.2.7.3). It comes after the message is
// durable: a crash in between loses this report, never the message.
func (r *Relay) reportExpanded(ctx context.Context, id queue.ID, p prepared) error {
	report := bounce.Report{
		ReportingMTA: r.hostname,
		Envelope:     p.Envelope,
		Arrival:      time.Now(),
		Original:     bytes.NewReader(p.header),
		MaxReturn:    -1, // the header is all that we have at hand
	}
	for _, rcpt := range p.expanded {
		report.Recipients = append(report.Recipients, bounce.Recipient{Recipient: rcpt, Action: bounce.Expanded})
	}
	env, content, err := report.Compose()
	if err != nil {
		return err
	}
	m, err := r.reportMessage(env, content, p.Tenant)
	if err != nil {
		return err
	}
	m.About = id
	_, err = r.Queue.Enqueue(ctx, m)
	return err
}
