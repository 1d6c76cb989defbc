package authres_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/authres"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// inbox prints the field Authentication-Results of each mail.
type inbox struct{}

func (inbox) Handle(_ context.Context, _ *server.Peer, _ *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		if f := strings.TrimSpace(lines.Text()); strings.HasPrefix(f, "spf=") || strings.HasPrefix(f, "dmarc=") {
			fmt.Println(f)
		}
	}
	_, err := io.Copy(io.Discard, body)
	return nil, err
}

// How do I check SPF, DKIM and DMARC of incoming mail? The owner of example.org asks to refuse mail that isn't hers.
func ExampleEnforce() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		inet.TXT("example.net", "v=spf1 ip4:192.0.2.1 -all")
		inet.TXT("example.org", "v=spf1 ip4:192.0.2.99 -all")
		inet.TXT("_dmarc.example.org", "v=DMARC1; p=reject")

		verifier := &authres.Verifier{Resolver: inet, Policy: authres.Enforce} // or Mark, or a func of yours
		srv := &server.Server{
			Hostname: "mx1.example.com", Handler: inbox{}, // or Server of a Relay
			Checks: []server.Check{verifier.Check()},
		}
		listener, err := inet.Listen("mx1.example.com:25")
		if err != nil {
			log.Fatal(err)
		}
		inet.Go(func(ctx context.Context) error { return srv.Serve(ctx, listener) })

		inet.MX("example.com", "mx1.example.com")
		stranger := &client.Transport{Router: &mx.Router{Resolver: inet}, DialContext: inet.DialContext} // from 192.0.2.1
		defer stranger.Close()
		for _, from := range []string{"bob@example.net", "eve@example.org"} {
			message := smtp.Text("From: " + from + "\nSubject: Hi\n\nHi!\n")
			results, _ := stranger.Send(context.Background(), smtp.NewEnvelope(from, "ann@example.com"), message)
			fmt.Println(from, results[0].Reply)
		}
	})
	// Output:
	// spf=none;
	// spf=pass smtp.mailfrom=example.net;
	// dmarc=none header.from=example.net
	// bob@example.net 250 2.0.0 ok
	// eve@example.org 550 5.7.1 rejected by the DMARC policy of example.org
}
