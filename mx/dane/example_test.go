package dane_test

import (
	"context"
	"fmt"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/dane"
	"github.com/postrider/postrider/mx/dns"
)

// What a session with the best host of a domain needs. The resolver on this machine validates.
func ExamplePolicy() {
	ctx := context.Background()
	router := &mx.Router{Resolver: &dns.Resolver{Servers: []string{"127.0.0.1"}, TrustAD: true}}
	route, err := router.Route(ctx, "example.net")
	if err != nil {
		fmt.Println(err)
		return
	}
	to, err := router.Target(ctx, route, route.Hosts[0])
	if err != nil {
		fmt.Println(err)
		return
	}
	need, err := dane.Policy{}.Require(ctx, to)
	if err != nil {
		fmt.Println(err) // the host must not be used now
		return
	}
	fmt.Println(need.Level, need.ServerName)
}
