package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/authres"
	"github.com/postrider/postrider/server/dnsbl"
	"github.com/postrider/postrider/server/greylist"
	"github.com/postrider/postrider/server/milter"
	"github.com/postrider/postrider/server/proxy"
	"github.com/postrider/postrider/smtp/spf"
)

// inbound are the settings of the servers.
type inbound struct {
	listen, submission, submissions, lmtp string // addresses; empty: none

	maxSize                 int64
	maxConns, maxRecipients int
	proxies                 []netip.Prefix

	dnsbl       []dnsbl.Zone
	greylist    bool
	authResults bool
	milters     []string
}

// template returns a server with the bounds.
func (in *inbound) template() *server.Server {
	return &server.Server{MaxSize: in.maxSize, MaxConns: in.maxConns, MaxRecipients: in.maxRecipients}
}

// checks returns the checks for mail of strangers, in the order in which they are asked. Without -dns, resolver is nil.
// store keeps the clients that the greylisting knows; it is nil without -greylist.
func (in *inbound) checks(resolver mx.Resolver, store greylist.Store) []server.Check {
	var checks []server.Check
	if len(in.dnsbl) > 0 {
		list := &dnsbl.List{Zones: in.dnsbl}
		list.Resolver, _ = resolver.(dnsbl.Resolver)
		checks = append(checks, list.Check())
	}
	if in.authResults {
		verifier := &authres.Verifier{Policy: authres.Enforce}
		verifier.Resolver, _ = resolver.(spf.Resolver)
		checks = append(checks, verifier.Check())
	}
	if store != nil {
		checks = append(checks, (&greylist.Policy{Store: store, Skip: authentic}).Check())
	}
	for _, addr := range in.milters {
		checks = append(checks, (&milter.Filter{Addr: addr, Name: "milter " + addr}).Check())
	}
	return checks
}

// authentic reports whether -auth-results has found that the sender's domain names this client: it needn't wait.
func authentic(s *server.Session) bool {
	r := authres.Of(s)
	return r != nil && r.SPF.Code == spf.Pass
}

// open listens at all addresses.
func (in *inbound) open(ctx context.Context, config *tls.Config) (listeners []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
		}
	}()
	for _, at := range []struct {
		flag, addr string
		mark       func(net.Listener) net.Listener
	}{
		{"listen", in.listen, func(l net.Listener) net.Listener { return l }},
		{"submission", in.submission, postrider.SubmissionListener},
		{"submissions", in.submissions, func(l net.Listener) net.Listener {
			return postrider.SubmissionListener(server.NewTLSListener(l, config))
		}},
		{"lmtp", in.lmtp, postrider.LMTPListener},
	} {
		if at.addr == "" && at.flag != "listen" {
			continue
		}
		l, err := new(net.ListenConfig).Listen(ctx, network(at.addr), at.addr)
		if err != nil {
			return listeners, fmt.Errorf("-%s: %w", at.flag, err)
		}
		if len(in.proxies) > 0 {
			l = &proxy.Listener{Listener: l, From: in.proxies}
		}
		listeners = append(listeners, at.mark(l))
		name := at.flag
		if at.flag == "listen" {
			name = "listening"
		}
		fmt.Println(name, "on", l.Addr())
	}
	return listeners, nil
}

// network returns "unix" for a path, "tcp" for an address.
func network(addr string) string {
	if strings.HasPrefix(addr, "/") {
		return "unix"
	}
	return "tcp"
}
