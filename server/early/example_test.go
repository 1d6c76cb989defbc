package early_test

import (
	"net/netip"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/dnsbl"
	"github.com/postrider/postrider/server/early"
)

// Port 25: the blocklists are asked first, and clients of the allowlist don't wait for the greeting.
func Example() {
	lists := &dnsbl.List{Zones: []dnsbl.Zone{{Name: "bl.example.org"}, {Name: "wl.example.org", Weight: -1}}}
	rules := &early.Rules{
		Inside: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Skip: func(s *server.Session) bool {
			r, _ := server.Value[dnsbl.Result](s)
			return r.Score < 0
		},
	}
	srv := &server.Server{
		// Handler: …
		Checks: []server.Check{lists.Check(), rules.Check()},
	}
	_ = srv
}
