package delivery

import (
	"testing"
	"time"

	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
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
	reply := func(stage smtp.Stage, local bool, reason smtp.Reason, code int, enhanced string) smtp.Result {
		return smtp.Result{Stage: stage, Local: local, Reason: reason, Reply: smtp.NewReply(code, enhanced, "")}
	}
	panicked := reply(smtp.StageRoute, true, smtp.Other, 451, "4.3.0")
	panicked.Outcome = smtp.Unknown
	broken := reply(smtp.StageRcpt, true, smtp.Other, 451, "4.4.2")
	closed := reply(smtp.StageConnect, false, smtp.RateLimited, 421, "4.7.26")
	busy := reply(smtp.StageData, false, smtp.RateLimited, 421, "4.7.0")
	unsigned := reply(smtp.StageMail, false, smtp.RateLimited, 421, "4.7.26")
	gone421 := func(enhanced string) []smtp.Result {
		return []smtp.Result{reply(smtp.StageData, false, smtp.Other, 421, enhanced)}
	}
	rcpt := open(smtp.StageRcpt, false, smtp.RateLimited)
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
		{"a panic", []smtp.Result{panicked}, 0, smtp.Other},
		{"no time-out, but a lost connection", []smtp.Result{broken}, 0, smtp.Other},
		{"refused before MAIL", []smtp.Result{closed}, -1, smtp.RateLimited},
		{"421 to all", []smtp.Result{busy}, -1, smtp.RateLimited},
		{"421 about the sender", []smtp.Result{unsigned}, 0, smtp.RateLimited},
		{"421 about an address", gone421("4.1.1"), 1, smtp.Other},
		{"421 about a mailbox", gone421("4.2.1"), 1, smtp.Other},
		{"421 about a content", gone421("4.6.0"), 1, smtp.Other},
		{"421 about the system", gone421("4.3.2"), -1, smtp.Other},
		{"421 about nothing", gone421(""), -1, smtp.Other},
		{"a full mailbox", []smtp.Result{full}, 1, smtp.Other},
		{"no reason", []smtp.Result{unset}, 1, smtp.Other},
		{"a reason without a meaning here", []smtp.Result{future}, 1, 200},
		{"an unknown user", []smtp.Result{nobody}, 1, smtp.UserUnknown},
		{"an unknown user beside a full mailbox", []smtp.Result{nobody, full}, 1, smtp.Other},
		{"too many messages", []smtp.Result{slow}, 0, smtp.RateLimited},
		{"too many messages for one recipient, and one taken", []smtp.Result{rcpt, taken}, 1, smtp.RateLimited},
		{"greylisted", []smtp.Result{full, grey}, 1, smtp.Greylisted},
		{"greylisted, and too many messages", []smtp.Result{grey, slow}, 1, smtp.Greylisted},
		{"listed", []smtp.Result{listed, grey}, -1, smtp.Blocklisted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, why := judge(tt.results, time.Second)
			if v.sign != tt.sign || why != tt.why || v.sign < 0 && v.result.Reply == nil {
				t.Errorf("got %+v and %v, want sign %d and %v", v, why, tt.sign, tt.why)
			}
		})
	}
}

// TestJudgeOf has whom a refusal is about, and time-outs.
func TestJudgeOf(t *testing.T) {
	refusal := func(stage smtp.Stage) []smtp.Result {
		return []smtp.Result{{Stage: stage, Reason: smtp.RateLimited, Reply: smtp.NewReply(451, "4.7.1", "")}}
	}
	for _, tt := range []struct {
		stage smtp.Stage
		want  policy
	}{{smtp.StageMail, senderPolicy}, {smtp.StageRcpt, recipientPolicy}, {smtp.StageData, senderPolicy}, {smtp.StageFinal, senderPolicy}} {
		if v, _ := judge(refusal(tt.stage), time.Second); v.policy != tt.want || (v.sign > 0) != (tt.want == recipientPolicy) || v.result.Reply == nil {
			t.Errorf("%v: got %+v, want policy %d", tt.stage, v, tt.want)
		}
	}
	for _, stage := range []smtp.Stage{smtp.StageConnect, smtp.StageMail, smtp.StageRcpt, smtp.StageData, smtp.StageFinal} {
		res := smtp.Result{Stage: stage, Local: true, Reply: smtp.NewReply(451, "4.4.2", "the host did not answer in time")}
		res.Reason = replies.ReasonOf(&res)
		v, _ := judge([]smtp.Result{res}, 5*time.Minute)
		if before := stage < smtp.StageMail; (v.sign < 0) != before || (v.policy == senderPolicy) == before {
			t.Errorf("a time-out at %v: got %+v, want it to count against the site before MAIL, and then against the sender", stage, v)
		}
	}
	noSource := smtp.Result{Stage: smtp.StageConnect, Local: true, Reason: smtp.NoSource, Reply: smtp.NewReply(451, "4.3.0", "no source")}
	if v, why := judge([]smtp.Result{noSource}, time.Minute); v.sign != 0 || v.policy != noPolicy || why != smtp.NoSource {
		t.Errorf("no source address: got %+v, %v, want it to count against nobody", v, why)
	}
	for code, want := range map[string]policy{"4.4.1": senderPolicy, "4.4.2": senderPolicy, "4.4.3": noPolicy, "4.3.2": noPolicy, "4.7.1": noPolicy} {
		for took, want := range map[time.Duration]policy{tooLong: noPolicy, tooLong + 1: want} {
			res := smtp.Result{Stage: smtp.StageMail, Local: true, Reply: smtp.NewReply(451, code, "no answer")}
			if got := policyOf(&res, took); got != want {
				t.Errorf("our own %s after %v: got policy %v, want %v", code, took, got, want)
			}
		}
	}
}

// TestWeights: of two reasons, the later one in the documentation of Runner.RetryAfter chooses the schedule, in any
// order of the recipients.
func TestWeights(t *testing.T) {
	order := []smtp.Reason{
		smtp.UserUnknown, smtp.HostUnknown, smtp.MailboxDisabled, smtp.MailboxFull, smtp.TooBig, smtp.Syntax, smtp.Virus,
		smtp.SpamContent, smtp.Expired, smtp.Other, smtp.Temporary, smtp.RelayDenied, smtp.PolicyAuth, smtp.TLS,
		smtp.Network, smtp.NoSource, smtp.RateLimited, smtp.Greylisted, smtp.Blocklisted,
	}
	if len(order) != int(smtp.NoSource) {
		t.Errorf("got %d reasons, want all %d", len(order), smtp.NoSource)
	}
	open := func(r smtp.Reason) smtp.Result {
		return smtp.Result{Stage: smtp.StageRcpt, Reason: r, Reply: smtp.NewReply(451, "", "")}
	}
	for i := range order[1:] {
		light, heavy := order[i], order[i+1]
		for _, results := range [][]smtp.Result{{open(light), open(heavy)}, {open(heavy), open(light)}} {
			if _, why := judge(results, time.Second); why != heavy {
				t.Errorf("%v and %v: got %v", results[0].Reason, results[1].Reason, why)
			}
		}
	}
}

// TestIsPolicy has what is said to the sender, by words or by the code.
func TestIsPolicy(t *testing.T) {
	for _, tt := range []struct {
		reason   smtp.Reason
		enhanced string
		want     bool
	}{
		{smtp.RateLimited, "", true}, {smtp.Blocklisted, "4.2.0", true},
		{smtp.Greylisted, "4.7.1", false}, {smtp.UserUnknown, "4.7.1", false}, {smtp.MailboxFull, "4.7.0", false},
		{smtp.Other, "4.7.1", true}, {smtp.SpamContent, "4.7.1", true}, {smtp.PolicyAuth, "4.7.26", true},
		{smtp.Other, "4.3.2", false}, {smtp.PolicyAuth, "4.1.8", false}, {smtp.Temporary, "", false},
	} {
		res := smtp.Result{Stage: smtp.StageMail, Reason: tt.reason, Reply: smtp.NewReply(451, tt.enhanced, "")}
		if got := isPolicy(&res); got != tt.want {
			t.Errorf("%v with %q: got %t, want %t", tt.reason, tt.enhanced, got, tt.want)
		}
	}
}

// TestRepliesOfRunner has a Result without a Reason, whose text only a rule of the Runner knows.
func TestRepliesOfRunner(t *testing.T) {
	r := &Runner{Replies: &replies.Classifier{Rules: []replies.Rule{
		{Name: "ours", Says: []string{"come .. tomorrow"}, Reason: smtp.MailboxFull},
	}}}
	set := r.Replies.Complete([]smtp.Result{{Stage: smtp.StageRcpt, Reply: smtp.NewReply(450, "", "come back tomorrow")}})
	if set[0].Reason != smtp.MailboxFull || r.checkReplies() != nil {
		t.Errorf("got %v and %v", set[0].Reason, r.checkReplies())
	}
	r.Replies = &replies.Classifier{Rules: []replies.Rule{{Name: "odd", Says: []string{".. nothing"}, Reason: smtp.Other}}}
	if r.checkReplies() == nil {
		t.Error("got no error for a rule that can't be used")
	}
}
