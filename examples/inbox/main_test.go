package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/inbox"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

func TestInbox(t *testing.T) {
	const message = "Subject: hello\n\nHello.\n"
	ann := map[string]bool{"ann@example.net": true}
	for _, test := range []struct {
		name    string
		users   map[string]bool
		to      []string
		want    []int  // the reply's code for each recipient
		printed string // the first line; empty if nothing is printed
	}{
		{"known", ann, []string{"ann@example.net"}, []int{250},
			"==== from <bob@example.com> to <ann@example.net>"},
		{"in capitals", ann, []string{"Ann@Example.NET"}, []int{250},
			"==== from <bob@example.com> to <Ann@Example.NET>"},
		{"unknown", ann, []string{"eve@example.net"}, []int{550}, ""},
		{"unknown and known", ann, []string{"eve@example.net", "ann@example.net"}, []int{550, 250},
			"==== from <bob@example.com> to <ann@example.net>"},
		{"postmaster", ann, []string{"postmaster@example.net"}, []int{250},
			"==== from <bob@example.com> to <postmaster@example.net>"},
		{"everyone", nil, []string{"eve@example.net", "ann@example.net"}, []int{250, 250},
			"==== from <bob@example.com> to <eve@example.net> to <ann@example.net>"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				l, err := inet.Listen("inbox.test:25")
				if err != nil {
					t.Fatal(err)
				}
				var out bytes.Buffer
				srv := &server.Server{
					Handler: &Inbox{Out: &out, Users: test.users},
					Logger:  slog.New(slog.NewTextHandler(t.Output(), nil)),
				}
				inet.Go(func(ctx context.Context) error { return srv.Serve(ctx, l) })

				sub := &client.Submission{
					Addr: "inbox.test:25", TLS: mx.TLSNone, Resolver: inet, DialContext: inet.DialContext,
					LeaveIncomplete: true,
				}
				defer sub.Close()
				env := smtp.NewEnvelope("bob@example.com", test.to...)
				results, err := sub.Send(t.Context(), env, smtp.Text(message))
				if len(results) != len(test.want) {
					t.Fatalf("got %d results (%v), want %d", len(results), err, len(test.want))
				}
				for i, r := range results {
					if r.Reply.Code != test.want[i] {
						t.Errorf("%s: got %v, want %d", r.Recipient, r.Reply, test.want[i])
					}
				}
				want := test.printed
				if want != "" {
					want += "\n" + message + "\n"
				}
				if out.String() != want {
					t.Errorf("got %q on standard output, want %q", out.String(), want)
				}
			})
		})
	}
}

// TestBox: with a page, a message is printed and kept, and its switches refuse.
func TestBox(t *testing.T) {
	var out bytes.Buffer
	in := &Inbox{Out: &out, Box: new(inbox.Inbox)}
	p, env := new(server.Peer), smtp.NewEnvelope("bob@example.com", "ann@example.net")
	if _, err := in.Handle(t.Context(), p, env, strings.NewReader("Subject: hello\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if kept := in.Box.Messages(inbox.Filter{Subject: "hello"}); len(kept) != 1 || !strings.Contains(out.String(), "Subject: hello") {
		t.Errorf("got %d messages and %q", len(kept), out.String())
	}
	refuse := func(at inbox.Moment) inbox.Refusal {
		return inbox.Refusal{At: at, Reply: smtp.NewReply(450, "", "later")}
	}
	err := in.Box.SetSwitches(inbox.Switches{SevenBit: true, Refuse: []inbox.Refusal{
		refuse(inbox.AtConnect), refuse(inbox.AtMail), refuse(inbox.AtRcpt), refuse(inbox.AtData)}})
	if err != nil {
		t.Fatal(err)
	}
	_, data := in.Handle(t.Context(), p, env, strings.NewReader("\r\n"))
	for i, err := range []error{in.CheckConnect(t.Context(), p), in.CheckMail(t.Context(), p, env),
		in.CheckRcpt(t.Context(), p, env, env.Recipients[0]), data} {
		if err == nil {
			t.Errorf("moment %d isn't refused", i)
		}
	}
	if !in.SevenBit(t.Context(), p) || len(in.Box.Messages(inbox.Filter{})) != 1 {
		t.Error("got 8BITMIME, or a message")
	}
}
