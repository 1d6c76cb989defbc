package replies

import (
	"testing"

	"github.com/postrider/postrider/smtp"
)

// TestScope has replies to RCPT, which often name the recipient, whatever the host counts.
func TestScope(t *testing.T) {
	for text, want := range map[string]Scope{
		"Too many messages from your IP":                                             Address,
		"Your IP address has exceeded its rate limit":                                Address,
		"Too many messages from your IP address; it is over the limit":               Address,
		"the address 192.0.2.1 exceeds its limit":                                    Address,
		"IP address 192.0.2.1 exceeds its quota":                                     Address,
		"rate limit of your address exceeded":                                        Address,
		"Your IP is blocked for an hour: too many messages":                          Address,
		"Too many messages from your IP, closing connection":                         Address,
		"connection refused, too many messages from your IP":                         Address,
		"Too many messages from this client":                                         Address,
		"your mail server sent too many messages":                                    Address,
		"Recipient address rejected: your IP is over the rate limit":                 Address,
		"<a@x.test>: Recipient address rejected: Rate limit exceeded from 192.0.2.1": Address,
		"too many messages, mail to <a@x.test> is deferred, your IP is throttled":    Address,
		"Mail for this user is deferred: your host is throttled":                     Address,
		"rate of your IP range exceeded":                                             Network,
		"too many connections, closing connection":                                   Connection,
		"the connection rate of your IP is too high":                                 Connection,
		"Too many recipients":                                                        Message,
		"sender address a@x.test exceeded its rate limit":                            Unknown,
		"the sender's address exceeded its quota":                                    Unknown,
		"Sender address rejected: rate limit exceeded":                               Unknown,
		"your account exceeded the rate limit":                                       Unknown,
		"your email address exceeded its rate limit":                                 Unknown,
		"Recipient address rejected: you exceeded the rate limit":                    Unknown,
		"limit reached, too many messages, closing connection":                       Unknown,
		"Recipient address rejected: Recipient Quota Exceeded for today":             Recipient,
		"Mailbox rate limit exceeded":                                                Recipient,
		"Messages to a@x.test are deferred due to excessive volume":                  Recipient,
		"rate limit for this address exceeded":                                       Recipient,
		"Too many messages to this recipient":                                        Recipient,
		"Too many recent messages to this recipient":                                 Recipient,
		"Too many messages from your IP to this recipient":                           Recipient,
		"Too many messages from 192.0.2.1 to a@x.test":                               Recipient,
		"your host exceeds the limit of messages for this recipient":                 Recipient,
		"[192.0.2.1] The user you are trying to contact is receiving mail too fast":  Recipient,
	} {
		m := Classify(smtp.NewReply(450, "4.7.1", text), smtp.StageRcpt, "")
		if m.Reason != smtp.RateLimited || m.Scope != want {
			t.Errorf("%s: got %v about %v by %s, want %v about %v", text, m.Reason, m.Scope, m.Rule, smtp.RateLimited, want)
		}
	}
}
