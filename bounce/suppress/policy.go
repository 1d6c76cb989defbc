package suppress

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/bounce"
	"github.com/postrider/postrider/internal/clip"
	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/smtp"
)

// Policy decides which addresses are suppressed, and keeps mail from them. Set it as Relay.Suppress, or put the Sender
// of [Policy.Wrap] around a client.Submission. The fields must not change after the first call of a method. All methods
// may be called concurrently.
type Policy struct {
	// List stores the addresses. It must be set.
	List List

	// Rules replace those of [DefaultRule]. A zero Rule means that the Reason never suppresses.
	Rules map[smtp.Reason]Rule

	// ByTenant suppresses an address for the Tenant of the message alone. An entry without a Tenant is for all. With a
	// name for each kind of mail as the Tenant, who complains about a newsletter still gets bills. If a signed address
	// has no room for its Tenant, the entry is for all. If false, every entry is for all.
	ByTenant bool

	// Added is called when an address was suppressed, after it is durable. Several calls may run at a time. A panic is
	// logged.
	Added func(Entry)

	// Refused is called for each recipient that wasn't attempted, or wasn't accepted for the queue, because it is
	// suppressed. Several calls may run at a time. A panic is logged.
	Refused func(recipient string, e Entry)

	// Logger gets a line for each address that is added, and for each error of the List. If nil, nothing is logged.
	Logger *slog.Logger
}

// Check returns an error for the first field that is wrong.
func (p *Policy) Check() error {
	if p == nil || p.List == nil {
		return errors.New("suppress: Policy.List is nil: set it to what Open returns, or to a Memory")
	}
	for reason, rule := range p.Rules {
		if !reason.Known() {
			return fmt.Errorf("suppress: Policy.Rules has the key %v: there is no such Reason", reason)
		}
		if err := rule.check(); err != nil {
			return fmt.Errorf("suppress: Policy.Rules[%s]: %w", reason, err)
		}
	}
	return nil
}

// Find returns the entry because of which an address isn't written to, or nil.
func (p *Policy) Find(ctx context.Context, tenant, address string) (*Entry, error) {
	if p == nil || p.List == nil {
		return nil, p.Check()
	}
	k, err := p.key(tenant, address)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	for {
		e, ok, err := p.List.Has(ctx, k)
		if err != nil {
			return nil, fmt.Errorf("suppress: %s: %w", address, err)
		}
		if ok && !e.Over(now) {
			return &e, nil
		}
		if k.Tenant == "" {
			return nil, nil
		}
		k.Tenant = "" // the entries for all
	}
}

// Refuse returns the entry because of which an address isn't written to, or nil, like Find, and calls Refused.
func (p *Policy) Refuse(ctx context.Context, tenant, address string) (*Entry, error) {
	e, err := p.Find(ctx, tenant, address)
	if err == nil && e != nil && p.Refused != nil {
		if fault := guard.Call(func() { p.Refused(address, *e) }); fault != nil {
			fault.Log(ctx, p.logger(), "Refused")
		}
	}
	return e, err
}

func (p *Policy) key(tenant, address string) (Key, error) {
	if !p.ByTenant {
		tenant = ""
	}
	return KeyOf(tenant, address)
}

func (p *Policy) rule(r smtp.Reason) Rule {
	if rule, ok := p.Rules[r]; ok {
		return rule
	}
	return DefaultRule(r)
}

// Result learns from the Result of an attempt. The Sender of Wrap calls it. An error is one of the List, or of Check if
// the List is nil.
//
// Of the refusals at DATA or later, only one with an enhanced code about the address (X.1.x) shows that the address is
// dead. Some hosts refuse a content with the words "unknown user".
func (p *Policy) Result(ctx context.Context, job smtp.Job, r smtp.Result) error {
	if p == nil || p.List == nil {
		return p.Check()
	}
	rule := p.rule(r.Reason)
	switch {
	case r.Outcome == smtp.Delivered:
		k, err := p.key(job.Tenant, r.Recipient)
		if err != nil {
			return err
		}
		return p.List.Forgive(ctx, k)
	case rule.Count == 0, r.Outcome == smtp.Unknown, r.Outcome == smtp.Deferred && !rule.Deferred, isDoubtful(&r):
		return nil
	}
	k, err := p.key(job.Tenant, r.Recipient)
	if err != nil {
		return nil // no address: there is nothing to suppress
	}
	e := Entry{Key: k, Source: FromResult, Reason: r.Reason, ID: job.ID}
	if r.Reply != nil {
		e.Text = r.Reply.Error()
	}
	return p.failed(ctx, e, rule)
}

// isDoubtful reports whether a Hard Reason doesn't show that the address is dead: the reply was about now, or the host
// had taken the recipient before, and its code doesn't take that back (RFC 3463 §3.2: X.1.x).
func isDoubtful(r *smtp.Result) bool {
	if !r.Reason.Hard() || r.Local || r.Reply == nil {
		return false
	}
	return r.Reply.Temporary() || r.Stage >= smtp.StageData && r.Reply.Enhanced[1] != 1
}

// Handle learns from a bounce or a complaint: a value for bounce.Handler.Handle. An event without a signed address, an
// automatic reply, a challenge, and a complaint that isn't about unwanted mail change nothing. An error is one of the
// List; then the Handler's queue tries again. A mail that is handled twice counts once.
func (p *Policy) Handle(ctx context.Context, e bounce.Event) error {
	if e.Sent == nil || e.Recipient == "" {
		return nil
	}
	if p == nil || p.List == nil {
		return p.Check()
	}
	k, err := p.key(e.Sent.Tenant, e.Recipient)
	if err != nil {
		return nil
	}
	found := Entry{Key: k, Source: FromBounce, Reason: e.Status.Reason, ID: e.Sent.ID, Text: e.Status.Text}
	switch e.Kind {
	case bounce.Complaint:
		if n := e.Notification; n != nil && n.Feedback != nil && !slices.Contains(unwanted, n.Feedback.Type) {
			return nil
		}
		found.Source, found.Reason = FromComplaint, smtp.NoReason
		return p.failed(ctx, found, Rule{Count: 1})
	case bounce.Bounce:
		rule := p.rule(e.Status.Reason)
		switch {
		case rule.Count == 0, e.Status.Action != bounce.Failed:
			return nil
		case e.Status.Reason.Hard() && !e.Status.Hard: // the host had only tried for too long
			return nil
		}
		return p.failed(ctx, found, rule)
	}
	return nil
}

// unwanted are the types of complaints (RFC 5965 §7.3) by a person who doesn't want such mail.
var unwanted = []string{"abuse", "fraud", "opt-out", "opt-out-list"}

// failed counts a failure, and suppresses the address if the rule says so.
func (p *Policy) failed(ctx context.Context, e Entry, rule Rule) error {
	old, ok, err := p.List.Has(ctx, e.Key)
	if err != nil {
		return err
	}
	e.Time = time.Now()
	if ok && !old.Over(e.Time) && (e.Source != FromComplaint || old.Source == FromComplaint || old.Source == Manual) {
		return nil // suppressed already
	}
	if rule.Count > 1 {
		tally, err := p.List.Strike(ctx, e.Key, Strike{
			Source: e.Source, Reason: e.Reason, ID: e.ID, Time: e.Time, Within: cmp.Or(rule.Within, defaultWithin),
		})
		if err != nil {
			return err
		}
		if tally.Count < rule.Count || e.Time.Sub(tally.First) < rule.Over {
			return nil
		}
	}
	if rule.For > 0 {
		e.Until = e.Time.Add(rule.For)
	}
	e.Text = cut(e.Text)
	if err := p.List.Add(ctx, e); err != nil {
		return err
	}
	p.logger().LogAttrs(ctx, slog.LevelInfo, "suppressed", slog.String("to", e.Address),
		slog.String("source", e.Source.String()), slog.String("reason", e.Reason.String()), slog.String("id", e.ID))
	if p.Added != nil {
		if fault := guard.Call(func() { p.Added(e) }); fault != nil {
			fault.Log(ctx, p.logger(), "Added")
		}
	}
	return nil
}

// maxNote bounds a Text in octets.
const maxNote = 500

// cut returns a text of one line, in UTF-8.
func cut(text string) string {
	return clip.Text(strings.ToValidUTF8(strings.Join(strings.Fields(text), " "), "?"), maxNote)
}

func (p *Policy) logger() *slog.Logger { return guard.Logger(p.Logger) }
