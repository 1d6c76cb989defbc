package preflight

import (
	"net/mail"
	"strings"
	"testing"

	"github.com/postrider/postrider/client/compose"
)

// TestComposed: nothing is found in what package compose writes.
func TestComposed(t *testing.T) {
	for _, tt := range []struct {
		name string
		mail compose.Message
		bulk bool
	}{
		{"text", compose.Message{Text: "Grüße"}, false},
		{"HTML with a file", compose.Message{HTML: "<p>Tea</p>", Attachments: []compose.File{
			{Name: "Rechnung für März.pdf", Reader: strings.NewReader("%PDF")}}}, false},
		{"a file alone", compose.Message{Attachments: []compose.File{
			{Name: "Rechnung für März.pdf", Reader: strings.NewReader("%PDF")}}}, false},
		{"calendar", compose.Message{Text: "Tea", Calendar: &compose.Calendar{Method: "REQUEST",
			Data: "BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nEND:VCALENDAR\r\n"}}, false},
		{"an answer", compose.Message{Text: "Yes", InReplyTo: "<1@example.net>", References: []string{"<0@example.net>", "<1@example.net>"}}, false},
		{"newsletter", compose.Message{Text: "Tea", ListID: "tea.example.com", FeedbackID: "7:tea::news",
			Unsubscribe: &compose.Unsubscribe{URL: "https://example.com/u", Mailto: "u@example.com", Keys: [][]byte{make([]byte, 32)}}}, true},
		{"SMTPUTF8", compose.Message{Text: "Grüße", Cc: []mail.Address{{Name: "Bücher", Address: "bücher@example.org"}}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := tt.mail
			m.From = mail.Address{Name: `Tee & "Söhne", Inc. ` + strings.Repeat("ö", 60), Address: "shop@example.com"}
			m.To = []mail.Address{{Name: "Ann, (Sales)", Address: "ann@example.net"}}
			m.Subject = strings.Repeat("Grüße aus Zürich ", 20)
			env, content, err := m.Compose()
			if err != nil {
				t.Fatal(err)
			}
			defer content.Close()
			if got := (&Checker{Bulk: tt.bulk}).Message(env, content); len(got) > 0 {
				b := make([]byte, 2000)
				n, _ := content.ReadAt(b, 0)
				t.Errorf("got\n%s\nin\n%s", got, b[:n])
			}
		})
	}
}
