package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/mail"
	"sync"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/bounce"
	"github.com/postrider/postrider/bounce/suppress"
	"github.com/postrider/postrider/client/compose"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// bounces is the domain of all reverse-paths. Its MX is this program.
const bounces = "bounces.news.example"

// author is the address in From, and the one of the envelope in the queue.
const author = "editor@news.example"

// Newsletter sends issues to a list of subscribers. It leaves out those who are suppressed, because their address is
// dead, they complained or they unsubscribed. It stops an issue that too many hosts refuse.
type Newsletter struct {
	Relay *postrider.Relay // from New

	// Unsubscribe is the handler of the links in all issues, from New. It is served at its URL.
	Unsubscribe *compose.Unsubscribe

	// MaxHard is the share of dead addresses at which an issue is stopped, once Least mails have a result: hosts block
	// the senders of old or bought lists. If zero, 0.1 and 50.
	MaxHard float64
	Least   int

	runner *delivery.Runner
	policy *suppress.Policy

	mu      sync.Mutex
	ref     string          // of the issue that is sent now
	ids     map[string]bool // its messages
	stats   Stats
	changed chan struct{} // closed at the next change of stats
}

// Stats is what became of an issue.
type Stats struct {
	Queued     int // mails
	Suppressed int // subscribers who were left out
	Repeated   int // mails that an earlier run of the issue has queued
	Settled    int // queued mails that a host has accepted or refused
	Hard       int // mails to dead addresses: refused by a host, or returned by it later
	Stopped    bool
}

// New adds to a relay what a Newsletter needs. The key signs the reverse-paths and the links.
func New(relay *postrider.Relay, list suppress.List, key []byte) *Newsletter {
	n := &Newsletter{Relay: relay, MaxHard: 0.1, Least: 50, runner: new(delivery.Runner), changed: make(chan struct{})}
	n.policy = &suppress.Policy{List: list, Added: n.added}
	verp := &bounce.VERP{Domain: bounces, Keys: [][]byte{key}}
	handler := &bounce.Handler{VERP: verp, Handle: n.policy.Handle}
	relay.Domains = append(relay.Domains, bounces)
	relay.CheckRcpt = func(ctx context.Context, _ *server.Peer, rcpt smtp.Recipient) error {
		return handler.CheckRcpt(ctx, rcpt.Address)
	}
	if relay.Routes == nil {
		relay.Routes = make(map[string]mx.Route)
	}
	relay.Routes[bounces] = mx.Func("bounces", handler.Send)
	relay.Runner, relay.Suppress, relay.Wrap = n.runner, n.policy, verp.Wrap
	n.Unsubscribe = &compose.Unsubscribe{
		URL:  "https://news.example/unsubscribe",
		Keys: [][]byte{key},
		Handle: func(ctx context.Context, s compose.Subscription) error {
			key, err := suppress.KeyOf("", s.Address)
			if err != nil {
				return err
			}
			return list.Add(ctx, suppress.Entry{Key: key, Time: time.Now(), Text: "unsubscribed"})
		},
		Logger: relay.Logger,
	}
	settled := func(e delivery.Event) {
		if n.has(string(e.Task.ID)) { // else it is of an earlier run, or a report
			n.count(e.Task.Ref, func(s *Stats) { s.Settled++ })
		}
	}
	relay.Events = relay.Events.Then(delivery.Events{Delivered: settled, Rejected: settled, Expired: settled})
	return n
}

// added is called for each address that is suppressed: at once when a host refuses it, and later for one that a host
// returns.
func (n *Newsletter) added(e suppress.Entry) {
	if n.has(e.ID) && e.Reason.Hard() {
		n.mu.Lock()
		ref := n.ref
		n.mu.Unlock()
		n.count(ref, func(s *Stats) { s.Hard++ })
	}
}

// has reports whether a message is one of the issue that is sent now.
func (n *Newsletter) has(id string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ids[id]
}

func (n *Newsletter) count(ref string, change func(*Stats)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if ref != n.ref {
		return
	}
	change(&n.stats)
	close(n.changed)
	n.changed = make(chan struct{})
}

// Stats returns the numbers of the issue that was sent last.
func (n *Newsletter) Stats() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stats
}

// ErrStopped is the error of Send for an issue that too many hosts refused.
var ErrStopped = errors.New("too many addresses are dead: clean the list before the next issue")

// Send sends an issue, a mail for each subscriber. It returns when the mails have results, or wait for hosts that are
// down and ctx has ended. Only one Send may run at a time. After a crash, or an error other than ErrStopped, Send the
// issue again: a subscriber whose mail was queued before gets no second one.
func (n *Newsletter) Send(ctx context.Context, issue string, subscribers []string, text compose.Template) error {
	text.Message.From = mail.Address{Name: "Editor", Address: author}
	text.Message.ListID, text.Message.Unsubscribe = "news.example", n.Unsubscribe
	n.mu.Lock()
	n.ref, n.ids, n.stats = "issue "+issue, make(map[string]bool), Stats{}
	n.mu.Unlock()
	const ahead = 100 // mails without a result: few go to dead addresses before an issue is stopped
	for _, to := range subscribers {
		if err := n.wait(ctx, ahead); err != nil {
			return err
		}
		switch e, err := n.policy.Find(ctx, "", to); {
		case err != nil:
			return err
		case e != nil:
			n.count(n.ref, func(s *Stats) { s.Suppressed++ })
			continue
		}
		env, content, err := text.Compose(compose.Recipient{To: mail.Address{Address: to}})
		if err == nil {
			err = n.queue(ctx, env, content)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", to, err)
		}
	}
	return n.wait(ctx, 1)
}

// queue stores one mail.
func (n *Newsletter) queue(ctx context.Context, env *smtp.Envelope, content smtp.Content) error {
	env.Recipients[0].Notify = smtp.NotifyNever // the author gets no reports: they are counted
	m, err := n.Relay.Prepare(ctx, env, smtp.NewReader(content))
	if err != nil {
		return err
	}
	m.Ref = n.ref
	// A Key has at most queue.MaxKey octets, and an address may have more.
	m.Key = fmt.Sprintf("%x", sha256.Sum256([]byte(n.ref+" to "+env.Recipients[0].Address)))
	n.mu.Lock() // until the ID is known: the mail may be refused before Enqueue returns
	defer n.mu.Unlock()
	id, repeats, err := n.Relay.EnqueueOnce(ctx, m)
	if err != nil {
		return err
	}
	if repeats {
		n.stats.Repeated++
		return nil
	}
	n.ids[string(id)] = true
	n.stats.Queued++
	return nil
}

// wait returns when fewer than some mails have no result. If too many addresses are dead, it takes what waits out of
// the queue and returns ErrStopped.
func (n *Newsletter) wait(ctx context.Context, some int) error {
	for {
		n.mu.Lock()
		s, changed, ref := n.stats, n.changed, n.ref
		stop := s.Settled >= n.Least && float64(s.Hard) >= n.MaxHard*float64(s.Settled)
		n.stats.Stopped = stop
		n.mu.Unlock()
		if stop {
			_, err := n.runner.Purge(ctx, queue.Filter{Ref: ref})
			return errors.Join(ErrStopped, err)
		}
		if s.Queued-s.Settled < some {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
