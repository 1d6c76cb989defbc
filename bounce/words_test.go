package bounce

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

// TestMailerWords has the usual phrases of some languages beside a recipient.
func TestMailerWords(t *testing.T) {
	for phrase, want := range map[string]smtp.Reason{
		"Posta kutusu dolu": smtp.MailboxFull, "Kullanıcı bulunamadı": smtp.UserUnknown,
		"Brevlådan är full": smtp.MailboxFull, "Okänd mottagare": smtp.UserUnknown, "Ukendt bruger": smtp.UserUnknown,
		"Postkassen er fuld": smtp.MailboxFull, "Ukjent bruker": smtp.UserUnknown,
		"Tuntematon vastaanottaja": smtp.UserUnknown, "Postilaatikko on täynnä": smtp.MailboxFull,
		"Schránka je plná": smtp.MailboxFull, "Neznámý uživatel": smtp.UserUnknown,
		"A postafiók megtelt": smtp.MailboxFull, "Ismeretlen felhasználó": smtp.UserUnknown,
		"Άγνωστος χρήστης": smtp.UserUnknown, "Το γραμματοκιβώτιο είναι γεμάτο": smtp.MailboxFull,
		"Onbekende gebruiker": smtp.UserUnknown, "Postvak is vol": smtp.MailboxFull,
		"Kontot är inaktiverat": smtp.MailboxDisabled,
	} {
		n, err := Parse(strings.NewReader("Return-Path: <>\r\nFrom: MAILER-DAEMON@mail.example.org\r\nTo: a@b.example\r\n" +
			"Subject: Mail delivery failed\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" +
			"This message could not be delivered to:\r\n\r\n  x@example.org\r\n    " + phrase + "\r\n"))
		if err != nil || len(n.Recipients) != 1 || n.Recipients[0].Reason != want {
			t.Errorf("%s: got %+v, %v, want %v", phrase, n.Recipients, err, want)
		}
	}
}
