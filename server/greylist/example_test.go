package greylist_test

import (
	"log"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/dnsbl"
	"github.com/postrider/postrider/server/greylist"
)

// Strangers wait for five minutes, unless an allowlist has them.
func Example() {
	store, err := greylist.Open("/var/lib/app/greylist")
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	lists := &dnsbl.List{Zones: []dnsbl.Zone{{Name: "bl.example.org"}, {Name: "wl.example.org", Weight: -1}}}
	policy := &greylist.Policy{
		Store: store,
		Skip: func(s *server.Session) bool {
			r, _ := server.Value[dnsbl.Result](s)
			return r.Score < 0
		},
	}
	srv := &server.Server{
		// Handler: …
		Checks: []server.Check{lists.Check(), policy.Check()},
	}
	_ = srv
}
