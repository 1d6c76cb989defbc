package bounce

import (
	"fmt"
	"strings"
	"testing"
)

// ordinaryHeaders and ordinaryBodies make 288 ordinary mails, each header with each body.
var ordinaryHeaders = map[string]string{
	"person": "Return-Path: <cas@far.test>\nFrom: Cas <cas@far.test>\nTo: ann@sender.test\nSubject: %s\n",
	"answer": "Return-Path: <cas@far.test>\nFrom: Cas <cas@far.test>\nTo: ann@sender.test\nSubject: Re: %s\n" +
		"In-Reply-To: <a@sender.test>\n",
	"forward":         "Return-Path: <cas@far.test>\nFrom: Cas <cas@far.test>\nTo: ann@sender.test\nSubject: Fwd: %s\n",
	"list":            "Return-Path: <talk-bounces@lists.test>\nFrom: Cas <cas@far.test>\nTo: talk@lists.test\nSubject: [talk] %s\nList-Id: <talk.lists.test>\nPrecedence: list\n",
	"newsletter":      "Return-Path: <b-1@news.test>\nFrom: News <news@news.test>\nTo: ann@sender.test\nSubject: %s\nList-Unsubscribe: <mailto:u@news.test>\nPrecedence: bulk\n",
	"robot":           "Return-Path: <b@shop.test>\nFrom: Shop <no-reply@shop.test>\nTo: ann@sender.test\nSubject: %s\nAuto-Submitted: auto-generated\n",
	"cron":            "Return-Path: <root@host.test>\nFrom: root@host.test (Cron Daemon)\nTo: root@host.test\nSubject: %s\nAuto-Submitted: auto-generated\n",
	"postmaster":      "Return-Path: <postmaster@far.test>\nFrom: The postmaster of far.test <postmaster@far.test>\nTo: ann@sender.test\nSubject: Re: %s\nIn-Reply-To: <a@sender.test>\n",
	"list from null":  "Return-Path: <>\nFrom: Cas <cas@far.test>\nTo: talk@lists.test\nSubject: [talk] %s\nList-Id: <talk.lists.test>\n",
	"forward by null": "Return-Path: <>\nFrom: Cas <cas@far.test>\nTo: ann@sender.test\nSubject: Fwd: %s\n",
	"digest":          "Return-Path: <postmaster@far.test>\nFrom: postmaster@far.test\nTo: ann@sender.test\nSubject: Weekly: %.0s\n",
	"quiet":           "From: cas@far.test\nTo: ann@sender.test\nSubject: %s\n",
}

var ordinaryBodies = map[string]struct{ subject, fields, body string }{
	"lunch":   {"Lunch", "", "See you at noon?\n\nCas\ncas@far.test\n"},
	"invoice": {"Invoice 550", "", "Invoice 550 5.1.1 of the parts list is due. Questions: billing@shop.test\n"},
	"quoted bounce": {"Returned mail: see transcript for details", "", "I got this. What is it?\n\n> Hi. This is the qmail-send program at a.test.\n" +
		"> <bob@far.test>:\n> 550 5.1.1 User unknown\n\nCas\n"},
	"pasted bounce": {"Undelivered Mail Returned to Sender", "", "What does this mean?\n\nThis is the mail system at host a.test.\n\n" +
		"<bob@far.test>: host mx.far.test[192.0.2.9] said: 550 5.1.1 User unknown (in\n    reply to RCPT TO command)\n"},
	"pasted report": {"Delivery Status Notification (Failure)", "", "Bob says it is gone:\n\nFinal-Recipient: rfc822; bob@far.test\nAction: failed\nStatus: 5.1.1\n"},
	"forwarded inline": {"failure notice", "", "---------- Forwarded message ----------\nFrom: MAILER-DAEMON@a.test\nSubject: failure notice\n\n" +
		"I'm afraid I wasn't able to deliver your message to the following addresses.\n\n<bob@far.test>:\nuser unknown\n\n--- Below this line is a copy of the message.\n\nReturn-Path: <x@a.test>\nReceived: by a.test\nFrom: x@a.test\n\nHello\n"},
	"attached bounce": {"failure notice", "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=cut\n", "--cut\nContent-Type: text/plain\n\nLook at this.\n--cut\nContent-Type: message/rfc822\n\n" +
		"From: MAILER-DAEMON@a.test\nSubject: failure notice\nContent-Type: multipart/report; boundary=in; report-type=delivery-status\n\n--in\nContent-Type: message/delivery-status\n\n" +
		"Reporting-MTA: dns; a.test\n\nFinal-Recipient: rfc822; bob@far.test\nAction: failed\nStatus: 5.1.1\n\n--in--\n--cut--\n"},
	"attached report": {"Fwd: failure notice", "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=cut\n", "--cut\nContent-Type: text/plain\n\nThis came.\n" +
		"--cut\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; a.test\n\nFinal-Recipient: rfc822; bob@far.test\nAction: failed\nStatus: 5.1.1\n\n--cut--\n"},
	"html":     {"Our new shoes", "MIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\n", "<html><body><p>New <b>shoes</b> for you</p><p>shop@shop.test</p></body></html>\n"},
	"logs":     {"Log summary", "", "message reject detail\n  RCPT\n    550 5.1.1 <x@host.test>: Recipient address rejected: User unknown (total: 3)\n  bounced: 12\n  <y@a.test>: mailbox full\n"},
	"parcel":   {"Delivery failed", "", "We tried to deliver your parcel to ann@sender.test, but nobody was at home. Delivery failed.\n"},
	"password": {"Reset your password", "", "Click https://shop.test/r/1 for the account ann@sender.test.\n"},
	"calendar": {"Invitation: review", "MIME-Version: 1.0\nContent-Type: text/calendar; method=REQUEST\n", "BEGIN:VCALENDAR\nORGANIZER:mailto:cas@far.test\nEND:VCALENDAR\n"},
	"support":  {"Ticket 42", "", "Your ticket: mail to bob@far.test bounced. We look into it. The user unknown error comes from MX 1.\n"},
	"dmarc":    {"Report domain: sender.test", "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=cut\n", "--cut\nContent-Type: text/plain\n\nThis is an aggregate report from far.test.\n--cut\nContent-Type: application/gzip\nContent-Transfer-Encoding: base64\n\nH4sIAAAA\n--cut--\n"},
	"code":     {"Patch: bounce: read reports", "", "+\tcase \"failed\":\n+\t\treturn Failed // 550 5.1.1 user unknown\n-- \n2.43\n"},
	"holiday":  {"On holiday next week", "", "I am away next week, out of office. Write to eve@far.test.\n"},
	"full":     {"Mailbox full?", "", "Is your mailbox full? My last mail to bob@far.test could not be delivered.\n"},
	"mentions": {"MAILER-DAEMON", "", "The sender was MAILER-DAEMON@far.test, the mail to <bob@far.test> was not delivered to him.\n"},
	"japanese": {"=?iso-2022-jp?B?GyRCJDNGSUUpGyhC?=", "MIME-Version: 1.0\nContent-Type: text/plain; charset=iso-2022-jp\n", "\x1b$B$3$s$K$A$O\x1b(B bob@far.test\n"},
	"empty":    {"", "", ""},
	"binary":   {"Photo", "MIME-Version: 1.0\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n", "iVBORw0KGgo=\n"},
	"verify":   {"Please verify the numbers", "", "Can you verify the numbers of May? Thanks.\n"},
	"thanks":   {"Thank you for your mail", "", "I have read it twice.\n"},
	"address":  {"My new address", "", "bob@far.test is gone. Use:\n\nbob@other.test\n"},
}

// TestOrdinaryMail: no ordinary mail is read as a bounce, whatever it quotes, forwards or discusses.
func TestOrdinaryMail(t *testing.T) {
	count := 0
	for h, header := range ordinaryHeaders {
		for b, body := range ordinaryBodies {
			count++
			mail := fmt.Sprintf(header, body.subject) + body.fields + "Message-ID: <o@far.test>\nDate: Mon, 02 Feb 2026 12:00:00 +0000\n\n" + body.body
			if n := parseBytes(t, []byte(mail)); n.Kind != NotABounce || len(n.Recipients) != 0 {
				t.Errorf("%s, %s: got %v with %s, want no bounce\n%s", h, b, n.Kind, describe(n), indent(mail))
			}
		}
	}
	if count < 200 {
		t.Errorf("got %d mails, want 200", count)
	}
}

// TestMailSystemLetters: a mail system that isn't a person writes summaries, digests and notes of deliveries, too. Only
// a refusal of a named recipient is a bounce.
func TestMailSystemLetters(t *testing.T) {
	const bounce, none = Bounce, NotABounce
	returned := "\n\n----- Original message -----\nReceived: by a.test\nFrom: ann@sender.test\nTo: bob@far.test\nSubject: hello\n\nHello\n"
	for _, tt := range []struct {
		name, subject, body string
		kind                Kind
		action              Action
	}{
		{"log summary", "Postfix log summary", "rejected today:\nbob@far.test 550 5.1.1 user unknown (5 times)\n", none, 0},
		{"log summary with colons", "Raport dzienny", "bob@far.test: 550 5.1.1 User unknown: 3\ncarl@far.test: 550 5.1.1 User unknown: 12\n", none, 0},
		{"log summary with brackets", "Raport", "<bob@far.test>: 550 5.1.1 User unknown: 3\n", none, 0},
		{"log summary with a count of times", "Raport", "<bob@far.test>: 550 5.1.1 user unknown (3 x)\n", none, 0},
		{"quarantine digest", "Quarantine digest", "You have 3 messages:\n\nbob@far.test  Invoice 550 5.1.1 attached\nann2@far.test   Lunch\n", none, 0},
		{"statistics", "Weekly statistics", "bob@far.test 550 messages received\ncarl@far.test  421 4.2.0 messages\n", none, 0},
		{"read", "Gelesen: hallo", "bob@far.test 5.1.1 gelesen\n", none, 0},
		{"version", "Statystyka", "bob@far.test 5.0.0 wersja\n", none, 0},
		{"quota", "Account created", "Welcome. Your accounts:\n\nbob@far.test (quota 4.2.0 GB)\n", none, 0},
		{"delivered", "Zpráva doručena", "bob@far.test: 250 2.1.5 OK, minulý pokus 450 4.2.0 greylisted\n", none, 0},
		{"delivered, brackets", "Doručeno", "<bob@far.test>: 250 2.1.5 OK, předtím: 550 5.1.1 neznámý\n", none, 0},
		{"delayed", "Zpráva zpožděna", "bob@far.test: 451 4.7.1 greylisted, zkusíme znovu\n", none, 0},
		{"delayed, brackets", "Iletiniz gecikti", "<bob@far.test>: host mx.far.test said: 450 4.2.0 user unknown later\ntekrar denenecek\n", none, 0},
		{"delayed, the message returned", "Zpráva zpožděna", "<bob@far.test>: host mx.far.test said: 450 4.2.0 greylisted, zkusíme znovu" + returned, bounce, Delayed},
		{"refused", "Zpráva", "<bob@far.test>: host mx.far.test said: 550 5.1.1 no such user\n", bounce, Failed},
		{"refused, the message returned", "Zpráva", "bob@far.test: 550 5.1.1 no such user" + returned, bounce, Failed},
		{"a parcel in Turkish", "Paket teslim edilemedi", "Kargonuz teslim edilemedi.\nbob@far.test\n", none, 0},
		{"a parcel in Swedish", "Paketet", "Ditt paket kunde inte levereras.\nbob@far.test\n", none, 0},
		{"a parcel in Czech", "Zásilka", "Zásilku nelze doručit.\nbob@far.test\n", none, 0},
		{"a message in Swedish", "Fel", "Ditt meddelande kunde inte levereras till:\n\nbob@far.test\n", bounce, Failed},
		{"no permanent error", "Warning: message delayed", "Your message to bob@far.test has not been delivered yet.\n" +
			"<bob@far.test>: host mx.far.test said: 451 4.2.2 mailbox full. This is not a permanent error.\n", bounce, Delayed},
		{"until it fails", "Message delayed (warning)", "Could not be delivered to the following recipients so far. It will be tried until it has permanently failed:\n\n" +
			"<bob@far.test>\n   connection refused\n", bounce, Delayed},
		{"if it fails", "Warning: could not send message", "The mail could not be delivered yet. You get another report if it has a permanent error.\n\n" +
			"<bob@far.test>\n   connection refused\n", bounce, Delayed},
		{"permanent errors", "Warning: message failed", "The attached message had PERMANENT fatal delivery errors!\n\nFailed address: bob@far.test\n", bounce, Failed},
	} {
		mail := fmt.Sprintf("Return-Path: <>\nFrom: MAILER-DAEMON@far.test\nTo: ann@sender.test\nSubject: %s\n"+
			"Content-Type: text/plain; charset=utf-8\n\n%s", tt.subject, tt.body)
		n := parseBytes(t, []byte(mail))
		if n.Kind != tt.kind || tt.kind == bounce && (len(n.Recipients) != 1 || n.Recipients[0].Action != tt.action) {
			t.Errorf("%s: got %v with %s, want %v, %v", tt.name, n.Kind, describe(n), tt.kind, tt.action)
		}
	}
}

func indent(s string) string { return "\t" + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n\t") }
