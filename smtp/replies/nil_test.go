package replies_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

// TestNilAndZero calls every func and method with what nobody should pass: the documented default, and no panic.
func TestNilAndZero(t *testing.T) {
	zero := new(replies.Classifier)
	var none *replies.Classifier
	odd := &smtp.Reply{Code: 550, Enhanced: smtp.EnhancedCode{-1, -1, -1}}
	tests := []struct {
		name string
		do   func() any
		want string
	}{
		{"Classify, nil", func() any { return replies.Classify(nil, 0, "") == replies.Meaning{} }, "true"},
		{"Classify, zero", func() any { return replies.Classify(new(smtp.Reply), 255, "") == replies.Meaning{} }, "true"},
		{"Classify, odd", func() any { return replies.Classify(odd, 255, strings.Repeat(".", 1000)).Reason }, "other"},
		{"Classifier.Classify, nil", func() any { return zero.Classify(nil, 0, "") == replies.Meaning{} }, "true"},
		{"Classifier.Classify of the nil one", func() any { return none.Classify(odd, 0, "").Reason }, "other"},
		{"Classifier.Check, zero", func() any { return zero.Check() }, "<nil>"},
		{"Classifier.Check of the nil one", func() any { return none.Check() }, "<nil>"},
		{"Classifier.Check, a zero rule", func() any { return (&replies.Classifier{Rules: make([]replies.Rule, 1)}).Check() }, `replies: rule "": Reason is none`},
		{"Classifier.Complete, nil", func() any { return len(zero.Complete(nil)) }, "0"},
		{"Classifier.Complete, zero", func() any { return zero.Complete(make([]smtp.Result, 1))[0].Reason }, "network"},
		{"Classifier.Complete of the nil one", func() any { return none.Complete(make([]smtp.Result, 1))[0].Reason }, "network"},
		{"Classifier.ReasonOf, nil", func() any { return zero.ReasonOf(nil) }, "none"},
		{"Classifier.ReasonOf of the nil one", func() any { return none.ReasonOf(new(smtp.Result)) }, "network"},
		{"ReasonOf, nil", func() any { return replies.ReasonOf(nil) }, "none"},
		{"ReasonOf, zero", func() any { return replies.ReasonOf(new(smtp.Result)) }, "network"},
		{"Scope", func() any { return replies.Scope(0).String() + " " + replies.Scope(255).String() }, "unknown unknown"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := fmt.Sprint(tt.do()); !strings.Contains(got, tt.want) {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
