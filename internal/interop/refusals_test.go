package interop

import (
	"bytes"
	"cmp"
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

// refusals are what a host doesn't take, or not now, and what the client must make of it: outcome, stage, and the reply
// as the host gave it. A host that isn't named takes such a mail.
var refusals = []struct {
	name, from, to string
	content        string // if empty, a letter
	size           int    // what it is filled up to
	want           map[string]string
}{
	{name: "unknown recipient", from: "ann@source.test", to: "nobody", want: map[string]string{
		"postfix":   "rejected at rcpt by the host: 550 5.1.1 <nobody@postfix.test>: Recipient address rejected: User unknown in virtual mailbox table",
		"exim":      "rejected at rcpt by the host: 550 Unrouteable address",
		"opensmtpd": "rejected at rcpt by the host: 550 Invalid recipient: <nobody@opensmtpd.test>",
		"dovecot":   "rejected at rcpt by the host: 550 5.1.1 <nobody@dovecot.test> User doesn't exist: nobody@dovecot.test",
		"aiosmtpd":  "rejected at rcpt by the host: 550 5.1.1 no such user",
	}},
	{name: "not now", from: "ann@source.test", to: "grey", want: map[string]string{
		"postfix":   "deferred at rcpt by the host: 450 4.7.1 <grey@postfix.test>: Recipient address rejected: come back later",
		"exim":      "deferred at rcpt by the host: 451 4.7.1 come back later",
		"opensmtpd": "deferred at rcpt by the host: 451 4.7.1 come back later",
		"dovecot":   "deferred at rcpt by the host: 451 4.3.0 <grey@dovecot.test> Temporary internal error",
		"aiosmtpd":  "deferred at rcpt by the host: 450 4.7.1 come back later",
	}},
	{name: "sender", from: "refused@source.test", to: "bob", want: map[string]string{
		"postfix":   "rejected at rcpt by the host: 554 5.7.1 <refused@source.test>: Sender address rejected: sender refused",
		"exim":      "rejected at mail by the host: 550 5.7.1 sender refused",
		"opensmtpd": "rejected at mail by the host: 550 5.7.1 sender refused",
		"aiosmtpd":  "rejected at mail by the host: 550 5.7.1 sender refused",
	}},
	{name: "content", from: "ann@source.test", to: "bob", content: "X-Refuse: yes\r\n" + letter("Hello.\r\n"), want: map[string]string{
		"postfix":  "rejected at final by the host: 550 5.7.1 content refused",
		"exim":     "rejected at final by the host: 550 5.6.0 content refused",
		"aiosmtpd": "rejected at final by the host: 554 5.6.0 content refused",
	}},
	{name: "no header", from: "ann@source.test", to: "bob", content: ".This is no header field.\r\n", want: map[string]string{
		"opensmtpd": "rejected at final by the host: 550 5.7.1 Delivery not authorized, message refused: Message is not RFC 2822 compliant",
	}},
	{name: "over the SIZE", from: "ann@source.test", to: "bob", size: 11 << 20, want: map[string]string{
		"postfix":   "rejected at mail by the client: 552 5.3.4 the message has 11534409 octets, and the host takes 10485760",
		"exim":      "rejected at mail by the client: 552 5.3.4 the message has 11534409 octets, and the host takes 10485760",
		"opensmtpd": "rejected at mail by the client: 552 5.3.4 the message has 11534409 octets, and the host takes 10485760",
		"aiosmtpd":  "rejected at mail by the client: 552 5.3.4 the message has 11534409 octets, and the host takes 10485760",
	}},
	{name: "over the size of this sender", from: "small@source.test", to: "bob", size: 5 << 20, want: map[string]string{
		"exim": "rejected at mail by the host: 552 5.3.4 too big from you",
	}},
}

// refusedBy offers the host what it refuses, in one session.
func refusedBy(t *testing.T, h *nextHost) {
	transport, dials := h.transport(t, ways[0])
	for _, r := range refusals {
		t.Run(r.name, func(t *testing.T) {
			content := []byte(cmp.Or(r.content, letter("Hello.\r\n")))
			for len(content) < r.size {
				content = append(content, filler...)
			}
			results, err := transport.Send(t.Context(), smtp.NewEnvelope(r.from, r.to+"@"+h.domain()), bytes.NewReader(content))
			res := results[0]
			want, refused := r.want[h.name]
			if !refused {
				if res.Outcome != smtp.Delivered || err != nil {
					t.Errorf("got %s (%v), want it delivered", describe(res), err)
				}
				return
			}
			if got := describe(res); got != want || err == nil {
				t.Errorf("got %s (%v), want %s", got, err, want)
			}
			if res.Host != h.domain() || res.Addr != "127.0.0.1:25" || res.TLS != "" || res.Relayed || res.DSN {
				t.Errorf("got %+v, want host and address, and nothing else", res)
			}
		})
	}
	if n := dials.Load(); n != 1 {
		t.Errorf("got %d sessions, want 1", n)
	}
}

// filler is a line of 80 octets.
var filler = strings.Repeat("x", 78) + "\r\n"
