package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/smtp"
)

const (
	envelope = "MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\n"
	hiMail   = "DATA\r\nSubject: hi\r\n\r\nhi\r\n.\r\n"
)

// recorder is a check that writes down each call.
type recorder struct{ seen []string }

func (r *recorder) check(name string) Check {
	note := func(moment string) func(context.Context, *Session) error {
		return func(_ context.Context, s *Session) error {
			r.seen = append(r.seen, fmt.Sprintf("%s %s tx=%t user=%q", name, moment, s.Envelope != nil, s.Peer.Username))
			return nil
		}
	}
	return Check{
		Name: name, Connect: note("connect"), Hello: note("hello"), Auth: note("auth"), Mail: note("mail"),
		Rcpt: func(ctx context.Context, s *Session, rcpt smtp.Recipient) error {
			return note("rcpt "+rcpt.Address)(ctx, s)
		},
		Content: func(ctx context.Context, s *Session, m *Message) error { return note("content")(ctx, s) },
		Done: func(ctx context.Context, s *Session, reply *smtp.Reply) {
			note(fmt.Sprintf("done %t", reply.Positive()))(ctx, s)
		},
		Closed: func(ctx context.Context, s *Session) { note("closed")(ctx, s) },
	}
}

// TestCheckMoments: each func is called at its moment, and Done once for each transaction.
func TestCheckMoments(t *testing.T) {
	tests := []struct {
		name, said string
		want       []string // without the name and what is the same in all
	}{
		{"a mail", envelope + hiMail, []string{"mail tx=true", "rcpt b@y.test tx=true", "content tx=true", "done true tx=true"}},
		{"two mails", envelope + hiMail + envelope + hiMail, []string{
			"mail tx=true", "rcpt b@y.test tx=true", "content tx=true", "done true tx=true",
			"mail tx=true", "rcpt b@y.test tx=true", "content tx=true", "done true tx=true"}},
		{"RSET", envelope + "RSET\r\n", []string{"mail tx=true", "rcpt b@y.test tx=true", "done false tx=true"}},
		{"RSET without a transaction", "RSET\r\n", nil},
		{"EHLO in a transaction", envelope + ehlo, []string{
			"mail tx=true", "rcpt b@y.test tx=true", "hello tx=false", "done false tx=true"}},
		{"lost in a transaction", envelope, []string{"mail tx=true", "rcpt b@y.test tx=true", "done false tx=true"}},
		{"lost in DATA", envelope + "DATA\r\nSubj", []string{"mail tx=true", "rcpt b@y.test tx=true", "done false tx=true"}},
		{"a bad message", envelope + "DATA\r\na\nb\r\n.\r\n", []string{"mail tx=true", "rcpt b@y.test tx=true", "done false tx=true"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &recorder{}
				w := newWorld(t, &Server{Checks: []Check{r.check("c")}})
				c := w.dial()
				c.want(ehlo, "220", "250")
				c.ask(tt.said)
				c.pipe.Close()
				synctest.Wait()
				want := []string{"connect tx=false", "hello tx=false"}
				want = append(append(want, tt.want...), "closed tx=false")
				for i := range want {
					want[i] = "c " + want[i] + ` user=""`
				}
				if !slices.Equal(r.seen, want) {
					t.Errorf("got\n%s\nwant\n%s", strings.Join(r.seen, "\n"), strings.Join(want, "\n"))
				}
			})
		})
	}
}

// TestCheckTrusted: a check isn't asked about clients that authenticated or may relay, unless it is Trusted.
func TestCheckTrusted(t *testing.T) {
	count := func(r *recorder, name, moment string) (n int) {
		for _, line := range r.seen {
			if strings.HasPrefix(line, name+" "+moment) {
				n++
			}
		}
		return n
	}
	for _, tt := range []struct {
		name, auth, local   string
		mail, rcpt, content int // calls of the check that isn't Trusted
	}{
		{"stranger", "", "no", 1, 1, 1},
		{"allowed at RCPT", "", "ok", 1, 0, 0},
		{"authenticated", "AUTH PLAIN AGFubgBzZWNyZXQ=\r\n", "no", 0, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &recorder{}
				all := r.check("all")
				all.Trusted = true
				w := newWorld(t, &Server{
					Handler: newGate(), Authenticate: authenticate, AllowInsecureAuth: true,
					Checks: []Check{r.check("strangers"), all},
				})
				c := w.dial()
				c.ask(ehlo + tt.auth)
				c.ask("MAIL FROM:<a@x.test>\r\nRCPT TO:<" + tt.local + "@y.test>\r\n" + hiMail)
				for moment, want := range map[string]int{"mail": tt.mail, "rcpt": tt.rcpt, "content": tt.content, "done": 1} {
					if got := count(r, "strangers", moment); got != want {
						t.Errorf("%s: got %d calls, want %d", moment, got, want)
					}
					if got := count(r, "all", moment); got != 1 {
						t.Errorf("%s of the Trusted check: got %d calls, want 1", moment, got)
					}
				}
				if got, want := count(r, "strangers", "auth"), min(1, len(tt.auth)); got != want {
					t.Errorf("auth: got %d calls, want %d", got, want)
				}
			})
		})
	}
}

// TestCheckRefuses: an error at each moment is the reply, is told, and leaves the session in a state that goes on.
func TestCheckRefuses(t *testing.T) {
	no := func(context.Context, *Session) error { return smtp.NewReply(550, "5.7.1", "not you") }
	tests := []struct {
		name  string
		check Check
		said  string
		codes []string
		mails int
	}{
		{"connect", Check{Connect: no}, ehlo + "QUIT\r\n", []string{"550", "503", "221"}, 0},
		{"connect, for now", Check{Connect: func(context.Context, *Session) error { return smtp.NewReply(450, "4.7.1", "later") }},
			"", []string{"421"}, 0},
		{"hello", Check{Hello: no}, ehlo + "MAIL FROM:<>\r\n", []string{"220", "550", "503"}, 0},
		{"auth", Check{Auth: no}, ehlo + "AUTH PLAIN AGFubgBzZWNyZXQ=\r\n" + "AUTH PLAIN AGFubgBzZWNyZXQ=\r\n",
			[]string{"220", "250", "550", "550"}, 0},
		{"mail", Check{Mail: no}, ehlo + "MAIL FROM:<>\r\nRCPT TO:<b@y.test>\r\n", []string{"220", "250", "550", "503"}, 0},
		{"rcpt", Check{Rcpt: func(_ context.Context, _ *Session, rcpt smtp.Recipient) error {
			if strings.HasPrefix(rcpt.Address, "b@") {
				return smtp.NewReply(550, "5.7.1", "not b")
			}
			return nil
		}}, ehlo + envelope + "RCPT TO:<c@y.test>\r\n" + hiMail, []string{"220", "250", "250", "550", "250", "354", "250"}, 1},
		{"content", Check{Content: func(_ context.Context, _ *Session, m *Message) error {
			return smtp.NewReply(550, "5.7.1", "spam")
		}}, ehlo + envelope + hiMail + envelope, []string{"220", "250", "250", "250", "354", "550", "250", "250"}, 0},
		{"an error without a reply", Check{Mail: func(context.Context, *Session) error { return errors.New("secret") }},
			ehlo + "MAIL FROM:<>\r\n", []string{"220", "250", "451"}, 0},
		{"a panic", Check{Mail: func(context.Context, *Session) error { panic("secret") }},
			ehlo + "MAIL FROM:<>\r\n", []string{"220", "250", "451"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.check.Name = "no"
				behind := &recorder{}
				var found []Finding
				d := &desk{}
				w := newWorld(t, &Server{
					Handler: d, Authenticate: authenticate, AllowInsecureAuth: true,
					Checks: []Check{tt.check, behind.check("behind")},
					Found:  func(_ context.Context, _ *Peer, f Finding) { found = append(found, f) },
				})
				if got := w.dial().want(tt.said, tt.codes...); strings.Contains(got, "secret") {
					t.Errorf("got %q, want no text of an error", got)
				}
				if got := len(d.all()); got != tt.mails {
					t.Errorf("got %d mails, want %d", got, tt.mails)
				}
				moment, _, _ := strings.Cut(tt.name, ",")
				if moment == "a panic" {
					return
				}
				if moment == "an error without a reply" {
					moment = "mail"
				}
				if len(found) == 0 || found[0].Check != "no" || found[0].Moment != moment || found[0].Reply == nil {
					t.Errorf("got findings %+v, want the refusal at %s", found, moment)
				}
				for _, line := range behind.seen {
					if strings.HasPrefix(line, "behind "+moment) && moment != "rcpt" {
						t.Errorf("got %q called behind the refusal", line)
					}
				}
			})
		})
	}
}

// TestCheckChanges: what the Handler gets after checks have changed the message.
func TestCheckChanges(t *testing.T) {
	const mail = "From: a@x.test\r\nSubject: hi\r\n there\r\nX-Old: 1\r\n\r\nbody\r\n"
	big := mail + strings.Repeat(strings.Repeat("x", 98)+"\r\n", 2000)
	tests := []struct {
		name, mail string
		content    func(ctx context.Context, s *Session, m *Message) error
		mailFunc   func(ctx context.Context, s *Session) error
		want       string // "" if no Handler is called
		code       string
	}{
		{"nothing", mail, func(context.Context, *Session, *Message) error { return nil }, nil, mail, "250"},
		{"nothing, in a file", big, func(context.Context, *Session, *Message) error { return nil }, nil, big, "250"},
		{"nothing, without a header", "hello\r\n", func(context.Context, *Session, *Message) error { return nil }, nil, "hello\r\n", "250"},
		{"nothing, a header alone", "A: b\r\n", func(context.Context, *Session, *Message) error { return nil }, nil, "A: b\r\n", "250"},
		{"fields removed and added", mail, func(_ context.Context, _ *Session, m *Message) error {
			m.Header = slices.DeleteFunc(m.Header, func(f Field) bool { return f.Is("x-old") })
			m.Header = append(m.Header, Field{"X-New", " 2"})
			return nil
		}, nil, "From: a@x.test\r\nSubject: hi\r\n there\r\nX-New: 2\r\n\r\nbody\r\n", "250"},
		{"another body", mail, func(_ context.Context, _ *Session, m *Message) error {
			m.Body = strings.NewReader("clean\r\n")
			return nil
		}, nil, "From: a@x.test\r\nSubject: hi\r\n there\r\nX-Old: 1\r\n\r\nclean\r\n", "250"},
		{"a field on text", "hello\r\n", func(_ context.Context, _ *Session, m *Message) error {
			m.Header = append(m.Header, Field{"X-New", " 2"})
			return nil
		}, nil, "X-New: 2\r\n\r\nhello\r\n", "250"},
		{"tags on top", mail, nil, func(_ context.Context, s *Session) error {
			s.AddField(Field{"X-Spam", " yes"})
			s.AddField(Field{"X-Score", " 7"})
			return nil
		}, "X-Spam: yes\r\nX-Score: 7\r\n" + mail, "250"},
		{"tags on text", "hello\r\n", nil, func(_ context.Context, s *Session) error {
			s.AddField(Field{"X-Spam", " yes"})
			return nil
		}, "X-Spam: yes\r\n\r\nhello\r\n", "250"},
		{"forged results", "Authentication-Results: mx.test; spf=pass\r\n" + mail, nil, func(_ context.Context, s *Session) error {
			s.AddField(Field{"Authentication-Results", " mx.test; spf=fail"})
			return nil
		}, "Authentication-Results: mx.test; spf=fail\r\n" + mail, "250"},
		{"forged results, seen", "Authentication-Results: mx.test; spf=pass\r\n" + mail,
			func(context.Context, *Session, *Message) error { return nil }, nil, mail, "250"},
		{"forged results, and others from a check", "Authentication-Results: mx.test; spf=pass\r\n" + mail,
			func(_ context.Context, _ *Session, m *Message) error {
				m.Header = append(m.Header, Field{"X-New", " 2"}, Field{"Authentication-Results", " mx.test; spf=none"})
				return nil
			}, func(_ context.Context, s *Session) error {
				s.AddField(Field{"X-Spam", " yes"})
				return nil
			}, "X-Spam: yes\r\nAuthentication-Results: mx.test; spf=none\r\n" +
				"From: a@x.test\r\nSubject: hi\r\n there\r\nX-Old: 1\r\nX-New: 2\r\n\r\nbody\r\n", "250"},
		{"tags on a line of a mailbox file", "From x\r\n" + mail, nil, func(_ context.Context, s *Session) error {
			s.AddField(Field{"X-Spam", " yes"})
			return nil
		}, "X-Spam: yes\r\n" + mail, "250"},
		{"tags on nothing", "", nil, func(_ context.Context, s *Session) error {
			s.AddField(Field{"X-Spam", " yes"})
			return nil
		}, "X-Spam: yes\r\n\r\n", "250"},
		{"a tag that smuggles", mail, nil, func(_ context.Context, s *Session) error {
			s.AddField(Field{"X-Spam", " yes\r\nBcc: x"})
			return nil
		}, "", "451"},
		{"a field that smuggles", mail, func(_ context.Context, _ *Session, m *Message) error {
			m.Header = append(m.Header, Field{"X", " \r\n\r\nbody"})
			return nil
		}, nil, "", "451"},
		{"a body that smuggles", mail, func(_ context.Context, _ *Session, m *Message) error {
			m.Body = strings.NewReader("clean\n.\nMAIL FROM:<>\r\n")
			return nil
		}, nil, "", "451"},
		{"a name that smuggles", mail, func(_ context.Context, _ *Session, m *Message) error {
			m.Header = append(m.Header, Field{"X: 1\r\nY", " 1"})
			return nil
		}, nil, "", "451"},
		{"discarded", mail, nil, func(_ context.Context, s *Session) error {
			s.Discard("spam")
			return nil
		}, "", "250"},
		{"no recipient left", mail, func(_ context.Context, s *Session, _ *Message) error {
			s.Envelope.Recipients = nil
			return nil
		}, nil, "", "250"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &desk{}
				dir := t.TempDir()
				w := newWorld(t, &Server{
					Handler: d, TempDir: dir, Checks: []Check{{Name: "c", Mail: tt.mailFunc, Content: tt.content}},
				})
				c := w.dial()
				c.ask(ehlo)
				c.want(envelope+"DATA\r\n"+tt.mail+".\r\n", "250", "250", "354", tt.code)
				var got string
				for _, m := range d.all() {
					got += m.body
				}
				if got != tt.want {
					t.Errorf("got %.300q, want %.300q", got, tt.want)
				}
				if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
					t.Errorf("got files left behind: %v, %v", left, err)
				}
				c.want(envelope+"RSET\r\nNOOP\r\n", "250", "250", "250", "250")
			})
		})
	}
}

// TestCheckSees: what a Content func can read, and that a check after it sees the change.
func TestCheckSees(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const mail = "A: 1\r\nB : 2\r\n\tfolded\r\n\r\nbody\r\n"
		var header []Field
		var body, second, original string
		read := func(r io.Reader) string {
			b, err := io.ReadAll(r)
			if err != nil {
				t.Errorf("got %v, want none", err)
			}
			return string(b)
		}
		w := newWorld(t, &Server{Checks: []Check{
			{Name: "one", Content: func(_ context.Context, _ *Session, m *Message) error {
				header, body = slices.Clone(m.Header), read(smtp.NewReader(m.Body))
				m.Header[0].Value = " 3"
				return nil
			}},
			{Name: "two", Content: func(_ context.Context, _ *Session, m *Message) error {
				second, original = read(m.Reader()), read(smtp.NewReader(m.Original))
				return nil
			}},
		}})
		c := w.dial()
		c.want(ehlo+envelope+"DATA\r\n"+mail+".\r\n", "220", "250", "250", "250", "354", "250")
		if want := []Field{{"A", " 1"}, {"B ", " 2\r\n\tfolded"}}; !slices.Equal(header, want) || body != "body\r\n" {
			t.Errorf("got header %q and body %q, want %q", header, body, want)
		}
		if want := strings.Replace(mail, " 1", " 3", 1); second != want || original != mail {
			t.Errorf("got %q and the original %q, want %q and %q", second, original, want, mail)
		}
	})
}

// TestNilSession: a Handler needn't ask whether the server has checks.
func TestNilSession(t *testing.T) {
	s := SessionOf(t.Context())
	if n, ok := Value[int](s); s.Held() != "" || n != 0 || ok {
		t.Errorf("got %q, %d, %t of a server without checks, want nothing", s.Held(), n, ok)
	}
}

// TestSessionValues: values, fields and holds last as long as the transaction or the session in which they were set.
func TestSessionValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type points int
		n := points(0)
		var seen []string
		d := &desk{}
		d.handle = func(ctx context.Context, _ *Peer, _ *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
			s := SessionOf(ctx)
			p, ok := Value[points](s)
			b, err := io.ReadAll(body)
			seen = append(seen, fmt.Sprintf("%d %t %q %.12q", p, ok, s.Held(), b))
			return nil, err
		}
		w := newWorld(t, &Server{Handler: d, Checks: []Check{{
			Name:    "c",
			Connect: func(_ context.Context, s *Session) error { s.SetValue(points(7)); return nil },
			Mail: func(_ context.Context, s *Session) error {
				if n++; n == 1 {
					s.SetValue(n)
					s.Hold("first")
					s.Hold("second")
					s.AddField(Field{"X", " 1"})
				}
				return nil
			},
		}}})
		w.dial().ask(ehlo + envelope + hiMail + envelope + hiMail)
		want := []string{`1 true "first" "X: 1\r\nSubjec"`, `7 true "" "Subject: hi\r"`}
		if !slices.Equal(seen, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
		}
	})
}

// TestCheckAddsRecipient: the Handler decides about a recipient that a check adds.
func TestCheckAddsRecipient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		var errs []string
		w := newWorld(t, &Server{Handler: g, Checks: []Check{{
			Name: "c",
			Content: func(ctx context.Context, s *Session, _ *Message) error {
				for _, address := range []string{"more@y.test", "unknown@y.test", "busy@y.test", "not an address"} {
					err := s.AddRecipient(ctx, smtp.Recipient{Address: address})
					errs = append(errs, fmt.Sprint(err != nil))
				}
				return nil
			},
		}}})
		w.dial().ask(ehlo + envelope + hiMail)
		if got := strings.Join(errs, " "); got != "false true true true" {
			t.Errorf("got errors %s, want for all but the first", got)
		}
		mails := g.all()
		if len(mails) != 1 || len(mails[0].env.Recipients) != 2 || mails[0].env.Recipients[1].Address != "more@y.test" {
			t.Errorf("got %+v, want the first added", mails)
		}
	})
}

// TestCheckNames: a check without a name is a mistake.
func TestCheckNames(t *testing.T) {
	err := (&Server{Handler: &desk{}, Checks: []Check{{Name: "a"}, {}}}).Check()
	if err == nil || !strings.Contains(err.Error(), "Checks[1] has no Name") {
		t.Errorf("got %v, want an error about Checks[1]", err)
	}
}
