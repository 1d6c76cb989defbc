package replies

import (
	"regexp"
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

func TestRegexps(t *testing.T) {
	c := &Classifier{Rules: []Rule{
		{Name: "both", Says: []string{"slow down"}, Regexps: []*regexp.Regexp{regexp.MustCompile(`\[B\d\]`)}, Reason: smtp.MailboxFull},
		{Name: "line", Regexps: []*regexp.Regexp{regexp.MustCompile(`never`), regexp.MustCompile(`^421 4\.7\.0 \[T\d+\] two lines$`)},
			Reason: smtp.Greylisted},
		{Name: "far", Regexps: []*regexp.Regexp{regexp.MustCompile(`z`)}, Reason: smtp.Virus},
	}}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, text string
		want       string
	}{
		{"several lines", "[T12] two\nlines", "line"},
		{"one of two conditions", "[B1] enough", ""},
		{"the other one", "slow down [B]", ""},
		{"both conditions", "slow down [B1]", "both"},
		{"not the whole line", "[T12] two lines.", ""},
		{"beyond the bound", strings.Repeat("a ", maxText/2) + "z", ""},
		{"within the bound", "z", "far"},
	}
	for _, tt := range tests {
		m := c.Classify(&smtp.Reply{Code: 421, Enhanced: smtp.EnhancedCode{4, 7, 0}, Text: tt.text}, smtp.StageMail, "")
		if tt.want == "" {
			if m.Rule == "both" || m.Rule == "line" || m.Rule == "far" {
				t.Errorf("%s: got the rule %s, want none of ours", tt.name, m.Rule)
			}
			continue
		}
		if m.Rule != tt.want || m.ByCode {
			t.Errorf("%s: got the rule %q, by code: %t; want %q, by words", tt.name, m.Rule, m.ByCode, tt.want)
		}
	}
	bad := &Classifier{Rules: []Rule{{Name: "nil", Regexps: []*regexp.Regexp{nil}, Reason: smtp.Other}}}
	if err := bad.Check(); err == nil || !strings.Contains(err.Error(), "Regexps[0]") {
		t.Errorf("a nil Regexp: got the error %v", err)
	}
	bad.Classify(smtp.NewReply(421, "4.7.0", "no"), smtp.StageMail, "")
}
