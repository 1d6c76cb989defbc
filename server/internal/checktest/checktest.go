// Package checktest runs checks in a server, in a synctest bubble, and talks to it as a client of any address. It is
// for the tests of the packages that make a server.Check.
package checktest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// Server is a server at mx.test, 192.0.2.25:
//
//   - A client may relay if the local part of the recipient begins with "allowed".
//   - A recipient whose local part begins with "nobody" is refused with 550 5.1.1.
//   - The user "ann" authenticates with the password "secret", without TLS.
//   - A message with the line "spam" is refused with 550 5.7.1, and one with "later" with 451 4.3.0.
type Server struct {
	t    *testing.T
	inet *smtptest.Network

	mu    sync.Mutex
	found []server.Finding
	mails []string
}

// Start serves until the test ends.
func Start(t *testing.T, checks ...server.Check) *Server {
	t.Helper()
	s := &Server{t: t, inet: smtptest.NewNetwork(t)}
	s.inet.Host("mx.test").SetAddrs(netip.MustParseAddr("192.0.2.25"), netip.MustParseAddr("2001:db8::25"))
	l, err := s.inet.Listen("mx.test:25")
	if err != nil {
		t.Fatal(err)
	}
	srv := &server.Server{
		Hostname:          "mx.test",
		Handler:           handler{s},
		AllowInsecureAuth: true,
		Authenticate: func(_ context.Context, _ *server.Peer, user, password string) error {
			if user != "ann" || password != "secret" {
				return server.ErrAuthFailed
			}
			return nil
		},
		Checks: checks,
		Logger: slog.New(noPanics{slog.DiscardHandler, t}),
		Found: func(_ context.Context, _ *server.Peer, f server.Finding) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.found = append(s.found, f)
		},
	}
	s.inet.Go(func(ctx context.Context) error { return srv.Serve(ctx, l) })
	return s
}

// noPanics fails the test for each line about a panic.
type noPanics struct {
	slog.Handler
	t *testing.T
}

func (noPanics) Enabled(context.Context, slog.Level) bool { return true }

func (h noPanics) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "panic" {
			h.t.Errorf("%s: %v", r.Message, a.Value)
		}
		return true
	})
	return nil
}

// Found returns the findings so far, as "moment: text", and forgets them.
func (s *Server) Found() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var texts []string
	for _, f := range s.found {
		texts = append(texts, f.Moment+": "+f.Text)
	}
	s.found = nil
	return texts
}

// Mails returns the messages that were accepted so far, and forgets them.
func (s *Server) Mails() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	mails := s.mails
	s.mails = nil
	return mails
}

type handler struct{ *Server }

func (h handler) Allow(_ context.Context, _ *server.Peer, _ *smtp.Envelope, rcpt smtp.Recipient) (bool, error) {
	return strings.HasPrefix(rcpt.Address, "allowed"), nil
}

func (h handler) CheckRcpt(_ context.Context, _ *server.Peer, _ *smtp.Envelope, rcpt smtp.Recipient) error {
	if strings.HasPrefix(rcpt.Address, "nobody") {
		return smtp.NewReply(550, "5.1.1", "no such user")
	}
	return nil
}

func (h handler) Handle(_ context.Context, _ *server.Peer, _ *smtp.Envelope, r io.Reader) (*smtp.Reply, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(b), "\r\n")
	switch {
	case slices.Contains(lines, "spam"):
		return nil, smtp.NewReply(550, "5.7.1", "spam")
	case slices.Contains(lines, "later"):
		return nil, smtp.NewReply(451, "4.3.0", "later")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mails = append(h.mails, string(b))
	return nil, nil
}

// Client is a session with a Server.
type Client struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

// Dial connects from an address. It doesn't read the greeting.
func (s *Server) Dial(from string) *Client {
	s.t.Helper()
	to := "192.0.2.25:25"
	if netip.MustParseAddr(from).Is6() {
		to = "[2001:db8::25]:25"
	}
	host := s.inet.Host("mx.test")
	if !slices.Contains(host.Addrs(), netip.MustParseAddr(from)) {
		host = s.inet.Host(from)
	}
	conn, err := host.DialContext(s.t.Context(), "tcp", to)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return &Client{s.t, conn, bufio.NewReader(conn)}
}

// Send writes lines, each with CRLF.
func (c *Client) Send(lines ...string) {
	c.t.Helper()
	c.conn.SetDeadline(time.Now().Add(time.Hour))
	if _, err := io.WriteString(c.conn, strings.Join(lines, "\r\n")+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
}

// Reply reads a reply, as "250 2.1.0 sender ok". It is "closed" if the server has closed the connection.
func (c *Client) Reply() string {
	c.t.Helper()
	c.conn.SetDeadline(time.Now().Add(time.Hour))
	r, err := smtp.ReadReply(c.in)
	if errors.Is(err, io.EOF) {
		return "closed"
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return r.Error()
}

// Ask sends a line, and returns the reply.
func (c *Client) Ask(line string) string {
	c.t.Helper()
	c.Send(line)
	return c.Reply()
}

// Hello reads the greeting and sends EHLO.
func (c *Client) Hello(name string) *Client {
	c.t.Helper()
	if got := c.Reply(); !strings.HasPrefix(got, "220 ") {
		c.t.Fatalf("got greeting %q, want 220", got)
	}
	if got := c.Ask("EHLO " + name); !strings.HasPrefix(got, "250 ") {
		c.t.Fatalf("got %q to EHLO, want 250", got)
	}
	return c
}

// Auth authenticates as a user whom the Server knows.
func (c *Client) Auth() *Client {
	c.t.Helper()
	if got := c.Ask("AUTH PLAIN AGFubgBzZWNyZXQ="); !strings.HasPrefix(got, "235 ") {
		c.t.Fatalf("got %q to AUTH, want 235", got)
	}
	return c
}

// Mail sends a message with the text "hi", and returns the reply to each recipient. If the client was refused earlier
// or at the end, that is the last one.
func (c *Client) Mail(from string, to ...string) []string {
	c.t.Helper()
	return c.MailText("hi", from, to...)
}

// MailText is Mail with a text of one line.
func (c *Client) MailText(text, from string, to ...string) (replies []string) {
	c.t.Helper()
	if got := c.Ask("MAIL FROM:<" + from + ">"); !strings.HasPrefix(got, "250 ") {
		return []string{got}
	}
	accepted := false
	for _, rcpt := range to {
		got := c.Ask("RCPT TO:<" + rcpt + ">")
		replies = append(replies, got)
		accepted = accepted || strings.HasPrefix(got, "250 ")
	}
	if !accepted {
		c.Ask("RSET")
		return replies
	}
	if got := c.Ask("DATA"); !strings.HasPrefix(got, "354 ") {
		return append(replies, got)
	}
	if got := c.Ask("Subject: hi\r\n\r\n" + text + "\r\n."); !strings.HasPrefix(got, "250 ") {
		replies = append(replies, got)
	}
	return replies
}

// Codes returns the code and the enhanced code of each reply, "250 2.1.5".
func Codes(replies []string) string {
	var codes []string
	for _, r := range replies {
		words := strings.Fields(r)
		codes = append(codes, strings.Join(words[:min(2, len(words))], " "))
	}
	return strings.Join(codes, ", ")
}
