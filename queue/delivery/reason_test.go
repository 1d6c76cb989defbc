package delivery

import (
	"testing"

	"github.com/postrider/postrider/smtp"
)

func TestReasonOf(t *testing.T) {
	code := func(class, subject, detail int) smtp.EnhancedCode { return smtp.EnhancedCode{class, subject, detail} }
	tests := []struct {
		name  string
		stage smtp.Stage
		local bool
		code  int
		enh   smtp.EnhancedCode
		text  string
		want  Reason
	}{
		{"no route", smtp.StageRoute, true, 451, code(4, 4, 3), "cannot look up the MX", Unreachable},
		{"no connection", smtp.StageConnect, true, 451, code(4, 4, 1), "connection refused", Unreachable},
		{"a greeting that isn't one", smtp.StageGreeting, false, 554, code(0, 0, 0), "no service here", Unreachable},
		{"no TLS", smtp.StageTLS, true, 451, code(4, 7, 5), "the certificate isn't good", Unreachable},
		{"a wrong password", smtp.StageAuth, false, 535, code(5, 5, 0), "no", Unreachable},
		{"too many sessions", smtp.StageGreeting, false, 421, code(4, 7, 0), "too many", Throttled},
		{"too many sessions, bare", smtp.StageGreeting, false, 421, code(0, 0, 0), "try later", Throttled},
		{"too many messages", smtp.StageMail, false, 450, code(4, 7, 1), "slow down", Throttled},
		{"421 in between", smtp.StageRcpt, false, 421, code(4, 3, 2), "going down", Throttled},
		{"greylisted", smtp.StageRcpt, false, 451, code(4, 7, 1), "Greylisted, come again", Greylisted},
		{"greylisted by Postfix", smtp.StageRcpt, false, 450, code(4, 2, 0), "Recipient address rejected: Greylisting in effect", Greylisted},
		{"listed at the greeting", smtp.StageGreeting, false, 554, code(0, 0, 0), "your address is listed at a DNSBL", Blocked},
		{"reputation", smtp.StageMail, false, 451, code(4, 7, 650), "poor reputation", Blocked},
		{"all our addresses are", smtp.StageConnect, true, 451, code(4, 7, 1), "all our addresses are blocked", Blocked},
		{"a list of another kind", smtp.StageRcpt, false, 450, code(4, 2, 1), "bob is not listed as a member", OtherReason},
		{"a full mailbox", smtp.StageRcpt, false, 452, code(4, 2, 2), "full", OtherReason},
		{"busy with the message", smtp.StageFinal, false, 451, code(4, 3, 0), "try later", OtherReason},
		{"lost within", smtp.StageBody, true, 451, code(4, 4, 2), "the connection broke", OtherReason},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res := smtp.Result{Stage: tt.stage, Local: tt.local, Reply: &smtp.Reply{Code: tt.code, Enhanced: tt.enh, Text: tt.text}}
			if got := ReasonOf(res); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	refused := smtp.Result{Stage: smtp.StageConnect, Local: true, Reply: &smtp.Reply{Code: 451, Text: "refused"}}
	taken := smtp.Result{Outcome: smtp.Delivered, Stage: smtp.StageFinal, Reply: &smtp.Reply{Code: 250}}
	unknown := smtp.Result{Outcome: smtp.Unknown, Stage: smtp.StageFinal, Local: true, Reply: &smtp.Reply{Code: 451}}
	full := smtp.Result{Stage: smtp.StageRcpt, Reply: &smtp.Reply{Code: 452, Enhanced: smtp.EnhancedCode{4, 2, 2}}}
	grey := smtp.Result{Stage: smtp.StageRcpt, Reply: &smtp.Reply{Code: 450, Text: "greylisted"}}
	tests := []struct {
		name    string
		results []smtp.Result
		sign    int8
		why     Reason
	}{
		{"all refused", []smtp.Result{refused, refused}, -1, Unreachable},
		{"one taken", []smtp.Result{refused, taken}, 1, Unreachable},
		{"one taken, the other way round", []smtp.Result{taken, refused}, 1, Unreachable},
		{"lost at the end", []smtp.Result{unknown}, 0, OtherReason},
		{"a full mailbox", []smtp.Result{full}, 1, OtherReason},
		{"greylisted", []smtp.Result{full, grey}, 1, Greylisted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, why := judge(tt.results, ReasonOf)
			if v.sign != tt.sign || why != tt.why || v.sign < 0 && v.result.Reply == nil {
				t.Errorf("got %+v and %v, want sign %d and %v", v, why, tt.sign, tt.why)
			}
		})
	}
}
