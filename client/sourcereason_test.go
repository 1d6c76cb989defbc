package client

import (
	"testing"

	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

// TestIsAboutSource: only a reply that blames our address has it blocked, as all senders share the address.
func TestIsAboutSource(t *testing.T) {
	ours := &replies.Classifier{Rules: []replies.Rule{{Name: "ours", Says: []string{"go away"}, Reason: smtp.Blocklisted, By: "them"}}}
	for _, tt := range []struct {
		name  string
		t     *Transport
		stage smtp.Stage
		local bool
		reply *smtp.Reply
		want  bool
	}{
		{"a session", new(Transport), smtp.StageGreeting, false, smtp.NewReply(554, "", "blocked"), true},
		{"a policy", new(Transport), smtp.StageRcpt, false, smtp.NewReply(550, "5.7.1", "your IP address is blocked"), true},
		{"a list", new(Transport), smtp.StageRcpt, false, smtp.NewReply(550, "", "192.0.2.1 is in zen.spamhaus.org"), true},
		{"neither", new(Transport), smtp.StageRcpt, false, smtp.NewReply(550, "", "your IP address is blocked"), false},
		{"our own", new(Transport), smtp.StageConnect, true, smtp.NewReply(451, "4.7.1", "all are blocked"), false},
		{"the sender's domain", new(Transport), smtp.StageRcpt, false,
			smtp.NewReply(554, "5.7.1", "Sender address [a@b.example] blocked using dbl.spamhaus.org"), false},
		{"its reputation", new(Transport), smtp.StageFinal, false, smtp.NewReply(550, "5.7.1", "your domain has a bad reputation"), false},
		{"a rule", &Transport{Replies: ours}, smtp.StageRcpt, false, smtp.NewReply(550, "", "go away"), true},
		{"no rule", new(Transport), smtp.StageRcpt, false, smtp.NewReply(550, "", "go away"), false},
	} {
		if got := tt.t.isAboutSource(&smtp.Result{Stage: tt.stage, Local: tt.local, Reply: tt.reply}); got != tt.want {
			t.Errorf("%s: got %t, want %t", tt.name, got, tt.want)
		}
	}
}

// TestRepliesOfSubmission: the rules are passed on.
func TestRepliesOfSubmission(t *testing.T) {
	c := new(replies.Classifier)
	s := &Submission{Addr: "smtp.test:587", Replies: c}
	if s.once.Do(s.prepare); s.err != nil || s.transport.Replies != c {
		t.Errorf("got %v", s.err)
	}
}
