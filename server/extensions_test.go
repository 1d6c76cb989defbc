package server

import (
	"cmp"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

// TestExtensions: an extension is offered, and its parameters are accepted, only where a field switches it on. It is
// 2000-01-01, midnight.
func TestExtensions(t *testing.T) {
	all := &Server{DeliverBy: true, MinDeliverBy: 30 * time.Second, Priorities: true, MaxHold: 24 * time.Hour}
	at := func(d time.Duration) time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(d) }
	tests := []struct {
		name   string
		srv    *Server // nil: with no field set
		params string
		reply  string // the code and the enhanced code
		want   smtp.Envelope
	}{
		{name: "BY, not offered", params: "BY=120;R", reply: "555 5.5.4"},
		{name: "BY", srv: all, params: "BY=120;R", reply: "250 2.1.0",
			want: smtp.Envelope{By: smtp.DeliverBy{Time: at(2 * time.Minute), Return: true}}},
		{name: "BY, the least", srv: all, params: "BY=30;R", reply: "250 2.1.0",
			want: smtp.Envelope{By: smtp.DeliverBy{Time: at(30 * time.Second), Return: true}}},
		{name: "BY, below the least", srv: all, params: "BY=29;R", reply: "555 5.5.4"},
		{name: "BY, below the least, mode N", srv: all, params: "BY=-1;NT", reply: "250 2.1.0",
			want: smtp.Envelope{By: smtp.DeliverBy{Time: at(-time.Second), Trace: true}}},
		{name: "BY, malformed", srv: all, params: "BY=120", reply: "501 5.5.4"},
		{name: "BY, no least", srv: &Server{DeliverBy: true}, params: "BY=1;R", reply: "250 2.1.0",
			want: smtp.Envelope{By: smtp.DeliverBy{Time: at(time.Second), Return: true}}},
		{name: "MT-PRIORITY, not offered", params: "MT-PRIORITY=3", reply: "555 5.5.4"},
		{name: "MT-PRIORITY", srv: all, params: "MT-PRIORITY=-3", reply: "250 2.1.0", want: smtp.Envelope{Priority: -3}},
		{name: "MT-PRIORITY, malformed", srv: all, params: "MT-PRIORITY=10", reply: "501 5.5.4"},
		{name: "HOLDFOR, not offered", params: "HOLDFOR=60", reply: "555 5.5.4"},
		{name: "HOLDFOR", srv: all, params: "HOLDFOR=86400", reply: "250 2.1.0", want: smtp.Envelope{HoldUntil: at(24 * time.Hour)}},
		{name: "HOLDFOR, too long", srv: all, params: "HOLDFOR=86401", reply: "501 5.5.4"},
		{name: "HOLDUNTIL", srv: all, params: "HOLDUNTIL=2000-01-02T00:00:00Z", reply: "250 2.1.0",
			want: smtp.Envelope{HoldUntil: at(24 * time.Hour)}},
		{name: "HOLDUNTIL, too long", srv: all, params: "HOLDUNTIL=2000-01-02T00:00:01Z", reply: "501 5.5.4"},
		{name: "HOLDUNTIL, now", srv: all, params: "HOLDUNTIL=2000-01-01T00:00:00Z", reply: "501 5.5.4"},
		{name: "HOLDUNTIL, not offered", params: "HOLDUNTIL=2000-01-02T00:00:00Z", reply: "555 5.5.4"},
		{name: "HOLDFOR and HOLDUNTIL", srv: all, params: "HOLDFOR=1 HOLDUNTIL=2000-01-02T00:00:00Z", reply: "501 5.5.4"},
		{name: "the longest hold", srv: &Server{MaxHold: 1<<63 - 1}, params: "HOLDFOR=999999999", reply: "250 2.1.0",
			want: smtp.Envelope{HoldUntil: at(999999999 * time.Second)}},
		{name: "all", srv: all, params: "BY=60;N MT-PRIORITY=9 HOLDFOR=9", reply: "250 2.1.0", want: smtp.Envelope{
			By: smtp.DeliverBy{Time: at(time.Minute)}, Priority: 9, HoldUntil: at(9 * time.Second)}},
	}
	for i := range tests {
		tt := &tests[i]
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &desk{}
				srv := cmp.Or(tt.srv, new(Server)).Clone()
				srv.Handler = d
				c := newWorld(t, srv).dial()
				c.ask(ehlo)
				got := c.ask("MAIL FROM:<eljefe@bigbiz.com> " + tt.params + "\r\n")
				if !strings.HasPrefix(got, tt.reply+" ") {
					t.Fatalf("got %q, want %s", got, tt.reply)
				}
				if tt.reply[0] != '2' {
					return
				}
				c.ask(rcpt + bdat("a", " LAST"))
				env := d.all()[0].env
				if env.By != tt.want.By || env.Priority != tt.want.Priority || env.HoldUntil != tt.want.HoldUntil {
					t.Errorf("got %+v, want %+v", env, tt.want)
				}
			})
		})
	}
}

// TestAnnounced: the lines of EHLO.
func TestAnnounced(t *testing.T) {
	tests := []struct {
		name string
		srv  Server
		want string
	}{
		{"none", Server{}, "LIMITS RCPTMAX=1000\n"},
		{"all", Server{BinaryMIME: true, DeliverBy: true, Priorities: true, MaxHold: time.Hour, MaxMails: 20, MaxRecipients: 5},
			"BINARYMIME\nDELIVERBY\nMT-PRIORITY\nFUTURERELEASE 3600 2000-01-01T01:00:00Z\nLIMITS RCPTMAX=5 MAILMAX=20\n"},
		{"least time", Server{DeliverBy: true, MinDeliverBy: 1500 * time.Millisecond}, "DELIVERBY 2\nLIMITS RCPTMAX=1000\n"},
		{"much", Server{MaxHold: 1<<63 - 1, MaxRecipients: 1_000_000, MaxMails: 1_000_000},
			"FUTURERELEASE 999999999 2031-09-09T01:46:39Z\n"},
	}
	for i := range tests {
		tt := &tests[i]
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newWorld(t, tt.srv.Clone()).dial()
				c.take()
				got := strings.ReplaceAll(strings.ReplaceAll(c.ask(ehlo), "250-", ""), "\r\n", "\n")
				_, got, _ = strings.Cut(got, "CHUNKING\n")
				if got, _, _ = strings.Cut(got, "DSN\n"); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// TestRequireTLS: REQUIRETLS is offered under TLS alone, over SMTP and LMTP, and sets a field of the Envelope.
func TestRequireTLS(t *testing.T) {
	tests := []struct {
		name      string
		srv       Server
		tls, want bool
	}{
		{name: "in clear"},
		{name: "in TLS", tls: true, want: true},
		{name: "in TLS, LMTP", srv: Server{LMTP: true}, tls: true, want: true},
		{name: "switched off", srv: Server{NoRequireTLS: true}, tls: true},
	}
	for i := range tests {
		tt := &tests[i]
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &desk{}
				srv := tt.srv.Clone()
				srv.Handler, srv.TLSConfig = d, testTLS(t)
				c, hello := newWorld(t, srv).dial(), ehlo
				if srv.LMTP {
					hello = strings.Replace(ehlo, "EHLO", "LHLO", 1)
				}
				offer := c.ask(hello)
				if tt.tls {
					c.ask(startTLS)
					c.startTLS()
					offer = c.ask(hello)
				}
				if got := strings.Contains(offer, "-REQUIRETLS\r\n"); got != tt.want {
					t.Errorf("got %q, offered: want %t", offer, tt.want)
				}
				if !tt.want {
					c.want(requireTLS, "555")
					return
				}
				c.ask(requireTLS + rcpt + bdat("a", " LAST") + mail + rcpt + bdat("a", " LAST"))
				if got := d.all(); len(got) != 2 || !got[0].env.RequireTLS || got[1].env.RequireTLS {
					t.Errorf("got %+v, want two messages, the first with RequireTLS", got)
				}
			})
		})
	}
}

// TestRequireTLSByCheck: a check may ask for REQUIRETLS.
func TestRequireTLSByCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		demand := Check{Name: "demand", Content: func(_ context.Context, s *Session, _ *Message) error {
			s.Envelope.RequireTLS = true
			return nil
		}}
		c := newWorld(t, &Server{Handler: d, Checks: []Check{demand}}).dial()
		c.ask(ehlo)
		c.ask(mail + rcpt + bdat("a", " LAST"))
		if got := d.all(); len(got) != 1 || !got[0].env.RequireTLS {
			t.Errorf("got %+v, want one message with RequireTLS", got)
		}
	})
}

// TestMaxMails: the message after the last one of a session is answered 421.
func TestMaxMails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newWorld(t, &Server{MaxMails: 2}).dial()
		c.ask(ehlo)
		c.want(mail+rcpt+bdat("a", " LAST")+mail+"RSET\r\n"+mail, "250", "250", "250", "250", "250", "421")
		if !c.closed() {
			t.Error("got the connection open, want it closed")
		}
	})
}

// sevenBitDesk takes 8-bit mail from one client alone.
type sevenBitDesk struct{ desk }

func (d *sevenBitDesk) SevenBit(_ context.Context, p *Peer) bool { return p.Hello != "eight.test" }

// TestSevenBitter: a client that the Handler takes 7-bit mail from isn't offered more, whatever the Server has.
func TestSevenBitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &Server{Handler: new(sevenBitDesk), BinaryMIME: true})
		c := w.dial()
		c.take()
		for _, hello := range []string{"seven.test", "eight.test", "seven.test"} {
			offer := c.ask("EHLO " + hello + "\r\n")
			eight := hello == "eight.test"
			for _, keyword := range []string{"8BITMIME", "SMTPUTF8", "BINARYMIME"} {
				if got := strings.Contains(offer, keyword); got != eight {
					t.Errorf("%s: %s is offered: %t, want %t", hello, keyword, got, eight)
				}
			}
			if !strings.Contains(offer, "ENHANCEDSTATUSCODES") {
				t.Errorf("%s: the offer is %q", hello, offer)
			}
			for _, param := range []string{"BODY=8BITMIME", "SMTPUTF8", "BODY=BINARYMIME", "BODY=7BIT"} {
				got := c.ask("MAIL FROM:<a@example.com> " + param + "\r\n")
				want := "555 5.5.4"
				if eight || param == "BODY=7BIT" {
					want = "250 2.1.0"
				}
				if !strings.HasPrefix(got, want) {
					t.Errorf("%s: MAIL with %s: got %q, want %s", hello, param, got, want)
				}
				c.ask("RSET\r\n")
			}
		}
	})
}
