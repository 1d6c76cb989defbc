package beside

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// mailer is a client that keeps a session open, and sends the same mail at each call of send.
type mailer interface {
	send(ctx context.Context) error
	close() error
}

// mailers are ours, then the others. open connects to a sink.
var mailers = []struct {
	name string
	open func(ctx context.Context, addr string, m mail) (mailer, error)
}{
	{"postrider", openTransport},
	{"postrider-conn", openConn},
	{"net-smtp", openNetSMTP},
	{"go-smtp", openGoSMTP},
	{"go-mail", openGoMail},
	{"go-mail-smtp", openGoMailSMTP},
}

// newMail returns a mail of 10 KiB.
func newMail(recipients int) mail {
	m := mail{from: "sender@example.com", data: newMessages(1)[0].body}
	for i := range recipients {
		m.to = append(m.to, fmt.Sprintf("recipient%d@example.net", i))
	}
	return m
}

// body returns the message without its header.
func (m mail) body() string {
	_, body, _ := strings.Cut(m.data, "\r\n\r\n")
	return body
}

// TestClients checks that each client delivers the whole mail to all recipients, and all mails in one session.
func TestClients(t *testing.T) {
	for _, tt := range mailers {
		for _, recipients := range []int{1, 10} {
			t.Run(fmt.Sprintf("%s/%drcpt", tt.name, recipients), func(t *testing.T) {
				got := make(chan mail, 3)
				s := &sink{keep: func(m mail) { got <- m }}
				want := newMail(recipients)
				want.data += ".\r\n..\r\n.a dot ahead\r\nthe end.\r\n"
				c, err := tt.open(t.Context(), s.listen(t), want)
				if err != nil {
					t.Fatal(err)
				}
				for range cap(got) {
					if err := c.send(t.Context()); err != nil {
						t.Fatal(err)
					}
					m := <-got
					if m.from != want.from || !slices.Equal(m.to, want.to) {
						t.Errorf("got a mail from %q to %q, want %q to %q", m.from, m.to, want.from, want.to)
					}
					if m.body() != want.body() {
						t.Errorf("got the body %q, want %q", m.body(), want.body())
					}
					if tt.name != "go-mail" && m.data != want.data { // that writes a header of its own
						t.Errorf("got %q, want %q", m.data, want.data)
					}
				}
				if err := c.close(); err != nil {
					t.Error(err)
				}
				if n := s.sessions.Load(); n != 1 {
					t.Errorf("got %d sessions, want 1", n)
				}
			})
		}
	}
}

// TestRoundTrips checks that postrider takes two round trips for a mail, for any number of recipients.
func TestRoundTrips(t *testing.T) {
	const mails = 20
	for _, tt := range mailers[:2] {
		for _, recipients := range []int{1, 10, 100} {
			t.Run(fmt.Sprintf("%s/%drcpt", tt.name, recipients), func(t *testing.T) {
				s := new(sink)
				c, err := tt.open(t.Context(), s.listen(t), newMail(recipients))
				if err != nil {
					t.Fatal(err)
				}
				defer c.close()
				if err := c.send(t.Context()); err != nil { // Transport opens a session only now
					t.Fatal(err)
				}
				before := s.trips.Load()
				for range mails {
					if err := c.send(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if got := s.trips.Load() - before; got != 2*mails {
					t.Errorf("got %d round trips for %d mails, want %d", got, mails, 2*mails)
				}
			})
		}
	}
}

// BenchmarkClients is explained in the package's doc.
func BenchmarkClients(b *testing.B) {
	for _, trip := range []time.Duration{0, 20 * time.Millisecond} {
		for _, recipients := range []int{1, 10} {
			for _, bb := range mailers {
				b.Run(fmt.Sprintf("%dms/%drcpt/%s", trip.Milliseconds(), recipients, bb.name), func(b *testing.B) {
					s := &sink{delay: trip / 2}
					m := newMail(recipients)
					c, err := bb.open(b.Context(), s.listen(b), m)
					if err != nil {
						b.Fatal(err)
					}
					defer c.close()
					measure(b, s, m, c.send)
				})
			}
		}
	}
}

// measure sends b.N times in a session that is open.
func measure(b *testing.B, s *sink, m mail, send func(context.Context) error) {
	if err := send(b.Context()); err != nil { // what is done once doesn't count
		b.Fatal(err)
	}
	s.messages.Store(0)
	s.recipients.Store(0)
	s.octets.Store(0)
	s.trips.Store(0)
	b.ReportAllocs()
	for b.Loop() {
		if err := send(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	messages, recipients, octets := s.messages.Load(), s.recipients.Load(), s.octets.Load()
	if n := int64(b.N); messages != n || recipients != n*int64(len(m.to)) || octets < n*int64(len(m.body())) {
		b.Errorf("the sink has %d messages for %d recipients and %d octets, want %d whole messages for all",
			messages, recipients, octets, n)
	}
	b.ReportMetric(float64(s.trips.Load())/float64(b.N), "trips/op")
}
