package kumo_test

import (
	"context"
	"fmt"
	"log"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/delivery/kumo"
	"github.com/postrider/postrider/queue/delivery/receivers"
	"github.com/postrider/postrider/smtp/replies"
)

// A Relay works by a shaping file of KumoMTA, and by the default rules for receivers that aren't in the file.
func Example() {
	const file = `
[provider."partner"]
match = [{MXSuffix=".partner.example"}]
connection_limit = 3

[[provider."partner".automation]]
regex = "\\[P\\d+\\] slow"
action = "Suspend"
duration = "1 hour"

[[provider."partner".automation]]
regex = "(?=lookahead)"
action = "Suspend"
duration = "1 hour"
`
	shaping, err := kumo.Parse(context.Background(), nil, kumo.File{Name: "shaping.toml", Data: []byte(file)})
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range shaping.Problems {
		fmt.Println(p)
	}
	relay := &postrider.Relay{
		Hostname:  "mx1.example.com",
		Receivers: append(shaping.Receivers, receivers.Default()...),
		Runner:    &delivery.Runner{Site: shaping.Default.Limits()},
		Transport: &client.Transport{Replies: &replies.Classifier{Rules: shaping.Replies}},
	}
	fmt.Println(relay.Receivers.SiteFor("mx.partner.example").Concurrency, "connections,", len(shaping.Replies), "rule")
	// Output:
	// provider partner: rule 2: (?=lookahead): it has lookaround, "(?=", which package regexp doesn't have
	// 3 connections, 1 rule
}
