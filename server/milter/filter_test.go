package milter

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/server"
)

// TestDialogue: all that a filter hears of a session with two messages, of which the second one is given up.
func TestDialogue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		filter := &Filter{Trusted: true}
		w := one(t, filter, f)
		c := w.dial().hello()
		if got := c.mail("ann@source.test", "bob@next.test", "nobody@next.test"); got != "250, 250, 550 5.1.1, 354, 250" {
			t.Fatalf("got %s", got)
		}
		c.ask("AUTH PLAIN AGFubgBzZWNyZXQ=", `MAIL FROM:<"a >b"@source.test> SIZE=100 BODY=8BITMIME RET=HDRS ENVID=a>b SMTPUTF8`,
			"RCPT TO:<b@next.test> NOTIFY=NEVER ORCPT=rfc822;b@next.test", "RSET", "QUIT")
		synctest.Wait()
		var got []string
		for _, line := range f.commands() {
			if session := strings.Index(line, "i|"); line[0] == 'D' && session == 3 {
				line = line[:5] + "ID" + line[17:] // of random letters
			}
			got = append(got, strings.ReplaceAll(line, "\n", "~"))
		}
		_, port, _ := strings.Cut(c.conn.LocalAddr().String(), ":")
		want := []string{
			"O |||\x06|||\xff|\x1f\xf7\xff",
			"D Cj|mx.test|{daemon_name}|mx.test|{daemon_addr}|192.0.2.25|{daemon_port}|25|v|postrider|_|client.test [198.51.100.7]|" +
				"{client_addr}|198.51.100.7|{client_port}|" + port + "|{client_name}|client.test|{client_ptr}|client.test|",
			"C client.test|4" + portOctets(port) + "198.51.100.7|",
			"H client.test|",
			"D Mi|ID-1|{mail_addr}|ann@source.test|",
			"M <ann@source.test>|",
			"D R{rcpt_addr}|bob@next.test|",
			"R <bob@next.test>|",
			"D Ti|ID-1|",
			"T ",
			"L Subject|hi|",
			"L X-Two|a~\tb|",
			"N ",
			"B Hello.\r~",
			"D Ei|ID-1|",
			"E ",
			"D Mi|ID-2|{auth_authen}|ann|{auth_type}|SASL|{mail_addr}|\"a >b\"@source.test|",
			"M <\"a >b\"@source.test>|SIZE=100|BODY=8BITMIME|SMTPUTF8|RET=HDRS|ENVID=a>b|",
			"D R{rcpt_addr}|b@next.test|",
			"R <b@next.test>|NOTIFY=NEVER|ORCPT=rfc822;b@next.test|",
			"A ",
			"Q ",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%q\nwant\n%q", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if mails := w.accepted(); len(mails) != 1 || mails[0].body != text {
			t.Errorf("got %+v, want the message as it came", mails)
		}
		if f.sessions != 1 {
			t.Errorf("got %d connections, want 1", f.sessions)
		}
	})
}

func portOctets(port string) string {
	var n uint16
	fmt.Sscan(port, &n)
	return string([]byte{byte(n >> 8), byte(n)})
}

// TestAnswers: each answer to each command, what the client gets, and what the filter hears after it.
func TestAnswers(t *testing.T) {
	tests := []struct {
		name    string
		cmd     byte
		answer  string
		replies string // to a session with a message to two recipients
		heard   string
		mails   int
	}{
		{"accept at connect", 'C', packet('a', ""), "220, 250, 250, 250, 250, 354, 250", "OCQ", 1},
		{"reject at connect", 'C', packet('r', ""), "550 5.7.1, 503", "OCQ", 0},
		{"tempfail at connect", 'C', packet('t', ""), "421 4.7.1, closed", "OCQ", 0},
		{"reply at connect", 'C', packet('y', "554 5.7.1 go away\x00"), "554 5.7.1, 503", "OCQ", 0},
		{"shutdown at connect", 'C', packet('4', ""), "421 4.7.0, closed", "OCQ", 0},
		{"accept at HELO", 'H', packet('a', ""), "220, 250, 250, 250, 250, 354, 250", "OCHQ", 1},
		{"reject at HELO", 'H', packet('r', ""), "220, 550 5.7.1, 503 5.5.1", "OCH", 0},
		{"accept at MAIL", 'M', packet('a', ""), "220, 250, 250, 250, 250, 354, 250", "OCHMA", 1},
		{"reject at MAIL", 'M', packet('r', ""), "220, 250, 550 5.7.1", "OCHM", 0},
		{"tempfail at MAIL", 'M', packet('t', ""), "220, 250, 451 4.7.1", "OCHM", 0},
		{"discard at MAIL", 'M', packet('d', ""), "220, 250, 250, 250, 250, 354, 250", "OCHMA", 0},
		{"reply at MAIL", 'M', packet('y', "452-4.2.2 one\r\n452 4.2.2 50%% two\x00"), "220, 250, 452 4.2.2", "OCHM", 0},
		{"a reply that smuggles", 'M', packet('y', "550 5.7.1 a\r\n250 ok\x00"), "220, 250, 550 5.7.1", "OCHM", 0},
		{"421 at MAIL", 'M', packet('y', "421 4.7.0 bye\x00"), "220, 250, 421 4.7.0", "OCHMAQ", 0},
		{"reject at RCPT", 'R', packet('r', ""), "220, 250, 250, 550 5.7.1, 550 5.7.1", "OCHMRR", 0},
		{"accept at RCPT", 'R', packet('a', ""), "220, 250, 250, 250, 250, 354, 250", "OCHMRA", 1},
		{"discard at RCPT", 'R', packet('d', ""), "220, 250, 250, 250, 250, 354, 250", "OCHMRA", 0},
		{"reject at DATA", 'T', packet('r', ""), "220, 250, 250, 250, 250, 354, 550 5.7.1", "OCHMRRTA", 0},
		{"accept at DATA", 'T', packet('a', ""), "220, 250, 250, 250, 250, 354, 250", "OCHMRRTA", 1},
		{"reject at a field", 'L', packet('r', ""), "220, 250, 250, 250, 250, 354, 550 5.7.1", "OCHMRRTLA", 0},
		{"accept at a field", 'L', packet('a', ""), "220, 250, 250, 250, 250, 354, 250", "OCHMRRTLA", 1},
		{"discard after the header", 'N', packet('d', ""), "220, 250, 250, 250, 250, 354, 250", "OCHMRRTLLNA", 0},
		{"skip the body", 'B', packet('s', ""), "220, 250, 250, 250, 250, 354, 250", "OCHMRRTLLNBE", 1},
		{"tempfail at the body", 'B', packet('t', ""), "220, 250, 250, 250, 250, 354, 451 4.7.1", "OCHMRRTLLNBA", 0},
		{"accept at the end", 'E', packet('a', ""), "220, 250, 250, 250, 250, 354, 250", "OCHMRRTLLNBE", 1},
		{"reject at the end", 'E', packet('r', ""), "220, 250, 250, 250, 250, 354, 550 5.7.1", "OCHMRRTLLNBE", 0},
		{"discard at the end", 'E', packet('d', ""), "220, 250, 250, 250, 250, 354, 250", "OCHMRRTLLNBE", 0},
		{"progress, then reject", 'E', packet('p', "") + packet('p', "x") + packet('r', ""),
			"220, 250, 250, 250, 250, 354, 550 5.7.1", "OCHMRRTLLNBE", 0},
		{"changes, then reject", 'E', packet('h', "X\x00y\x00") + packet('b', "new") + packet('r', ""),
			"220, 250, 250, 250, 250, 354, 550 5.7.1", "OCHMRRTLLNBE", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{answer: func(cmd byte, _ string) (string, bool) { return tt.answer, cmd == tt.cmd }}
				w := one(t, &Filter{}, f)
				c := w.dial()
				replies := codes(c)
				if got := strings.Join(replies, ", "); got != tt.replies {
					t.Errorf("got %s, want %s", got, tt.replies)
				}
				synctest.Wait()
				if got := f.letters(); got != tt.heard {
					t.Errorf("the filter heard %s, want %s", got, tt.heard)
				}
				mails := w.accepted()
				if len(mails) != tt.mails || len(mails) > 0 && mails[0].body != text {
					t.Errorf("got %d messages %+v, want %d as they came", len(mails), mails, tt.mails)
				}
				if found := w.findings(); strings.Contains(found, "fails") {
					t.Errorf("got the finding %s", found)
				}
			})
		})
	}
}

// codes plays a session with one message to two recipients up to a refusal of the session, of MAIL or of the message.
func codes(c *client) (got []string) {
	greeting := c.reply()
	if got = append(got, greeting[:3]); greeting[0] != '2' {
		got[0] = strings.Join(strings.Fields(greeting)[:2], " ")
		return append(got, strings.Fields(c.ask("EHLO client.test"))[0])
	}
	got = append(got, c.ask("EHLO client.test"))
	return append(got, strings.Split(c.mail("ann@source.test", "bob@next.test", "eve@next.test"), ", ")...)
}

// TestNegotiation: what a filter doesn't want to hear of, or doesn't answer.
func TestNegotiation(t *testing.T) {
	const ok = "250, 250, 354, 250"
	tests := []struct {
		name  string
		fake  fake
		heard string
		want  string
	}{
		{"all", fake{protocol: 0}, "OCHMRTLLNBE", ok},
		{"nothing but the end", fake{protocol: noConnect | noHelo | noMail | noRcpt | noData | noHeaders | noEndHeader | noBody}, "OE", ok},
		{"no answers", fake{protocol: silentConnect | silentHelo | silentMail | silentRcpt | silentData | silentHeader |
			silentEndHeader | silentBody}, "OCHMRTLLNBE", ok},
		{"version 2", fake{version: 2}, "OCHMRLLNBE", ok},
		{"a version that isn't there", fake{version: 7}, "OO", "451 4.7.1"},
		{"actions that aren't offered", fake{actions: 0x100}, "OO", "451 4.7.1"},
		{"a protocol that isn't offered", fake{protocol: rejectedRcpt}, "OO", "451 4.7.1"},
		{"another answer", fake{answer: func(cmd byte, _ string) (string, bool) { return packet('a', ""), cmd == 'O' }}, "OO", "451 4.7.1"},
		{"a short answer", fake{answer: func(cmd byte, _ string) (string, bool) { return packet('O', "12345678901"), cmd == 'O' }}, "OO", "451 4.7.1"},
	}
	for i := range tests {
		tt := &tests[i]
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := one(t, &Filter{}, &tt.fake)
				c := w.dial().hello()
				if got := c.mail("ann@source.test", "bob@next.test"); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
				synctest.Wait()
				if got := tt.fake.letters(); got != tt.heard {
					t.Errorf("the filter heard %s, want %s", got, tt.heard)
				}
			})
		})
	}
}

// TestTrusted: clients that are known aren't shown to a filter for strangers, unless a recipient is a stranger's.
func TestTrusted(t *testing.T) {
	tests := []struct {
		name    string
		trusted bool
		auth    bool
		to      []string
		heard   string
	}{
		{"a stranger", false, false, []string{"bob@next.test"}, "OCHMRTLLNBE"},
		{"a user", false, true, []string{"bob@next.test"}, "OCHQ"},
		{"a user, to be seen", true, true, []string{"bob@next.test"}, "OCHMRTLLNBE"},
		{"allowed", false, false, []string{"allowed@next.test"}, "OCHMA"},
		{"allowed to one of two", false, false, []string{"bob@next.test", "allowed@next.test"}, "OCHMRRTLLNBE"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{}
				w := one(t, &Filter{Trusted: tt.trusted}, f)
				c := w.dial().hello()
				if tt.auth {
					c.ask("AUTH PLAIN AGFubgBzZWNyZXQ=")
				}
				if got := c.mail("ann@source.test", tt.to...); !strings.HasSuffix(got, "354, 250") {
					t.Errorf("got %s", got)
				}
				synctest.Wait()
				if got := f.letters(); got != tt.heard {
					t.Errorf("the filter heard %s, want %s", got, tt.heard)
				}
			})
		})
	}
}

// TestLateRefusal: a recipient of which the filter hears late can only be refused with the message.
func TestLateRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: func(cmd byte, data string) (string, bool) {
			return packet('r', ""), cmd == 'R' && strings.Contains(data, "allowed")
		}}
		w := one(t, &Filter{}, f)
		got := w.dial().hello().mail("ann@source.test", "allowed@next.test", "bob@next.test")
		if want := "250, 250, 250, 354, 550 5.7.1"; got != want || len(w.accepted()) > 0 {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// TestRefusedAgain: a client that was refused at EHLO, or at a connect that came late, is refused again.
func TestRefusedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuses := byte(cmdHelo)
		f := &fake{answer: func(cmd byte, _ string) (string, bool) { return packet('r', ""), cmd == refuses }}
		filter := &Filter{}
		w := one(t, filter, f)
		c := w.dial()
		if got := c.reply()[:3] + " " + c.ask("EHLO client.test", "EHLO client.test", "MAIL FROM:<a@b.test>"); got != "220 550 5.7.1, 550 5.7.1, 503 5.5.1" {
			t.Errorf("refused at EHLO: got %s", got)
		}
		refuses = cmdConnect
		dial := filter.DialContext
		filter.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("refused") }
		c = w.dial().hello()
		filter.DialContext = dial
		if got := c.ask("MAIL FROM:<a@b.test>", "MAIL FROM:<a@b.test>"); got != "550 5.7.1, 550 5.7.1" {
			t.Errorf("refused at connect: got %s", got)
		}
		refuses = 0
		if got := c.mail("ann@source.test", "bob@next.test"); got != "250, 250, 354, 250" {
			t.Errorf("then welcome: got %s", got)
		}
	})
}

// TestRefusedMail: after a MAIL that the filter has refused, the next one is a new transaction for it.
func TestRefusedMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: func(cmd byte, data string) (string, bool) {
			return packet('y', "550 5.7.1 100%% bad\x00"), cmd == 'M' && strings.HasPrefix(data, "<bad@")
		}}
		w := one(t, &Filter{}, f)
		c := w.dial().hello()
		c.ask("NOOP")
		fmt.Fprint(c.conn, "MAIL FROM:<bad@source.test>\r\n")
		if got := c.reply(); got != "550 5.7.1 100% bad" {
			t.Errorf("got %q", got)
		}
		if got := c.mail("ann@source.test", "bob@next.test"); got != "250, 250, 354, 250" || f.letters() != "OCHMAMRTLLNBE" {
			t.Errorf("got %s, want the filter to be reset", got)
		}
	})
}

// TestStartTLS: the filter hears EHLO again after STARTTLS, with what the session knows of TLS and of an IPv6 client.
func TestStartTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		w := one(t, &Filter{Daemon: "MTA"}, f)
		c := w.dialFrom("2001:db8::7", "[2001:db8::25]:25").hello()
		c.ask("STARTTLS")
		conn := tls.Client(c.conn, &tls.Config{RootCAs: w.inet.RootCAs(), ServerName: "mx.test"})
		c.conn, c.in = conn, bufio.NewReader(conn)
		c.ask("EHLO client.test", "EHLO client.test", "MAIL FROM:<ann@source.test>")
		synctest.Wait()
		var got []string
		for _, line := range f.commands() {
			if line[0] == 'C' || line[0] == 'H' || strings.HasPrefix(line, "D H") {
				got = append(got, line)
			}
			if want := "{daemon_name}|MTA|{daemon_addr}|2001:db8::25|"; strings.HasPrefix(line, "D C") && !strings.Contains(line, want) {
				t.Errorf("got %q, want %q", line, want)
			}
		}
		_, port, _ := net.SplitHostPort(c.conn.LocalAddr().String())
		want := []string{
			"C unknown|6" + portOctets(port) + "2001:db8::7|", "H client.test|",
			"D H{tls_version}|TLSv1.3|{cipher}|TLS_AES_128_GCM_SHA256|{cipher_bits}|128|", "H client.test|",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestXClient: after XCLIENT, the filter has a new session about the client of the proxy, and no other.
func TestXClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		w := one(t, &Filter{}, f)
		c := w.dial().hello()
		if got := c.ask("XCLIENT ADDR=203.0.113.9 HELO=other.test"); got != "220" {
			t.Fatalf("got %s, want 220", got)
		}
		synctest.Wait()
		if n := f.open(); n != 1 {
			t.Errorf("got %d connections to the filter, want 1", n)
		}
		c.mail("ann@source.test", "bob@next.test")
		heard := f.commands()
		if !slices.Contains(heard, "C unknown|4||203.0.113.9|") || !slices.Contains(heard, "H other.test|") {
			t.Errorf("got %q, want the client of the proxy", heard)
		}
		if len(w.accepted()) != 1 {
			t.Error("got no message, want one")
		}
	})
}

// TestTwoFilters: each of two filters has a session of its own, and the second one sees what the first one has changed.
func TestTwoFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := packet('i', indexed(0, "X-One", "1")) + packet('c', "")
		first := &fake{answer: func(cmd byte, _ string) (string, bool) { return end, cmd == 'E' }}
		second := &fake{}
		a, b := &Filter{Name: "a"}, &Filter{Name: "b"}
		w := start(t, map[*Filter]*fake{a: first, b: second}, a, b)
		w.dial().hello().mail("ann@source.test", "bob@next.test")
		synctest.Wait()
		if got := first.letters(); got != "OCHMRTLLNBE" {
			t.Errorf("the first filter heard %s", got)
		}
		if got := second.letters(); got != "OCHMRTLLLNBE" {
			t.Errorf("the second filter heard %s", got)
		}
		if mails := w.accepted(); len(mails) != 1 || mails[0].body != "X-One: 1\r\n"+text {
			t.Errorf("got %+v", mails)
		}
	})
}

// TestSettings: a mistake in the settings is a Fault.
func TestSettings(t *testing.T) {
	for _, tt := range []struct {
		name   string
		filter Filter
		want   string
	}{
		{"tcp", Filter{Addr: "127.0.0.1:11332"}, ""},
		{"unix", Filter{Addr: "/run/filter.sock"}, ""},
		{"no address", Filter{}, "Addr is empty"},
		{"a socket by another form", Filter{Addr: "unix:/run/a"}, `Addr "unix:/run/a" is neither`},
		{"a port by another form", Filter{Addr: "inet:1@127.0.0.1"}, `Addr "inet:1@127.0.0.1" is neither`},
		{"both by another form", Filter{Addr: "inet:127.0.0.1:1"}, `Addr "inet:127.0.0.1:1" is neither`},
		{"no port", Filter{Addr: "localhost"}, `Addr "localhost" is neither`},
		{"a time below zero", Filter{Addr: "/x", Timeout: -time.Second}, "below zero"},
		{"no Failure", Filter{Addr: "/x", Failure: 3}, "Failure is 3"},
	} {
		c := tt.filter.Check()
		if c.Name != "milter" || (c.Fault == nil) != (tt.want == "") || c.Fault != nil && !strings.Contains(c.Fault.Error(), tt.want) {
			t.Errorf("%s: got %q with %v, want %q", tt.name, c.Name, c.Fault, tt.want)
		}
	}
}

// TestNewBodyFile: a large new body is in a file, which is gone afterwards.
func TestNewBodyFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := strings.Repeat("x", 99) + "\n"
		large := strings.Repeat(line, 30_000)
		end := packet('b', large) + packet('p', "") + packet('b', "last\r\n") + packet('c', "")
		f := &fake{answer: func(cmd byte, _ string) (string, bool) { return end, cmd == 'E' }}
		dir := t.TempDir()
		filter := &Filter{}
		w := startWith(t, func(s *server.Server) { s.TempDir = dir }, map[*Filter]*fake{filter: f}, filter)
		c := w.dial().hello()
		c.mail("ann@source.test", "bob@next.test")
		head, _, _ := strings.Cut(text, "\r\n\r\n")
		want := head + "\r\n\r\n" + strings.ReplaceAll(large, "\n", "\r\n") + "last\r\n"
		if mails := w.accepted(); len(mails) != 1 || mails[0].body != want {
			t.Errorf("got %d messages, want one with the new body", len(mails))
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
			t.Errorf("got the files %v and %v, want none", files, err)
		}
	})
}

// TestNewBodyRoom: a new body counts for MaxTemp and MaxMemory. Without room, the message is deferred, and the filter
// hears of the next one on the same connection.
func TestNewBodyRoom(t *testing.T) {
	large := packet('b', strings.Repeat("0123456789abc\r\n", 4000))
	for _, tt := range []struct {
		name string
		set  func(*server.Server)
		body string
	}{
		{"a file", func(s *server.Server) { s.MaxTemp = 100_000 }, large + large},
		{"memory", func(s *server.Server) { s.MaxMemory = 200 << 10 }, packet('b', "small\r\n")},
		{"memory for one copy", func(s *server.Server) { s.MaxMemory = 120 << 10 }, packet('b', "small\r\n")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				body := tt.body
				f := &fake{answer: func(cmd byte, _ string) (string, bool) { return body + packet('c', ""), cmd == 'E' }}
				filter := &Filter{Failure: Accept}
				dir := t.TempDir()
				set := func(s *server.Server) { s.TempDir = dir; tt.set(s) }
				w := startWith(t, set, map[*Filter]*fake{filter: f}, filter)
				c := w.dial().hello()
				for range 2 {
					if got := c.mail("ann@source.test", "bob@next.test"); got != "250, 250, 354, 452 4.3.1" {
						t.Errorf("got %s, want 452 without room", got)
					}
				}
				body = ""
				if got := c.mail("ann@source.test", "bob@next.test"); got != "250, 250, 354, 250" {
					t.Errorf("got %s without a new body, want 250", got)
				}
				if mails := w.accepted(); len(mails) != 1 || mails[0].body != text {
					t.Errorf("got %d messages, want one as it came", len(mails))
				}
				if found := w.findings(); strings.Contains(found, "fails") {
					t.Errorf("got the finding %q, want none of a failure", found)
				}
				if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
					t.Errorf("got the files %v and %v, want none", files, err)
				}
			})
		})
	}
}
