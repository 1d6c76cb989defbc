package smtptest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

// dial connects to port 25 of h.
func dial(t *testing.T, h *Host) net.Conn {
	t.Helper()
	c, err := h.net.DialContext(t.Context(), "tcp", h.name+":25")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// talk sends commands in turn and compares the codes of their replies: "EHLO a: 250". ": 220" only reads a reply.
func talk(t *testing.T, c io.ReadWriter, turns ...string) {
	t.Helper()
	for _, turn := range turns {
		i := strings.LastIndex(turn, ": ")
		command, want := turn[:i], turn[i+2:]
		if command != "" {
			io.WriteString(c, command+"\r\n")
		}
		if got, err := readCode(c); got != want || err != nil {
			t.Fatalf("%q: got %q and %v, want %q", command, got, err, want)
		}
	}
}

// stageHost returns a host for converse: it has an account, and STARTTLS only if that is the stage.
func stageHost(n *Network, stage smtp.Stage) *Host {
	h := n.Host("mx.example.net")
	if stage != smtp.StageTLS {
		h.NoTLS()
	}
	h.Auth("ann", "secret")
	return h
}

const allWell = "220 250 235 250 250 354 250 221"

// TestStall: the host stalls at each stage and is healed two days later.
func TestStall(t *testing.T) {
	for _, test := range stages {
		t.Run(test.stage.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := NewNetwork(t)
				h := stageHost(n, test.stage)
				h.StallAt(test.stage)
				if test.stage == smtp.StageTLS {
					testStallTLS(t, h)
					return
				}
				start := time.Now()
				time.AfterFunc(48*time.Hour, h.Heal)
				heard, err := converse(t, n, false)
				if took := time.Since(start); heard != allWell || err != io.EOF || took != 48*time.Hour {
					t.Errorf("got %q and %v after %v, want %q after 48h", heard, err, took, allWell)
				}
				h.Wait(1)
			})
		})
	}
}

func testStallTLS(t *testing.T, h *Host) {
	c := dial(t, h)
	talk(t, c, ": 220", "EHLO client.test: 250")
	time.AfterFunc(time.Hour, h.Heal)
	start := time.Now()
	talk(t, c, "STARTTLS: 220")
	if took := time.Since(start); took != time.Hour {
		t.Errorf("got a reply after %v, want 1h", took)
	}
}

// TestStallEnds: a stalled session ends when the client closes the connection.
func TestStallEnds(t *testing.T) {
	for _, test := range stages {
		t.Run(test.stage.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := NewNetwork(t)
				h := stageHost(n, test.stage)
				h.StallAt(test.stage)
				go func() {
					h.WaitConnections(1)
					time.Sleep(time.Hour)
					n.mu.Lock()
					open := n.open(h)
					n.mu.Unlock()
					for _, c := range open {
						c.Close()
					}
				}()
				heard, err := converse(t, n, test.stage == smtp.StageTLS)
				if heard != test.heard || !errors.Is(err, net.ErrClosed) {
					t.Errorf("got %q and %v, want %q and %v", heard, err, test.heard, net.ErrClosed)
				}
				synctest.Wait()
				if got := h.Transcript(); !strings.Contains(got, "connection lost") {
					t.Errorf("the session hasn't ended:\n%s", got)
				}
				kept := 0
				if test.stage == smtp.StageFinal {
					kept = 1
				}
				if got := len(h.Messages()); got != kept {
					t.Errorf("got %d messages, want %d", got, kept)
				}
			})
		})
	}
}

func TestSlow(t *testing.T) {
	const m = time.Minute
	tests := []struct {
		name string
		slow func(*Host)
		want []time.Duration // from one reply of converse to the next
	}{
		{"all", func(h *Host) { h.Slow(m) }, []time.Duration{m, m, m, m, m, m, m, m}},
		{"two", func(h *Host) { h.Slow(m, smtp.StageFinal, smtp.StageRcpt) }, []time.Duration{0, 0, 0, 0, m, 0, m, 0}},
		{"an hour", func(h *Host) { h.Slow(m); h.Slow(time.Hour, smtp.StageGreeting) }, []time.Duration{60 * m, m, m, m, m, m, m, m}},
		{"no more", func(h *Host) { h.Slow(m); h.Slow(0) }, make([]time.Duration, 8)},
		{"healed", func(h *Host) { h.Slow(m); h.Heal() }, make([]time.Duration, 8)},
		{"healed meanwhile", func(h *Host) { h.Slow(m); time.AfterFunc(3*m/2, h.Heal) }, []time.Duration{m, m / 2, 0, 0, 0, 0, 0, 0}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := NewNetwork(t)
				h := stageHost(n, smtp.StageMail)
				test.slow(h)
				c := dial(t, h)
				for i, turn := range []string{": 220", "EHLO a: 250", "AUTH PLAIN AGFubgBzZWNyZXQ=: 235", "MAIL FROM:<>: 250",
					"RCPT TO:<b@example.net>: 250", "DATA: 354", "x\r\n.: 250", "QUIT: 221"} {
					start := time.Now()
					talk(t, c, turn)
					if took := time.Since(start); took != test.want[i] {
						t.Errorf("%q came after %v, want %v", turn, took, test.want[i])
					}
				}
			})
		})
	}
}

// TestSlowKeeps: the host keeps a message even if the client doesn't wait for the reply to the final dot.
func TestSlowKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t)
		h := n.Host("mx.example.net")
		h.Slow(10*time.Minute, smtp.StageFinal)
		c := dial(t, h)
		talk(t, c, ": 220", "EHLO a: 250", "MAIL FROM:<>: 250", "RCPT TO:<b@example.net>: 250", "DATA: 354")
		io.WriteString(c, ".\r\n")
		c.SetReadDeadline(time.Now().Add(time.Minute))
		if code, err := readCode(c); err == nil {
			t.Errorf("got %s, want none", code)
		}
		c.Close()
		h.Wait(1)
		h.WaitSessions(0)
	})
}

func TestBabble(t *testing.T) {
	for _, test := range stages {
		if test.stage == smtp.StageBody {
			continue
		}
		t.Run(test.stage.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := NewNetwork(t)
				h := stageHost(n, test.stage)
				h.BabbleAt(test.stage)
				c := dial(t, h)
				turns := map[string]string{"220": ": 220", "220 250": "EHLO a: 250", "220 250 235": "AUTH PLAIN AGFubgBzZWNyZXQ=: 235",
					"220 250 235 250": "MAIL FROM:<>: 250", "220 250 235 250 250": "RCPT TO:<b@example.net>: 250", "220 250 235 250 250 354": "DATA: 354"}
				for end := 3; end <= len(test.heard); end += 4 {
					talk(t, c, turns[test.heard[:end]])
				}
				io.WriteString(c, map[smtp.Stage]string{smtp.StageHello: "EHLO a", smtp.StageTLS: "STARTTLS", smtp.StageAuth: "AUTH PLAIN AGFubgBzZWNyZXQ=",
					smtp.StageMail: "MAIL FROM:<>", smtp.StageRcpt: "RCPT TO:<b@example.net>", smtp.StageData: "DATA", smtp.StageFinal: "."}[test.stage]+"\r\n")
				r := bufio.NewReader(c)
				for octets := 0; octets < 2<<20; {
					line, err := r.ReadString('\n')
					if err != nil || len(line) < 6 || line[3] != '-' || line[0] > '3' {
						t.Fatalf("after %d octets: got %q and %v, want a continuation line", octets, line, err)
					}
					octets += len(line)
				}
				h.Heal()
				for {
					line, err := r.ReadString('\n')
					if err != nil {
						t.Fatal(err)
					}
					if line[3] == ' ' {
						break
					}
				}
				if test.stage != smtp.StageTLS && test.stage != smtp.StageData {
					talk(t, c, "QUIT: 221")
				}
			})
		})
	}
}

// TestBabbleEnds: the host closes the connection after 64 MiB, or if the client doesn't read.
func TestBabbleEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t)
		h := n.Host("mx.example.net")
		h.BabbleAt(smtp.StageGreeting)
		if got, err := io.Copy(io.Discard, dial(t, h)); got < maxBabble || got > maxBabble+1<<20 || err != nil {
			t.Errorf("got %d octets and %v, want 64 MiB", got, err)
		}
		dial(t, h).Close()
		h.WaitSessions(0)
		dial(t, h) // a client that doesn't read
		start := time.Now()
		h.WaitSessions(0)
		if took := time.Since(start); took < idle || took > 2*idle {
			t.Errorf("a client that doesn't read was borne for %v, want 5m to 10m", took)
		}
	})
}

func TestAnswerRaw(t *testing.T) {
	tests := []struct{ name, raw string }{
		{"a line of a megabyte", "250 " + strings.Repeat("x", 1<<20) + "\r\n"},
		{"no end of line", "250 half"},
		{"no reply", "\x00\xff\n\n"},
		{"nothing", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := NewNetwork(t)
				h := n.Host("mx.example.net")
				h.AnswerRaw(smtp.StageMail, test.raw)
				c := dial(t, h)
				talk(t, c, ": 220", "EHLO a: 250")
				io.WriteString(c, "MAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\n")
				want := test.raw + "503 5.5.1 MAIL comes first\r\n" // as MAIL wasn't carried out
				got := make([]byte, len(want))
				if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
					t.Errorf("got %.50q and %v, want %.50q", got, err, want)
				}
				if len(h.Transcript()) > 2000 {
					t.Error("the transcript has it whole")
				}
			})
		})
	}
}

// TestAnswerEarly: the reply to EHLO comes with the greeting.
func TestAnswerEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t)
		h := n.Host("mx.example.net")
		h.AnswerEarly(smtp.StageGreeting, smtp.NewReply(250, "", ""))
		c := dial(t, h)
		talk(t, c, ": 220", ": 250")
		io.WriteString(c, "EHLO a\r\n")
		c.SetReadDeadline(time.Now().Add(time.Minute))
		if code, err := readCode(c); err == nil {
			t.Errorf("got %s, want no second reply to EHLO", code)
		}
		c.SetReadDeadline(time.Time{})
		talk(t, c, "MAIL FROM:<>: 250", "QUIT: 221")
	})
}

// TestAnswerEarlyTLS: a reply in clear before the handshake answers no command under TLS.
func TestAnswerEarlyTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t)
		h := n.Host("mx.example.net")
		h.AnswerEarly(smtp.StageTLS, smtp.NewReply(250, "", "no extensions at all"))
		c := dial(t, h)
		talk(t, c, ": 220", "EHLO a: 250", "STARTTLS: 220", ": 250")
		tc := tls.Client(c, &tls.Config{ServerName: h.Name(), RootCAs: n.RootCAs()})
		talk(t, tc, "EHLO a: 250", "QUIT: 221")
	})
}

// TestImplicitTLS: on port 465 there is no reply before the handshake.
func TestImplicitTLS(t *testing.T) {
	tests := []struct {
		name  string
		amiss func(*Host)
		want  error
	}{
		{"close", func(h *Host) { h.CloseAt(smtp.StageTLS) }, io.EOF},
		{"reset", func(h *Host) { h.ResetAt(smtp.StageTLS) }, syscall.ECONNRESET},
		{"answer", func(h *Host) { h.Answer(smtp.StageTLS, smtp.NewReply(454, "", "")) }, io.EOF},
		{"raw", func(h *Host) { h.AnswerRaw(smtp.StageTLS, "454\r\n") }, io.EOF},
		{"babble", func(h *Host) { h.BabbleAt(smtp.StageTLS) }, io.EOF},
		{"stall", func(h *Host) { h.StallAt(smtp.StageTLS); time.AfterFunc(time.Hour, h.Heal) }, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := NewNetwork(t)
				h := n.Host("mx.example.net")
				test.amiss(h)
				c, err := n.DialContext(t.Context(), "tcp", "mx.example.net:465")
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				tc := tls.Client(c, &tls.Config{ServerName: h.Name(), RootCAs: n.RootCAs()})
				if err := tc.Handshake(); !errors.Is(err, test.want) {
					t.Errorf("got %v, want %v", err, test.want)
				}
				if test.want == nil {
					talk(t, tc, ": 220", "QUIT: 221")
				}
			})
		})
	}
}
