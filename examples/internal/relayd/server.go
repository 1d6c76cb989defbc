package relayd

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

// Address is one to listen on, and the flag that sets it.
type Address struct{ Flag, Addr string }

// Addresses returns what Run listens on, -listen first. An Addr that begins with a slash is the path of a Unix socket.
func (f *Flags) Addresses() []Address {
	list := []Address{{"listen", f.listen}}
	for _, a := range []Address{
		{"submission", f.submission}, {"submissions", f.submissions}, {"lmtp", f.lmtp}, {"http", f.http},
	} {
		if a.Addr != "" {
			list = append(list, a)
		}
	}
	return list
}

// open listens at all addresses for mail.
func (f *Flags) open(ctx context.Context, config *tls.Config) (listeners []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
		}
	}()
	for _, at := range f.Addresses() {
		if at.Flag == "http" {
			continue
		}
		l, err := new(net.ListenConfig).Listen(ctx, network(at.Addr), at.Addr)
		if err != nil {
			return listeners, fmt.Errorf("-%s: %w", at.Flag, err)
		}
		if len(f.proxies) > 0 {
			l = &proxy.Listener{Listener: l, From: f.proxies}
		}
		name := at.Flag
		switch at.Flag {
		case "listen":
			name = "listening"
		case "submission":
			l = postrider.SubmissionListener(l)
		case "submissions":
			l = postrider.SubmissionListener(server.NewTLSListener(l, config))
		case "lmtp":
			l = postrider.LMTPListener(l)
		}
		listeners = append(listeners, l)
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
