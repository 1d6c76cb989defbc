package suppress_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/bounce/suppress"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// How do I stop writing to dead addresses? The Relay learns them from what hosts say, and refuses the next mail.
func ExamplePolicy() {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		inet.MX("example.net", "mx.example.net").Reject("bob@example.net", nil) // no such user
		list := new(suppress.Memory)                                            // suppress.Open for one that lasts
		relay := &postrider.Relay{
			Hostname: "app.example.com", Queue: mem.New(), Resolver: inet, DialContext: inet.DialContext,
			Suppress: &suppress.Policy{List: list}, NoReports: true,
		}
		inet.Go(relay.Run)

		ctx, env := context.Background(), smtp.NewEnvelope("shop@example.com", "bob@example.net")
		for range 2 {
			_, err := relay.Send(ctx, env, strings.NewReader("Subject: News\n\nHello!\n"))
			fmt.Println(err)
			synctest.Wait() // until the host has answered
		}
		key, _ := suppress.KeyOf("", "bob@example.net") // the customer asks to be written to again
		fmt.Println(list.Remove(ctx, key))
	})
	// Output:
	// <nil>
	// relay: recipient bob@example.net: 550 5.7.1 the address is suppressed since 2000-01-01 (result, user-unknown)
	// <nil>
}
