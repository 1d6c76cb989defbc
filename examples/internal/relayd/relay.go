// Package relayd is the relay of examples/relay and examples/cluster, which differ in their queues: it has the flags of
// both, and makes the Relay from them.
//
// relay.go makes and runs the Relay. flags.go reads the flags, server.go makes the listeners and the checks, sign.go
// signs our mail by DKIM, policies.go and tlsreport.go are about the TLS of other hosts, list.go prints the queue,
// web.go shows it on a page, and try.go helps with a first mail.
package relayd

import (
	"bytes"
	"context"
	"crypto/subtle"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/queue/queueweb"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/greylist"
)

// Run relays mail by a queue until ctx ends.
func (f *Flags) Run(ctx context.Context, q queue.Queue, log *slog.Logger) error {
	var known greylist.Store
	if f.greylist {
		store, err := greylist.Open(f.state + ".greylist")
		if err != nil {
			return fmt.Errorf("-greylist: %w", err)
		}
		defer store.Close()
		known = store
	}
	relay, err := f.relay(q, known, log)
	if err != nil {
		return err
	}
	reporter, err := f.tlsReporter(relay, log)
	if err != nil {
		return err
	}
	if reporter != nil {
		relay.Transport.TLSResult = reporter.Record
	}
	var web *queueweb.Handler
	if f.http != "" {
		var login func(user, password string) error
		if check := relay.Authenticate; check != nil {
			login = func(user, password string) error { return check(ctx, nil, user, password) }
		}
		web = page(relay.Runner, log, login)
	}
	if err := relay.Check(ctx); err != nil {
		return err
	}

	listeners, err := f.open(ctx, relay.TLSConfig)
	if err != nil {
		return err
	}
	if web != nil {
		web.MaxMessages = relay.Transport.MaxMessages // Check has set it
		stop, err := servePage(ctx, f.http, web, log)
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
			return err
		}
		defer stop()
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	if reporter != nil {
		wg.Go(func() {
			if err := reporter.Run(ctx); err != nil {
				log.Error("-tls-report", "err", err)
			}
		})
	}
	wg.Go(func() { helpToTry(ctx, relay, listeners[0].Addr()) })
	return relay.Serve(ctx, listeners...)
}

// relay makes the Relay. known keeps the clients that the greylisting knows; it is nil without -greylist.
func (f *Flags) relay(q queue.Queue, known greylist.Store, log *slog.Logger) (*postrider.Relay, error) {
	policies, err := f.policies()
	if err != nil {
		return nil, err
	}
	relay := &postrider.Relay{
		Hostname:    f.hostname,
		Queue:       q,
		Domains:     f.accept,                            // whose mail anyone may bring
		Routes:      f.routes,                            // where mail goes that doesn't go by MX
		Allow:       postrider.AllowNetworks(f.allow...), // who may relay without a password
		MaxAge:      f.maxAge,
		DelayNotice: f.delayNotice,
		Resolver:    f.resolver,
		Logger:      log,
		Server:      f.template(), // for other hosts
		Submission:  f.template(), // for users
		LMTP:        f.template(),
		Router:      &mx.Router{Port: f.port, AllowPrivate: f.allowPrivate},
		Transport:   &client.Transport{Sources: f.sources, Policies: policies, LaxRequireTLS: f.requireTLS == "lax"},
		Runner:      &delivery.Runner{Retry: f.retry, Site: delivery.SiteLimits{Concurrency: f.siteLimit}},
	}
	relay.Server.Checks = f.checks(f.resolver, known)
	if f.requireTLS != "" {
		for _, s := range []*server.Server{relay.Server, relay.Submission, relay.LMTP} {
			s.Checks = append(s.Checks, requireTLS())
		}
	}
	if f.submission == "" && f.submissions == "" {
		relay.Submission = nil // no listener is for users: Serve warns of one that is set
	}
	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, fmt.Errorf("-cert and -key: %w", err)
		}
		relay.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}}
	}
	if relay.Wrap, err = f.signer(f.resolver); err != nil {
		return nil, err
	}
	if f.user != "" {
		password, err := os.ReadFile(f.passwordFile)
		if err != nil {
			return nil, fmt.Errorf("-password-file: %w", err)
		}
		relay.Authenticate = oneUser(f.user, bytes.TrimSpace(password))
	}
	return relay, nil
}

// Check returns what is wrong with the flags and with the files that they name. It opens nothing that a relay has
// open. Run finds the same.
func (f *Flags) Check(ctx context.Context) error {
	log := slog.New(slog.DiscardHandler)
	relay, err := f.relay(mem.New(), nil, log)
	if err != nil {
		return err
	}
	if _, err := f.tlsReporter(relay, log); err != nil {
		return err
	}
	return relay.Check(ctx)
}

// oneUser is an Authenticate for one name and password.
func oneUser(user string, password []byte) func(ctx context.Context, p *server.Peer, username, password string) error {
	return func(_ context.Context, _ *server.Peer, username, got string) error {
		if username != user || subtle.ConstantTimeCompare([]byte(got), password) != 1 {
			return server.ErrAuthFailed
		}
		return nil
	}
}
