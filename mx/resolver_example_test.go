package mx_test

import (
	"context"
	"fmt"
	"net"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/dns"
)

// staging is a Resolver that answers for one domain itself.
type staging struct{ mx.Resolver }

func (s staging) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	if name == "example.net." { // names come with a trailing dot
		return []*net.MX{{Host: "mx.staging.example.com."}}, nil
	}
	return s.Resolver.LookupMX(ctx, name)
}

// How do I answer for the DNS myself, in staging for example? Wrap the Resolver. The field is Router.Resolver, or
// Resolver of a Relay.
func ExampleResolver() {
	router := &mx.Router{Resolver: staging{&dns.Resolver{}}} // around the system's name servers
	route, err := router.Route(context.Background(), "example.net")
	fmt.Println(route.Hosts, err)
	// Output:
	// [mx.staging.example.com:25] <nil>
}
