package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// TestBadRecipients: a recipient at fault is rejected by itself, and the others have their mail. The Reason UserUnknown,
// for which a program suppresses an address, stands only where the address is at fault.
func TestBadRecipients(t *testing.T) {
	const ok = " delivered 250 2.0.0 none"
	const syntax, other = " rejected 501 5.1.3 user-unknown", " rejected 501 5.5.4 syntax"
	long := strings.Repeat("a", 600) + "@next.test"
	to := func(addresses ...string) *smtp.Envelope { return smtp.NewEnvelope("ann@source.test", addresses...) }
	with := func(env *smtp.Envelope, change func(*smtp.Envelope)) *smtp.Envelope {
		change(env)
		return env
	}
	tests := []struct {
		name string
		env  *smtp.Envelope
		host func(*smtptest.Host)
		body string // if empty, a good one
		want []string
	}{
		{name: "none", env: to("bob@next.test", "eve@next.test"), want: []string{ok, ok}},
		{name: "no domain", env: to("bob@next.test", "oops@", "eve@next.test"), want: []string{ok, syntax, ok}},
		{name: "no at sign", env: to("oops", "bob@next.test"), want: []string{syntax, ok}},
		{name: "empty", env: to("bob@next.test", ""), want: []string{ok, syntax}},
		{name: "a command", env: to("bob@next.test", "oops\r\nRSET@next.test"), want: []string{ok, syntax}},
		{name: "brackets", env: to("<oops@next.test>", "bob@next.test"), want: []string{syntax, ok}},
		{name: "too long", env: to("bob@next.test", long), want: []string{ok, syntax}},
		{name: "not UTF-8", env: to("oops\xff@next.test", "bob@next.test"), want: []string{syntax, ok}},
		{name: "all", env: to("oops", "oops@"), want: []string{syntax, syntax}},
		{name: "in several domains", env: to("oops@", "bob@next.test", "oops@a..test", "eve@other.test"), want: []string{syntax, ok, syntax, ok}},
		{name: "twice", env: to("bob@next.test", "bob@next.test", "oops", "oops"), want: []string{ok, ok, syntax, syntax}},
		{name: "nobody", env: to()},
		{name: "NOTIFY", env: with(to("bob@next.test", "eve@next.test"), func(env *smtp.Envelope) {
			env.Recipients[0].Notify = smtp.NotifyNever | smtp.NotifySuccess
		}), want: []string{other, ok}},
		{name: "ORCPT", env: with(to("bob@next.test", "eve@next.test"), func(env *smtp.Envelope) {
			env.Recipients[1].ORCPT = "eve"
		}), want: []string{ok, other}},
		{name: "ORCPT of a bad address", env: with(to("bob@next.test", "oops"), func(env *smtp.Envelope) {
			env.Recipients[1].ORCPT = "eve"
		}), want: []string{ok, syntax}},
		{name: "the reverse-path", env: smtp.NewEnvelope("oops@", "bob@next.test", "eve@next.test"), want: []string{other, other}},
		{name: "both paths", env: smtp.NewEnvelope("oops@", "bob@next.test", "oops"), want: []string{other, syntax}},
		{name: "ENVID", env: with(to("bob@next.test", "oops"), func(env *smtp.Envelope) { env.EnvID = "\n" }), want: []string{other, syntax}},
		{name: "our bare CR", env: to("bob@next.test", "oops"), body: "a\rb\r\n", want: []string{" rejected 554 5.6.0 syntax", syntax}},
		{name: "our size", env: to("bob@next.test", "oops"), host: func(h *smtptest.Host) { h.MaxSize(10) },
			want: []string{" rejected 552 5.3.4 too-big", syntax}},
		{name: "UTF-8 at a host in ASCII", env: to("bob@next.test", "b\u00f6b@next.test"), host: func(h *smtptest.Host) { h.Without("SMTPUTF8") },
			want: []string{ok, " rejected 553 5.6.7 syntax"}},
		{name: "our content", env: to("bob@next.test", "eve@next.test"), host: func(h *smtptest.Host) {
			h.Answer(smtp.StageFinal, smtp.NewReply(554, "5.7.1", "spam"))
		}, want: []string{" rejected 554 5.7.1 spam-content", " rejected 554 5.7.1 spam-content"}},
		{name: "our sender", env: to("bob@next.test"), host: func(h *smtptest.Host) {
			h.Answer(smtp.StageMail, smtp.NewReply(550, "5.1.1", "no such sender"))
		}, want: []string{" rejected 550 5.1.1 policy-auth"}},
		{name: "our account", env: to("bob@next.test"), host: func(h *smtptest.Host) {
			h.Answer(smtp.StageMail, smtp.NewReply(530, "5.7.0", "authenticate first"))
		}, want: []string{" rejected 530 5.7.0 relay-denied"}},
		{name: "no such user", env: to("bob@next.test", "eve@next.test"), host: func(h *smtptest.Host) {
			h.Reject("eve@next.test", smtp.NewReply(550, "5.1.1", "no such user"))
		}, want: []string{ok, " rejected 550 5.1.1 user-unknown"}},
		{name: "no such user, late", env: to("bob@next.test"), host: func(h *smtptest.Host) {
			h.Answer(smtp.StageFinal, smtp.NewReply(550, "5.1.1", "no such user"))
		}, want: []string{" rejected 550 5.1.1 user-unknown"}},
		{name: "no such user, one of two", env: to("bob@next.test", "eve@next.test"), host: func(h *smtptest.Host) {
			h.Answer(smtp.StageFinal, smtp.NewReply(550, "5.1.1", "no such user"))
		}, want: []string{" rejected 550 5.1.1 other", " rejected 550 5.1.1 other"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				host := inet.MX("next.test", "mx.next.test")
				inet.MX("other.test", "mx.next.test")
				if tt.host != nil {
					tt.host(host)
				}
				if tt.body == "" {
					tt.body = "Subject: hello\r\n\r\nHow are you?\r\n"
				}
				tr := &Transport{Hostname: "client.test", Router: &mx.Router{Resolver: inet}, DialContext: inet.DialContext}
				defer tr.Close()
				sub := &Submission{LeaveIncomplete: true, Addr: "mx.next.test:25", TLS: mx.TLSNone, Hostname: "client.test", Resolver: inet, DialContext: inet.DialContext}
				defer sub.Close()
				conn := smtp.SenderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
					nc, err := inet.DialContext(ctx, "tcp", host.Addrs()[0].String()+":25")
					if err != nil {
						return nil, err
					}
					s := &Conn{Hostname: "client.test", Host: "mx.next.test", TLS: mx.TLSNone}
					if err := s.Open(ctx, nc); err != nil {
						return nil, err
					}
					defer s.Quit(ctx)
					return s.Send(ctx, env, c)
				})
				for way, sender := range map[string]smtp.Sender{"Transport": tr, "Submission": sub, "Conn": conn} {
					results, err := sender.Send(t.Context(), tt.env, strings.NewReader(tt.body))
					if len(results) != len(tt.want) {
						t.Fatalf("%s: got %d results, want %d", way, len(results), len(tt.want))
					}
					bad := len(results) == 0
					for i, r := range results {
						address := tt.env.Recipients[i].Address
						got := fmt.Sprintf("%s %v %d %v %v", r.Recipient, r.Outcome, r.Reply.Code, r.Reply.Enhanced, r.Reason)
						if got != address+tt.want[i] {
							t.Errorf("%s: got %q, want %q: %v", way, got, address+tt.want[i], r.Reply)
						}
						bad = bad || r.Outcome != smtp.Delivered
					}
					if _, isReply := errors.AsType[*smtp.Reply](err); bad != (err != nil) || bad && !isReply {
						t.Errorf("%s: got error %v, want one with a Reply: %v", way, err, bad)
					}
					if err != nil && strings.ContainsAny(err.Error(), "\r\n") {
						t.Errorf("%s: got an error of several lines: %q", way, err)
					}
				}
			})
		})
	}
}
