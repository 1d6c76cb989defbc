package authres_test

import (
	"context"

	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/authres"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/dmarc"
	"github.com/postrider/postrider/smtp/spf"
)

// All mail is accepted. The results are told in the header, and suspicious mail has the field X-DMARC.
func ExampleVerifier() {
	verifier := &authres.Verifier{Resolver: &dns.Resolver{}, Policy: authres.Mark}
	srv := &server.Server{
		Hostname: "mx1.example.com",
		// Handler: …
		Checks: []server.Check{verifier.Check()},
	}
	_ = srv
}

// A policy of one's own: SPF may refuse, unless DMARC passes by a signature. Members of a list are exempt.
func ExampleVerifier_policy() {
	lists := map[string]bool{"lists.example.org": true}
	verifier := &authres.Verifier{
		Resolver: &dns.Resolver{},
		Policy: func(ctx context.Context, s *server.Session, r *authres.Results) error {
			switch {
			case lists[r.SPF.Domain] && r.SPF.Code == spf.Pass:
				return nil
			case r.SPF.Code == spf.Fail && r.DMARC.Code != dmarc.Pass:
				return smtp.NewReply(550, "5.7.23", "SPF says that you may not send for "+r.SPF.Domain) // RFC 7372 §3.2
			}
			return authres.Enforce(ctx, s, r)
		},
	}
	_ = verifier
}
