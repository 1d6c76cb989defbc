package smtptest

import (
	"math"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

// TestOddValues calls each method with values that nobody should pass: it fails the test with a line that says why, or
// the host does something that it documents. None panics.
func TestOddValues(t *testing.T) {
	const far, most = time.Duration(math.MaxInt64), math.MaxInt
	odd := &smtp.Reply{Code: 7}
	tests := []struct {
		name string
		do   func(n *Network, h *Host)
		want string // how the line begins, without "smtptest: "; "": none
	}{
		{"Host, empty", func(n *Network, h *Host) { n.Host("") }, `host ""`},
		{"Host, a command", func(n *Network, h *Host) { n.Host("a\r\nb") }, `host "a`},
		{"MX, empty", func(n *Network, h *Host) { n.MX("", "mx.example.net") }, ""},
		{"NullMX, empty", func(n *Network, h *Host) { n.NullMX("") }, ""},
		{"FailDNS, no such fault", func(n *Network, h *Host) { n.FailDNS("example.net", 255) }, ""},
		{"Go, nil", func(n *Network, h *Host) { n.Go(nil) }, "the func of Network.Go is nil"},
		{"Listen, empty", func(n *Network, h *Host) { n.Listen("") }, ""},
		{"Certificate, empty", func(n *Network, h *Host) { n.Certificate("") }, ""},
		{"TXT, none", func(n *Network, h *Host) { n.TXT("example.net") }, ""},
		{"CNAME, to itself", func(n *Network, h *Host) { n.CNAME("example.net", "example.net") }, ""},
		{"SetAddrs, zero", func(n *Network, h *Host) { h.SetAddrs(netip.Addr{}) }, ""},
		{"Defer, the longest", func(n *Network, h *Host) { h.Defer(far, nil) }, ""},
		{"Defer, negative", func(n *Network, h *Host) { h.Defer(-1, nil) }, "mx.example.net can't do anything for -1ns"},
		{"Defer, no reply of SMTP", func(n *Network, h *Host) { h.Defer(1, odd) }, "mx.example.net can't answer 7"},
		{"Reject, empty", func(n *Network, h *Host) { h.Reject("", nil) }, `mx.example.net can't refuse ""`},
		{"RejectFinal, empty", func(n *Network, h *Host) { h.RejectFinal("", nil) }, `mx.example.net can't refuse ""`},
		{"Greylist, negative", func(n *Network, h *Host) { h.Greylist(math.MinInt64) }, "mx.example.net can't do anything for"},
		{"Greylist, the longest", func(n *Network, h *Host) { h.Greylist(far) }, ""},
		{"Answer, no stage", func(n *Network, h *Host) { h.Answer(255, nil) }, "a host has no reply at stage unknown"},
		{"Answer, nil", func(n *Network, h *Host) { h.Answer(smtp.StageMail, nil) }, ""},
		{"AnswerRaw, nothing", func(n *Network, h *Host) { h.AnswerRaw(smtp.StageMail, "") }, ""},
		{"AnswerEarly, no reply of SMTP", func(n *Network, h *Host) { h.AnswerEarly(smtp.StageMail, odd) }, "mx.example.net can't answer 7"},
		{"CloseAt, no stage", func(n *Network, h *Host) { h.CloseAt(0) }, ""},
		{"ResetAt, no stage", func(n *Network, h *Host) { h.ResetAt(255) }, ""},
		{"StallAt, no stage", func(n *Network, h *Host) { h.StallAt(255) }, ""},
		{"BabbleAt, no stage", func(n *Network, h *Host) { h.BabbleAt(255) }, "a host has no reply at stage unknown"},
		{"Slow, negative", func(n *Network, h *Host) { h.Slow(-1) }, "mx.example.net can't do anything for -1ns"},
		{"Slow, no stage", func(n *Network, h *Host) { h.Slow(1, 255) }, "a host has no reply at stage unknown"},
		{"MaxSessions, negative", func(n *Network, h *Host) { h.MaxSessions(-1, nil) }, "mx.example.net can't have a limit of -1"},
		{"MaxSessions, the highest", func(n *Network, h *Host) { h.MaxSessions(most, nil) }, ""},
		{"MaxMessages, the highest", func(n *Network, h *Host) { h.MaxMessages(most, nil) }, ""},
		{"MaxRecipients, negative", func(n *Network, h *Host) { h.MaxRecipients(math.MinInt, nil) }, "mx.example.net can't have a limit of"},
		{"MaxSize, negative", func(n *Network, h *Host) { h.MaxSize(-1) }, "mx.example.net can't have a limit of -1"},
		{"MaxSize, the highest", func(n *Network, h *Host) { h.MaxSize(math.MaxInt64) }, ""},
		{"RateLimit, the highest", func(n *Network, h *Host) { h.RateLimit(smtp.StageMail, most, far, nil) }, ""},
		{"RateLimit, never", func(n *Network, h *Host) { h.RateLimit(smtp.StageMail, 1, 0, nil) }, "mx.example.net can't limit the rate"},
		{"Limit, negative", func(n *Network, h *Host) { h.Limit(Limits{MailMax: -1}) }, "mx.example.net can't announce a limit of -1"},
		{"Link, the longest", func(n *Network, h *Host) { h.Link(far, 0) }, "mx.example.net can't have a link of"},
		{"Link, the widest", func(n *Network, h *Host) { h.Link(time.Second, math.MaxInt64) }, ""},
		{"Link, negative", func(n *Network, h *Host) { h.Link(0, -1) }, "mx.example.net can't have a link of"},
		{"Offer, empty", func(n *Network, h *Host) { h.Offer("") }, `mx.example.net can't offer ""`},
		{"Offer, two lines", func(n *Network, h *Host) { h.Offer("A\r\nB") }, `mx.example.net can't offer "A`},
		{"Without, empty", func(n *Network, h *Host) { h.Without("") }, ""},
		{"Refuse, no reply of SMTP", func(n *Network, h *Host) { h.Refuse("RSET", odd) }, "mx.example.net can't answer 7"},
		{"AfterMessages, none", func(n *Network, h *Host) { h.AfterMessages(0, h.Down) }, "mx.example.net can't do anything after 0 messages"},
		{"AfterMessages, nil", func(n *Network, h *Host) { h.AfterMessages(1, nil) }, "mx.example.net can't do nothing after 1 messages"},
		{"AfterMessages, the highest", func(n *Network, h *Host) { h.AfterMessages(most, h.Down) }, ""},
		{"FailTLS, no such fault", func(n *Network, h *Host) { h.FailTLS(255) }, ""},
		{"Auth, empty", func(n *Network, h *Host) { h.Auth("", "") }, ""},
		{"Wait, negative", func(n *Network, h *Host) { h.Wait(-1) }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := record(t)
				n := NewNetwork(r)
				h := n.MX("example.net", "mx.example.net")
				post(n, "mx.example.net:25", "ann@example.com", "bob@example.net")
				got := r.run(func() {
					tt.do(n, h)
					h.DialContext(t.Context(), "tcp", "") // an error, and no panic
					done := make(chan struct{})
					go func() {
						defer close(done)
						post(n, "mx.example.net:25", "ann@example.com", "bob@example.net")
					}()
					select {
					case <-done:
					case <-time.After(time.Hour):
						h.Down() // cuts off what stalls
						<-done
					}
				})
				if !strings.HasPrefix(got, "smtptest: "+tt.want) && tt.want != "" {
					t.Errorf("got %q, want it to begin with %q", got, "smtptest: "+tt.want)
				}
			})
		})
	}
}
