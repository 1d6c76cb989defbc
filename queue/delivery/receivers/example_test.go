package receivers_test

import (
	"fmt"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/delivery/receivers"
)

// A program without a Relay sets two funcs. A Profile of its own comes first.
func Example() {
	known := append(receivers.List{{
		Name: "partner", Hosts: []string{"partner.example"}, Connections: 2, Messages: 10,
	}}, receivers.Default()...)
	runner := &delivery.Runner{SiteFor: known.SiteFor}
	transport := &client.Transport{MaxMessages: known.MaxMessages}

	fmt.Println(runner.SiteFor("mx1.partner.example,mx2.partner.example").Concurrency, "connections")
	fmt.Println(transport.MaxMessages("mta5.am0.yahoodns.net"), "messages in each, to Yahoo")
	// Output:
	// 2 connections
	// 20 messages in each, to Yahoo
}
