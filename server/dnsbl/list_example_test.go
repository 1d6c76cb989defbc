package dnsbl_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/dnsbl"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// inbox accepts all mail.
type inbox struct{}

func (inbox) Handle(_ context.Context, _ *server.Peer, _ *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	_, err := io.Copy(io.Discard, body)
	return nil, err
}

// How do I refuse clients that a blocklist has?
func ExampleList() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		inet.Host("1.2.0.192.bl.example.org").SetAddrs(netip.MustParseAddr("127.0.0.2")) // the list has 192.0.2.1
		inet.TXT("1.2.0.192.bl.example.org", "sends spam")

		list := &dnsbl.List{Zones: []dnsbl.Zone{{Name: "bl.example.org"}}, Resolver: inet}
		srv := &server.Server{
			Hostname: "mx1.example.com", Handler: inbox{}, // or Server of a Relay
			Checks: []server.Check{list.Check()},
		}
		listener, err := inet.Listen("mx1.example.com:25")
		if err != nil {
			log.Fatal(err)
		}
		inet.Go(func(ctx context.Context) error { return srv.Serve(ctx, listener) })

		inet.MX("example.com", "mx1.example.com")
		stranger := &client.Transport{Router: &mx.Router{Resolver: inet}, DialContext: inet.DialContext} // from 192.0.2.1
		defer stranger.Close()
		env := smtp.NewEnvelope("eve@example.org", "ann@example.com")
		results, _ := stranger.Send(context.Background(), env, smtp.Text("Subject: Hi\n\nHi!\n"))
		fmt.Println(results[0].Reply)
	})
	// Output:
	// 554 5.7.1 192.0.2.1 is listed by bl.example.org: sends spam
}
