package smtptest

import (
	"errors"
	"io"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

func TestAfterMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t)
		h := n.Host("mx.example.net")
		down := smtp.NewReply(451, "4.3.0", "")
		send := func() (io.ReadWriter, error) {
			c := dial(t, h)
			talk(t, c, ": 220", "EHLO a: 250", "MAIL FROM:<>: 250", "RCPT TO:<b@example.net>: 250", "DATA: 354")
			io.WriteString(c, ".\r\n")
			_, err := readCode(c)
			return c, err
		}
		send() // doesn't count
		calls := 0
		h.AfterMessages(2, func() { calls++; h.Answer(smtp.StageMail, down) })
		h.AfterMessages(3, func() { calls++; h.Heal() }) // the Heal below discards it
		send()
		c, err := send()
		if err != nil || calls != 1 {
			t.Errorf("got %v and %d calls, want a reply and one", err, calls)
		}
		talk(t, c, "MAIL FROM:<>: 451", "QUIT: 221")

		h.Heal()
		h.AfterMessages(1, h.Down)
		if _, err := send(); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got %v, want %v", err, syscall.ECONNRESET)
		}
		h.Wait(4)
		h.Up()
		if _, err := send(); err != nil || calls != 1 {
			t.Errorf("got %v and %d calls, want no more than one", err, calls)
		}
	})
}

// TestHeal: Heal ends all faults.
func TestHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		no := smtp.NewReply(550, "5.7.1", "")
		n := NewNetwork(t)
		h := stageHost(n, smtp.StageMail)
		h.Offer("LIMITS RCPTMAX=10")
		h.Chunking()
		for _, test := range stages {
			h.StallAt(test.stage)
			h.AnswerEarly(test.stage, no)
			h.BabbleAt(test.stage)
			if test.stage < smtp.StageBody {
				h.RateLimit(test.stage, 0, time.Hour, no)
			}
		}
		h.Slow(time.Hour)
		h.MaxSessions(0, no)
		h.MaxMessages(0, no)
		h.MaxRecipients(0, no)
		h.Refuse("", no)
		h.DropPipelined()
		h.DataAnyway()
		h.FailTLS(TLSAlert)
		h.Reject("bob@example.net", no)
		h.Defer(time.Hour, no)
		h.Greylist(time.Hour)
		h.Hang()
		h.Heal()
		start := time.Now()
		if heard, err := converse(t, n, false); heard != allWell || err != io.EOF || time.Since(start) != 0 {
			t.Errorf("got %q and %v after %v, want %q at once", heard, err, time.Since(start), allWell)
		}
		c := dial(t, h)
		talk(t, c, ": 220", "EHLO a: 250", "AUTH PLAIN AGFubgBzZWNyZXQ=: 235", "MAIL FROM:<>: 250", "DATA: 503")
		io.WriteString(c, "NOOP\r\nNOOP\r\n")
		talk(t, c, ": 250", ": 250")
	})
}

// TestOfferSTARTTLS: Offer reverses Without, and STARTTLS isn't offered under TLS.
func TestOfferSTARTTLS(t *testing.T) {
	n := NewNetwork(t)
	h := n.Host("mx.example.net")
	h.NoTLS()
	h.Offer("STARTTLS", "XONE")
	h.Without("XONE")
	for _, tls := range []bool{false, true} {
		var starttls, other bool
		for _, line := range h.extensions(tls) {
			starttls = starttls || line == "STARTTLS"
			other = other || line == "XONE"
		}
		if starttls == tls || other {
			t.Errorf("under TLS %v: got STARTTLS %v and XONE %v", tls, starttls, other)
		}
	}
}
