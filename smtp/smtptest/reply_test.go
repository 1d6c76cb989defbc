package smtptest

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

// TestDefaultReplies: a nil reply is the default in the method's comment.
func TestDefaultReplies(t *testing.T) {
	at := func(stage smtp.Stage) func(*Host) { return func(h *Host) { h.Answer(stage, nil) } }
	early := func(stage smtp.Stage) func(*Host) { return func(h *Host) { h.AnswerEarly(stage, nil) } }
	rate := func(stage smtp.Stage) func(*Host) { return func(h *Host) { h.RateLimit(stage, 0, time.Hour, nil) } }
	tests := []struct {
		name string
		set  func(*Host)
		want string // among the replies
	}{
		{"answer the greeting", at(smtp.StageGreeting), "421 4.3.2 service not available\r\n"},
		{"answer MAIL", at(smtp.StageMail), "451 4.3.0 try again later\r\n"},
		{"answer early", early(smtp.StageMail), "250 2.1.0 ok\r\n250 2.0.0 ok\r\n"},
		{"sessions", func(h *Host) { h.MaxSessions(0, nil) }, "421 4.7.0 too many sessions\r\n"},
		{"messages", func(h *Host) { h.MaxMessages(0, nil) }, "421 4.7.0 too many messages in this session\r\n"},
		{"recipients", func(h *Host) { h.MaxRecipients(0, nil) }, "452 4.5.3 too many recipients\r\n"},
		{"rate of connections", rate(smtp.StageGreeting), "421 4.7.0 rate limit exceeded\r\n"},
		{"rate of messages", rate(smtp.StageMail), "450 4.7.1 rate limit exceeded\r\n"},
		{"reject", func(h *Host) { h.Reject("bob@example.net", nil) }, "550 5.1.1 no such user\r\n"},
		{"reject after the dot", func(h *Host) { h.RejectFinal("bob@example.net", nil) }, "552 5.2.2 mailbox full\r\n"},
		{"defer", func(h *Host) { h.Defer(time.Hour, nil) }, "451 4.3.0 try again later\r\n"},
		{"refuse", func(h *Host) { h.Refuse("rset", nil) }, "502 5.5.1 command not implemented\r\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := NewNetwork(t)
				h := n.Host("mx.example.net")
				port, hello := ":25", "EHLO"
				if strings.Contains(test.name, "dot") {
					h.LMTP()
					port, hello = ":24", "LHLO"
				}
				test.set(h)
				c, err := n.DialContext(t.Context(), "tcp", h.name+port)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				io.WriteString(c, hello+" a\r\n")
				synctest.Wait()
				io.WriteString(c, "RSET\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n")
				synctest.Wait()
				io.WriteString(c, ".\r\nQUIT\r\n")
				said, _ := io.ReadAll(c) // the host may close before it has read everything
				if !strings.Contains(string(said), test.want) {
					t.Errorf("got %q, want %q in it", said, test.want)
				}
			})
		})
	}
}

// TestReplyCopied: a reply may be changed and used again after the call.
func TestReplyCopied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t)
		h := n.Host("mx.example.net")
		r := smtp.NewReply(550, "5.1.1", "no such user")
		h.Reject("bob@example.net", r)
		h.Without("ENHANCEDSTATUSCODES")
		talk(t, dial(t, h), ": 220", "EHLO a: 250", "MAIL FROM:<>: 250", "RCPT TO:<bob@example.net>: 550")
		if r.Enhanced != (smtp.EnhancedCode{5, 1, 1}) {
			t.Errorf("the host changed the reply to %v", r)
		}
		r.Code = 450
		talk(t, dial(t, h), ": 220", "EHLO a: 250", "MAIL FROM:<>: 250", "RCPT TO:<bob@example.net>: 550")
	})
}
