package smtp_test

import (
	"fmt"
	"testing"

	"github.com/postrider/postrider/smtp"
)

func TestResultString(t *testing.T) {
	noUser := smtp.NewReply(550, "5.1.1", "no such user")
	for _, tt := range []struct {
		result smtp.Result
		want   string
	}{
		{smtp.Result{
			Recipient: "bob@example.net", Outcome: smtp.Rejected, Stage: smtp.StageRcpt, Reply: noUser,
			Reason: smtp.UserUnknown, Host: "mx.example.net", Addr: "192.0.2.1:25", TLS: "TLS 1.3",
		}, "bob@example.net rejected (user-unknown): mx.example.net: rcpt: 550 5.1.1 no such user"},
		{smtp.Result{
			Recipient: "ann@example.net", Outcome: smtp.Delivered, Stage: smtp.StageFinal,
			Reply: smtp.NewReply(250, "2.0.0", "taken"), Host: "mx.example.net",
		}, "ann@example.net delivered: mx.example.net: final: 250 2.0.0 taken"},
		{smtp.Result{
			Recipient: "ann@example.net", Stage: smtp.StageRoute, Reply: smtp.NewReply(451, "4.4.3", "no answer"),
			Reason: smtp.Network, Local: true,
		}, "ann@example.net deferred (network): route: 451 4.4.3 no answer"},
		{smtp.Result{}, "not tried"},
		{smtp.Result{Recipient: "ann@example.net"}, "ann@example.net not tried"},
		{smtp.Result{Recipient: "ann@example.net", Stage: smtp.StageRcpt}, "ann@example.net deferred: rcpt: no reply"},
	} {
		if got := fmt.Sprint(tt.result); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
