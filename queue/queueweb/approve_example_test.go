package queueweb_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/queue/queueweb"
	"github.com/postrider/postrider/smtp"
)

// A policy holds mail that a program writes to many people, until a person has released it on the page. The Ref is what
// the person searches for. Mail of clients is held by a server.Check.
func ExampleHandler_approval() {
	ctx, stop := context.WithCancel(context.Background())
	delivered := make(chan string)
	hosts := mx.Func("hosts", func(_ context.Context, env *smtp.Envelope, _ smtp.Content) ([]smtp.Result, error) {
		delivered <- env.Recipients[0].Address
		return nil, nil
	})
	relay := &postrider.Relay{Hostname: "mx1.example.com", Queue: mem.New(), Routes: map[string]mx.Route{"*": hosts},
		Runner: new(delivery.Runner)}
	web := &queueweb.Handler{Runner: relay.Runner, Authorize: func(r *http.Request) (string, error) { return "ann", nil }}
	defer web.Close()

	send := func(ref string, to ...string) error {
		env := smtp.NewEnvelope("news@example.com", to...)
		m, err := relay.Prepare(ctx, env, strings.NewReader("Subject: "+ref+"\n\nHello\n"))
		if err != nil {
			return err
		}
		m.Ref = ref
		if len(to) > 1 { // the policy
			m.Held, m.HeldFor = true, "mail to several recipients is approved"
		}
		_, err = relay.Enqueue(ctx, m)
		return err
	}
	for _, err := range []error{send("newsletter-7", "bob@example.net", "eve@example.net"), send("receipt-1", "dan@example.net")} {
		if err != nil {
			fmt.Println(err)
		}
	}
	ended := make(chan error)
	go func() { ended <- relay.Run(ctx) }()
	fmt.Println("sent:", <-delivered)

	held, err := relay.Queue.(queue.Stater).Stats(ctx)
	fmt.Println("waits for approval:", held.Held, err)

	// The person searches for state=held, reads the mail if ShowSource is true, and presses the button, which posts this.
	form := url.Values{"do": {"release"}, "ref": {"newsletter-7"}, "state": {"held"}}
	r := httptest.NewRequest("POST", "https://mx1.example.com/queue/act?format=json", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	web.ServeHTTP(w, r)
	fmt.Println("released:", w.Code)
	fmt.Println("sent:", <-delivered)

	stop()
	fmt.Println(<-ended)
	// Output:
	// sent: dan@example.net
	// waits for approval: 1 <nil>
	// released: 200
	// sent: bob@example.net
	// <nil>
}
