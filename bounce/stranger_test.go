package bounce

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

// TestStranger: a sender that may be forged gets a short report about failures, without what is inside.
func TestStranger(t *testing.T) {
	recipients := make([]Recipient, 1000)
	for i := range recipients {
		recipients[i] = unknownUser(fmt.Sprintf("user%d@example.net", i))
		recipients[i].Result.Reply.Text = "no such user at backend.internal"
	}
	big := strings.Replace(original, "\r\n\r\n", "\r\nX-Long: "+strings.Repeat("x ", 30<<10)+"\r\n\r\nSECRET ", 1)
	report := &Report{
		ReportingMTA: "mx1.example.com", Original: smtp.Text(big), Stranger: true, Recipients: recipients,
		Envelope: &smtp.Envelope{From: "ann@example.com", Ret: smtp.RetFull},
	}
	_, content, err := report.Compose()
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(smtp.NewReader(content))
	got := string(b)
	for _, word := range []string{"SECRET", "mx.example.net", "192.0.2.25", "backend.internal"} {
		if strings.Contains(got, word) {
			t.Errorf("got %q in the report, want it left out", word)
		}
	}
	if n := strings.Count(got, "Final-Recipient:"); n != maxForStranger {
		t.Errorf("got %d recipients, want %d", n, maxForStranger)
	}
	if want := "Recipients that are not listed here: 950."; !strings.Contains(got, want) {
		t.Errorf("got no %q", want)
	}
	if len(got) > 64<<10 || !strings.Contains(got, "Subject: Your bill") || !strings.Contains(got, "5.1.1") {
		t.Errorf("got %d octets, want at most 64 KiB, with the subject and the code:\n%.500s", len(got), got)
	}
	if recipients[0].Result.Host == "" || recipients[0].Result.Reply.Text == "" {
		t.Error("the Report was changed")
	}

	report.Recipients = []Recipient{{
		Recipient: smtp.Recipient{Address: "bob@example.net", Notify: smtp.NotifySuccess | smtp.NotifyFailure},
		Action:    Delivered, Result: accepted(),
	}}
	if _, _, err := report.Compose(); !errors.Is(err, ErrUnwanted) {
		t.Errorf("a success: got %v, want ErrUnwanted", err)
	}
}
