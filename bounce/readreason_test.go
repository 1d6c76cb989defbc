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

// TestWordsAboutUs: words for a mailbox, in a sentence about the sender, our address or a server, say nothing about the
// recipient.
func TestWordsAboutUs(t *testing.T) {
	tests := []struct {
		text string
		want smtp.Reason
	}{
		{"Ваш IP адрес не найден в DNS (PTR)", smtp.Other},
		{"Ваш IP-адрес не найден", smtp.Other},
		{"Адрес отправителя: такой адрес не существует", smtp.Other},
		{"Отправитель не найден: пользователь не найден", smtp.Other},
		{"Ваш IP адрес заблокирован", smtp.Blocklisted},
		{"Отправитель заблокирован, адрес не найден в белом списке", smtp.Blocklisted},
		{"服务器空间不足，稍后重试", smtp.Other},
		{"サーバーの容量を超え", smtp.Other},
		{"发件人地址不存在", smtp.Other},
		{"Absender: Adresse konnte nicht gefunden werden", smtp.Other},
		{"your IP address is disabled", smtp.Other},
		{"sender address does not exist", smtp.Other},
		{"Пользователь не найден", smtp.UserUnknown},
		{"Ваш IP адрес известен. Пользователь не найден.", smtp.UserUnknown},
		{"ящик заблокирован", smtp.MailboxDisabled},
		{"收件人邮箱空间不足", smtp.MailboxFull},
	}
	for _, tt := range tests {
		if got := byWords(tt.text); got != tt.want {
			t.Errorf("%q: got %v, want %v", tt.text, got, tt.want)
		}
	}
}
