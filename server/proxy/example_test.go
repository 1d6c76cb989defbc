package proxy_test

import (
	"context"
	"crypto/tls"
	"log"
	"net"
	"net/netip"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/proxy"
)

// A relay behind HAProxy at 10.0.0.1, which has "send-proxy" for both ports. Port 465 has TLS from the start, and is
// for users.
func ExampleListener() {
	var relay *postrider.Relay // with all its fields
	var tlsConfig *tls.Config

	behind := func(addr string) net.Listener {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			log.Fatal(err)
		}
		return &proxy.Listener{Listener: l, From: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}}
	}
	err := relay.Serve(context.Background(),
		behind(":25"),
		postrider.SubmissionListener(server.NewTLSListener(behind(":465"), tlsConfig)),
	)
	if err != nil {
		log.Fatal(err)
	}
}
