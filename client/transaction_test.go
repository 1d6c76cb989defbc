package client

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// TestLimitedOffers: who was offered to one host is offered to one further host, also where the limits of a host part
// the recipients over sessions.
func TestLimitedOffers(t *testing.T) {
	const (
		a, b  = "192.0.2.1:25", "192.0.2.2:25"
		one   = "S: 220 ESMTP\nC: EHLO client.test\nS: 250-host\nS: 250-PIPELINING\nS: 250 LIMITS RCPTMAX=1 MAILMAX=1\n"
		toEve = "C: MAIL FROM:<ann@client.test>\nC: RCPT TO:<eve@example.net>\nC: DATA\n"
		later = "S: 250 ok\nS: 450 later\nS: 554 nobody\n"
	)
	tests := []struct {
		name  string
		hosts map[string][]string
		want  string
	}{
		{name: "the second session's recipient has a further host, too", want: "bob delivered a.test; eve delivered b.test",
			hosts: map[string][]string{
				a: {one + toBob + ready + body + taken + quit, one + toEve + later + quit},
				b: {hello + toEve + ready + body + taken + quit}}},
		{name: "who was deferred goes to the next host, not to the next session", want: "bob delivered b.test; eve delivered a.test",
			hosts: map[string][]string{
				a: {one + toBob + later + quit, one + toEve + ready + body + taken + quit},
				b: {hello + toBob + ready + body + taken + quit}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr, inet := newTransport(t)
				for addr, scripts := range tt.hosts {
					inet.scripts(addr, scripts...)
				}
				results, err := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net", "eve@example.net"), smtp.Text("Hello.\n"))
				checkError(t, results, err)
				tr.Close()
				var got []string
				for _, r := range results {
					name, _ := smtp.SplitAddress(r.Recipient)
					got = append(got, fmt.Sprintf("%s %s %s", name, r.Outcome, r.Host))
				}
				if got := strings.Join(got, "; "); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
			})
		})
	}
}

// TestUselessData: what a host says to a DATA that has no recipient is about no one.
func TestUselessData(t *testing.T) {
	const limited = "S: 220 ESMTP\nC: EHLO client.test\nS: 250-host\nS: 250-PIPELINING\nS: 250 LIMITS RCPTMAX=1\n"
	tests := []struct{ name, script, want string }{
		{"MAIL is refused", hello + toTwo + "S: 550 5.7.1 no\nS: 503 no\nS: 503 no\nS: 451 what?\n" + quit,
			"rejected mail 550 5.7.1 no, rejected mail 550 5.7.1 no"},
		{"the one recipient is", limited + toBob + "S: 250 ok\nS: 550 5.1.1 who\nS: 451 nobody\nC: RSET\n" +
			"C: MAIL FROM:<ann@client.test>\nC: RCPT TO:<eve@example.net>\nC: DATA\nS: 250 ok\n" + ready + body + taken + quit,
			"rejected rcpt 550 5.1.1 who, delivered final 250 taken"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := pipe("127.0.0.1:25")
				done := make(chan []string)
				go func() { done <- play(server, steps(tt.script), nil, nil) }()
				c := &Conn{Hostname: "client.test", Host: "a.test", TLS: mx.TLSNone}
				if err := c.Open(t.Context(), client); err != nil {
					t.Fatal(err)
				}
				results, _ := c.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net", "eve@example.net"), smtp.Text("Hello.\n"))
				c.Quit(t.Context())
				<-done
				var got []string
				for _, r := range results {
					got = append(got, fmt.Sprintf("%s %s %s", r.Outcome, r.Stage, r.Reply))
				}
				if got := strings.Join(got, ", "); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
			})
		})
	}
}

// TestRoomForOne: a hundred recipients in transactions of one each are offered a hundred times, and not 5,050 times,
// where the host has no code of its own for it.
func TestRoomForOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pipe("127.0.0.1:25")
		offered := 0
		go func() {
			defer server.Close()
			h := []byte{}
			buf := make([]byte, 64<<10)
			say := func(s string) { server.Write([]byte(s)) }
			say("220 hi\r\n")
			n, data := 0, false
			for {
				k, err := server.Read(buf)
				if err != nil {
					return
				}
				h = append(h, buf[:k]...)
				for {
					i := bytes.IndexByte(h, '\n')
					if i < 0 {
						break
					}
					line := string(h[:i])
					h = h[i+1:]
					switch {
					case data && line != ".\r":
					case data:
						data = false
						say("250 taken\r\n")
					case strings.HasPrefix(line, "EHLO"):
						say("250-host\r\n250 PIPELINING\r\n")
					case strings.HasPrefix(line, "MAIL"):
						n = 0
						say("250 ok\r\n")
					case strings.HasPrefix(line, "RCPT"):
						offered++
						if n++; n == 1 {
							say("250 ok\r\n")
						} else {
							say("452 too many\r\n")
						}
					case strings.HasPrefix(line, "DATA"):
						data = true
						say("354 go\r\n")
					default:
						say("221 bye\r\n")
						return
					}
				}
			}
		}()
		c := &Conn{Hostname: "client.test", Host: "a.test", TLS: mx.TLSNone}
		if err := c.Open(t.Context(), client); err != nil {
			t.Fatal(err)
		}
		env := smtp.NewEnvelope("ann@client.test")
		for i := range 100 {
			env.Recipients = append(env.Recipients, smtp.Recipient{Address: fmt.Sprintf("u%d@example.net", i)})
		}
		if _, err := c.Send(t.Context(), env, smtp.Text("Hello.\n")); err != nil {
			t.Error(err)
		}
		c.Quit(t.Context())
		if offered > 300 {
			t.Errorf("got %d RCPT for 100 recipients, want 300 at most", offered)
		}
	})
}

// TestDomainsInTurn: where a host takes one domain a session, the idle session of a domain is found behind that of
// another.
func TestDomainsInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const (
			addr  = "127.0.0.1:25"
			one   = "S: 220 ESMTP\nC: EHLO client.test\nS: 250-host\nS: 250-PIPELINING\nS: 250 LIMITS RCPTDOMAINMAX=1\n"
			toOrg = "C: MAIL FROM:<ann@client.test>\nC: RCPT TO:<eve@example.org>\nC: DATA\n"
			bobs  = toBob + ready + body + taken
			eves  = toOrg + ready + body + taken
		)
		inet := newInternet(t)
		inet.scripts(addr, one+bobs+bobs+quit, one+eves+eves+quit)
		tr := &Transport{Hostname: "client.test", Router: &mx.Router{Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost(addr))}},
			DialContext: inet.DialContext}
		for _, to := range []string{"bob@example.net", "eve@example.org", "bob@example.net", "eve@example.org"} {
			results, err := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", to), smtp.Text("Hello.\n"))
			if err != nil {
				t.Errorf("got %s", show(results))
			}
		}
		tr.Close()
	})
}

// TestSlowTransactions: a host that takes one recipient at a time, and its time for each, doesn't hold a Send for ever.
func TestSlowTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr, inet := newTransport(t)
		inet.mx["example.net."] = inet.mx["example.net."][:1]
		inet.serve("192.0.2.1:25", func(c *pipeConn) {
			in := bufio.NewReader(c)
			say := func(s string) { io.WriteString(c, s+"\r\n") }
			say("220 hi")
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				switch verb, _, _ := strings.Cut(strings.TrimSpace(line), " "); verb {
				case "EHLO":
					say("250-host\r\n250 LIMITS RCPTMAX=1")
				case "DATA":
					say("354 go")
				case ".":
					time.Sleep(9 * time.Minute)
					say("250 taken")
				case "MAIL", "RCPT", "QUIT":
					say("250 ok")
				}
			}
		})
		env := smtp.NewEnvelope("ann@client.test")
		for i := range 20 {
			env.Recipients = append(env.Recipients, smtp.Recipient{Address: fmt.Sprintf("u%d@example.net", i)})
		}
		begun := time.Now()
		results, err := tr.Send(t.Context(), env, smtp.Text("Hello.\n"))
		checkError(t, results, err)
		if took := time.Since(begun); took > 20*time.Minute {
			t.Errorf("got %v, want 20m at most", took)
		}
		if results[0].Outcome != smtp.Delivered || results[19].Outcome != smtp.Deferred {
			t.Errorf("got %s", show(results))
		}
		tr.Close()
	})
}
