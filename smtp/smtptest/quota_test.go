package smtptest

import (
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

// TestQuota: a host counts the messages of each party apart, over any period.
func TestQuota(t *testing.T) {
	type mail struct{ from, signed string }
	a, b := mail{"x@a.test", "a.test"}, mail{"x@b.test", "b.test"}
	unsigned, bounce := mail{"x@a.test", ""}, mail{"", "a.test"}
	tests := []struct {
		name  string
		of    Party
		n     int
		mails []mail // one a minute, of which the quota is for four
		want  []string
	}{
		{"address", ByAddress, 2, []mail{a, b, a, b, a}, []string{"250", "250", "421", "421", "250"}},
		{"DKIM domain", ByDKIMDomain, 1, []mail{a, b, bounce, unsigned, a}, []string{"250", "250", "421", "250", "250"}},
		{"SPF domain", BySPFDomain, 1, []mail{a, b, unsigned, bounce, bounce}, []string{"250", "250", "421", "250", "421"}},
		{"nothing", BySPFDomain, 0, []mail{a}, []string{"421"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := NewNetwork(t).Host("mx.example.net")
				h.Quota(test.of, test.n, 4*time.Minute, nil)
				var got []string
				send := func(m mail) string {
					c := dial(t, h)
					defer c.Close()
					text := "Subject: hi\r\n\r\nhi\r\n.\r\n"
					if m.signed != "" {
						text = fmt.Sprintf("DKIM-Signature: v=1; a=rsa-sha256;\r\n\td=%s; s=x; b=\r\n%s", m.signed, text)
					}
					code := ""
					for _, line := range []string{"", "EHLO h.test\r\n", "MAIL FROM:<" + m.from + ">\r\n", "RCPT TO:<b@example.net>\r\n", "DATA\r\n", text} {
						io.WriteString(c, line)
						var err error
						if code, err = readCode(c); err != nil {
							t.Fatal(err)
						}
					}
					return code[:3]
				}
				for _, m := range test.mails {
					got = append(got, send(m))
					time.Sleep(time.Minute)
				}
				if !slices.Equal(got, test.want) {
					t.Errorf("got %q, want %q", got, test.want)
				}
				h.Quota(test.of, 0, 0, nil)
				if got := send(a); got != "250" {
					t.Errorf("after the quota: got %s, want 250", got)
				}
				h.Quota(test.of, 0, time.Hour, smtp.NewReply(451, "4.7.1", "no"))
				if got := send(a); got != "451" {
					t.Errorf("with a reply of its own: got %s, want 451", got)
				}
			})
		})
	}
}
