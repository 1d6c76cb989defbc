package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// codesOfRFC5321 are those of RFC 5321 §4.2.3.
var codesOfRFC5321 = []int{211, 214, 220, 221, 250, 251, 252, 354, 421, 450, 451, 452, 455, 500, 501, 502, 503, 504, 550, 551, 552, 553, 554, 555}

// otherCodes have a class of RFC 5321 §4.2.1, and codesWithoutClass have none.
var (
	otherCodes        = []int{200, 201, 235, 260, 299, 300, 334, 350, 399, 404, 432, 460, 499, 520, 535, 556, 599}
	codesWithoutClass = []int{0, 99, 100, 150, 199, 600, 999}
)

// codedStages are the moments at which a codedHost says a code.
var codedStages = []string{
	"greeting", "EHLO", "HELO", "STARTTLS", "STARTTLS, required", "EHLO in TLS", "AUTH PLAIN", "AUTH LOGIN", "LOGIN's end",
	"MAIL", "RCPT", "DATA", "final", "MAIL in turn", "RCPT in turn", "DATA in turn", "BDAT", "BDAT LAST", "LHLO", "LMTP", "RSET", "QUIT",
}

// verdict is what the RFCs make of a code for one recipient.
type verdict struct {
	outcome string
	stage   string
	code    int
	local   bool // the client's own words
	next    bool // the next host is asked
}

func (v verdict) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %d %s", v.outcome, v.stage, v.code, local(v.local)))
}

// codedSession has the results of bob and eve, the recipients, and the connections to the host that says the code.
type codedSession struct {
	bob, eve verdict
	dials    int
}

// oracle is the test's own reading of RFC 5321 §4.2.1 and §4.3.2: which session follows from a code at a stage. bob is the
// recipient whose RCPT, or whose reply in LMTP, has the code.
func oracle(stage string, code int) codedSession {
	good := verdict{outcome: "delivered", stage: "final", code: 250}
	taken := codedSession{bob: good, eve: good, dials: 1}
	all := func(v verdict) codedSession { return codedSession{bob: v, eve: v, dials: 1} }
	digit := code / 100
	if digit == 2 && stage != "DATA" && stage != "DATA in turn" && stage != "AUTH LOGIN" || stage == "QUIT" {
		switch stage {
		case "final", "BDAT LAST":
			good.code = code
			return all(good)
		case "LMTP":
			taken.bob.code = code
		}
		return taken
	}
	step, _, _ := strings.Cut(stage, " in turn")
	switch step {
	case "EHLO", "EHLO in TLS":
		// §3.2: HELO after a 5xx. RFC 3207 §4.1: the rest of a broken opportunistic TLS session may go without TLS.
		if digit == 5 {
			return taken
		}
		if stage == "EHLO in TLS" && digit != 4 {
			taken.dials = 2
			return taken
		}
		return all(noSession("hello", code))
	case "greeting":
		return all(noSession("greeting", code))
	case "HELO", "LHLO":
		return all(noSession("hello", code))
	case "STARTTLS":
		switch {
		case code == 421: // §3.8: the host closes
			return all(noSession("tls", code))
		case digit != 4 && digit != 5:
			taken.dials = 2 // another session, without TLS
		}
		return taken
	case "STARTTLS, required":
		return all(noSession("tls", code))
	case "AUTH LOGIN":
		if digit == 3 {
			return taken
		}
		return all(noSession("auth", code))
	case "AUTH PLAIN", "LOGIN's end":
		return all(noSession("auth", code))
	case "MAIL":
		return all(refusal5321("mail", code))
	case "RCPT":
		v := refusal5321("rcpt", code)
		if code == 552 { // §4.5.3.1.10: like 452
			v.outcome, v.next = "deferred", false
		}
		if v.local || code == 421 {
			return all(v) // the session is over
		}
		taken.bob = v
		return taken
	case "DATA":
		if digit == 3 {
			return taken
		}
		return all(refusal5321("data", code))
	case "BDAT":
		if code == 500 || code == 502 || code == 503 || code == 504 {
			return taken // §4.2.4: the host doesn't know BDAT, and gets DATA
		}
		return all(refusal5321("body", code))
	case "final", "BDAT LAST", "LMTP":
		v := refusal5321("final", code)
		if v.local { // §4.2.1: neither yes nor no to a message that the host has
			v.outcome, v.next = "unknown", false
			return all(v)
		}
		if stage == "LMTP" {
			taken.bob = v
			return taken
		}
		return all(v)
	case "RSET":
		taken.dials = 2 // in a new session
		return taken
	}
	panic(stage)
}

// noSession is the verdict before MAIL, where no recipient is rejected.
func noSession(stage string, code int) verdict {
	v := refusal5321(stage, code)
	v.outcome, v.next = "deferred", true
	return v
}

// refusal5321 is the verdict for a code that isn't the hoped one. §4.2.1: 5yz is for good, 4yz for now, and the client
// doesn't understand any other.
func refusal5321(stage string, code int) verdict {
	switch code / 100 {
	case 4:
		return verdict{outcome: "deferred", stage: stage, code: code, next: code != 452} // §4.5.3.1.10: this host has no room now
	case 5:
		return verdict{outcome: "rejected", stage: stage, code: code}
	}
	return verdict{outcome: "deferred", stage: stage, code: 451, local: true, next: true}
}

// TestReplyCodes has a host say every code of RFC 5321 and some others, at every stage.
func TestReplyCodes(t *testing.T) {
	rows := 0
	for _, stage := range codedStages {
		for _, code := range slices.Concat(codesOfRFC5321, otherCodes, codesWithoutClass) {
			rows++
			t.Run(fmt.Sprintf("%s/%03d", stage, code), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					testReply(t, stage, fmt.Sprintf("%03d so says the host", code), oracle(stage, code))
				})
			})
		}
	}
	if rows < 400 {
		t.Errorf("got %d rows", rows)
	}
}

// TestOddReplies has rows that no code alone decides.
func TestOddReplies(t *testing.T) {
	good := verdict{outcome: "delivered", stage: "final", code: 250}
	deferred := func(stage string, code int) verdict { return verdict{outcome: "deferred", stage: stage, code: code} }
	next := func(v verdict) verdict { v.next = true; return v }
	broken := func(stage string) verdict {
		return verdict{outcome: "deferred", stage: stage, code: 451, local: true, next: true}
	}
	rejected := func(stage string, code int) verdict { return verdict{outcome: "rejected", stage: stage, code: code} }
	unknown := verdict{outcome: "unknown", stage: "final", code: 451, local: true}
	tests := []struct {
		name, stage, reply string
		bob, eve           verdict
	}{
		{"220- and 521", "greeting", "220-wait\r\n521 blocked", next(deferred("greeting", 521)), next(deferred("greeting", 521))},
		{"220- and 421", "greeting", "220-wait\r\n421 busy", next(deferred("greeting", 421)), next(deferred("greeting", 421))},
		{"554- and 220", "greeting", "554-no\r\n220 wait", broken("greeting"), broken("greeting")},
		{"an empty line behind it", "greeting", "220 hi\r\n", good, good},
		{"an empty line before it", "greeting", "\r\n220 hi", good, good},
		{"text before it", "greeting", "Trying 192.0.2.1...\r\nConnected.\r\n220 hi", good, good},
		{"17 empty lines before it", "greeting", strings.Repeat("\r\n", 17) + "220 hi", broken("greeting"), broken("greeting")},
		{"HTTP", "greeting", "HTTP/1.1 200 OK\r\n\r\n220 hi", broken("greeting"), broken("greeting")},
		{"a greeting of 16 lines with empty ones between", "greeting", strings.Repeat("220-hi\r\n\r\n", 15) + "220 hi", good, good},
		{"empty lines inside it", "EHLO", "250-host\r\n\r\n250-\r\n\r\n250 X", good, good},
		{"extensions without a code", "EHLO", "250-host\r\nPIPELINING\r\nSTARTTLS\r\n250 X", good, good},
		{"250- and 220", "EHLO", "250-host\r\n220 X", good, good},
		{"450- and 550", "EHLO", "450-host\r\n550 X", good, good}, // by HELO
		{"550- and 450", "EHLO", "550-host\r\n450 X", next(deferred("hello", 450)), next(deferred("hello", 450))},
		{"an empty line behind the 220", "STARTTLS, required", "220 go\r\n", broken("tls"), broken("tls")},
		{"text behind the 250", "STARTTLS, required", "250 go\r\nnow", broken("tls"), broken("tls")},
		{"a reply behind the 250", "STARTTLS, required", "250 go\r\n250 AUTH PLAIN", broken("tls"), broken("tls")},
		{"an empty line before the 220", "STARTTLS, required", "\r\n220 go", good, good},
		{"250- and 535", "AUTH PLAIN", "250-wait\r\n535 no", next(deferred("auth", 535)), next(deferred("auth", 535))},
		{"a prompt in clear", "AUTH LOGIN", "334 Username:", good, good},
		{"a prompt of two codes", "AUTH LOGIN", "334-Username:\r\n350 please", good, good},
		{"an empty line before it", "MAIL", "\r\n250 ok", good, good},
		{"an empty line before it", "RCPT", "\r\n550 5.1.1 who?", rejected("rcpt", 550), good},
		{"250- and 550", "RCPT", "250-ok\r\n550 5.1.1 who?", rejected("rcpt", 550), good},
		{"550- and 250", "RCPT", "550-5.1.1 who?\r\n250 ok", broken("rcpt"), broken("rcpt")},
		{"the mailbox's", "RCPT", "460 4.2.2 full", deferred("rcpt", 460), good},
		{"a policy's", "RCPT", "404 4.7.1 no", deferred("rcpt", 404), good},
		{"no such user", "RCPT", "599 5.1.1 who?", rejected("rcpt", 599), good},
		{"350 of lines", "DATA", "350-go\r\n\r\n350 on", good, good},
		{"354- and 250", "DATA", "354-go\r\n250 on", broken("data"), broken("data")},
		{"250- and 354", "DATA", "250-go\r\n354 on", good, good},
		{"354- and 554", "DATA", "354-go\r\n554 no", rejected("data", 554), rejected("data", 554)},
		{"an empty line behind it", "DATA", "354 go\r\n", good, good},
		{"a reply behind it", "DATA", "354 go\r\n250 taken", broken("data"), broken("data")},
		{"a reply behind a refusal", "DATA", "554 no\r\n354 go", broken("data"), broken("data")},
		{"an empty line before it", "final", "\r\n250 taken", good, good},
		{"text before it", "final", "Taken\r\n250 taken", good, good},
		{"16 empty lines before it", "final", strings.Repeat("\r\n", 16) + "250 taken", good, good},
		{"17 empty lines before it", "final", strings.Repeat("\r\n", 17) + "250 taken", unknown, unknown},
		{"250- and 550", "final", "250-taken\r\n550 no", rejected("final", 550), rejected("final", 550)},
		{"250- and 450", "final", "250-taken\r\n450 no", next(deferred("final", 450)), next(deferred("final", 450))},
		{"550- and 250", "final", "550-no\r\n250 taken", unknown, unknown},
		{"no space", "final", "250taken", unknown, unknown},
		{"a tab", "final", "250\ttaken", good, good},
		{"an empty line before it", "BDAT", "\r\n250 ok", good, good},
		{"an empty line before it", "BDAT LAST", "\r\n250 taken", good, good},
		{"an empty line before it", "LMTP", "\r\n550 no", rejected("final", 550), good},
		{"250- and 550", "LMTP", "250-ok\r\n550 no", rejected("final", 550), good},
		{"550- and 250", "LMTP", "550-no\r\n250 ok", unknown, unknown},
		{"an empty line before it", "RSET", "\r\n250 ok", good, good},
		{"an empty line instead of it", "QUIT", "", good, good},
	}
	for _, test := range tests {
		t.Run(test.stage+"/"+test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testReply(t, test.stage, test.reply, codedSession{test.bob, test.eve, 1}) })
		})
	}
}

// testReply sends a message to bob and eve, by a host that says a reply at a stage: once without and once with another
// host behind it, which takes everything.
func testReply(t *testing.T, stage, reply string, want codedSession) {
	const a, b = "127.0.0.1:25", "127.0.0.2:25" // where AUTH is allowed in cleartext
	for _, hosts := range [][]string{{a}, {a, b}} {
		odd, other := &codedHost{stage: stage, reply: reply}, &codedHost{stage: stage}
		inet := newInternet(t)
		inet.serve(a, odd.serve)
		inet.serve(b, other.serve)
		route := mustRoute(mx.Smarthost(hosts...))
		route.TLS, route.LMTP = mx.TLSNone, stage == "LHLO" || stage == "LMTP"
		tr := &Transport{Hostname: "client.test", Router: &mx.Router{Routes: map[string]mx.Route{"*": route}}, DialContext: inet.DialContext, ChunkSize: -1}
		switch stage {
		case "STARTTLS", "EHLO in TLS":
			route.TLS = mx.TLSOpportunistic
		case "STARTTLS, required":
			route.TLS = mx.TLSRequired
		case "AUTH PLAIN":
			route.Auth = &Credentials{Username: "ann", Password: "secret", Mechanisms: []string{"PLAIN"}}
		case "AUTH LOGIN", "LOGIN's end":
			route.Auth = &Credentials{Username: "ann", Password: "secret", Mechanisms: []string{"LOGIN"}}
		case "BDAT", "BDAT LAST":
			tr.ChunkSize = 10
		}
		if route.TLS != mx.TLSNone {
			var roots *x509.CertPool
			odd.cert, roots = testTLS(t, "127.0.0.1", "127.0.0.2")
			other.cert, tr.TLSConfig = odd.cert, &tls.Config{RootCAs: roots}
		}
		tr.Router.Routes["*"] = route
		if stage == "RSET" { // a transaction that RSET has to end
			tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "nobody@example.net"), smtp.Text("Hello.\n"))
		}
		results, err := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net", "eve@example.net"), smtp.Text("Hello, bob and eve.\n"))
		checkError(t, results, err)
		tr.Close()
		inet.wg.Wait()

		asked := false
		for i, v := range []verdict{want.bob, want.eve} {
			if v.next && len(hosts) == 2 {
				asked, v = true, verdict{outcome: "delivered", stage: "final", code: 250}
			}
			if got := showShort(results[i : i+1])[0]; got != v.String() {
				t.Errorf("%d hosts, %s: got %s, want %s: %s", len(hosts), results[i].Recipient, got, v, results[i].Reply.Error())
			}
		}
		dials := strings.Repeat(a+" ", want.dials)
		if asked {
			dials += b
		}
		if got := inet.dialled(); got != strings.TrimSpace(dials) {
			t.Errorf("%d hosts: dialled %s, want %s", len(hosts), got, dials)
		}
	}
}

// TestListedBehind220: the text behind 220- shows that a blocklist has our address, so the next one of Sources is used.
func TestListedBehind220(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const listed = "S: 220-mx.example.net ESMTP, please wait\nS: 521 no; 192.0.2.9 is in zen.spamhaus.example\nC: QUIT\neof"
		inet := newInternet(t)
		inet.scripts("198.51.100.1:25", listed, whole)
		route := mustRoute(mx.Smarthost("198.51.100.1:25"))
		route.TLS = mx.TLSNone
		var reasons []smtp.Reason
		tr := &Transport{Hostname: "client.test", Router: &mx.Router{Routes: map[string]mx.Route{"*": route}}, DialContext: inet.DialContext,
			Sources: []Source{{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.9")}}, {Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.10")}}},
			Tried: func(_ context.Context, try Try) {
				if f, ok := errors.AsType[*failure](try.Err); ok {
					reasons = append(reasons, f.result(nil).Reason)
				}
			}}
		results, err := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n"))
		if err != nil || results[0].Outcome != smtp.Delivered {
			t.Errorf("got %s", show(results))
		}
		if !slices.Equal(reasons, []smtp.Reason{smtp.Blocklisted}) {
			t.Errorf("got reasons %v, want blocklisted", reasons)
		}
		tr.Close()
	})
}
