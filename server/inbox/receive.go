package inbox

import (
	"bytes"
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/quota"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/internal/recent"
	"github.com/postrider/postrider/smtp"
)

// receiver is what the switches decide by. Inbox.mu guards it.
type receiver struct {
	switches Switches
	changed  chan struct{} // closed by SetSwitches
	counted  quota.Counter
	seen     recent.Map[triplet, time.Time] // the first attempt
	refused  []Refused                      // the oldest first
}

// triplet identifies a message for greylisting.
type triplet struct {
	client   netip.Addr // invalid on a Unix socket
	from, to string
}

// Refused is a refusal that a client got.
type Refused struct {
	Time   time.Time `json:"time"`
	At     Moment    `json:"at"`
	Client string    `json:"client"`
	From   string    `json:"from"` // the reverse-path; "" also before MAIL
	To     string    `json:"to,omitempty"`
	Reply  string    `json:"reply"`
}

const (
	maxRefused = 100    // that are remembered
	maxSeen    = 10_000 // attempts that greylisting remembers
)

// Switches returns what the receiver does to mail now.
func (in *Inbox) Switches() Switches {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.receiver.switches.clone()
}

func (s Switches) clone() Switches {
	s.Refuse, s.Quotas, s.Stalls = slices.Clone(s.Refuse), slices.Clone(s.Quotas), slices.Clone(s.Stalls)
	return s
}

// SetSwitches changes what the receiver does to mail, from the next command of each session on. Clients that wait in a
// Stall go on. A Quota that is the same as before keeps its count, and greylisting its memory unless it is switched
// off. If s isn't valid, nothing changes, and an error says what is wrong.
func (in *Inbox) SetSwitches(s Switches) error {
	if err := s.Check(); err != nil {
		return err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	r := &in.receiver
	for of := range quota.Parties {
		if limit := s.limit(of); limit != r.switches.limit(of) {
			r.counted.Set(of, limit)
		}
	}
	if s.Greylist == 0 {
		r.seen = recent.Map[triplet, time.Time]{}
	}
	r.switches = s.clone()
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
	return nil
}

// limit returns the quota of a party.
func (s *Switches) limit(of quota.Party) quota.Limit {
	for _, q := range s.Quotas {
		if q.By == Party(of) {
			return quota.Limit{N: q.Messages, Per: q.Per}
		}
	}
	return quota.Limit{}
}

// Refusals returns the last refusals that clients got, at most 100, the oldest first.
func (in *Inbox) Refusals() []Refused {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.receiver.refused)
}

// refuse remembers a refusal. in.mu is held.
func (r *receiver) refuse(at Moment, p *server.Peer, from, to string, reply *smtp.Reply) error {
	if len(r.refused) == maxRefused {
		r.refused = slices.Delete(r.refused, 0, 1)
	}
	client := ""
	if p.RemoteAddr != nil {
		client = p.RemoteAddr.String()
	}
	r.refused = append(r.refused, Refused{time.Now(), at, client, from, to, reply.Error()})
	return reply
}

// rule returns the refusal of an address at a moment, or nil. Inbox.mu is held.
func (r *receiver) rule(at Moment, address string) *smtp.Reply {
	for i := range r.switches.Refuse {
		if rule := &r.switches.Refuse[i]; rule.matches(at, address) {
			return rule.Reply
		}
	}
	return nil
}

// stall waits as the switches say. It returns an error if ctx ends.
func (in *Inbox) stall(ctx context.Context, at Moment) error {
	in.mu.Lock()
	r := &in.receiver
	i := slices.IndexFunc(r.switches.Stalls, func(s Stall) bool { return s.At == at })
	if i < 0 {
		in.mu.Unlock()
		return nil
	}
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	changed := r.changed
	timer := time.NewTimer(r.switches.Stalls[i].For)
	in.mu.Unlock()
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-changed:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// known returns p, or a Peer without an address and a name if p is nil.
func known(p *server.Peer) *server.Peer { return cmp.Or(p, new(server.Peer)) }

// CheckConnect implements [server.ConnectChecker]. A nil Peer is a client of which nothing is known.
func (in *Inbox) CheckConnect(ctx context.Context, p *server.Peer) error {
	return in.checkRule(ctx, AtConnect, p, "", "", "")
}

// CheckMail implements [server.MailChecker]. For a nil Peer and a nil env see [Inbox.Handle].
func (in *Inbox) CheckMail(ctx context.Context, p *server.Peer, env *smtp.Envelope) error {
	if env == nil {
		return errNil
	}
	return in.checkRule(ctx, AtMail, p, env.From, "", env.From)
}

// checkRule stalls, and refuses an address by a rule.
func (in *Inbox) checkRule(ctx context.Context, at Moment, p *server.Peer, from, to, address string) error {
	if err := in.stall(ctx, at); err != nil {
		return err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if reply := in.receiver.rule(at, address); reply != nil {
		return in.receiver.refuse(at, known(p), from, to, reply)
	}
	return nil
}

// CheckRcpt implements [server.RcptChecker]. For a nil Peer and a nil env see [Inbox.Handle].
func (in *Inbox) CheckRcpt(ctx context.Context, p *server.Peer, env *smtp.Envelope, rcpt smtp.Recipient) error {
	if env == nil {
		return errNil
	}
	p = known(p)
	if err := in.checkRule(ctx, AtRcpt, p, env.From, rcpt.Address, rcpt.Address); err != nil {
		return err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	r, now := &in.receiver, time.Now()
	wait := r.switches.Greylist
	if wait == 0 {
		return nil
	}
	key := triplet{p.IP(), strings.ToLower(env.From), strings.ToLower(rcpt.Address)}
	first, ok := r.seen.Get(key)
	if !ok {
		first = now
		r.seen.Put(key, now, maxSeen, func(time.Time) bool { return true })
	}
	if now.Sub(first) < wait {
		reply := smtp.NewReply(451, "4.7.1", "greylisted, try again later")
		return r.refuse(AtRcpt, p, env.From, rcpt.Address, reply)
	}
	return nil
}

// checkData decides about a message that was received as a whole.
func (in *Inbox) checkData(ctx context.Context, p *server.Peer, m *Message) error {
	if err := in.stall(ctx, AtData); err != nil {
		return err
	}
	names := quota.NamesOf(p.IP().String(), p.Hello, m.Envelope.From, m.Data)
	in.mu.Lock()
	defer in.mu.Unlock()
	r := &in.receiver
	for i := range m.Envelope.Recipients {
		to := m.Envelope.Recipients[i].Address
		if reply := r.rule(AtData, to); reply != nil {
			return r.refuse(AtData, p, m.Envelope.From, to, reply)
		}
	}
	if r.switches.SevenBit && bytes.ContainsFunc(m.Data, func(c rune) bool { return c > 127 }) {
		reply := smtp.NewReply(554, "5.6.1", "octets above 127 without 8BITMIME") // RFC 6152 §3
		return r.refuse(AtData, p, m.Envelope.From, "", reply)
	}
	if over, ok := r.counted.Take(names, time.Now()); !ok {
		return r.refuse(AtData, p, m.Envelope.From, "", over.Refusal())
	}
	return nil
}

// SevenBit implements [server.SevenBitter].
func (in *Inbox) SevenBit(context.Context, *server.Peer) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.receiver.switches.SevenBit
}
