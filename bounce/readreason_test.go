package bounce

import (
	"testing"

	"github.com/postrider/postrider/smtp"
)

// TestContext: the words around a reply count if the reply has none that are known. A cause that is Other by its words
// stays so.
func TestContext(t *testing.T) {
	tests := []struct {
		name, text, context string
		reply               *smtp.Reply
		want                smtp.Reason
	}{
		{"no words", "", "mailbox is full", smtp.NewReply(550, "", "no"), smtp.MailboxFull},
		{"words of the reporting host", "quota exceeded", "", smtp.NewReply(550, "", "no"), smtp.MailboxFull},
		{"a loop", "too many hops", "mailbox is full", smtp.NewReply(554, "5.4.6", "too many hops"), smtp.Other},
		{"a code with a cause", "no", "mailbox is full", smtp.NewReply(550, "5.1.1", "no"), smtp.UserUnknown},
		{"words of the reply", "no such user", "mailbox is full", smtp.NewReply(550, "", "no such user"), smtp.UserUnknown},
		{"a reply that refuses nothing", "", "mailbox is full", smtp.NewReply(250, "", "ok"), smtp.MailboxFull},
		{"nothing at all", "", "", smtp.NewReply(250, "", "ok"), smtp.Other},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := RecipientStatus{Action: Failed, Text: tt.text, Reply: tt.reply}
			if r.conclude(tt.context); r.Reason != tt.want {
				t.Errorf("got %v, want %v", r.Reason, tt.want)
			}
		})
	}
}
