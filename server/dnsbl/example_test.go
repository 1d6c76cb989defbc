package dnsbl_test

import (
	"context"
	"log"

	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/dnsbl"
)

// Two blocklists of addresses, an allowlist, and a list of domains. Together they refuse from 3 on.
func Example() {
	list := &dnsbl.List{
		Threshold: 3,
		Zones: []dnsbl.Zone{
			{Name: "bl.example.org", Weight: 3, Answers: []dnsbl.Answer{
				{Addr: "127.0.0.2"}, // a source of spam
				{Addr: "127.0.0.10/31", Text: "mail from dynamic addresses"}, // 127.0.0.10 and .11
			}},
			{Name: "other.example.net", Weight: 2},
			{Name: "wl.example.com", Weight: -3},
			{Name: "dbl.example.org", Of: dnsbl.Hello | dnsbl.Sender, Weight: 3},
		},
		Resolver: &dns.Resolver{Servers: []string{"127.0.0.1"}}, // a name server of our own: lists don't answer public ones
	}
	if err := list.Test(context.Background()); err != nil {
		log.Print(err) // mail comes in all the same
	}
	srv := &server.Server{
		// Handler: …
		Checks: []server.Check{list.Check()},
	}
	_ = srv
}

// A list of domains that is asked about the client's name, too: the server looks it up.
func Example_clientName() {
	resolver := new(dns.Resolver)
	list := &dnsbl.List{
		Zones:    []dnsbl.Zone{{Name: "dbl.example.org", Of: dnsbl.Client | dnsbl.Sender}},
		Resolver: resolver,
	}
	srv := &server.Server{
		// Handler: …
		Names:  resolver,
		Checks: []server.Check{list.Check()},
	}
	_ = srv
}

// To refuse nobody, but let a mailbox server file the message as spam.
func Example_tag() {
	list := &dnsbl.List{
		Zones:  []dnsbl.Zone{{Name: "bl.example.org"}},
		Action: server.Tag, // X-DNSBL: score=1; bl.example.org 192.0.2.1
	}
	_ = list
}
