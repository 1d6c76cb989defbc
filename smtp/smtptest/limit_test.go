package smtptest

import (
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

func TestMaxSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t)
		h := n.Host("mx.example.net")
		h.MaxSessions(2, smtp.NewReply(421, "4.7.0", "too many"))
		first, second := dial(t, h), dial(t, h)
		talk(t, first, ": 220")
		talk(t, second, ": 220")
		got, err := io.ReadAll(dial(t, h))
		if want := "421 4.7.0 too many\r\n"; string(got) != want || err != nil {
			t.Errorf("got %q and %v, want %q and the end", got, err, want)
		}
		second.Close()
		talk(t, dial(t, h), ": 220") // as soon as one is closed there is room
		h.MaxSessions(0, smtp.NewReply(554, "", ""))
		got, err = io.ReadAll(dial(t, h))
		if want := "554 \r\n"; string(got) != want || err != nil {
			t.Errorf("none at all: got %q and %v, want %q and the end", got, err, want)
		}
		h.Heal()
		talk(t, dial(t, h), ": 220")
		if open, most, made := h.Sessions(), h.MostSessions(), h.Connections(); open != 3 || most != 3 || made != 6 {
			t.Errorf("got %d sessions of at most %d and %d connections, want 3, 3 and 6", open, most, made)
		}
	})
}

// TestSessions: the counts are right, however a session ends.
func TestSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t)
		h := n.Host("mx.example.net")
		counts := func(want ...int) {
			t.Helper()
			if got := []int{h.Sessions(), h.MostSessions(), h.Connections()}; !slices.Equal(got, want) {
				t.Errorf("got %v open, at most and in all, want %v", got, want)
			}
		}
		counts(0, 0, 0)
		for i := range 3 { // one at a time
			c := dial(t, h)
			counts(1, 1, i+1)
			c.Close()
			counts(0, 1, i+1)
		}
		a := dial(t, h)
		b := dial(t, h)
		counts(2, 2, 5)
		talk(t, a, ": 220", "QUIT: 221")
		h.WaitSessions(1)
		synctest.Wait()
		counts(1, 2, 5)
		a.Close()
		counts(1, 2, 5)
		b.(*conn).SetLinger(0)
		b.Close()
		counts(0, 2, 5)
		dial(t, h)
		h.Down()
		counts(0, 2, 6)
		if _, err := n.DialContext(t.Context(), "tcp", "mx.example.net:25"); err == nil {
			t.Error("the host isn't down")
		}
		counts(0, 2, 6)
	})
}

func TestRateLimit(t *testing.T) {
	slow := smtp.NewReply(450, "4.7.1", "slow down")
	tests := []struct {
		name  string
		stage smtp.Stage
		n     int
		want  []int // codes of the stage, once a minute
	}{
		{"none", smtp.StageMail, 0, []int{450, 450, 450, 450, 450, 450, 450, 450}},
		{"messages", smtp.StageMail, 2, []int{250, 250, 450, 250, 250, 450, 250, 250}},
		{"recipients", smtp.StageRcpt, 1, []int{250, 450, 450, 250, 450, 450, 250, 450}},
		{"connections", smtp.StageGreeting, 2, []int{220, 220, 450, 220, 220, 450, 220, 220}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := NewNetwork(t)
				h := n.Host("mx.example.net")
				h.RateLimit(test.stage, test.n, 3*time.Minute, slow)
				codes := func(c io.ReadWriter) int {
					for _, command := range []struct {
						stage smtp.Stage
						line  string
					}{{smtp.StageGreeting, ""}, {smtp.StageHello, "EHLO a\r\n"}, {smtp.StageMail, "MAIL FROM:<>\r\n"}, {smtp.StageRcpt, "RCPT TO:<b@example.net>\r\n"}} {
						io.WriteString(c, command.line)
						code, err := readCode(c)
						if err != nil {
							t.Fatal(err)
						}
						if command.stage == test.stage {
							return int(code[0]-'0')*100 + int(code[1]-'0')*10 + int(code[2]-'0')
						}
					}
					return 0
				}
				var got []int
				for range test.want {
					c := dial(t, h)
					got = append(got, codes(c))
					c.Close()
					time.Sleep(time.Minute)
				}
				if !slices.Equal(got, test.want) {
					t.Errorf("got %v, want %v", got, test.want)
				}
				h.Heal()
				for range 10 {
					if got := codes(dial(t, h)); got >= 400 {
						t.Errorf("healed: got %d", got)
					}
				}
			})
		})
	}
}

// TestMaxMessages: the count is per session.
func TestMaxMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t)
		h := n.Host("mx.example.net")
		h.MaxMessages(2, smtp.NewReply(451, "4.7.0", ""))
		for range 2 {
			c := dial(t, h)
			talk(t, c, ": 220", "EHLO a: 250")
			for range 2 {
				talk(t, c, "MAIL FROM:<>: 250", "RSET: 250") // none was taken
				talk(t, c, "MAIL FROM:<>: 250", "RCPT TO:<b@example.net>: 250", "DATA: 354", ".: 250")
			}
			talk(t, c, "MAIL FROM:<>: 451", "QUIT: 221")
			c.Close()
		}
		h.Wait(4)
	})
}
