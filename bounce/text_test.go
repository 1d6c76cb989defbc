package bounce

import (
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/smtp"
)

func TestAdvice(t *testing.T) {
	tests := []struct {
		code smtp.EnhancedCode
		want string
	}{
		{smtp.EnhancedCode{5, 1, 1}, "Check the address"},
		{smtp.EnhancedCode{5, 1, 10}, "Check the address"},
		{smtp.EnhancedCode{5, 1, 8}, "show this report"}, // the sender's address
		{smtp.EnhancedCode{5, 2, 1}, "show this report"},
		{smtp.EnhancedCode{5, 2, 2}, "when there is room"},
		{smtp.EnhancedCode{4, 2, 2}, "when there is room"},
		{smtp.EnhancedCode{5, 2, 3}, "too big"},
		{smtp.EnhancedCode{5, 3, 4}, "too big"},
		{smtp.EnhancedCode{4, 4, 1}, "can send the message again"},
		{smtp.EnhancedCode{4, 4, 7}, "can send the message again"},
		{smtp.EnhancedCode{5, 4, 4}, "show this report"},
		{smtp.EnhancedCode{5, 7, 1}, "A rule or a security check"},
		{smtp.EnhancedCode{5, 0, 0}, "show this report"},
	}
	for _, test := range tests {
		if got := advice(test.code); !strings.Contains(got, test.want) {
			t.Errorf("%v: got %q, want %q in it", test.code, got, test.want)
		}
	}
}

func TestText(t *testing.T) {
	res := deferred(451, smtp.EnhancedCode{4, 7, 1}, "later")
	unheard := Recipient{Action: Delayed, Result: res}
	unheard.Notify = smtp.NotifyDelay
	mute := smtp.Result{Local: true, Reply: smtp.NewReply(451, "", "")}
	dns := smtp.Result{Local: true, Reply: smtp.NewReply(451, "", "no answer from the DNS")}
	socket := smtp.Result{Outcome: smtp.Rejected, Host: "/lmtp", Reply: smtp.NewReply(550, "", "no")}
	expanded := func(notify smtp.Notify) Recipient {
		return Recipient{Action: Expanded, Recipient: smtp.Recipient{Notify: notify}}
	}
	tests := []struct {
		name          string
		rcpt          Recipient
		want, wantNot string
	}{
		{"delayed, no end known", Recipient{Action: Delayed, Result: res},
			"will be tried again. If it cannot be delivered", "until"},
		{"delayed, failure not to be told", unheard, "will be tried again.", "you will be told"},
		{"delayed, no words", Recipient{Action: Delayed, Result: mute}, "will be tried again", "reason"},
		{"expired, no host", Recipient{Action: Failed, Result: dns}, "The reason is: no answer from the DNS", "host"},
		{"expired, at a host", Recipient{Action: Failed, Result: res},
			"The host mx.example.net (192.0.2.25:25) said: 451 4.7.1 later", ""},
		{"expanded", expanded(smtp.NotifySuccess | smtp.NotifyFailure),
			"no report on deliveries to the members. If it cannot be delivered to one of them, you will be told.", ""},
		{"expanded, failure not to be told", expanded(smtp.NotifySuccess),
			"There will be no report on deliveries to the members.", "you will be told"},
		{"expired, at a host that did not answer", Recipient{Action: Failed, Result: local(res)},
			"The last attempt failed at mx.example.net (192.0.2.25:25): later", "said"},
		{"refused, no name of a host", Recipient{Action: Failed, Result: socket},
			"The next mail system refused it: 550 no", "lmtp"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			text := strings.Join(strings.Fields(compose(t, report(test.rcpt)).text), " ")
			if !strings.Contains(text, test.want) {
				t.Errorf("got\n%s\nwant %q in it", text, test.want)
			}
			if test.wantNot != "" && strings.Contains(text, test.wantNot) {
				t.Errorf("got\n%s\nwant no %q in it", text, test.wantNot)
			}
		})
	}
}

func TestNoTimes(t *testing.T) {
	r := report(unknownUser("bob@example.net"))
	r.Arrival, r.Recipients[0].LastAttempt = time.Time{}, time.Time{}
	p := compose(t, r)
	arrival, last := p.message.Get("Arrival-Date"), p.groups[0].Get("Last-Attempt-Date")
	if strings.Contains(p.text, "accepted on") || arrival != "" || last != "" {
		t.Errorf("got times that aren't known:\n%s\n%v\n%v", p.text, p.message, p.groups)
	}
}
