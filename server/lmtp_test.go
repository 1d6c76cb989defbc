package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/smtp"
)

// mailboxes is a Handler with a mailbox for each recipient. Its address decides what becomes of the message.
type mailboxes struct {
	desk
	replies func(env *smtp.Envelope) ([]*smtp.Reply, error) // in place of that, if not nil
	kept    []string                                        // address: content
}

func (h *mailboxes) HandleLMTP(_ context.Context, p *Peer, env *smtp.Envelope, body io.Reader) ([]*smtp.Reply, error) {
	content, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	if h.replies != nil {
		return h.replies(env)
	}
	replies := make([]*smtp.Reply, len(env.Recipients))
	for i, r := range env.Recipients {
		switch local, _ := smtp.SplitAddress(r.Address); local {
		case "green":
			replies[i] = smtp.NewReply(452, "4.2.2", "<green@foo.com> is temporarily over quota")
		case "bad":
			replies[i] = smtp.NewReply(550, "5.7.1", "not like this")
		default:
			h.kept = append(h.kept, r.Address+": "+string(content))
		}
	}
	return replies, nil
}

const (
	lhlo     = "LHLO foo.edu\r\n"
	fromC    = "MAIL FROM:<chris@bar.com>\r\n"
	pat      = "RCPT TO:<pat@foo.com>\r\n"
	green    = "RCPT TO:<green@foo.com>\r\n"
	unwanted = "RCPT TO:<bad@foo.com>\r\n"
	jones    = "RCPT TO:<jones@foo.com>\r\n" // refused at RCPT
)

func TestLMTP(t *testing.T) {
	const text = "Blah blah blah...\r\n"
	tests := []struct {
		name  string
		in    string
		codes string
		kept  string
		srv   *Server
	}{
		{name: "RFC 2033 §4.2", in: lhlo + fromC + pat + jones + green + data + text + "....etc. etc. etc.\r\n.\r\n",
			codes: "250 250 250 550 250 354 250 452", kept: "pat@foo.com: " + text + "...etc. etc. etc.\r\n"},
		{name: "EHLO and HELO", in: "EHLO foo.edu\r\nHELO foo.edu\r\n" + fromC, codes: "500 500 503"},
		{name: "LHLO without a name", in: "LHLO\r\n" + fromC, codes: "501 503"},
		{name: "no recipient", in: lhlo + fromC + data, codes: "250 250 503"},
		{name: "no valid recipient", in: lhlo + fromC + jones + data, codes: "250 250 550 503"},
		{name: "no valid recipient, BDAT", in: lhlo + fromC + jones + bdat(text, " LAST") + bdat(text) + "NOOP\r\n",
			codes: "250 250 550 503 250"},
		{name: "one recipient", in: lhlo + fromC + pat + data + text + ".\r\n", codes: "250 250 250 354 250",
			kept: "pat@foo.com: " + text},
		{name: "a recipient twice", in: lhlo + fromC + pat + pat + data + text + ".\r\n", codes: "250 250 250 250 354 250 250",
			kept: "pat@foo.com: " + text + ", pat@foo.com: " + text},
		{name: "BDAT", in: lhlo + fromC + pat + green + bdat(text) + bdat(text, " LAST"), codes: "250 250 250 250 250 250 452",
			kept: "pat@foo.com: " + text + text},
		{name: "BDAT, empty last chunk", in: lhlo + fromC + green + unwanted + bdat(text) + "BDAT 0 LAST\r\nNOOP\r\n",
			codes: "250 250 250 250 250 452 550 250"},
		{name: "a bare LF", in: lhlo + fromC + pat + green + data + "\n\r\n.\r\n", codes: "250 250 250 250 354 521 521"},
		{name: "a bare LF, BDAT", in: lhlo + fromC + pat + green + bdat("\n", " LAST"), codes: "250 250 250 250 521 521"},
		{name: "a bare LF, BDAT, more to come", in: lhlo + fromC + pat + green + bdat("\n") + bdat("a", " LAST"),
			codes: "250 250 250 250 521"},
		{name: "no transaction, BDAT", in: lhlo + bdat(text, " LAST") + bdat(text) + bdat(text, " LAST") + "NOOP\r\n", codes: "250 503 250"},
		{name: "too big", in: lhlo + fromC + pat + green + data + text + ".\r\nNOOP\r\n", srv: &Server{MaxSize: 5, MaxDrain: 100},
			codes: "250 250 250 250 354 552 552 250"},
		{name: "too big, the only chunk", in: lhlo + fromC + pat + green + bdat("abcdef", " LAST") + "NOOP\r\n",
			srv: &Server{MaxSize: 5, MaxDrain: 100}, codes: "250 250 250 250 552 552 250"},
		{name: "too big to drain, the only chunk", in: lhlo + fromC + pat + green + bdat("abcdef", " LAST"),
			srv: &Server{MaxSize: 5, MaxDrain: 5}, codes: "250 250 250 250 552 552"},
		{name: "too big, the first chunk", in: lhlo + fromC + pat + green + bdat("abcdef") + "NOOP\r\n",
			srv: &Server{MaxSize: 5, MaxDrain: 100}, codes: "250 250 250 250 552 250"},
		{name: "too big, BDAT, more to come", in: lhlo + fromC + pat + green + bdat("abc") + bdat("def") + bdat("ghi", " LAST"),
			srv: &Server{MaxSize: 5, MaxDrain: 100}, codes: "250 250 250 250 250 552 503 503"},
		{name: "RSET between chunks", in: lhlo + fromC + pat + green + bdat(text) + "RSET\r\n" + bdat(text, " LAST") + "NOOP\r\n",
			codes: "250 250 250 250 250 250 250"},
		{name: "two messages", in: lhlo + fromC + green + data + text + ".\r\n" + fromC + pat + data + text + ".\r\nQUIT\r\n",
			codes: "250 250 250 354 452 250 250 354 250 221", kept: "pat@foo.com: " + text},
		{name: "many refusals are one error", in: lhlo + fromC + strings.Repeat(unwanted, 50) + data + text + ".\r\nNOOP\r\n",
			codes: "250 250" + strings.Repeat(" 250", 50) + " 354" + strings.Repeat(" 550", 50) + " 250"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &mailboxes{}
				h.rcpt = func(_ *Peer, _ *smtp.Envelope, rcpt smtp.Recipient) error {
					if rcpt.Address == "jones@foo.com" {
						return smtp.NewReply(550, "5.1.1", "no such user here")
					}
					return nil
				}
				srv := &Server{}
				if tt.srv != nil {
					srv = tt.srv.Clone()
				}
				srv.Handler, srv.LMTP = h, true
				c := newWorld(t, srv).dial()
				if got, want := c.take(), "220 mx.test LMTP\r\n"; got != want {
					t.Errorf("got greeting %q, want %q", got, want)
				}
				c.want(tt.in, strings.Fields(tt.codes)...)
				if got := strings.Join(h.kept, ", "); got != tt.kept {
					t.Errorf("got %q kept, want %q", got, tt.kept)
				}
			})
		})
	}
}

// TestLMTPReplies: the results of HandleLMTP, and of a Handler without it, become one reply for each recipient.
func TestLMTPReplies(t *testing.T) {
	no, yes := smtp.NewReply(550, "5.7.1", "no"), smtp.NewReply(250, "2.0.0", "kept as 7")
	tests := []struct {
		name    string
		replies []*smtp.Reply
		err     error
		want    string
	}{
		{"none", nil, nil, "250 2.0.0 ok, 250 2.0.0 ok, 250 2.0.0 ok"},
		{"each", []*smtp.Reply{yes, no, nil}, nil, "250 2.0.0 kept as 7, 550 5.7.1 no, 250 2.0.0 ok"},
		{"too few", []*smtp.Reply{yes}, nil, "250 2.0.0 kept as 7, 451 4.3.0 internal error, 451 4.3.0 internal error"},
		{"too many", []*smtp.Reply{no, yes, no, yes}, nil, "550 5.7.1 no, 250 2.0.0 kept as 7, 550 5.7.1 no"},
		{"an error", nil, no, "550 5.7.1 no, 550 5.7.1 no, 550 5.7.1 no"},
		{"an error without a reply", nil, errors.New("secret"),
			"451 4.3.0 internal error, 451 4.3.0 internal error, 451 4.3.0 internal error"},
		{"an error for the rest", []*smtp.Reply{yes, nil}, no, "250 2.0.0 kept as 7, 250 2.0.0 ok, 550 5.7.1 no"},
		{"not a final reply", []*smtp.Reply{{Code: 354}, {Code: 99}, yes}, nil,
			"451 4.3.0 internal error, 451 4.3.0 internal error, 250 2.0.0 kept as 7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &mailboxes{replies: func(*smtp.Envelope) ([]*smtp.Reply, error) { return tt.replies, tt.err }}
				c := newWorld(t, &Server{Handler: h, LMTP: true}).dial()
				c.ask(lhlo + fromC + pat + pat + pat + data)
				got := strings.ReplaceAll(strings.TrimSuffix(c.ask("x\r\n.\r\n"), "\r\n"), "\r\n", ", ")
				if got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		})
	}
	t.Run("a check changes the recipients", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := &mailboxes{replies: func(env *smtp.Envelope) ([]*smtp.Reply, error) {
				if len(env.Recipients) != 3 || env.Recipients[0].Address != "new@foo.com" {
					t.Errorf("got recipients %v, want those of the check", env.Recipients)
				}
				return []*smtp.Reply{smtp.NewReply(452, "4.2.2", "new"), no, yes}, nil
			}}
			change := Check{Name: "change", Content: func(_ context.Context, s *Session, _ *Message) error {
				all := s.Envelope.Recipients // pat, green, bad
				s.Envelope.Recipients = []smtp.Recipient{{Address: "new@foo.com"}, all[2], all[0]}
				return nil
			}}
			c := newWorld(t, &Server{Handler: h, LMTP: true, Checks: []Check{change}}).dial()
			c.ask(lhlo + fromC + pat + green + unwanted + data)
			// Green was replaced by new.
			if got, want := c.ask("x\r\n.\r\n"), "250 2.0.0 kept as 7\r\n452 4.2.2 new\r\n550 5.7.1 no\r\n"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	})
	t.Run("a check refuses after one that changed the recipients", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			change := Check{Name: "change", Content: func(_ context.Context, s *Session, _ *Message) error {
				s.Envelope.Recipients = s.Envelope.Recipients[1:]
				return nil
			}}
			refuse := Check{Name: "refuse", Content: func(context.Context, *Session, *Message) error { return no }}
			h := &mailboxes{}
			c := newWorld(t, &Server{Handler: h, LMTP: true, Checks: []Check{change, refuse}}).dial()
			c.ask(lhlo + fromC + pat + green + data)
			if got, want := c.ask("x\r\n.\r\n"), "550 5.7.1 no\r\n550 5.7.1 no\r\n"; got != want || h.kept != nil {
				t.Errorf("got %q and %q kept, want %q", got, h.kept, want)
			}
		})
	})
	t.Run("a recipient that a check adds is refused", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			add := Check{Name: "add", Content: func(ctx context.Context, s *Session, _ *Message) error {
				return s.AddRecipient(ctx, smtp.Recipient{Address: "new@foo.com"})
			}}
			h := &mailboxes{replies: func(*smtp.Envelope) ([]*smtp.Reply, error) { return []*smtp.Reply{nil, no}, nil }}
			var found []string
			srv := &Server{Handler: h, LMTP: true, Checks: []Check{add}}
			srv.Found = func(_ context.Context, _ *Peer, f Finding) { found = append(found, f.Text) }
			c := newWorld(t, srv).dial()
			c.ask(lhlo + fromC + pat + data)
			c.want("x\r\n.\r\n", "250")
			if want := []string{"the recipient new@foo.com, which a check has added, is refused: 550 5.7.1 no"}; !slices.Equal(found, want) {
				t.Errorf("got the findings %q, want %q", found, want)
			}
		})
	})
	t.Run("plain Handler", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d := &desk{}
			c := newWorld(t, &Server{Handler: d, LMTP: true}).dial()
			c.want(lhlo+fromC+pat+green+data, "220", "250", "250", "250", "250", "354")
			c.want("x\r\n.\r\n", "250", "250")
			if mails := d.all(); len(mails) != 1 || !mails[0].peer.LMTP || !mails[0].peer.ESMTP {
				t.Errorf("got mails %+v, want one, by LMTP", mails)
			}
		})
	})
	t.Run("not over SMTP", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := &mailboxes{replies: func(*smtp.Envelope) ([]*smtp.Reply, error) { panic("called") }}
			c := newWorld(t, &Server{Handler: h}).dial()
			c.want(talked+data+"x\r\n.\r\n", "220", "250", "250", "250", "354", "250")
		})
	})
}

// TestLMTPSocket: LMTP over a Unix socket, where clients have no address.
func TestLMTPSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lmtp")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Skip("no Unix sockets here: ", err)
	}
	h := &mailboxes{}
	srv := &Server{Hostname: "mx.test", Handler: h, LMTP: true, MaxConnsPerIP: 1}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	for range 2 { // at a time: MaxConnsPerIP is for addresses
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		in := bufio.NewReader(c)
		fmt.Fprint(c, lhlo+fromC+pat+green+bdat("a", " LAST")+"QUIT\r\n")
		var codes []string
		for len(codes) == 0 || codes[len(codes)-1] != "221" {
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			codes = append(codes, replyCodes(line)...)
		}
		if got, want := strings.Join(codes, " "), "220 250 250 250 250 250 452 221"; got != want {
			t.Errorf("got replies %s, want %s", got, want)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("got error %v of Serve, want none", err)
	}
	if len(h.kept) != 2 {
		t.Errorf("got %q kept, want two", h.kept)
	}
}
