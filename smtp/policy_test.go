package smtp_test

import (
	"testing"

	"github.com/postrider/postrider/smtp"
)

func TestPolicy(t *testing.T) {
	reply := func(code int, enhanced smtp.EnhancedCode, text string) *smtp.Reply {
		return &smtp.Reply{Code: code, Enhanced: enhanced, Text: text}
	}
	policy := smtp.EnhancedCode{4, 7, 1}
	tests := []struct {
		name            string
		result          smtp.Result
		greylisted, dns bool
	}{
		{"greylisted", smtp.Result{Stage: smtp.StageRcpt, Reply: reply(451, policy, "Greylisting in action")}, true, false},
		{"greylisted without a policy code", smtp.Result{Stage: smtp.StageRcpt, Reply: reply(450, smtp.EnhancedCode{4, 2, 0}, "Graylisted")}, true, false},
		{"for good", smtp.Result{Stage: smtp.StageRcpt, Reply: reply(550, smtp.EnhancedCode{5, 7, 1}, "greylisting failed")}, false, false},
		{"at the greeting", smtp.Result{Stage: smtp.StageGreeting, Reply: reply(451, policy, "greylisted")}, true, false},
		{"our own words", smtp.Result{Stage: smtp.StageRcpt, Local: true, Reply: reply(451, policy, "the host's greylist")}, false, false},
		{"on a blocklist", smtp.Result{Stage: smtp.StageRcpt, Reply: reply(550, smtp.EnhancedCode{5, 7, 1}, "Blocked using zen.spamhaus.org")}, false, true},
		{"on a blocklist, without a code", smtp.Result{Stage: smtp.StageRcpt, Reply: reply(550, smtp.EnhancedCode{}, "listed")}, false, false},
		{"at the greeting, without a code", smtp.Result{Stage: smtp.StageGreeting, Reply: reply(554, smtp.EnhancedCode{}, "listed")}, false, true},
		{"not whitelisted", smtp.Result{Stage: smtp.StageRcpt, Reply: reply(550, smtp.EnhancedCode{5, 7, 1}, "sender not whitelisted")}, false, false},
		{"unlisted", smtp.Result{Stage: smtp.StageRcpt, Reply: reply(550, smtp.EnhancedCode{5, 7, 1}, "unlisted recipient")}, false, false},
		{"no such user", smtp.Result{Stage: smtp.StageRcpt, Reply: reply(550, smtp.EnhancedCode{5, 1, 1}, "not listed here")}, false, false},
		{"our own words about it", smtp.Result{Stage: smtp.StageTLS, Local: true, Reply: reply(451, policy, "blocklist")}, false, false},
		{"delivered", smtp.Result{Outcome: smtp.Delivered, Stage: smtp.StageFinal, Reply: reply(250, smtp.EnhancedCode{2, 7, 0}, "listed as greylisted")}, false, false},
		{"no reply", smtp.Result{Stage: smtp.StageRcpt}, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.result.Greylisted(); got != tt.greylisted {
				t.Errorf("greylisted: got %v, want %v", got, tt.greylisted)
			}
			if got := tt.result.Blocklisted(); got != tt.dns {
				t.Errorf("blocklisted: got %v, want %v", got, tt.dns)
			}
		})
	}
}
