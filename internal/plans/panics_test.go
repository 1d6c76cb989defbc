package plans

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// panics are the funcs of the user that panic in a plan: by name, the calls between two that do, 1 for each. A func that
// isn't in it doesn't.
type panics struct {
	every  map[string]int
	calls  map[string]*atomic.Int64
	n      atomic.Int64 // how many there were
	healed atomic.Bool  // deciders don't panic any more
}

// onlookers are the funcs whose panics may change nothing.
var onlookers = []string{
	"Accepted", "Attempted", "Delivered", "Deferred", "Unknown", "Rejected", "Expired", "Cancelled", "Reported", "Tried", "Opened",
	"Secured", "Sent", "Content", "Received", "Broken", "Closed", "Enabled", "Handle", "WithAttrs", "WithGroup", "SiteFor",
}

// deciders are the funcs whose panics put something off, or leave it in doubt.
var deciders = []string{"Allow", "before Send", "after Send"}

// drawPanics draws from a source of its own, so that the rest of the plan is as without. Each func panics in some plans:
// an onlooker at each call or now and then, a decider now and then.
func drawPanics(seed uint64) *panics {
	d := &drawer{Rand: rand.New(rand.NewPCG(seed, 18))}
	p := &panics{every: make(map[string]int), calls: make(map[string]*atomic.Int64)}
	for _, name := range onlookers {
		p.calls[name] = new(atomic.Int64)
		if d.chance(6) {
			p.every[name] = pick(d, 1, 2+d.IntN(9))
		}
	}
	for _, name := range deciders {
		p.calls[name] = new(atomic.Int64)
		if d.chance(4) {
			p.every[name] = 5 + d.IntN(20)
		}
	}
	return p
}

func (p *panics) String() string {
	var b strings.Builder
	for _, name := range append(onlookers, deciders...) {
		if every := p.every[name]; every > 0 {
			fmt.Fprintf(&b, " %s/%d", name, every)
		}
	}
	return b.String()
}

// in panics if it is the turn of this call of the func.
func (p *panics) in(name string) {
	if p.healed.Load() && slices.Contains(deciders, name) {
		return
	}
	if every := p.every[name]; every > 0 && p.calls[name].Add(1)%int64(every) == 0 {
		p.n.Add(1)
		panic("the plan says so: " + name)
	}
}

// plant has the funcs of the relay panic after they have done their work.
func (p *panics) plant(r *postrider.Relay) {
	event := func(name string) func(delivery.Event) { return func(delivery.Event) { p.in(name) } }
	r.Events = r.Events.Then(delivery.Events{
		Attempted: event("Attempted"), Delivered: event("Delivered"), Deferred: event("Deferred"), Unknown: event("Unknown"),
		Rejected: event("Rejected"), Expired: event("Expired"), Cancelled: event("Cancelled"), Reported: event("Reported"),
	})
	accepted, allow := r.Accepted, r.Allow
	r.Accepted = func(a postrider.Accepted) {
		accepted(a)
		p.in("Accepted")
	}
	r.Allow = func(ctx context.Context, peer *server.Peer, rcpt smtp.Recipient) (bool, error) {
		p.in("Allow")
		return allow(ctx, peer, rcpt)
	}
	r.Runner.SiteFor = func(string) delivery.SiteLimits {
		p.in("SiteFor")
		return delivery.SiteLimits{}
	}
	r.Logger = slog.New(badHandler{p})
	r.Transport = &client.Transport{
		Tried: func(context.Context, client.Try) { p.in("Tried") },
		Trace: &client.Trace{
			Opened:   func(client.SessionInfo) { p.in("Opened") },
			Secured:  func(client.SessionInfo, tls.ConnectionState) { p.in("Secured") },
			Sent:     func(client.SessionInfo, string) { p.in("Sent") },
			Content:  func(client.SessionInfo, int) { p.in("Content") },
			Received: func(client.SessionInfo, *smtp.Reply) { p.in("Received") },
			Broken:   func(client.SessionInfo, error) { p.in("Broken") },
			Closed:   func(client.SessionInfo) { p.in("Closed") },
		},
	}
	r.Wrap = func(next smtp.Sender) smtp.Sender {
		return smtp.SenderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
			p.in("before Send")
			results, err := next.Send(ctx, env, c)
			p.in("after Send")
			return results, err
		})
	}
}

// badHandler is a slog.Handler that writes nothing.
type badHandler struct{ *panics }

func (h badHandler) Enabled(context.Context, slog.Level) bool  { h.in("Enabled"); return true }
func (h badHandler) Handle(context.Context, slog.Record) error { h.in("Handle"); return nil }
func (h badHandler) WithAttrs([]slog.Attr) slog.Handler        { h.in("WithAttrs"); return h }
func (h badHandler) WithGroup(string) slog.Handler             { h.in("WithGroup"); return h }
