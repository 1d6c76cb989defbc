package client

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// TestLimits: what hosts say of themselves, and what they break, shapes later sessions and transactions.
func TestLimits(t *testing.T) {
	const (
		addr   = "127.0.0.1:25"
		ehlo   = "S: 220 ESMTP\nC: EHLO client.test\nS: 250-host\nS: 250-PIPELINING\nS: 250 "
		mails  = toBob + ready + body + taken
		eve    = "C: MAIL FROM:<ann@client.test>\nC: RCPT TO:<eve@example.net>\nC: DATA\n" + ready + body + taken
		toBobs = "C: MAIL FROM:<ann@client.test>\nC: RCPT TO:<bob@example.net>\n" // without DATA
		chunk  = toBobs + "S: 250 ok\nS: 250 ok\nC: BDAT 5\n"
		org    = "C: MAIL FROM:<ann@client.test>\nC: RCPT TO:<eve@example.org>\nC: DATA\n" + ready + body + taken
		two1   = toBobs + "C: RCPT TO:<joe@example.net>\nC: DATA\nS: 250 ok\n" + ready + body + taken
		two    = "C: Hello.\nC: Bye.\nC: .\n"
	)
	var many, single []string // each in a session of its own
	for i := range 70 {
		many = append(many, fmt.Sprintf("n%d@example.net", i))
		single = append(single, ehlo+"LIMITS RCPTMAX=1 MAILMAX=1\n"+strings.ReplaceAll(mails, "bob@example.net", many[i])+quit)
	}
	tests := []struct {
		name    string
		to      []string
		mails   int
		chunk   int64
		content string
		wait    time.Duration // after each mail
		scripts []string
		want    string // outcomes of each mail
	}{
		{name: "MAILMAX retires a session", to: []string{"bob"}, mails: 3, want: "delivered, delivered, delivered",
			scripts: []string{ehlo + "LIMITS MAILMAX=2\n" + mails + mails + quit, ehlo + "LIMITS MAILMAX=2\n" + mails + quit}},
		{name: "MAILMAX in the middle of a message", to: []string{"bob", "eve"}, mails: 1, want: "delivered delivered",
			scripts: []string{ehlo + "LIMITS RCPTMAX=1 MAILMAX=1\n" + mails + quit, ehlo + "LIMITS RCPTMAX=1 MAILMAX=1\n" + eve + quit}},
		{name: "no pooled session for it", to: []string{"bob"}, mails: 2, want: "delivered, delivered",
			scripts: []string{ehlo + "LIMITS MAILMAX=1\n" + mails + quit, ehlo + "LIMITS MAILMAX=1\n" + mails + quit}},
		{name: "a session for each domain", to: []string{"bob", "eve@example.org", "joe"}, mails: 2, want: "delivered delivered delivered, delivered delivered delivered",
			scripts: []string{ehlo + "LIMITS RCPTDOMAINMAX=1\n" + two1 + two1 + quit, ehlo + "LIMITS RCPTDOMAINMAX=1\n" + org + org + quit}},
		{name: "a refused MAIL counts, too", to: []string{"bob"}, mails: 2, want: "rejected, delivered",
			scripts: []string{ehlo + "LIMITS MAILMAX=1\n" + toBob + "S: 550 no\nS: 503 no\nS: 503 no\n" + quit, ehlo + "LIMITS MAILMAX=1\n" + mails + quit}},
		{name: "BDAT that breaks isn't used again", to: []string{"bob"}, mails: 2, chunk: 5, want: "deferred, delivered",
			scripts: []string{ehlo + "CHUNKING\n" + chunk + "close", ehlo + "CHUNKING\n" + mails + quit}},
		{name: "BDAT that isn't known isn't, either, in other sessions", to: []string{"bob"}, mails: 2, chunk: 8, content: "Hello.\nBye.\n", wait: time.Minute,
			want: "delivered, delivered", scripts: []string{
				ehlo + "CHUNKING\n" + toBobs + "S: 250 ok\nS: 250 ok\nC: BDAT 8\nC: Hello.\nS: 502 what\nC: RSET\n" + toBob + "S: 250 ok\n" + ready + two + taken + quit,
				ehlo + "CHUNKING\n" + toBob + ready + two + taken + quit}},
		{name: "BDAT in vain in the one transaction that a session has", to: []string{"bob"}, mails: 1, chunk: 8, content: "Hello.\nBye.\n", want: "delivered",
			scripts: []string{
				"S: 220 ESMTP\nC: EHLO client.test\nS: 250-host\nS: 250-LIMITS MAILMAX=1\nS: 250-PIPELINING\nS: 250 CHUNKING\n" + toBobs + "S: 250 ok\nS: 250 ok\nC: BDAT 8\nC: Hello.\nS: 502 what\n" + quit,
				ehlo + "LIMITS MAILMAX=1\n" + toBob + ready + two + taken + quit}},
		{name: "more recipients than addresses may be tried", to: many, mails: 1, want: strings.TrimSpace(strings.Repeat("delivered ", 70)), scripts: single},
		{name: "it is tried again after a day", to: []string{"bob"}, mails: 2, chunk: 5, wait: 25 * time.Hour, want: "deferred, deferred",
			scripts: []string{ehlo + "CHUNKING\n" + chunk + "close", ehlo + "CHUNKING\n" + chunk + "close"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := newInternet(t)
				content := smtp.Text(cmp.Or(tt.content, "Hello.\n"))
				inet.scripts(addr, tt.scripts...)
				tr := &Transport{Hostname: "client.test", Router: &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost(addr))}},
					DialContext: inet.DialContext, ChunkSize: tt.chunk}
				env := smtp.NewEnvelope("ann@client.test")
				for _, to := range tt.to {
					if !strings.Contains(to, "@") {
						to += "@example.net"
					}
					env.Recipients = append(env.Recipients, smtp.Recipient{Address: to})
				}
				var got []string
				for range tt.mails {
					results, err := tr.Send(t.Context(), env, content)
					checkError(t, results, err)
					var outcomes []string
					for _, r := range results {
						outcomes = append(outcomes, r.Outcome.String())
					}
					got = append(got, strings.Join(outcomes, " "))
					if strings.Contains(tt.scripts[0], "MAILMAX=1") && idle(tr) > 0 {
						t.Error("a session is kept that takes no further message")
					}
					time.Sleep(tt.wait)
				}
				tr.Close()
				if got := strings.Join(got, ", "); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
				if n := len(inet.conns); n != len(tt.scripts) {
					t.Errorf("got %d sessions, want %d", n, len(tt.scripts))
				}
			})
		})
	}
}
