package client

import (
	"context"
	"net"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

var (
	_ smtp.Sender = (*Transport)(nil)
	_ smtp.Sender = (*Submission)(nil)
)

// TestSender: Transport and Submission return one complete Result for each recipient, whatever goes wrong: nothing is
// left for smtp.Complete to fill in.
func TestSender(t *testing.T) {
	route := mustRoute(mx.Smarthost("127.0.0.1:25"))
	tests := []struct {
		name   string
		from   string
		host   string // its script; if empty, it is down
		cancel bool
		closed bool
		want   smtp.Outcome
	}{
		{name: "delivered", host: whole, want: smtp.Delivered},
		{name: "rejected", host: hello + toBob + "S: 550 no\nS: 503 no\nS: 503 no\n" + quit, want: smtp.Rejected},
		{name: "unknown", host: hello + toBob + ready + body + "close", want: smtp.Unknown},
		{name: "down"},
		{name: "session refused", host: "S: 554 no\nC: QUIT\neof"},
		{name: "ctx ended", cancel: true},
		{name: "closed", closed: true},
		{name: "bad envelope", from: "ann@\r\n", want: smtp.Rejected},
	}
	for _, test := range tests {
		for _, kind := range []string{"Transport", "Submission"} {
			t.Run(test.name+", "+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					inet := newInternet(t)
					if test.host != "" {
						inet.scripts("127.0.0.1:25", test.host)
					}
					var sender interface {
						smtp.Sender
						Close() error
					}
					sender = &Transport{Hostname: "client.test", Router: &mx.Router{Routes: map[string]mx.Route{"*": route}}, DialContext: inet.DialContext}
					if kind == "Submission" {
						sender = &Submission{LeaveIncomplete: true, Addr: "127.0.0.1:25", TLS: mx.TLSNone, Hostname: "client.test", DialContext: inet.DialContext}
					}
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					if test.cancel {
						cancel()
					}
					if test.closed {
						sender.Close()
					}
					env := smtp.NewEnvelope("ann@client.test", "bob@example.net")
					if test.from != "" {
						env.From = test.from
					}
					results, err := sender.Send(ctx, env, smtp.Text("Hello.\n"))
					sender.Close()
					checkSender(t, env, results, err, test.want)
				})
			})
		}
	}
	t.Run("bad Addr", func(t *testing.T) {
		sub := &Submission{LeaveIncomplete: true, Addr: "smtp.test", DialContext: func(context.Context, string, string) (net.Conn, error) { panic("dialled") }}
		env := smtp.NewEnvelope("ann@client.test", "bob@example.net", "eve@example.org")
		results, err := sub.Send(t.Context(), env, smtp.Text("Hello.\n"))
		checkSender(t, env, results, err, smtp.Deferred)
	})
}

func checkSender(t *testing.T, env *smtp.Envelope, results []smtp.Result, err error, want smtp.Outcome) {
	t.Helper()
	complete, missing := smtp.Complete(env, results, err)
	if len(results) != len(env.Recipients) || missing != 0 || &complete[0] != &results[0] {
		t.Fatalf("got results %s of which %d are missing, want one complete Result a recipient", show(results), missing)
	}
	if (err == nil) != (want == smtp.Delivered) {
		t.Errorf("got error %v for outcome %s", err, want)
	}
	for i, r := range results {
		if r.Recipient != env.Recipients[i].Address || r.Outcome != want {
			t.Errorf("got %s of %s, want %s of %s", r.Outcome, r.Recipient, want, env.Recipients[i].Address)
		}
	}
}
