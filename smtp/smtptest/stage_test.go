package smtptest

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/smtp"
)

// stages are the stages with replies, with the codes that a client has received before.
var stages = []struct {
	stage smtp.Stage
	heard string // the codes of the replies
}{
	{smtp.StageGreeting, ""},
	{smtp.StageHello, "220"},
	{smtp.StageTLS, "220 250"},
	{smtp.StageAuth, "220 250"},
	{smtp.StageMail, "220 250 235"},
	{smtp.StageRcpt, "220 250 235 250"},
	{smtp.StageData, "220 250 235 250 250"},
	{smtp.StageBody, "220 250 235 250 250 354"},
	{smtp.StageFinal, "220 250 235 250 250 354"},
}

func TestCloseAt(t *testing.T) {
	for _, test := range stages {
		for _, reset := range []bool{false, true} {
			name, want := "close at "+test.stage.String(), io.EOF
			if reset {
				name, want = "reset at "+test.stage.String(), error(syscall.ECONNRESET)
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := NewNetwork(t)
					h := n.Host("mx.example.net")
					if test.stage != smtp.StageTLS {
						h.NoTLS()
					}
					h.Auth("ann", "secret")
					if reset {
						h.ResetAt(test.stage)
					} else {
						h.CloseAt(test.stage)
					}
					heard, err := converse(t, n, test.stage == smtp.StageTLS)
					if heard != test.heard || !errors.Is(err, want) {
						t.Errorf("got %q and %v, want %q and %v", heard, err, test.heard, want)
					}
					wantMail := 0
					if test.stage == smtp.StageFinal {
						wantMail = 1
					}
					if got := len(h.Messages()); got != wantMail {
						t.Errorf("got %d messages, want %d", got, wantMail)
					}

					h.Heal()
					h.NoTLS()
					want := "220 250 235 250 250 354 250 221"
					if heard, err := converse(t, n, false); heard != want || err != io.EOF {
						t.Errorf("healed: got %q and %v, want %q and %v", heard, err, want, io.EOF)
					}
				})
			})
		}
	}
}

// converse runs a whole session, and returns the codes of the replies and the error that ended it.
func converse(t *testing.T, n *Network, startTLS bool) (heard string, err error) {
	t.Helper()
	c, err := n.DialContext(t.Context(), "tcp", "mx.example.net:25")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	commands := []string{"", "EHLO client.test\r\n", "AUTH PLAIN AGFubgBzZWNyZXQ=\r\n", "MAIL FROM:<>\r\n",
		"RCPT TO:<bob@example.net>\r\n", "DATA\r\n", "Subject: x\r\n\r\n.\r\n", "QUIT\r\n", ""}
	if startTLS {
		commands[2] = "STARTTLS\r\n"
	}
	var codes []string
	for _, command := range commands {
		if command != "" {
			if _, err := io.WriteString(c, command); err != nil {
				return strings.Join(codes, " "), err
			}
		}
		code, err := readCode(c)
		if err != nil {
			return strings.Join(codes, " "), err
		}
		codes = append(codes, code)
	}
	return strings.Join(codes, " "), nil
}

// readCode reads a reply octet by octet, and returns its code.
func readCode(r io.Reader) (string, error) {
	for {
		var line []byte
		for !bytes.HasSuffix(line, []byte("\r\n")) {
			b := make([]byte, 1)
			if _, err := r.Read(b); err != nil {
				return "", err
			}
			line = append(line, b...)
		}
		if line[3] == ' ' {
			return string(line[:3]), nil
		}
	}
}

// TestAnswer: a host rejects everything at each stage.
func TestAnswer(t *testing.T) {
	for _, test := range stages {
		if test.stage == smtp.StageBody {
			continue
		}
		t.Run(test.stage.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := NewNetwork(t)
				h := n.Host("mx.example.net")
				if test.stage != smtp.StageTLS {
					h.NoTLS()
				}
				h.Auth("ann", "secret")
				h.Answer(test.stage, smtp.NewReply(421, "4.3.2", ""))
				want := strings.TrimSpace(test.heard + " 421")
				if heard, err := converse(t, n, test.stage == smtp.StageTLS); heard != want || err != io.EOF && !errors.Is(err, syscall.EPIPE) {
					t.Errorf("got %q and %v, want %q and the end", heard, err, want)
				}
				if got := len(h.Messages()); got != 0 {
					t.Errorf("got %d messages, want none", got)
				}
			})
		})
	}
}
