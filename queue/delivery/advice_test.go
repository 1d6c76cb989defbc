package delivery

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

// TestAdvice: each Reason has an advice, and those that have several causes one for each.
func TestAdvice(t *testing.T) {
	suppressed := smtp.NewReply(550, "5.7.1", "suppressed")
	tests := []struct {
		name string
		res  smtp.Result
		want string // a part of it
	}{
		{"the DNS", smtp.Result{Reason: smtp.Network, Stage: smtp.StageRoute, Local: true}, "name servers"},
		{"no connection", smtp.Result{Reason: smtp.Network, Stage: smtp.StageConnect, Local: true}, "port 25"},
		{"no connection to an MX", smtp.Result{Reason: smtp.Network, Stage: smtp.StageConnect, Local: true, Addr: "192.0.2.1:25"}, "port 25"},
		{"no connection to a smarthost", smtp.Result{Reason: smtp.Network, Stage: smtp.StageConnect, Local: true, Addr: "[2001:db8::1]:587"}, "at port 587. Check the host and the port of the route"},
		{"no connection to a socket", smtp.Result{Reason: smtp.Network, Stage: smtp.StageConnect, Local: true, Addr: "/run/lmtp"}, "The socket /run/lmtp"},
		{"no AUTH", smtp.Result{Reason: smtp.RelayDenied, Stage: smtp.StageAuth, Local: true}, "The route to the host has a login"},
		{"a login", smtp.Result{Reason: smtp.Network, Stage: smtp.StageAuth}, "the password"},
		{"a session", smtp.Result{Reason: smtp.Network, Stage: smtp.StageMail, Local: true}, "The session"},
		{"our own TLS", smtp.Result{Reason: smtp.TLS}, "TLS settings"},
		{"a policy", smtp.Result{Reason: smtp.TLS, Policy: "sts:1"}, "the recipient's domain"},
		{"REQUIRETLS", smtp.Result{Reason: smtp.TLS, Policy: "requiretls"}, "without it"},
		{"a name without an address", smtp.Result{Reason: smtp.Network, Stage: smtp.StageRoute, Local: true,
			Reply: smtp.NewReply(451, "4.4.4", "host smtp.test has no address")}, "no address for the host of the route"},
		{"a user", smtp.Result{Outcome: smtp.Rejected, Reason: smtp.UserUnknown, Stage: smtp.StageRcpt}, "don't write to it again"},
		{"a user, for now", smtp.Result{Reason: smtp.UserUnknown, Stage: smtp.StageRcpt}, "not for good. The message is tried again"},
		{"a full mailbox", smtp.Result{Reason: smtp.MailboxFull}, "is tried again until its time is over"},
		{"a user of ours", smtp.Result{Reason: smtp.UserUnknown, Local: true, Reply: suppressed}, "suppressed addresses"},
		{"a Reason that isn't known", smtp.Result{Reason: 250}, ""},
		{"none", smtp.Result{}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Advice(&tt.res); !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
				t.Errorf("got %q, want %q in it", got, tt.want)
			}
		})
	}
	for r := smtp.Other; r <= smtp.NoSource; r++ {
		got := Advice(&smtp.Result{Reason: r, Outcome: smtp.Rejected})
		for _, later := range []string{"tried again", "later try", "is sent more slowly", "Nothing has to be done"} {
			if strings.Contains(got, later) {
				t.Errorf("%v: got %q for a message that isn't tried again", r, got)
			}
		}
		if got := Advice(&smtp.Result{Reason: r}); !strings.HasSuffix(got, ".") {
			t.Errorf("%v: got %q", r, got)
		}
	}
}

// TestRateString writes rates.
func TestRateString(t *testing.T) {
	for rate, want := range map[Rate]string{
		{}: "no limit", {60, 60e9}: "60 per minute", {1, 3600e9}: "1 per hour", {5, 90e9}: "5 per 1m30s", {2, 86400e9}: "2 per day",
	} {
		if got := rate.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
