package beside

import (
	"context"
	"io"
	"net"
	"strconv"

	gomail "github.com/wneessen/go-mail"
)

// goMailMailer sends a Msg, for which go-mail composes the header each time. The body stays as it is.
type goMailMailer struct {
	*gomail.Client
	msg *gomail.Msg
}

func openGoMail(ctx context.Context, addr string, m mail) (mailer, error) {
	c, err := newGoMail(addr)
	if err != nil {
		return nil, err
	}
	msg := gomail.NewMsg(gomail.WithEncoding(gomail.NoEncoding), gomail.WithNoDefaultUserAgent())
	if err := msg.From(m.from); err != nil {
		return nil, err
	}
	if err := msg.To(m.to...); err != nil {
		return nil, err
	}
	msg.Subject("message")
	body := m.body()
	msg.SetBodyWriter(gomail.TypeTextPlain, func(w io.Writer) (int64, error) {
		n, err := io.WriteString(w, body)
		return int64(n), err
	})
	return goMailMailer{c, msg}, c.DialWithContext(ctx)
}

func (g goMailMailer) send(context.Context) error { return g.Send(g.msg) }

func (g goMailMailer) close() error { return g.Close() }

// openGoMailSMTP uses the session below Msg, which takes a finished mail.
func openGoMailSMTP(ctx context.Context, addr string, m mail) (mailer, error) {
	c, err := newGoMail(addr)
	if err != nil {
		return nil, err
	}
	session, err := c.DialToSMTPClientWithContext(ctx)
	n := netSMTPMailer{netSMTPClient: session, from: "<" + m.from + ">", data: []byte(m.data)} // it adds no brackets
	for _, to := range m.to {
		n.to = append(n.to, "<"+to+">")
	}
	return n, err
}

// newGoMail returns a Client without the NOOP before and the RSET after each mail, each of which is a round trip.
func newGoMail(addr string) (*gomail.Client, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	return gomail.NewClient(host, gomail.WithPort(n), gomail.WithTLSPolicy(gomail.NoTLS),
		gomail.WithHELO("client.example"), gomail.WithoutNoop(), gomail.WithoutRset())
}
