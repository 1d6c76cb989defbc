package smtp_test

import (
	"encoding"
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

func TestReasonOf(t *testing.T) {
	const deferred, rejected = smtp.Deferred, smtp.Rejected
	reply := smtp.NewReply
	tests := []struct {
		name    string
		outcome smtp.Outcome
		stage   smtp.Stage
		local   bool
		reply   *smtp.Reply
		want    smtp.Reason
	}{
		{"no route", deferred, smtp.StageRoute, true, reply(451, "4.4.3", "cannot look up the MX"), smtp.Network},
		{"no connection", deferred, smtp.StageConnect, true, reply(451, "4.4.1", "refused"), smtp.Network},
		{"no connection, no reply", deferred, smtp.StageConnect, true, nil, smtp.Network},
		{"a greeting that isn't one", deferred, smtp.StageGreeting, false, reply(554, "", "no service"), smtp.Network},
		{"no TLS", deferred, smtp.StageTLS, true, reply(451, "4.7.5", "the certificate isn't good"), smtp.Network},
		{"a wrong password", deferred, smtp.StageAuth, false, reply(535, "5.7.8", "no"), smtp.Network},
		{"a wrong password, by another code", deferred, smtp.StageAuth, false, reply(535, "5.5.0", "no"), smtp.Network},
		{"too many logins", deferred, smtp.StageAuth, false, reply(421, "4.7.0", "slow down"), smtp.RateLimited},
		{"no logins now", deferred, smtp.StageAuth, false, reply(454, "4.7.0", "later"), smtp.RateLimited},
		{"our own policy", deferred, smtp.StageConnect, true, reply(451, "4.7.1", "all are blocked"), smtp.Network},
		{"null MX by our own rule", rejected, smtp.StageRoute, true, reply(556, "5.1.10", "null MX"), smtp.UserUnknown},

		{"too many sessions", deferred, smtp.StageGreeting, false, reply(421, "4.7.0", "too many"), smtp.RateLimited},
		{"too many sessions, bare", deferred, smtp.StageGreeting, false, reply(421, "", "later"), smtp.RateLimited},
		{"too many messages", deferred, smtp.StageMail, false, reply(450, "4.7.1", "slow"), smtp.RateLimited},
		{"421 in between", deferred, smtp.StageRcpt, false, reply(421, "4.3.2", "going down"), smtp.RateLimited},
		{"5xx to a session", deferred, smtp.StageHello, false, reply(554, "5.7.1", "no"), smtp.RateLimited},
		{"a policy, for good", rejected, smtp.StageRcpt, false, reply(550, "5.7.1", "relaying denied"), smtp.Other},

		{"greylisted", deferred, smtp.StageRcpt, false, reply(451, "4.7.1", "Greylisted"), smtp.Greylisted},
		{"greylisted by 4.2.0", deferred, smtp.StageRcpt, false,
			reply(450, "4.2.0", "Rejected: Greylisting in effect"), smtp.Greylisted},
		{"greylisted at the greeting", deferred, smtp.StageGreeting, false,
			reply(451, "4.7.1", "graylisted"), smtp.Greylisted},
		{"greylisted, unknown meanwhile", deferred, smtp.StageRcpt, false,
			reply(450, "4.1.1", "grey-listed"), smtp.Greylisted},
		{"greylisted by a blocklist", deferred, smtp.StageRcpt, false,
			reply(451, "4.7.1", "grey list, as you are listed"), smtp.Greylisted},
		{"greylisting for good", rejected, smtp.StageRcpt, false,
			reply(550, "5.7.1", "greylisting failed"), smtp.Other},
		{"greylist in our own words", deferred, smtp.StageRcpt, true,
			reply(451, "4.7.1", "the host's greylist"), smtp.Other},

		{"listed at the greeting", deferred, smtp.StageGreeting, false,
			reply(554, "", "your address is listed at a DNSBL"), smtp.Blocklisted},
		{"listed, the first word", deferred, smtp.StageGreeting, false, reply(554, "", "listed"), smtp.Blocklisted},
		{"listed, for good", rejected, smtp.StageRcpt, false,
			reply(550, "5.7.1", "Blocked using zen.spamhaus.org"), smtp.Blocklisted},
		{"reputation", deferred, smtp.StageMail, false, reply(451, "4.7.650", "poor reputation"), smtp.Blocklisted},
		{"listed, not a policy", rejected, smtp.StageRcpt, false, reply(550, "", "listed"), smtp.Other},
		{"not whitelisted", rejected, smtp.StageRcpt, false, reply(550, "5.7.1", "sender not whitelisted"), smtp.Other},
		{"unlisted", rejected, smtp.StageRcpt, false, reply(550, "5.7.1", "unlisted recipient"), smtp.Other},
		{"a list of another kind", deferred, smtp.StageRcpt, false,
			reply(450, "4.2.1", "bob is not listed as a member"), smtp.Other},
		{"blocklist in our own words", deferred, smtp.StageTLS, true, reply(451, "4.7.1", "blocklist"), smtp.Network},

		{"no such user", rejected, smtp.StageRcpt, false, reply(550, "5.1.1", "not listed here"), smtp.UserUnknown},
		{"no such user, after DATA", rejected, smtp.StageFinal, false, reply(550, "5.1.1", "no"), smtp.UserUnknown},
		{"no such user, perhaps", deferred, smtp.StageRcpt, false, reply(450, "4.1.1", "unverified"), smtp.UserUnknown},
		{"null MX by a relay", rejected, smtp.StageRcpt, false, reply(556, "5.1.10", "null MX"), smtp.UserUnknown},
		{"5.1.1 to MAIL", rejected, smtp.StageMail, false, reply(550, "5.1.1", "no such sender"), smtp.Other},
		{"no such user, says a func", rejected, smtp.StageFinal, true, reply(550, "5.1.1", "no"), smtp.UserUnknown},
		{"550 without a code", rejected, smtp.StageRcpt, false, reply(550, "", "user unknown"), smtp.Other},
		{"bad syntax", rejected, smtp.StageRcpt, false, reply(501, "5.1.3", "bad address"), smtp.Other},
		{"bad syntax, as we see it", rejected, smtp.StageRoute, true, reply(501, "5.1.3", "no domain"), smtp.UserUnknown},
		{"bad syntax, says a func", rejected, smtp.StageFinal, true, reply(553, "5.1.3", "no domain"), smtp.UserUnknown},
		{"our own parameters", rejected, smtp.StageRoute, true, reply(501, "5.5.4", "NOTIFY"), smtp.Other},
		{"our own content", rejected, smtp.StageRoute, true, reply(554, "5.6.0", "bare CR"), smtp.Other},
		{"our own size", rejected, smtp.StageMail, true, reply(552, "5.3.4", "too big"), smtp.Other},
		{"an address in UTF-8", rejected, smtp.StageRcpt, true, reply(553, "5.6.7", "ASCII only"), smtp.Other},
		{"a bad domain", rejected, smtp.StageRcpt, false, reply(550, "5.1.2", "no such domain"), smtp.Other},
		{"disabled", rejected, smtp.StageRcpt, false, reply(550, "5.2.1", "disabled"), smtp.Other},
		{"another subject", rejected, smtp.StageRcpt, false, reply(550, "5.4.1", "no"), smtp.Other},

		{"a full mailbox", deferred, smtp.StageRcpt, false, reply(452, "4.2.2", "full"), smtp.Other},
		{"busy with the message", deferred, smtp.StageFinal, false, reply(451, "4.3.0", "later"), smtp.Other},
		{"lost within", deferred, smtp.StageBody, true, reply(451, "4.4.2", "the connection broke"), smtp.Other},
		{"no reply", deferred, smtp.StageRcpt, false, nil, smtp.Other},
		{"unknown", smtp.Unknown, smtp.StageFinal, true, reply(451, "4.4.2", "the connection broke"), smtp.Other},
		{"delivered", smtp.Delivered, smtp.StageFinal, false,
			reply(250, "2.7.0", "listed as greylisted"), smtp.NoReason},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := smtp.Result{Outcome: tt.outcome, Stage: tt.stage, Local: tt.local, Reply: tt.reply}
			r.Reason = smtp.Greylisted // ignored
			if got := smtp.ReasonOf(&r); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// The numbers are in spools: no change of this table is right, except a new line.
func TestNumbers(t *testing.T) {
	tests := []struct {
		got    encoding.TextMarshaler
		number int
		want   int
		text   string
	}{
		{smtp.NoReason, int(smtp.NoReason), 0, "none"},
		{smtp.Other, int(smtp.Other), 1, "other"},
		{smtp.Network, int(smtp.Network), 2, "network"},
		{smtp.RateLimited, int(smtp.RateLimited), 3, "rate-limited"},
		{smtp.Greylisted, int(smtp.Greylisted), 4, "greylisted"},
		{smtp.Blocklisted, int(smtp.Blocklisted), 5, "blocklisted"},
		{smtp.UserUnknown, int(smtp.UserUnknown), 6, "user-unknown"},
		{smtp.Reason(200), 200, 200, "reason-200"},
		{smtp.OriginUnknown, int(smtp.OriginUnknown), 0, "unknown"},
		{smtp.OriginStranger, int(smtp.OriginStranger), 1, "stranger"},
		{smtp.OriginAllowed, int(smtp.OriginAllowed), 2, "allowed"},
		{smtp.OriginAuthenticated, int(smtp.OriginAuthenticated), 3, "authenticated"},
		{smtp.OriginCode, int(smtp.OriginCode), 4, "code"},
		{smtp.Origin(200), 200, 200, "origin-200"},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			if tt.number != tt.want {
				t.Errorf("got %d, want %d", tt.number, tt.want)
			}
			text, err := tt.got.MarshalText()
			if string(text) != tt.text || err != nil {
				t.Fatalf("got %q and %v, want %q", text, err, tt.text)
			}
			var back encoding.TextMarshaler
			switch tt.got.(type) {
			case smtp.Reason:
				var r smtp.Reason
				err = r.UnmarshalText(text)
				back = r
			case smtp.Origin:
				var o smtp.Origin
				err = o.UnmarshalText(text)
				back = o
			}
			if tt.want == 200 {
				if err == nil || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("a number without a name: got %v, want an error that names it", err)
				}
			} else if err != nil || back != tt.got {
				t.Errorf("got %v and %v back, want %v", back, err, tt.got)
			}
		})
	}
}

// TestStoredNumbers: those of Outcome and Stage are in spools, too.
func TestStoredNumbers(t *testing.T) {
	outcomes := []string{"deferred", "delivered", "rejected", "unknown"}
	for i, want := range outcomes {
		if got := smtp.Outcome(i).String(); got != want {
			t.Errorf("outcome %d: got %q, want %q", i, got, want)
		}
	}
	stages := []string{"route", "connect", "greeting", "hello", "tls", "auth", "mail", "rcpt", "data", "body", "final"}
	for i, want := range stages {
		if got := smtp.Stage(i).String(); got != want {
			t.Errorf("stage %d: got %q, want %q", i, got, want)
		}
	}
	if smtp.Unknown != 3 || smtp.StageMail != 6 || smtp.StageFinal != 10 {
		t.Errorf("got %d, %d and %d, want 3, 6 and 10", smtp.Unknown, smtp.StageMail, smtp.StageFinal)
	}
}
