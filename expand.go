package postrider

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// Bounds on the work of Expand on one message.
const (
	maxExpanded  = 10_000  // recipients
	maxLooked    = 100_000 // addresses looked at, those that come again included
	maxExpansion = 20      // aliases in a chain
)

// expand replaces the relay's own postmaster and, by Expand, the aliases among the recipients. env stays as it is, and
// is returned if nothing changes. expanded are the aliases of several addresses whose expansion is reported.
func (r *Relay) expand(ctx context.Context, env *smtp.Envelope, stranger bool) (
	_ *smtp.Envelope, expanded []smtp.Recipient, err error,
) {
	forUs := func(rcpt smtp.Recipient) bool { return r.isPostmaster(rcpt.Address) }
	if r.Expand == nil && !slices.ContainsFunc(env.Recipients, forUs) {
		return env, nil, nil
	}
	x := newExpansion(r)
	x.stranger = stranger
	for _, rcpt := range env.Recipients {
		members, aliased, err := x.of(ctx, rcpt)
		if err != nil {
			return nil, nil, fmt.Errorf("recipient %s: %w", rcpt.Address, err)
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
		x.join(members, aliased)
	}
	changed := *env
	changed.Recipients = x.all
	if stranger || r.NoReports || env.From == "" { // a stranger's reverse-path may be another's; RFC 5321 §4.5.5
		expanded = nil
	}
	return &changed, expanded, nil
}

// keepExpanded adds aliases as recipients to which nothing is sent. Their task is settled with the report that they
// were expanded. So the report is owed as soon as the message is stored, in the same commit.
func keepExpanded(m *queue.Message, expanded []smtp.Recipient) {
	for _, rcpt := range expanded {
		m.Envelope.Recipients = append(m.Envelope.Recipients, rcpt)
		m.Destinations = append(m.Destinations, queue.ExpandedDestination)
	}
}

// withoutExpanded returns the envelope of m without the aliases of keepExpanded.
func withoutExpanded(m *queue.Message) *smtp.Envelope {
	if !slices.Contains(m.Destinations, queue.ExpandedDestination) {
		return m.Envelope
	}
	env := *m.Envelope
	env.Recipients = nil
	for i, rcpt := range m.Envelope.Recipients {
		if m.Destinations[i] != queue.ExpandedDestination {
			env.Recipients = append(env.Recipients, rcpt)
		}
	}
	return &env
}

// expansion is the work of expand on one message.
type expansion struct {
	relay    *Relay
	stranger bool                // the sender is one
	aliases  map[string][]string // what Expand has returned for an address
	all      []smtp.Recipient
	looked   int             // addresses that were looked at
	place    map[string]int  // of an address in all
	aliased  map[string]bool // addresses in all that came by an alias alone
}

func newExpansion(r *Relay) *expansion {
	return &expansion{
		relay: r, aliases: make(map[string][]string), place: make(map[string]int), aliased: make(map[string]bool),
	}
}

// of returns the recipients that one stands for. They are itself if it is no alias.
func (x *expansion) of(ctx context.Context, rcpt smtp.Recipient) (members []smtp.Recipient, aliased bool, err error) {
	seen := make(map[string]bool)
	var add func(rcpt smtp.Recipient, chain int) error
	add = func(rcpt smtp.Recipient, chain int) error {
		postmaster := x.relay.isPostmaster(rcpt.Address)
		if postmaster {
			if x.relay.postmaster == "" {
				return errNoPostmaster
			}
			if x.stranger && chain == 0 {
				rcpt.ORCPT = originalRecipient(rcpt.Address)
			}
			rcpt.Address = x.relay.postmaster
		}
		key := addressKey(rcpt.Address)
		x.looked++
		if seen[key] {
			return nil
		}
		seen[key] = true
		to, err := x.aliasOf(ctx, key, rcpt)
		if err != nil {
			return err
		}
		if to == nil {
			members = append(members, rcpt)
		}
		if to != nil && chain == maxExpansion || len(x.all)+len(members)+len(to) > maxExpanded ||
			x.looked+len(to) > maxLooked {
			return smtp.NewReply(452, "4.5.3", "the address expands to too many others")
		}
		aliased = aliased || to != nil
		kept := false
		for _, address := range to {
			member := rcpt
			// RFC 3461 §5.2.7.3: reports are about the address that the sender knows. The ORCPT of a stranger isn't
			// kept: see withoutMember.
			if member.ORCPT == "" || x.stranger && chain == 0 && !postmaster {
				member.ORCPT = originalRecipient(rcpt.Address)
			}
			member.Address = address
			if addressKey(address) != key {
				if err := add(member, chain+1); err != nil {
					return err
				}
			} else if !kept { // an alias that keeps a copy for itself
				members, kept = append(members, member), true
			}
		}
		return nil
	}
	if err := add(rcpt, 0); err != nil {
		return nil, false, err
	}
	if len(members) == 0 {
		return nil, false, smtp.NewReply(554, "5.4.6", fmt.Sprintf("the alias %s leads to itself alone", rcpt.Address))
	}
	return members, aliased, nil
}

// join adds recipients that came by an alias or by RCPT. The same RCPT twice goes out twice; an address that also comes
// by an alias goes out once, with the reports that either wants.
func (x *expansion) join(members []smtp.Recipient, aliased bool) {
	for _, m := range members {
		key := addressKey(m.Address)
		i, ok := x.place[key]
		if !ok || !aliased && !x.aliased[key] {
			x.place[key], x.aliased[key] = len(x.all), aliased
			x.all = append(x.all, m)
			continue
		}
		m.Notify = eitherNotify(m.Notify, x.all[i].Notify)
		if aliased {
			m.Address, m.ORCPT = x.all[i].Address, x.all[i].ORCPT
		}
		x.all[i], x.aliased[key] = m, x.aliased[key] && aliased
	}
}

// eitherNotify returns the reports that are in a or in b.
func eitherNotify(a, b smtp.Notify) smtp.Notify {
	switch {
	case a == b, b == smtp.NotifyNever:
		return a
	case a == smtp.NotifyNever:
		return b
	}
	const usual = smtp.NotifyFailure | smtp.NotifyDelay // RFC 3461 §4.1
	return cmp.Or(a, usual) | cmp.Or(b, usual)
}

// isAlias reports whether a recipient of ours is an alias. An alias whose members can't be reached is an error.
func (r *Relay) isAlias(ctx context.Context, rcpt smtp.Recipient) (bool, error) {
	members, _, err := newExpansion(r).of(ctx, rcpt)
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

// aliasOf is Relay.aliasOf, and asks once about each address.
func (x *expansion) aliasOf(ctx context.Context, key string, rcpt smtp.Recipient) ([]string, error) {
	to, ok := x.aliases[key]
	if ok {
		return to, nil
	}
	to, err := x.relay.aliasOf(ctx, rcpt)
	x.aliases[key] = to
	return to, err
}

// aliasOf asks Expand about an address of ours. nil: it is no alias.
func (r *Relay) aliasOf(ctx context.Context, rcpt smtp.Recipient) ([]string, error) {
	_, domain := smtp.SplitAddress(rcpt.Address)
	if r.Expand == nil || !r.isOurs(domain) {
		return nil, nil
	}
	var to []string
	err := r.call(ctx, "Expand", func() (err error) {
		to, err = r.Expand(ctx, rcpt)
		return err
	})
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

// originalRecipient returns an address as a value for ORCPT, or "" if ORCPT has no room for it.
func originalRecipient(address string) string {
	const maxORCPT = 500 // octets; RFC 3461 §4.2
	ascii, ok := smtp.ASCIIAddress(address)
	orcpt := "rfc822;" + ascii
	if !ok { // RFC 6533 §3: the type rfc822 is ASCII
		orcpt = "utf-8;" + ascii
	}
	if len(smtp.EncodeORCPT(orcpt, true)) > maxORCPT {
		return ""
	}
	return orcpt
}

// addressKey is the same for addresses that are the same (RFC 5321 §2.4).
func addressKey(address string) string {
	local, domain := smtp.SplitAddress(address)
	if ascii, err := smtp.ASCIIDomain(domain); err == nil {
		domain = ascii
	}
	return local + "@" + domain
}
