package delivery

import (
	"testing"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// TestLastResults has tasks with a last Result for some recipients, for none, and without a Reply in it.
func TestLastResults(t *testing.T) {
	env := smtp.NewEnvelope("from@sender.test", "a@x.test", "b@x.test")
	last := smtp.Result{Recipient: "a@x.test", Outcome: smtp.Deferred, Reply: smtp.NewReply(450, "4.2.2", "full")}
	blocked := smtp.Result{Reply: smtp.NewReply(421, "4.4.2", "down"), Outcome: smtp.Rejected}
	for _, test := range []struct {
		name    string
		last    []smtp.Result
		blocked *smtp.Result
		codes   [2]int
		local   [2]bool
	}{
		{"none", nil, nil, [2]int{451, 451}, [2]bool{true, true}},
		{"one", []smtp.Result{last}, nil, [2]int{450, 451}, [2]bool{false, true}},
		{"one without a reply", []smtp.Result{last, {Recipient: "b@x.test"}}, nil, [2]int{450, 451}, [2]bool{false, true}},
		{"blocked", []smtp.Result{last}, &blocked, [2]int{450, 421}, [2]bool{false, false}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := lastResults(&queue.Task{Envelope: env, Last: test.last}, test.blocked)
			if len(got) != 2 {
				t.Fatalf("got %d results, want 2", len(got))
			}
			for i, res := range got {
				if res.Recipient != env.Recipients[i].Address || res.Outcome != smtp.Deferred || res.Reply.Code != test.codes[i] || res.Local != test.local[i] {
					t.Errorf("got %+v, want %d, local: %v", res, test.codes[i], test.local[i])
				}
			}
		})
	}
	if blocked.Outcome != smtp.Rejected || len(last.Recipient) == 0 {
		t.Error("what it was given has changed")
	}
}
