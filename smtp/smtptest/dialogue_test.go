package smtptest

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

var update = flag.Bool("update", false, "rewrite the replies in testdata")

// TestDialogue compares the replies of a host with testdata/*.txt. There, "#" begins a comment, "C: " is a line of the
// client, and "R: " is raw octets of the client in Go's quotes. Consecutive lines of the client are one write. "S: " is
// a reply, and "M: " a message that the host has at the end.
func TestDialogue(t *testing.T) {
	no := smtp.NewReply(550, "5.1.1", "no such user\nhere")
	setups := map[string]func(*Host){
		"anyway": func(h *Host) {
			h.DataAnyway()
			h.Reject("bob@example.net", no)
		},
		"answers": func(h *Host) { h.Answer(smtp.StageHello, smtp.NewReply(550, "", "no")) },
		"auth": func(h *Host) {
			h.NoTLS()
			h.Auth("ann", "secret")
		},
		"auth-tls": func(h *Host) { h.Auth("ann", "secret") },
		"drain": func(h *Host) {
			h.Answer(smtp.StageMail, smtp.NewReply(421, "4.3.2", "going down"))
		},
		"drop": (*Host).DropPipelined,
		"early": func(h *Host) {
			h.AnswerEarly(smtp.StageHello, smtp.NewReply(250, "", "ok before you say it"))
			h.AnswerEarly(smtp.StageData, smtp.NewReply(250, "", "taken before it came"))
			h.AnswerEarly(smtp.StageFinal, smtp.NewReply(221, "", "bye"))
		},
		"binarymime": (*Host).BinaryMIME,
		"chunking":   (*Host).Chunking,
		"chunking-drop": func(h *Host) {
			h.Chunking()
			h.DropPipelined()
		},
		"chunking-order": (*Host).Chunking,
		"chunking-plain": func(h *Host) {
			h.Without("PIPELINING", "8BITMIME", "CHUNKING")
			h.Chunking()
		},
		"chunking-promise": func(h *Host) { h.Offer("CHUNKING") },
		"chunking-refuse": func(h *Host) {
			h.Chunking()
			h.Refuse("bdat", smtp.NewReply(502, "5.5.1", "not here"))
		},
		"chunking-size": func(h *Host) {
			h.Chunking()
			h.MaxSize(10)
		},
		"chunking-without": func(h *Host) {
			h.BinaryMIME()
			h.Without("CHUNKING")
		},
		"final":  func(h *Host) { h.Answer(smtp.StageFinal, smtp.NewReply(452, "4.3.1", "")) },
		"refuse": func(h *Host) { h.Answer(smtp.StageGreeting, smtp.NewReply(554, "", "not today")) },
		"helo":   func(h *Host) { h.Without("ehlo") },
		"limits": func(h *Host) {
			h.MaxRecipients(1, smtp.NewReply(452, "4.5.3", "one is enough"))
			h.MaxMessages(1, smtp.NewReply(421, "4.7.0", "enough of you"))
			h.Reject("full@example.net", smtp.NewReply(452, "4.2.2", "mailbox full"))
		},
		"limits-announced": func(h *Host) {
			h.Limit(Limits{MailMax: 5, RcptMax: 3, RcptDomainMax: 2})
			h.Reject("eve@example.net", no)
		},
		"limits-promise": func(h *Host) {
			h.Limit(Limits{RcptMax: 1})
			h.Offer("LIMITS RCPTMAX=100 XMAX=7")
		},
		"lmtp-chunking": func(h *Host) {
			h.LMTP()
			h.Chunking()
			h.MaxSize(10)
			h.RejectFinal("bob@example.net", smtp.NewReply(452, "4.2.2", "mailbox full"))
		},
		"lmtp": func(h *Host) {
			h.LMTP()
			h.RejectFinal("bob@example.net", smtp.NewReply(452, "4.2.2", "mailbox full"))
		},
		"offer": func(h *Host) {
			h.NoTLS()
			h.Without("CHUNKING", "DSN")
			h.Offer("LIMITS RCPTMAX=10", "size 1000", "Chunking", "LIMITS RCPTMAX=20")
			h.MaxSize(10)
		},
		"plain": func(h *Host) {
			h.Without("PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "STARTTLS")
		},
		"refuse-part": func(h *Host) {
			h.Refuse("body=8bitmime", smtp.NewReply(555, "5.5.4", "no 8 bits"))
			h.Refuse("body=", no)
			h.Refuse("RSET", smtp.NewReply(421, "4.3.0", "oh"))
		},
		"reject": func(h *Host) { h.Reject("bob@Example.NET", no) },
		"starttls": func(h *Host) {
			h.Answer(smtp.StageTLS, smtp.NewReply(454, "4.7.0", "no TLS now"))
		},
		"size": func(h *Host) { h.MaxSize(10) },
	}
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no dialogues", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				n := NewNetwork(t)
				h := n.Host("mx.example.net")
				port := "25"
				if setup := setups[name]; setup != nil {
					setup(h)
				}
				if strings.HasPrefix(name, "lmtp") {
					port = "24"
				}
				c, err := n.DialContext(t.Context(), "tcp", h.Name()+":"+port)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				got := replay(t, c, string(want))
				for _, m := range h.Messages() {
					got += fmt.Sprintf("M: %q to %q: %q", m.Envelope.From, m.Envelope.Recipients, m.Data)
					if m.Chunks > 0 {
						got += fmt.Sprintf(" in %d chunks", m.Chunks)
					}
					if m.Identity != "" {
						got += " by " + m.Identity
					}
					got += "\n"
				}
				if *update {
					if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
						t.Fatal(err)
					}
				}
				if got != string(want) {
					t.Errorf("got:\n%s\nwant:\n%s", got, want)
				}
			})
		})
	}
}

// replay sends the client's lines of a dialogue, and returns the dialogue with the replies.
func replay(t *testing.T, c net.Conn, dialogue string) string {
	t.Helper()
	var got, out strings.Builder
	turn := func() {
		c.Write([]byte(out.String()))
		out.Reset()
		c.SetReadDeadline(time.Now().Add(time.Second)) // virtual: all replies have come by then
		answer, err := io.ReadAll(c)
		for line := range strings.Lines(string(answer)) {
			fmt.Fprintf(&got, "S: %s\n", strings.TrimSuffix(line, "\r\n"))
		}
		switch {
		case err == nil:
			got.WriteString("S: (closed)\n")
		case errors.Is(err, syscall.ECONNRESET):
			got.WriteString("S: (reset)\n")
		case !errors.Is(err, os.ErrDeadlineExceeded):
			t.Errorf("read: %v", err)
		}
	}
	waiting := true // for the greeting
	for line := range strings.Lines(dialogue) {
		line = strings.TrimSuffix(line, "\n")
		kind, text, _ := strings.Cut(line, ":")
		if kind == "S" || kind == "M" {
			if waiting {
				turn()
				waiting = false
			}
			continue
		}
		got.WriteString(line + "\n")
		switch text = strings.TrimPrefix(text, " "); kind {
		case "C":
			out.WriteString(text + "\r\n")
			waiting = true
		case "R":
			raw, err := strconv.Unquote(text)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			out.WriteString(raw)
			waiting = true
		}
	}
	return got.String()
}

// FuzzSession: for any input, the host sends only valid replies, and the session ends.
func FuzzSession(f *testing.F) {
	for _, seed := range []string{
		"EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n..\r\n.\r\nQUIT\r\n",
		"LHLO a\r\nMAIL FROM:<> BODY=8BITMIME SIZE=3\r\nRCPT TO:<c@d> NOTIFY=NEVER\r\nDATA\r\nx\r\n.\r\n",
		"HELO a\r\nSTARTTLS\r\n",
		"EHLO a\r\nSTARTTLS\r\n\x16\x03\x01",
		"EHLO a\r\nAUTH PLAIN\r\nAGFubgBzZWNyZXQ=\r\nAUTH PLAIN *\r\n",
		"EHLO a\nNOOP\r\n\x00\r\n",
		"EHLO \xff\r\nVRFY é\r\nRSET\r\n",
		"EHLO a\r\nMAIL FROM:<a@b> BODY=BINARYMIME\r\nRCPT TO:<c@d>\r\nBDAT 2\r\n\nxBDAT 1 LAST\r\n\x00BDAT 3\r\nend",
	} {
		f.Add([]byte(seed), byte(0))
		f.Add([]byte(seed), byte(3))
		f.Add([]byte(seed), byte(4))
	}
	reply := regexp.MustCompile(`^[2-5][0-9][0-9][ -][ -~]*\r\n$`)
	f.Fuzz(func(t *testing.T, input []byte, setup byte) {
		n := NewNetwork(t)
		h := n.Host("mx.example.net")
		address := "mx.example.net:25"
		if setup&1 != 0 {
			h.Auth("ann", "secret")
			h.NoTLS()
		}
		if setup&2 != 0 {
			h.LMTP()
			address = "mx.example.net:24"
		}
		if setup&4 != 0 {
			h.BinaryMIME()
			h.Limit(Limits{MailMax: 2, RcptMax: 2, RcptDomainMax: 1})
		}
		c, err := n.DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		go func() { // a reply may be longer than its command
			c.Write(input)
			c.(*conn).CloseWrite()
		}()
		r := bufio.NewReader(c)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				if line != "" && line[0] != 0x15 { // an alert of TLS
					t.Errorf("half a line %q: %v", line, err)
				}
				break
			}
			if !reply.MatchString(line) {
				t.Errorf("no reply: %q", line)
			}
		}
	})
}
