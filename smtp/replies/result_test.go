package replies_test

import (
	"testing"

	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
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
		{"no TLS", deferred, smtp.StageTLS, true, reply(451, "4.7.5", "the certificate isn't good"), smtp.TLS},
		{"a wrong password", deferred, smtp.StageAuth, false, reply(535, "5.7.8", "no"), smtp.Network},
		{"a wrong password, by another code", deferred, smtp.StageAuth, false, reply(535, "5.5.0", "no"), smtp.Network},
		{"too many logins", deferred, smtp.StageAuth, false, reply(421, "4.7.0", "slow down"), smtp.RateLimited},
		{"no logins now", deferred, smtp.StageAuth, false, reply(454, "4.7.0", "later"), smtp.Network},
		{"our own policy", deferred, smtp.StageConnect, true, reply(451, "4.7.1", "all are blocked"), smtp.Network},
		{"null MX by our own rule", rejected, smtp.StageRoute, true, reply(556, "5.1.10", "null MX"), smtp.UserUnknown},

		{"too many sessions", deferred, smtp.StageGreeting, false, reply(421, "4.7.0", "too many"), smtp.RateLimited},
		{"too many sessions, bare", deferred, smtp.StageGreeting, false, reply(421, "", "later"), smtp.Network},
		{"too many messages", deferred, smtp.StageMail, false, reply(450, "4.7.1", "slow"), smtp.RateLimited},
		{"421 in between", deferred, smtp.StageRcpt, false, reply(421, "4.3.2", "going down"), smtp.Temporary},
		{"5xx to a session", deferred, smtp.StageHello, false, reply(554, "5.7.1", "no"), smtp.Network},
		{"a policy, for good", rejected, smtp.StageRcpt, false, reply(550, "5.7.1", "relaying denied"), smtp.RelayDenied},

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
			reply(550, "5.7.1", "greylisting failed"), smtp.Greylisted},
		{"greylist in our own words", deferred, smtp.StageRcpt, true,
			reply(451, "4.7.1", "the host's greylist"), smtp.Other},

		{"listed at the greeting", deferred, smtp.StageGreeting, false,
			reply(554, "", "your address is listed at a DNSBL"), smtp.Blocklisted},
		{"listed, the first word", deferred, smtp.StageGreeting, false, reply(554, "", "listed"), smtp.Network},
		{"listed, for good", rejected, smtp.StageRcpt, false,
			reply(550, "5.7.1", "Blocked using zen.spamhaus.org"), smtp.Blocklisted},
		{"reputation", deferred, smtp.StageMail, false, reply(451, "4.7.650", "poor reputation"), smtp.Blocklisted},
		{"listed, not a policy", rejected, smtp.StageRcpt, false, reply(550, "", "listed"), smtp.Other},
		{"not whitelisted", rejected, smtp.StageRcpt, false, reply(550, "5.7.1", "sender not whitelisted"), smtp.Other},
		{"unlisted", rejected, smtp.StageRcpt, false, reply(550, "5.7.1", "unlisted recipient"), smtp.Other},
		{"a list of another kind", deferred, smtp.StageRcpt, false,
			reply(450, "4.2.1", "bob is not listed as a member"), smtp.MailboxDisabled},
		{"blocklist in our own words", deferred, smtp.StageTLS, true, reply(451, "4.7.1", "blocklist"), smtp.TLS},

		{"no such user", rejected, smtp.StageRcpt, false, reply(550, "5.1.1", "not listed here"), smtp.UserUnknown},
		{"no such user, after DATA", rejected, smtp.StageFinal, false, reply(550, "5.1.1", "no"), smtp.UserUnknown},
		{"no such user, perhaps", deferred, smtp.StageRcpt, false, reply(450, "4.1.1", "unverified"), smtp.UserUnknown},
		{"null MX by a relay", rejected, smtp.StageRcpt, false, reply(556, "5.1.10", "null MX"), smtp.UserUnknown},
		{"5.1.1 to MAIL", rejected, smtp.StageMail, false, reply(550, "5.1.1", "no such sender"), smtp.PolicyAuth},
		{"no such user, says a func", rejected, smtp.StageFinal, true, reply(550, "5.1.1", "no"), smtp.UserUnknown},
		{"550 without a code", rejected, smtp.StageRcpt, false, reply(550, "", "user unknown"), smtp.UserUnknown},
		{"a bad address", rejected, smtp.StageRcpt, false, reply(501, "5.1.3", "bad address"), smtp.UserUnknown},
		{"bad syntax, as we see it", rejected, smtp.StageRoute, true, reply(501, "5.1.3", "no domain"), smtp.UserUnknown},
		{"bad syntax, says a func", rejected, smtp.StageFinal, true, reply(553, "5.1.3", "no domain"), smtp.UserUnknown},
		{"our own parameters", rejected, smtp.StageRoute, true, reply(501, "5.5.4", "NOTIFY"), smtp.Syntax},
		{"our own content", rejected, smtp.StageRoute, true, reply(554, "5.6.0", "bare CR"), smtp.Syntax},
		{"our own size", rejected, smtp.StageMail, true, reply(552, "5.3.4", "too big"), smtp.TooBig},
		{"an address in UTF-8", rejected, smtp.StageRcpt, true, reply(553, "5.6.7", "ASCII only"), smtp.Syntax},
		{"a bad domain", rejected, smtp.StageRcpt, false, reply(550, "5.1.2", "no such domain"), smtp.HostUnknown},
		{"disabled", rejected, smtp.StageRcpt, false, reply(550, "5.2.1", "disabled"), smtp.MailboxDisabled},
		{"another subject", rejected, smtp.StageRcpt, false, reply(550, "5.4.1", "no"), smtp.Other},

		{"a full mailbox", deferred, smtp.StageRcpt, false, reply(452, "4.2.2", "full"), smtp.MailboxFull},
		{"busy with the message", deferred, smtp.StageFinal, false, reply(451, "4.3.0", "later"), smtp.Temporary},
		{"lost within", deferred, smtp.StageBody, true, reply(451, "4.4.2", "the connection broke"), smtp.Network},
		{"no reply", deferred, smtp.StageRcpt, false, nil, smtp.Other},
		{"unknown", smtp.Unknown, smtp.StageFinal, true, reply(451, "4.4.2", "the connection broke"), smtp.Network},
		{"delivered", smtp.Delivered, smtp.StageFinal, false,
			reply(250, "2.7.0", "listed as greylisted"), smtp.NoReason},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := smtp.Result{Outcome: tt.outcome, Stage: tt.stage, Local: tt.local, Reply: tt.reply}
			r.Reason = smtp.Greylisted // ignored
			if got := replies.ReasonOf(&r); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
