package delivery

import (
	"testing"

	"github.com/postrider/postrider/smtp"
)

func TestJudge(t *testing.T) {
	open := func(stage smtp.Stage, local bool, reason smtp.Reason) smtp.Result {
		return smtp.Result{Stage: stage, Local: local, Reason: reason, Reply: smtp.NewReply(451, "", "")}
	}
	refused := open(smtp.StageConnect, true, smtp.Network)
	taken := smtp.Result{Outcome: smtp.Delivered, Stage: smtp.StageFinal, Reply: smtp.NewReply(250, "", "")}
	gone := smtp.Result{Outcome: smtp.Rejected, Stage: smtp.StageRcpt, Reason: smtp.Blocklisted, Reply: smtp.NewReply(550, "", "")}
	unknown := open(smtp.StageFinal, true, smtp.Other)
	unknown.Outcome = smtp.Unknown
	full := open(smtp.StageRcpt, false, smtp.Other)
	unset := open(smtp.StageRcpt, false, smtp.NoReason)
	nobody := open(smtp.StageRcpt, false, smtp.UserUnknown)
	grey := open(smtp.StageRcpt, false, smtp.Greylisted)
	slow := open(smtp.StageMail, false, smtp.RateLimited)
	listed := open(smtp.StageConnect, true, smtp.Blocklisted) // by the Sender: all our addresses are
	future := open(smtp.StageRcpt, false, 200)
	tests := []struct {
		name    string
		results []smtp.Result
		sign    int8
		why     smtp.Reason
	}{
		{"all refused", []smtp.Result{refused, refused}, -1, smtp.Network},
		{"one taken", []smtp.Result{refused, taken}, 1, smtp.Network},
		{"one taken, the other way round", []smtp.Result{taken, refused}, 1, smtp.Network},
		{"all taken", []smtp.Result{taken, taken}, 1, smtp.NoReason},
		{"rejected for good", []smtp.Result{gone}, 1, smtp.NoReason},
		{"lost at the end", []smtp.Result{unknown}, 0, smtp.Other},
		{"a full mailbox", []smtp.Result{full}, 1, smtp.Other},
		{"no reason", []smtp.Result{unset}, 1, smtp.Other},
		{"a reason without a meaning here", []smtp.Result{future}, 1, 200},
		{"an unknown user", []smtp.Result{nobody}, 1, smtp.UserUnknown},
		{"an unknown user beside a full mailbox", []smtp.Result{nobody, full}, 1, smtp.Other},
		{"too many messages", []smtp.Result{slow}, -1, smtp.RateLimited},
		{"greylisted", []smtp.Result{full, grey}, 1, smtp.Greylisted},
		{"greylisted, and too many messages", []smtp.Result{grey, slow}, 1, smtp.Greylisted},
		{"listed", []smtp.Result{listed, grey}, 1, smtp.Blocklisted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, why := judge(tt.results)
			if v.sign != tt.sign || why != tt.why || v.sign < 0 && v.result.Reply == nil {
				t.Errorf("got %+v and %v, want sign %d and %v", v, why, tt.sign, tt.why)
			}
		})
	}
}
