package milter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const changed = "\x00\x00\x00\x05hX\x00y\x00" // a change, which must never be made

// TestDies: a filter that dies at each command, with a change sent before. Nothing of the change is in a message. The next
// message is filtered again.
func TestDies(t *testing.T) {
	policies := []struct {
		failure Failure
		reply   string
	}{{Defer, "451 4.7.1"}, {Accept, ""}, {Refuse, "554 5.7.1"}}
	tests := []struct {
		cmd     byte
		replies string // with R for that of the failure
	}{
		{'O', "R"}, {'C', "R"}, {'H', "R"}, {'M', "R"},
		{'R', "250, R, R"}, {'T', "250, 250, 250, 354, R"}, {'L', "250, 250, 250, 354, R"}, {'N', "250, 250, 250, 354, R"},
		{'B', "250, 250, 250, 354, R"}, {'E', "250, 250, 250, 354, R"},
	}
	for _, p := range policies {
		for _, tt := range tests {
			for _, last := range []string{"!", changed + "!", packet('c', "")[:3] + "!"} {
				t.Run(fmt.Sprintf("%d, %c, %q", p.failure, tt.cmd, last), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						dying := true
						f := &fake{answer: func(cmd byte, _ string) (string, bool) { return last, dying && cmd == tt.cmd }}
						var lines bytes.Buffer
						w := one(t, &Filter{Failure: p.failure, Logger: slog.New(slog.NewTextHandler(&lines, nil))}, f)
						c := w.dial().hello()
						got := c.mail("ann@source.test", "bob@next.test", "eve@next.test")
						want := strings.ReplaceAll(tt.replies, "R", p.reply)
						if p.failure == Accept {
							want = "250, 250, 250, 354, 250"
						}
						if got != want {
							t.Errorf("got %s, want %s", got, want)
						}
						mails := w.accepted()
						if len(mails) > 0 != (p.failure == Accept) || len(mails) > 0 && mails[0].body != text {
							t.Errorf("got %+v, want the message as it came or none", mails)
						}
						if found := w.findings(); !strings.Contains(found, " fails: ") {
							t.Errorf("got the finding %q, want the failure", found)
						}
						dying = false
						f.letters()
						c.ask("RSET")
						if got := c.mail("ann@source.test", "bob@next.test"); got != "250, 250, 354, 250" {
							t.Errorf("the next message: got %s", got)
						}
						if got := f.letters(); got != "OCHMRTLLNBE" {
							t.Errorf("the next message: the filter heard %s, want all", got)
						}
						if !strings.Contains(lines.String(), `level=ERROR msg="filter failed" addr=filter0.test:8891`) {
							t.Errorf("got the log %s, want the failure", &lines)
						}
					})
				})
			}
		}
	}
}

// TestUnreachable: a filter that isn't there, or hangs when it is called.
func TestUnreachable(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		t.Run(fmt.Sprint("hangs ", hangs), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				filter := &Filter{}
				w := one(t, filter, &fake{})
				down := true
				filter.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
					if !down {
						return w.inet.DialContext(ctx, network, address)
					}
					if hangs {
						<-ctx.Done()
						return nil, ctx.Err()
					}
					return nil, errors.New("refused")
				}
				begin := time.Now()
				c := w.dial().hello()
				if got := c.mail("ann@source.test", "bob@next.test"); got != "451 4.7.1" {
					t.Errorf("got %s, want 451 4.7.1", got)
				}
				if took := time.Since(begin); hangs && took != time.Minute || !hangs && took != 0 {
					t.Errorf("it took %v, want the Timeout at connect and at MAIL", took)
				}
				down = false
				if got := c.mail("ann@source.test", "bob@next.test"); got != "250, 250, 354, 250" {
					t.Errorf("the next message: got %s", got)
				}
			})
		})
	}
}

// TestHostile: a filter that breaks every bound fails, in bounded time. The message is accepted as it came.
func TestHostile(t *testing.T) {
	tests := []struct {
		name   string
		cmd    byte
		octets string        // that it answers with
		every  time.Duration // and again and again, if set
		took   time.Duration
		want   string
	}{
		{"length 0", 'E', "\x00\x00\x00\x00", 0, 0, "a packet without a command"},
		{"length 0 at connect", 'C', "\x00\x00\x00\x00", 0, 0, "a packet without a command"},
		{"length 0 at negotiation", 'O', "\x00\x00\x00\x00", 0, 0, "a packet without a command"},
		{"the longest packet", 'E', "\xff\xff\xff\xffh", 0, 0, "more octets than MaxOctets"},
		{"a long packet", 'E', "\x00\x04\x00\x02h", 0, 0, "a packet 'h' of 262145 octets"},
		{"a long body", 'E', "\x00\x10\x00\x01b", 0, 0, "more octets than MaxOctets"},
		{"a body when none is expected", 'N', packet('b', "x"), 0, 0, "an answer 'b'"},
		{"a change when none is expected", 'B', packet('h', "X\x00y\x00"), 0, 0, "an answer 'h'"},
		{"two answers at connect", 'C', packet('c', "") + packet('c', ""), 0, 0, "more answers than commands"},
		{"two answers at HELO", 'H', packet('c', "") + packet('c', ""), 0, 0, "more answers than commands"},
		{"two answers at MAIL", 'M', packet('c', "") + packet('c', ""), 0, 0, "more answers than commands"},
		{"two answers at RCPT", 'R', packet('c', "") + packet('r', ""), 0, 0, "more answers than commands"},
		{"two answers to a field", 'L', packet('c', "") + packet('c', ""), 0, 0, "more answers than commands"},
		{"two answers to the body", 'B', packet('c', "") + packet('c', ""), 0, 0, "more answers than commands"},
		{"two answers at the end", 'E', packet('c', "") + packet('r', ""), 0, 0, "more answers than commands"},
		{"half an answer too many", 'E', packet('c', "") + "\x00", 0, 0, "more answers than commands"},
		{"skip when none is expected", 'L', packet('s', ""), 0, 0, "an answer 's'"},
		{"discard at HELO", 'H', packet('d', ""), 0, 0, "an answer 'd'"},
		{"no answer", 'E', "", 0, 30 * time.Second, "timeout"},
		{"no answer at MAIL", 'M', "", 0, 30 * time.Second, "timeout"},
		{"half an answer", 'E', "\x00\x00\x00\x05hX", 0, 30 * time.Second, "timeout"},
		{"half a body", 'E', "\x00\x00\xff\x00bX", 0, 30 * time.Second, "timeout"},
		{"one octet at a time", 'E', "\x00", 20 * time.Second, 30 * time.Second, "timeout"},
		{"endless progress", 'E', packet('p', ""), 20 * time.Second, 4 * time.Minute, "timeout"},
		{"endless progress at MAIL", 'M', packet('p', ""), 20 * time.Second, 4 * time.Minute, "timeout"},
		{"endless changes", 'E', packet('h', "X\x00y\x00"), 20 * time.Millisecond, 20 * time.Second, "more than 1000 changes"},
		{"an endless body, slow", 'E', packet('b', "y"), 20 * time.Second, 4 * time.Minute, "timeout"},
		{"a flood of body", 'E', packet('b', strings.Repeat("y", 65535)), time.Nanosecond, 15 * time.Nanosecond, "more octets than MaxOctets"},
		{"a flood of progress", 'E', strings.Repeat(packet('p', ""), 10_000), time.Nanosecond, 20 * time.Nanosecond, "more octets than MaxOctets"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				octets := tt.octets
				f := &fake{answer: func(cmd byte, _ string) (string, bool) { return octets, cmd == tt.cmd }, every: tt.every}
				w := one(t, &Filter{Failure: Accept, MaxOctets: 1 << 20}, f)
				c := w.dial()
				begin := time.Now()
				c.hello()
				if got := c.mail("ann@source.test", "bob@next.test"); got != "250, 250, 354, 250" {
					t.Errorf("got %s, want the message accepted", got)
				}
				if took := time.Since(begin); took != tt.took {
					t.Errorf("it took %v, want %v", took, tt.took)
				}
				if mails := w.accepted(); len(mails) != 1 || mails[0].body != text {
					t.Errorf("got %d messages, want it as it came", len(mails))
				}
				if found := w.findings(); !strings.Contains(found, "fails: ") || !strings.Contains(found, tt.want) {
					t.Errorf("got the finding %q, want %q", found, tt.want)
				}
			})
		})
	}
}

// TestDeafFilter: a filter that reads nothing more is given up while a long message is sent to it.
func TestDeafFilter(t *testing.T) {
	for _, protocol := range []uint32{0, silentHeader | silentEndHeader | silentBody} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{protocol: protocol, deaf: 'N'}
			w := one(t, &Filter{}, f)
			c := w.dial().hello()
			begin := time.Now()
			got := c.mailText("Subject: long\r\n\r\n"+strings.Repeat(strings.Repeat("x", 98)+"\r\n", 50_000), "ann@source.test", "bob@next.test")
			if took := time.Since(begin); got != "250, 250, 354, 451 4.7.1" || took != 30*time.Second {
				t.Errorf("got %s after %v, want 451 4.7.1 after 30s", got, took)
			}
		})
	}
}

// TestServerCloses: the end of the server ends the wait for a filter. Nothing is accepted.
func TestServerCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: func(cmd byte, _ string) (string, bool) { return "", cmd == 'E' }}
		w := one(t, &Filter{Failure: Accept}, f)
		c := w.dial().hello()
		c.ask("MAIL FROM:<ann@source.test>", "RCPT TO:<bob@next.test>", "DATA")
		replies := make(chan string)
		go func() { replies <- c.ask(text + ".") }()
		synctest.Wait()
		w.srv.Close()
		synctest.Wait()
		if got := f.open(); got != 0 {
			t.Errorf("got %d connections to the filter, want none", got)
		}
		if got := <-replies; got != "421 4.3.2" && got != "closed" {
			t.Errorf("got %s, want the session closed", got)
		}
		if mails := w.accepted(); len(mails) > 0 {
			t.Errorf("got %+v, want none", mails)
		}
	})
}

// TestFilterRestarts: a filter that has closed the connection between two messages is connected again, and fails nothing.
func TestFilterRestarts(t *testing.T) {
	for _, aborted := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{}
			w := one(t, &Filter{}, f)
			c := w.dial().hello()
			c.ask("MAIL FROM:<ann@source.test>")
			if aborted {
				f.hangUp()
				synctest.Wait()
			}
			c.ask("RSET")
			if !aborted {
				synctest.Wait()
				f.hangUp()
			}
			f.letters()
			if got := c.mail("ann@source.test", "bob@next.test"); got != "250, 250, 354, 250" || f.letters() != "OCHMRTLLNBE" {
				t.Errorf("got %s, want the message filtered by a new connection", got)
			}
			if found := w.findings(); found != "" {
				t.Errorf("got the finding %s", found)
			}
		})
	}
}
